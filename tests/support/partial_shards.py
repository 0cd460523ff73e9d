"""A partial shard, and what a reader has to say of its chunks."""

from __future__ import annotations

import os

import numpy as np
from shard_builder import Shard, TinyVolume

from shardreader.errors import PointStatus
from shardreader.format.coverage import Coverage, encode_coverage

OK, EMPTY = PointStatus.OK, PointStatus.EMPTY
ABSENT, CORRUPT = PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT
# Of shard 0: two in minishard 0, one in minishard 2; asked for besides, in minishards 0, 1 and 2.
STORED, ASKED = [0, 1, 9], [0, 1, 2, 4, 5, 8, 9]
EXPECTED = [OK if i in STORED else EMPTY if i in ASKED else ABSENT for i in range(16)]


def record(ids: list[int], generation: str | None = "7") -> bytes:
    return encode_coverage(Coverage.of_ids(np.array(ids, np.uint64), generation=generation))


def partial(tiny: TinyVolume, stored: list[int], asked: list[int]) -> Shard:
    chunks = tiny.shards[0].chunks
    return Shard(tiny.spec, {i: chunks[i] for i in stored}, lead=record(asked))


def write(tiny: TinyVolume, data: bytes) -> None:
    """In one rename, as a merge does it."""
    new = tiny.path / "new"
    new.write_bytes(data)
    os.replace(new, tiny.shard_path(0))
