from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shardreader.errors import PointStatus
from shardreader.format.grid import ChunkGrid, Triple
from shardreader.reading.grouping import _LEAST_POINTS_OF_PART, group_points, sort_by_key
from shardreader.runtime.workers import Workers

highest = st.sampled_from([0, 1, 2047, 2048, 2**22, 2**33, 2**62, 2**63 - 1])


def check(keys: np.ndarray) -> None:
    order, distinct, firsts = sort_by_key(keys.copy())
    assert (order.dtype, distinct.dtype, firsts.dtype) == (np.int64,) * 3
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    expected, counts = np.unique(keys, return_counts=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(firsts, np.concatenate([[0], np.cumsum(counts)]))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data(), highest, highest)
def test_as_a_stable_sort(data: st.DataObject, low: int, high: int) -> None:
    low, high = sorted((low, high))
    values = st.integers(low, high)
    keys = data.draw(arrays(np.int64, st.integers(0, 60), elements=values))
    check(keys)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [0],
        [5],
        [2**63 - 1],
        [2**63 - 1, 0],
        [0, 2**63 - 1, 0, 2**62],
        [7] * 1000,
        list(range(5000)),
        list(range(5000))[::-1],
        [2047, 2048, 0, 2047, 4096],
    ],
    ids=lambda keys: f"{len(keys)} keys",
)
def test_corners(keys: list[int]) -> None:
    check(np.array(keys, dtype=np.int64))


def test_many() -> None:
    check(np.random.default_rng(0).integers(0, 2**27, size=300_000))
    check(np.random.default_rng(0).integers(0, 300, size=300_000))


@pytest.mark.parametrize("chunk_size", [(16, 8, 4), (10, 8, 3)])
@pytest.mark.parametrize("spread", [200, 3000, 1 << 21])
@pytest.mark.parametrize("threads", [1, 3])
def test_many_points_on_several_threads(chunk_size: Triple, spread: int, threads: int) -> None:
    """In each cell the rows of its points in input order; what is outside is said to be."""
    grid = ChunkGrid((1 << 20,) * 3, (-5, 7, 0), chunk_size)
    rng = np.random.default_rng(0)
    count = 3 * _LEAST_POINTS_OF_PART + 17
    voxels = rng.integers(-50, spread, (count, 3))
    status = (3 * (rng.random(count) < 0.1)).astype(np.uint8)
    inside = (voxels >= grid.bounds.lower).all(axis=1) & (voxels < grid.bounds.upper).all(axis=1)
    expected_status = np.where((status == 0) & ~inside, PointStatus.OUT_OF_BOUNDS, status)
    relative = voxels - grid.voxel_offset
    cells = relative // chunk_size
    found = group_points(voxels, status, grid, Workers(threads))
    np.testing.assert_array_equal(status, expected_status)
    valid = np.flatnonzero(status == 0)
    order = valid[np.lexsort(cells[valid].T)]
    np.testing.assert_array_equal(found.order, order)
    np.testing.assert_array_equal(np.repeat(found.cells, np.diff(found.firsts), 0), cells[order])
    x, y, z = (relative - cells * chunk_size)[order].T
    first, second = found.bits
    np.testing.assert_array_equal(found.packed, x | y << first | z << (first + second))
    np.testing.assert_array_equal(found.shapes, grid.cell_extents(found.cells)[1])


def test_no_point_inside() -> None:
    grid = ChunkGrid((10, 10, 10), (0, 0, 0), (4, 4, 4))
    voxels = np.full((3 * _LEAST_POINTS_OF_PART, 3), -1)
    found = group_points(voxels, np.zeros(len(voxels), np.uint8), grid, Workers(2))
    assert (found.order.size, found.cells.shape, found.firsts.tolist()) == (0, (0, 3), [0])
