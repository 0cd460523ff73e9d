"""Which voxels a picture of a slice shows: pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box

__all__ = ["LONGEST_SIDE", "SlicePlan", "plan_slice"]

LONGEST_SIDE = 1024
"""Pixels of a picture along its longer side."""

# Chunks along the vertical axis that are read at a time, so that progress can be shown.
_BAND_CHUNKS = 8
# For each slicing axis the axes that lie across and down in its picture.
_PLANES = {"x": (1, 2), "y": (0, 2), "z": (0, 1)}
_AXES = "xyz"


@dataclass(frozen=True, eq=False)
class SlicePlan:
    """The voxel that each pixel shows. All pixels are squares of one size in nm.

    Parameters
    ----------
    axis : {"x", "y", "z"}
        The one that the slice is across.
    box : Box
        The voxels of the slice; one thick along `axis`.
    pixel_nm : float
        Side of a pixel.
    columns, rows : ndarray of int64
        The voxel coordinate of each column and each row of pixels; several may show the same.
    """

    axis: str
    box: Box
    pixel_nm: float
    columns: NDArray[np.int64]
    rows: NDArray[np.int64]

    @property
    def across(self) -> str:
        """The axis from left to right."""
        return _AXES[_PLANES[self.axis][0]]

    @property
    def down(self) -> str:
        """The axis from top to bottom."""
        return _AXES[_PLANES[self.axis][1]]

    @property
    def position(self) -> int:
        """The voxel coordinate of the slice."""
        return self.box.lower[_AXES.index(self.axis)]

    def bands(self, chunk_extent: int, first: int) -> Iterator[slice]:
        """Cut the distinct rows between chunks.

        Parameters
        ----------
        chunk_extent : int
            Voxels of a chunk along `down`.
        first : int
            The coordinate at which a chunk begins.
        """
        rows = np.unique(self.rows)
        number = (rows - first) // (chunk_extent * _BAND_CHUNKS)
        starts = np.flatnonzero(np.diff(number, prepend=-1)).tolist()
        for start, end in zip(starts, [*starts[1:], len(rows)], strict=True):
            yield slice(start, end)

    def voxels(self, columns: NDArray[np.int64], rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """The voxels of a grid of coordinates, shape (rows, columns, 3)."""
        across, down = _PLANES[self.axis]
        voxels = np.full((len(rows), len(columns), 3), self.position, dtype=np.int64)
        voxels[..., across] = columns
        voxels[..., down] = rows[:, np.newaxis]
        return voxels


def plan_slice(box: Box, axis: str, voxel_size: tuple[float, float, float]) -> SlicePlan:
    """Sample a slice so that its longer side has at most `LONGEST_SIDE` pixels.

    Parameters
    ----------
    box : Box
        Not empty, one voxel thick along `axis`.
    axis : {"x", "y", "z"}
    voxel_size : (float, float, float)
        In nm.

    Examples
    --------
    >>> plan = plan_slice(Box((0, 7, 0), (4096, 8, 1024)), "y", (8, 8, 40))
    >>> plan.across, plan.down, plan.pixel_nm, len(plan.columns), len(plan.rows)
    ('x', 'z', 40.0, 820, 1024)
    >>> plan.columns[:4].tolist(), plan.rows[:4].tolist()
    ([2, 7, 12, 17], [0, 1, 2, 3])
    """
    axes = _PLANES[axis]
    extents = [box.shape[at] * voxel_size[at] for at in axes]
    finest = min(voxel_size[at] for at in axes)
    pixel = max(extents) / LONGEST_SIDE
    if pixel <= finest:
        # Enlarged by a whole number, so that all voxels are equally large.
        pixel = finest / max(1, math.floor(finest / pixel))
    columns, rows = (_sampled(box.lower[at], box.shape[at], voxel_size[at], pixel) for at in axes)
    return SlicePlan(axis, box, pixel, columns, rows)


def _sampled(first: int, count: int, voxel: float, pixel: float) -> NDArray[np.int64]:
    """The voxel under the middle of each pixel."""
    pixels = max(1, math.ceil(round(count * voxel / pixel, 6)))
    middles = (np.arange(pixels) + 0.5) * (pixel / voxel)
    return first + np.minimum(middles.astype(np.int64), count - 1)
