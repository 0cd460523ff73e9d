"""The kernels over many chunks: as the kernels of one chunk, each on its own."""

from __future__ import annotations

import numpy as np
from cseg_words import encoding, written_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding import cseg
from shardreader.decoding.cseg import faults

CORRUPT = 5
SHAPE, BLOCK = (34, 21, 5), (16, 16, 2)


class Chunks:
    """Encodings in one array, as they come out of the arena; some of them damaged."""

    def __init__(self, rng: np.random.Generator, count: int, label_words: int, damaged: bool):
        blocks = int(np.prod(cseg.block_grid(SHAPE, BLOCK)))
        each = [
            encoding(written_by_hand(rng, blocks, int(np.prod(BLOCK)), label_words))
            for _ in range(count)
        ]
        if damaged:
            for at in range(0, count, 1 + int(rng.integers(3))):
                words = each[at] = each[at].copy()
                words[int(rng.integers(len(words)))] = rng.integers(2**32)
        self.each = each
        self.lengths = np.array([len(words) for words in each], dtype=np.int64)
        padded = self.lengths + (self.lengths & 1)
        self.first_words = np.cumsum(padded) - padded
        self.words = np.full(int(padded.sum()), 0xFFFFFFFF, np.uint32)
        for words, first in zip(each, self.first_words, strict=True):
            self.words[first : first + len(words)] = words
        # Rows of the tables in another order than that of the encodings, with some unused.
        self.rows = rng.permutation(count + 2)[:count]
        self.cell_shapes = np.tile(np.array(SHAPE), (count + 2, 1))

    @property
    def place(self):
        return self.words, self.first_words, self.lengths, self.rows, self.cell_shapes, BLOCK


many = given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.uint32, np.uint64]),
    count=st.integers(0, 4),
    damaged=st.booleans(),
)


@many
@settings(max_examples=30, deadline=None)
def test_boxes_of_chunks(seed, dtype, count, damaged):
    rng = np.random.default_rng(seed)
    chunks = Chunks(rng, count, np.dtype(dtype).itemsize // 4, damaged)
    corners = np.sort([rng.integers(0, n + 1, (2, count + 2)) for n in SHAPE], axis=1)
    lowers, uppers = (np.ascontiguousarray(corners[:, i].T) for i in range(2))
    if rng.integers(2):
        lowers[:], uppers[:] = 0, SHAPE  # with rows that are whole lines of memory
    width = int(rng.choice([SHAPE[0], 40, 48]))
    strides = (1, width, width * SHAPE[1])
    size = strides[2] * SHAPE[2]
    shift = int(rng.integers(16))
    firsts = shift + size * np.arange(count + 2)
    outputs = []
    for stream in (False, True):
        memory = np.zeros(shift + size * (count + 2) + 16, dtype)
        out = memory[-(memory.ctypes.data // memory.itemsize) % 16 :]
        done = cseg.decode_boxes(*chunks.place, lowers, uppers, out, firsts, strides, stream=stream)
        outputs.append(out[: shift + size * (count + 2)])
    expected = np.zeros_like(outputs[0])
    for i, row in enumerate(chunks.rows):
        status = cseg.decode_box(
            chunks.each[i], 1, 0, SHAPE, BLOCK, tuple(lowers[row]), tuple(uppers[row]),
            expected, int(firsts[row]), strides,
        )  # fmt: skip
        assert done[i] == (status == cseg.OK)
        if not done[i]:  # what a faulty box holds is undefined
            for array in (*outputs, expected):
                array[firsts[row] : firsts[row] + size] = 0
    for output in outputs:
        np.testing.assert_array_equal(output, expected)


@many
@settings(max_examples=30, deadline=None)
def test_voxels_of_chunks(seed, dtype, count, damaged):
    rng = np.random.default_rng(seed)
    chunks = Chunks(rng, count, np.dtype(dtype).itemsize // 4, damaged)
    counts = rng.integers(0, 40, count + 2)
    firsts = np.concatenate([[0], np.cumsum(counts)])
    x, y, z = (rng.integers(0, n, firsts[-1]).astype(np.uint64) for n in SHAPE)
    packed = x | y << np.uint64(6) | z << np.uint64(11)
    order = rng.permutation(len(packed))
    labels, status = np.full(len(packed), 77, dtype), np.zeros(len(packed), np.uint8)
    expected_labels, expected_status = labels.copy(), status.copy()
    done = cseg.read_voxels_of_chunks(
        *chunks.place, packed, firsts, 6, 5, order, labels, status, CORRUPT
    )
    for i, row in enumerate(chunks.rows):
        fault = cseg.read_voxels(
            chunks.each[i], 1, 0, SHAPE, BLOCK, packed, int(firsts[row]), int(firsts[row + 1]),
            6, 5, order, expected_labels, expected_status, CORRUPT,
        )  # fmt: skip
        assert done[i] == (fault == cseg.OK)
    np.testing.assert_array_equal(labels, expected_labels)
    np.testing.assert_array_equal(status, expected_status)


@many
@settings(max_examples=30, deadline=None)
def test_checks_of_chunks(seed, dtype, count, damaged):
    rng = np.random.default_rng(seed)
    label_words = np.dtype(dtype).itemsize // 4
    chunks = Chunks(rng, count, label_words, damaged)
    done = cseg.check_chunks(*chunks.place, label_words)
    expected = [
        cseg.check_blocks(words, 1, 0, SHAPE, BLOCK, label_words) == cseg.OK
        for words in chunks.each
    ]
    assert done.tolist() == expected


def test_an_encoding_cut_short_reads_nothing_of_its_neighbour():
    rng = np.random.default_rng(0)
    chunks = Chunks(rng, 2, 2, damaged=False)
    chunks.lengths[0] //= 2
    out = np.zeros(2 * int(np.prod(SHAPE)), np.uint64)
    strides = (1, SHAPE[0], SHAPE[0] * SHAPE[1])
    zeros, whole = np.zeros((4, 3), np.int64), chunks.cell_shapes
    firsts = np.zeros(4, np.int64)
    done = cseg.decode_boxes(*chunks.place, zeros, whole, out, firsts, strides)
    assert done.tolist() == [False, True]
    status = cseg.decode_box(
        chunks.each[0][: chunks.lengths[0]], 1, 0, SHAPE, BLOCK, (0, 0, 0), SHAPE, out, 0, strides
    )
    assert status % 16 in (faults.LOOKUP_TABLE_OFFSET, faults.ENCODED_VALUES_OFFSET)
