"""Counts where labels differ from their neighbours. Floor 1; imports numba."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.compiling import compile_cached
from shardreader.grid import Triple

__all__ = ["count_changes"]


def _count_changes(
    labels: NDArray[np.uint64], shape: Triple, block_size: Triple, changes: NDArray[np.int64]
) -> None:
    """See :func:`count_changes`."""
    size_x, size_y, size_z = shape
    row, plane = size_x, size_x * size_y
    for z in range(size_z):
        last_z = z + 1 == size_z
        face_z = int((z + 1) % block_size[2] == 0)
        for y in range(size_y):
            last_y = y + 1 == size_y
            face_y = int((y + 1) % block_size[1] == 0)
            at = z * plane + y * row
            until_face = block_size[0]
            for x in range(size_x):
                label = labels[at + x]
                until_face -= 1
                face_x = int(until_face == 0)
                if face_x:
                    until_face = block_size[0]
                if x + 1 < size_x and labels[at + x + 1] != label:
                    changes[0, face_x] += 1
                if not last_y and labels[at + x + row] != label:
                    changes[1, face_y] += 1
                if not last_z and labels[at + x + plane] != label:
                    changes[2, face_z] += 1


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
