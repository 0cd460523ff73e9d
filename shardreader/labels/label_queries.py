"""Masks, mapped cutouts, and points moved to their label. A part of `Volume`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box
from shardreader.labels.label_counting import AnyBox, LabelCounting
from shardreader.labels.label_map import (
    ValuesOf,
    exact_labels,
    label_map_of,
    membership_in,
    numbers_in,
    values_as,
)
from shardreader.labels.snapping import Snapped, Snapping
from shardreader.labels.translating_decoder import translating_decoder
from shardreader.reading.box_read import BoxRead, check_output, read_box
from shardreader.reading.points import points_to_voxels

__all__ = ["LabelQueries"]


class LabelQueries(LabelCounting):
    """Masks, cutouts whose labels become something else, and points moved to their label."""

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
        wanted = self._wanted(labels)
        voxels = self._inside(box, units, resolution)
        channels = [self._checked_channel(channel)]
        mask = self._translated(voxels, channels, membership_in(wanted), np.dtype(np.uint8), None)
        return mask.view(np.bool_)

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
        voxels, status, shape = points_to_voxels(
            points,
            units=units,
            resolution=resolution,
            voxel_size=self.resolution,
            bounds=self.bounds,
        )
        wanted = exact_labels(labels, "labels")
        if wanted.shape not in ((), shape):
            raise ValueError(f"labels have the shape {wanted.shape}, the points {shape}")
        if not 0 <= radius_nm < np.inf:
            raise ValueError(f"radius_nm must be a distance in nm, not {radius_nm!r}")
        snapping = Snapping(
            self._grid,
            self._label_reader,
            self._checked_channel(channel),
            self.resolution,
            voxels,
            status,
            np.broadcast_to(wanted, shape).ravel(),
            radius_nm,
        )
        snapping.run(self._source, self._workers)
        return snapping.result(shape)

    def _cutout_as(
        self,
        voxels: Box,
        out: NDArray[Any] | None,
        mapping: Any,
        dtype: Any,
        *,
        renumber: bool,
    ) -> Any:
        """A cutout whose labels become something else."""
        if self.dtype.kind != "u":
            raise TypeError(f"labels of {self.dtype} are not mapped: only unsigned ones are")
        result_type = self._result_type(dtype)
        label_map = None if mapping is None else label_map_of(mapping)
        channels = list(range(self.num_channels))
        if not renumber:
            values_of = values_as(result_type, label_map)
            return self._translated(voxels, channels, values_of, result_type, out)
        found = [self._counted(voxels, c, labels_only=True).tally.result()[0] for c in channels]
        labels = np.concatenate(found)
        table = np.unique(labels if label_map is None else label_map.apply(labels))
        values_of = numbers_in(table, result_type, label_map)
        result = self._translated(voxels, channels, values_of, result_type, out)
        return result, table if label_map is not None else table.astype(self.dtype)

    def _result_type(self, dtype: Any) -> np.dtype[Any]:
        chosen = self.dtype if dtype is None else np.dtype(dtype)
        if chosen not in (self.dtype, np.uint32, np.uint64):
            raise TypeError(f"dtype must be uint32 or uint64, not {chosen}")
        return chosen

    def _translated(
        self,
        voxels: Box,
        channels: list[int],
        values_of: ValuesOf,
        dtype: np.dtype[Any],
        out: NDArray[Any] | None,
    ) -> NDArray[Any]:
        """The voxels of a box, each as `values_of` says."""
        reader = self._label_reader
        shape = voxels.shape if len(channels) == 1 else (*voxels.shape, len(channels))
        if out is not None:
            check_output(out, shape, dtype)
        if voxels.is_empty:
            return np.empty(shape, dtype, order="F") if out is None else out
        target = BoxRead(
            self._grid,
            translating_decoder(reader, channels, values_of),
            voxels,
            dtype,
            len(channels),
            out,
            background=lambda: int(values_of(np.zeros(1, np.uint64))[0]),
        )
        read_box(self._source, self._workers, target, forgive_absent=self._missing == "zero")
        return target.result()
