"""The labels of a box, counted. A part of `Volume`.

compressed_segmentation is asked in its packed form: which labels a chunk has, and how often, stands
in the tables and the codes of its blocks.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.chunk_visit import refuse_chunks
from shardreader.chunks.located import Found
from shardreader.errors import PointStatus
from shardreader.format.grid import Box
from shardreader.labels.chunk_labels import (
    LabelReader,
    from_uint64,
    make_label_reader,
)
from shardreader.labels.label_map import (
    exact_labels,
)
from shardreader.labels.label_scan import LabelScan, scan_labels
from shardreader.reading.open_volume import VolumeGeometry
from shardreader.runtime.progress_bar import progress_bar
from shardreader.runtime.workers import Workers

__all__ = ["AnyBox", "LabelCounting"]

AnyBox = Box | Sequence[Sequence[float]]


class LabelCounting(VolumeGeometry):
    """Which labels a box has, how many voxels each, and where."""

    _source: ChunkSource
    _workers: Workers
    _missing: str

    @abstractmethod
    def _check_open(self) -> None: ...

    @abstractmethod
    def _inside(
        self, box: AnyBox, units: str | None, resolution: Sequence[float] | None
    ) -> Box: ...

    def labels(
        self,
        box: AnyBox,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        channel: int | None = None,
        return_unseen: bool = False,
        progress: bool = False,
    ) -> Any:
        """The distinct labels of a box of any size, the whole volume too.

        Parameters
        ----------
        box, units, resolution
            As in `cutout`.
        channel : int, optional
            Required where the volume has more than one.
        return_unseen : bool
            Return also how many voxels were read as 0 because they are NOT_DOWNLOADED; with
            missing="error" that is always 0.
        progress : bool
            Show a progress bar on standard error, if that is a terminal.

        Returns
        -------
        labels : ndarray, shape (n,), dtype of the volume
            Ascending; 0 is a label like any other. Exact to the voxel at the faces of the box.
        unseen : int
            Only with `return_unseen`.

        Raises
        ------
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError
            As in `cutout`.
        TypeError
            No `channel`, or voxels that are floats.

        Notes
        -----
        Of whole slices of a crackle chunk only the table of labels is read, where it has a
        checksum. Damage in other parts of the chunk does not change the answer and is not seen.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> vol.labels(shardreader.Box((61430, 32760, 3060), (61434, 32763, 3062)))
        array([1124316951, 1945564569, 3152676297], dtype=uint64)
        """
        voxels = self._inside(box, units, resolution)
        scan = self._counted(voxels, channel, progress=progress, labels_only=True)
        labels, _, _ = self._result(scan)
        return (labels, _unseen(scan)) if return_unseen else labels

    def label_counts(
        self,
        box: AnyBox,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        channel: int | None = None,
        return_unseen: bool = False,
        progress: bool = False,
    ) -> Any:
        """The distinct labels of a box and how many voxels each has in it.

        Parameters
        ----------
        box, units, resolution, channel, return_unseen, progress
            As in `labels`.

        Returns
        -------
        labels : ndarray, shape (n,), dtype of the volume
            Ascending.
        counts : ndarray of int64, shape (n,)
            Their sum is the number of voxels in the box.
        unseen : int
            Only with `return_unseen`; these voxels are counted as 0.

        Raises
        ------
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError, TypeError
            As in `labels`.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> labels, counts = vol.label_counts(
        ...     shardreader.Box((61430, 32760, 3060), (61434, 32763, 3062))
        ... )
        >>> counts
        array([ 5,  3, 16])
        """
        voxels = self._inside(box, units, resolution)
        scan = self._counted(voxels, channel, progress=progress)
        labels, counts, _ = self._result(scan)
        return (labels, counts, _unseen(scan)) if return_unseen else (labels, counts)

    def bounding_boxes(
        self,
        box: AnyBox,
        labels: Any = None,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        channel: int | None = None,
        return_unseen: bool = False,
        progress: bool = False,
    ) -> Any:
        """The tight box of each label within a box.

        Parameters
        ----------
        box, units, resolution, channel, return_unseen, progress
            As in `labels`.
        labels : integers, optional
            Only these are looked for; those that the box does not have are left out.

        Returns
        -------
        labels : ndarray, shape (n,), dtype of the volume
            Ascending.
        boxes : ndarray of int64, shape (n, 2, 3)
            Of each, the first voxel and the voxel past the last: half-open, global coordinates.
        unseen : int
            Only with `return_unseen`; these voxels are taken as 0.

        Raises
        ------
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError, TypeError
            As in `labels`; TypeError and ValueError also for `labels` that are no integers, or
            negative.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> box = shardreader.Box((61430, 32760, 3060), (61434, 32763, 3062))
        >>> labels, boxes = vol.bounding_boxes(box, [1945564569])
        >>> boxes.tolist()
        [[[61430, 32761, 3060], [61432, 32763, 3061]]]
        """
        only = None if labels is None else self._wanted(labels)
        voxels = self._inside(box, units, resolution)
        scan = self._counted(voxels, channel, progress=progress, boxes=True, only=only)
        found, _, boxes = self._result(scan)
        return (found, boxes, _unseen(scan)) if return_unseen else (found, boxes)

    def scan(
        self,
        box: AnyBox,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        channel: int | None = None,
        boxes: bool = False,
        progress: bool = False,
    ) -> LabelScan:
        """What `labels`, `label_counts` and `bounding_boxes` make their answer of.

        No chunk raises: what is NOT_DOWNLOADED or CORRUPT is counted apart, whatever `missing` is.

        Parameters
        ----------
        box, units, resolution, channel, progress
            As in `labels`.
        boxes : bool
            Whether bounding boxes are kept.

        Returns
        -------
        LabelScan

        Raises
        ------
        OutOfBoundsError, ReadError, TypeError

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> scan = vol.scan(shardreader.Box((20000, 20000, 2000), (20010, 20010, 2010)))
        >>> len(scan.tally), {status.name: voxels for status, voxels in scan.unseen.items()}
        (0, {'NOT_DOWNLOADED': 1000})
        """
        voxels = self._inside(box, units, resolution)
        return self._scan(voxels, channel, progress=progress, boxes=boxes)

    @cached_property
    def _label_reader(self) -> LabelReader:
        return make_label_reader(self._files.volume, self.scale)

    def _checked_channel(self, channel: int | None) -> int:
        count = self.num_channels
        if channel is None and count == 1:
            return 0
        if type(channel) is not int:
            raise TypeError(
                f"the volume has {count} channels: say which one, channel=0 for example"
            )
        if not 0 <= channel < count:
            raise ValueError(f"channel must be from 0 to {count - 1}, not {channel}")
        return channel

    def _wanted(self, labels: Any) -> NDArray[np.uint64]:
        """Those that a voxel of this volume can have, ascending."""
        wanted = np.unique(exact_labels(labels, "labels"))
        return wanted[wanted <= np.iinfo(self.dtype).max] if self.dtype.kind in "iu" else wanted

    def _scan(
        self,
        voxels: Box,
        channel: int | None,
        *,
        progress: bool,
        boxes: bool = False,
        only: NDArray[np.uint64] | None = None,
        labels_only: bool = False,
        refuse: Callable[[Found], None] | None = None,
    ) -> LabelScan:
        reader = self._label_reader
        number = self._checked_channel(channel)
        chunks = self._grid.cells_touching(voxels).voxels
        with progress_bar(chunks, " chunks", wanted=progress) as show:
            return scan_labels(
                self._source,
                self._workers,
                self._grid,
                reader,
                voxels,
                number,
                boxes=boxes,
                only=only,
                labels_only=labels_only,
                refuse=refuse,
                show=show,
            )

    def _counted(
        self,
        voxels: Box,
        channel: int | None,
        *,
        progress: bool = False,
        boxes: bool = False,
        only: NDArray[np.uint64] | None = None,
        labels_only: bool = False,
    ) -> LabelScan:
        """A scan that raises as `cutout` does, with 0 where that gives 0."""

        def refuse(found: Found) -> None:
            forgive = self._missing == "zero"
            refuse_chunks(self._source, found, what="chunks of the box", forgive_absent=forgive)

        scan = self._scan(
            voxels,
            channel,
            progress=progress,
            boxes=boxes,
            only=only,
            labels_only=labels_only,
            refuse=refuse,
        )
        if scan.absent_box is not None:
            around = scan.absent_box
            scan.tally.add_label(0, _unseen(scan), around.lower, around.upper)
        return scan

    def _result(self, scan: LabelScan) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        found, counts, boxes = scan.tally.result()
        labels = from_uint64(found, self.dtype)
        if self.dtype.kind == "u":
            return labels, counts, boxes
        order = np.argsort(labels)
        return labels[order], counts[order], boxes[order] if len(boxes) else boxes


def _unseen(scan: LabelScan) -> int:
    return scan.unseen.get(PointStatus.NOT_DOWNLOADED, 0)
