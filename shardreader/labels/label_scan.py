"""The labels of a box of any size, tile by tile, and how much of it cannot be seen.

Memory follows the distinct labels and the tile, not the box.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.chunk_visit import not_downloaded, visit_chunks
from shardreader.chunks.located import Found
from shardreader.decoding.chunk_decoder import ChunkParts, EncodedChunks
from shardreader.decoding.cseg.tally import LabelTally
from shardreader.errors import ChunkError, PointStatus, ShardReaderError
from shardreader.format.grid import Box, ChunkGrid, triples
from shardreader.labels.chunk_labels import LabelReader, PackedLabels
from shardreader.labels.translating_decoder import chunk_boxes
from shardreader.reading.box_read import cells_of
from shardreader.runtime.workers import Workers

__all__ = ["LabelScan", "scan_labels"]

# Cells of one search: an edge of 16 is 4,096 at a time.
_TILE_EDGE = 16


@dataclass
class LabelScan:
    """What was seen of a box, and what not.

    Attributes
    ----------
    tally : LabelTally
        The voxels that were seen; those of chunks that are not stored are 0.
    unseen : dict of PointStatus to int
        Voxels in chunks that are NOT_DOWNLOADED or CORRUPT: they are not in the tally.
    absent_box : Box or None
        The smallest box around the voxels that are NOT_DOWNLOADED.
    problems : dict of PointStatus to ShardReaderError
        Of each, the first error met.
    """

    tally: LabelTally
    unseen: dict[PointStatus, int] = field(default_factory=dict)
    absent_box: Box | None = None
    problems: dict[PointStatus, ShardReaderError] = field(default_factory=dict)


def scan_labels(
    source: ChunkSource,
    workers: Workers,
    grid: ChunkGrid,
    reader: LabelReader,
    box: Box,
    channel: int,
    *,
    boxes: bool = False,
    only: NDArray[np.uint64] | None = None,
    labels_only: bool = False,
    refuse: Callable[[Found], None] | None = None,
    show: Callable[[int], None] = lambda _done: None,
) -> LabelScan:
    """Tally the labels of a box.

    Parameters
    ----------
    source, workers, grid, reader
        Of the volume.
    box : Box
        Inside the volume; may be empty.
    channel : int
    boxes : bool
        Whether bounding boxes are kept.
    only : ndarray of uint64, optional
        No other labels are kept.
    labels_only : bool
        Whether the counts of the tally may be of anything.
    refuse : callable, optional
        Gets each search before anything is read, and may raise; then the first damaged chunk
        raises too. Without it no chunk raises.
    show : callable
        Gets how many chunks are done.

    Raises
    ------
    ReadError
        The operating system refuses.
    """
    scan = LabelScan(LabelTally(boxes=boxes, only=only))
    cells = grid.cells_touching(box)
    tallies: deque[tuple[LabelTally, LabelTally]] = deque()
    done = 0
    few = cells.voxels <= _TILE_EDGE**3
    for tile in [cells] if few and not cells.is_empty else grid.tiles(cells, _TILE_EDGE):
        part = _Tile(source, grid, reader, tile, box, channel, scan, tallies)
        part.run(workers, boxes, only, labels_only, refuse)
        done += tile.voxels
        show(done)
    for _, total in tallies:
        scan.tally.add(total)
    return scan


class _Tile:
    """Some chunks of the box."""

    def __init__(
        self,
        source: ChunkSource,
        grid: ChunkGrid,
        reader: LabelReader,
        tile: Box,
        box: Box,
        channel: int,
        scan: LabelScan,
        tallies: deque[tuple[LabelTally, LabelTally]],
    ) -> None:
        self._source = source
        self._reader = reader
        self._channel = channel
        self._scan = scan
        self._tallies = tallies
        self._cells = cells_of(tile)
        corners, shapes = grid.cell_extents(self._cells)
        # Each chunk's part of the box, in global voxels and in voxels from the chunk's first.
        self._from = np.maximum(corners, np.array(box.lower, np.int64))
        self._to = np.minimum(corners + shapes, np.array(box.upper, np.int64))
        self._origins = corners
        tables = shapes, self._from - corners, self._to - corners, self._from
        self._parts = ChunkParts(*(np.ascontiguousarray(table) for table in tables))
        self._damaged: deque[tuple[int, ChunkError]] = deque()

    def run(
        self,
        workers: Workers,
        boxes: bool,
        only: NDArray[np.uint64] | None,
        labels_only: bool,
        refuse: Callable[[Found], None] | None,
    ) -> None:
        def settle(found: Found, rows: NDArray[np.intp]) -> None:
            if refuse is not None:
                refuse(found)
            self._settle(found, rows)

        def consume(row: int, encoded: bytes) -> None:
            with self._tallied(boxes, only, labels_only) as tally:
                self._tally(row, encoded, tally)

        def consume_many(*chunks: Any) -> NDArray[np.bool_]:
            encoded = EncodedChunks(*chunks)
            with self._tallied(boxes, only, labels_only) as tally:
                done = self._tally_many(encoded, tally)
            return np.full(len(encoded.rows), done)

        def fail(row: int, error: ChunkError) -> None:
            if refuse is not None:
                raise error
            self._damaged.append((row, error))

        visit_chunks(
            self._source,
            workers,
            len(self._cells),
            find=lambda rows: self._source.find(self._cells[rows], workers),
            settle=settle,
            consume=consume,
            fail=fail,
            consume_many=consume_many if isinstance(self._reader, PackedLabels) else None,
        )
        for row, error in sorted(self._damaged, key=lambda pair: pair[0]):
            self._not_seen(PointStatus.CORRUPT, np.array([row]), error)

    @contextmanager
    def _tallied(
        self, boxes: bool, only: NDArray[np.uint64] | None, labels_only: bool
    ) -> Iterator[LabelTally]:
        """An empty tally, of which all is added to the sum, but nothing after an exception."""
        try:
            pair = self._tallies.pop()
        except IndexError:
            pair = (
                LabelTally(boxes=boxes, labels_only=labels_only),
                LabelTally(boxes=boxes, only=only),
            )
        try:
            pair[0].clear()
            yield pair[0]
            pair[1].add(pair[0])
        finally:
            self._tallies.append(pair)

    def _tally(self, row: int, encoded: bytes, tally: LabelTally) -> None:
        shape, lower, upper, origin = triples(
            np.stack([table[row] for table in (*self._parts[:3], self._origins)])
        )
        self._reader.tally(encoded, self._channel, shape, lower, upper, origin, tally)

    def _tally_many(self, chunks: EncodedChunks, tally: LabelTally) -> bool:
        if not isinstance(self._reader, PackedLabels):
            raise TypeError("only packed labels are tallied many at once")
        boxes = chunk_boxes(chunks, self._parts)
        done = self._reader.tally_many(boxes, self._channel, self._origins, tally)
        if not done:
            tally.clear()  # they come again, one by one
        return done

    def _settle(self, found: Found, rows: NDArray[np.intp]) -> None:
        empty = rows[found.rows(PointStatus.EMPTY)]
        if len(empty):
            around = self._around(empty)
            self._scan.tally.add_label(0, self._voxels(empty), around.lower, around.upper)
        corrupt = found.rows(PointStatus.CORRUPT)
        if len(corrupt):
            first = found.problems[int(corrupt[0])]
            self._not_seen(PointStatus.CORRUPT, rows[corrupt], first)
        absent = found.rows(PointStatus.NOT_DOWNLOADED)
        if len(absent):
            error = not_downloaded(
                self._source, found, int(absent[0]), f"{len(absent)} of {len(rows)} chunks are"
            )
            self._not_seen(PointStatus.NOT_DOWNLOADED, rows[absent], error)
            around = self._around(rows[absent])
            before = self._scan.absent_box
            self._scan.absent_box = around if before is None else _union(before, around)

    def _not_seen(
        self, status: PointStatus, rows: NDArray[np.intp], error: ShardReaderError
    ) -> None:
        unseen = self._scan.unseen
        unseen[status] = unseen.get(status, 0) + self._voxels(rows)
        self._scan.problems.setdefault(status, error)

    def _voxels(self, rows: NDArray[np.intp]) -> int:
        return int((self._to[rows] - self._from[rows]).prod(axis=1).sum())

    def _around(self, rows: NDArray[np.intp]) -> Box:
        lower, upper = self._from[rows].min(axis=0), self._to[rows].max(axis=0)
        return Box(lower.tolist(), upper.tolist())


def _union(one: Box, other: Box) -> Box:
    lower: Any = tuple(map(min, one.lower, other.lower))
    upper: Any = tuple(map(max, one.upper, other.upper))
    return Box(lower, upper)
