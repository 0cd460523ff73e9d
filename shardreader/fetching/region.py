"""A part of a volume, a box or points, as the chunks of each shard that it touches."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.chunk_decoder import make_decoder
from shardreader.decoding.whole_chunk_codecs import CODECS
from shardreader.errors import InfoError, OutOfBoundsError, PointStatus
from shardreader.format.grid import Box
from shardreader.format.info import COMPRESSED_SEGMENTATION, ScaleInfo, VolumeInfo
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.shard_lattice import ShardLattice, shard_cells
from shardreader.reading.points import points_to_voxels, voxel_box
from shardreader.tables.point_tables import open_points

__all__ = [
    "MOST_IDS",
    "PartialTask",
    "Region",
    "RegionRequest",
    "largest_encoding",
    "region_request",
]

# Of one shard, or of points, or of a box whose chunks a hash scatters: 128 MiB of ids.
MOST_IDS = 1 << 24


@dataclass(frozen=True, eq=False)
class RegionRequest:
    """What the caller asked for; exactly one of box and points.

    Parameters
    ----------
    box : Box or pair, optional
        As in `Volume.cutout`.
    points : array-like, frame or path, optional
        As in `Volume.lookup`, or a file of them; ``-`` is standard input.
    units, resolution
        As in both.
    whole_shards : bool
        Take the shards entire that are touched.
    """

    box: Any
    points: Any
    units: str | None
    resolution: Sequence[float] | None
    whole_shards: bool


def region_request(
    box: Any,
    points: Any,
    units: str | None,
    resolution: Sequence[float] | None,
    *,
    whole_shards: bool,
) -> RegionRequest | None:
    """What the arguments of `fetch` ask for; None for the whole scale.

    Raises
    ------
    TypeError
        Box and points, or a unit without either.
    """
    if box is not None and points is not None:
        raise TypeError("give a box or points, not both; a second fetch adds to the first")
    if box is None and points is None:
        if units is not None or resolution is not None or whole_shards:
            raise TypeError("units, resolution and whole_shards belong to a box or to points")
        return None
    return RegionRequest(box, points, units, resolution, whole_shards)


@dataclass(frozen=True, eq=False)
class PartialTask:
    """A shard of which some chunks are wanted.

    Parameters
    ----------
    number : int
    name : str
    cells : Box or None
        The cells of these chunks, in the part of the grid that is the shard's.
    chunk_ids : ndarray of uint64 or None
        Their ids, where they are no box.
    most_encoded_bytes : int
        The largest encoding that a chunk can need.
    mend : bool
        Nothing of the file that is here is kept.
    """

    number: int
    name: str
    cells: Box | None
    chunk_ids: NDArray[np.uint64] | None
    most_encoded_bytes: int
    mend: bool = False

    def ids(self, scale: ScaleInfo) -> NDArray[np.uint64]:
        """The ids of the wanted chunks, sorted."""
        if self.chunk_ids is not None:
            return self.chunk_ids
        return np.sort(_ids_of(scale, self.cells)) if self.cells is not None else _no_ids()


@dataclass(frozen=True)
class Region:
    """The shards that a box or points touch.

    Parameters
    ----------
    tasks : tuple of PartialTask
    whole_shards : bool
        All of these shards is wanted.
    notes : tuple of str
        What was odd.
    """

    tasks: tuple[PartialTask, ...]
    whole_shards: bool
    notes: tuple[str, ...]

    @classmethod
    def of(cls, request: RegionRequest, volume: VolumeInfo, scale: ScaleInfo) -> Region:
        """Find the chunks that a request needs.

        Raises
        ------
        TypeError, ValueError
            No unit, no box, no points.
        OutOfBoundsError
            The box is not inside the volume, or none of the points is.
        InfoError
            The chunks are too many to be listed.
        """
        most = 0 if request.whole_shards else largest_encoding(volume, scale)
        tasks = _Tasks(scale, most, has_limit=not request.whole_shards)
        if request.box is not None:
            of_box = tuple(tasks.of_box(_box(request, scale)))
            return cls(of_box, request.whole_shards, ())
        ids, notes = _ids_of_points(request, scale)
        return cls(tuple(tasks.of_ids(ids)), request.whole_shards, notes)


def largest_encoding(volume: VolumeInfo, scale: ScaleInfo) -> int:
    """The most bytes that a chunk can need after inflate.

    Raises
    ------
    InfoError
        That is not known of this encoding.
    """
    if scale.encoding != COMPRESSED_SEGMENTATION and scale.encoding not in CODECS:
        raise InfoError(
            f"scale {scale.key}: how large a chunk of encoding {scale.encoding!r} can be is not "
            "known, so its chunks cannot be checked one by one; fetch whole shards "
            "(--whole-shards), or the volume"
        )
    return make_decoder(volume, scale).most_encoded_bytes


def _box(request: RegionRequest, scale: ScaleInfo) -> Box:
    box = voxel_box(
        request.box,
        units=request.units,
        resolution=request.resolution,
        voxel_size=scale.resolution,
    )
    if box.is_empty:
        raise ValueError(f"the box holds no voxel: {box}; its second corner is past the last voxel")
    if not scale.grid.bounds.contains(box):
        raise OutOfBoundsError(
            f"the box {box} is not inside the volume, {scale.grid.bounds} (voxels); is the unit "
            "right?"
        )
    return box


class _Tasks:
    """Makes the tasks of one scale."""

    def __init__(self, scale: ScaleInfo, most_encoded_bytes: int, *, has_limit: bool) -> None:
        if scale.sharding is None:
            raise ValueError("the scale is not sharded")
        self._scale = scale
        self._spec = scale.sharding
        self._lattice = ShardLattice(scale)
        self._most_encoded_bytes = most_encoded_bytes
        self._has_limit = has_limit

    def of_box(self, box: Box) -> Iterator[PartialTask]:
        cells = self._scale.grid.cells_touching(box)
        if self._lattice.shape is None or self._lattice.wraps:
            _check_count(cells, "which this volume scatters over its shards")
            yield from self.of_ids(np.sort(_ids_of(self._scale, cells)))
            return
        for number in self._lattice.numbers(cells):
            part = shard_cells(self._scale, number).intersection(cells)
            if self._has_limit:
                _check_count(part, "which are in one shard")
            yield self._task(number, part, None)

    def of_ids(self, ids: NDArray[np.uint64]) -> Iterator[PartialTask]:
        """The tasks of sorted ids."""
        shards, _ = self._spec.locate(ids)
        order = np.argsort(shards, kind="stable")
        cuts = np.flatnonzero(np.diff(shards[order]) != 0) + 1
        for rows in np.split(order, cuts) if len(ids) else ():
            yield self._task(int(shards[rows[0]]), None, ids[rows])

    def _task(
        self, number: int, cells: Box | None, chunk_ids: NDArray[np.uint64] | None
    ) -> PartialTask:
        name = self._spec.file_name(number)
        return PartialTask(number, name, cells, chunk_ids, self._most_encoded_bytes)


def _check_count(cells: Box, what: str) -> None:
    if prod(cells.shape) > MOST_IDS:
        raise InfoError(
            f"the box has {prod(cells.shape):,} chunks, {what}: more than {MOST_IDS:,}; fetch it "
            "in parts, or whole shards (--whole-shards)"
        )


def _ids_of(scale: ScaleInfo, cells: Box) -> NDArray[np.uint64]:
    """The chunk ids of a box of cells."""
    axes = [np.arange(a, b) for a, b in zip(cells.lower, cells.upper, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3)
    return chunk_ids_of_cells(grid, scale.grid.grid_size)


def _no_ids() -> NDArray[np.uint64]:
    return np.zeros(0, dtype=np.uint64)


def _ids_of_points(
    request: RegionRequest, scale: ScaleInfo
) -> tuple[NDArray[np.uint64], tuple[str, ...]]:
    """The chunks of points, a block of them at a time; each once, sorted."""
    grid = scale.grid
    ids = _no_ids()
    counts = np.zeros(len(PointStatus), dtype=np.int64)
    for block in _blocks(request.points):
        voxels, status, _ = points_to_voxels(
            block,
            units=request.units,
            resolution=request.resolution,
            voxel_size=scale.resolution,
            bounds=grid.bounds,
        )
        counts += np.bincount(status, minlength=len(counts))
        inside = voxels[status == PointStatus.OK] - np.array(grid.voxel_offset, dtype=np.int64)
        cells = inside // np.array(grid.chunk_size, dtype=np.int64)
        ids = np.union1d(ids, chunk_ids_of_cells(cells, grid.grid_size))
        if len(ids) > MOST_IDS:
            raise InfoError(f"the points lie in more than {MOST_IDS:,} chunks; fetch in parts")
    outside, invalid = int(counts[PointStatus.OUT_OF_BOUNDS]), int(counts[PointStatus.INVALID])
    total = int(counts.sum())
    if outside + invalid == 0:
        return ids, ()
    words = (
        f"of {total:,} points {outside:,} lie outside the volume ({grid.bounds}, voxels) and "
        f"{invalid:,} are no numbers"
    )
    if outside + invalid == total:
        raise OutOfBoundsError(f"{words}: nothing to fetch; is the unit right?")
    return ids, (f"{words}: they are left out; is the unit right?",)


def _blocks(points: Any) -> Iterable[Any]:
    if not isinstance(points, (str, os.PathLike)):
        yield points
        return
    with open_points(os.fspath(points), sys.stdin.buffer) as table:
        for block in table.blocks():
            yield block.points
