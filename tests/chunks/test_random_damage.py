"""Random damage of shards: the right answer, or an error or status of the contract."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import load_fafb_patches, load_truth
from shard_builder import TinyVolume, block_label, gzipped

from shardreader import Box, open_volume
from shardreader.errors import ChunkError, PointStatus, ShardError


def damage(data: bytes, rng: random.Random) -> bytes:
    """Flip, cut, fill, move or insert a few bytes somewhere."""
    damaged = bytearray(data)
    kind = rng.randrange(6)
    # Half of the time in the shard index and the first chunk, where a byte matters more.
    limit = len(data) if rng.random() < 0.5 else min(len(data), 1200)
    at, length = rng.randrange(limit), rng.randrange(1, 200)
    if kind == 0:
        for _ in range(rng.randrange(1, 9)):
            damaged[rng.randrange(limit)] ^= 1 << rng.randrange(8)
    elif kind == 1:
        del damaged[at:]
    elif kind == 2:
        damaged[at : at + length] = bytes([rng.choice([0, 255])]) * length
    elif kind == 3:
        source = rng.randrange(len(data))
        piece = data[source : source + length]
        damaged[at : at + len(piece)] = piece
    elif kind == 4:
        damaged[at:at] = rng.randbytes(length)
    else:
        del damaged[at : at + length]
    return bytes(damaged)


def read_damaged(path: Path, points: Any, boxes: list[Box]) -> tuple[Any, Any, list[Any]]:
    """All that can be read; only errors of the contract are caught."""
    with open_volume(path, threads=1) as vol:
        labels, status = vol.lookup(points, units="voxel", return_status=True)
        parts: list[Any] = []
        for box in boxes:
            vol.stored_chunks(box)
            try:
                parts.append(vol.cutout(box))
            except (ShardError, ChunkError):
                parts.append(None)
        bad = status == PointStatus.CORRUPT
        if bad.any():
            with pytest.raises((ShardError, ChunkError)):
                vol.lookup(points, units="voxel")
    assert set(status.tolist()) <= {PointStatus.OK, PointStatus.EMPTY, PointStatus.CORRUPT}
    assert not labels[status != PointStatus.OK].any()
    return labels, status, parts


def fuzz_gzip(path: Path, seeds: range) -> None:
    """A checksum covers the data and the minishard index: what is read is what was there."""
    patch = load_fafb_patches()[0]
    rng = np.random.default_rng(1)
    inside = rng.integers(0, patch.labels.shape, size=(400, 3))
    truth = patch.labels[tuple(inside.T)]
    points = inside + patch.origin
    x, y, z = patch.origin
    boxes = [
        Box((x + a, y + b, z + c), (x + a + 60, y + b + 50, z + c + 20))
        for a in (40, 290)
        for b, c in ((80, 5), (180, 40))
    ]
    good_labels, good_status, good_parts = read_damaged(path, points, boxes)
    np.testing.assert_array_equal(good_labels, truth)
    file = path / patch.key / "02fb.shard"
    data = file.read_bytes()
    with open_volume(path) as vol:
        spec = vol.scale.sharding
        assert spec is not None
        core = vol._core
        cells = core.source.find((points // (128, 128, 32)).astype(np.int64), core.workers)
        shards, minishards = spec.locate(cells.keys)
    caught = 0
    for seed in seeds:
        damaged = damage(data, random.Random(seed))
        file.write_bytes(damaged)
        labels, status, parts = read_damaged(path, points, boxes)
        # No checksum covers the shard index: an entry that came to be empty says "no chunks".
        entries = np.frombuffer(damaged[:1024].ljust(1024, b"\0"), "<u8").reshape(-1, 2)
        empty = (entries[:, 0] == entries[:, 1])[minishards.astype(np.intp)] & (shards == 0x2FB)
        same = (labels == good_labels) & (status == good_status)
        wrong = ~same & (status != PointStatus.CORRUPT) & ~(empty & (status == PointStatus.EMPTY))
        assert not wrong.any(), f"seed {seed}"
        caught += not same.all()
        for part, good in zip(parts, good_parts, strict=True):
            if part is not None and not empty.any():
                np.testing.assert_array_equal(part, good, err_msg=f"seed {seed}")
    assert caught > len(seeds) // 4


def fuzz_raw(path: Path, name: str, shard: str, seeds: range) -> None:
    """Without a checksum labels may change; errors have to be those of the contract."""
    truth = load_truth(name, "8_8_40")
    points = np.argwhere(np.ones(truth.labels.shape, bool))[::7]
    box = Box(truth.origin, truth.labels.shape)  # type: ignore[arg-type]
    parts = read_damaged(path, points, [box])[2]
    np.testing.assert_array_equal(parts[0], truth.labels)
    file = path / truth.key / shard
    data = file.read_bytes()
    for seed in seeds:
        file.write_bytes(damage(data, random.Random(seed)))
        labels, status, parts = read_damaged(path, points, [box])
        if parts[0] is not None:
            assert not (status == PointStatus.CORRUPT).any()
            np.testing.assert_array_equal(parts[0][tuple(points.T)], labels)


def test_random_damage_of_a_gzip_shard(writable: Callable[[str], Path]) -> None:
    fuzz_gzip(writable("fafb-mini"), range(60))


@pytest.mark.parametrize("name", ["raw-index-raw-data", "gzip-index-raw-data"])
def test_random_damage_of_a_raw_shard(writable: Callable[[str], Path], name: str) -> None:
    fuzz_raw(writable(name), name, "0.shard", range(80))


@pytest.mark.slow
def test_much_random_damage(writable: Callable[[str], Path]) -> None:
    fuzz_gzip(writable("fafb-mini"), range(1000, 1300))
    for name in ("raw-index-raw-data", "gzip-index-raw-data", "raw-index-gzip-data"):
        fuzz_raw(writable(name), name, "0.shard", range(1000, 1300))


def test_random_words_in_a_chunk(tiny_gzip: TinyVolume) -> None:
    """Sound gzip around an encoding that is not: any words give labels or a ChunkError."""
    rng = np.random.default_rng(0)
    points = np.argwhere(np.ones((16, 16, 8), bool)) + tiny_gzip.lower(20)
    neighbour = tiny_gzip.lower(21)
    x, y, z = tiny_gzip.lower(20)
    box = Box((x, y, z), (x + 16, y + 16, z + 8))
    for _ in range(80):
        words = rng.integers(0, 1 << int(rng.choice([4, 8, 32])), size=rng.integers(0, 200))
        words[1:9:2] &= 0xFF
        words[1:9:2] |= rng.choice([0, 1, 2, 3, 4, 8, 16, 32, 255], size=len(words[1:9:2])) << 24
        if len(words) and rng.random() < 0.8:
            words[0] = 1
        tiny_gzip.shards[1].chunks[20] = gzipped(words.astype("<u4").tobytes())
        tiny_gzip.write()
        labels, status, (part,) = read_damaged(tiny_gzip.path, [*points, neighbour], [box])
        assert (labels[-1], status[-1]) == (block_label(21, 0), PointStatus.OK)
        corrupt = status[:-1] == PointStatus.CORRUPT
        assert (part is None) == corrupt.any()
        if part is not None:
            np.testing.assert_array_equal(part.ravel(), labels[:-1])
