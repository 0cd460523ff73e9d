"""ChunkRows: each chunk's labels as numpy counts them on decoded voxels, and no damaged one."""

from __future__ import annotations

import numpy as np
from cseg_strategies import label_types, seeds, triples
from cseg_words import encoding, written_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding import cseg
from shardreader.decoding.cseg.chunk_rows import ChunkRows

# Blocks of 512 voxels, where none is cut off, have loops of their own.
block_sizes = st.one_of(
    st.sampled_from([(16, 16, 2), (8, 8, 8), (512, 1, 1)]),
    st.sampled_from([(16, 4, 2), (17, 2, 2), (64, 1, 2), (8, 8, 4)]),
    triples(1, 7),
)


def joined(encodings):
    """Encodings in one array, and where each begins and how long it is."""
    lengths = np.array([len(words) for words in encodings])
    return np.concatenate(encodings), np.cumsum(lengths) - lengths, lengths


def counts_of(rows):
    """The rows of each chunk, as a dict by label."""
    found = {}
    for number, label, voxels in zip(*(column.tolist() for column in rows.take()), strict=True):
        assert label not in found.setdefault(number, {})
        found[number][label] = voxels
    return found


def decoded(words, shape, block_size, dtype):
    """Status and voxels of the decoder, which has an oracle of its own."""
    out = np.zeros(int(np.prod(shape)), dtype)
    strides = (1, shape[0], shape[0] * shape[1])
    chunk = (words, 1, 0, shape, block_size)
    return cseg.decode_box(*chunk, (0, 0, 0), shape, out, 0, strides), out


def truth_of(voxels):
    labels, counts = np.unique(voxels[voxels != 0], return_counts=True)
    return dict(zip(labels.tolist(), counts.tolist(), strict=True))


@given(data=st.data(), dtype=label_types, seed=seeds, grid=triples(1, 3), block_size=block_sizes)
@settings(max_examples=60, deadline=None)
def test_encodings_by_hand(data, dtype, seed, grid, block_size):
    """Tables shared, of blocks of several widths, with labels of no voxel; some blocks cut off."""
    rng = np.random.default_rng(seed)
    label_words = np.dtype(dtype).itemsize // 4
    shapes, encodings, expected = [], [], {}
    for number in range(3):
        padding = [0, 0, 0]
        if number:
            padding = [data.draw(st.integers(0, size - 1)) for size in block_size]
        shape = tuple(g * b - p for g, b, p in zip(grid, block_size, padding, strict=True))
        words = encoding(
            written_by_hand(rng, int(np.prod(grid)), int(np.prod(block_size)), label_words)
        )
        status, voxels = decoded(words, shape, block_size, dtype)
        assert status == cseg.OK
        shapes.append(shape)
        encodings.append(words)
        expected[number] = truth_of(voxels)
    rows = ChunkRows()
    chunks = (*joined(encodings), np.arange(3), np.array(shapes), block_size, label_words)
    for _ in range(2):  # what a call leaves is no part of the next one
        assert rows.add_chunks(*chunks).all()
        assert counts_of(rows) == {n: counts for n, counts in expected.items() if counts}


@given(seed=seeds, flips=st.integers(0, 4), block_size=st.sampled_from([(8, 8, 8), (4, 4, 2)]))
@settings(max_examples=150, deadline=None)
def test_damage_is_found_exactly_where_decoding_finds_it(seed, flips, block_size):
    rng = np.random.default_rng(seed)
    shape = tuple(2 * size for size in block_size)
    expected, encodings, sound = {}, [], []
    for number in range(3):
        words = encoding(written_by_hand(rng, 8, int(np.prod(block_size)), 2)).copy()
        if number != 1:
            at = rng.integers(len(words) if seed % 2 else 17, size=flips)
            words[at] ^= np.uint32(1) << rng.integers(32, size=flips).astype(np.uint32)
            words = words[: len(words) - int(rng.integers(4))]
        status, voxels = decoded(words, shape, block_size, np.uint64)
        sound.append(status == cseg.OK)
        encodings.append(words)
        if sound[-1] and truth_of(voxels):
            expected[number] = truth_of(voxels)
    rows = ChunkRows()
    done = rows.add_chunks(*joined(encodings), np.arange(3), np.array([shape] * 3), block_size, 2)
    assert done.tolist() == sound
    assert counts_of(rows) == expected
