"""The 32 chunks of `TinyVolume` as files in every form that a source of chunks reads."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from fault_server import FaultServer
from preads import replace_pread, true_pread
from shard_builder import TinyVolume, encode, tiny_chunk

from shardreader.chunks.choose_source import make_source, make_store
from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.located import Found
from shardreader.decoding.chunk_decoder import make_decoder
from shardreader.errors import FormatFault
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest
from shardreader.runtime.workers import Workers
from shardreader.storage.cache import ByteCache
from shardreader.storage.documents import VolumeFiles, read_volume_files
from shardreader.storage.local_store import LocalStore, Store

CHUNK_IDS = range(32)
SHARD_INDEX_BYTES = 64
SUFFIXES = {"raw": "", "gzip": ".gz"}


class Copy:
    """A volume on disk; edit `stored`, then `write`."""

    reads_of_indices = 0
    """What finding the first chunk of a file costs."""

    def __init__(self, path: Path, encoding: str) -> None:
        self.path = path
        self.encoding = encoding
        self.tiny = TinyVolume(path, index_encoding=encoding, data_encoding=encoding)
        self.stored = {i: encode(tiny_chunk(i), encoding) for i in CHUNK_IDS}

    @property
    def directory(self) -> Path:
        return self.path / self.tiny.key

    def write(self) -> Copy:
        raise NotImplementedError

    def files_of(self, chunk_id: int) -> list[Path]:
        """Give the files that a chunk needs."""
        raise NotImplementedError

    def mates_of(self, chunk_id: int) -> list[int]:
        """Give the chunks that live in the same files, itself included."""
        raise NotImplementedError

    def remove(self, chunk_id: int) -> None:
        for file in self.files_of(chunk_id):
            file.unlink()

    def touch(self, chunk_id: int) -> None:
        """Put the same bytes in the place of a chunk's files, as new files."""
        for file in self.files_of(chunk_id):
            new = file.with_name("new")
            new.write_bytes(file.read_bytes())
            new.replace(file)

    def write_manifest(self, files: dict[str, FileRecord], unlisted: str) -> None:
        scale = ScaleManifest(unlisted, files)
        source = "gs://bucket/volume"
        manifest = Manifest("2026-11-22T00:00:00Z", source, "listing", {self.tiny.key: scale})
        (self.path / "shardreader-manifest.json").write_bytes(manifest.to_json())


class ShardedCopy(Copy):
    """Two ``N.shard`` files."""

    reads_of_indices = 2

    def write(self) -> Copy:
        for number, shard in enumerate(self.tiny.shards):
            shard.chunks = {i: self.stored[i] for i in self.mates_of(16 * number)}
        self.tiny.write()
        return self

    def files_of(self, chunk_id: int) -> list[Path]:
        return [self.tiny.shard_path(chunk_id // 16)]

    def mates_of(self, chunk_id: int) -> list[int]:
        first = chunk_id // 16 * 16
        return list(range(first, first + 16))


class FirstVersionCopy(ShardedCopy):
    """The same shards as ``N.index`` and ``N.data``."""

    def write(self) -> Copy:
        super().write()
        for number in range(2):
            whole = self.tiny.shard_path(number)
            data = whole.read_bytes()
            index_file, data_file = self.files_of(16 * number)
            index_file.write_bytes(data[:SHARD_INDEX_BYTES])
            data_file.write_bytes(data[SHARD_INDEX_BYTES:])
            whole.unlink()
        return self

    def files_of(self, chunk_id: int) -> list[Path]:
        whole = self.tiny.shard_path(chunk_id // 16)
        return [whole.with_suffix(".index"), whole.with_suffix(".data")]


class UnshardedCopy(Copy):
    """One file for each chunk."""

    def write(self) -> Copy:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.tiny.info["scales"][0].pop("sharding", None)
        (self.path / "info").write_text(json.dumps(self.tiny.info))
        for chunk_id, stored in self.stored.items():
            self.files_of(chunk_id)[0].write_bytes(stored)
        return self

    def files_of(self, chunk_id: int) -> list[Path]:
        lower = self.tiny.lower(chunk_id)
        axes = [f"{a}-{a + n}" for a, n in zip(lower, self.tiny.chunk_shape, strict=True)]
        return [self.directory / ("_".join(axes) + SUFFIXES[self.encoding])]

    def mates_of(self, chunk_id: int) -> list[int]:
        return [chunk_id]


class RecordingStore(LocalStore):
    """A store that remembers the names of what it read, by compiled code too."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.reads: list[str] = []
        self._patch = pytest.MonkeyPatch()
        replace_pread(self._patch, self._recorded)

    def _recorded(self, descriptor: int, length: int, position: int) -> bytes:
        names = {handle.descriptor: name for name, handle in self._handles.items()}
        if descriptor in names:
            self.reads.append(names[descriptor])
        assert true_pread is not None
        return true_pread(descriptor, length, position)

    def taken(self) -> int:
        """Say how many reads there were since the last call."""
        count = len(self.reads)
        self.reads.clear()
        return count

    def close(self) -> None:
        super().close()
        self._patch.undo()


class ServedStore:
    """What a server was asked for, in the place of a store that remembers its reads."""

    def __init__(self, store: Store, server: FaultServer) -> None:
        self._store = store
        self._server = server
        self.taken()

    def taken(self) -> int:
        """Say how many requests there were since the last call."""
        count = len(self._server.requests)
        self._server.requests.clear()
        return count

    def close(self) -> None:
        self._store.close()


@dataclass
class Handed:
    """What a read handed over: encoded bytes or a fault by row, and the rows to search again."""

    encoded: dict[int, bytes] = field(default_factory=dict)
    faults: dict[int, FormatFault] = field(default_factory=dict)
    stale: list[int] = field(default_factory=list)


@dataclass
class Opened:
    """The source of a copy, as a volume makes it."""

    source: ChunkSource
    store: RecordingStore | ServedStore
    workers: Workers
    copy: Copy

    def find(self, chunk_ids: Iterable[int]) -> Found:
        cells = [self.copy.tiny.cell(i) for i in chunk_ids]
        return self.source.find(np.array(cells, np.int64).reshape(-1, 3), self.workers)

    def read(self, found: Found) -> Handed:
        handed = Handed()

        def consume(row: int, encoded: bytes) -> None:
            assert row not in handed.encoded
            handed.encoded[row] = bytes(encoded)

        def fail(row: int, fault: FormatFault) -> None:
            assert row not in handed.faults
            handed.faults[row] = fault

        handed.stale = self.source.read(found, consume, fail, self.workers).tolist()
        return handed

    def close(self) -> None:
        self.workers.close()
        self.store.close()


def open_copy(copy: Copy, *, threads: int = 1, cache_bytes: int = 1 << 20) -> Opened:
    """Open a copy's source."""
    files = read_volume_files(copy.path, None, None)
    store = RecordingStore(files.directory)
    return Opened(_source(files, store, cache_bytes), store, Workers(threads), copy)


def open_served(
    copy: Copy, server: FaultServer, *, threads: int = 1, cache_bytes: int = 1 << 20
) -> Opened:
    """Open a copy's source from a server of its files."""
    files = read_volume_files(server.plain, None, None)
    store = make_store(files)
    source = _source(files, store, cache_bytes)
    return Opened(source, ServedStore(store, server), Workers(threads), copy)


def _source(files: VolumeFiles, store: Store, cache_bytes: int) -> ChunkSource:
    return make_source(
        files,
        store,
        cache=ByteCache(cache_bytes),
        most_encoded_bytes=make_decoder(files.volume, files.scale).most_encoded_bytes,
    )


FORMS = {
    f"{name}-{encoding}": (form, encoding)
    for name, form in (
        ("sharded", ShardedCopy),
        ("first-version", FirstVersionCopy),
        ("unsharded", UnshardedCopy),
    )
    for encoding in ("raw", "gzip")
}
