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
from shardreader.format.grid import Triple
from shardreader.format.index_form import index_form
from shardreader.format.index_rules import (
    foreign_ids,
    foreign_ids_fault,
    outside_grid,
    outside_grid_fault,
    overlaps,
    repeated_ids,
)
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.compile_lock import compiling

__all__ = [
    "MINISHARD_ENTRY_BYTES",
    "SHARD_INDEX_ENTRY_BYTES",
    "MinishardIndex",
    "decode_minishard_index",
    "minishard_index_range",
    "most_minishard_index_bytes",
    "parse_minishard_index",
]

SHARD_INDEX_ENTRY_BYTES = 16
MINISHARD_ENTRY_BYTES = 24
# One writer fills gaps with entries of 0 bytes whose ids lie outside the grid.
_SPARE_IDS = 1 << 16
# 384 MiB of index: no minishard in use has a thousandth of it.
_MOST_ID_BITS = 24


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
        """False where the entry has no bytes, or its range does not lie in the file."""
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
    grid_size: Triple | None,
    shard_number: int,
    minishard_number: int,
    file_size: int,
) -> MinishardIndex:
    """Parse a minishard index and check all that it says.

    Ids and offsets are stored as differences, so that one wrong number shifts all that follow. An
    index that contradicts itself in one entry is therefore believed in none. Entries of 0 bytes
    alone are left to the caller: they are not `MinishardIndex.sound`.

    Parameters
    ----------
    decoded : bytes
        After inflate: ``[3, n]`` little-endian uint64 in C order.
    spec : ShardingSpec
    grid_size : (int, int, int) or None
        Chunks along x, y, z. None for a key-value store, whose keys are any 64 bits.
    shard_number, minishard_number : int
    file_size : int
        Length of the shard file in bytes; no range may reach past it.

    Raises
    ------
    FormatFault
        The length is no multiple of 24, an id stands twice, an id hashes to another shard or
        minishard (`ForeignKeysFault` where all do), or an entry with bytes has an id outside the
        grid, or a byte range that leaves the file or overlaps another.
    """
    if len(decoded) % MINISHARD_ENTRY_BYTES == 0:
        rows = np.frombuffer(decoded, dtype="<u8")
        form = index_form(spec, grid_size)
        usual = _usual_index(rows, form, spec, shard_number, minishard_number, file_size)
        if usual is not None:
            return usual
    index = parse_minishard_index(
        decoded, shard_index_end=spec.shard_index_end, file_size=file_size
    )
    _check_ids(index.chunk_ids, spec, shard_number, minishard_number)
    if grid_size is not None:
        outside = outside_grid(index.chunk_ids, index.sizes, grid_size)
        if len(outside):
            raise outside_grid_fault(index.chunk_ids, outside, grid_size)
    for position in np.flatnonzero(~index.sound & (index.sizes > 0))[:1].tolist():
        raise index.fault(position, shard_index_end=spec.shard_index_end, file_size=file_size)
    _check_overlap(index)
    return index


def _usual_index(
    rows: NDArray[np.uint64],
    form: NDArray[np.int64],
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
        form,
        file_size=file_size,
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
