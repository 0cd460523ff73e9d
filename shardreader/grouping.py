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
from shardreader.grid import Box, ChunkGrid, Triple

__all__ = ["PointCells", "cells_of_points", "sort_by_key"]

_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS


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


def _extent(voxels: NDArray[np.int64], valid: NDArray[np.int64]) -> tuple[int, ...]:
    """The least and the greatest coordinate along each axis."""
    first = valid[0]
    low_x, low_y, low_z = voxels[first, 0], voxels[first, 1], voxels[first, 2]
    high_x, high_y, high_z = low_x, low_y, low_z
    for i in range(1, valid.size):
        row = valid[i]
        x, y, z = voxels[row, 0], voxels[row, 1], voxels[row, 2]
        low_x, low_y, low_z = min(low_x, x), min(low_y, y), min(low_z, z)
        high_x, high_y, high_z = max(high_x, x), max(high_y, y), max(high_z, z)
    return low_x, low_y, low_z, high_x, high_y, high_z


def _cells_of_points(
    voxels: NDArray[np.int64],
    valid: NDArray[np.int64],
    lower: Triple,
    edges: Triple,
    shifts: Triple,
    extent: Triple,
    bits: Triple,
    keys: NDArray[np.int64],
    packed: NDArray[np.uint64],
) -> None:
    for i in range(valid.size):
        row = valid[i]
        cell_x, x = _inlined_split(voxels[row, 0] - lower[0], edges[0], shifts[0])
        cell_y, y = _inlined_split(voxels[row, 1] - lower[1], edges[1], shifts[1])
        cell_z, z = _inlined_split(voxels[row, 2] - lower[2], edges[2], shifts[2])
        keys[i] = cell_x + extent[0] * (cell_y + extent[1] * cell_z)
        packed[i] = np.uint64(x | y << bits[0] | z << (bits[0] + bits[1]))


_integers = types.Array(types.int64, 1, "C")
_rows = types.Array(types.int64, 1, "C", readonly=True)
_points = types.Array(types.int64, 2, "C", readonly=True)
_triple = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]
_sort_once = compile_cached(
    _radix_pass,
    types.void(_integers, _integers, _integers, _integers, types.int64, _integers),
)
_extent_of = compile_cached(
    _extent,
    types.UniTuple(types.int64, 6)(_points, _rows),  # type: ignore[no-untyped-call]
)
_locate = compile_cached(
    _cells_of_points,
    types.void(_points, _rows, *[_triple] * 5, _integers, types.Array(types.uint64, 1, "C")),
)


@dataclass(frozen=True, eq=False)
class PointCells:
    """The chunk of each point, and the point's place in it.

    Attributes
    ----------
    keys : ndarray of int64, shape (m,)
        Number of the chunk's cell within `cells`, x fastest.
    packed : ndarray of uint64, shape (m,)
        ``x | y << bits[0] | z << (bits[0] + bits[1])``, in voxels from the chunk's first.
    bits : (int, int)
    cells : Box
        The smallest box of cells that holds all points.
    """

    keys: NDArray[np.int64]
    packed: NDArray[np.uint64]
    bits: tuple[int, int]
    cells: Box

    def cells_of(self, keys: NDArray[np.int64]) -> NDArray[np.int64]:
        """Grid cells, int64 of shape (n, 3), of keys."""
        x, y, _ = self.cells.shape
        cells = np.stack([keys % x, keys // x % y, keys // (x * y)], axis=1)
        return cells + np.array(self.cells.lower, dtype=np.int64)


def cells_of_points(
    voxels: NDArray[np.int64], valid: NDArray[np.int64], grid: ChunkGrid
) -> PointCells:
    """Find the chunk of each point.

    Parameters
    ----------
    voxels : ndarray of int64, shape (n, 3), C order
    valid : ndarray of int64, shape (m,)
        Rows of `voxels` inside the volume.

    Examples
    --------
    >>> grid = ChunkGrid((100, 100, 100), (0, 0, 0), (16, 10, 8))
    >>> found = cells_of_points(np.array([[17, 5, 8], [50, 5, 8]]), np.array([0, 1]), grid)
    >>> found.keys.tolist(), found.cells_of(found.keys).tolist()
    ([0, 2], [[1, 0, 1], [3, 0, 1]])
    >>> found.packed.tolist(), found.bits
    ([81, 82], (4, 4))
    """
    keys: NDArray[np.int64] = np.empty(len(valid), dtype=np.int64)
    packed: NDArray[np.uint64] = np.empty(len(valid), dtype=np.uint64)
    edges = grid.chunk_size
    x, y, z = ((edge - 1).bit_length() for edge in edges)
    if len(valid) == 0:
        return PointCells(keys, packed, (x, y), Box((0, 0, 0), (0, 0, 0)))
    reach = _extent_of(voxels, valid)
    box = Box(reach[:3], tuple(high + 1 for high in reach[3:]))
    cells = grid.cells_touching(box)
    shifts = tuple((e - 1).bit_length() if e & (e - 1) == 0 else -1 for e in edges)
    lower = grid.cell_box(cells.lower).lower
    _locate(voxels, valid, lower, edges, shifts, cells.shape, (x, y, z), keys, packed)
    return PointCells(keys, packed, (x, y), cells)


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
