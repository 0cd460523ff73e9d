"""`index` on a real cluster of processes, and interrupted: the index is the same to the letter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from cli import REPOSITORY, run, run_here
from dask_cluster import cluster_apart, local_cluster, wait_until
from fixture_truth import copy_of_fafb_mini

import shardreader

pytestmark = pytest.mark.slow

TABLES = ("rows", "segments", "shards")
KEY = "8.0x8.0x40.0"


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster() as client:
        yield client


@pytest.fixture(scope="module")
def path() -> Path:
    """A copy with a damaged chunk."""
    path = copy_of_fafb_mini()
    file = path / KEY / "02fb.shard"
    data = bytearray(file.read_bytes())
    data[20000] ^= 4
    file.write_bytes(data)
    return path


def contents(out: Path) -> dict[str, list[Any]]:
    """All that a published index holds, but for when and by what it was made."""
    with duckdb.connect(str(out / KEY / "segments.duckdb"), read_only=True) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall()
            for table in TABLES
        }


def of_report(report: shardreader.IndexReport) -> tuple[Any, ...]:
    """What of a report does not depend on time and place."""
    return (
        *(report.shards, report.totals, report.rows, report.segments, report.voxels),
        *(report.findings, report.coverage),
    )


@pytest.fixture(scope="module")
def alone(path: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any]:
    """What this machine makes of it by itself."""
    out = tmp_path_factory.mktemp("alone")
    report = shardreader.build_index(path, out=out)
    assert len(report.findings) == 1
    return of_report(report), contents(out)


def test_the_index_is_the_same_though_a_worker_was_killed(
    client: Any, path: Path, alone: tuple[Any, Any], tmp_path: Path
) -> None:
    told: list[Any] = []

    def kill(progress: Any) -> None:
        told.append(progress)
        if progress.shards_done == 2:
            os.kill(next(iter(client.run(os.getpid).values())), signal.SIGKILL)

    report = shardreader.build_index(path, out=tmp_path, client=client, progress=kill)
    assert (of_report(report), contents(tmp_path)) == alone
    assert told[-1].shards_done == 9
    assert {progress.workers for progress in told} <= {0, 1, 2}
    # Each shard has its rows and their checksum.
    assert len(list((tmp_path / KEY / "rows").iterdir())) == 18
    client.wait_for_workers(2)


def in_another_process(
    path: Path, out: Path, at_third: str, *options: str
) -> subprocess.CompletedProcess[str]:
    """Run the command, with something that happens when three shards are done."""
    code = f"""
import os, signal, sys
from shardreader.segment_index.building import Build
show = Build._show
def showing(self):
    show(self)
    if len(self._done) == 3:
        {at_third}
Build._show = showing
from shardreader.cli import main
sys.exit(main(["index", {str(path)!r}, "--out", {str(out)!r}, *{options!r}]))
"""
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def goes_on(path: Path, out: Path, alone: tuple[Any, Any]) -> None:
    """What was begun is no index; it goes on from where it was, to the same one."""
    assert not (out / KEY / "segments.duckdb").exists()
    done = run_here("segment", path, 2142873971, "--index", out)
    assert done.returncode == 2
    assert "begun and not finished" in done.stderr
    report = shardreader.build_index(path, out=out, resume=True)
    # Some more may have come in; one with damage is looked at again.
    assert 2 <= report.resumed_shards < 9
    assert (of_report(report), contents(out)) == alone


@pytest.mark.parametrize("on_cluster", [False, True], ids=["threads", "cluster"])
def test_ctrl_c_keeps_what_is_done(
    client: Any, path: Path, alone: tuple[Any, Any], tmp_path: Path, on_cluster: bool
) -> None:
    options = ("--dask", client.scheduler.address) if on_cluster else ("--threads", "1")
    done = in_another_process(path, tmp_path, "os.kill(os.getpid(), signal.SIGINT)", *options)
    assert done.returncode == 130, done
    assert (done.stdout, "Traceback" in done.stderr) == ("", False)
    assert "--resume" in done.stderr
    wait_until(
        lambda: not client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
    )
    goes_on(path, tmp_path, alone)


def test_a_scheduler_that_goes_away_is_one_error_and_what_is_done_is_kept(
    path: Path, alone: tuple[Any, Any], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    with cluster_apart(tmp_path) as cluster:
        end = f"os.kill({cluster.scheduler.pid}, signal.SIGKILL)"
        done = in_another_process(path, out, end, "--dask", cluster.address)
    assert done.returncode == 2, done
    (line,) = done.stderr.splitlines()
    assert line.startswith("shardreader: error: the dask scheduler went away")
    assert "--resume" in line
    goes_on(path, out, alone)


def test_the_command_builds_the_same_index(
    client: Any, path: Path, alone: tuple[Any, Any], tmp_path: Path
) -> None:
    done = run("index", path, "--out", tmp_path, "--dask", client.scheduler.address)
    assert (done.returncode, done.stderr) == (1, "")
    assert "1 shard is damaged (02fb)" in done.stdout
    assert contents(tmp_path) == alone[1]
