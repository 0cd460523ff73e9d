"""Sort points by chunk in linear time. Numba is imported with this module."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import ChunkGrid
from shardreader.reading.grouping_kernels import (
    DIGIT_BITS,
    DIGITS,
    count_points,
    count_sort,
    find_extent,
    find_keys,
    list_cells,
    pack_points,
    place_points,
    sort_once,
)
from shardreader.runtime.workers import Workers

__all__ = ["GroupedPoints", "group_points", "sort_by_key"]

# A count for each cell that points could be in, while these stay in a core's cache or are not
# many more than the points; points all over a large volume are sorted digit by digit.
_MOST_COUNTS = 1 << 16
# With fewer points threads are not worth their start; each thread has counts of its own.
_LEAST_POINTS_OF_PART, _MOST_PARTS = 1 << 15, 8


class GroupedPoints(NamedTuple):
    """Points sorted by chunk, in input order within a chunk.

    Attributes
    ----------
    order : ndarray of int64, shape (m,)
        Rows of the points.
    packed : ndarray of uint64, shape (m,)
        ``x | y << bits[0] | z << (bits[0] + bits[1])``, in voxels from the chunk's first.
    bits : (int, int)
    cells : ndarray of int64, shape (g, 3)
        Grid cells of the chunks.
    shapes : ndarray of int64, shape (g, 3)
        Their extents in voxels, clipped.
    firsts : ndarray of int64, shape (g + 1,)
        The points of ``cells[i]`` are ``order[firsts[i]:firsts[i + 1]]``.
    """

    order: NDArray[np.int64]
    packed: NDArray[np.uint64]
    bits: tuple[int, int]
    cells: NDArray[np.int64]
    shapes: NDArray[np.int64]
    firsts: NDArray[np.int64]


def group_points(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    grid: ChunkGrid,
    workers: Workers,
) -> GroupedPoints:
    """Sort points by their chunk, in linear time.

    Parameters
    ----------
    voxels : ndarray of int64, shape (n, 3), C order
    status : ndarray of uint8, shape (n,)
        0 for the points that count; of those outside the grid it becomes OUT_OF_BOUNDS.

    Examples
    --------
    >>> grid = ChunkGrid((100, 100, 100), (-20, 0, 0), (16, 10, 8))
    >>> voxels = np.array([[50, 5, 8], [17, 5, 8], [-9, 0, 0], [90, 0, 0]])
    >>> status = np.array([0, 0, 3, 0], np.uint8)
    >>> found = group_points(voxels, status, grid, Workers(1))
    >>> found.order.tolist(), found.cells.tolist(), found.firsts.tolist(), status.tolist()
    ([1, 0], [[2, 0, 1], [4, 0, 1]], [0, 1, 2], [0, 0, 3, 2])
    >>> found.packed.tolist(), found.bits
    ([85, 86], (4, 4))
    """
    table = grid.table
    parts = max(1, min(workers.threads, _MOST_PARTS, len(status) // _LEAST_POINTS_OF_PART))
    cuts = [len(status) * part // parts for part in range(parts + 1)]
    rows = [slice(a, b) for a, b in pairwise(cuts)]
    extents: NDArray[np.int64] = np.empty((parts, 7), dtype=np.int64)
    workers.run(
        lambda part: find_extent(voxels[rows[part]], status[rows[part]], table, extents[part]),
        range(parts),
    )
    found = extents[0] if parts == 1 else _joined(extents)
    x, y, z, count = found[3:].tolist()
    order: NDArray[np.int64] = np.empty(count, dtype=np.int64)
    packed: NDArray[np.uint64] = np.empty(count, dtype=np.uint64)
    edges = grid.chunk_size
    bits = ((edges[0] - 1).bit_length(), (edges[1] - 1).bit_length())
    number = x * y * z
    if number > _MOST_COUNTS + count:
        return _sorted_by_digits(voxels, status, grid, found, order, packed, bits)
    most = min(number, count)
    cells, shapes = np.empty((2, most, 3), dtype=np.int64)
    firsts: NDArray[np.int64] = np.empty(most + 1, dtype=np.int64)
    if number > _MOST_COUNTS:
        parts, rows = 1, [slice(None)]
    places: NDArray[np.int64] = np.empty((parts, number), dtype=np.int64)
    if parts == 1:
        filled = count_sort(
            *(voxels, status, table, found, bits, places, order, packed, cells, shapes, firsts)
        )
    else:
        workers.run(
            lambda part: count_points(
                voxels[rows[part]], status[rows[part]], table, found, places[part]
            ),
            range(parts),
        )
        filled = list_cells(places, table, found, cells, shapes, firsts)
        workers.run(
            lambda part: place_points(
                *(voxels[rows[part]], status[rows[part]], cuts[part], table, found, bits),
                *(places[part], order, packed),
            ),
            range(parts),
        )
    return GroupedPoints(order, packed, bits, cells[:filled], shapes[:filled], firsts[: filled + 1])


def _joined(extents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The extent of all parts from that of each; see `grouping_kernels.find_extent`."""
    filled = extents[extents[:, 6] > 0]
    if not len(filled):
        return np.zeros(7, dtype=np.int64)
    first = filled[:, :3].min(axis=0)
    end = (filled[:, :3] + filled[:, 3:6]).max(axis=0)
    joined: NDArray[np.int64] = np.concatenate([first, end - first, [filled[:, 6].sum()]])
    return joined


def _sorted_by_digits(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    grid: ChunkGrid,
    found: NDArray[np.int64],
    order: NDArray[np.int64],
    packed: NDArray[np.uint64],
    bits: tuple[int, int],
) -> GroupedPoints:
    """Points of so many cells that counts of all of them would be more than the points."""
    first, (x, y, z) = found[:3].tolist(), found[3:6].tolist()
    shifts = tuple(grid.table[3].tolist())
    corner = tuple(
        o + f * e for o, f, e in zip(grid.voxel_offset, first, grid.chunk_size, strict=True)
    )
    place = (corner, grid.chunk_size, shifts, (x, y, z))
    valid = np.flatnonzero(status == 0)
    keys = np.empty_like(order)
    find_keys(voxels, valid, *place, keys)
    sequence, distinct, firsts = sort_by_key(keys)
    order = valid[sequence]
    pack_points(voxels, order, *place, bits, packed)
    of_each = (distinct % x, distinct // x % y, distinct // (x * y))
    cells = np.stack([axis + start for axis, start in zip(of_each, first, strict=True)], axis=1)
    _, shapes = grid.cell_extents(cells)
    return GroupedPoints(order, packed, bits, cells, np.ascontiguousarray(shapes), firsts)


def sort_by_key(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group equal keys: a stable radix sort.

    Parameters
    ----------
    keys : ndarray of int64, shape (n,), not negative
        Changed: it serves as scratch memory.

    Returns
    -------
    order : ndarray of int64, shape (n,)
        Indices into `keys` as it was, sorted by key, ties in input order.
    distinct : ndarray of int64, shape (g,)
        The keys that occur, ascending.
    firsts : ndarray of int64, shape (g + 1,)
        The group of ``distinct[i]`` is ``order[firsts[i]:firsts[i + 1]]``.

    Examples
    --------
    >>> order, distinct, firsts = sort_by_key(np.array([7, 3, 7, 0]))
    >>> order.tolist(), distinct.tolist(), firsts.tolist()
    ([3, 1, 0, 2], [0, 3, 7], [0, 1, 2, 4])
    """
    order: NDArray[np.int64] = np.arange(len(keys), dtype=np.int64)
    if len(keys) == 0:
        return order, keys, np.zeros(1, dtype=np.int64)
    lowest = keys.min()
    keys -= lowest
    other_keys, other_order = np.empty_like(keys), np.empty_like(order)
    positions: NDArray[np.int64] = np.empty(DIGITS, dtype=np.int64)
    for shift in range(0, int(keys.max()).bit_length(), DIGIT_BITS):
        sort_once(keys, order, other_keys, other_order, shift, positions)
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
    changes: NDArray[Any] = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    firsts = np.concatenate(([0], changes, [len(keys)])).astype(np.int64)
    return order, keys[firsts[:-1]] + lowest, firsts
