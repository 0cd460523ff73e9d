"""The nearest voxel of a label to each point, chunk by chunk outward."""

from __future__ import annotations

import enum
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.chunk_visit import visit_chunks
from shardreader.chunks.located import Found
from shardreader.errors import ChunkError, PointStatus
from shardreader.format.grid import ChunkGrid, triples
from shardreader.labels.chunk_labels import LabelReader, Nearest, take_nearer
from shardreader.labels.label_counting import LabelCounting, checked_channel
from shardreader.labels.label_map import exact_labels
from shardreader.runtime.workers import Workers

__all__ = ["SnapStatus", "Snapped", "Snapping", "snap_points"]

# Chunks around a point that a radius may reach.
_MOST_CHUNKS = 100_000
_NONE = np.iinfo(np.int64).max


class SnapStatus(enum.IntEnum):
    """What is known about the voxel of a label that is nearest to a point.

    Examples
    --------
    >>> SnapStatus(1).name
    'NOT_FOUND'
    """

    OK = 0
    """It was found."""
    NOT_FOUND = 1
    """No voxel within the radius has the label, and all of them were looked at."""
    OUT_OF_BOUNDS = 2
    """The point is outside the volume."""
    INVALID = 3
    """No position: NaN, infinity or no number."""
    NOT_DOWNLOADED = 4
    """A voxel as near, or nearer, may lie in a file that is not in this copy."""
    CORRUPT = 5
    """A voxel as near, or nearer, may lie in bytes that break the format."""


class Snapped(NamedTuple):
    """The answer of `Volume.snap`.

    Attributes
    ----------
    voxels : ndarray of int64, shape (..., 3)
        Global voxel coordinates; 0 where the status is not OK.
    distances : ndarray of float64, shape (...)
        In nm, from the point's voxel; NaN where the status is not OK.
    status : ndarray of uint8, shape (...)
        `SnapStatus`.
    """

    voxels: NDArray[np.int64]
    distances: NDArray[np.float64]
    status: NDArray[np.uint8]


class Snapping:
    """A search for many points.

    Parameters
    ----------
    grid, reader, channel
        Of the volume.
    voxel_size : three floats
        In nm.
    voxels : ndarray of int64, shape (n, 3)
        Inside the volume where `status` is OK.
    status : ndarray of uint8, shape (n,)
        `PointStatus` OK, OUT_OF_BOUNDS or INVALID.
    labels : ndarray of uint64, shape (n,)
    radius : float
        In nm; a voxel that is exactly as far is found.

    Attributes
    ----------
    best : ndarray of int64, shape (n, 3)
        The best voxel of each point so far.
    squares : ndarray of float64, shape (n,)
        Its squared distance, or that of the radius.
    hidden : dict of PointStatus to ndarray of float64, shape (n,)
        Squared distance of the nearest chunk that could not be looked at.

    Raises
    ------
    ValueError
        The radius reaches more than 100,000 chunks.
    """

    def __init__(
        self,
        grid: ChunkGrid,
        reader: LabelReader,
        channel: int,
        voxel_size: tuple[float, float, float],
        voxels: NDArray[np.int64],
        status: NDArray[np.uint8],
        labels: NDArray[np.uint64],
        radius: float,
    ) -> None:
        self.grid = grid
        self.reader = reader
        self.channel = channel
        self.sizes = np.array(voxel_size, np.float64)
        self.voxels = voxels
        self._point_status = status
        self.labels = labels
        self.best = np.full((len(voxels), 3), _NONE, np.int64)
        self.squares = np.full(len(voxels), float(radius) ** 2)
        self._offsets = self._reach(radius)
        self.hidden = {
            status: np.full(len(voxels), np.inf)
            for status in (PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT)
        }

    def _reach(self, radius: float) -> NDArray[np.int64]:
        """Cells around a point's own that the radius may reach, the nearest first."""
        edges = self.sizes * self.grid.chunk_size
        most = np.minimum(radius // edges + 1, self.grid.grid_size)
        if (2 * most + 1).prod() > _MOST_CHUNKS:
            raise ValueError(
                f"a radius of {radius:g} nm reaches {(2 * most + 1).prod():,.0f} chunks around a "
                f"point, and at most {_MOST_CHUNKS:,} are searched: take a smaller one"
            )
        steps = [range(-int(m), int(m) + 1) for m in most]
        offsets: NDArray[np.int64] = np.array(list(product(*steps)), np.int64)
        # From anywhere in the own cell; a neighbour begins a voxel away at least.
        away = np.abs(offsets)
        least = ((away - 1) * edges + self.sizes) * (away > 0)
        squares = (least**2).sum(axis=1)
        order = np.lexsort((away.sum(axis=1), squares))
        nearest: NDArray[np.int64] = offsets[order[squares[order] <= float(radius) ** 2]]
        return nearest

    def run(self, source: ChunkSource, workers: Workers) -> None:
        """Look at one chunk for each point after the other, as long as it may hold a nearer one."""
        points = np.flatnonzero(self._point_status == PointStatus.OK)
        relative = self.voxels[points] - np.array(self.grid.voxel_offset)
        own = relative // np.array(self.grid.chunk_size)
        for offset in self._offsets:
            cells = own + offset
            inside = ((cells >= 0) & (cells < np.array(self.grid.grid_size))).all(axis=1)
            rows = np.flatnonzero(inside)
            squares = self._squares_to(points[rows], cells[rows])
            near = squares <= self.squares[points[rows]]
            rows = rows[near]
            if len(rows):
                step = _Step(self, source, points[rows], cells[rows], squares[near])
                step.run(workers)

    def _squares_to(
        self, points: NDArray[np.intp], cells: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Squared distance to the nearest voxel of a cell, computed as for a voxel."""
        lower, shapes = self.grid.cell_extents(cells)
        voxels = self.voxels[points]
        steps = (np.clip(voxels, lower, lower + shapes - 1) - voxels) * self.sizes
        squares: NDArray[np.float64] = steps[:, 0] ** 2 + steps[:, 1] ** 2 + steps[:, 2] ** 2
        return squares

    def result(self, shape: tuple[int, ...]) -> Snapped:
        """The answer, as the caller's points were shaped."""
        found = self.best[:, 0] != _NONE
        status = np.where(found, SnapStatus.OK, SnapStatus.NOT_FOUND).astype(np.uint8)
        for code, squares in self.hidden.items():
            status[squares <= self.squares] = code
        other = self._point_status != PointStatus.OK
        status[other] = self._point_status[other]
        ok = status == SnapStatus.OK
        voxels = np.where(ok[:, np.newaxis], self.best, 0)
        distances = np.where(ok, np.sqrt(self.squares), np.nan)
        return Snapped(voxels.reshape(*shape, 3), distances.reshape(shape), status.reshape(shape))


class _Step:
    """One chunk for each of some points."""

    def __init__(
        self,
        snapping: Snapping,
        source: ChunkSource,
        points: NDArray[np.intp],
        cells: NDArray[np.int64],
        squares: NDArray[np.float64],
    ) -> None:
        self._snapping = snapping
        self._source = source
        self._cells, groups = np.unique(cells, axis=0, return_inverse=True)
        order = np.argsort(groups.ravel(), kind="stable")
        ends = np.cumsum(np.bincount(groups.ravel()))
        self._points = np.split(points[order], ends[:-1])
        self._far = np.split(squares[order], ends[:-1])
        corners, shapes = snapping.grid.cell_extents(self._cells)
        self._corners, self._shapes = triples(corners), triples(shapes)

    def run(self, workers: Workers) -> None:
        visit_chunks(
            self._source,
            workers,
            len(self._cells),
            find=lambda rows: self._source.find(self._cells[rows], workers),
            settle=self._settle,
            consume=self._consume,
            fail=self._fail,
        )

    def _settle(self, found: Found, rows: NDArray[np.intp]) -> None:
        for row, status in zip(rows.tolist(), found.status.tolist(), strict=True):
            if status == PointStatus.EMPTY:
                self._take_background(row)
            elif status != PointStatus.OK:
                self._hide(row, PointStatus(status), slice(None))

    def _take_background(self, row: int) -> None:
        """A chunk that is not stored is all 0."""
        search = self._search(row)
        last = np.array(self._shapes[row]) - 1
        for at in np.flatnonzero(search.labels == 0).tolist():
            voxel = np.clip(search.points[at], 0, last) + np.array(search.origin)
            take_nearer(search, at, voxel, self._far[row][at])
        self._keep(row, search)

    def _consume(self, row: int, encoded: bytes) -> None:
        search = self._search(row)
        snapping = self._snapping
        snapping.reader.nearest(encoded, snapping.channel, self._shapes[row], search)
        self._keep(row, search)
        self._hide(row, PointStatus.CORRUPT, search.status != 0)

    def _fail(self, row: int, _error: ChunkError) -> None:
        self._hide(row, PointStatus.CORRUPT, slice(None))

    def _search(self, row: int) -> Nearest:
        snapping, points, origin = self._snapping, self._points[row], self._corners[row]
        x, y, z = snapping.sizes.tolist()
        return Nearest(
            origin,
            (x, y, z),
            snapping.voxels[points] - np.array(origin),
            snapping.labels[points],
            snapping.best[points],
            snapping.squares[points],
            np.zeros(len(points), np.int64),
        )

    def _keep(self, row: int, search: Nearest) -> None:
        points = self._points[row]
        self._snapping.best[points] = search.best
        self._snapping.squares[points] = search.squares

    def _hide(self, row: int, status: PointStatus, which: Any) -> None:
        hidden, points = self._snapping.hidden[status], self._points[row][which]
        hidden[points] = np.minimum(hidden[points], self._far[row][which])


def snap_points(
    counting: LabelCounting,
    points: tuple[NDArray[np.int64], NDArray[np.uint8], tuple[int, ...]],
    labels: Any,
    radius_nm: float,
    channel: int | None,
) -> Snapped:
    """Move points to their label, as `Volume.snap`.

    Parameters
    ----------
    counting : LabelCounting
        Of the scale.
    points : tuple
        Voxels, statuses and the shape of the answer, as `points_to_voxels` gives them.
    labels, radius_nm, channel
        As in `Volume.snap`.
    """
    voxels, status, shape = points
    scale = counting.scale
    wanted = exact_labels(labels, "labels")
    if wanted.shape not in ((), shape):
        raise ValueError(f"labels have the shape {wanted.shape}, the points {shape}")
    if not 0 <= radius_nm < np.inf:
        raise ValueError(f"radius_nm must be a distance in nm, not {radius_nm!r}")
    snapping = Snapping(
        scale.grid,
        counting.reader,
        checked_channel(scale, channel),
        scale.resolution,
        voxels,
        status,
        np.broadcast_to(wanted, shape).ravel(),
        radius_nm,
    )
    snapping.run(scale.source, scale.workers)
    return snapping.result(shape)
