"""Sort points by chunk in linear time. Floor 1; numba is imported with this module.

int64 and uint64 are not mixed in the kernels: to numba the result would be a float.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.compiling import compile_cached, inlined
from shardreader.errors import PointStatus
from shardreader.grid import ChunkGrid, Triple

__all__ = ["GroupedPoints", "group_points", "sort_by_key"]

_OUT_OF_BOUNDS = int(PointStatus.OUT_OF_BOUNDS)
_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS
# A count for each cell that points could be in, while these stay in a core's cache or are not
# many more than the points; points all over a large volume are sorted digit by digit.
_MOST_COUNTS = 1 << 16


def _radix_pass(
    keys: NDArray[np.int64],
    order: NDArray[np.int64],
    sorted_keys: NDArray[np.int64],
    sorted_order: NDArray[np.int64],
    shift: int,
    positions: NDArray[np.int64],
) -> None:
    """One stable pass over the digit of `keys` at bit `shift`; `positions` is scratch."""
    for digit in range(_DIGITS):
        positions[digit] = 0
    for i in range(keys.size):
        positions[(keys[i] >> shift) & (_DIGITS - 1)] += 1
    before = 0
    for digit in range(_DIGITS):
        count = positions[digit]
        positions[digit] = before
        before += count
    for i in range(keys.size):
        digit = (keys[i] >> shift) & (_DIGITS - 1)
        target = positions[digit]
        positions[digit] = target + 1
        sorted_keys[target] = keys[i]
        sorted_order[target] = order[i]


def _split(relative: int, edge: int, shift: int) -> tuple[int, int]:
    """Cell and position in it; a shift where the edge is a power of two, for speed."""
    cell = relative >> shift if shift >= 0 else relative // edge
    return cell, relative - cell * edge


_inlined_split = inlined(_split)


def _extent(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    grid: NDArray[np.int64],
    outside: int,
    found: NDArray[np.int64],
) -> None:
    """Judge which points lie in the volume; the span of cells of those of status 0.

    `found` becomes the first cell, the number of cells along each axis, and the number of points.
    """
    count = 0
    low_x = low_y = low_z = np.int64((1 << 63) - 1)
    high_x = high_y = high_z = np.int64(-(1 << 63))
    for i in range(status.size):
        if status[i] != 0:
            continue
        x, y, z = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        if not (
            grid[0, 0] <= x < grid[1, 0]
            and grid[0, 1] <= y < grid[1, 1]
            and grid[0, 2] <= z < grid[1, 2]
        ):
            status[i] = outside
            continue
        low_x, low_y, low_z = min(low_x, x), min(low_y, y), min(low_z, z)
        high_x, high_y, high_z = max(high_x, x), max(high_y, y), max(high_z, z)
        count += 1
    found[6] = count
    if count == 0:
        found[:6] = 0
        return
    found[0] = (low_x - grid[0, 0]) // grid[2, 0]
    found[1] = (low_y - grid[0, 1]) // grid[2, 1]
    found[2] = (low_z - grid[0, 2]) // grid[2, 2]
    found[3] = (high_x - grid[0, 0]) // grid[2, 0] - found[0] + 1
    found[4] = (high_y - grid[0, 1]) // grid[2, 1] - found[1] + 1
    found[5] = (high_z - grid[0, 2]) // grid[2, 2] - found[2] + 1


def _key(
    voxels: NDArray[np.int64], row: int, lower: Triple, edges: Triple, shifts: Triple, cells: Triple
) -> tuple[int, int, int, int]:
    """Number of a point's cell, x fastest, and its position in the cell."""
    cell_x, x = _inlined_split(voxels[row, 0] - lower[0], edges[0], shifts[0])
    cell_y, y = _inlined_split(voxels[row, 1] - lower[1], edges[1], shifts[1])
    cell_z, z = _inlined_split(voxels[row, 2] - lower[2], edges[2], shifts[2])
    return cell_x + cells[0] * (cell_y + cells[1] * cell_z), x, y, z


_inlined_key = inlined(_key)


def _keys_of_points(
    voxels: NDArray[np.int64],
    valid: NDArray[np.int64],
    lower: Triple,
    edges: Triple,
    shifts: Triple,
    cells: Triple,
    keys: NDArray[np.int64],
) -> None:
    for i in range(valid.size):
        keys[i], _, _, _ = _inlined_key(voxels, valid[i], lower, edges, shifts, cells)


def _pack(
    voxels: NDArray[np.int64],
    order: NDArray[np.int64],
    lower: Triple,
    edges: Triple,
    shifts: Triple,
    cells: Triple,
    bits: tuple[int, int],
    packed: NDArray[np.uint64],
) -> None:
    for i in range(order.size):
        _, x, y, z = _inlined_key(voxels, order[i], lower, edges, shifts, cells)
        packed[i] = np.uint64(x | y << bits[0] | z << (bits[0] + bits[1]))


def _sort_by_counting(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    grid: NDArray[np.int64],
    found: NDArray[np.int64],
    bits: tuple[int, int],
    keys: NDArray[np.int32],
    places: NDArray[np.int64],
    order: NDArray[np.int64],
    packed: NDArray[np.uint64],
    cells: NDArray[np.int64],
    shapes: NDArray[np.int64],
    firsts: NDArray[np.int64],
) -> int:
    """Count the points of each cell, then put each point behind those of its cell before it.

    Lists the cells that have points, and where the points of each begin; returns their number.
    """
    first = (found[0], found[1], found[2])
    spanned = (found[3], found[4], found[5])
    edges = (grid[2, 0], grid[2, 1], grid[2, 2])
    shifts = (grid[3, 0], grid[3, 1], grid[3, 2])
    lower = (
        grid[0, 0] + first[0] * edges[0],
        grid[0, 1] + first[1] * edges[1],
        grid[0, 2] + first[2] * edges[2],
    )
    for key in range(places.size):
        places[key] = 0
    for i in range(status.size):
        if status[i] == 0:
            key, _, _, _ = _inlined_key(voxels, i, lower, edges, shifts, spanned)
            keys[i] = key
            places[key] += 1
    before = np.int64(0)
    filled = 0
    for key in range(places.size):
        count = places[key]
        places[key] = before
        if count:
            cells[filled, 0] = first[0] + key % spanned[0]
            cells[filled, 1] = first[1] + key // spanned[0] % spanned[1]
            cells[filled, 2] = first[2] + key // (spanned[0] * spanned[1])
            for axis in range(3):
                corner = grid[0, axis] + cells[filled, axis] * grid[2, axis]
                shapes[filled, axis] = min(grid[2, axis], grid[1, axis] - corner)
            firsts[filled] = before
            filled += 1
        before += count
    firsts[filled] = before
    for i in range(status.size):
        if status[i] == 0:
            _, x, y, z = _inlined_key(voxels, i, lower, edges, shifts, spanned)
            target = places[keys[i]]
            places[keys[i]] = target + 1
            order[target] = i
            packed[target] = np.uint64(x | y << bits[0] | z << (bits[0] + bits[1]))
    return filled


_integers = types.Array(types.int64, 1, "C")
_rows = types.Array(types.int64, 1, "C", readonly=True)
_points = types.Array(types.int64, 2, "C", readonly=True)
_statuses = types.Array(types.uint8, 1, "C", readonly=True)
_packed = types.Array(types.uint64, 1, "C")
_triple = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]
_pair = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
_place = (_triple, _triple, _triple, _triple)
_sort_once = compile_cached(
    _radix_pass,
    types.void(_integers, _integers, _integers, _integers, types.int64, _integers),
)
_table = types.Array(types.int64, 2, "C")
_find_extent = compile_cached(
    _extent,
    types.void(_points, types.Array(types.uint8, 1, "C"), _points, types.uint8, _integers),
)
_find_keys = compile_cached(_keys_of_points, types.void(_points, _rows, *_place, _integers))
_pack_points = compile_cached(_pack, types.void(_points, _rows, *_place, _pair, _packed))
_count_sort = compile_cached(
    _sort_by_counting,
    types.int64(
        _points,
        _statuses,
        _points,
        _rows,
        _pair,
        types.Array(types.int32, 1, "C"),
        _integers,
        _integers,
        _packed,
        _table,
        _table,
        _integers,
    ),
)


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
    voxels: NDArray[np.int64], status: NDArray[np.uint8], grid: ChunkGrid
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
    >>> status = np.array([0, 0, 2, 0], np.uint8)
    >>> found = group_points(voxels, status, grid)
    >>> found.order.tolist(), found.cells.tolist(), found.firsts.tolist(), status.tolist()
    ([1, 0], [[2, 0, 1], [4, 0, 1]], [0, 1, 2], [0, 0, 2, 3])
    >>> found.packed.tolist(), found.bits
    ([85, 86], (4, 4))
    """
    edges, table = grid.chunk_size, grid.table
    bits = ((edges[0] - 1).bit_length(), (edges[1] - 1).bit_length())
    found: NDArray[np.int64] = np.empty(7, dtype=np.int64)
    _find_extent(voxels, status, table, _OUT_OF_BOUNDS, found)
    *reach, count = found.tolist()
    order: NDArray[np.int64] = np.empty(count, dtype=np.int64)
    packed: NDArray[np.uint64] = np.empty(count, dtype=np.uint64)
    first, spanned = tuple(reach[:3]), tuple(reach[3:])
    x, y, z = spanned
    number = x * y * z
    if number <= _MOST_COUNTS + count:
        most = min(number, count)
        cells, shapes = np.empty((2, most, 3), dtype=np.int64)
        firsts: NDArray[np.int64] = np.empty(most + 1, dtype=np.int64)
        keys: NDArray[np.int32] = np.empty(len(status), dtype=np.int32)
        places: NDArray[np.int64] = np.empty(number, dtype=np.int64)
        filled = _count_sort(
            *(voxels, status, table, found, bits, keys, places, order, packed),
            *(cells, shapes, firsts),
        )
        return GroupedPoints(
            order, packed, bits, cells[:filled], shapes[:filled], firsts[: filled + 1]
        )
    lower, shifts = table[0].tolist(), tuple(table[3].tolist())
    corner = tuple(o + f * e for o, f, e in zip(lower, first, edges, strict=True))
    place = (corner, edges, shifts, spanned)
    valid = np.flatnonzero(status == 0)
    scattered: NDArray[np.int64] = np.empty(count, dtype=np.int64)
    _find_keys(voxels, valid, *place, scattered)
    sequence, distinct, firsts = sort_by_key(scattered)
    order = valid[sequence]
    _pack_points(voxels, order, *place, bits, packed)
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
    positions: NDArray[np.int64] = np.empty(_DIGITS, dtype=np.int64)
    for shift in range(0, int(keys.max()).bit_length(), _DIGIT_BITS):
        _sort_once(keys, order, other_keys, other_order, shift, positions)
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
    changes: NDArray[Any] = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    firsts = np.concatenate(([0], changes, [len(keys)])).astype(np.int64)
    return order, keys[firsts[:-1]] + lowest, firsts
