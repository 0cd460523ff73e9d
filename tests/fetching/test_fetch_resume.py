"""`fetch` that is cut off: killed, interrupted, out of room. The same command goes on."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli import REPOSITORY, assert_refused, run_here
from fault_server import Fault, FaultServer
from fetching_cases import (
    KEY,
    assert_nothing_wrong,
    assert_right_copy,
    manifest_of,
    served,
    shard_bytes,
)
from fixture_truth import FAFB_MINI

import shardreader
from shardreader.fetching.state import STATE_NAME
from shardreader.format.manifest import MANIFEST_NAME

Writable = Callable[[str], Path]
SHARD = "02fa.shard"
# Small ranges and no buffer: what has come is on the disk at once, however little it is.
PROGRAM = """
import sys
import shardreader.fetching.plan, shardreader.fetching.shard_download
import shardreader.storage.remote_store
shardreader.fetching.plan.RANGE_BYTES = shardreader.fetching.shard_download.RANGE_BYTES = 8192
shardreader.fetching.shard_download.SYNC_BYTES = 8192
shardreader.storage.remote_store._STREAM_BYTES = 1
from shardreader.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    monkeypatch.setattr("shardreader.storage.remote_store._STREAM_BYTES", 1)
    monkeypatch.setattr("shardreader.fetching.shard_download.SYNC_BYTES", 8192)
    for module in ("plan", "shard_download"):
        monkeypatch.setattr(f"shardreader.fetching.{module}.RANGE_BYTES", 8192)
    with served("fafb-mini", monkeypatch) as server:
        yield server


def start(source: str, copy: Path, *more: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "fetch", source, str(copy), "--jobs", "2", *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )


def until_some_bytes_came(process: subprocess.Popen[str], copy: Path, least: int) -> None:
    end = time.monotonic() + 30
    while process.poll() is None and time.monotonic() < end:
        sizes = (p.stat().st_size for p in copy.rglob("*.shard*") if p.exists())
        if sum(sizes) >= least:
            return
        time.sleep(0.005)


def kill_many_times(server: FaultServer, copy: Path, times: int) -> None:
    rng = random.Random(times)
    server.rate = 150_000
    for i in range(times):
        process = start("gs://bucket", copy)
        until_some_bytes_came(process, copy, 240_000 * (i + 1) // (times + 1))
        time.sleep(rng.uniform(0, 0.02))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not (copy / "info").exists() or i == times - 1
        assert_nothing_wrong(copy, FAFB_MINI)
    server.rate = 0
    done = start("gs://bucket", copy)
    out, err = done.communicate(timeout=60)
    assert (done.returncode, err) == (0, ""), out
    assert_right_copy(copy, FAFB_MINI, KEY)
    assert not list(copy.rglob("*.part"))
    assert "started again" not in out
    # Nothing whole was asked for again; a kill costs what was on its way.
    sent = sum(
        int(last) - int(first) + 1
        for first, last in (
            r.range.removeprefix("bytes=").split("-") for r in server.requests if r.range
        )
    )
    assert sent < 254_193 + (times + 1) * 2 * 2 * 8192


@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_three_times(server: FaultServer, tmp_path: Path) -> None:
    kill_many_times(server, tmp_path, 3)


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")
def test_killed_twenty_times(server: FaultServer, tmp_path: Path) -> None:
    kill_many_times(server, tmp_path, 20)


@pytest.mark.skipif(os.name == "nt", reason="signals are others there")
def test_ctrl_c_ends_it_within_two_seconds(server: FaultServer, tmp_path: Path) -> None:
    server.faults = [Fault("[.]shard", "stalls", times=-1, at=3000, skip=3)]
    process = start("gs://bucket", tmp_path)
    until_some_bytes_came(process, tmp_path, 20_000)
    before = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=20)
    assert time.monotonic() - before < 2
    assert process.returncode == 130
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert not (tmp_path / "info").exists()
    assert {r.state for r in manifest_of(tmp_path).scales[KEY].files.values()} <= {
        "whole",
        "not_fetched",
    }
    server.faults = []
    assert shardreader.fetch("gs://bucket", tmp_path).ok
    assert_right_copy(tmp_path, FAFB_MINI, KEY)


def stop_after(server: FaultServer, source: str, copy: Path, byte: int) -> None:
    """Fetch until one shard has got so far, and then lose the source."""
    server.faults = [
        Fault(SHARD, "cut", at=byte % 8192, skip=byte // 8192),
        Fault(SHARD, "503", times=-1, skip=byte // 8192),
    ]
    assert not shardreader.fetch(source, copy, jobs=1).ok
    assert (copy / KEY / f"{SHARD}.part").stat().st_size == byte
    server.faults = []
    server.requests.clear()


@pytest.mark.parametrize(("source", "first"), [("gs://bucket", 10_000), ("s3://bucket", 8192)])
def test_it_goes_on_from_the_byte_it_had(
    source: str, first: int, server: FaultServer, tmp_path: Path
) -> None:
    """Without a checksum at the source, from the last byte that surely is on the disk."""
    stop_after(server, source, tmp_path, 10_000)
    report = shardreader.fetch(source, tmp_path)
    assert (report.ok, report.fetched, report.restarted) == (True, 1, ())
    ranges = [r for r in server.requests if r.kind == "shard"]
    assert ranges[0].range == f"bytes={first}-{first + 8191}"
    assert all(r.if_match for r in ranges)
    assert report.bytes_fetched == 18195 - first
    assert server.kinds() == {"info": 1, "list": 1, "shard": 2}
    assert_right_copy(tmp_path, FAFB_MINI, KEY)


@pytest.mark.parametrize("source", ["gs://bucket", "s3://bucket"])
def test_it_starts_again_where_the_object_has_changed(
    source: str, server: FaultServer, tmp_path: Path
) -> None:
    stop_after(server, source, tmp_path, 10_000)
    server.versions[f"{KEY}/{SHARD}"] = 1700000000000002
    report = shardreader.fetch(source, tmp_path)
    assert report.ok
    assert [problem.name for problem in report.restarted] == [SHARD]
    assert next(r.range for r in server.requests if r.kind == "shard") == "bytes=0-8191"
    assert_right_copy(tmp_path, FAFB_MINI, KEY)


@pytest.mark.parametrize("damage", ["longer", "flipped", "shorter"])
def test_a_damaged_part_is_not_gone_on_with(
    damage: str, server: FaultServer, tmp_path: Path
) -> None:
    stop_after(server, "gs://bucket", tmp_path, 10_000)
    part = tmp_path / KEY / f"{SHARD}.part"
    data = bytearray(part.read_bytes())
    data[5000] ^= 1
    part.write_bytes({"longer": bytes(20_000), "flipped": data, "shorter": data[:100]}[damage])
    assert shardreader.fetch("gs://bucket", tmp_path).ok
    assert_right_copy(tmp_path, FAFB_MINI, KEY)


def test_without_its_state_a_fetch_compares_what_is_there(
    server: FaultServer, tmp_path: Path
) -> None:
    shardreader.fetch("gs://bucket", tmp_path)
    (tmp_path / STATE_NAME).unlink()
    server.requests.clear()
    report = shardreader.fetch("gs://bucket", tmp_path)
    assert (report.ok, report.fetched, report.whole) == (True, 0, 9)
    assert server.count("shard") == 0
    (tmp_path / STATE_NAME).write_bytes(b"no database, whatever its name says" * 9)
    assert_refused(run_here("fetch", "gs://bucket", tmp_path), STATE_NAME, status=1)


def test_another_object_of_the_same_size(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without checksums only the ETag tells, with and without the state of the fetch."""
    server.root = Path(shutil.copytree(FAFB_MINI, tmp_path / "source"))
    copy = tmp_path / "copy"
    shardreader.fetch("s3://bucket", copy)
    for i in range(2):
        data = bytearray((server.root / KEY / SHARD).read_bytes())
        data[10_000 + i] ^= 1
        server.replace(f"{KEY}/{SHARD}", bytes(data))
        report = shardreader.fetch("s3://bucket", copy)
        assert (report.ok, report.fetched) == (True, 1)
        assert [problem.name for problem in report.restarted] == [SHARD]
        assert_right_copy(copy, server.root, KEY)
        (copy / STATE_NAME).unlink()


def test_a_repair_that_is_cut_off_goes_on(server: FaultServer, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shardreader.fetch("s3://bucket", copy)
    file = copy / KEY / SHARD
    data = bytearray(file.read_bytes())
    data[10_000] ^= 1
    file.write_bytes(data)
    os.utime(file, ns=(1, 1))
    report = tmp_path / "report.json"
    assert run_here("verify", copy, "--allow-absent", "--report", report).returncode == 1
    server.faults = [Fault(SHARD, "503", times=-1, skip=1)]
    assert not shardreader.fetch("s3://bucket", copy, repair=report).ok
    server.faults = []
    # No --repair this time: that the file is damaged is still known.
    assert shardreader.fetch("s3://bucket", copy).fetched == 1
    assert_right_copy(copy, FAFB_MINI, KEY)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A drive of 220 kB, less than the volume."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=220k", "tmpfs", str(place)]
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("mount"):
        pytest.skip("needs root on Linux")
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        pytest.skip("this container may not mount")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def test_a_full_disk_leaves_a_copy_that_goes_on(
    small_disk: Path, server: FaultServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:  # as if something else filled it meanwhile
        patch.setattr("shardreader.fetching.fetching._free_bytes", lambda _: 1 << 40)
        done = run_here("fetch", "gs://bucket", small_disk)
    assert_refused(done, "the drive is full", status=1)
    assert not (small_disk / "info").exists()
    assert_nothing_wrong(small_disk, FAFB_MINI)
    subprocess.run(["mount", "-o", "remount,size=2m", str(small_disk)], check=True)
    monkeypatch.setattr("shardreader.fetching.fetching._SPARE_BYTES", 0)
    report = shardreader.fetch("gs://bucket", small_disk)
    assert report.ok
    assert report.bytes_fetched < 254_193
    assert_right_copy(small_disk, FAFB_MINI, KEY)


def test_a_drive_that_may_not_be_written(small_disk: Path, server: FaultServer) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    done = run_here("fetch", "gs://bucket", small_disk / "copy")
    assert done.returncode in (1, 2)
    assert "Read-only file system" in done.stderr
    assert "Traceback" not in done.stderr


def test_repair_fetches_exactly_what_verify_found(
    server: FaultServer, writable: Writable, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shardreader.fetch("gs://bucket", copy)
    damaged = copy / KEY / "02fb.shard"
    data = bytearray(damaged.read_bytes())
    data[20000] ^= 4
    damaged.write_bytes(data)
    (copy / KEY / SHARD).unlink()
    report = tmp_path / "report.json"
    done = run_here("verify", copy, "--report", report)
    assert done.returncode == 1
    command = f"shardreader fetch gs://bucket {copy} --scale {KEY} --repair {report}"
    assert f"  {command}\n" in done.stdout
    server.requests.clear()
    assert run_here(*command.split()[1:]).returncode == 0
    assert {r.path.rsplit("/", 1)[-1] for r in server.requests if r.kind == "shard"} == {
        "02fb.shard",
        SHARD,
    }
    assert_right_copy(copy, FAFB_MINI, KEY)
    assert run_here("verify", copy).returncode == 0


def test_repair_of_a_copy_that_gsutil_made(
    server: FaultServer, writable: Writable, tmp_path: Path
) -> None:
    copy = writable("fafb-mini")
    (copy / MANIFEST_NAME).unlink()
    (copy / KEY / SHARD).write_bytes(b"damaged")
    report = tmp_path / "report.json"
    assert run_here("verify", copy, "--allow-absent", "--report", report).returncode == 1
    assert shardreader.fetch("s3://bucket", copy, repair=report).fetched == 1
    assert server.count("shard") == 3
    assert_right_copy(copy, FAFB_MINI, KEY)
    saved = json.loads(report.read_text())
    for wrong in ({}, {**saved, "what_to_do": {"copy_again": [f"{KEY}/../../x"]}}):
        report.write_text(json.dumps(wrong))
        done = run_here("fetch", "s3://bucket", copy, "--repair", report)
        assert done.returncode in (0, 2)
        assert server.count("shard") == 3
    assert {*shard_bytes(copy)} == {*shard_bytes(FAFB_MINI)}
