"""Builds that are damaged, cut off, resumed or overtaken: what an index then says of itself."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import REPOSITORY, assert_refused, run_here
from segment_truth import built, said_by_cell
from shard_builder import TinyVolume, block_label, encode, tiny_chunk

import shardreader
from shardreader import NotDownloadedError, SegmentIndexError, UnknownSegmentError
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest
from shardreader.format.shard_ranges import ShardRanges
from shardreader.segment_index import shard_rows

INDEX = "shardreader-index/tiny"


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards that are really read."""
    numbers: list[int] = []
    check = shard_rows.check_shard

    def noting(job: Any, label_rows: Any) -> Any:
        numbers.append(job.shard_number)
        return check(job, label_rows)

    monkeypatch.setattr(shard_rows, "check_shard", noting)
    return numbers


def chunks_said(path: Path) -> set[int]:
    """The chunks that are in the index of a `TinyVolume`, whose labels are all different."""
    with shardreader.open_volume(path) as volume:
        return {(label >> 32) - 1 for label in volume.segments(min_voxels=1).labels.tolist()}


def ranges(*numbers: int) -> ShardRanges:
    return ShardRanges.of(numbers)


def test_a_whole_volume_is_complete(tiny_gzip: TinyVolume) -> None:
    report = built(tiny_gzip.write().path)
    assert (report.ok, report.shards, report.resumed_shards, report.rows) == (True, 2, 0, 128)
    assert report.voxels == 64 * 64 * 16
    assert report.index_bytes > 0
    with shardreader.open_volume(tiny_gzip.path) as volume:
        segment = volume.segment(block_label(5, 2))
        assert said_by_cell(segment) == {tiny_gzip.cell(5): 512}
        assert "complete" in repr(segment)
        with pytest.raises(UnknownSegmentError, match="there is no such segment"):
            volume.segment(7)


def test_labels_that_are_none(tiny: TinyVolume) -> None:
    built(tiny.write().path)
    with shardreader.open_volume(tiny.path) as volume:
        with pytest.raises(ValueError, match="background"):
            volume.segment(0)
        for label in (-1, 1 << 64):
            with pytest.raises(ValueError, match="is no label"):
                volume.segment(label)
        for label in (1.0, True, "5", None):
            with pytest.raises(TypeError):
                volume.segment(label)
        assert volume.segment(np.uint64(block_label(3, 1))).voxel_count == 512
        with pytest.raises(ValueError, match="at least 1"):
            volume.segments(min_voxels=0)


def test_a_missing_shard_is_told(tiny: TinyVolume) -> None:
    path = tiny.write().path
    tiny.shard_path(1).unlink()
    report = built(path)
    assert not report.ok
    assert (report.coverage.missing, report.coverage.missing_count) == (ranges(1), 1)
    with shardreader.open_volume(path) as volume:
        assert volume.segment(block_label(0, 0)).coverage == report.coverage
        with pytest.raises(UnknownSegmentError, match=r"1 shard is missing from the copy \(1\)"):
            volume.segment(block_label(20, 0))
        first = volume.segments_in(shardreader.Box((0, 0, 0), (64, 32, 16)))
        assert first.coverage.is_complete
        assert len(first.labels) == 64
    scale = ScaleManifest("unknown", {"1.shard": FileRecord("none")})
    manifest = Manifest("2026-11-22T00:00:00Z", None, "user", {"tiny": scale})
    (path / "shardreader-manifest.json").write_bytes(manifest.to_json())
    with shardreader.open_volume(path) as volume:
        assert volume.segment(block_label(0, 0)).coverage.is_complete


def damage_chunk(tiny: TinyVolume) -> set[int]:
    tiny.shards[0].chunks[5] = tiny.shards[0].chunks[5][:30]
    return {5}


def damage_code(tiny: TinyVolume) -> set[int]:
    encoded = bytearray(tiny_chunk(5))
    encoded[7] = 5  # so many bits no block has
    tiny.shards[0].chunks[5] = encode(bytes(encoded), "gzip")
    return {5}


def damage_entry(tiny: TinyVolume) -> set[int]:
    rows = tiny.shards[0].default_rows(1)
    tiny.shards[0].rows[1] = [(i, at, 0 if i == 5 else n) for i, at, n in rows]
    return {5}


def damage_overlap(tiny: TinyVolume) -> set[int]:
    rows = tiny.shards[0].default_rows(1)
    at = {i: start for i, start, _ in rows}
    tiny.shards[0].rows[1] = [(i, at[4] if i == 5 else start, n) for i, start, n in rows]
    return {4, 5, 6, 7}


def damage_duplicate(tiny: TinyVolume) -> set[int]:
    rows = tiny.shards[0].default_rows(1)
    tiny.shards[0].rows[1] = [(4 if i == 5 else i, start, n) for i, start, n in rows]
    return {4, 5, 6, 7}


def damage_index(tiny: TinyVolume) -> set[int]:
    tiny.shards[0].stored_indices[1] = b"no index of anything"
    return {4, 5, 6, 7}


@pytest.mark.parametrize(
    "damage",
    [damage_chunk, damage_code, damage_entry, damage_overlap, damage_duplicate, damage_index],
)
def test_damage_is_left_out_and_told(
    tiny_gzip: TinyVolume, damage: Callable[[TinyVolume], set[int]], read: list[int]
) -> None:
    lost = damage(tiny_gzip)
    path = tiny_gzip.write().path
    report = built(path)
    assert report.findings
    assert report.coverage.damaged == ranges(0)
    assert chunks_said(path) == set(range(32)) - lost
    with shardreader.open_volume(path) as volume:
        assert not volume.segment(block_label(0, 0)).coverage.is_complete
        with pytest.raises(UnknownSegmentError, match="1 shard is damaged"):
            volume.segment(block_label(5, 0))
        for chunk in sorted(chunks_said(path)):
            assert np.concatenate(list(volume.segment(block_label(chunk, 1)).voxels())).shape == (
                *(512, 3),
            )
    read.clear()
    built(path, resume=True)
    assert read == [0]  # what was found damaged is looked at again


@pytest.mark.parametrize("content", [b"", b"\0" * 500, b"x" * 20], ids=["empty", "zeros", "cut"])
def test_a_shard_that_is_no_shard(tiny: TinyVolume, content: bytes) -> None:
    tiny.write().shard_path(0).write_bytes(content)
    report = built(tiny.path)
    assert report.coverage.damaged == ranges(0)
    assert chunks_said(tiny.path) == set(range(16, 32))


def test_what_is_no_file_is_not_indexed(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    tiny.shard_path(0).mkdir()
    report = built(tiny.path)
    assert report.coverage.not_indexed == ranges(0)
    assert chunks_said(tiny.path) == set(range(16, 32))


def test_a_partial_shard_is_told(tiny: TinyVolume) -> None:
    coverage = Coverage.of_ids(np.arange(16, dtype=np.uint64), generation="1")
    tiny.shards[0].lead = encode_coverage(coverage)
    report = built(tiny.write().path)
    assert report.coverage.partial == ranges(0)
    assert not report.ok


def test_only_some_shards_and_then_the_others(tiny: TinyVolume, read: list[int]) -> None:
    path = tiny.write().path
    report = built(path, shards="1")
    assert (read, report.shards, report.coverage.not_indexed) == ([1], 1, ranges(0))
    assert chunks_said(path) == set(range(16, 32))
    report = built(path, shards=[0], resume=True)
    assert (read, report.resumed_shards, report.ok) == ([1, 0], 1, True)
    built(path)
    assert sorted(read[2:]) == [0, 1]  # without resume all is read again
    with pytest.raises(shardreader.OutOfBoundsError, match="7"):
        shardreader.build_index(path, shards="7")


def test_a_shard_that_changes_after_the_build(tiny: TinyVolume, read: list[int]) -> None:
    path = tiny.write().path
    built(path)
    with shardreader.open_volume(path) as volume:
        assert volume.segment(block_label(0, 0)).coverage.is_complete
        # Chunks 0 and 1 change places, as a download of another version would replace the file.
        chunks = tiny.shards[0].chunks
        chunks[0], chunks[1] = chunks[1], chunks[0]
        part = path / "tiny" / "0.new"
        part.write_bytes(tiny.shards[0].to_bytes())
        os.utime(part, ns=(1, 1))
        part.replace(tiny.shard_path(0))
        segment = volume.segment(block_label(0, 0))
        assert segment.coverage.changed == ranges(0)
        with pytest.raises(SegmentIndexError, match="has changed since"):
            list(segment.voxels())
        read.clear()
        report = built(path, resume=True)
        assert (read, report.ok) == ([0], True)
        # The open volume takes the new index up.
        segment = volume.segment(block_label(0, 0))
        assert segment.coverage.is_complete
        assert said_by_cell(segment) == {tiny.cell(1): 512}
        tiny.shard_path(0).unlink()
        segment = volume.segment(block_label(0, 0))
        assert segment.coverage.changed == ranges(0)
        with pytest.raises(NotDownloadedError):
            segment.bounding_box()


def test_a_shard_that_comes_after_the_build(tiny: TinyVolume) -> None:
    path = tiny.write().path
    content = tiny.shard_path(1).read_bytes()
    tiny.shard_path(1).unlink()
    built(path)
    tiny.shard_path(1).write_bytes(content)
    with shardreader.open_volume(path) as volume:
        assert volume.segment(block_label(0, 0)).coverage.not_indexed == ranges(1)
    pair = content[:64], content[64:]
    tiny.shard_path(1).unlink()
    for ending, part in zip((".index", ".data"), pair, strict=True):
        tiny.shard_path(1).with_suffix(ending).write_bytes(part)
    with shardreader.open_volume(path) as volume:
        assert volume.segment(block_label(0, 0)).coverage.not_indexed == ranges(1)


def test_there_is_no_index(tiny: TinyVolume, tmp_path: Path) -> None:
    path = tiny.write().path
    with shardreader.open_volume(path) as volume:
        with pytest.raises(SegmentIndexError, match=f"shardreader index {path} --scale 0"):
            volume.segment(1)
    built(path, out=tmp_path / "elsewhere")
    assert not (path / INDEX).exists()
    with shardreader.open_volume(path, index=tmp_path / "elsewhere") as volume:
        copy = pickle.loads(pickle.dumps(volume))
        assert copy.segment(block_label(0, 0)).voxel_count == 512
        copy.close()
        with pytest.raises(ValueError, match="is closed"):
            copy.segment(1)
    index = tmp_path / "elsewhere" / "tiny" / "segments.duckdb"
    index.write_bytes(index.read_bytes()[:5000])
    with shardreader.open_volume(path, index=tmp_path / "elsewhere") as volume:
        with pytest.raises(SegmentIndexError, match="cannot open it"):
            volume.segment(1)
    index.unlink()
    with shardreader.open_volume(path, index=tmp_path / "elsewhere") as volume:
        with pytest.raises(SegmentIndexError, match=r"begun and not finished.*--resume"):
            volume.segment(1)


def test_the_index_of_another_volume(tiny: TinyVolume, tmp_path: Path) -> None:
    built(tiny.write().path, out=tmp_path / "out")
    other = TinyVolume(tmp_path / "other", size=(64, 64, 15)).write()
    with shardreader.open_volume(other.path, index=tmp_path / "out") as volume:
        with pytest.raises(SegmentIndexError, match="another info"):
            volume.segment(1)


def test_it_is_not_installed(tiny: TinyVolume) -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None\n"
        "import shardreader\n"
        f"try: shardreader.build_index({str(tiny.write().path)!r})\n"
        "except shardreader.SegmentIndexError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "pip install 'shardreader[index]'" in done.stdout


def test_a_killed_build_goes_on(tmp_path: Path) -> None:
    """Killed at any time, a build leaves the old index whole, and what it has done is kept."""
    tiny = TinyVolume(tmp_path / "tiny").write()
    clean = built(tiny.path, out=tmp_path / "clean")
    out = tmp_path / "out"
    rows = out / "tiny" / "rows"
    # The second shard is a pipe's worth of waiting away: it is read only after the first is done.
    code = (
        "import shardreader, sys, time\n"
        "from shardreader.segment_index import shard_rows\n"
        "check = shard_rows.check_shard\n"
        "def slow(job, rows):\n"
        "    if job.shard_number == 1: time.sleep(600)\n"
        "    return check(job, rows)\n"
        "shard_rows.check_shard = slow\n"
        f"shardreader.build_index({str(tiny.path)!r}, out={str(out)!r}, threads=1)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    process = subprocess.Popen([sys.executable, "-c", code], env=environment)
    deadline = time.monotonic() + 120
    while not list(rows.glob("*.parquet")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # While it is at work nobody else is, here or in another process.
    refused = run_here("index", tiny.path, "--out", out)
    assert_refused(refused, f"{out / 'tiny'}: another build of this index is at work", "stop it")
    with pytest.raises(SegmentIndexError, match="another build"):
        shardreader.build_index(tiny.path, out=out, resume=True)
    process.send_signal(signal.SIGKILL if os.name != "nt" else signal.SIGTERM)
    process.wait()
    assert not (out / "tiny" / "segments.duckdb").exists()
    with shardreader.open_volume(tiny.path, index=out) as volume:
        with pytest.raises(SegmentIndexError, match="begun and not finished"):
            volume.segment(block_label(0, 0))
    (rows / "0-0000.parquet.1.2.part").write_bytes(b"left behind")
    report = built(tiny.path, out=out, resume=True)
    assert (report.resumed_shards, report.ok) == (1, True)
    assert (report.rows, report.segments, report.voxels) == (
        *(clean.rows, clean.segments, clean.voxels),
    )
    assert len(list(rows.iterdir())) == 4  # two row files, each with its checksum
    assert {entry.name for entry in (out / "tiny").iterdir()} == {
        *("segments.duckdb", "rows", "building.lock"),
    }


def test_row_files_that_are_not_believed(tiny: TinyVolume, read: list[int]) -> None:
    path = tiny.write().path
    built(path)
    first, second = sorted((path / INDEX / "rows").glob("*.parquet"))
    first.write_bytes(first.read_bytes()[:100])
    shutil.copy(first, second)
    read.clear()
    assert built(path, resume=True).ok
    assert sorted(read) == [0, 1]
    # A row file that is gone after the build is an error, not an answer.
    first.unlink()
    with shardreader.open_volume(path) as volume:
        with pytest.raises(SegmentIndexError, match="read the rows"):
            volume.segments_in(volume.bounds)


def test_one_bit_of_a_row_file(tiny: TinyVolume, read: list[int]) -> None:
    path = tiny.write().path
    built(path)
    with shardreader.open_volume(path) as volume:
        expected = volume.segments_in(volume.bounds)
    first, _ = sorted((path / INDEX / "rows").glob("*.parquet"))
    sound = first.read_bytes()
    for bit in random.Random(16).sample(range(8 * len(sound)), 100):
        damaged = bytearray(sound)
        damaged[bit // 8] ^= 1 << bit % 8
        first.write_bytes(damaged)
        with shardreader.open_volume(path) as volume:
            with pytest.raises(SegmentIndexError, match="rows of a shard are damaged") as caught:
                volume.segments_in(volume.bounds)
            assert str(first) in str(caught.value)
    read.clear()
    assert built(path, resume=True).ok
    assert read == [0]
    with shardreader.open_volume(path) as volume:
        found = volume.segments_in(volume.bounds)
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.voxel_counts, expected.voxel_counts)
        # Damaged while it is in use: looked at again, because it was written.
        first.write_bytes(damaged)
        with pytest.raises(SegmentIndexError, match="rows of a shard are damaged"):
            volume.segments_in(volume.bounds)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[1, 2]", b'{"size": 1, "crc32": 2}', b"\xff", None]
)
def test_a_damaged_checksum_has_the_shard_indexed_again(
    tiny: TinyVolume, read: list[int], content: bytes | None
) -> None:
    path = tiny.write().path
    built(path)
    first, _ = sorted((path / INDEX / "rows").glob("*.check"))
    if content is None:
        first.unlink()
    else:
        first.write_bytes(content)
    read.clear()
    report = built(path, resume=True)
    assert (report.ok, report.resumed_shards) == (True, 1)
    assert read == [0]


def _ask_in_child(volume: shardreader.Volume, answers: Any) -> None:
    answers.put(volume.segment(block_label(3, 1)).voxel_count)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_threads_and_a_fork(tiny: TinyVolume) -> None:
    built(tiny.write().path)
    with shardreader.open_volume(tiny.path) as volume:
        found: list[int] = []

        def ask(chunk: int) -> None:
            found.extend(volume.segment(block_label(chunk, i)).voxel_count for i in range(4))

        threads = [threading.Thread(target=ask, args=(chunk,)) for chunk in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert found == [512] * 32
        context = multiprocessing.get_context("fork")
        answers = context.Queue()
        child = context.Process(target=_ask_in_child, args=(volume, answers))
        child.start()
        assert answers.get(timeout=60) == 512
        child.join(timeout=60)
        assert child.exitcode == 0
        assert volume.segment(block_label(3, 1)).voxel_count == 512
