"""Chunks of a remote volume, of which a directory keeps what was read."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.located import Found
from shardreader.chunks.remote_source import RemoteReader, RemoteShardedSource, RemoteSource
from shardreader.chunks.shard_coverage import CoverageFault
from shardreader.chunks.sharded_source import ShardedSource
from shardreader.copies.cache_dir import KeptCopy
from shardreader.errors import Location, PointStatus
from shardreader.runtime.workers import Workers
from shardreader.storage.local_store import FileVersion, Handle, StaleFileError
from shardreader.storage.remote_ranges import RemoteIdentity
from shardreader.storage.shard_pairs import PairIdentity

__all__ = ["CachedSource", "KeptShards"]


class KeptShards(ShardedSource):
    """What is kept of a remote volume."""

    def advice(self, path: str) -> str:
        """As `ChunkSource.advice`."""
        return f"delete {path}, which keeps what was read of the source, and read again"


class CachedSource(RemoteSource):
    """Looks into the directory first, and asks the source for what is NOT_DOWNLOADED there.

    Parameters
    ----------
    here : KeptShards
        On the directory.
    there : RemoteShardedSource
    kept : KeptCopy
        Takes what was read.
    most_encoded_bytes : int
    """

    def __init__(
        self,
        here: KeptShards,
        there: RemoteShardedSource,
        kept: KeptCopy,
        *,
        most_encoded_bytes: int,
    ) -> None:
        super().__init__(
            there.store,
            _Files(here, there),
            there.directory,
            cache=there.cache,
            most_encoded_bytes=most_encoded_bytes,
            source_has_none=there.source_has_none,
            source_url=there.source_url,
        )
        self._here = here
        self._there = there
        self._kept = kept
        reader = self.reader
        self.reader = RemoteReader(
            reader.files, reader.cache, most_encoded_bytes, there.store, self._keep
        )

    def find(self, cells: NDArray[np.int64], workers: Workers) -> Found:
        """As `ChunkSource.find`."""
        found = self._here.find(cells, workers)
        rows = found.rows(PointStatus.NOT_DOWNLOADED)
        if len(rows) == 0:
            return found
        part = self._there.find(cells[rows], workers)
        outdated = self._outdated(found, rows, part)
        if len(outdated):
            rows = np.union1d(rows, outdated)
            part = self._there.find(cells[rows], workers)
        self._keep_absent(part)
        found.put(rows, part)
        return found

    def location(self, found: Found, row: int) -> Location:
        """As `ChunkSource.location`."""
        return self._of(found, row).location(found, row)

    def absence(self, found: Found, row: int) -> tuple[str, str]:
        """As `ChunkSource.absence`."""
        return self._of(found, row).absence(found, row)

    def advice(self, path: str) -> str:
        """As `ChunkSource.advice`."""
        source = self._there if path.startswith(self._there.store.root) else self._here
        return source.advice(path)

    def _of(self, found: Found, row: int) -> ShardedSource:
        identity = found.files[int(found.file_numbers[row])].identity
        return self._there if _is_remote(identity) else self._here

    def _outdated(self, found: Found, asked: NDArray[np.intp], part: Found) -> NDArray[np.intp]:
        """The rows of shards that are kept of another version than the source has now.

        They are not mixed with what the source says of the others.
        """
        outdated = set()
        for name, identity, _ in part.files:
            here = next((f.identity for f in found.files if f.name == name), None)
            try:
                record = None if here is None else self._here.coverage.record(name, here)
            except (CoverageFault, StaleFileError):
                continue  # its chunks are CORRUPT, or read again
            token = identity.version.token if isinstance(identity, RemoteIdentity) else None
            if record is not None and record.generation != token:
                outdated.add(name)
        names = np.array([file.name in outdated for file in found.files], dtype=np.bool_)
        rows = np.flatnonzero(names[found.file_numbers])
        return np.setdiff1d(rows, asked)

    def _keep_absent(self, part: Found) -> None:
        empty = part.rows(PointStatus.EMPTY)
        shards, _ = self._there.spec.locate(part.keys[empty])
        for number in np.unique(shards).tolist():
            rows = empty[shards == number]
            identity = part.files[int(part.file_numbers[rows[0]])].identity
            if identity is None:
                self._kept.add_absent_shard(number)
            elif isinstance(identity, RemoteIdentity):
                self._kept.add_absent(number, identity.version, part.keys[rows])

    def _keep(self, found: Found, row: int, stored: bytes) -> None:
        identity = found.files[int(found.file_numbers[row])].identity
        if isinstance(identity, RemoteIdentity):
            shards, _ = self._there.spec.locate(found.keys[row : row + 1])
            self._kept.add_chunk(int(shards[0]), identity.version, int(found.keys[row]), stored)


def _is_remote(identity: FileVersion | None) -> bool:
    part = identity.index if isinstance(identity, PairIdentity) else identity
    return isinstance(part, RemoteIdentity)


class _Files:
    """Reads files of either place, by what their identity says."""

    def __init__(self, here: ShardedSource, there: RemoteShardedSource) -> None:
        self._here = here.files
        self._there = there.files

    def read(self, name: str, *, start: int, end: int, identity: Any) -> bytes:
        files = self._there if _is_remote(identity) else self._here
        return files.read(name, start=start, end=end, identity=identity)

    def hold(self, name: str, identity: FileVersion) -> Handle | None:
        return None if _is_remote(identity) else self._here.hold(name, identity)

    def let_go(self, name: str, handle: Handle) -> None:
        self._here.let_go(name, handle)
