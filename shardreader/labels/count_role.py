"""`Volume.labels` and its kin: which labels a box has, how many voxels each, and where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from shardreader.labels.label_counting import CountingRole, unseen_in, wanted_labels
from shardreader.labels.label_scan import LabelScan
from shardreader.reading.open_volume import AnyBox

__all__ = ["CountRole"]


class CountRole(CountingRole):
    """Which labels a box has, how many voxels each, and where."""

    @overload
    def labels(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: Literal[False] = ...,
        progress: bool = ...,
    ) -> NDArray[Any]: ...

    @overload
    def labels(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: Literal[True],
        progress: bool = ...,
    ) -> tuple[NDArray[Any], int]: ...

    @overload
    def labels(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: bool,
        progress: bool = ...,
    ) -> NDArray[Any] | tuple[NDArray[Any], int]: ...

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
        scan = self._counting.counted(voxels, channel, progress=progress, labels_only=True)
        labels, _, _ = self._counting.result(scan)
        return (labels, unseen_in(scan)) if return_unseen else labels

    @overload
    def label_counts(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: Literal[False] = ...,
        progress: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]: ...

    @overload
    def label_counts(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: Literal[True],
        progress: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[np.int64], int]: ...

    @overload
    def label_counts(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: bool,
        progress: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[np.int64]] | tuple[NDArray[Any], NDArray[np.int64], int]: ...

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
        scan = self._counting.counted(voxels, channel, progress=progress)
        labels, counts, _ = self._counting.result(scan)
        return (labels, counts, unseen_in(scan)) if return_unseen else (labels, counts)

    @overload
    def bounding_boxes(
        self,
        box: AnyBox,
        labels: Any = ...,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: Literal[False] = ...,
        progress: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[np.int64]]: ...

    @overload
    def bounding_boxes(
        self,
        box: AnyBox,
        labels: Any = ...,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: Literal[True],
        progress: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[np.int64], int]: ...

    @overload
    def bounding_boxes(
        self,
        box: AnyBox,
        labels: Any = ...,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        channel: int | None = ...,
        return_unseen: bool,
        progress: bool = ...,
    ) -> tuple[NDArray[Any], NDArray[np.int64]] | tuple[NDArray[Any], NDArray[np.int64], int]: ...

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
        only = None if labels is None else wanted_labels(labels, self.dtype)
        voxels = self._inside(box, units, resolution)
        scan = self._counting.counted(voxels, channel, progress=progress, boxes=True, only=only)
        found, _, boxes = self._counting.result(scan)
        return (found, boxes, unseen_in(scan)) if return_unseen else (found, boxes)

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
        return self._counting.scan(voxels, channel, progress=progress, boxes=boxes)
