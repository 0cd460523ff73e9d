"""Sources of chunks on a remote volume: the local ones, with requests sent ahead.

What a search is about to read is asked for first, in rounds: the shard indices; the minishard
indices; then, by the read, the chunks. The search itself is the local one, and finds the answers
already on their way.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.located import Found, ReadJob, ReadLimits, plan_reads
from shardreader.chunks.minishard_indices import PAGE_ENTRIES, Shard
from shardreader.chunks.sharded_source import ShardedSource
from shardreader.chunks.stored_reader import (
    Consume,
    ConsumeMany,
    Fail,
    RangeFiles,
    Reading,
    StoredReader,
)
from shardreader.chunks.unsharded_source import SUFFIXES_TO_ASK, UnshardedSource
from shardreader.errors import FormatFault, PointStatus, ReadError
from shardreader.format.byterange import ByteRange, join_ranges
from shardreader.format.shard_index import SHARD_INDEX_ENTRY_BYTES
from shardreader.runtime.workers import Workers
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import StaleFileError
from shardreader.storage.remote_files import RemoteFiles
from shardreader.storage.remote_ranges import RemoteIdentity, Wanted
from shardreader.storage.shard_pairs import parts_of

__all__ = ["RemoteReader", "RemoteShardedSource", "RemoteSource", "RemoteUnshardedSource"]

# Requests run side by side, so that joining saves no waiting, only requests: a gap is worth what
# a line of 50 MB/s brings in a millisecond or so.
_LIMITS = ReadLimits(gap=64 << 10, most_bytes=1 << 20, most_chunks=1 << 12)
# After the shard index: room for most coverage records, and no round trip more.
_SPARE_BYTES = 4096
# Minishards of one search; their indices have some 5 kB each, and are all held together.
_MOST_MINISHARDS = 4096
_MOST_INDEX_BYTES = 64 << 20
# Chunk files of one search of an unsharded volume.
_MOST_FILES = 4096


class RemoteReader(StoredReader):
    """Reads chunks by requests that are all sent ahead.

    Parameters
    ----------
    files, cache, most_encoded_bytes
        As for `StoredReader`.
    remote : RemoteFiles
    keep : callable, optional
        Takes the search, a row of it and the stored bytes of that chunk of the remote volume.
    """

    def __init__(
        self,
        files: RangeFiles,
        cache: ByteCache,
        most_encoded_bytes: int,
        remote: RemoteFiles,
        keep: Callable[[Found, int, bytes], None] | None = None,
    ) -> None:
        super().__init__(files, cache, most_encoded_bytes)
        self._remote = remote
        self._keep = keep

    def read(
        self,
        found: Found,
        consume: Consume,
        fail: Fail,
        workers: Workers,
        consume_many: ConsumeMany | None = None,
        *,
        in_order: bool = False,
    ) -> NDArray[np.intp]:
        """As `StoredReader.read`; one by one, because all is kept in the cache."""
        del consume_many, in_order
        stale: list[int] = []
        missed = self._serve_cached(found, found.rows(PointStatus.OK), consume, fail, workers)
        jobs = plan_reads(found, missed, limits=_LIMITS)
        wanted = [
            Wanted(job.file.name, job.start, job.end, job.file.identity)
            for job in jobs
            if isinstance(job.file.identity, RemoteIdentity) and not self.is_too_long(job)
        ]
        with self._remote.stream(wanted, otherwise=self.files.read) as stream:
            keep = None if self._keep is None else partial(self._keep, found)
            reading = Reading(stream, keep)

            def run(job: ReadJob) -> None:
                try:
                    self._run(job, consume, fail, keep=True, reading=reading)
                except StaleFileError:
                    stale.extend(job.rows.tolist())

            workers.run(run, jobs)
        return np.array(sorted(stale), dtype=np.intp)


class RemoteSource(ChunkSource):
    """What remote sources do in another way than local ones."""

    def _read_ahead(self, remote: RemoteFiles) -> None:
        """Have chunks read by requests that are sent ahead; called once, by the constructor."""
        self._remote = remote
        reader = self.reader
        self.reader = RemoteReader(reader.files, reader.cache, reader.most_encoded_bytes, remote)

    def read(
        self,
        found: Found,
        consume: Consume,
        fail: Fail,
        workers: Workers,
        consume_many: ConsumeMany | None = None,
        *,
        in_order: bool = False,
    ) -> NDArray[np.intp]:
        """As `StoredReader.read`.

        Raises
        ------
        ReadError
            Also where an object was replaced and some of this read is of the old one: the answer
            would be a mixture.
        """
        stale = super().read(found, consume, fail, workers, consume_many, in_order=in_order)
        if len(stale):
            self._refuse_mixture(found, stale)
        return stale

    def _refuse_mixture(self, found: Found, stale: NDArray[np.intp]) -> None:
        names = np.array([file.name for file in found.files])[found.file_numbers]
        is_stale = np.zeros(len(names), dtype=np.bool_)
        is_stale[stale] = True
        mixed = np.flatnonzero(~is_stale & np.isin(names, names[stale]))
        if len(mixed):
            raise ReadError(
                f"{self.location(found, int(mixed[0])).file}: was replaced at the source while it "
                "was read; read again"
            )

    def absence(self, found: Found, row: int) -> tuple[str, str]:
        """As `ChunkSource.absence`."""
        if self._remote.has_given(self.directory):
            return super().absence(found, row)
        what = (
            f"the source has no such file, and has shown no file of scale {self.directory!r} at "
            "all, so that this does not prove background"
        )
        return (
            what,
            "read a scale that has data (its info may list scales that have none)",
        )

    def advice(self, path: str) -> str:
        """As `ChunkSource.advice`."""
        return f"this is what the source has: tell who published {path}"


class RemoteShardedSource(RemoteSource, ShardedSource):
    """As `ShardedSource`, on a remote volume."""

    store: RemoteFiles

    def __init__(self, store: RemoteFiles, *arguments: Any, **options: Any) -> None:
        super().__init__(store, *arguments, **options)
        self._read_ahead(store)

    def _find(self, found: Found, workers: Workers) -> Found:
        shards, minishards = self.spec.locate(found.keys)
        batches = list(_batches(shards, minishards))
        for rows in batches:
            part = found if len(batches) == 1 else found.subset(rows)
            with ExitStack() as stack:
                wanted = _by_shard(shards[rows], minishards[rows])
                stack.enter_context(self.store.ahead(self._heads(wanted)))
                for indices in self._indices(wanted):
                    stack.enter_context(self.store.ahead(indices))
                super()._find(part, workers)
            if part is not found:
                found.put(rows, part)
        return found

    def _heads(self, wanted: dict[int, list[int]]) -> list[Wanted]:
        """The pages of the shard indices that are not in the cache."""
        heads = []
        for number, minishards in wanted.items():
            name = self._name(number)
            is_known, identity = self.store.known(name)
            if is_known and identity is None:
                continue
            for where in self._pages_to_read(identity, minishards):
                spare = _SPARE_BYTES if where.end == self.spec.shard_index_end else 0
                heads.append(Wanted(name, where.start, where.end + spare, identity))
        return heads

    def _pages_to_read(
        self, identity: RemoteIdentity | None, minishards: list[int]
    ) -> list[ByteRange]:
        """The wanted pages of a shard index that are not in the cache, neighbours joined."""
        size = PAGE_ENTRIES * SHARD_INDEX_ENTRY_BYTES
        pages: list[ByteRange] = []
        for number in sorted({minishard // PAGE_ENTRIES for minishard in minishards}):
            if identity and self.cache.get((identity, "shard index", number)) is not None:
                continue
            start = number * size
            if pages and pages[-1].end == start:
                start = pages.pop().start
            pages.append(ByteRange(start, min((number + 1) * size, self.spec.shard_index_end)))
        return pages

    def _indices_to_read(self, shard: Shard, minishards: list[int]) -> list[ByteRange]:
        """The wanted minishard indices, and those that confirm a shard without one of them."""
        ranges: set[ByteRange] = set()
        is_one_page = 1 << self.spec.minishard_bits <= PAGE_ENTRIES
        for minishard in minishards:
            if self.cache.get(self.indices.key(shard, minishard)) is not None:
                continue
            where = self.indices.where(shard, minishard)
            if where is not None:
                ranges.add(where)
            elif is_one_page and self._confirmed.get(shard.number) != shard.identity:
                filled = self.indices.filled(shard).tolist()
                for number in filled[:1] + filled[-1:]:
                    ranges.add(self.indices.where(shard, number) or ByteRange(0, 0))
        most = self.indices.limits.most_stored_bytes
        return [where for where in ranges if 0 < where.end - where.start <= most]

    def _indices(self, wanted: dict[int, list[int]]) -> Iterator[list[Wanted]]:
        """The minishard indices that are not in the cache, shard by shard as their heads come.

        Of absent shards, whether they are pairs of files.
        """
        total = 0
        for number, minishards in wanted.items():
            name = self._name(number)
            identity = self.store.identity(name)
            if identity is None:
                asked = [part for part in parts_of(name) if not self.store.known(part)[0]]
                yield [Wanted(part, 0, 0, None) for part in asked]
                continue
            try:
                ranges = self._indices_to_read(Shard(number, name, identity), minishards)
            except (FormatFault, StaleFileError):
                continue  # the search meets it again, and says so
            joined = _joined([where for where in ranges if not self.store.is_ahead(name, *where)])
            total += sum(end - start for start, end in joined)
            if total <= _MOST_INDEX_BYTES:
                yield [Wanted(name, start, end, identity) for start, end in joined]


class RemoteUnshardedSource(RemoteSource, UnshardedSource):
    """As `UnshardedSource`, on a remote volume."""

    store: RemoteFiles

    def __init__(self, store: RemoteFiles, *arguments: Any, **options: Any) -> None:
        super().__init__(store, *arguments, **options)
        self._read_ahead(store)

    def find(self, cells: NDArray[np.int64], workers: Workers) -> Found:
        """As `ChunkSource.find`."""
        found = Found.blank(np.zeros(len(cells), dtype=np.uint64), cells)
        for first in range(0, len(cells), _MOST_FILES):
            rows = np.arange(first, min(first + _MOST_FILES, len(cells)))
            names = [
                [self.name(file_name + suffix) for suffix in SUFFIXES_TO_ASK]
                for file_name in self.grid.file_names(cells[rows])
            ]
            with self.store.ahead([want for forms in names for want in self._unknown(forms[:1])]):
                for forms in names:
                    self.store.identity(forms[0])
                with self.store.ahead([want for forms in names for want in self._unknown(forms)]):
                    found.put(rows, super().find(cells[rows], workers))
        return found

    def _unknown(self, forms: list[str]) -> list[Wanted]:
        """The forms of a file that may be there; none where one is known to be."""
        known = [self.store.known(form) for form in forms]
        if any(identity is not None for _, identity in known):
            return []
        pairs = zip(forms, known, strict=True)
        return [Wanted(form, 0, 0, None) for form, (is_known, _) in pairs if not is_known]


def _batches(
    shards: NDArray[np.uint64], minishards: NDArray[np.uint64]
) -> Iterator[NDArray[np.intp]]:
    """Rows by shard and minishard, so many minishards at a time."""
    order = np.lexsort((minishards, shards))
    s, m = shards[order], minishards[order]
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (s[1:] != s[:-1]) | (m[1:] != m[:-1])
    batch = (np.cumsum(is_new) - 1) // _MOST_MINISHARDS
    if len(order):
        yield from np.split(order, np.flatnonzero(np.diff(batch)) + 1)


def _by_shard(shards: NDArray[np.uint64], minishards: NDArray[np.uint64]) -> dict[int, list[int]]:
    """The distinct minishards of each shard."""
    pairs = np.unique(np.stack([shards, minishards], axis=1), axis=0)
    wanted: dict[int, list[int]] = {}
    for shard, minishard in pairs.tolist():
        wanted.setdefault(shard, []).append(minishard)
    return wanted


def _joined(ranges: list[ByteRange]) -> list[tuple[int, int]]:
    """Ranges of one file, joined where they lie near each other."""
    ranges = sorted(ranges)
    starts = np.array([where.start for where in ranges], dtype=np.int64)
    ends = np.array([where.end for where in ranges], dtype=np.int64)
    joined = join_ranges(
        np.zeros(len(ranges), dtype=np.int64),
        starts,
        ends,
        gap=_LIMITS.gap,
        most_bytes=_LIMITS.most_bytes,
        most_ranges=_LIMITS.most_chunks,
    )
    return [(int(starts[first]), int(ends[last - 1])) for first, last in joined]
