"""Partial shards as a reader sees them: a chunk that was not fetched is never background."""

from __future__ import annotations

from pathlib import Path

import pytest
from partial_shards import (
    ABSENT,
    ASKED,
    CORRUPT,
    EMPTY,
    EXPECTED,
    OK,
    STORED,
    partial,
    record,
    write,
)
from shard_builder import Shard, TinyVolume, block_label

import shardreader
from shardreader import open_volume
from shardreader.errors import NotDownloadedError, ShardError
from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest


def write_manifest(tiny: TinyVolume, state: str) -> None:
    scale = ScaleManifest("none", {"0.shard": FileRecord(state)})
    manifest = Manifest("2026-11-22T00:00:00Z", "gs://bucket/v", "listing", {tiny.key: scale})
    (tiny.path / MANIFEST_NAME).write_bytes(manifest.to_json())


def answers(vol: shardreader.Volume, tiny: TinyVolume) -> list[int]:
    points = [tiny.lower(i) for i in range(16)]
    labels, status = vol.lookup(points, units="voxel", return_status=True)
    stored = vol.stored_chunks(vol.bounds)[1]
    in_index = [int(stored[tiny.cell(i)]) for i in range(16)]
    assert in_index == status.tolist()
    expected = [block_label(i, 0) if s == OK else 0 for i, s in enumerate(status.tolist())]
    assert labels.tolist() == expected
    return in_index


@pytest.fixture(params=["raw", "gzip"])
def volume(request: pytest.FixtureRequest, tmp_path: Path) -> TinyVolume:
    return TinyVolume(
        tmp_path / "tiny", index_encoding=request.param, data_encoding=request.param
    ).write()


@pytest.mark.parametrize("state", [None, "partial", "whole", "not_fetched"])
@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
def test_only_what_the_record_covers_is_background(
    volume: TinyVolume, state: str | None, cache_bytes: int
) -> None:
    write(volume, partial(volume, STORED, ASKED).to_bytes())
    if state:
        write_manifest(volume, state)
    with open_volume(volume.path, cache_bytes=cache_bytes) as vol:
        assert answers(vol, volume) == EXPECTED
        box = vol.lookup([volume.lower(1), volume.lower(4)], units="voxel")
        assert box.tolist() == [block_label(1, 0), 0]


def test_a_record_and_no_chunk(volume: TinyVolume) -> None:
    write(volume, partial(volume, [], ASKED).to_bytes())
    with open_volume(volume.path) as vol:
        assert answers(vol, volume) == [EMPTY if i in ASKED else ABSENT for i in range(16)]


def test_an_error_says_what_is_partial_and_how_to_fetch_it(volume: TinyVolume) -> None:
    write(volume, partial(volume, STORED, ASKED).to_bytes())
    write_manifest(volume, "partial")
    with open_volume(volume.path) as vol, pytest.raises(NotDownloadedError) as info:
        vol.lookup(volume.lower(3), units="voxel")
    for part in ("0.shard", "chunk 3", "partial", f"fetch gs://bucket/v {volume.path} --box"):
        assert part in str(info.value)
    assert "gsutil" not in str(info.value)
    with open_volume(volume.path, missing="zero") as vol:
        assert vol.lookup(volume.lower(3), units="voxel") == 0
        assert vol.cutout(vol.bounds)[volume.lower(9)] == block_label(9, 0)


def test_without_a_record_the_word_of_the_manifest_counts(volume: TinyVolume) -> None:
    chunks = volume.shards[0].chunks
    write(volume, Shard(volume.spec, {i: chunks[i] for i in STORED}).to_bytes())
    statuses = {}
    for state in ("whole", "not_fetched", "partial"):
        write_manifest(volume, state)
        with open_volume(volume.path) as vol:
            statuses[state] = answers(vol, volume)
    background = [OK if i in STORED else EMPTY for i in range(16)]
    assert statuses["whole"] == statuses["not_fetched"] == background
    assert statuses["partial"] == [OK if i in STORED else ABSENT for i in range(16)]
    with open_volume(volume.path) as vol, pytest.raises(NotDownloadedError) as info:
        vol.lookup(volume.lower(3), units="voxel")
    assert "manifest calls this shard partial" in str(info.value)
    assert "no coverage record" in str(info.value)


def test_every_flip_in_a_record_is_corrupt_and_never_background(volume: TinyVolume) -> None:
    good = partial(volume, STORED, ASKED).to_bytes()
    for at in range(64, 64 + len(record(ASKED))):
        damaged = bytearray(good)
        damaged[at] ^= 1 << at % 8
        write(volume, bytes(damaged))
        with open_volume(volume.path) as vol:
            status = answers(vol, volume)
            assert status == [OK if i in STORED else CORRUPT for i in range(16)]
    with (
        open_volume(volume.path) as vol,
        pytest.raises(ShardError, match="coverage record") as info,
    ):
        vol.lookup(volume.lower(3), units="voxel")
    assert "0.shard" in str(info.value)
    assert "bytes [64, " in str(info.value)


def test_a_record_that_is_cut(volume: TinyVolume) -> None:
    good = partial(volume, [], ASKED).to_bytes()
    for length in range(64 + 8, len(good)):
        write(volume, good[:length])
        with open_volume(volume.path) as vol:
            assert answers(vol, volume) == [CORRUPT] * 16


def test_merges_under_an_open_volume(volume: TinyVolume) -> None:
    write(volume, partial(volume, STORED, ASKED).to_bytes())
    write_manifest(volume, "partial")
    with open_volume(volume.path) as vol:
        assert answers(vol, volume) == EXPECTED
        write(volume, partial(volume, [*STORED, 3], [*ASKED, 3, 6]).to_bytes())
        expected = list(EXPECTED)
        expected[3], expected[6] = OK, EMPTY
        assert answers(vol, volume) == expected
        # A whole one takes its place; the manifest follows, and holds when it is there.
        chunks = volume.shards[0].chunks
        write(volume, Shard(volume.spec, {i: chunks[i] for i in range(15)}).to_bytes())
        assert answers(vol, volume) == [OK] * 15 + [ABSENT]
        write_manifest(volume, "whole")
        assert answers(vol, volume) == [OK] * 15 + [EMPTY]


@pytest.mark.parametrize("threads", [1, 3])
def test_a_whole_shard_is_asked_once_for_a_record(
    volume: TinyVolume, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    chunks = volume.shards[0].chunks
    write(volume, Shard(volume.spec, {i: chunks[i] for i in range(0, 16, 2)}).to_bytes())
    with open_volume(volume.path, threads=threads) as vol:
        reads = []
        true_read = vol._store.read

        def read(name: str, *, start: int, end: int, identity: object) -> bytes:
            reads.append((name, start, end))
            return true_read(name, start=start, end=end, identity=identity)

        monkeypatch.setattr(vol._store, "read", read)
        for _ in range(3):
            assert answers(vol, volume) == [EMPTY if i % 2 else OK for i in range(16)]
        assert reads.count(("tiny/0.shard", 64, 88)) == 1


def test_keys_of_a_partial_shard_are_not_all_its_keys(volume: TinyVolume) -> None:
    shards = shardreader.open_shards(volume.path / volume.key, volume.spec)
    assert shards.keys(0).tolist() == [*range(16)]
    write(volume, partial(volume, STORED, ASKED).to_bytes())
    assert shards.get(2) is None
    assert 9 in shards
    with pytest.raises(NotDownloadedError, match="partial"):
        shards.get(3)
    with pytest.raises(NotDownloadedError, match="only some of the keys"):
        shards.keys(0)
