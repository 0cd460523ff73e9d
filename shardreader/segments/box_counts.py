"""Voxels of each segment in a box, from rows of whole chunks and from voxels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box, ChunkGrid, Triple
from shardreader.format.morton import cells_of_chunk_ids, chunk_ids_of_cells

__all__ = ["BoxCounts"]

# Rows that wait to be added up: 64 MiB of them.
_MOST_WAITING = 1 << 22


class BoxCounts:
    """Adds up what is in a box; background is left out.

    Parameters
    ----------
    grid : ChunkGrid
    box : Box
        Inside the volume.

    Attributes
    ----------
    inner : Box
        The cells whose chunks lie wholly in the box; may be empty.

    Examples
    --------
    >>> grid = ChunkGrid((100, 100, 100), (0, 0, 0), (32, 32, 32))
    >>> counts = BoxCounts(grid, Box((10, 0, 0), (100, 64, 100)))
    >>> counts.inner
    Box(lower=(1, 0, 0), upper=(4, 2, 4))
    >>> [part for part in counts.outer_parts() if not part.is_empty]
    [Box(lower=(10, 0, 0), upper=(32, 64, 100))]
    """

    def __init__(self, grid: ChunkGrid, box: Box) -> None:
        self._grid = grid
        self._box = box
        self.inner = _whole_cells(grid, box)
        self._waiting: list[tuple[NDArray[np.uint64], NDArray[np.int64]]] = []
        self._rows = 0

    @property
    def chunk_id_range(self) -> tuple[int, int]:
        """The least and the greatest chunk id of the inner cells."""
        # A greater coordinate never gives a lesser code.
        x, y, z = self.inner.upper
        corners = np.array([self.inner.lower, (x - 1, y - 1, z - 1)])
        first, last = chunk_ids_of_cells(corners, self._grid.grid_size).tolist()
        return first, last

    def outer_parts(self) -> Iterator[Box]:
        """Boxes that hold what of the box lies in no inner cell; some are empty."""
        rest = self._box
        if not self.inner.is_empty:
            last = tuple(n - 1 for n in self.inner.upper)
            lower = self._grid.cell_box(self.inner.lower).lower
            upper = self._grid.cell_box(last).upper  # type: ignore[arg-type]
            for axis in (2, 1, 0):
                yield _cut(rest, axis, rest.lower[axis], lower[axis])
                yield _cut(rest, axis, upper[axis], rest.upper[axis])
                rest = _cut(rest, axis, lower[axis], upper[axis])
        else:
            yield rest

    def add_rows(
        self, chunk_ids: NDArray[np.uint64], labels: NDArray[np.uint64], voxels: NDArray[np.int64]
    ) -> None:
        """Add those rows of an index whose chunk is an inner one."""
        cells, _ = cells_of_chunk_ids(chunk_ids, self._grid.grid_size)
        lower, upper = np.array(self.inner.lower), np.array(self.inner.upper)
        wanted = ((cells >= lower) & (cells < upper)).all(axis=1)
        self._add(labels[wanted], voxels[wanted])

    def add_labels(self, labels: NDArray[Any], voxels: NDArray[np.int64]) -> None:
        """Add labels that were read, 0 among them."""
        segments = labels != 0
        self._add(labels[segments].astype(np.uint64), voxels[segments])

    def result(self) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Labels and voxel counts, largest first, those of one size by label."""
        self._sum_up()
        labels, voxels = self._waiting[0]
        order = np.lexsort((labels, -voxels))
        return labels[order], voxels[order]

    def _add(self, labels: NDArray[np.uint64], voxels: NDArray[np.int64]) -> None:
        self._waiting.append((labels, voxels))
        self._rows += len(labels)
        if self._rows > _MOST_WAITING:
            self._sum_up()

    def _sum_up(self) -> None:
        none = np.zeros(0, np.uint64), np.zeros(0, np.int64)
        parts = [none, *self._waiting]
        labels, inverse = np.unique(
            np.concatenate([part[0] for part in parts]), return_inverse=True
        )
        totals = np.zeros(len(labels), np.int64)
        np.add.at(totals, inverse, np.concatenate([part[1] for part in parts]))
        self._waiting, self._rows = [(labels, totals)], 0


def _whole_cells(grid: ChunkGrid, box: Box) -> Box:
    lower, upper = [], []
    for axis in range(3):
        first, size = grid.voxel_offset[axis], grid.chunk_size[axis]
        lower.append(-((first - box.lower[axis]) // size))
        # The last chunk of a row is clipped: it ends with the volume.
        ends = box.upper[axis] == grid.bounds.upper[axis]
        upper.append(grid.grid_size[axis] if ends else (box.upper[axis] - first) // size)
    if box.is_empty or any(a >= b for a, b in zip(lower, upper, strict=True)):
        return Box((0, 0, 0), (0, 0, 0))
    return Box((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))


def _cut(box: Box, axis: int, lower: int, upper: int) -> Box:
    """The part of a box between two coordinates of an axis; they may be the same."""
    a: list[int] = list(box.lower)
    b: list[int] = list(box.upper)
    a[axis], b[axis] = lower, upper
    corner: Triple = (a[0], a[1], a[2])
    return Box(corner, (b[0], b[1], b[2]))
