"""The status of chunks, from the shard files as the builder of the tests parses them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fixture_truth import read_info
from shard_builder import Shard
from volumes import morton_codes

from shardreader import Box, PointStatus
from shardreader.format.sharding import ShardingSpec


def fafb_status(path: Path, cells: Box, absent: PointStatus) -> Any:
    """The status of each cell, from the shard files as the builder of the tests parses them."""
    (scale,) = read_info(path)["scales"]
    spec = ShardingSpec.from_json(scale["sharding"], "sharding")
    ranges = [np.arange(a, b) for a, b in zip(cells.lower, cells.upper, strict=True)]
    every = np.stack(np.meshgrid(*ranges, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = tuple(-(-s // c) for s, c in zip(scale["size"], scale["chunk_sizes"][0], strict=True))
    ids = morton_codes(every, grid)
    status = np.full(len(ids), absent, np.uint8)
    shards = ids >> (spec.preshift_bits + spec.minishard_bits)
    for shard in np.unique(shards).tolist():
        file = path / scale["key"] / f"{shard:04x}.shard"
        if file.exists():
            rows = np.flatnonzero(shards == shard)
            stored = np.isin(ids[rows], list(Shard.parse(file.read_bytes(), spec).chunks))
            status[rows] = np.where(stored, PointStatus.OK, PointStatus.EMPTY)
    return status.reshape(cells.shape)
