"""The shards of a scale as a grid of boxes over the volume: from number to place and back.

Specification: sharded.md, "hash"; volume.md, "Compressed morton code".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box, ChunkGrid, Triple, triples
from shardreader.format.info import ScaleInfo
from shardreader.format.morton import cells_of_chunk_ids, morton_bits
from shardreader.format.shard_geometry import (
    ShardAxis,
    possible_shard_count,
    possible_shards,
    shard_axes,
)

__all__ = ["COUNTABLE_SHARDS", "ShardLattice", "shard_cells", "voxels_of_cells"]


def shard_cells(scale: ScaleInfo, shard_number: int, minishard_number: int | None = None) -> Box:
    """The smallest box of cells around all that a shard, or one of its minishards, can hold.

    With a hash that mixes the bits of the ids, and without sharding, that is the whole grid.
    """
    grid_size = scale.grid.grid_size
    spec = scale.sharding
    if spec is None or spec.hash != "identity" or 0 in grid_size:
        return Box((0, 0, 0), grid_size)
    known = ((1 << spec.shard_bits) - 1) << spec.minishard_bits
    value = shard_number << spec.minishard_bits
    if minishard_number is not None:
        known |= (1 << spec.minishard_bits) - 1
        value |= minishard_number
    all_bits = (1 << morton_bits(grid_size)) - 1
    # Each bit of an id is one bit of one coordinate: free bits that are all 0, and all 1, give
    # the corners.
    least = value << spec.preshift_bits & all_bits
    most = least | (all_bits & ~(known << spec.preshift_bits))
    cells, _ = cells_of_chunk_ids(np.array([least, most], dtype=np.uint64), grid_size)
    limits = np.array(grid_size, dtype=np.int64)
    lower, upper = triples(np.minimum(cells + np.array([[0], [1]]), limits))
    return Box(lower, upper)


def voxels_of_cells(grid: ChunkGrid, cells: Box) -> Box:
    """The voxels of a box of cells, clipped to the volume."""
    if cells.is_empty:
        return Box(grid.voxel_offset, grid.voxel_offset)
    last = (cells.upper[0] - 1, cells.upper[1] - 1, cells.upper[2] - 1)
    return Box(grid.cell_box(cells.lower).lower, grid.cell_box(last).upper)


# Shards are listed one by one up to here; FAFB-FFN1 has 3,689.
COUNTABLE_SHARDS = 1 << 20


class ShardLattice:
    """Where the shards of one sharded scale lie.

    Parameters
    ----------
    scale : ScaleInfo

    Attributes
    ----------
    count : int
        How many shards can hold a chunk of the grid.
    wraps : bool
        A shard has several boxes of chunks, because the shard bits end below those of the grid.

    Examples
    --------
    >>> from shardreader.storage.documents import read_info
    >>> lattice = ShardLattice(read_info("fixtures/fafb-mini").scales[0])
    >>> lattice.shape, lattice.count
    ((31, 17, 7), 3689)
    >>> lattice.number_of_name("02fa.shard"), lattice.number_of_name("1fff.shard")
    (762, None)
    >>> lattice.voxel_box(762)
    Box(lower=(57344, 28672, 2048), upper=(61440, 32768, 3072))
    """

    def __init__(self, scale: ScaleInfo) -> None:
        sharding = scale.sharding
        if sharding is None:
            raise ValueError("the scale is not sharded")
        self._scale = scale
        self._sharding = sharding
        self._axes: list[ShardAxis] = []
        if sharding.hash == "identity":
            self._axes = shard_axes(sharding, scale.grid.grid_size)
        self.count = possible_shard_count(scale)
        digits = len(sharding.file_name(0)) - len(".shard")
        self._name = re.compile(f"([0-9a-f]{{{digits}}})\\.shard")
        self.wraps = any(
            -(-cells >> axis.lowest_bit) > axis.values
            for cells, axis in zip(scale.grid.grid_size, self._axes, strict=False)
        )

    @property
    def shape(self) -> Triple | None:
        """How many shards lie along x, y, z; None where a hash scatters the chunks of a shard."""
        if not self._axes:
            return None
        x, y, z = (axis.values for axis in self._axes)
        return x, y, z

    @property
    def shard_cells(self) -> Triple:
        """How many cells a shard is wide along x, y, z; only where there is a `shape`."""
        x, y, z = (1 << axis.lowest_bit for axis in self._axes)
        return x, y, z

    def position(self, shard_number: int) -> Triple | None:
        """The place of a shard in the lattice; None where no chunk of the grid belongs into it."""
        rest = shard_number
        place = []
        for axis in self._axes:
            value = 0
            for bit, weight in enumerate(axis.shard_bits.tolist()):
                if shard_number & weight:
                    value |= 1 << bit
                    rest -= weight
            place.append(value)
            if value >= axis.values:
                return None
        return (place[0], place[1], place[2]) if place and rest == 0 else None

    def file_name(self, shard_number: int) -> str:
        """The name of a shard's file."""
        return self._sharding.file_name(shard_number)

    def number_of_name(self, file_name: str) -> int | None:
        """The shard number of a file; None where this is no name of a shard with chunks."""
        found = self._name.fullmatch(file_name)
        if found is None:
            return None
        number = int(found[1], 16)
        if self._axes:
            return None if self.position(number) is None else number
        known = self._hashed_numbers
        return number if known is None or number in known else None

    def voxel_box(self, shard_number: int) -> Box:
        """The voxels of a shard, or a box around them where it has several boxes of chunks."""
        return voxels_of_cells(self._scale.grid, shard_cells(self._scale, shard_number))

    def numbers(self, cells: Box | None = None) -> Iterator[int]:
        """The shards that hold a chunk of a box of cells, or of the whole grid; z slowest."""
        if not self._axes:
            yield from sorted(self._hashed_numbers or ())
            return
        if cells is not None and cells.is_empty:
            return
        parts = []
        for dim, axis in enumerate(self._axes):
            values: Iterable[int] = range(axis.values)
            if cells is not None:
                first = cells.lower[dim] >> axis.lowest_bit
                last = (cells.upper[dim] - 1) >> axis.lowest_bit
                turn = 1 << len(axis.shard_bits)
                values = {v % turn for v in range(first, min(last, first + turn - 1) + 1)}
            parts.append([_weights(axis.shard_bits, value) for value in sorted(values)])
        for z, y, x in product(parts[2], parts[1], parts[0]):
            yield x | y | z

    @cached_property
    def _hashed_numbers(self) -> frozenset[int] | None:
        if self.count > COUNTABLE_SHARDS:
            return None
        return frozenset(possible_shards(self._scale).tolist())


def _weights(shard_bits: NDArray[np.uint64], value: int) -> int:
    """The part of a shard number that one coordinate makes."""
    return sum(weight for bit, weight in enumerate(shard_bits.tolist()) if value >> bit & 1)
