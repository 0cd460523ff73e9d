"""The labels at many points, gathered from their chunks. Used by `volume`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.chunk_visit import not_downloaded, visit_chunks
from shardreader.chunks.located import Found
from shardreader.chunks.stored_reader import ConsumeMany
from shardreader.decoding.chunk_decoder import (
    ChunkDecoder,
    EncodedChunks,
    ManyChunksDecoder,
    PointBatch,
)
from shardreader.errors import (
    ChunkError,
    InvalidPointError,
    OutOfBoundsError,
    PointStatus,
    ShardReaderError,
)
from shardreader.format.grid import ChunkGrid, triples
from shardreader.runtime.compile_lock import compiling
from shardreader.runtime.workers import Workers

__all__ = ["PointRead", "read_points", "refuse_points"]


class PointRead:
    """Groups points by chunk in linear time, and takes their labels chunk by chunk.

    Parameters
    ----------
    voxels : ndarray of int64, shape (n, 3)
    status : ndarray of uint8, shape (n,)
        OK for those to look up; filled in.

    Attributes
    ----------
    cells, shapes : ndarray of int64, shape (g, 3)
        The chunks that hold points, and their clipped extents.
    batch : PointBatch
        The points by chunk.
    firsts : ndarray of int64, shape (g + 1,)
        The points of chunk r are ``[firsts[r], firsts[r + 1])`` of the batch.
    """

    def __init__(
        self,
        grid: ChunkGrid,
        decoder: ChunkDecoder,
        voxels: NDArray[np.int64],
        status: NDArray[np.uint8],
        dtype: np.dtype[Any],
        channels: int,
        workers: Workers,
    ) -> None:
        self._grid = grid
        self._decoder = decoder
        self.bounds = grid.bounds
        self.voxels = voxels
        self.status = status
        self._labels = np.zeros((channels, len(voxels)), dtype=dtype)
        self._errors: dict[int, ShardReaderError] = {}
        self._absent: dict[int, tuple[Found, int]] = {}
        self._damaged_in_part: set[int] = set()
        self._group(workers)

    def _group(self, workers: Workers) -> None:
        with compiling:
            # numba, on the first lookup only
            from shardreader.reading.grouping import group_points

        grouped = group_points(self.voxels, self.status, self._grid, workers)
        self.cells, self.shapes, self.firsts = grouped.cells, grouped.shapes, grouped.firsts
        self.batch = PointBatch(
            grouped.packed, grouped.bits, grouped.order, self._labels, self.status
        )

    def settle(self, found: Found, rows: NDArray[np.intp]) -> None:
        """Give points whose chunk is not stored the status of the chunk."""
        at = found.status.nonzero()[0]  # OK is 0
        if len(at) == 0:
            return
        begins = self.firsts[rows[at]]
        counts = self.firsts[rows[at] + 1] - begins
        before = np.cumsum(counts) - counts
        points = np.arange(int(counts.sum())) + np.repeat(begins - before, counts)
        self.status[self.batch.order[points]] = np.repeat(found.status[at], counts)
        for one in found.rows(PointStatus.CORRUPT).tolist():
            self._errors[int(rows[one])] = found.problems[one]
        absent = found.rows(PointStatus.NOT_DOWNLOADED)
        for row, one in zip(rows[absent].tolist(), absent.tolist(), strict=True):
            self._absent[row] = (found, one)

    def consume(self, row: int, encoded: bytes) -> None:
        """Read the labels of one chunk's points. Raises FormatFault."""
        fault = self._decoder.read_voxels(
            encoded,
            triples(self.shapes[row : row + 1])[0],
            self.batch,
            int(self.firsts[row]),
            int(self.firsts[row + 1]),
        )
        if fault is not None:
            self._damaged_in_part.add(row)
            raise fault

    @property
    def consume_many(self) -> ConsumeMany | None:
        """Reads the labels of several chunks' points at once; None where that cannot be."""
        decoder = self._decoder
        if not isinstance(decoder, ManyChunksDecoder):
            return None
        return lambda *chunks: decoder.read_voxels_of_chunks(
            EncodedChunks(*chunks), self.shapes, self.batch, self.firsts
        )

    def fail(self, row: int, error: ChunkError) -> None:
        """Mark the points of a damaged chunk, and remember why."""
        self._errors[row] = error
        if row not in self._damaged_in_part:
            self.status[self._points(row)] = PointStatus.CORRUPT

    def labels(self, shape: tuple[int, ...]) -> NDArray[Any]:
        """The labels as the caller's points were shaped; channels come last."""
        channels = len(self._labels)
        answer: NDArray[Any] = self._labels.T.reshape(*shape, channels)
        return answer[..., 0] if channels == 1 else answer

    def first_error(self) -> tuple[int, ShardReaderError]:
        """The first CORRUPT point and what is wrong with its chunk."""
        return min(
            ((self._first(row, PointStatus.CORRUPT), error) for row, error in self._errors.items()),
            key=lambda pair: pair[0],
        )

    def first_absent(self) -> tuple[int, Found, int]:
        """The first NOT_DOWNLOADED point, and the search and row that say so."""
        return min(
            (
                (self._first(row, PointStatus.NOT_DOWNLOADED), *where)
                for row, where in self._absent.items()
            ),
            key=lambda triple: triple[0],
        )

    def _first(self, row: int, status: PointStatus) -> int:
        points = self._points(row)
        return int(points[self.status[points] == status].min())

    def _points(self, row: int) -> NDArray[np.int64]:
        return self.batch.order[self.firsts[row] : self.firsts[row + 1]]


def read_points(source: ChunkSource, workers: Workers, read: PointRead) -> None:
    """Read the chunks of all points; what cannot be read is in their status."""
    visit_chunks(
        source,
        workers,
        len(read.cells),
        find=lambda rows: source.find(read.cells[rows], workers),
        settle=read.settle,
        consume=read.consume,
        fail=read.fail,
        consume_many=read.consume_many,
    )


def refuse_points(
    source: ChunkSource,
    read: PointRead,
    shape: tuple[int, ...],
    *,
    forgive_absent: bool,
) -> None:
    """Raise where points have no label: damage first, then what is missing, then bad points.

    The exception carries the whole answer in ``labels`` and ``status``.
    """
    if not np.count_nonzero(read.status):
        return
    counts = np.bincount(read.status, minlength=len(PointStatus))
    total = len(read.status)
    error: Exception | None = None
    if counts[PointStatus.CORRUPT]:
        point, reason = read.first_error()
        error = type(reason)(
            f"{counts[PointStatus.CORRUPT]} of {total} points are CORRUPT; the first is "
            f"{_point(read, point, shape)}: {reason}"
        )
        error.__cause__ = reason
    elif counts[PointStatus.NOT_DOWNLOADED] and not forgive_absent:
        point, found, row = read.first_absent()
        count = f"{counts[PointStatus.NOT_DOWNLOADED]} of {total} points"
        error = not_downloaded(
            source, found, row, f"{count} are; the first is {_point(read, point, shape)}"
        )
    elif counts[PointStatus.OUT_OF_BOUNDS]:
        point = int(np.argmax(read.status == PointStatus.OUT_OF_BOUNDS))
        error = OutOfBoundsError(
            f"{counts[PointStatus.OUT_OF_BOUNDS]} of {total} points are OUT_OF_BOUNDS; the first "
            f"is {_point(read, point, shape)}, the volume is {read.bounds}; check the units, or "
            "pass return_status=True"
        )
    elif counts[PointStatus.INVALID]:
        point = int(np.argmax(read.status == PointStatus.INVALID))
        error = InvalidPointError(
            f"{counts[PointStatus.INVALID]} of {total} points are INVALID (NaN or infinite); the "
            f"first is point {_index(point, shape)}; drop them, or pass return_status=True"
        )
    if error is not None:
        error.labels = read.labels(shape)  # type: ignore[attr-defined]
        error.status = read.status.reshape(shape)  # type: ignore[attr-defined]
        raise error


def _point(read: PointRead, point: int, shape: tuple[int, ...]) -> str:
    voxel = tuple(read.voxels[point].tolist())
    return f"point {_index(point, shape)}, voxel {voxel}"


def _index(point: int, shape: tuple[int, ...]) -> str:
    if len(shape) == 1:
        return str(point)
    return str(tuple(int(i) for i in np.unravel_index(point, shape)))
