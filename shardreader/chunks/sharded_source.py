"""Where the chunks of a sharded scale are, and their stored bytes.

`find` decides EMPTY against NOT_DOWNLOADED and never raises for one chunk: a problem is a status
with its reason. Specification: sharded.md.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_cache import Places
from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.located import Found, FoundFile
from shardreader.chunks.minishard_indices import MinishardIndices, Shard
from shardreader.chunks.shard_coverage import CoverageFault, ShardCoverage
from shardreader.chunks.stored_reader import TakeWords
from shardreader.errors import FormatFault, Location, PointStatus, ReadError, ShardError
from shardreader.format.byterange import ByteRange
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.shard_index import (
    SHARD_INDEX_ENTRY_BYTES,
    MinishardIndex,
)
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.workers import Workers
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import FileVersion, Handle, StaleFileError, Store
from shardreader.storage.shard_pairs import ShardFiles, parts_of

__all__ = ["Runs", "ShardedSource"]

_OK = int(PointStatus.OK)  # to ask the class for it takes longer than to set a row
_FEW_FILES = 16
# How often a file may change under one search before it is given up.
_MOST_TRIES = 3


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
        self.indices = MinishardIndices(self.files, cache, spec, grid_size)

    def find(self, cells: NDArray[np.int64], workers: Workers) -> Found:
        """As `ChunkSource.find`."""
        if self.grid_size is None:
            raise ValueError("a key-value store has no cells")
        return self._find(Found.blank(chunk_ids_of_cells(cells, self.grid_size), cells), workers)

    def find_keys(self, keys: NDArray[np.uint64], workers: Workers) -> Found:
        """As `find`, for chunk ids or any other keys."""
        return self._find(Found.blank(keys, None), workers)

    def read_one(self, chunk_id: int, take: TakeWords) -> bool:
        """Hand the words of one chunk, a gzip member, to `take` in few steps.

        Returns
        -------
        bool
            False where it is not stored, or anything is unusual: `find` and `read` say what.

        Raises
        ------
        FormatFault, ShardError, StaleFileError, ReadError
            `find` and `read` meet these again, too, and say where.
        """
        shard_number, minishard = self.spec.locate_one(chunk_id)
        name = self._name(shard_number)
        handle = self.store.hold_present(name)
        if handle is None:
            return False
        try:
            shard = Shard(shard_number, name, handle.identity)
            index = self.indices.get(shard, minishard, handle)
            place = None if index is None else index.find_one(chunk_id)
            return place is not None and self.reader.read_one(handle, *place, take)
        finally:
            self.store.let_go(name, handle)

    def hold_few(
        self,
        keys: NDArray[np.uint64],
        files: dict[int, Runs],
        places: Places,
        handles: list[tuple[str, Handle]],
    ) -> bool:
        """Find a few chunks that are stored, and hold their files, in few steps.

        Parameters
        ----------
        keys : ndarray of uint64, shape (n,)
            Chunk ids.
        files : dict of int to Runs
            As `by_file` gives them.
        places : Places
            Zeros; files, starts and ends are filled.
        handles : list of (str, Handle)
            Gets the files by their numbers; whatever comes of it, to be `let_go`.

        Returns
        -------
        bool
            False where one is not stored, or anything is unusual: `find` says what.

        Raises
        ------
        FormatFault, ShardError, StaleFileError, ReadError
            `find` meets these again, too, and says where.
        """
        for shard_number, runs in files.items():
            name = self._name(shard_number)
            handle = self.store.hold_present(name)
            if handle is None:
                return False
            file_number = len(handles)
            handles.append((name, handle))
            shard = Shard(shard_number, name, handle.identity)
            for minishard, rows in runs:
                index = self.indices.get(shard, minishard, handle)
                if index is None or not index.find_all(keys, rows, places.starts, places.ends):
                    return False
                if file_number:
                    places.files[rows] = file_number
        return True

    def let_go(self, handles: list[tuple[str, Handle]]) -> None:
        """The end of what `hold_few` began."""
        for name, handle in handles:
            self.store.let_go(name, handle)

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
        files = self.by_file(found.keys)
        found.files = [FoundFile("", None, self.spec.data_encoding)] * len(files)

        def search(item: tuple[int, tuple[int, Runs]]) -> None:
            file_number, (shard_number, runs) = item
            self._find_in_file(found, file_number, shard_number, runs)

        if len(files) <= _FEW_FILES:
            # A search of a warm file takes less time than threads take to agree on who runs.
            for item in enumerate(files.items()):
                search(item)
        else:
            workers.run(search, enumerate(files.items()))
        if np.count_nonzero(found.status) and len(found.rows(PointStatus.NOT_DOWNLOADED)):
            self.confirm_copy()
        return found

    def by_file(self, keys: NDArray[np.uint64]) -> dict[int, Runs]:
        """For each shard the minishards that may hold keys, each with the rows of these."""
        slots = self.spec.slots(keys)
        rows: NDArray[np.intp] = (
            np.arange(len(keys)) if len(keys) < 2 else np.lexsort((keys, slots))
        )
        files: dict[int, Runs] = {}
        for run in _runs(slots[rows], rows):
            slot = int(slots[run[0]])
            shard_number = slot >> self.spec.minishard_bits
            minishard = slot - (shard_number << self.spec.minishard_bits)
            files.setdefault(shard_number, []).append((minishard, run))
        return files

    def _find_in_file(self, found: Found, file_number: int, shard_number: int, runs: Runs) -> None:
        name = self._name(shard_number)
        if file_number:
            for _, rows in runs:
                found.file_numbers[rows] = file_number
        for _ in range(_MOST_TRIES):
            try:
                handle = self.store.hold_present(name)
                try:
                    identity = self.files.identity(name) if handle is None else handle.identity
                    found.files[file_number] = FoundFile(name, identity, self.spec.data_encoding)
                    if identity is None:
                        self._settle_absent(found, self.spec.file_name(shard_number), runs)
                        return
                    shard = Shard(shard_number, name, identity)
                    for minishard, rows in runs:
                        self._find_in_minishard(found, shard, minishard, rows, handle)
                finally:
                    if handle is not None:
                        self.store.let_go(name, handle)
                return
            except StaleFileError:
                continue
            except ShardError as error:
                for _, rows in runs:
                    found.mark_corrupt(rows, error)
                return
        raise self._unsteady(name)

    def _settle_absent(self, found: Found, file_name: str, runs: Runs) -> None:
        """Whether chunks of a file that is not there are background."""
        none = self.source_has_none(file_name, *parts_of(file_name))
        for _, rows in runs:
            found.status[rows] = PointStatus.EMPTY if none else PointStatus.NOT_DOWNLOADED

    def _unsteady(self, name: str) -> ReadError:
        return ReadError(
            f"{self.store.path(name)}: changed {_MOST_TRIES} times while it was read; "
            "wait until it is written, then try again"
        )

    def _find_in_minishard(
        self,
        found: Found,
        shard: Shard,
        minishard: int,
        rows: NDArray[np.intp],
        handle: Handle | None,
    ) -> None:
        absent = rows
        try:
            index = self.indices.get(shard, minishard, handle)
            if index is None or not len(index):
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
            found.status[rows] = _OK
            return rows[:0]
        positions = index.positions(found.keys[rows])
        stored = positions >= 0
        sound = stored & index.sound[positions]
        found.status[rows] = _OK
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

    def _confirm_shard(self, shard: Shard) -> None:
        """Make sure that a file whose wanted minishard is empty is the shard of its name.

        A renamed, swapped or zeroed file would otherwise read as background; so would one whose
        writer left out empty minishards and moved all later ones to earlier entries, which shows
        in the last entry (neuroglancer-scripts 1.2.0 does so).
        """
        if self._confirmed.get(shard.number) == shard.identity:
            return
        filled = self.indices.filled(shard)
        record_bytes = self.coverage.record_bytes(shard.name, shard.identity)
        further = shard.identity.size - self.spec.shard_index_end - record_bytes
        if not len(filled) and further:
            raise FormatFault(
                "shard index",
                expected="minishards, or no bytes after it",
                found=f"no minishards, and {further} further bytes",
            )
        if len(filled):
            self.indices.check_keys(shard, filled)
            self.indices.check_keys(shard, filled[::-1])
        self._confirmed[shard.number] = shard.identity

    def _shard_error(self, shard: Shard, minishard: int, fault: FormatFault) -> ShardError:
        path = self.files.path(shard.name, shard.identity)
        if isinstance(fault, CoverageFault):
            location = Location(path, shard.number, byte_range=fault.where)
            return ShardError.from_fault(fault, location, self.advice(path))
        try:
            where = self.indices.where(shard, minishard)
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
            for minishard in self.indices.filled(shard).tolist():
                index = self.indices.get(shard, minishard)
                if index is not None:
                    keys.append(index.chunk_ids)
        except FormatFault as fault:
            raise self._shard_error(shard, minishard, fault) from None
        return np.sort(np.concatenate(keys))


Runs: TypeAlias = list[tuple[int, NDArray[np.intp]]]
"""Numbers of minishards, each with the rows of its keys."""


def _runs(values: NDArray[Any], rows: NDArray[np.intp]) -> list[NDArray[np.intp]]:
    """Cut `rows` where the parallel `values` change."""
    if len(rows) < 2:
        return [rows] if len(rows) else []
    cuts = ((values[1:] != values[:-1]).nonzero()[0] + 1).tolist()
    return [rows[a:b] for a, b in zip([0, *cuts], [*cuts, len(rows)], strict=True)]
