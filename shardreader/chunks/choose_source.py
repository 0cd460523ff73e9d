"""Chooses the store and the source of chunks of an open scale; here and nowhere else."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.sharded_source import ShardedSource
from shardreader.chunks.unsharded_source import UnshardedSource
from shardreader.storage.cache import ByteCache
from shardreader.storage.documents import VolumeFiles
from shardreader.storage.local_store import LocalStore, Store

if TYPE_CHECKING:
    from shardreader.copies.cache_dir import KeptCopy

__all__ = ["keep_copy", "make_source", "make_store"]

_Kinds = tuple[type[ShardedSource], type[UnshardedSource]]


def make_store(files: VolumeFiles) -> Store:
    """The store of a volume; that of a remote one is there already."""
    return LocalStore(files.directory) if files.remote is None else files.remote


def keep_copy(files: VolumeFiles, cache_dir: str | os.PathLike[str]) -> KeptCopy:
    """The directory that keeps what is read of a remote volume.

    Raises
    ------
    ValueError
        The volume is a directory itself.
    InfoError, ReadError, OSError
        As `KeptCopy`.
    """
    if files.remote is None:
        raise ValueError(f"cache_dir is for URLs: {files.directory} is a directory already")
    from shardreader.copies.cache_dir import KeptCopy

    return KeptCopy(cache_dir, files)


def make_source(
    files: VolumeFiles,
    store: Store,
    *,
    cache: ByteCache,
    most_encoded_bytes: int,
    kept: KeptCopy | None = None,
) -> ChunkSource:
    """The source for a scale, sharded or not, local or remote; of the latter, some may be kept."""
    kinds = _kinds(files)
    source = _make_source(files, store, kinds, cache, most_encoded_bytes)
    if kept is None:
        return source
    from shardreader.chunks.cached_source import CachedSource, KeptShards
    from shardreader.chunks.remote_source import RemoteShardedSource

    kinds = (KeptShards, UnshardedSource)
    here = _make_source(kept.files, kept.store, kinds, cache, most_encoded_bytes)
    if not isinstance(here, KeptShards) or not isinstance(source, RemoteShardedSource):
        raise TypeError("only remote sharded scales are kept")
    return CachedSource(here, source, kept, most_encoded_bytes=most_encoded_bytes)


def _make_source(
    files: VolumeFiles,
    store: Store,
    kinds: _Kinds,
    cache: ByteCache,
    most_encoded_bytes: int,
) -> ChunkSource:
    sharded, unsharded = kinds
    scale = files.scale
    if scale.sharding is None:
        return unsharded(
            store,
            scale.key,
            scale.grid,
            files.volume.num_channels * files.volume.dtype.itemsize * (scale.encoding == "raw"),
            cache=cache,
            most_encoded_bytes=most_encoded_bytes,
            source_has_none=files.source_has_none,
            source_url=files.source_url,
        )
    return sharded(
        store,
        scale.key,
        scale.sharding,
        scale.grid.grid_size,
        cache=cache,
        most_encoded_bytes=most_encoded_bytes,
        source_has_none=files.source_has_none,
        source_url=files.source_url,
        calls_partial=files.calls_partial,
    )


def _kinds(files: VolumeFiles) -> _Kinds:
    if files.remote is None:
        return ShardedSource, UnshardedSource
    from shardreader.chunks.remote_source import RemoteShardedSource, RemoteUnshardedSource

    return RemoteShardedSource, RemoteUnshardedSource
