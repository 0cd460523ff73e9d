"""LabelTally: equal to numpy on voxels of the oracle, whatever tables and padding hold."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from cli import REPOSITORY
from cseg_oracle import Oracle
from cseg_strategies import blocky_volumes, boxes, label_types, seeds, triples
from cseg_words import Block, channel_words, encoding, table_words, value_words, written_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding import cseg
from shardreader.decoding.cseg.tally import LabelTally

compressed_segmentation = pytest.importorskip("compressed_segmentation")


def truth_of(voxels, origin):
    """Labels, counts and boxes by numpy."""
    labels, counts = np.unique(voxels, return_counts=True)
    corners = []
    for label in labels:
        at = np.argwhere(voxels == label) + origin
        corners.append([at.min(axis=0), at.max(axis=0) + 1])
    return labels, counts, np.array(corners).reshape(-1, 2, 3)


def check(tally, voxels, origin, *, with_boxes):
    labels, counts, corners = tally.result()
    assert labels.dtype == np.uint64
    assert counts.dtype == np.int64
    expected = truth_of(voxels, origin)
    np.testing.assert_array_equal(labels, expected[0])
    np.testing.assert_array_equal(counts, expected[1])
    if with_boxes:
        np.testing.assert_array_equal(corners, expected[2])
    else:
        assert corners.shape == (0, 2, 3)


@given(data=st.data(), dtype=label_types, block_size=triples(1, 9), with_boxes=st.booleans())
@settings(max_examples=60, deadline=None)
def test_foreign_encodings(data, dtype, block_size, with_boxes):
    volume = data.draw(blocky_volumes(dtype))
    encoded = compressed_segmentation.compress(volume, block_size=block_size, order="F")
    words = np.frombuffer(encoded, "<u4")
    lower, upper = data.draw(boxes(volume.shape))
    tally = LabelTally(boxes=with_boxes)
    chunk = (words, 1, 0, volume.shape, block_size, volume.itemsize // 4)
    assert tally.add_chunk(*chunk, lower, upper, (-5, 7, 1000)) == cseg.OK
    part = volume[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
    origin = np.array(lower) + (-5, 7, 1000)
    check(tally, part, origin, with_boxes=with_boxes)
    tally.clear()
    tally.add_voxels(part.astype(np.uint64), tuple(origin.tolist()))
    check(tally, part, origin, with_boxes=with_boxes)


@given(
    data=st.data(),
    dtype=label_types,
    seed=seeds,
    grid=triples(1, 3),
    block_size=st.one_of(
        triples(1, 7),
        st.sampled_from([(16, 4, 2), (8, 8, 2), (32, 2, 1), (17, 2, 2), (10, 3, 3), (64, 1, 2)]),
    ),
    num_channels=st.integers(1, 3),
    with_boxes=st.booleans(),
)
@settings(max_examples=120, deadline=None)
def test_encodings_by_hand(data, dtype, seed, grid, block_size, num_channels, with_boxes):
    """Tables shared, with labels of no voxel; random codes in the padding; every bit width."""
    rng = np.random.default_rng(seed)
    padding = [data.draw(st.integers(0, size - 1)) for size in block_size]
    cell_shape = tuple(g * b - p for g, b, p in zip(grid, block_size, padding, strict=True))
    label_words = np.dtype(dtype).itemsize // 4
    blocks, volume = int(np.prod(grid)), int(np.prod(block_size))
    words = encoding(
        *(written_by_hand(rng, blocks, volume, label_words) for _ in range(num_channels))
    )
    channel = data.draw(st.integers(0, num_channels - 1))
    lower, upper = data.draw(boxes(cell_shape))
    chunk = (words, num_channels, channel, cell_shape, block_size, label_words)
    voxels = Oracle(*chunk).box(lower, upper)
    tally = LabelTally(boxes=with_boxes)
    assert tally.add_chunk(*chunk, lower, upper, (0, 0, 0)) == cseg.OK
    check(tally, voxels, np.array(lower), with_boxes=with_boxes)

    wanted = rng.permutation(np.append(np.unique(voxels), 1).astype(np.uint64))[:3]
    some = LabelTally(boxes=with_boxes, only=wanted)
    assert some.add_chunk(*chunk, lower, upper, (0, 0, 0)) == cseg.OK
    labels, counts, corners = some.result()
    all_labels, all_counts, all_corners = tally.result()
    keep = np.isin(all_labels, wanted)
    np.testing.assert_array_equal(labels, all_labels[keep])
    np.testing.assert_array_equal(counts, all_counts[keep])
    if with_boxes:
        np.testing.assert_array_equal(corners, all_corners[keep])


def one_block(bits, codes, labels, block_size=(16, 2, 1)):
    parts = [
        ("table", table_words(labels, 2)),
        ("values", value_words(codes, bits)),
        ("junk", np.full(8, 77, "<u4")),
    ]
    return encoding(channel_words([Block(bits, "table", "values")], parts)), block_size


@pytest.mark.parametrize("with_boxes", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_padding_is_never_followed(bits, with_boxes):
    """The second row, and the end of the first, lie outside the chunk: their codes are wild."""
    wild = (1 << bits) - 1
    words, block_size = one_block(bits, [0] * 13 + [wild] * 19, [5])
    tally = LabelTally(boxes=with_boxes)
    assert (
        tally.add_chunk(words, 1, 0, (13, 1, 1), block_size, 2, (0,) * 3, (13, 1, 1), (0,) * 3) == 0
    )
    assert [array.tolist() for array in tally.result()[:2]] == [[5], [13]]


@pytest.mark.parametrize("with_boxes", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16, 32])
def test_a_code_past_the_end_is_a_fault_only_where_it_is_followed(bits, with_boxes):
    codes = [0] * 31 + [(1 << bits) - 1]
    parts = [("values", value_words(codes, bits)), ("table", table_words([5], 2))]
    words = encoding(channel_words([Block(bits, "table", "values")], parts))
    chunk = (words, 1, 0, (16, 2, 1), (16, 2, 1), 2)
    tally = LabelTally(boxes=with_boxes)
    status = tally.add_chunk(*chunk, (0, 0, 0), (16, 2, 1), (0, 0, 0))
    assert status != cseg.OK
    assert "code of voxel (15, 1, 0)" in str(cseg.explain(status, *chunk))
    tally.clear()
    assert tally.add_chunk(*chunk, (0, 0, 0), (15, 2, 1), (0, 0, 0)) == cseg.OK
    assert [array.tolist() for array in tally.result()[:2]] == [[5], [30]]


@given(data=st.data(), seed=seeds, flips=st.integers(1, 6), with_boxes=st.booleans())
@settings(max_examples=150, deadline=None)
def test_damage_is_found_exactly_where_decoding_finds_it(data, seed, flips, with_boxes):
    rng = np.random.default_rng(seed)
    words = encoding(written_by_hand(rng, 8, 32, 2)).copy()
    at = rng.integers(len(words) if seed % 2 else 17, size=flips)
    words[at] ^= np.uint32(1) << rng.integers(32, size=flips).astype(np.uint32)
    words = words[: len(words) - int(rng.integers(4))]
    lower, upper = data.draw(boxes((8, 8, 4)))
    shape = [b - a for a, b in zip(lower, upper, strict=True)]
    out = np.zeros(int(np.prod(shape)), np.uint64)
    strides = (1, shape[0], shape[0] * shape[1])
    chunk = (words, 1, 0, (8, 8, 4), (4, 4, 2))
    decoded = cseg.decode_box(*chunk, lower, upper, out, 0, strides)
    tally = LabelTally(boxes=with_boxes)
    status = tally.add_chunk(*chunk, 2, lower, upper, (0, 0, 0))
    assert status == decoded
    if status == cseg.OK:
        voxels = out.reshape(shape, order="F")
        check(tally, voxels, np.array(lower), with_boxes=with_boxes)


@pytest.mark.parametrize("with_boxes", [False, True])
def test_grows_with_the_labels(with_boxes):
    """65,536 labels in blocks of 16 bits: the arrays are enlarged in the middle of a chunk."""
    volume = np.arange(65536, dtype=np.uint64).reshape((64, 32, 32), order="F") * 7919
    size = (16, 16, 8)
    encoded = compressed_segmentation.compress(volume, block_size=size, order="F")
    words = np.frombuffer(encoded, "<u4")
    assert set((words[1:33:2] >> 24).tolist()) == {16}
    tally = LabelTally(boxes=with_boxes)
    for _ in range(2):
        assert (
            tally.add_chunk(words, 1, 0, volume.shape, size, 2, (0,) * 3, volume.shape, (0,) * 3)
            == 0
        )
    labels, counts, corners = tally.result()
    np.testing.assert_array_equal(labels, np.sort(volume.ravel()))
    assert set(counts.tolist()) == {2}
    if with_boxes:
        assert set((corners[:, 1] - corners[:, 0]).ravel().tolist()) == {1}
    voxelwise = LabelTally(boxes=with_boxes)
    voxelwise.add_voxels(volume, (0, 0, 0))
    np.testing.assert_array_equal(voxelwise.result()[0], labels)


@pytest.mark.parametrize("with_boxes", [False, True])
def test_tallies_are_added(with_boxes):
    rng = np.random.default_rng(3)
    volume = rng.integers(200, size=(20, 10, 10)).astype(np.uint64)
    volume[15:] += 1 << 63
    total = LabelTally(boxes=with_boxes)
    for start in range(0, 20, 4):
        part = LabelTally(boxes=with_boxes)
        part.add_voxels(volume[start : start + 4], (start, 0, 0))
        total.add(part)
    check(total, volume, (0, 0, 0), with_boxes=with_boxes)
    total.add_label(9, 24, (100, 100, 100), (102, 103, 104))
    labels, counts, corners = total.result()
    (at,) = np.flatnonzero(labels == 9)
    assert counts[at] == (volume == 9).sum() + 24
    if with_boxes:
        assert corners[at, 1].tolist() == [102, 103, 104]
    with pytest.raises(ValueError, match="boxes"):
        total.add(LabelTally(boxes=not with_boxes))


def test_nothing_is_an_answer():
    labels, counts, corners = LabelTally(boxes=True).result()
    assert (labels.shape, counts.shape, corners.shape) == ((0,), (0,), (0, 2, 3))
    assert labels.dtype == np.uint64


def test_import_without_numba():
    code = "import sys, shardreader.decoding.cseg.tally; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_numba_keeps_a_kernel_by_the_digest_of_all_files_that_it_is_made_of(tmp_path):
    """numba's own cache looks at the file of the outermost function alone."""
    (tmp_path / "inner.py").write_text(
        "from shardreader.runtime.compiling import inlined\n"
        "@inlined\ndef twice(x):\n    return 2 * x\n"
    )
    (tmp_path / "outer.py").write_text(
        "import inner\ntwice = inner.twice\ndef kernel(x):\n    return twice(x) + 1\n"
    )
    code = (
        "import json, outer, inner\n"
        "from numba import int64\n"
        "from shardreader.runtime.compiling import compile_cached\n"
        "kernel = compile_cached(outer.kernel, int64(int64), parts=(inner,))\n"
        "hits = sum(kernel.stats.cache_hits.values())\n"
        "print(json.dumps([kernel(5), hits]))\n"
    )
    environment = os.environ | {
        "NUMBA_CACHE_DIR": str(tmp_path / "cache"),
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(tmp_path)]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }

    def answer():
        done = subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        return json.loads(done.stdout)

    assert answer() == [11, 0]
    assert answer() == [11, 1]
    inner = tmp_path / "inner.py"
    inner.write_text(inner.read_text().replace("2 * x", "3 * x"))
    assert answer() == [16, 0]
