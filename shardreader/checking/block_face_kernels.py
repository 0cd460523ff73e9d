"""Counts where labels differ from their neighbours. Imports numba."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.format.grid import Triple
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["count_changes"]


def _differing(labels: NDArray[np.uint64], first: int, second: int, count: int) -> int:
    """How many of `count` pairs of neighbours differ."""
    # Unsigned, because what may count from the end of an array is not vectorized.
    here, there = np.uint64(first), np.uint64(second)
    changed: Any = np.uint64(0)
    for i in range(np.uint64(count)):
        changed += np.uint64(labels[here + i] != labels[there + i])
    return int(changed)


differing = inlined(_differing)


def _count_changes(
    labels: NDArray[np.uint64], shape: Triple, block_size: Triple, changes: NDArray[np.int64]
) -> None:
    """See :func:`count_changes`."""
    size_x, size_y, size_z = shape
    block_x, block_y, block_z = block_size
    faces_x = (size_x - 1) // block_x
    row, plane = size_x, size_x * size_y
    for z in range(size_z):
        for y in range(size_y):
            at = z * plane + y * row
            across = 0
            for face in range(1, faces_x + 1):
                across += labels[at + face * block_x] != labels[at + face * block_x - 1]
            changes[0, 1] += across
            changes[0, 0] += differing(labels, at, at + 1, size_x - 1) - across
            if y + 1 < size_y:
                is_face = int((y + 1) % block_y == 0)
                changes[1, is_face] += differing(labels, at, at + row, size_x)
            if z + 1 < size_z:
                is_face = int((z + 1) % block_z == 0)
                changes[2, is_face] += differing(labels, at, at + plane, size_x)


_kernel = compile_cached(
    _count_changes,
    types.void(
        types.Array(types.uint64, 1, "C", readonly=True),
        types.UniTuple(types.int64, 3),  # type: ignore[no-untyped-call]
        types.UniTuple(types.int64, 3),  # type: ignore[no-untyped-call]
        types.Array(types.int64, 2, "C"),
    ),
)


def count_changes(
    labels: NDArray[np.uint64], shape: Triple, block_size: Triple
) -> NDArray[np.int64]:
    """How many neighbours differ along each axis.

    Parameters
    ----------
    labels : ndarray of uint64, shape (x y z,)
        In Fortran order; the first is the first of a block.
    shape, block_size : (int, int, int)

    Returns
    -------
    ndarray of int64, shape (3, 2)
        For each axis inside the blocks, and across their faces.
    """
    changes: NDArray[np.int64] = np.zeros((3, 2), dtype=np.int64)
    _kernel(labels, shape, block_size, changes)
    return changes
