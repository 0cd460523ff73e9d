"""`Volume.mask` and `Volume.snap`: where a box has labels, and points moved to their label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.labels.label_counting import CountingRole
from shardreader.labels.snapping import Snapped, snap_points
from shardreader.labels.translated_read import read_mask
from shardreader.reading.open_volume import AnyBox
from shardreader.reading.points import points_to_voxels

__all__ = ["MaskRole"]


class MaskRole(CountingRole):
    """Where labels are: in a box, and nearest to a point."""

    def mask(
        self,
        box: AnyBox,
        labels: Any,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        channel: int | None = None,
    ) -> NDArray[np.bool_]:
        """Where a box has one of some labels.

        Each distinct label of a chunk is looked up once, not each voxel.

        Parameters
        ----------
        box, units, resolution, channel
            As in `labels`.
        labels : an integer or integers
            0 is a label like any other.

        Returns
        -------
        ndarray of bool, shape (x, y, z), Fortran order

        Raises
        ------
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError, TypeError
            As in `bounding_boxes`.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> box = shardreader.Box((61430, 32760, 3060), (61434, 32763, 3062))
        >>> int(vol.mask(box, 1945564569).sum())
        3
        """
        voxels = self._inside(box, units, resolution)
        return read_mask(self._counting, voxels, labels, channel)

    def snap(
        self,
        points: Any,
        labels: Any,
        *,
        radius_nm: float,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        channel: int | None = None,
    ) -> Snapped:
        """The voxel of a label that is nearest to each point.

        For points that fell just outside their segment. Chunks and their blocks are searched
        outward from the point; a block whose table lacks the label is not followed.

        Parameters
        ----------
        points, units, resolution
            As in `lookup`.
        labels : an integer, or integers of the points' shape
            The label wanted at each point; 0 is a label like any other.
        radius_nm : float
            How far to look, in nm; a voxel exactly as far is found.
        channel : int, optional
            Required where the volume has more than one.

        Returns
        -------
        Snapped
            ``voxels`` (int64, shape (..., 3)), ``distances`` (float64, nm) and ``status`` (uint8,
            `SnapStatus`), in input order. Distances are Euclidean, between the middle of the
            point's voxel and that of the voxel found; of several nearest, the first in the order
            z, y, x. No point raises: what is damaged or not downloaded, and near enough to matter,
            is a status.

        Raises
        ------
        ReadError
            The operating system refuses.
        TypeError
            No unit, no `channel`, or labels that are no integers.
        ValueError
            Labels of another shape; a radius that is negative, no number, or reaches more than
            100,000 chunks around a point.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> found = vol.snap([[61434, 32763, 3060]], 1945564569, units="voxel", radius_nm=100)
        >>> found.voxels.tolist(), found.distances.tolist()
        ([[61435, 32763, 3060]], [8.0])
        """
        self._check_open()
        return snap_points(
            self._counting,
            points_to_voxels(
                points,
                units=units,
                resolution=resolution,
                voxel_size=self.resolution,
                bounds=self.bounds,
            ),
            labels,
            radius_nm,
            channel,
        )
