"""Keeps what was read of a remote volume in a directory that is itself a copy.

Chunks are kept as they are stored, in partial shards with coverage records; so is what the source
was found not to have. A shard takes its place in one rename: of two processes that keep the same
shard at the same time, the later may lose what the earlier kept, and nothing is mixed.
"""

from __future__ import annotations

import os
import threading
import weakref
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.patched_info import check_same_volume, write_info
from shardreader.copies.shard_listing import scale_folder
from shardreader.copies.shard_writer import (
    NewChunks,
    OtherGenerationError,
    merge_shard,
    write_shard,
)
from shardreader.errors import InfoError, ReadError
from shardreader.format.coverage import Coverage
from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest, now
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.output_file import replacing
from shardreader.storage.documents import VolumeFiles, read_manifest, read_volume_files
from shardreader.storage.local_store import LocalStore, read_error
from shardreader.storage.remote_store import ObjectVersion
from shardreader.storage.volume_path import directory_of

__all__ = ["KeptCopy"]

# Held back at most: each write of a shard copies what it has already.
_MOST_PENDING_BYTES = 64 << 20
_MOST_TRIES = 5
# A chunk id, and what Python needs around it.
_ID_BYTES = 100


@dataclass
class _Pending:
    """What was read of one version of one shard, and is not written yet."""

    version: ObjectVersion
    chunks: dict[int, bytes] = field(default_factory=dict)
    asked: set[int] = field(default_factory=set)


class KeptCopy:
    """The directory of a `cache_dir`. Safe from many threads.

    Parameters
    ----------
    path : str or path-like
        The directory. Made if it does not exist; if it does, it holds nothing or the same volume.
    source : VolumeFiles
        The remote volume.

    Attributes
    ----------
    files : VolumeFiles
        The directory as a volume.
    store : LocalStore
        Its store.

    Raises
    ------
    InfoError
        It holds another volume, or the scale is not sharded.
    OSError
    """

    def __init__(self, path: str | os.PathLike[str], source: VolumeFiles) -> None:
        volume, scale, source_url = source.volume, source.scale, source.directory
        directory = directory_of(path)
        if scale.sharding is None:
            raise InfoError(
                f"{source_url}: cache_dir keeps shards, and scale {scale.key} is not sharded; "
                "open it without cache_dir"
            )
        keys = check_same_volume(directory, volume, source_url)
        folder = scale_folder(directory, scale)
        if os.path.relpath(folder, directory).startswith(os.pardir):
            raise InfoError(f"{source_url}: the scale {scale.key!r} lies outside of the volume")
        os.makedirs(folder, exist_ok=True)
        if scale.key not in keys:
            # By name: another process may be about to add a scale of its own.
            write_info(directory, volume, {*keys, scale.key})
        self.files = read_volume_files(directory, scale.key, None)
        self.store = LocalStore(directory)
        self._new_writer = partial(
            _Writer, directory, folder, scale.key, scale.sharding, source_url
        )
        self._start()

    def _start(self) -> None:
        self._writer = self._new_writer()
        # What is not written when the last reader is forgotten, or Python ends.
        self._finalizer = weakref.finalize(self, self._writer.write_all)

    def add_chunk(self, shard: int, version: ObjectVersion, chunk_id: int, stored: bytes) -> None:
        """Keep the stored bytes of a chunk, which are sound.

        Raises
        ------
        ReadError
            The drive refuses.
        """
        self._writer.add(shard, version, [chunk_id], {chunk_id: stored})

    def add_absent(self, shard: int, version: ObjectVersion, chunk_ids: NDArray[np.uint64]) -> None:
        """Keep that a version of a shard does not have these chunks."""
        self._writer.add(shard, version, chunk_ids.tolist(), {})

    def add_absent_shard(self, shard: int) -> None:
        """Keep that the source does not have a shard."""
        self._writer.add_absent_shard(shard)

    def close(self) -> None:
        """Write what was read, and close the files.

        Raises
        ------
        ReadError
            The drive refuses, or a shard that is there is damaged.
        """
        self._writer.write_all()
        self.store.close()

    def abandon(self) -> None:
        """Leave all to the parent, in a forked child."""
        self._finalizer.detach()
        self.store.abandon()
        self.store = LocalStore(self.store.root)
        self._start()


class _Writer:
    def __init__(
        self,
        directory: str,
        folder: str,
        key: str,
        spec: ShardingSpec,
        source_url: str,
    ) -> None:
        self._directory = directory
        self._folder = folder
        self._key = key
        self._spec = spec
        self._source_url = source_url
        self._pending: dict[int, _Pending] = {}
        self._records: dict[str, FileRecord] = {}
        self._bytes = 0
        self._lock = threading.Lock()
        self._writing = threading.Lock()

    def add(
        self, shard: int, version: ObjectVersion, asked: list[int], chunks: dict[int, bytes]
    ) -> None:
        with self._lock:
            pending = self._pending.get(shard)
            if pending is None or not pending.version.is_same(version):
                pending = self._pending[shard] = _Pending(version)
            pending.asked.update(asked)
            pending.chunks.update(chunks)
            self._bytes += _ID_BYTES * len(asked) + sum(map(len, chunks.values()))
            is_full = self._bytes > _MOST_PENDING_BYTES
        if is_full:
            self.write_all()

    def add_absent_shard(self, shard: int) -> None:
        with self._lock:
            self._records[self._spec.file_name(shard)] = FileRecord("none")

    def write_all(self) -> None:
        with self._writing:
            with self._lock:
                shards, self._pending, self._bytes = self._pending, {}, 0
                records, self._records = self._records, {}
            try:
                for number, pending in sorted(shards.items()):
                    if self._write_shard(number, pending):
                        version = pending.version
                        records[self._spec.file_name(number)] = FileRecord(
                            "partial",
                            size=version.size,
                            generation=version.generation or None,
                            etag=version.etag or None,
                        )
                if records:
                    self._write_manifest(records)
            except OSError as error:
                if error.filename is None:
                    error.filename = self._folder
                raise read_error(str(error.filename), "keep what was read", error) from error

    def _write_shard(self, number: int, pending: _Pending) -> bool:
        """Merge what was read into a shard; False where that is whole."""
        path = os.path.join(self._folder, self._spec.file_name(number))
        asked = np.array(sorted(pending.asked), dtype=np.uint64)
        coverage = Coverage.of_ids(asked, generation=pending.version.token)
        chunks = NewChunks.of(pending.chunks, self._spec)
        for tries_left in range(_MOST_TRIES - 1, -1, -1):
            try:
                return merge_shard(path, self._spec, number, chunks, coverage)
            except OtherGenerationError:
                # The source has another one now: what was kept of the old one goes.
                write_shard(path, self._spec, number, chunks, coverage)
                return True
            except ReadError:
                if tries_left == 0:
                    raise  # not another process that has just replaced it
        return True

    def _write_manifest(self, records: dict[str, FileRecord]) -> None:
        earlier = read_manifest(self._directory, None)
        if earlier is None:
            earlier = Manifest(now(), self._source_url, "requests", {})
        scale = earlier.scales.get(self._key, ScaleManifest("unknown", {}))
        files = {**scale.files}
        for name, record in records.items():
            if files.get(name, record).state != "whole":
                files[name] = record
        scales = {**earlier.scales, self._key: ScaleManifest(scale.unlisted, files)}
        manifest = replace(earlier, scales=scales)
        if manifest != earlier:
            with replacing(os.path.join(self._directory, MANIFEST_NAME)) as file:
                file.write(manifest.to_json())
