"""Chooses the store and the source of chunks of an open scale; here and nowhere else. Floor 3."""

from __future__ import annotations

from shardreader.cache import ByteCache
from shardreader.chunk_source import ChunkSource
from shardreader.open_files import VolumeFiles
from shardreader.sharded_source import ShardedSource
from shardreader.store import LocalStore, Store
from shardreader.unsharded_source import UnshardedSource

__all__ = ["make_source", "make_store"]


def make_store(files: VolumeFiles) -> Store:
    """The store of a volume; that of a remote one is there already."""
    return LocalStore(files.directory) if files.remote is None else files.remote


def make_source(
    files: VolumeFiles, store: Store, *, cache: ByteCache, most_encoded_bytes: int
) -> ChunkSource:
    """The source for a scale, sharded or not, local or remote."""
    sharded, unsharded = _kinds(files)
    scale = files.scale
    if scale.sharding is None:
        return unsharded(
            store,
            scale.key,
            scale.grid,
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


def _kinds(files: VolumeFiles) -> tuple[type[ShardedSource], type[UnshardedSource]]:
    if files.remote is None:
        return ShardedSource, UnshardedSource
    from shardreader.remote_source import RemoteShardedSource, RemoteUnshardedSource

    return RemoteShardedSource, RemoteUnshardedSource
