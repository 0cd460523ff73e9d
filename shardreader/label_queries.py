"""Boxes of something else than labels. Floor 4; a part of `Volume`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.box_read import BoxRead, check_output, read_box
from shardreader.chunk_labels import translating_decoder
from shardreader.grid import Box
from shardreader.label_counting import AnyBox, LabelCounting
from shardreader.label_map import (
    ValuesOf,
    label_map_of,
    membership_in,
    numbers_in,
    values_as,
)

__all__ = ["LabelQueries"]


class LabelQueries(LabelCounting):
    """Masks, and cutouts whose labels become something else."""

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
        found = [self._counted(voxels, channel).tally.result()[0] for channel in channels]
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
