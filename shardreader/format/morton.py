"""The compressed Morton code of a grid cell, and its inverse.

Specification: volume.md, "Compressed morton code".
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Triple

__all__ = [
    "MORTON_BITS_LIMIT",
    "cells_of_chunk_ids",
    "chunk_id_of_cell",
    "chunk_ids_of_cells",
    "fits_older_numbering",
    "id_limits",
    "ids_in_grid",
    "morton_bits",
]

MORTON_BITS_LIMIT = 64
# Cells along an axis; FAFB has 972. A longer table would not pay.
_LONGEST_TABLE = 1 << 16
_BYTE_BITS = 8
_BYTE = np.uint64(255)


@lru_cache(maxsize=64)
def _bit_plan(grid_size: Triple, *, older: bool = False) -> list[tuple[int, int]]:
    """(dimension, bit of its coordinate) for each bit of the code, lowest first.

    With `older` as writers before mid-2021 numbered chunks: an axis whose size is a power of two
    has one bit more.
    """
    ends = [size + older for size in grid_size]
    widest = max((end - 1).bit_length() for end in ends)
    return [(dim, bit) for bit in range(widest) for dim in range(3) if 1 << bit < ends[dim]]


def morton_bits(grid_size: Triple) -> int:
    """How many bits the code of this grid has.

    Examples
    --------
    >>> morton_bits((972, 524, 221))
    28
    """
    return len(_bit_plan(grid_size))


def chunk_ids_of_cells(cells: NDArray[np.integer[Any]], grid_size: Triple) -> NDArray[np.uint64]:
    """The compressed Morton codes of grid cells.

    Parameters
    ----------
    cells : ndarray of int, shape (n, 3)
        Cells inside the grid, x y z.
    grid_size : (int, int, int)
        Cells along x, y, z; the code needs at most 64 bits (checked with ``info``).

    Returns
    -------
    ndarray of uint64, shape (n,)

    Examples
    --------
    >>> chunk_ids_of_cells(np.array([[1, 0, 0], [0, 1, 0], [3, 5, 0]]), (4, 8, 1)).tolist()
    [1, 2, 23]
    """
    columns = np.asarray(cells)
    if max(grid_size) <= _LONGEST_TABLE:
        x, y, z = _spread_tables(grid_size)
        return x[columns[:, 0]] | y[columns[:, 1]] | z[columns[:, 2]]
    return _interleave(columns.astype(np.uint64, copy=False), grid_size)


@lru_cache(maxsize=64)
def id_limits(grid_size: Triple | None, *, older: bool = False) -> NDArray[np.uint64]:
    """What tells the chunk ids of a grid from all others, without their cells.

    Parameters
    ----------
    grid_size : (int, int, int) or None
        None where any 64 bits are an id.
    older : bool
        For the numbering of writers before mid-2021.

    Returns
    -------
    ndarray of uint64, shape (6,)
        The bits of an id that come from x, y and z, then the largest value of each of these
        parts. The parts of two ids are in the order of their coordinates.
    """
    masks, tops = [0, 0, 0], [0, 0, 0]
    if grid_size is None:
        masks[0] = tops[0] = (1 << MORTON_BITS_LIMIT) - 1
    else:
        for position, (dim, bit) in enumerate(_bit_plan(grid_size, older=older)):
            masks[dim] |= 1 << position
            tops[dim] |= (grid_size[dim] - 1 >> bit & 1) << position
    limits = np.array(masks + tops, dtype=np.uint64)
    limits.flags.writeable = False
    return limits


def ids_in_grid(
    chunk_ids: NDArray[np.uint64], grid_size: Triple | None, *, older: bool = False
) -> NDArray[np.bool_]:
    """Which ids are those of cells in a grid.

    Parameters
    ----------
    chunk_ids : ndarray of uint64, shape (n,)
    grid_size, older
        As for `id_limits`.

    Returns
    -------
    ndarray of bool, shape (n,)

    Examples
    --------
    >>> ids_in_grid(np.array([23, 31, 32], np.uint64), (4, 6, 1)).tolist()
    [True, False, False]
    """
    masks, tops = np.split(id_limits(grid_size, older=older), 2)
    inside: NDArray[np.bool_] = chunk_ids & ~np.bitwise_or.reduce(masks) == 0
    for mask, top in zip(masks, tops, strict=True):
        inside &= chunk_ids & mask <= top
    return inside


def fits_older_numbering(chunk_ids: NDArray[np.uint64], grid_size: Triple) -> bool:
    """Whether ids beyond the grid are those of a writer before mid-2021.

    Such writers kept bit i of an axis for ``2**i <= size``; the specification says ``<``.

    Examples
    --------
    >>> fits_older_numbering(np.array([64], np.uint64), (4, 2, 1))
    False
    >>> fits_older_numbering(np.array([9], np.uint64), (4, 2, 1))
    True
    """
    if len(_bit_plan(grid_size, older=True)) > MORTON_BITS_LIMIT:
        return False
    return bool(ids_in_grid(chunk_ids, grid_size, older=True).all())


def chunk_id_of_cell(cell: Triple, grid_size: Triple) -> int:
    """The compressed Morton code of one cell inside the grid, as `chunk_ids_of_cells`.

    Examples
    --------
    >>> chunk_id_of_cell((3, 5, 0), (4, 8, 1))
    23
    """
    if max(grid_size) > _LONGEST_TABLE:
        return int(chunk_ids_of_cells(np.array([cell]), grid_size)[0])
    x, y, z = _spread_tables(grid_size)
    return int(x[cell[0]] | y[cell[1]] | z[cell[2]])


def _interleave(columns: NDArray[np.uint64], grid_size: Triple) -> NDArray[np.uint64]:
    codes = np.zeros(len(columns), dtype=np.uint64)
    one = np.uint64(1)
    for position, (dim, bit) in enumerate(_bit_plan(grid_size)):
        codes |= ((columns[:, dim] >> np.uint64(bit)) & one) << np.uint64(position)
    return codes


@lru_cache(maxsize=16)
def _spread_tables(grid_size: Triple) -> list[NDArray[np.uint64]]:
    """For each axis the code of each coordinate: three look-ups instead of a step for each bit."""
    tables = []
    for dim, cells in enumerate(grid_size):
        # Coordinate 0 is in every table, that of an axis without cells too.
        columns = np.zeros((max(cells, 1), 3), dtype=np.uint64)
        columns[:, dim] = np.arange(max(cells, 1), dtype=np.uint64)
        tables.append(_interleave(columns, grid_size))
    return tables


def cells_of_chunk_ids(
    chunk_ids: NDArray[np.uint64], grid_size: Triple
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The grid cells of compressed Morton codes, and which codes lie inside the grid.

    Parameters
    ----------
    chunk_ids : ndarray of uint64, shape (n,)
    grid_size : (int, int, int)

    Returns
    -------
    cells : ndarray of int64, shape (n, 3)
        Meaningless where `inside` is False.
    inside : ndarray of bool, shape (n,)

    Examples
    --------
    >>> cells, inside = cells_of_chunk_ids(np.array([23, 32], np.uint64), (4, 8, 1))
    >>> cells[0].tolist(), inside.tolist()
    ([3, 5, 0], [True, False])
    """
    codes = np.asarray(chunk_ids, dtype=np.uint64)
    tables = _gather_tables(grid_size)
    cells = np.zeros((len(codes), 3), dtype=np.int64)
    for number, table in enumerate(tables):
        cells |= table[(codes >> np.uint64(_BYTE_BITS * number)) & _BYTE]
    limits = np.array(grid_size, dtype=np.int64)
    inside: NDArray[np.bool_] = np.logical_and.reduce(cells < limits, axis=1)
    bits = morton_bits(grid_size)
    if bits < MORTON_BITS_LIMIT:
        inside &= codes >> np.uint64(bits) == 0
    return cells, inside


@lru_cache(maxsize=16)
def _gather_tables(grid_size: Triple) -> list[NDArray[np.int64]]:
    """For each byte of a code the part of the cell that each of its values stands for."""
    plan = _bit_plan(grid_size)
    values = np.arange(1 << _BYTE_BITS)
    tables = []
    for first in range(0, len(plan), _BYTE_BITS):
        table = np.zeros((len(values), 3), dtype=np.int64)
        for position, (dim, bit) in enumerate(plan[first : first + _BYTE_BITS]):
            table[:, dim] |= (values >> position & 1) << bit
        tables.append(table)
    return tables
