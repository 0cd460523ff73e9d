"""Which shards a grid of chunks can fill, from the geometry alone. Floor 3."""

from __future__ import annotations

from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.info import ScaleInfo
from shardreader.morton import chunk_ids_of_cells

__all__ = ["chunks_in_volume", "possible_shard_count", "possible_shards"]


def chunks_in_volume(scale: ScaleInfo) -> int:
    """How many cells the grid of `scale` has.

    All of them can be stored, none need be.
    """
    return prod(scale.grid.grid_size)


def possible_shard_count(scale: ScaleInfo) -> int:
    """How many shard numbers can hold a chunk of the grid; 0 if the scale is not sharded.

    Unlike `possible_shards` this takes no memory, whatever the geometry.
    """
    return 0 if scale.sharding is None else prod(axis.values for axis in _shard_axes(scale))


def possible_shards(scale: ScaleInfo) -> NDArray[np.uint64]:
    """The shard numbers that can hold a chunk of the grid, sorted, from the geometry alone.

    Parameters
    ----------
    scale : ScaleInfo

    Returns
    -------
    ndarray of uint64, shape (n,)
        Empty if the scale is not sharded.
    """
    shards = np.zeros(0 if scale.sharding is None else 1, dtype=np.uint64)
    for axis in _shard_axes(scale):
        parts = np.zeros(1, dtype=np.uint64)
        for bit in axis.shard_bits:
            parts = np.concatenate([parts, parts | bit])
        shards = np.bitwise_or.outer(shards, parts[: axis.values]).ravel()
    return np.sort(shards)


class _ShardAxis(NamedTuple):
    """What one dimension of the grid adds to a shard number."""

    shard_bits: NDArray[np.uint64]
    """The bits of the shard number that come from this dimension, lowest first."""
    values: int
    """How many values, counted up from 0, these bits together can take in the grid."""


def _shard_axes(scale: ScaleInfo) -> list[_ShardAxis]:
    # With the identity hash each bit of a shard number is one bit of one coordinate, so that the
    # dimensions combine freely; and those that a shard number has of one coordinate are a run of
    # its bits, so that they count up from 0 until they wrap or the grid ends. Any other hash
    # mixes the bits: there the ids themselves have to be enumerated.
    if scale.sharding is None:
        return []
    axes = []
    grid_size = scale.grid.grid_size
    for dim, cells in enumerate(grid_size):
        coordinate_bits = max(cells - 1, 0).bit_length()
        unit_cells = np.zeros((coordinate_bits, 3), dtype=np.int64)
        unit_cells[:, dim] = [1 << bit for bit in range(coordinate_bits)]
        shards, _ = scale.sharding.locate(chunk_ids_of_cells(unit_cells, grid_size))
        used = np.flatnonzero(shards)
        lowest = int(used[0]) if len(used) else coordinate_bits
        axes.append(_ShardAxis(shards[used], min(-(-cells >> lowest), 1 << len(used))))
    return axes
