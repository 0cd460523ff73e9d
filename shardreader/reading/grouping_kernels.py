"""The compiled parts of `grouping`. Imports numba.

int64 and uint64 are not mixed here: to numba the result would be a float.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.errors import PointStatus
from shardreader.format.grid import Triple
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = [
    "DIGITS",
    "DIGIT_BITS",
    "count_points",
    "count_sort",
    "find_extent",
    "find_keys",
    "list_cells",
    "pack_points",
    "place_points",
    "sort_once",
]

_OUT_OF_BOUNDS = int(PointStatus.OUT_OF_BOUNDS)
DIGIT_BITS = 11
DIGITS = 1 << DIGIT_BITS


def _radix_pass(
    keys: NDArray[np.int64],
    order: NDArray[np.int64],
    sorted_keys: NDArray[np.int64],
    sorted_order: NDArray[np.int64],
    shift: int,
    positions: NDArray[np.int64],
) -> None:
    """One stable pass over the digit of `keys` at bit `shift`; `positions` is scratch."""
    for digit in range(DIGITS):
        positions[digit] = 0
    for i in range(keys.size):
        positions[(keys[i] >> shift) & (DIGITS - 1)] += 1
    before = 0
    for digit in range(DIGITS):
        count = positions[digit]
        positions[digit] = before
        before += count
    for i in range(keys.size):
        digit = (keys[i] >> shift) & (DIGITS - 1)
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
            status[i] = _OUT_OF_BOUNDS
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


def _place_of(grid: NDArray[np.int64], found: NDArray[np.int64]) -> tuple[Triple, ...]:
    """First voxel of the first cell, edges, their shifts, and the cells that are spanned."""
    return (
        (
            grid[0, 0] + found[0] * grid[2, 0],
            grid[0, 1] + found[1] * grid[2, 1],
            grid[0, 2] + found[2] * grid[2, 2],
        ),
        (grid[2, 0], grid[2, 1], grid[2, 2]),
        (grid[3, 0], grid[3, 1], grid[3, 2]),
        (found[3], found[4], found[5]),
    )


_inlined_place = inlined(_place_of)


def _count(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    grid: NDArray[np.int64],
    found: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count the points of each cell."""
    lower, edges, shifts, cells = _inlined_place(grid, found)
    for key in range(counts.size):
        counts[key] = 0
    for i in range(status.size):
        if status[i] == 0:
            key, _, _, _ = _inlined_key(voxels, i, lower, edges, shifts, cells)
            counts[key] += 1


def _list(
    places: NDArray[np.int64],
    grid: NDArray[np.int64],
    found: NDArray[np.int64],
    cells: NDArray[np.int64],
    shapes: NDArray[np.int64],
    firsts: NDArray[np.int64],
) -> int:
    """Turn counts, a row for each part of the points, into the places of their first points.

    Lists the cells that have points, and where the points of each begin; returns their number.
    """
    before = np.int64(0)
    filled = 0
    for key in range(places.shape[1]):
        begin = before
        for part in range(places.shape[0]):
            count = places[part, key]
            places[part, key] = before
            before += count
        if before > begin:
            cells[filled, 0] = found[0] + key % found[3]
            cells[filled, 1] = found[1] + key // found[3] % found[4]
            cells[filled, 2] = found[2] + key // (found[3] * found[4])
            for axis in range(3):
                corner = grid[0, axis] + cells[filled, axis] * grid[2, axis]
                shapes[filled, axis] = min(grid[2, axis], grid[1, axis] - corner)
            firsts[filled] = begin
            filled += 1
    firsts[filled] = before
    return filled


def _put(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    first_row: int,
    grid: NDArray[np.int64],
    found: NDArray[np.int64],
    bits: tuple[int, int],
    places: NDArray[np.int64],
    order: NDArray[np.int64],
    packed: NDArray[np.uint64],
) -> None:
    """Put each point behind those of its cell before it; rows count from `first_row`."""
    lower, edges, shifts, cells = _inlined_place(grid, found)
    for i in range(status.size):
        if status[i] == 0:
            key, x, y, z = _inlined_key(voxels, i, lower, edges, shifts, cells)
            target = places[key]
            places[key] = target + 1
            order[target] = first_row + i
            packed[target] = np.uint64(x | y << bits[0] | z << (bits[0] + bits[1]))


_inlined_count, _inlined_list, _inlined_put = inlined(_count), inlined(_list), inlined(_put)


def _sort_by_counting(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    grid: NDArray[np.int64],
    found: NDArray[np.int64],
    bits: tuple[int, int],
    places: NDArray[np.int64],
    order: NDArray[np.int64],
    packed: NDArray[np.uint64],
    cells: NDArray[np.int64],
    shapes: NDArray[np.int64],
    firsts: NDArray[np.int64],
) -> int:
    """All three steps in one call, which few points had better have."""
    _inlined_count(voxels, status, grid, found, places[0])
    filled = _inlined_list(places, grid, found, cells, shapes, firsts)
    _inlined_put(voxels, status, 0, grid, found, bits, places[0], order, packed)
    return filled


_integers = types.Array(types.int64, 1, "C")
_rows = types.Array(types.int64, 1, "C", readonly=True)
_points = types.Array(types.int64, 2, "C", readonly=True)
_statuses = types.Array(types.uint8, 1, "C", readonly=True)
_packed = types.Array(types.uint64, 1, "C")
_table = types.Array(types.int64, 2, "C")
_triple = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]
_pair = types.UniTuple(types.int64, 2)  # type: ignore[no-untyped-call]
_place = (_triple, _triple, _triple, _triple)
_judged = (_points, _statuses)
_where = (_points, _rows)
sort_once = compile_cached(
    _radix_pass,
    types.void(_integers, _integers, _integers, _integers, types.int64, _integers),
)
find_extent = compile_cached(
    _extent, types.void(_points, types.Array(types.uint8, 1, "C"), _points, _integers)
)
find_keys = compile_cached(_keys_of_points, types.void(_points, _rows, *_place, _integers))
pack_points = compile_cached(_pack, types.void(_points, _rows, *_place, _pair, _packed))
count_points = compile_cached(_count, types.void(*_judged, *_where, _integers))
list_cells = compile_cached(_list, types.int64(_table, *_where, _table, _table, _integers))
place_points = compile_cached(
    _put, types.void(*_judged, types.int64, *_where, _pair, _integers, _integers, _packed)
)
count_sort = compile_cached(
    _sort_by_counting,
    types.int64(
        *(*_judged, *_where, _pair, _table, _integers, _packed),
        *(_table, _table, _integers),
    ),
)
