"""The two indices of a shard: bytes in, checked byte ranges out.

Specification: sharded.md, "Shard index format" and "Minishard index format". Nothing here reads
a file; offsets are rebased to the start of the file here and nowhere else.
"""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault
from shardreader.format.byterange import ByteRange
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.compile_lock import compiling

__all__ = [
    "MINISHARD_ENTRY_BYTES",
    "SHARD_INDEX_ENTRY_BYTES",
    "ForeignKeysFault",
    "MinishardIndex",
    "decode_minishard_index",
    "foreign_ids",
    "foreign_ids_fault",
    "minishard_index_range",
    "most_minishard_index_bytes",
    "overlaps",
    "parse_minishard_index",
    "repeated_ids",
    "usual_minishard_index",
]

SHARD_INDEX_ENTRY_BYTES = 16
MINISHARD_ENTRY_BYTES = 24
# Ids outside the grid are legal: some writers fill gaps with them.
_SPARE_IDS = 1 << 16
# 384 MiB of index: no minishard in use has a thousandth of it.
_MOST_ID_BITS = 24


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


def most_minishard_index_bytes(spec: ShardingSpec, id_bits: int) -> int:
    """The largest length after inflate that a minishard index of `id_bits` bit ids can need."""
    bits = min(id_bits, _MOST_ID_BITS)
    if spec.hash == "identity":
        chosen = spec.minishard_bits + spec.shard_bits
        bits = min(bits, id_bits - min(max(id_bits - spec.preshift_bits, 0), chosen))
    return MINISHARD_ENTRY_BYTES * ((1 << bits) + _SPARE_IDS)


class MinishardIndex:
    """The chunks of one minishard, sorted by id.

    Parameters
    ----------
    table : ndarray of uint64, shape (5, n), C order
        `chunk_ids`, `starts`, `ends`, `offsets` and `sizes`.
    sound : ndarray of bool, shape (n,), or None
        None where all are known to be sound.
    """

    __slots__ = ("_sound", "_table")

    def __init__(self, table: NDArray[np.uint64], sound: NDArray[np.bool_] | None) -> None:
        self._table, self._sound = table, sound

    @property
    def chunk_ids(self) -> NDArray[np.uint64]:
        """The ids, ascending."""
        values: NDArray[np.uint64] = self._table[0]
        return values

    @property
    def starts(self) -> NDArray[np.int64]:
        """First byte of each chunk in the file; -1 where it is not `sound`."""
        values: NDArray[np.int64] = self._table[1].view(np.int64)
        return values

    @property
    def ends(self) -> NDArray[np.int64]:
        """The byte after its last; -1 where it is not `sound`."""
        values: NDArray[np.int64] = self._table[2].view(np.int64)
        return values

    @property
    def offsets(self) -> NDArray[np.uint64]:
        """What the entries say, in bytes after the shard index."""
        values: NDArray[np.uint64] = self._table[3]
        return values

    @property
    def sizes(self) -> NDArray[np.uint64]:
        """What the entries say, in bytes."""
        values: NDArray[np.uint64] = self._table[4]
        return values

    @property
    def sound(self) -> NDArray[np.bool_]:
        """False where the range is empty or does not lie in the file."""
        return np.ones(len(self), dtype=np.bool_) if self._sound is None else self._sound

    def __len__(self) -> int:
        return int(self._table.shape[1])

    @property
    def nbytes(self) -> int:
        """Memory taken by the arrays."""
        return 41 * len(self)

    def positions(self, chunk_ids: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Position of each chunk id in the index, -1 where it has none."""
        if not len(self):
            return np.full(len(chunk_ids), -1, dtype=np.intp)
        positions = np.searchsorted(self.chunk_ids, chunk_ids)
        positions[positions == len(self)] = 0
        positions[self.chunk_ids[positions] != chunk_ids] = -1
        return positions

    def find_one(self, chunk_id: int) -> tuple[int, int] | None:
        """The byte range of a chunk; None where there is none, or any entry is not sound."""
        kernels = loaded_kernels() if self._sound is None else None
        if kernels is None:
            return None
        start, end = kernels.find_one(self._table, chunk_id)
        return (start, end) if end else None

    def find_all(
        self,
        keys: NDArray[np.uint64],
        rows: NDArray[np.intp],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> bool:
        """Fill in the byte ranges of ``keys[rows]``, if all are stored and known to be sound."""
        kernels = loaded_kernels() if self._sound is None else None
        return kernels is not None and bool(kernels.find_all(self._table, keys, rows, starts, ends))

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
    if len(decoded) % MINISHARD_ENTRY_BYTES == 0:
        rows = np.frombuffer(decoded, dtype="<u8")
        usual = usual_minishard_index(rows, spec, shard_number, minishard_number, file_size)
        if usual is not None:
            return usual
    index = parse_minishard_index(
        decoded, shard_index_end=spec.shard_index_end, file_size=file_size
    )
    _check_ids(index.chunk_ids, spec, shard_number, minishard_number)
    _check_overlap(index)
    return index


def usual_minishard_index(
    rows: NDArray[np.uint64],
    spec: ShardingSpec,
    shard_number: int,
    minishard_number: int,
    file_size: int,
) -> MinishardIndex | None:
    """An index without anything unusual, by a kernel if numba is loaded; else None.

    As `decode_minishard_index`, of the decoded bytes as words, shape (3 n,).
    """
    kernels = loaded_kernels()
    if kernels is None or spec.hash != "identity":
        return None
    table: NDArray[np.uint64] | None = kernels.parse_sound(
        rows,
        shard_index_end=spec.shard_index_end,
        file_size=file_size,
        preshift_bits=spec.preshift_bits,
        minishard_bits=spec.minishard_bits,
        shard_bits=spec.shard_bits,
        shard_number=shard_number,
        minishard_number=minishard_number,
    )
    return None if table is None else MinishardIndex(table, None)


def loaded_kernels() -> ModuleType | None:
    """`minishard_kernels`, if numba is loaded: what reads indices alone must not load it."""
    if not _kernels and "numba" in sys.modules:
        with compiling:
            from shardreader.format import shard_index_kernels as minishard_kernels

            _kernels.append(minishard_kernels)
    return _kernels[0] if _kernels else None


_kernels: list[ModuleType] = []


def parse_minishard_index(
    decoded: bytes, *, shard_index_end: int, file_size: int
) -> MinishardIndex:
    """Parse a minishard index; its ids and whether its ranges overlap are left to be checked.

    Raises
    ------
    FormatFault
        The length is no multiple of 24.
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
    available = np.uint64(file_size - shard_index_end)
    sound = (offsets <= available) & (sizes > 0)
    sound &= sizes <= available - np.minimum(offsets, available)
    starts = np.where(sound, offsets, 0).astype(np.int64) + shard_index_end
    ends = starts + np.where(sound, sizes, 0).astype(np.int64)
    starts[~sound] = ends[~sound] = -1
    words = (chunk_ids, starts.view(np.uint64), ends.view(np.uint64), offsets, sizes)
    return MinishardIndex(np.stack(words), None if sound.all() else sound)


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


def _check_ids(
    chunk_ids: NDArray[np.uint64], spec: ShardingSpec, shard_number: int, minishard_number: int
) -> None:
    twice = repeated_ids(chunk_ids)
    if len(twice):
        raise FormatFault(
            "chunk ids of the minishard index",
            expected="each id once",
            found=f"chunk {chunk_ids[twice[0]]} twice",
        )
    foreign = foreign_ids(chunk_ids, spec, shard_number, minishard_number)
    if len(foreign):
        raise foreign_ids_fault(chunk_ids, foreign, spec, shard_number, minishard_number)


def _check_overlap(index: MinishardIndex) -> None:
    """An entry that overlaps another would read the other chunk's labels."""
    inside = np.flatnonzero(index.sound)
    clashes = overlaps(index.starts[inside], index.ends[inside])
    if len(clashes):
        first, second = (
            f"chunk {index.chunk_ids[at]} at [{index.starts[at]}, {index.ends[at]})"
            for at in inside[clashes[0]]
        )
        raise FormatFault(
            "byte ranges of the minishard index",
            expected="ranges that do not overlap",
            found=f"{first} and {second}",
        )
