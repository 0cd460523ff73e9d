"""Which shards a grid of chunks can fill, from the geometry alone."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Triple
from shardreader.format.info import ScaleInfo
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.sharding import ShardingSpec

__all__ = [
    "ShardAxis",
    "chunks_in_volume",
    "possible_shard_count",
    "possible_shards",
    "shard_axes",
]

# Ids that are hashed at most, FAFB-FFN1's 112 million chunks included: about a minute.
_MOST_IDS = 1 << 27
# All of so few shards turn up in some 16 million hashes.
_FEW_SHARDS = 1 << 20
_PIECE_IDS = 1 << 16


def chunks_in_volume(scale: ScaleInfo) -> int:
    """How many cells the grid of `scale` has.

    All of them can be stored, none need be.
    """
    return prod(scale.grid.grid_size)


def possible_shard_count(scale: ScaleInfo) -> int:
    """How many shard numbers can hold a chunk of the grid; 0 if the scale is not sharded.

    Unlike `possible_shards` this takes little memory, whatever the geometry. It is exact, but for
    a hash that mixes bits and a grid of more than 2**27 ids to hash into more than 2**20 shards:
    there it is an upper limit.
    """
    sharding, grid_size = scale.sharding, scale.grid.grid_size
    if sharding is None:
        return 0
    if sharding.hash == "identity":
        return prod(axis.values for axis in shard_axes(sharding, grid_size))
    return _hashed_shard_count(sharding, grid_size)


def possible_shards(scale: ScaleInfo) -> NDArray[np.uint64]:
    """The shard numbers that can hold a chunk of the grid, sorted, from the geometry alone.

    Parameters
    ----------
    scale : ScaleInfo

    Returns
    -------
    ndarray of uint64, shape (n,)
        Empty if the scale is not sharded.

    Raises
    ------
    ValueError
        There are too many to hash: `possible_shard_count` is only an upper limit.
    """
    sharding, grid_size = scale.sharding, scale.grid.grid_size
    if sharding is None:
        return np.zeros(0, dtype=np.uint64)
    if sharding.hash == "identity":
        return _shards_of_axes(shard_axes(sharding, grid_size))
    if not _can_hash_all(sharding, grid_size):
        raise ValueError("too many chunk ids to hash; possible_shard_count gives an upper limit")
    return _hashed_shards(sharding, grid_size)


def _shards_of_axes(axes: list[ShardAxis]) -> NDArray[np.uint64]:
    shards = np.zeros(1, dtype=np.uint64)
    for axis in axes:
        parts = np.zeros(1, dtype=np.uint64)
        for bit in axis.shard_bits:
            parts = np.concatenate([parts, parts | bit])
        shards = np.bitwise_or.outer(shards, parts[: axis.values]).ravel()
    return np.sort(shards)


class ShardAxis(NamedTuple):
    """What one dimension of the grid adds to a shard number."""

    shard_bits: NDArray[np.uint64]
    """The bits of the shard number that come from this dimension, lowest first."""
    values: int
    """How many values, counted up from 0, these bits together can take in the grid."""
    lowest_bit: int
    """The first bit of the coordinate that counts; the cells of a shard are 2**this wide."""


def shard_axes(sharding: ShardingSpec, grid_size: Triple) -> list[ShardAxis]:
    """How the three coordinates of a cell make the shard number, with the identity hash."""
    # With the identity hash each bit of a shard number is one bit of one coordinate, so that the
    # dimensions combine freely; and those that a shard number has of one coordinate are a run of
    # its bits, so that they count up from 0 until they wrap or the grid ends.
    axes = []
    for dim, cells in enumerate(grid_size):
        shards, _ = sharding.locate(_unit_ids(dim, grid_size))
        used = np.flatnonzero(shards)
        lowest = int(used[0]) if len(used) else len(shards)
        values = min(-(-cells >> lowest), 1 << len(used))
        axes.append(ShardAxis(shards[used], values, lowest))
    return axes


def _unit_ids(dim: int, grid_size: Triple) -> NDArray[np.uint64]:
    """The chunk ids of the cells 1, 2, 4 and so on along one dimension of the grid."""
    coordinate_bits = max(grid_size[dim] - 1, 0).bit_length()
    unit_cells = np.zeros((coordinate_bits, 3), dtype=np.int64)
    unit_cells[:, dim] = [1 << bit for bit in range(coordinate_bits)]
    return chunk_ids_of_cells(unit_cells, grid_size)


# A hash other than identity mixes the bits: there the ids themselves have to be hashed. Of all
# cells that differ only in the bits that preshift drops, one will do.


def _dropped_bits(sharding: ShardingSpec, grid_size: Triple) -> Triple:
    """How many low bits of each coordinate `preshift_bits` drops."""
    least = 1 << sharding.preshift_bits
    x, y, z = (sum(id_ < least for id_ in _unit_ids(dim, grid_size).tolist()) for dim in range(3))
    return x, y, z


def _coarse_grid(sharding: ShardingSpec, grid_size: Triple) -> Triple:
    """The cells that are left of a grid without the bits that `preshift_bits` drops."""
    dropped = _dropped_bits(sharding, grid_size)
    x, y, z = (-(-cells >> bits) for cells, bits in zip(grid_size, dropped, strict=True))
    return x, y, z


def _can_hash_all(sharding: ShardingSpec, grid_size: Triple) -> bool:
    # With few shards, all of them are seen long before the ids run out.
    few_shards = 1 << sharding.shard_bits <= _FEW_SHARDS
    return few_shards or prod(_coarse_grid(sharding, grid_size)) <= _MOST_IDS


@lru_cache(maxsize=16)
def _hashed_shard_count(sharding: ShardingSpec, grid_size: Triple) -> int:
    if _can_hash_all(sharding, grid_size):
        return len(_hashed_shards(sharding, grid_size))
    return min(prod(_coarse_grid(sharding, grid_size)), 1 << sharding.shard_bits)


def _hashed_shards(sharding: ShardingSpec, grid_size: Triple) -> NDArray[np.uint64]:
    """Hash ids, piece by piece, until there are no more, or no more shards to be found."""
    shard_count = 1 << sharding.shard_bits
    if shard_count > _MOST_IDS:
        distinct = [np.unique(piece) for piece in _hashed_pieces(sharding, grid_size)]
        return np.unique(np.concatenate([np.zeros(0, dtype=np.uint64), *distinct]))
    seen = np.zeros(shard_count, dtype=np.bool_)
    hashed, next_look = 0, shard_count
    for piece in _hashed_pieces(sharding, grid_size):
        seen[piece.astype(np.intp)] = True
        hashed += len(piece)
        if hashed >= next_look:
            if seen.all():
                break
            next_look = hashed + shard_count  # a look costs no more than hashing did
    return np.flatnonzero(seen).astype(np.uint64)


def _hashed_pieces(sharding: ShardingSpec, grid_size: Triple) -> Iterator[NDArray[np.uint64]]:
    """The shards of all cells, those of a bounded number of cells at a time."""
    shape = _coarse_grid(sharding, grid_size)
    dropped = np.array(_dropped_bits(sharding, grid_size))
    for start in range(0, prod(shape), _PIECE_IDS):
        numbers = np.arange(start, min(start + _PIECE_IDS, prod(shape)))
        x, rest = numbers % shape[0], numbers // shape[0]
        cells = np.stack([x, rest % shape[1], rest // shape[1]], axis=1) << dropped
        shards, _ = sharding.locate(chunk_ids_of_cells(cells, grid_size))
        yield shards
