"""What the tests of volumes on a server share: a box, points, and labels that change."""

from __future__ import annotations

import numpy as np
from fixture_truth import FAFB_MINI
from shard_builder import Shard, TinyVolume, block_label

from shardreader import Box

BOX = Box((61430, 32760, 3060), (61450, 32780, 3080))
POINTS = np.loadtxt(FAFB_MINI / "points.csv", delimiter=",", skiprows=1, dtype=np.int64)[:, :3]


def all_points(tiny: TinyVolume) -> list[tuple[int, int, int]]:
    return [tiny.lower(i) for i in range(32)]


def relabelled(tiny: TinyVolume) -> bytes:
    """Shard 0 with other chunks: chunk i holds what chunk i ^ 1 had; 2 is gone."""
    old = tiny.shards[0]
    chunks = {i: old.chunks[i ^ 1] for i in reversed(old.chunks) if i != 2}
    return Shard(tiny.spec, chunks, lead=b"\xff" * 100).to_bytes()


OLD = [block_label(i, 0) for i in range(16)]
NEW = [block_label(i ^ 1, 0) if i != 2 else 0 for i in range(16)]
