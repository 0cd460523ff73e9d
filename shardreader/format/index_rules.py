"""What must be true of the ids and byte ranges of a minishard index, and what to say if it is not.

Specification: sharded.md, "Minishard index format". Readers raise what these functions give;
`verify` makes findings of it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault
from shardreader.format.grid import Triple
from shardreader.format.morton import fits_older_numbering, ids_in_grid
from shardreader.format.sharding import ShardingSpec

__all__ = [
    "ForeignKeysFault",
    "foreign_ids",
    "foreign_ids_fault",
    "outside_grid",
    "outside_grid_fault",
    "overlaps",
    "repeated_ids",
]


class ForeignKeysFault(FormatFault):
    """None of the keys of a minishard index belongs to this shard and minishard."""


def repeated_ids(chunk_ids: NDArray[np.uint64]) -> NDArray[np.intp]:
    """Positions at which sorted ids repeat the one before.

    Examples
    --------
    >>> repeated_ids(np.array([3, 5, 5, 5], np.uint64)).tolist()
    [2, 3]
    """
    return np.flatnonzero(chunk_ids[1:] == chunk_ids[:-1]) + 1


def foreign_ids(
    chunk_ids: NDArray[np.uint64], spec: ShardingSpec, shard_number: int, minishard_number: int
) -> NDArray[np.intp]:
    """Positions of ids that hash to another shard or minishard."""
    shards, minishards = spec.locate(chunk_ids)
    return np.flatnonzero((shards != shard_number) | (minishards != minishard_number))


def foreign_ids_fault(
    chunk_ids: NDArray[np.uint64],
    foreign: NDArray[np.intp],
    spec: ShardingSpec,
    shard_number: int,
    minishard_number: int,
) -> FormatFault:
    """What is wrong with the `foreign` ones, at least one, of the ids of a minishard index."""
    first = chunk_ids[foreign[:1]]
    (shard,), (minishard,) = spec.locate(first)
    kind = ForeignKeysFault if len(foreign) == len(chunk_ids) else FormatFault
    return kind(
        "chunk ids of the minishard index",
        expected=f"ids that hash to {spec.file_name(shard_number)} minishard {minishard_number}",
        found=f"chunk {first[0]}, which belongs to {spec.file_name(int(shard))} minishard "
        f"{minishard} ({len(foreign)} of {len(chunk_ids)} ids are foreign)",
    )


def outside_grid(
    chunk_ids: NDArray[np.uint64], sizes: NDArray[np.uint64], grid_size: Triple
) -> NDArray[np.intp]:
    """Positions of entries with bytes whose ids are not those of cells in the grid."""
    return np.flatnonzero(~ids_in_grid(chunk_ids, grid_size) & (sizes > 0))


def outside_grid_fault(
    chunk_ids: NDArray[np.uint64], outside: NDArray[np.intp], grid_size: Triple
) -> FormatFault:
    """What is wrong with the ids at `outside`, at least one, that have bytes."""
    if fits_older_numbering(chunk_ids[outside], grid_size):
        reason = (
            "written with the older chunk numbering, of writers before mid-2021: all of them fit it"
        )
    else:
        reason = "damaged, or written with another info; the older chunk numbering does not fit"
    return FormatFault(
        "chunk ids of the minishard index",
        expected="ids of cells in the grid of {} x {} x {}".format(*grid_size),
        found=f"{len(outside)} others with data, the first {chunk_ids[outside[0]]} ({reason})",
    )


def overlaps(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> NDArray[np.intp]:
    """Pairs of ranges that overlap: each one that does, with the one before that reaches farthest.

    Parameters
    ----------
    starts, ends : ndarray of int64, shape (n,)
        Half-open and not empty, in any order.

    Returns
    -------
    ndarray of intp, shape (m, 2)
        Positions, by the start of the second.

    Examples
    --------
    >>> overlaps(np.array([20, 0, 10, 30]), np.array([25, 22, 12, 40])).tolist()
    [[1, 2], [1, 0]]
    """
    order = np.argsort(starts, kind="stable")
    sorted_ends = ends[order]
    # If any two overlap, so do two neighbours; looking for none is most of what is asked here.
    if not (starts[order[1:]] < sorted_ends[:-1]).any():
        return np.empty((0, 2), dtype=np.intp)
    reach = np.maximum.accumulate(sorted_ends)
    # Where a range reaches farther than all before it, it is the farthest until the next such.
    record = np.arange(len(order))
    record[1:][sorted_ends[1:] <= reach[:-1]] = 0
    farthest = np.maximum.accumulate(record)
    late = np.flatnonzero(starts[order[1:]] < reach[:-1]) + 1
    return np.stack([order[farthest[late - 1]], order[late]], axis=1)
