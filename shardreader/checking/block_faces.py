"""Whether the declared block size is the one that the data was written with.

A block size of the same volume passes every check of the structure, and gives wrong labels. But
labels that are put together from the wrong blocks break at the declared block faces: neighbours
differ more often across a face than inside a block. Labels of neurons do not know of blocks.
"""

from __future__ import annotations

from math import sqrt
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.findings import FaceCounts
from shardreader.format.grid import Triple
from shardreader.runtime.compile_lock import compiling

__all__ = ["ImplausibleAxis", "count_faces", "implausible_axes"]

# With the true block size the ratio of the two rates is 0.9 to 1.1 on the pinky40 data, where each
# of sixteen wrong ones, of the same volume, gives 1.65 to 14 along one axis at least.
_MOST_PLAUSIBLE_RATIO = 1.45
# The ratio of few changes varies more: they come in clusters, the voxels of a neurite's side that
# happens to lie along a face.
_CLUSTER = 32
_DEVIATIONS = 3
# Labels that hardly change inside blocks were made by a program, block by block.
_LEAST_INSIDE_CHANGES = 400


class ImplausibleAxis(NamedTuple):
    """An axis along which labels change more often across block faces than inside blocks."""

    axis: int
    ratio: float

    def __str__(self) -> str:
        return f"{self.ratio:.1f} times as often along {'xyz'[self.axis]}"


def count_faces(labels: NDArray[Any], block_size: Triple) -> FaceCounts:
    """Count neighbours that differ, across the block faces and inside the blocks.

    Parameters
    ----------
    labels : ndarray, shape (x, y, z)
        Its first voxel is the first of a block.

    Examples
    --------
    >>> labels = np.array([1, 1, 2, 2, 3, 3]).reshape(6, 1, 1)
    >>> count_faces(labels, (2, 1, 1)).face_changes, count_faces(labels, (2, 1, 1)).inside_changes
    ((2, 0, 0), (0, 0, 0))
    """
    with compiling:
        from shardreader.checking.block_face_kernels import (
            count_changes,  # numba, on the first count only
        )

    x, y, z = labels.shape
    flat = labels.reshape(-1, order="F").astype(np.uint64, copy=False)
    inside, faces = count_changes(flat, (x, y, z), block_size).T.tolist()
    pairs, face_pairs = [], []
    for axis in range(3):
        across = labels.size // labels.shape[axis]
        pairs.append((labels.shape[axis] - 1) * across)
        face_pairs.append((labels.shape[axis] - 1) // block_size[axis] * across)
    inside_pairs = [every - at_faces for every, at_faces in zip(pairs, face_pairs, strict=True)]
    return FaceCounts(tuple(face_pairs), tuple(faces), tuple(inside_pairs), tuple(inside))


def implausible_axes(counts: FaceCounts) -> list[ImplausibleAxis]:
    """The axes whose counts say that the blocks are others than declared.

    Too few counts say nothing.

    Examples
    --------
    >>> counts = FaceCounts((1000,) * 3, (500, 100, 100), (9000,) * 3, (900, 900, 900))
    >>> implausible_axes(counts)
    [ImplausibleAxis(axis=0, ratio=5.0)]
    """
    found = []
    for axis in range(3):
        face_pairs, face_changes = counts.face_pairs[axis], counts.face_changes[axis]
        inside_pairs, inside_changes = counts.inside_pairs[axis], counts.inside_changes[axis]
        if face_changes == 0 or inside_changes < _LEAST_INSIDE_CHANGES:
            continue
        ratio = face_changes * inside_pairs / (face_pairs * inside_changes)
        if ratio > _MOST_PLAUSIBLE_RATIO + _DEVIATIONS * sqrt(_CLUSTER / face_changes):
            found.append(ImplausibleAxis(axis, ratio))
    return found
