"""Interrupting a run, and going on: what is trusted of an earlier one, and what is not."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cli import REPOSITORY, run, run_here

import shardreader
from shardreader.runtime.runner import ThreadRunner
from shardreader.verification import run as running
from shardreader.verification.run import Verification
from shardreader.verification.state import STATE_NAME, State
from shardreader.verification.verifying import ask

KEY = "8.0x8.0x40.0"
Writable = Callable[[str], Path]


class StoppingRunner:
    """Is interrupted after some results."""

    workers = None

    def __init__(self, after: int) -> None:
        self.after = after

    def map(self, work: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        for done, job in enumerate(jobs):
            if done == self.after:
                raise KeyboardInterrupt
            yield work(job)


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The shards that are really checked."""
    numbers: list[int] = []
    check = running.check_shard

    def noting(job: Any) -> Any:
        numbers.append(job.shard_number)
        return check(job)

    monkeypatch.setattr(running, "check_shard", noting)
    return numbers


def interrupted(path: Path, state: Path, after: int, **options: Any) -> shardreader.Report:
    with State(str(state)) as kept:
        verification = Verification(ask(path, **options), StoppingRunner(after))
        with pytest.raises(KeyboardInterrupt):
            verification.run(kept)
        return verification.report()


def test_the_report_so_far_and_the_rest_afterwards(
    writable: Writable, tmp_path: Path, checked: list[int]
) -> None:
    path, state = writable("fafb-mini"), tmp_path / "state"
    report = interrupted(path, state, 4)
    assert not report.ok
    assert not report.finished
    assert report.scales[0].count("whole") == 4
    assert report.scales[0].count("not_checked") == 5
    assert report.totals.shards == 4
    assert "--resume" in " ".join(report.to_json()["what_to_do"]["advice"])
    checked.clear()
    after = shardreader.verify(path, state=state, allow_absent=True)
    assert len(checked) == 5
    assert (after.ok, after.resumed_shards, after.totals.shards) == (True, 4, 9)
    checked.clear()
    assert shardreader.verify(path, state=state).totals == after.totals
    assert checked == []
    plain = shardreader.verify(path)
    assert plain.totals == after.totals
    assert plain.groups == after.groups


@pytest.mark.parametrize("change", ["level", "bytes", "time", "info", "manifest", "volume"])
def test_what_an_old_result_is_not_trusted_for(
    writable: Writable, tmp_path: Path, checked: list[int], change: str
) -> None:
    path, state = writable("fafb-mini"), tmp_path / "state"
    shardreader.verify(path, state=state)
    checked.clear()
    options: dict[str, Any] = {}
    expected = 9
    file = path / KEY / "02fa.shard"
    if change == "level":
        options["level"] = "deep"
    elif change == "bytes":
        file.write_bytes(file.read_bytes() + b"more")
        expected = 1
    elif change == "time":
        os.utime(file, ns=(1, 1))
        expected = 1
    elif change == "info":
        text = (path / "info").read_text()
        (path / "info").write_text(text.replace("7063", "7062"))
    elif change == "manifest":
        manifest = path / "shardreader-manifest.json"
        manifest.write_text(manifest.read_text().replace("D6zk5A==", "AAAAAA=="))
        expected = 1
    else:
        path = path.rename(tmp_path / "another")
    shardreader.verify(path, state=state, **options)
    assert len(checked) == expected


def test_a_state_beside_the_volume_moves_with_it(
    writable: Writable, tmp_path: Path, checked: list[int]
) -> None:
    path = writable("fafb-mini")
    shardreader.verify(path, state=path / STATE_NAME)
    checked.clear()
    moved = path.rename(tmp_path / "mounted-elsewhere")
    shardreader.verify(moved, state=moved / STATE_NAME)
    assert checked == []


def test_damage_is_looked_at_again(writable: Writable, tmp_path: Path, checked: list[int]) -> None:
    path, state = writable("fafb-mini"), tmp_path / "state"
    file = path / KEY / "02fb.shard"
    good, times = file.read_bytes(), (1, 10**18)
    file.write_bytes(good[:20000] + b"?" + good[20001:])
    os.utime(file, ns=times)
    assert not shardreader.verify(path, state=state, allow_absent=True).ok
    # rsync and gsutil -P keep the time of the source.
    file.write_bytes(good)
    os.utime(file, ns=times)
    checked.clear()
    assert shardreader.verify(path, state=state, allow_absent=True).ok
    assert checked == [0x2FB]


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"result": 5}', "not json"])
def test_a_damaged_row_is_checked_again(
    writable: Writable, tmp_path: Path, checked: list[int], text: str
) -> None:
    path, state = writable("fafb-mini"), tmp_path / "state"
    shardreader.verify(path, state=state)
    with sqlite3.connect(state) as connection:
        connection.execute("UPDATE shards SET summary = ?", (text,))
    checked.clear()
    assert shardreader.verify(path, state=state, allow_absent=True).ok
    assert len(checked) == 9


def test_a_file_that_is_no_state_is_left_alone(writable: Writable, tmp_path: Path) -> None:
    path = writable("fafb-mini")
    (tmp_path / "text").write_text("my notes\n" * 200)
    with sqlite3.connect(tmp_path / "database") as connection:
        connection.execute("CREATE TABLE mine (a)")
    for name in ("text", "database", "no/such/directory"):
        before = (tmp_path / name).read_bytes() if (tmp_path / name).exists() else None
        with pytest.raises(shardreader.ReadError, match="state"):
            shardreader.verify(path, state=tmp_path / name)
        if before is not None:
            assert (tmp_path / name).read_bytes() == before


def test_the_command_goes_on_only_with_resume(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / KEY / "02fb.shard").write_bytes(b"")
    assert run_here("verify", path).returncode == 1
    assert (path / STATE_NAME).is_file()
    assert "8 of them before" in run_here("verify", path, "--resume").stdout
    assert "before" not in run_here("verify", path).stdout
    assert run_here("verify", path, "--allow-absent", "--shards", "02fa").returncode == 0
    assert not (path / STATE_NAME).exists()


@pytest.mark.skipif(os.name == "nt", reason="a process group of its own cannot be interrupted")
def test_ctrl_c_ends_within_two_seconds_with_the_report_so_far(
    writable: Writable, tmp_path: Path
) -> None:
    path = writable("fafb-mini")
    ready = tmp_path / "ready"
    code = f"""
import sys, threading
from pathlib import Path
from shardreader.verification import run
check = run.check_shard
def stuck(job):
    if job.shard_number == 0x0669:
        Path({str(ready)!r}).touch()
        threading.Event().wait(60)
    return check(job)
run.check_shard = stuck
from shardreader.cli import main
sys.exit(main(["verify", {str(path)!r}, "--threads", "1", "--report", {str(tmp_path / "r.md")!r}]))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not ready.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert time.monotonic() - start < 2
    assert process.returncode == 130
    assert out.startswith("NOT FINISHED")
    assert "5           whole" in out
    assert "4           not checked" in out
    assert "--resume" in err
    assert "Traceback" not in err
    assert (tmp_path / "r.md").read_text().startswith("# shardreader verify")
    resumed = run("verify", path, "--resume", "--allow-absent")
    assert resumed.returncode == 0
    assert "9 checked, 5 of them before" in resumed.stdout


def test_a_drive_that_goes_away_is_not_damage(writable: Writable, tmp_path: Path) -> None:
    path = writable("fafb-mini")
    verification = Verification(ask(path), ThreadRunner(1))
    path.rename(tmp_path / "unplugged")
    path.mkdir()
    (path / KEY).write_bytes(b"")  # so that a look at a shard in it fails
    with pytest.raises(shardreader.ReadError, match="drive may have gone away"):
        verification.run()
    assert not verification.report().finished
