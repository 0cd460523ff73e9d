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
    labels: NDArray[np.uint64],
    shape: Triple,
    changes_x: NDArray[np.uint64],
    changes_y: NDArray[np.uint64],
    changes_z: NDArray[np.uint64],
) -> None:
    """See :func:`count_changes`."""
    size_x, size_y, size_z = shape
    row, plane = size_x, size_x * size_y
    for z in range(size_z):
        for y in range(size_y):
            at = z * plane + y * row
            first = np.uint64(at)
            for x in range(np.uint64(size_x - 1)):
                here = first + x
                changes_x[x] += np.uint64(labels[here] != labels[here + np.uint64(1)])
            if y + 1 < size_y:
                changes_y[y] += np.uint64(differing(labels, at, at + row, size_x))
            if z + 1 < size_z:
                changes_z[z] += np.uint64(differing(labels, at, at + plane, size_x))


_counts = types.Array(types.uint64, 1, "C")
_kernel = compile_cached(
    _count_changes,
    types.void(
        types.Array(types.uint64, 1, "C", readonly=True),
        types.UniTuple(types.int64, 3),  # type: ignore[no-untyped-call]
        _counts,
        _counts,
        _counts,
    ),
)


def count_changes(labels: NDArray[np.uint64], shape: Triple) -> tuple[NDArray[np.int64], ...]:
    """How many neighbours differ across each plane between voxels.

    Parameters
    ----------
    labels : ndarray of uint64, shape (x y z,)
        In Fortran order.
    shape : (int, int, int)

    Returns
    -------
    tuple of three ndarray of int64, shapes (x - 1,), (y - 1,) and (z - 1,)
        For each axis; entry i counts the pairs of voxels i and i + 1.
    """
    changes = [np.zeros(extent - 1, dtype=np.uint64) for extent in shape]
    _kernel(labels, shape, *changes)
    return tuple(counts.astype(np.int64) for counts in changes)
