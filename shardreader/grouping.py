"""Sort points by chunk in linear time. Floor 1; numba is imported with this module.

int64 and uint64 are not mixed in the kernels: to numba the result would be a float.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.compiling import compile_cached, inlined
from shardreader.grid import ChunkGrid, Triple

__all__ = ["GroupedPoints", "group_points", "sort_by_key"]

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
    voxels: NDArray[np.int64], status: NDArray[np.uint8], lower: Triple, edges: Triple
) -> tuple[int, ...]:
    """The first cell and the number of cells that points of status 0 span, and their number."""
    count = 0
    low_x = low_y = low_z = high_x = high_y = high_z = np.int64(0)
    for i in range(status.size):
        if status[i] != 0:
            continue
        x, y, z = voxels[i, 0], voxels[i, 1], voxels[i, 2]
        if count == 0:
            low_x, low_y, low_z = x, y, z
            high_x, high_y, high_z = x, y, z
        low_x, low_y, low_z = min(low_x, x), min(low_y, y), min(low_z, z)
        high_x, high_y, high_z = max(high_x, x), max(high_y, y), max(high_z, z)
        count += 1
    first_x = (low_x - lower[0]) // edges[0]
    first_y = (low_y - lower[1]) // edges[1]
    first_z = (low_z - lower[2]) // edges[2]
    return (
        first_x,
        first_y,
        first_z,
        (high_x - lower[0]) // edges[0] - first_x + 1,
        (high_y - lower[1]) // edges[1] - first_y + 1,
        (high_z - lower[2]) // edges[2] - first_z + 1,
        count,
    )


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


def _count_and_place(
    voxels: NDArray[np.int64],
    status: NDArray[np.uint8],
    lower: Triple,
    edges: Triple,
    shifts: Triple,
    cells: Triple,
    bits: tuple[int, int],
    keys: NDArray[np.int32],
    places: NDArray[np.int64],
    order: NDArray[np.int64],
    packed: NDArray[np.uint64],
) -> int:
    """Count the points of each cell, then put each point behind those of its cell before it.

    Returns how many cells have points; a cell's place is then behind the last of its points.
    """
    filled = 0
    for i in range(status.size):
        if status[i] == 0:
            key, _, _, _ = _inlined_key(voxels, i, lower, edges, shifts, cells)
            keys[i] = key
            places[key] += 1
    before = np.int64(0)
    for key in range(places.size):
        count = places[key]
        places[key] = before
        before += count
        filled += count > 0
    for i in range(status.size):
        if status[i] == 0:
            _, x, y, z = _inlined_key(voxels, i, lower, edges, shifts, cells)
            target = places[keys[i]]
            places[keys[i]] = target + 1
            order[target] = i
            packed[target] = np.uint64(x | y << bits[0] | z << (bits[0] + bits[1]))
    return filled


def _collect(
    places: NDArray[np.int64],
    first_cell: Triple,
    spanned: Triple,
    cells: NDArray[np.int64],
    firsts: NDArray[np.int64],
) -> None:
    """List the cells that have points, and where the points of each begin."""
    at = 0
    before = np.int64(0)
    for key in range(places.size):
        if places[key] > before:
            cells[at, 0] = first_cell[0] + key % spanned[0]
            cells[at, 1] = first_cell[1] + key // spanned[0] % spanned[1]
            cells[at, 2] = first_cell[2] + key // (spanned[0] * spanned[1])
            firsts[at] = before
            before = places[key]
            at += 1
    firsts[at] = before


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
_extent_of = compile_cached(
    _extent,
    types.UniTuple(types.int64, 7)(  # type: ignore[no-untyped-call]
        _points, _statuses, _triple, _triple
    ),
)
_find_keys = compile_cached(_keys_of_points, types.void(_points, _rows, *_place, _integers))
_pack_points = compile_cached(_pack, types.void(_points, _rows, *_place, _pair, _packed))
_count_sort = compile_cached(
    _count_and_place,
    types.int64(
        _points,
        _statuses,
        *_place,
        _pair,
        types.Array(types.int32, 1, "C"),
        _integers,
        _integers,
        _packed,
    ),
)


_list_cells = compile_cached(
    _collect,
    types.void(_rows, _triple, _triple, types.Array(types.int64, 2, "C"), _integers),
)


@dataclass(frozen=True, eq=False)
class GroupedPoints:
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
    firsts : ndarray of int64, shape (g + 1,)
        The points of ``cells[i]`` are ``order[firsts[i]:firsts[i + 1]]``.
    """

    order: NDArray[np.int64]
    packed: NDArray[np.uint64]
    bits: tuple[int, int]
    cells: NDArray[np.int64]
    firsts: NDArray[np.int64]


def group_points(
    voxels: NDArray[np.int64], status: NDArray[np.uint8], grid: ChunkGrid
) -> GroupedPoints:
    """Sort points by their chunk, in linear time.

    Parameters
    ----------
    voxels : ndarray of int64, shape (n, 3), C order
    status : ndarray of uint8, shape (n,)
        0 for the points that count; they lie inside the volume.

    Examples
    --------
    >>> grid = ChunkGrid((100, 100, 100), (0, 0, 0), (16, 10, 8))
    >>> voxels = np.array([[50, 5, 8], [17, 5, 8], [-9, 0, 0]])
    >>> found = group_points(voxels, np.array([0, 0, 2], np.uint8), grid)
    >>> found.order.tolist(), found.cells.tolist(), found.firsts.tolist()
    ([1, 0], [[1, 0, 1], [3, 0, 1]], [0, 1, 2])
    >>> found.packed.tolist(), found.bits
    ([81, 82], (4, 4))
    """
    edges, lower = grid.chunk_size, grid.voxel_offset
    bits = ((edges[0] - 1).bit_length(), (edges[1] - 1).bit_length())
    *reach, count = _extent_of(voxels, status, lower, edges)
    order: NDArray[np.int64] = np.empty(count, dtype=np.int64)
    packed: NDArray[np.uint64] = np.empty(count, dtype=np.uint64)
    first, spanned = tuple(reach[:3]), tuple(reach[3:])
    x, y, z = spanned if count else (0, 0, 0)
    shifts = tuple((e - 1).bit_length() if e & (e - 1) == 0 else -1 for e in edges)
    corner = tuple(o + f * e for o, f, e in zip(lower, first, edges, strict=True))
    place = (corner, edges, shifts, spanned)
    if x * y * z <= _MOST_COUNTS + count:
        places: NDArray[np.int64] = np.zeros(x * y * z, dtype=np.int64)
        keys: NDArray[np.int32] = np.empty(len(status), dtype=np.int32)
        filled = _count_sort(voxels, status, *place, bits, keys, places, order, packed)
        cells: NDArray[np.int64] = np.empty((filled, 3), dtype=np.int64)
        firsts: NDArray[np.int64] = np.empty(filled + 1, dtype=np.int64)
        _list_cells(places, first, spanned, cells, firsts)
    else:
        valid = np.flatnonzero(status == 0)
        scattered: NDArray[np.int64] = np.empty(count, dtype=np.int64)
        _find_keys(voxels, valid, *place, scattered)
        sequence, distinct, firsts = sort_by_key(scattered)
        order = valid[sequence]
        _pack_points(voxels, order, *place, bits, packed)
        of_each = (distinct % x, distinct // x % y, distinct // (x * y))
        cells = np.stack([axis + start for axis, start in zip(of_each, first, strict=True)], axis=1)
    return GroupedPoints(order, packed, bits, cells, firsts)


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
