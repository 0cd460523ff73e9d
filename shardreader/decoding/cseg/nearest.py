"""The nearest voxel of a label in an encoded chunk.

Importing this does not import numba; the first call does, and compiles the kernel or takes it from
numba's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shardreader.decoding.cseg.faults import Triple, Words
from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["nearest_voxels"]

_compiled: list[Callable[..., None]] = []


def nearest_voxels(
    words: Words,
    num_channels: int,
    channel: int,
    cell_shape: Triple,
    block_size: Triple,
    label_words: int,
    origin: Triple,
    voxel_size: tuple[float, float, float],
    points: npt.NDArray[np.int64],
    labels: npt.NDArray[np.uint64],
    best: npt.NDArray[np.int64],
    squares: npt.NDArray[np.float64],
    status: npt.NDArray[np.int64],
) -> None:
    """Look in one chunk for voxels that are nearer to points than the best ones so far.

    The blocks around a point are looked at ring by ring; those that are too far, and those whose
    table has not the label, are not followed. Of several nearest voxels the first in the order z,
    y, x is taken.

    Parameters
    ----------
    words, num_channels, channel, cell_shape, block_size
        As in :func:`shardreader.decoding.cseg.decode_box`.
    label_words : int
        32-bit words in a label: 1 or 2.
    origin : three ints
        The chunk's first voxel in the coordinates of `best`.
    voxel_size : three floats
        In nm.
    points : ndarray of int64, shape (n, 3)
        In voxels from the chunk's first; may lie outside of it.
    labels : ndarray of uint64, shape (n,)
    best : ndarray of int64, shape (n, 3)
        The best voxel of each point; replaced by a better one.
    squares : ndarray of float64, shape (n,)
        Its squared distance in nm, or the square of the radius.
    status : ndarray of int64, shape (n,)
        Gets ``OK``, or the fault that ended the search for a point.

    Examples
    --------
    >>> words = np.array([1, 1 << 24 | 3, 2, 0b0110, 7, 9], "<u4")
    >>> best, squares, status = np.full((1, 3), 99), np.full(1, 1e9), np.zeros(1, np.int64)
    >>> chunk = (words, 1, 0, (4, 1, 1), (4, 1, 1), 1, (10, 0, 0), (8.0, 8.0, 40.0))
    >>> points, labels = np.array([[-1, 0, 0]]), np.array([9], np.uint64)
    >>> nearest_voxels(*chunk, points, labels, best, squares, status)
    >>> best.tolist(), squares.tolist()
    ([[11, 0, 0]], [256.0])
    """
    kernel = _compiled[0] if _compiled else _load()
    kernel(
        words,
        num_channels,
        channel,
        cell_shape,
        block_size,
        label_words,
        origin,
        voxel_size,
        points,
        labels,
        best,
        squares,
        status,
    )


def _load() -> Callable[..., None]:
    with compiling:
        if not _compiled:
            from shardreader.decoding.cseg.nearest_kernels import compile_nearest

            _compiled.append(compile_nearest())
        return _compiled[0]
