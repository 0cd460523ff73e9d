"""The two indices of a shard: bytes in, checked byte ranges out. Floor 2.

Specification: sharded.md, "Shard index format" and "Minishard index format". Nothing here reads
a file; offsets are rebased to the start of the file here and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.byterange import ByteRange
from shardreader.errors import FormatFault
from shardreader.sharding import ShardingSpec

__all__ = [
    "MINISHARD_ENTRY_BYTES",
    "SHARD_INDEX_ENTRY_BYTES",
    "ForeignKeysFault",
    "MinishardIndex",
    "decode_minishard_index",
    "minishard_index_range",
]

SHARD_INDEX_ENTRY_BYTES = 16
MINISHARD_ENTRY_BYTES = 24


class ForeignKeysFault(FormatFault):
    """None of the keys of a minishard index belongs to this shard and minishard."""


def minishard_index_range(
    start_offset: int, end_offset: int, *, shard_index_end: int, file_size: int
) -> ByteRange | None:
    """Where in the file a minishard index lies, from its entry in the shard index.

    Parameters
    ----------
    start_offset, end_offset : int
        The entry, in bytes after the shard index.
    shard_index_end, file_size : int
        In bytes from the start of the file.

    Returns
    -------
    ByteRange or None
        None where the entry says that the minishard has no chunks.

    Raises
    ------
    FormatFault
        The range is reversed or reaches past the end of the file.

    Examples
    --------
    >>> minishard_index_range(100, 124, shard_index_end=1024, file_size=2000)
    ByteRange(start=1124, end=1148)
    """
    if start_offset == end_offset:
        return None
    if not start_offset < end_offset <= file_size - shard_index_end:
        raise FormatFault(
            "shard index entry",
            expected=f"start < end <= {file_size - shard_index_end} (bytes after the shard index "
            f"in a file of {file_size})",
            found=f"[{start_offset}, {end_offset})",
        )
    return ByteRange(shard_index_end + start_offset, shard_index_end + end_offset)


@dataclass(frozen=True, eq=False)
class MinishardIndex:
    """The chunks of one minishard, sorted by id.

    Attributes
    ----------
    chunk_ids : ndarray of uint64, shape (n,)
    starts, ends : ndarray of int64, shape (n,)
        Byte range of each chunk in the file; -1 for both where `sound` is False.
    sound : ndarray of bool, shape (n,)
        False where the range is empty or does not lie in the file.
    offsets, sizes : ndarray of uint64, shape (n,)
        What the entry says, in bytes after the shard index and in bytes.
    """

    chunk_ids: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    sound: NDArray[np.bool_]
    offsets: NDArray[np.uint64]
    sizes: NDArray[np.uint64]

    @property
    def nbytes(self) -> int:
        """Memory taken by the arrays."""
        return 41 * len(self.chunk_ids)

    def positions(self, chunk_ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Position of each chunk id in the index, -1 where it has none."""
        if len(self.chunk_ids) == 0:
            return np.full(len(chunk_ids), -1, dtype=np.intp)
        positions = np.searchsorted(self.chunk_ids, chunk_ids)
        positions[positions == len(self.chunk_ids)] = 0
        positions[self.chunk_ids[positions] != chunk_ids] = -1
        return positions

    def fault(self, position: int, *, shard_index_end: int, file_size: int) -> FormatFault:
        """What is wrong with an entry that is not sound."""
        size, offset = int(self.sizes[position]), int(self.offsets[position])
        if size == 0:
            return FormatFault(
                "size of the chunk in the minishard index",
                expected="at least 1 byte",
                found="0 (an entry without data is not background)",
            )
        return FormatFault(
            "byte range of the chunk in the minishard index",
            expected=f"inside the {file_size - shard_index_end} bytes after the shard index",
            found=f"{size} bytes from offset {offset}",
        )


def decode_minishard_index(
    decoded: bytes,
    *,
    spec: ShardingSpec,
    shard_number: int,
    minishard_number: int,
    file_size: int,
) -> MinishardIndex:
    """Parse a minishard index and check all that it says.

    Parameters
    ----------
    decoded : bytes
        After inflate: ``[3, n]`` little-endian uint64 in C order.
    file_size : int
        Length of the shard file in bytes; no range may reach past it.

    Raises
    ------
    FormatFault
        The length is no multiple of 24, an id stands twice, an id hashes to another shard or
        minishard (`ForeignKeysFault` where all do), or two byte ranges overlap.
    """
    if len(decoded) % MINISHARD_ENTRY_BYTES:
        raise FormatFault(
            "length of the minishard index",
            expected=f"a multiple of {MINISHARD_ENTRY_BYTES} bytes",
            found=f"{len(decoded)}",
        )
    rows = np.frombuffer(decoded, dtype="<u8").reshape(3, -1)
    # The specification's sums; unsigned arithmetic wraps, and the outcome is judged.
    sizes = rows[2].astype(np.uint64)
    offsets = np.cumsum(rows[1], dtype=np.uint64) + (np.cumsum(sizes, dtype=np.uint64) - sizes)
    chunk_ids = np.cumsum(rows[0], dtype=np.uint64)
    order = np.argsort(chunk_ids, kind="stable")
    chunk_ids, offsets, sizes = chunk_ids[order], offsets[order], sizes[order]
    _check_ids(chunk_ids, spec, shard_number, minishard_number)
    available = np.uint64(file_size - spec.shard_index_end)
    sound = (offsets <= available) & (sizes > 0)
    sound &= sizes <= available - np.minimum(offsets, available)
    starts = np.where(sound, offsets, 0).astype(np.int64) + spec.shard_index_end
    ends = starts + np.where(sound, sizes, 0).astype(np.int64)
    starts[~sound] = ends[~sound] = -1
    _check_overlap(chunk_ids, starts, ends, sound)
    return MinishardIndex(chunk_ids, starts, ends, sound, offsets, sizes)


def _check_ids(
    chunk_ids: NDArray[np.uint64], spec: ShardingSpec, shard_number: int, minishard_number: int
) -> None:
    twice = np.flatnonzero(chunk_ids[1:] == chunk_ids[:-1])
    if len(twice):
        raise FormatFault(
            "chunk ids of the minishard index",
            expected="each id once",
            found=f"chunk {chunk_ids[twice[0]]} twice",
        )
    shards, minishards = spec.locate(chunk_ids)
    foreign = np.flatnonzero((shards != shard_number) | (minishards != minishard_number))
    if len(foreign):
        first = foreign[0]
        kind = ForeignKeysFault if len(foreign) == len(chunk_ids) else FormatFault
        raise kind(
            "chunk ids of the minishard index",
            expected=f"ids that hash to {spec.file_name(shard_number)} minishard "
            f"{minishard_number}",
            found=f"chunk {chunk_ids[first]}, which belongs to "
            f"{spec.file_name(int(shards[first]))} minishard {minishards[first]} "
            f"({len(foreign)} of {len(chunk_ids)} ids are foreign)",
        )


def _check_overlap(
    chunk_ids: NDArray[np.uint64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    sound: NDArray[np.bool_],
) -> None:
    """An entry that overlaps another would read the other chunk's labels."""
    inside = np.flatnonzero(sound)
    by_start: NDArray[np.integer[Any]] = inside[np.argsort(starts[inside], kind="stable")]
    clash = np.flatnonzero(ends[by_start[:-1]] > starts[by_start[1:]])
    if len(clash):
        a, b = by_start[clash[0]], by_start[clash[0] + 1]
        raise FormatFault(
            "byte ranges of the minishard index",
            expected="ranges that do not overlap",
            found=f"chunk {chunk_ids[a]} at [{starts[a]}, {ends[a]}) and chunk {chunk_ids[b]} "
            f"at [{starts[b]}, {ends[b]})",
        )
