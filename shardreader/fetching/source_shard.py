"""Where the wanted chunks of a shard are at the source: its indices, read by range.

Two requests in depth: the shard index, then the minishard indices, several in one request where
they lie near each other.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.partial_shard import MOST_SHARD_INDEX_BYTES
from shardreader.decoding.inflate import inflate, most_stored_bytes
from shardreader.errors import FormatFault
from shardreader.fetching.request_pool import RequestPool
from shardreader.format.byterange import ByteRange, join_ranges
from shardreader.format.coverage import COVERAGE_HEADER_BYTES, Coverage, read_coverage
from shardreader.format.info import ScaleInfo
from shardreader.format.morton import morton_bits
from shardreader.format.shard_index import (
    MinishardIndex,
    decode_minishard_index,
    minishard_index_range,
    most_minishard_index_bytes,
)
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.remote_ranges import SourceObject

__all__ = [
    "GAP_BYTES",
    "REQUEST_BYTES",
    "ChunkPlaces",
    "head_bytes",
    "locate_chunks",
    "requests_for",
]

# What lies between two ranges is fetched too where it is no more than this: at 50 ms a request and
# some 5 MB/s for each of several connections, that takes as long as asking again.
GAP_BYTES = 256 << 10
# In memory, for each request that is under way.
REQUEST_BYTES = 8 << 20
_SOURCE_IS_PARTIAL = "the source is itself a copy of a part, which does not have this chunk"


@dataclass(frozen=True, eq=False)
class ChunkPlaces:
    """Where chunks are in the object of a shard, by their place.

    Attributes
    ----------
    chunk_ids : ndarray of uint64, shape (n,)
        Those of the wanted that the source has.
    starts, ends : ndarray of int64, shape (n,)
    faults : dict of int to str
        Wanted ids of which nothing can be said, and why. All others the source does not have.
    index_requests, index_bytes : int
        What it took to find out.
    """

    chunk_ids: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    faults: dict[int, str]
    index_requests: int
    index_bytes: int


def requests_for(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Join ranges that are sorted by their start into requests: slices ``[first, last)``."""
    return join_ranges(
        np.zeros(len(starts), np.int64),
        starts,
        ends,
        gap=GAP_BYTES,
        most_bytes=REQUEST_BYTES,
        most_ranges=1 << 16,
    )


def locate_chunks(
    source: SourceObject,
    scale: ScaleInfo,
    spec: ShardingSpec,
    shard_number: int,
    head: bytes,
    wanted: NDArray[np.uint64],
    pool: RequestPool,
    *,
    strict: bool,
) -> ChunkPlaces:
    """Find chunks in the object of a shard.

    Parameters
    ----------
    source : SourceObject
        `head` was read from it.
    scale : ScaleInfo
    spec : ShardingSpec
        That of `scale`.
    shard_number : int
    head : bytes
        Its first `head_bytes`, or all of it.
    wanted : ndarray of uint64, shape (n,)
        Ids that belong into this shard.
    pool : RequestPool
    strict : bool
        Raise for a damaged minishard index too; else it is a fault of its own chunks.

    Raises
    ------
    FormatFault
        The shard index is damaged, or that of another shard.
    ChangedError, RefusedError, TransientError, StoppedError
        As `SourceObject.read`.
    """
    return _Search(source, scale, spec, shard_number, head, pool, strict=strict).run(wanted)


def head_bytes(spec: ShardingSpec) -> int:
    """How much to read first: the shard index, and what a coverage record begins with.

    Raises
    ------
    FormatFault
        The shard index is too long for a partial shard.
    """
    if spec.shard_index_end > MOST_SHARD_INDEX_BYTES:
        raise FormatFault(
            "length of the shard index",
            expected=f"at most {MOST_SHARD_INDEX_BYTES} bytes to fetch a part of a shard",
            found=f"{spec.shard_index_end}",
        )
    return spec.shard_index_end + COVERAGE_HEADER_BYTES


class _Search:
    def __init__(
        self,
        source: SourceObject,
        scale: ScaleInfo,
        spec: ShardingSpec,
        shard_number: int,
        head: bytes,
        pool: RequestPool,
        *,
        strict: bool,
    ) -> None:
        if source.version is None:
            raise ValueError("the head of the object has not been read")
        self._source = source
        self._spec = spec
        self._number = shard_number
        self._head = head
        self._pool = pool
        self._strict = strict
        self._size = source.version.size
        self._grid_size = scale.grid.grid_size
        self._most = most_minishard_index_bytes(spec, morton_bits(self._grid_size))
        self._faults: dict[int, str] = {}
        self._requests, self._bytes = 1, len(head)

    def run(self, wanted: NDArray[np.uint64]) -> ChunkPlaces:
        index_end = self._spec.shard_index_end
        if self._size < index_end:
            raise FormatFault(
                "length of the file",
                expected=f"at least {index_end} bytes (the shard index)",
                found=f"{self._size}",
            )
        coverage, coverage_end = self._coverage()
        entries = np.frombuffer(self._head, "<u8", index_end // 8).reshape(-1, 2)
        filled = np.flatnonzero(entries[:, 0] != entries[:, 1])
        if not len(filled) and self._size > coverage_end:
            raise FormatFault(
                "shard index",
                expected="minishards, or no bytes after it",
                found=f"no minishards, and {self._size - coverage_end} further bytes",
            )
        asked = wanted
        if coverage is not None:
            is_covered = coverage.covers(wanted)
            self._faults.update(dict.fromkeys(wanted[~is_covered].tolist(), _SOURCE_IS_PARTIAL))
            asked = wanted[is_covered]
        ids, starts, ends = self._look_up(asked, entries, filled)
        order = np.argsort(starts, kind="stable")
        return ChunkPlaces(
            ids[order], starts[order], ends[order], self._faults, self._requests, self._bytes
        )

    def _coverage(self) -> tuple[Coverage | None, int]:
        def read(start: int, end: int) -> bytes:
            if end <= len(self._head):
                return self._head[start:end]
            return self._read(start, end)

        return read_coverage(read, start=self._spec.shard_index_end, file_size=self._size)

    def _read(self, start: int, end: int) -> bytes:
        self._requests += 1
        self._bytes += end - start
        return self._source.read(start, end)

    def _look_up(
        self, asked: NDArray[np.uint64], entries: NDArray[np.uint64], filled: NDArray[np.intp]
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.int64]]:
        groups = self._by_minishard(asked)
        minishards = [number for number in groups if entries[number, 0] != entries[number, 1]]
        if groups and not minishards:
            # The file of another shard would read as background: its keys tell.
            minishards = sorted({*filled[:1].tolist(), *filled[-1:].tolist()})
        ids, starts, ends = [asked[:0]], [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number, index in self._indices(entries, minishards, groups):
            wanted = groups.get(number, asked[:0])
            positions = index.positions(wanted)
            sound = (positions >= 0) & index.sound[positions]
            for row in np.flatnonzero((positions >= 0) & ~sound).tolist():
                fault = index.fault(
                    int(positions[row]),
                    shard_index_end=self._spec.shard_index_end,
                    file_size=self._size,
                )
                self._fail(wanted[row : row + 1], fault)
            ids.append(wanted[sound])
            starts.append(index.starts[positions[sound]])
            ends.append(index.ends[positions[sound]])
        return np.concatenate(ids), np.concatenate(starts), np.concatenate(ends)

    def _by_minishard(self, asked: NDArray[np.uint64]) -> dict[int, NDArray[np.uint64]]:
        _, minishards = self._spec.locate(asked)
        order = np.lexsort((asked, minishards))
        minishards = minishards[order]
        cuts = np.flatnonzero(minishards[1:] != minishards[:-1]) + 1
        runs = np.split(np.arange(len(order)), cuts) if len(order) else []
        return {int(minishards[run[0]]): asked[order[run]] for run in runs}

    def _fail(self, chunk_ids: NDArray[np.uint64], fault: FormatFault) -> None:
        if self._strict:
            raise fault
        self._faults.update(dict.fromkeys(chunk_ids.tolist(), f"damaged at the source: {fault}"))

    def _indices(
        self,
        entries: NDArray[np.uint64],
        minishards: list[int],
        groups: dict[int, NDArray[np.uint64]],
    ) -> Iterator[tuple[int, MinishardIndex]]:
        """The indices of some minishards, in requests for several; a damaged one is a fault."""
        places: list[tuple[ByteRange, int]] = []
        for number in minishards:
            try:
                places.append((self._index_range(entries, number), number))
            except FormatFault as fault:
                if number not in groups:
                    raise
                self._fail(groups[number], fault)
        places.sort()
        starts = np.array([where.start for where, _ in places], dtype=np.int64)
        ends = np.array([where.end for where, _ in places], dtype=np.int64)
        slices = requests_for(starts, ends)
        spans = [(int(starts[first]), int(ends[last - 1])) for first, last in slices]
        self._requests += len(spans)
        self._bytes += sum(end - start for start, end in spans)
        replies = self._pool.run(lambda span: self._source.read(*span), spans)
        for (first, last), data in zip(slices, replies, strict=True):
            for where, number in places[first:last]:
                at = where.start - places[first][0].start
                try:
                    yield number, self._decoded(data, at, at + where.end - where.start, number)
                except FormatFault as fault:
                    if number not in groups:
                        raise
                    self._fail(groups[number], fault)

    def _index_range(self, entries: NDArray[np.uint64], minishard: int) -> ByteRange:
        start, end = entries[minishard].tolist()
        where = minishard_index_range(
            start, end, shard_index_end=self._spec.shard_index_end, file_size=self._size
        )
        most = most_stored_bytes(self._spec.minishard_index_encoding, self._most)
        if where is None or where.end - where.start > most:
            raise FormatFault(
                "stored size of the minishard index",
                expected=f"at most {most} bytes for this grid",
                found=f"{end - start}",
            )
        return where

    def _decoded(self, data: bytes, start: int, end: int, minishard: int) -> MinishardIndex:
        encoding = self._spec.minishard_index_encoding
        return decode_minishard_index(
            inflate(data, start, end, encoding=encoding, most_bytes=self._most),
            spec=self._spec,
            grid_size=self._grid_size,
            shard_number=self._number,
            minishard_number=minishard,
            file_size=self._size,
        )
