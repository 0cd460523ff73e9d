"""The labels of a box, counted.

compressed_segmentation is asked in its packed form: which labels a chunk has, and how often, stands
in the tables and the codes of its blocks.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_visit import refuse_chunks
from shardreader.chunks.located import Found
from shardreader.errors import PointStatus
from shardreader.format.grid import Box
from shardreader.labels.chunk_labels import LabelReader, from_uint64, make_label_reader
from shardreader.labels.label_map import exact_labels
from shardreader.labels.label_scan import LabelScan, scan_labels
from shardreader.reading.open_volume import OpenScale, VolumeRole
from shardreader.runtime.progress_bar import progress_bar

__all__ = ["CountingRole", "LabelCounting", "checked_channel", "unseen_in", "wanted_labels"]


def checked_channel(scale: OpenScale, channel: int | None) -> int:
    """The channel that a user names, or the only one.

    Raises
    ------
    TypeError
        There are more, and none is named.
    ValueError
    """
    count = scale.num_channels
    if channel is None and count == 1:
        return 0
    if type(channel) is not int:
        raise TypeError(f"the volume has {count} channels: say which one, channel=0 for example")
    if not 0 <= channel < count:
        raise ValueError(f"channel must be from 0 to {count - 1}, not {channel}")
    return channel


def wanted_labels(labels: Any, dtype: np.dtype[Any]) -> NDArray[np.uint64]:
    """Of a user's labels those that a voxel of this type can have, ascending."""
    wanted = np.unique(exact_labels(labels, "labels"))
    return wanted[wanted <= np.iinfo(dtype).max] if dtype.kind in "iu" else wanted


@dataclass(frozen=True)
class LabelCounting:
    """Counts the labels of boxes.

    Attributes
    ----------
    scale : OpenScale
    reader : LabelReader
        For the encoding of the scale.
    """

    scale: OpenScale
    reader: LabelReader

    def scan(
        self,
        voxels: Box,
        channel: int | None,
        *,
        progress: bool = False,
        boxes: bool = False,
        only: NDArray[np.uint64] | None = None,
        labels_only: bool = False,
        refuse: Callable[[Found], None] | None = None,
    ) -> LabelScan:
        """Count a box; `boxes`, `only`, `labels_only` and `refuse` are as in `scan_labels`.

        Parameters
        ----------
        voxels : Box
            Inside the volume.
        channel : int or None
            As the user gave it.
        progress : bool
            Whether a bar is shown.
        """
        number = checked_channel(self.scale, channel)
        chunks = self.scale.grid.cells_touching(voxels).voxels
        with progress_bar(chunks, " chunks", wanted=progress) as show:
            return scan_labels(
                self.scale.source,
                self.scale.workers,
                self.scale.grid,
                self.reader,
                voxels,
                number,
                boxes=boxes,
                only=only,
                labels_only=labels_only,
                refuse=refuse,
                show=show,
            )

    def counted(
        self,
        voxels: Box,
        channel: int | None,
        *,
        progress: bool = False,
        boxes: bool = False,
        only: NDArray[np.uint64] | None = None,
        labels_only: bool = False,
    ) -> LabelScan:
        """A `scan` that raises as `cutout` does, with 0 where that gives 0."""

        def refuse(found: Found) -> None:
            forgive = self.scale.forgive_absent
            refuse_chunks(
                self.scale.source, found, what="chunks of the box", forgive_absent=forgive
            )

        scan = self.scan(
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
            scan.tally.add_label(0, unseen_in(scan), around.lower, around.upper)
        return scan

    def result(self, scan: LabelScan) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64]]:
        """Labels of the volume's type, ascending; their counts and boxes."""
        dtype = self.scale.dtype
        found, counts, boxes = scan.tally.result()
        labels = from_uint64(found, dtype)
        if dtype.kind == "u":
            return labels, counts, boxes
        order = np.argsort(labels)
        return labels[order], counts[order], boxes[order] if len(boxes) else boxes


def unseen_in(scan: LabelScan) -> int:
    """How many voxels are NOT_DOWNLOADED."""
    return scan.unseen.get(PointStatus.NOT_DOWNLOADED, 0)


class CountingRole(VolumeRole):
    """What the roles that ask for labels begin with."""

    @cached_property
    def _label_reader(self) -> LabelReader:
        # It keeps memory from one chunk for the next.
        return make_label_reader(self._files.volume, self.scale)

    @property
    def _counting(self) -> LabelCounting:
        return LabelCounting(self._core, self._label_reader)
