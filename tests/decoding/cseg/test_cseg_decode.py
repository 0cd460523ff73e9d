"""decode_box: equal to the oracle for every box, stride, block size, bit width and label type."""

from __future__ import annotations

import os
import subprocess
import sys

import compressed_segmentation
import numpy as np
import pytest
from cli import REPOSITORY
from cseg_oracle import Oracle
from cseg_strategies import blocky_volumes, boxes, label_types, seeds, triples
from cseg_words import Block, channel_words, encoding, table_words, value_words, written_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding import cseg

UNTOUCHED = 0xABCDEF


@st.composite
def targets(draw, shape, dtype):
    """A view of a flat array: any order of axes, any direction, with gaps.

    Gives the flat array, the view, the item of its first voxel and its strides in items.
    """
    axes = draw(st.permutations(range(3)))
    steps = draw(st.tuples(*[st.sampled_from([1, 1, 2, -1, -3])] * 3))
    room = [abs(step) * n + draw(st.integers(0, 1)) for step, n in zip(steps, shape, strict=True)]
    flat = np.full(int(np.prod(room)), UNTOUCHED, dtype)
    whole = flat.reshape([room[axis] for axis in axes]).transpose(np.argsort(axes))
    view = whole[tuple(slice(None, None, step) for step in steps)]
    view = view[: shape[0], : shape[1], : shape[2]]
    start = (view.__array_interface__["data"][0] - flat.ctypes.data) // flat.itemsize
    return flat, view, start, tuple(stride // flat.itemsize for stride in view.strides)


def decode(words, cell_shape, block_size, box, target, *, num_channels=1, channel=0):
    flat, _, start, strides = target
    return cseg.decode_box(
        words, num_channels, channel, cell_shape, block_size, *box, flat, start, strides
    )


def check_box(data, words, cell_shape, block_size, dtype, *, num_channels=1, channel=0):
    """decode_box and the oracle give the same voxels, and nothing else is written."""
    box = data.draw(boxes(cell_shape))
    shape = tuple(u - k for k, u in zip(*box, strict=True))
    target = data.draw(targets(shape, dtype))
    oracle = Oracle(
        words, num_channels, channel, cell_shape, block_size, np.dtype(dtype).itemsize // 4
    )
    expected = oracle.box(*box)
    status = decode(
        words, cell_shape, block_size, box, target, num_channels=num_channels, channel=channel
    )
    assert status == cseg.OK
    flat, view, _, _ = target
    np.testing.assert_array_equal(view, expected)
    view[...] = UNTOUCHED
    assert (flat == UNTOUCHED).all()


@given(data=st.data(), dtype=label_types, block_size=triples(1, 9))
@settings(max_examples=60, deadline=None)
def test_foreign_encodings(data, dtype, block_size):
    volume = data.draw(blocky_volumes(dtype))
    encoded = compressed_segmentation.compress(volume, block_size=block_size, order="F")
    words = np.frombuffer(encoded, "<u4")
    target = np.empty(volume.size, dtype)
    x, y, _ = volume.shape
    box = ((0, 0, 0), volume.shape)
    assert decode(words, volume.shape, block_size, box, (target, 0, 0, (1, x, x * y))) == cseg.OK
    np.testing.assert_array_equal(target.reshape(volume.shape, order="F"), volume)
    check_box(data, words, volume.shape, block_size, dtype)


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
)
@settings(max_examples=80, deadline=None)
def test_encodings_by_hand(data, dtype, seed, grid, block_size, num_channels):
    rng = np.random.default_rng(seed)
    padding = [data.draw(st.integers(0, size - 1)) for size in block_size]
    cell_shape = tuple(g * b - p for g, b, p in zip(grid, block_size, padding, strict=True))
    label_words = np.dtype(dtype).itemsize // 4
    blocks, volume = int(np.prod(grid)), int(np.prod(block_size))
    words = encoding(
        *(written_by_hand(rng, blocks, volume, label_words) for _ in range(num_channels))
    )
    channel = data.draw(st.integers(0, num_channels - 1))
    check_box(
        data, words, cell_shape, block_size, dtype, num_channels=num_channels, channel=channel
    )


@pytest.mark.parametrize("dtype", [np.uint32, np.uint64])
@pytest.mark.parametrize("block_x", [8, 16, 20, 32])
@pytest.mark.parametrize("bits", [0, 1, 2, 4, 8, 16, 32])
def test_fast_paths_equal_the_general_path(dtype, block_x, bits):
    """A stride of 1 takes the fast path wherever one exists, a stride of 2 never does."""
    rng = np.random.default_rng(bits)
    size = min(1 << bits, 300)
    entries = 1 << min(bits, 9)
    block_size = (block_x, 5, 3)
    volume = block_x * 15
    labels = rng.integers(np.iinfo(dtype).max, size=entries, dtype=dtype, endpoint=True)
    codes = rng.integers(size, size=volume)
    parts = [
        ("values", value_words(codes, bits) if bits else table_words([], 1)),
        ("table", labels.view("<u4")),
    ]
    words = encoding(channel_words([Block(bits, "table", "values")], parts))
    expected = labels[codes].reshape(block_size, order="F")
    for first in range(block_x):
        for last in range(first + 1, block_x + 1):
            box = ((first, 1, 0), (last, 5, 3))
            row = last - first
            fast, general = np.zeros(row * 12, dtype), np.zeros(row * 24, dtype)
            assert decode(words, block_size, block_size, box, (fast, 0, 0, (1, row, 4 * row))) == 0
            strides = (2, 2 * row, 8 * row)
            assert decode(words, block_size, block_size, box, (general, 0, 0, strides)) == 0
            np.testing.assert_array_equal(fast, general[::2])
            np.testing.assert_array_equal(
                fast.reshape((row, 4, 3), order="F"), expected[first:last, 1:]
            )


@pytest.mark.parametrize("block_x", [8, 16])
@pytest.mark.parametrize("bits", [1, 2, 4])
def test_rows_of_8_and_16_take_the_fast_path(block_x, bits):
    from shardreader.decoding.cseg.kernels import GENERAL, WINDOW, choose_path

    choose = choose_path.py_func
    entries = 1 << bits
    assert choose(bits, entries, 1, block_x, 0, block_x) == WINDOW
    assert choose(bits, entries, 1, block_x, 3, block_x - 5) == WINDOW
    assert choose(bits, entries - 1, 1, block_x, 0, block_x) == GENERAL
    assert choose(bits, entries, 2, block_x, 0, block_x) == GENERAL


def test_the_window_path_never_needs_more_than_64_bits():
    from shardreader.decoding.cseg.kernels import FILL, GENERAL, WINDOW, choose_path

    choose = choose_path.py_func
    assert choose(0, 1, -5, 16, 0, 16) == FILL
    assert choose(8, 1 << 40, 1, 16, 0, 16) == GENERAL
    for bits in (1, 2, 4):
        for block_x in range(1, 70):
            for first in range(block_x):
                for row in range(1, block_x - first + 1):
                    if choose(bits, 16, 1, block_x, first, row) == WINDOW:
                        # The row's first bit within its word, for every row of a block.
                        shifts = {bits * (first + block_x * y) % 32 for y in range(32)}
                        assert max(shifts) + bits * row <= 64


def test_a_table_shorter_than_the_codes_allow_at_the_very_end():
    codes = [0, 1, 2, 2] * 4
    parts = [("values", value_words(codes, 2)), ("table", table_words([5, 6, 7], 2))]
    words = encoding(channel_words([Block(2, "table", "values")], parts))
    out = np.zeros(16, np.uint64)
    box = ((0, 0, 0), (16, 1, 1))
    assert decode(words, (16, 1, 1), (16, 1, 1), box, (out, 0, 0, (1, 16, 16))) == cseg.OK
    assert out.tolist() == [5, 6, 7, 7] * 4


def test_32_encoded_bits():
    codes = [0, 2, 1, 2]
    parts = [("values", value_words(codes, 32)), ("table", table_words([4, 1 << 63, 9], 2))]
    words = encoding(channel_words([Block(32, "table", "values")], parts))
    out = np.zeros(4, np.uint64)
    box = ((0, 0, 0), (2, 2, 1))
    assert decode(words, (2, 2, 1), (2, 2, 1), box, (out, 0, 0, (1, 2, 4))) == cseg.OK
    assert out.tolist() == [4, 9, 1 << 63, 9]


@pytest.mark.slow
def test_encoded_values_offset_beyond_24_bits():
    far = np.zeros(1 << 24, "<u4")
    parts = [
        ("table", table_words([11, 12], 2)),
        ("far", far),
        ("values", value_words([0, 1, 1, 0], 1)),
    ]
    words = encoding(channel_words([Block(1, "table", "values")], parts))
    out = np.zeros(4, np.uint64)
    box = ((0, 0, 0), (4, 1, 1))
    assert decode(words, (4, 1, 1), (4, 1, 1), box, (out, 0, 0, (1, 4, 4))) == cseg.OK
    assert out.tolist() == [11, 12, 12, 11]


def test_import_without_numba():
    code = "import sys, shardreader.decoding.cseg; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, check=False).returncode == 0


def test_without_a_place_for_the_cache(tmp_path):
    """numba refuses to decorate where it finds no directory to write; the kernels run all the same.

    A file named __pycache__ and a home that is no directory stop root as well.
    """
    module = tmp_path / "homeless.py"
    module.write_text("def double(x):\n    return 2 * x\n")
    (tmp_path / "__pycache__").touch()
    code = (
        "import warnings, homeless\n"
        "from numba import int64\n"
        "from shardreader.runtime.compiling import compile_cached\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    assert compile_cached(homeless.double, int64(int64))(21) == 42\n"
        "(warning,) = caught\n"
        "assert 'NUMBA_CACHE_DIR' in str(warning.message), warning\n"
    )
    environment = os.environ | {"HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    environment.pop("NUMBA_CACHE_DIR", None)
    environment["PYTHONPATH"] = os.pathsep.join([str(REPOSITORY), str(tmp_path)])
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
