"""Partial fetches that go wrong: what is here is right at any moment, a later fetch mends it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import run_here
from fault_server import Fault, FaultServer
from fetching_cases import manifest_of, served
from part_cases import (
    ALL,
    assert_voxels,
    expected,
    ids_in,
    source_with_holes,
    statuses,
)
from shard_builder import TinyVolume, encode, tiny_chunk

import shardreader
from shardreader import Box
from shardreader.copies.partial_shard import read_partial_shard
from shardreader.errors import PointStatus

SHARD = "0.shard"
# Chunks of shard 0 in two minishards, all of one layer.
BOX = Box((0, 0, 0), (64, 32, 8))


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TinyVolume:
    # Each range by itself, so that a fault meets one of them.
    monkeypatch.setattr("shardreader.fetching.source_shard.GAP_BYTES", -1)
    monkeypatch.setattr(
        "shardreader.storage.remote_store._CLIENT", {"timeout": "5s", "read_timeout": "300ms"}
    )
    return source_with_holes(tmp_path / "source")


@pytest.fixture
def server(source: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with served("", monkeypatch, source.path) as server:
        yield server


def assert_here(copy: Path, tiny: TinyVolume, asked: set[int]) -> None:
    with shardreader.open_volume(copy) as vol:
        assert statuses(vol, tiny) == expected(tiny, asked)
        assert_voxels(vol, tiny, asked)


@pytest.mark.parametrize("skip", [0, 2, 4])
@pytest.mark.parametrize(
    ("kind", "times"),
    [("503", 1), ("503", 4), ("cut", 1), ("short", 1), ("stalled", 1), ("redirect", 1)],
)
def test_faults_that_pass(
    kind: str, times: int, skip: int, server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    server.faults = [Fault(SHARD, kind, times, at=5, skip=skip)]
    report = shardreader.fetch("gs://bucket", tmp_path / "copy", box=BOX, jobs=2)
    assert server.faults[0].event.is_set()
    assert (report.ok, report.partial, report.restarted) == (True, 1, ())
    assert report.retries == (0 if kind == "redirect" else times)
    assert_here(tmp_path / "copy", source, ids_in(source, BOX))


@pytest.mark.parametrize("skip", [0, 1, 2, 3, 4, 5])
def test_a_flipped_byte_on_the_way(
    skip: int, server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    """In an index: it is read again. In a chunk: the chunk is."""
    server.faults = [Fault(SHARD, "flipped", at=36, skip=skip)]
    report = shardreader.fetch("gs://bucket", tmp_path / "copy", box=BOX, jobs=1)
    assert server.faults[0].event.is_set()
    assert report.ok
    assert len(report.restarted) == (skip < 3)
    assert_here(tmp_path / "copy", source, ids_in(source, BOX))


def test_a_chunk_that_is_damaged_at_the_source(source: TinyVolume, tmp_path: Path) -> None:
    """It stays NOT_DOWNLOADED and is named; the others come."""
    copy = tmp_path / "copy"
    shard = source.shards[0]
    shard.chunks[2] = shard.chunks[2][:-1] + b"\xff"
    source.write()
    report = shardreader.fetch(source.path, copy, box=BOX)
    (problem,) = report.failed
    assert problem.name == SHARD
    assert "1 of 8 chunks are not here, the first 2: damaged at the source: gzip" in problem.reason
    assert (report.ok, report.partial) == (False, 0)
    assert_here(copy, source, ids_in(source, BOX) - {2})
    assert manifest_of(copy).scales["tiny"].files[SHARD].state == "partial"
    done = run_here("fetch", source.path, copy, "--box", "0,0,0,64,32,8", "--units", "voxel")
    assert done.returncode == 1
    assert done.stdout.startswith("NOT ALL HERE: a part of file://")
    source.shards[0].chunks[2] = encode(tiny_chunk(2), "gzip")
    source.write()
    assert shardreader.fetch(source.path, copy, box=BOX).ok
    assert_here(copy, source, ids_in(source, BOX))


def test_nothing_is_written_where_all_that_is_wanted_is_damaged(
    source: TinyVolume, tmp_path: Path
) -> None:
    shard = source.shards[0]
    shard.chunks[2] = shard.chunks[2][:-1] + b"\xff"
    source.write()
    x, y, z = source.lower(2)
    report = shardreader.fetch(source.path, tmp_path / "copy", points=[[x, y, z]], units="voxel")
    assert not report.ok
    assert manifest_of(tmp_path / "copy").scales["tiny"].files[SHARD].state == "not_fetched"
    assert_here(tmp_path / "copy", source, set())


def test_a_minishard_index_that_is_damaged_at_the_source(
    source: TinyVolume, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    index = source.shards[0].stored_index(0)
    source.shards[0].stored_indices[0] = index[:-1] + b"\xff"
    source.write()
    report = shardreader.fetch(source.path, copy, box=BOX)
    (problem,) = report.failed
    assert "4 of 8 chunks are not here" in problem.reason
    asked = ids_in(source, BOX)
    assert_here(copy, source, {i for i in asked if source.shards[0].minishard_of(i) != 0})


@pytest.mark.parametrize("damage", ["other shard", "zeros", "cut", "empty"])
def test_a_shard_that_is_damaged_at_the_source(
    damage: str, source: TinyVolume, tmp_path: Path
) -> None:
    good = source.shard_path(0).read_bytes()
    other = TinyVolume(tmp_path / "other").shards[1].to_bytes()
    bad = {"other shard": other, "zeros": bytes(len(good)), "cut": good[:30], "empty": b""}
    source.shard_path(0).write_bytes(bad[damage])
    report = shardreader.fetch(source.path, tmp_path / "copy", box=BOX)
    (problem,) = report.failed
    words = "ends before the bytes" if damage == "empty" else "damaged at the source"
    assert words in problem.reason
    assert not (tmp_path / "copy/tiny/0.shard").exists()


def test_the_wanted_minishards_are_empty_in_the_shard_of_another(
    source: TinyVolume, tmp_path: Path
) -> None:
    """It would read as background."""
    other = source.shards[1]
    other.chunks = {i: data for i, data in other.chunks.items() if i >= 28}
    source.shard_path(0).write_bytes(other.to_bytes())
    report = shardreader.fetch(source.path, tmp_path / "copy", box=Box((0, 0, 0), (9, 9, 9)))
    assert "minishard index" in report.failed[0].reason
    assert not (tmp_path / "copy/tiny/0.shard").exists()


@pytest.mark.parametrize("kind", ["gs://bucket", "s3://bucket"])
@pytest.mark.parametrize("skip", [1, 2, 3, 5])
def test_a_shard_that_changes_under_the_fetch(
    kind: str, skip: int, server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    server.faults = [Fault(SHARD, "changed", skip=skip)]
    report = shardreader.fetch(kind, tmp_path / "copy", box=BOX, jobs=1)
    assert report.ok
    ((name, reason),) = report.restarted
    assert (name, "changed" in reason) == (SHARD, True)
    assert_here(tmp_path / "copy", source, ids_in(source, BOX))
    here = read_partial_shard(str(tmp_path / "copy/tiny/0.shard"), source.spec, 0)
    assert here is not None
    if kind == "gs://bucket":
        assert here.coverage.generation == str(server.generation("tiny/0.shard"))


def test_a_shard_that_always_changes(
    server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    server.faults = [Fault(SHARD, "changed", times=-1)]
    report = shardreader.fetch("gs://bucket", tmp_path / "copy", box=BOX, jobs=1)
    assert "begun 3 times" in report.failed[0].reason
    assert not (tmp_path / "copy/tiny/0.shard").exists()


def test_another_version_is_fetched_for_all_that_is_here(
    server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    """Two versions are not mixed, and nothing that was here is lost."""
    copy = tmp_path / "copy"
    shardreader.fetch("gs://bucket", copy, box=BOX)
    with shardreader.open_volume(copy) as vol:
        assert_voxels(vol, source, ids_in(source, BOX))
        # The new version has other chunks.
        changed = source_with_holes(tmp_path / "new", absent=range(0, 32, 7))
        server.replace("tiny/0.shard", changed.shard_path(0).read_bytes())
        more = Box((0, 0, 8), (20, 20, 16))
        report = shardreader.fetch("gs://bucket", copy, box=more)
        assert report.ok
        assert report.restarted == (
            shardreader.fetching.ShardProblem(
                SHARD, "it is another object at the source than before"
            ),
        )
        asked = ids_in(source, BOX) | ids_in(source, more)
        assert statuses(vol, changed) == expected(changed, asked)
        assert_voxels(vol, changed, asked)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("403", "refuses: 403"), ("whole", "with the whole object")],
)
def test_a_source_that_refuses(kind: str, words: str, server: FaultServer, tmp_path: Path) -> None:
    """403 is not the source's word that it has nothing."""
    server.faults = [Fault(SHARD, kind, times=-1)]
    report = shardreader.fetch("gs://bucket", tmp_path / "copy", box=BOX)
    assert words in report.failed[0].reason
    with shardreader.open_volume(tmp_path / "copy") as vol:
        assert set(vol.stored_chunks(vol.bounds)[1].ravel()) == {PointStatus.NOT_DOWNLOADED}


def test_a_source_that_goes_away(server: FaultServer, source: TinyVolume, tmp_path: Path) -> None:
    """What came is kept, chunk by chunk: the next fetch asks for the rest."""
    copy = tmp_path / "copy"
    server.faults = [Fault(SHARD, "503", times=-1, skip=5)]
    report = shardreader.fetch("gs://bucket", copy, box=BOX, jobs=1)
    assert not report.ok
    assert not (copy / "info").exists()
    (spool,) = copy.glob("tiny/*.part")
    server.faults = []
    server.requests.clear()
    report = shardreader.fetch("gs://bucket", copy, box=BOX, jobs=1)
    assert report.ok
    here = len(ids_in(source, BOX) - {0, 5, 10, 15})
    # Index, two minishard indices, and the chunks that are not in the spool: two were.
    assert server.count("shard") == 3 + here - 2
    assert not spool.exists()
    assert_here(copy, source, ids_in(source, BOX))


@pytest.mark.parametrize("damage", ["flip", "cut", "version", "foreign"])
def test_a_damaged_spool(
    damage: str, server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    server.faults = [Fault(SHARD, "503", times=-1, skip=6)]
    shardreader.fetch("gs://bucket", copy, box=BOX, jobs=1)
    (spool,) = copy.glob("tiny/*.part")
    data = spool.read_bytes()
    if damage == "flip":
        spool.write_bytes(data[:-3] + bytes([data[-3] ^ 1]) + data[-2:])
    elif damage == "cut":
        spool.write_bytes(data[:-3])
    elif damage == "foreign":
        spool.write_bytes(b"something else" * 10)
    else:
        server.replace("tiny/0.shard", source.shard_path(0).read_bytes())
    server.faults = []
    assert shardreader.fetch("gs://bucket", copy, box=BOX).ok
    assert_here(copy, source, ids_in(source, BOX))


@pytest.mark.parametrize("at", [70, 100, -3])
def test_a_damaged_partial_shard_is_repaired(
    at: int, server: FaultServer, source: TinyVolume, tmp_path: Path
) -> None:
    """By its coverage record with what it had; where that is damaged, by the whole shard."""
    copy, report_file = tmp_path / "copy", tmp_path / "report.json"
    shardreader.fetch("gs://bucket", copy, box=BOX)
    shard = copy / "tiny/0.shard"
    good = shard.read_bytes()
    bad = bytearray(good)
    bad[at] ^= 1
    shard.write_bytes(bytes(bad))
    done = run_here("verify", copy, "--allow-absent", "--report", report_file)
    assert done.returncode == 1
    done = run_here("fetch", "gs://bucket", copy, "--repair", report_file)
    assert done.returncode == 0, done.stdout
    if at == -3:
        assert shard.read_bytes() == good
    else:
        assert shard.read_bytes() == source.shard_path(0).read_bytes()
    done = run_here("verify", copy, "--allow-absent")
    assert done.returncode == 0, done.stdout


def test_a_damaged_partial_shard_is_not_merged_into(source: TinyVolume, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shardreader.fetch(source.path, copy, box=BOX)
    shard = copy / "tiny/0.shard"
    bad = bytearray(shard.read_bytes())
    bad[-3] ^= 1
    shard.write_bytes(bytes(bad))
    report = shardreader.fetch(source.path, copy, box=Box((0, 0, 0), (64, 64, 16)))
    (problem,) = report.failed
    assert "gzip" in problem.reason
    assert shard.read_bytes() == bytes(bad)


def test_a_full_drive(source: TinyVolume, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "copy"
    shardreader.fetch(source.path, copy, box=BOX)
    before = (copy / "tiny/0.shard").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("shardreader.fetching.chunk_spool.write_all", full)
        with pytest.raises(shardreader.ReadError, match="the drive is full"):
            shardreader.fetch(source.path, copy, box=Box((0, 0, 0), (64, 64, 16)))
    assert (copy / "tiny/0.shard").read_bytes() == before
    assert shardreader.fetch(source.path, copy, box=Box((0, 0, 0), (64, 64, 16))).ok
    assert_here(copy, source, {*ALL})
