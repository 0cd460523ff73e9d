"""A part of a volume, a box or points, as the chunks of each shard that it touches. Floor 5."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import InfoError, OutOfBoundsError, PointStatus
from shardreader.fetching.plan import ShardRow
from shardreader.grid import Box
from shardreader.info import ScaleInfo
from shardreader.listings import ListedObject
from shardreader.morton import chunk_ids_of_cells
from shardreader.point_files import open_points
from shardreader.points import points_to_voxels, voxel_box
from shardreader.shard_extent import shard_cells
from shardreader.shard_lattice import ShardLattice

__all__ = ["MOST_IDS", "PartialTask", "Region", "RegionRequest"]

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
    mend : bool
        Nothing of the file that is here is kept.
    """

    number: int
    name: str
    cells: Box | None
    chunk_ids: NDArray[np.uint64] | None
    mend: bool = False

    listed: ListedObject | None = None
    row: ShardRow | None = None
    bytes_to_come: int = 0

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
    notes : tuple of str
        What was odd.
    """

    tasks: tuple[PartialTask, ...]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, request: RegionRequest, scale: ScaleInfo) -> Region:
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
        lattice = ShardLattice(scale)
        if request.box is not None:
            return cls(tuple(_tasks_of_box(_box(request, scale), scale, lattice)), ())
        ids, notes = _ids_of_points(request, scale)
        return cls(tuple(_tasks_of_ids(ids, scale, lattice)), notes)


def _box(request: RegionRequest, scale: ScaleInfo) -> Box:
    box = voxel_box(
        request.box,
        units=request.units,
        resolution=request.resolution,
        voxel_size=scale.resolution,
    )
    if not scale.grid.bounds.contains(box):
        raise OutOfBoundsError(
            f"the box {box} is not inside the volume, {scale.grid.bounds} (voxels); is the unit "
            "right?"
        )
    return box


def _tasks_of_box(box: Box, scale: ScaleInfo, lattice: ShardLattice) -> Iterator[PartialTask]:
    cells = scale.grid.cells_touching(box)
    if lattice.shape is None or lattice.wraps:
        if prod(cells.shape) > MOST_IDS:
            raise InfoError(
                f"the box has {prod(cells.shape):,} chunks, which this volume scatters over all of "
                f"its shards; ask for at most {MOST_IDS:,}, or fetch the volume whole"
            )
        yield from _tasks_of_ids(np.sort(_ids_of(scale, cells)), scale, lattice)
        return
    for number in lattice.numbers(cells):
        part = shard_cells(scale, number).intersection(cells)
        if prod(part.shape) > MOST_IDS:
            raise InfoError(
                f"the box has {prod(part.shape):,} chunks of one shard; ask for at most "
                f"{MOST_IDS:,}, or fetch whole shards (--whole-shards)"
            )
        yield PartialTask(number, lattice.file_name(number), part, None)


def _tasks_of_ids(
    ids: NDArray[np.uint64], scale: ScaleInfo, lattice: ShardLattice
) -> Iterator[PartialTask]:
    """The tasks of sorted ids."""
    if scale.sharding is None:
        raise ValueError("the scale is not sharded")
    shards, _ = scale.sharding.locate(ids)
    order = np.argsort(shards, kind="stable")
    cuts = np.flatnonzero(np.diff(shards[order]) != 0) + 1
    for rows in np.split(order, cuts) if len(ids) else ():
        number = int(shards[rows[0]])
        yield PartialTask(number, lattice.file_name(number), None, ids[rows])


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
