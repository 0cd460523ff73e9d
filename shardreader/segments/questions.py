"""The questions about segments that an open volume answers. `Volume.segment` and its kin."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import InfoError, UnknownSegmentError
from shardreader.labels.label_counting import CountingRole
from shardreader.labels.translated_read import read_mask
from shardreader.reading.open_volume import AnyBox
from shardreader.segments.box_counts import BoxCounts
from shardreader.segments.index_coverage import IndexCoverage
from shardreader.segments.index_file import IndexFile
from shardreader.segments.segment import Segment
from shardreader.segments.standing import Standing
from shardreader.storage.documents import VolumeFiles

__all__ = ["SegmentRole", "SegmentTable", "refuse_form"]

# Labels and counts of so many segments take 1 GiB.
_MOST_SEGMENTS = 1 << 26
_BACKGROUND = (
    "0 is background, which the segment index does not hold: chunks of nothing else are not "
    "stored, so that no count of it would be right"
)


class SegmentTable(NamedTuple):
    """Segments, largest first; those of one size by label.

    Attributes
    ----------
    labels : ndarray, dtype of the volume, shape (n,)
    voxel_counts : ndarray of int64, shape (n,)
    coverage : IndexCoverage
        Whether there may be more.
    """

    labels: NDArray[Any]
    voxel_counts: NDArray[np.int64]
    coverage: IndexCoverage


def refuse_form(files: VolumeFiles) -> None:
    """Refuse a volume that cannot be indexed.

    Raises
    ------
    InfoError
    """
    volume, scale = files.volume, files.scale
    where = f"{os.path.join(files.directory, 'info')}: scale {scale.key}"
    if files.remote is not None:
        raise InfoError(f"{where} is remote: only a local copy has a segment index")
    if scale.sharding is None:
        raise InfoError(f"{where} is not sharded: only sharded scales have a segment index")
    if volume.num_channels != 1:
        raise InfoError(
            f"{where} has {volume.num_channels} channels: only volumes of one channel have a "
            "segment index"
        )
    if volume.volume_type != "segmentation" or volume.dtype.kind != "u":
        raise InfoError(
            f"{where} is of type {volume.volume_type}, {volume.data_type}: only segmentations of "
            "unsigned integers have a segment index"
        )


class SegmentRole(CountingRole):
    """Segments by their labels, from the index that ``shardreader index`` builds."""

    _index_directory: str | None = None
    _index: IndexFile | None = None
    _standing: Standing | None = None

    def _use_index(self, directory: str | os.PathLike[str] | None) -> None:
        """Look for indices in a directory that the user names, and not beside ``info``."""
        self._index_directory = None if directory is None else os.path.abspath(directory)

    def segment(self, label: int) -> Segment:
        """Where a segment is, from the segment index.

        Parameters
        ----------
        label : int
            An exact integer above 0.

        Returns
        -------
        Segment
            Its `coverage` says whether the answer may be incomplete.

        Raises
        ------
        UnknownSegmentError
            The index has no voxel of it; the message says what the index does not cover.
        SegmentIndexError
            There is no index, or it cannot be used.
        ValueError, TypeError
            0, or no label of this volume.
        """
        value = self._label(label)
        index, standing = self._opened_index()
        chunk_ids, counts = index.segment(value)
        coverage = standing.coverage(index.summary().shards)
        if len(chunk_ids) == 0:
            raise UnknownSegmentError(
                f"segment {value}: has no voxel in the {coverage.indexed:,} shards that the index "
                f"covers; the index {_told(coverage)}"
            )
        return Segment(
            value,
            chunk_ids,
            counts,
            grid=self._core.grid,
            resolution=self.resolution,
            coverage=coverage,
            read_mask=lambda box, wanted: read_mask(
                self._counting, self._inside(box, None, None), wanted, None
            ),
        )

    def segments(self, *, min_voxels: int) -> SegmentTable:
        """All segments of at least so many voxels, largest first; background is none of them.

        Parameters
        ----------
        min_voxels : int
            At least 1.

        Raises
        ------
        SegmentIndexError
            There is no index, or it cannot be used.
        ValueError
            So many segments that the answer would take more than 1 GiB.

        Examples
        --------
        ``labels, voxel_counts, coverage = vol.segments(min_voxels=1_000_000)``
        """
        least = operator.index(min_voxels)
        if least < 1:
            raise ValueError(f"min_voxels must be at least 1, not {min_voxels}")
        index, standing = self._opened_index()
        count = index.count(least)
        if count > _MOST_SEGMENTS:
            raise ValueError(
                f"{count:,} segments have at least {least:,} voxels, more than {_MOST_SEGMENTS:,} "
                "are not listed at a time; ask for larger ones with min_voxels="
            )
        labels, voxels = index.segments(least)
        coverage = standing.coverage(index.summary().shards)
        return SegmentTable(labels.astype(self.dtype), voxels, coverage)

    def segments_in(
        self,
        box: AnyBox,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
    ) -> SegmentTable:
        """The segments in a box, and how many of their voxels are in it, largest there first.

        Exact to the voxel: chunks that lie wholly in the box are looked up in the index, those
        that it cuts are read, so that a large box whose faces lie between chunks is the quickest.

        Parameters
        ----------
        box, units, resolution
            As in `cutout`.

        Returns
        -------
        SegmentTable
            Its `coverage` is about the shards that the box touches.

        Raises
        ------
        SegmentIndexError
            There is no index, or it cannot be used.
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError
            As `cutout`, for the chunks that are read.
        """
        voxels = self._inside(box, units, resolution)
        index, standing = self._opened_index()
        counts = BoxCounts(self._core.grid, voxels)
        shards = index.summary().shards
        if not counts.inner.is_empty:
            for number in standing.lattice.numbers(counts.inner):
                if number in shards:
                    counts.add_rows(*index.shard_rows(shards[number], *counts.chunk_id_range))
        for part in counts.outer_parts():
            labels, totals, _ = self._counting.result(self._counting.counted(part, None))
            counts.add_labels(labels, totals)
        coverage = standing.coverage(shards, self._core.grid.cells_touching(voxels))
        labels, totals = counts.result()
        return SegmentTable(labels.astype(self.dtype), totals, coverage)

    def _opened_index(self) -> tuple[IndexFile, Standing]:
        self._check_open()
        if self._index is None or self._standing is None:
            refuse_form(self._files)
            self._standing = Standing(self._files)
            self._index = IndexFile(self._files, self._index_directory)
        return self._index, self._standing

    def _leave_index(self) -> None:
        """Leave what a forked child shares with its parent."""
        if self._index is not None:
            self._index.start_anew()

    def _close_index(self) -> None:
        if self._index is not None:
            self._index.close()

    def _label(self, label: int) -> int:
        if isinstance(label, (bool, np.bool_)):
            raise TypeError(f"a label is an integer, not {label!r}")
        value = operator.index(label)
        if value == 0:
            raise ValueError(_BACKGROUND)
        if not 0 < value <= int(np.iinfo(self.dtype).max if self.dtype.kind == "u" else 1 << 64):
            raise ValueError(f"{value} is no label of a volume of {self.dtype}")
        return value


def _told(coverage: IndexCoverage) -> str:
    if coverage.is_complete:
        return "is complete: there is no such segment"
    return str(coverage)
