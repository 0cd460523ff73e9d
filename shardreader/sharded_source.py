"""Where the chunks of a sharded scale are, and their stored bytes. Floor 3.

`find` decides EMPTY against NOT_DOWNLOADED and never raises for one chunk: a problem is a status
with its reason. Specification: sharded.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.byterange import ByteRange
from shardreader.cache import ByteCache
from shardreader.chunk_source import ChunkSource
from shardreader.errors import FormatFault, Location, PointStatus, ReadError, ShardError
from shardreader.found import Found, FoundFile
from shardreader.inflate import inflate, most_stored_bytes
from shardreader.morton import MORTON_BITS_LIMIT, chunk_ids_of_cells, morton_bits
from shardreader.shard_coverage import CoverageFault, ShardCoverage
from shardreader.shard_files import ShardFiles, parts_of
from shardreader.shard_index import (
    SHARD_INDEX_ENTRY_BYTES,
    ForeignKeysFault,
    MinishardIndex,
    decode_minishard_index,
    minishard_index_range,
    most_minishard_index_bytes,
)
from shardreader.sharding import ShardingSpec
from shardreader.store import FileVersion, StaleFileError, Store
from shardreader.workers import Workers

__all__ = ["PAGE_ENTRIES", "Shard", "ShardedSource"]

# The shard index is read in pages, because 2**32 minishards would make it 64 GiB long.
PAGE_ENTRIES = 1 << 12
_FEW_FILES = 16
# How often a file may change under one search before it is given up.
_MOST_TRIES = 3


class Shard(NamedTuple):
    """One version of one shard file."""

    number: int
    name: str
    identity: FileVersion


class ShardedSource(ChunkSource):
    """The chunks of one scale in ``neuroglancer_uint64_sharded_v1`` files.

    Parameters
    ----------
    store, directory, cache, most_encoded_bytes, source_has_none, source_url
        As for `ChunkSource`.
    spec : ShardingSpec
    grid_size : (int, int, int) or None
        None for a key-value store, whose keys are any 64 bits.
    calls_partial : callable
        As `VolumeFiles.calls_partial`.
    """

    def __init__(
        self,
        store: Store,
        directory: str,
        spec: ShardingSpec,
        grid_size: tuple[int, int, int] | None,
        *,
        cache: ByteCache,
        most_encoded_bytes: int,
        source_has_none: Callable[..., bool],
        source_url: str | None,
        calls_partial: Callable[[str], bool],
    ) -> None:
        self.files = ShardFiles(store)
        super().__init__(
            store,
            self.files,
            directory,
            cache=cache,
            most_encoded_bytes=most_encoded_bytes,
            source_has_none=source_has_none,
            source_url=source_url,
        )
        self.spec = spec
        self.grid_size = grid_size
        self._confirmed: dict[int, FileVersion] = {}
        self.coverage = ShardCoverage(self.files, cache, spec.shard_index_end, calls_partial)
        id_bits = MORTON_BITS_LIMIT if grid_size is None else morton_bits(grid_size)
        self._most_index_bytes = most_minishard_index_bytes(spec, id_bits)

    def find(self, cells: NDArray[np.int64], workers: Workers) -> Found:
        """As `ChunkSource.find`."""
        if self.grid_size is None:
            raise ValueError("a key-value store has no cells")
        return self._find(Found.blank(chunk_ids_of_cells(cells, self.grid_size), cells), workers)

    def find_keys(self, keys: NDArray[np.uint64], workers: Workers) -> Found:
        """As `find`, for chunk ids or any other keys."""
        return self._find(Found.blank(keys, None), workers)

    def keys(self, shard_number: int) -> NDArray[np.uint64] | None:
        """All keys of one shard, ascending; None where the shard is not there.

        Raises
        ------
        ShardError, ReadError
        """
        name = self._name(shard_number)
        for _ in range(_MOST_TRIES):
            identity = self.files.identity(name)
            if identity is None:
                self.confirm_copy()
                return None
            try:
                return self._keys(Shard(shard_number, name, identity))
            except StaleFileError:
                continue
        raise self._unsteady(name)

    def location(self, found: Found, row: int) -> Location:
        """As `ChunkSource.location`."""
        shards, minishards = self.spec.locate(found.keys[row : row + 1])
        name, identity, _ = found.files[int(found.file_numbers[row])]
        in_file = found.status[row] == PointStatus.OK
        return Location(
            file=self.files.path(name, identity),
            shard_number=int(shards[0]),
            minishard_number=int(minishards[0]),
            chunk_id=int(found.keys[row]),
            cell=None if found.cells is None else tuple(found.cells[row].tolist()),
            byte_range=(int(found.starts[row]), int(found.ends[row])) if in_file else None,
        )

    def absence(self, found: Found, row: int) -> tuple[str, str]:
        """As `ChunkSource.absence`."""
        name, identity, _ = found.files[int(found.file_numbers[row])]
        if identity is None:
            return super().absence(found, row)
        fetch = f"shardreader fetch {self.source_url or 'SOURCE'} {self.store.root}"
        return self.coverage.absence(name, identity, fetch)

    def _name(self, shard_number: int) -> str:
        return self.name(self.spec.file_name(shard_number))

    def _find(self, found: Found, workers: Workers) -> Found:
        shards, minishards = self.spec.locate(found.keys)
        order = np.lexsort((found.keys, minishards, shards))
        groups = list(_runs(shards[order], order))
        found.files = [FoundFile("", None, self.spec.data_encoding)] * len(groups)

        def search(item: tuple[int, NDArray[np.intp]]) -> None:
            number, rows = item
            self._find_in_file(found, number, int(shards[rows[0]]), rows, minishards)

        if len(groups) <= _FEW_FILES:
            # A search of a warm file takes less time than threads take to agree on who runs.
            for item in enumerate(groups):
                search(item)
        else:
            workers.run(search, list(enumerate(groups)))
        if (found.status == PointStatus.NOT_DOWNLOADED).any():
            self.confirm_copy()
        return found

    def _find_in_file(
        self,
        found: Found,
        file_number: int,
        shard_number: int,
        rows: NDArray[np.intp],
        minishards: NDArray[np.uint64],
    ) -> None:
        name = self._name(shard_number)
        found.file_numbers[rows] = file_number
        for _ in range(_MOST_TRIES):
            try:
                identity = self.files.identity(name)
                found.files[file_number] = FoundFile(name, identity, self.spec.data_encoding)
                if identity is None:
                    file_name = self.spec.file_name(shard_number)
                    none = self.source_has_none(file_name, *parts_of(file_name))
                    found.status[rows] = PointStatus.EMPTY if none else PointStatus.NOT_DOWNLOADED
                    return
                shard = Shard(shard_number, name, identity)
                for run in _runs(minishards[rows], rows):
                    self._find_in_minishard(found, shard, int(minishards[run[0]]), run)
                return
            except StaleFileError:
                continue
            except ShardError as error:
                found.mark_corrupt(rows, error)
                return
        raise self._unsteady(name)

    def _unsteady(self, name: str) -> ReadError:
        return ReadError(
            f"{self.store.path(name)}: changed {_MOST_TRIES} times while it was read; "
            "wait until it is written, then try again"
        )

    def _find_in_minishard(
        self, found: Found, shard: Shard, minishard: int, rows: NDArray[np.intp]
    ) -> None:
        absent = rows
        try:
            index = self._minishard_index(shard, minishard)
            if index is None or not len(index.chunk_ids):
                self._confirm_shard(shard)
            else:
                absent = self._settle_stored(found, shard, index, rows)
            if len(absent):
                found.status[absent] = self.coverage.status_of_absent(
                    shard.name, shard.identity, found.keys[absent]
                )
        except FormatFault as fault:
            found.mark_corrupt(absent, self._shard_error(shard, minishard, fault))

    def _settle_stored(
        self, found: Found, shard: Shard, index: MinishardIndex, rows: NDArray[np.intp]
    ) -> NDArray[np.intp]:
        """Take over what an index says; gives the rows that it does not have."""
        if index.find_all(found.keys, rows, found.starts, found.ends):
            found.status[rows] = PointStatus.OK
            return rows[:0]
        positions = index.positions(found.keys[rows])
        stored = positions >= 0
        sound = stored & index.sound[positions]
        found.status[rows] = PointStatus.OK
        found.starts[rows] = index.starts[positions]
        found.ends[rows] = index.ends[positions]
        for at in np.flatnonzero(stored & ~sound).tolist():
            row = rows[at : at + 1]
            bad_entry = index.fault(
                int(positions[at]),
                shard_index_end=self.spec.shard_index_end,
                file_size=shard.identity.size,
            )
            found.status[row] = PointStatus.CORRUPT
            found.mark_corrupt(row, self.chunk_error(found, int(row[0]), bad_entry))
        return rows[~stored]

    def _minishard_index(self, shard: Shard, minishard: int) -> MinishardIndex | None:
        """The index of one minishard; None where it has no chunks. Raises FormatFault."""
        key = self._index_key(shard, minishard)
        cached: MinishardIndex | None = self.cache.get(key)
        if cached is not None:
            return cached
        where = self._minishard_range(shard, minishard)
        if where is None:
            return None
        length = where.end - where.start
        most = most_stored_bytes(self.spec.minishard_index_encoding, self._most_index_bytes)
        if length > most:
            raise FormatFault(
                "stored size of the minishard index",
                expected=f"at most {most} bytes for this grid",
                found=f"{length}",
            )
        index = decode_minishard_index(
            inflate(
                self._read(shard, where),
                0,
                length,
                encoding=self.spec.minishard_index_encoding,
                most_bytes=self._most_index_bytes,
            ),
            spec=self.spec,
            shard_number=shard.number,
            minishard_number=minishard,
            file_size=shard.identity.size,
        )
        self.cache.put(key, index, index.nbytes)
        return index

    def _index_key(self, shard: Shard, minishard: int) -> tuple[Any, ...]:
        # With the number: two names may lead to one file, and its keys belong to one of them.
        return (shard.identity, "minishard", shard.number, minishard)

    def _minishard_range(self, shard: Shard, minishard: int) -> ByteRange | None:
        page = self._page(shard, minishard // PAGE_ENTRIES)
        start, end = page[minishard % PAGE_ENTRIES].tolist()
        return minishard_index_range(
            start,
            end,
            shard_index_end=self.spec.shard_index_end,
            file_size=shard.identity.size,
        )

    def _page(self, shard: Shard, number: int) -> NDArray[np.uint64]:
        """A page of the shard index, shape (entries, 2). Raises FormatFault."""
        key = (shard.identity, "shard index", number)
        cached: NDArray[np.uint64] | None = self.cache.get(key)
        if cached is not None:
            return cached
        index_end = self.spec.shard_index_end
        if shard.identity.size < index_end:
            raise FormatFault(
                "length of the file",
                expected=f"at least {index_end} bytes (the shard index)",
                found=f"{shard.identity.size}",
            )
        page_bytes = PAGE_ENTRIES * SHARD_INDEX_ENTRY_BYTES
        start = number * page_bytes
        data = self._read(shard, ByteRange(start, min(start + page_bytes, index_end)))
        page = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
        self.cache.put(key, page, len(data))
        return page

    def _confirm_shard(self, shard: Shard) -> None:
        """Make sure that a file whose wanted minishard is empty is the shard of its name.

        A renamed, swapped or zeroed file would otherwise read as background; so would one whose
        writer left out empty minishards and moved all later ones to earlier entries, which shows
        in the last entry (neuroglancer-scripts 1.2.0 does so).
        """
        if self._confirmed.get(shard.number) == shard.identity:
            return
        filled = self._filled_minishards(shard)
        record_bytes = self.coverage.record_bytes(shard.name, shard.identity)
        further = shard.identity.size - self.spec.shard_index_end - record_bytes
        if not len(filled) and further:
            raise FormatFault(
                "shard index",
                expected="minishards, or no bytes after it",
                found=f"no minishards, and {further} further bytes",
            )
        if len(filled):
            self._check_keys(shard, filled)
            self._check_keys(shard, filled[::-1])
        self._confirmed[shard.number] = shard.identity

    def _check_keys(self, shard: Shard, minishards: NDArray[np.int64]) -> None:
        """Raise a fault unless the first minishard whose index is sound has keys of its own."""
        first_fault: FormatFault | None = None
        for minishard in minishards.tolist():
            try:
                index = self._minishard_index(shard, minishard)
            except ForeignKeysFault:
                raise
            except FormatFault as fault:
                first_fault = first_fault or fault
                continue
            if index is not None and len(index.chunk_ids):
                return
        if first_fault is not None:
            raise first_fault

    def _filled_minishards(self, shard: Shard) -> NDArray[np.int64]:
        """The minishards whose entry in the shard index is not empty, ascending."""
        filled = []
        for number in range(-(-(1 << self.spec.minishard_bits) // PAGE_ENTRIES)):
            page = self._page(shard, number)
            filled.append(np.flatnonzero(page[:, 0] != page[:, 1]) + number * PAGE_ENTRIES)
        return np.concatenate(filled).astype(np.int64)

    def _read(self, shard: Shard, where: ByteRange) -> bytes:
        return self.files.read(
            shard.name, start=where.start, end=where.end, identity=shard.identity
        )

    def _shard_error(self, shard: Shard, minishard: int, fault: FormatFault) -> ShardError:
        path = self.files.path(shard.name, shard.identity)
        if isinstance(fault, CoverageFault):
            location = Location(path, shard.number, byte_range=fault.where)
            return ShardError.from_fault(fault, location, self.advice(path))
        try:
            where = self._minishard_range(shard, minishard)
        except FormatFault:
            at = minishard * SHARD_INDEX_ENTRY_BYTES
            where = ByteRange(at, at + SHARD_INDEX_ENTRY_BYTES)
        location = Location(path, shard.number, minishard, byte_range=where)
        return ShardError.from_fault(fault, location, self.advice(path))

    def _keys(self, shard: Shard) -> NDArray[np.uint64]:
        keys = [np.zeros(0, dtype=np.uint64)]
        minishard = 0
        try:
            self._confirm_shard(shard)
            self.coverage.refuse_partial(shard.name, shard.identity)
            for minishard in self._filled_minishards(shard).tolist():
                index = self._minishard_index(shard, minishard)
                if index is not None:
                    keys.append(index.chunk_ids)
        except FormatFault as fault:
            raise self._shard_error(shard, minishard, fault) from None
        return np.sort(np.concatenate(keys))


def _runs(values: NDArray[Any], rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut `rows` where the parallel `values` change."""
    if len(rows) < 2:
        return [rows] if len(rows) else []
    cuts = (np.flatnonzero(values[1:] != values[:-1]) + 1).tolist()
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
