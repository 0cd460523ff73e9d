"""One segment: what the index says, and its voxels, read from its own chunks only."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import SegmentIndexError
from shardreader.format.grid import Box, ChunkGrid, Triple, triples
from shardreader.format.morton import cells_of_chunk_ids
from shardreader.segments.index_coverage import IndexCoverage

__all__ = ["Segment"]

Mask = NDArray[np.bool_]


class Segment:
    """All voxels of one label; made by `Volume.segment`.

    Attributes
    ----------
    label : int
    voxel_count : int
    chunk_ids : ndarray of uint64, shape (n,)
        The chunks that it is in, ascending.
    chunk_voxels : ndarray of int64, shape (n,)
        How many voxels it has in each.
    cells : ndarray of int64, shape (n, 3)
        The grid positions of these chunks.
    coverage : IndexCoverage
        Whether there may be more of it, in shards that the index does not know.

    Examples
    --------
    A volume with an index (built here beside a copy of it):

    >>> import shutil, tempfile, shardreader
    >>> copy = shutil.copytree("fixtures/fafb-mini", tempfile.mkdtemp() + "/fafb-mini")
    >>> report = shardreader.build_index(copy)
    >>> vol = shardreader.open_volume(copy)
    >>> segment = vol.segment(2142873971)
    >>> segment.voxel_count, len(segment.chunk_ids), segment.coverage.is_complete
    (14706, 1, False)
    """

    def __init__(
        self,
        label: int,
        chunk_ids: NDArray[np.uint64],
        chunk_voxels: NDArray[np.int64],
        *,
        grid: ChunkGrid,
        resolution: tuple[float, float, float],
        coverage: IndexCoverage,
        read_mask: Callable[[Box, int], Mask],
    ) -> None:
        self.label = label
        self.chunk_ids = chunk_ids
        self.chunk_voxels = chunk_voxels
        self.voxel_count = int(chunk_voxels.sum())
        self.coverage = coverage
        self.cells, inside = cells_of_chunk_ids(chunk_ids, grid.grid_size)
        if not inside.all():
            raise SegmentIndexError(
                f"segment {label}: the index has chunks outside the grid: it is damaged; build it "
                "again with: shardreader index"
            )
        self._grid = grid
        self._resolution = resolution
        self._read_mask = read_mask

    @property
    def volume_nm3(self) -> float:
        """Its volume in cubic nanometres."""
        return self.voxel_count * math.prod(map(float, self._resolution))

    @property
    def chunk_bounds(self) -> Box:
        """A box around it in whole chunks, in voxels; the tight one is `bounding_box`."""
        first, last = triples(np.stack([self.cells.min(axis=0), self.cells.max(axis=0)]))
        return Box(self._grid.cell_box(first).lower, self._grid.cell_box(last).upper)

    @cached_property
    def representative_voxel(self) -> Triple:
        """A voxel inside it, from the chunk that holds most of it; reads that chunk.

        The one nearest to the middle of that part.
        """
        row = int(np.argmax(self.chunk_voxels))
        box, mask = self._chunk(row)
        at = np.argwhere(mask)
        distance = (((at - at.mean(axis=0)) * np.array(self._resolution)) ** 2).sum(axis=1)
        (voxel,) = triples(at[np.argmin(distance)][np.newaxis] + np.array(box.lower))
        return voxel

    def bounding_box(self) -> Box:
        """The tight box around all its voxels; reads the outermost of its chunks only."""
        extents: dict[int, NDArray[np.int64]] = {}
        lower, upper = [], []
        for axis in range(3):
            along = self.cells[:, axis]
            first = np.flatnonzero(along == along.min())
            last = np.flatnonzero(along == along.max())
            lower.append(min(int(self._extent(row, extents)[0, axis]) for row in first.tolist()))
            upper.append(max(int(self._extent(row, extents)[1, axis]) for row in last.tolist()))
        return Box((lower[0], lower[1], lower[2]), (upper[0], upper[1], upper[2]))

    def cutouts(self) -> Iterator[tuple[Box, Mask]]:
        """Its part of each of its chunks, in the order of `chunk_ids`.

        Yields
        ------
        box : Box
            The voxels of the chunk.
        mask : ndarray of bool, shape (x, y, z)
            True where the segment is.

        Raises
        ------
        SegmentIndexError
            A chunk no longer holds what the index says.
        NotDownloadedError, ShardError, ChunkError, ReadError
            As `Volume.cutout`.
        """
        for row in range(len(self.chunk_ids)):
            yield self._chunk(row)

    def mask(self, box: Box) -> Mask:
        """Where it is in a box; reads its own chunks there and no others.

        Parameters
        ----------
        box : Box
            Inside the volume; not empty.

        Returns
        -------
        ndarray of bool, shape (x, y, z)
            In Fortran order.

        Raises
        ------
        SegmentIndexError, NotDownloadedError, ShardError, ChunkError, ReadError
            As `cutouts`.
        """
        whole = np.zeros(box.shape, np.bool_, order="F")
        cells = self._grid.cells_touching(box)
        touching = (self.cells >= cells.lower) & (self.cells < cells.upper)
        for row in np.flatnonzero(touching.all(axis=1)).tolist():
            chunk = self._box(row)
            part = chunk.intersection(box)
            mask = self._chunk(row)[1] if part == chunk else self._read_mask(part, self.label)
            target = zip(part.lower, part.upper, box.lower, strict=True)
            whole[tuple(slice(a - o, b - o) for a, b, o in target)] = mask
        return whole

    def voxels(self) -> Iterator[NDArray[np.int64]]:
        """The coordinates of its voxels, chunk by chunk; raises what `cutouts` does.

        Yields
        ------
        ndarray of int64, shape (n, 3)
            Global voxel coordinates x, y, z; x varies fastest.
        """
        for box, mask in self.cutouts():
            yield np.argwhere(mask.T)[:, ::-1] + np.array(box.lower)

    def to_json(self) -> dict[str, Any]:
        """What the index says, as JSON types; labels and chunk ids are strings."""
        bounds = self.chunk_bounds
        return {
            "label": str(self.label),
            "voxel_count": self.voxel_count,
            "volume_nm3": self.volume_nm3,
            "chunk_bounds": [list(bounds.lower), list(bounds.upper)],
            "representative_voxel": list(self.representative_voxel),
            "chunks": [
                {"chunk_id": str(chunk_id), "cell": cell, "voxels": voxels}
                for chunk_id, cell, voxels in zip(
                    self.chunk_ids.tolist(),
                    self.cells.tolist(),
                    self.chunk_voxels.tolist(),
                    strict=True,
                )
            ],
            "coverage": self.coverage.to_json(),
        }

    def __repr__(self) -> str:
        return (
            f"<Segment {self.label}: {self.voxel_count:,} voxels in {len(self.chunk_ids):,} "
            f"chunks, {self.coverage}>"
        )

    def _box(self, row: int) -> Box:
        (cell,) = triples(self.cells[row : row + 1])
        return self._grid.cell_box(cell)

    def _chunk(self, row: int) -> tuple[Box, Mask]:
        box = self._box(row)
        mask = self._read_mask(box, self.label)
        found, expected = int(np.count_nonzero(mask)), int(self.chunk_voxels[row])
        if found != expected:
            raise SegmentIndexError(
                f"segment {self.label}: expected {expected} voxels in chunk "
                f"{self.chunk_ids[row]}, voxels {box}, as the index says, found {found}: the shard "
                "has changed since; build the index again with: shardreader index --resume"
            )
        return box, mask

    def _extent(self, row: int, known: dict[int, NDArray[np.int64]]) -> NDArray[np.int64]:
        """First voxel and the one past the last in a chunk, shape (2, 3)."""
        if row not in known:
            box, mask = self._chunk(row)
            sides = []
            for axis in range(3):
                others = tuple(other for other in range(3) if other != axis)
                filled = np.flatnonzero(mask.any(axis=others)) + box.lower[axis]
                sides.append((filled[0], filled[-1] + 1))
            known[row] = np.array(sides, dtype=np.int64).T
        return known[row]
