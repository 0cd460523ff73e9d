"""Chooses the source of chunks for an open scale; here and nowhere else. Floor 3."""

from __future__ import annotations

from shardreader.cache import ByteCache
from shardreader.chunk_source import ChunkSource
from shardreader.open_files import VolumeFiles
from shardreader.sharded_source import ShardedSource
from shardreader.store import LocalStore
from shardreader.unsharded_source import UnshardedSource

__all__ = ["make_source"]


def make_source(
    files: VolumeFiles, store: LocalStore, *, cache: ByteCache, most_encoded_bytes: int
) -> ChunkSource:
    """The source for a scale, sharded or not."""
    scale = files.scale
    if scale.sharding is None:
        return UnshardedSource(
            store,
            scale.key,
            scale.grid,
            cache=cache,
            most_encoded_bytes=most_encoded_bytes,
            source_has_none=files.source_has_none,
            source_url=files.source_url,
        )
    return ShardedSource(
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
