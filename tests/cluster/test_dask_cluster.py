"""On a real cluster of processes: shard jobs, and blocks of `to_dask`."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import dask_cluster as jobs
import numpy as np
import pytest
from cli import REPOSITORY, assert_refused, run, run_here
from dask_cluster import FolderJob, cluster_apart, local_cluster, wait_until
from fixture_truth import FAFB_MINI, copy_of_fafb_mini, load_fafb_patches

import shardreader
from shardreader import Box, ClusterError, NotDownloadedError, open_volume
from shardreader.cluster.dask_runner import DaskRunner, make_runner
from shardreader.verification.state import STATE_NAME

Writable = Callable[[str], Path]
KEY = "8.0x8.0x40.0"
TIMES = ("created", "seconds", "megabytes_per_second")


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    with local_cluster() as client:
        yield client


@pytest.fixture
def runner(client: Any) -> DaskRunner:
    return DaskRunner(client, str(FAFB_MINI))


def tasks_of(client: Any) -> int:
    """How many tasks, or groups of tasks, the scheduler knows of."""
    count: int = client.run_on_scheduler(
        lambda dask_scheduler: max(len(dask_scheduler.tasks), len(dask_scheduler.task_groups))
    )
    return count


def waiting_at_worker(dask_worker: Any) -> int:
    return len(dask_worker.state.ready)


def running_at_worker(dask_worker: Any) -> int:
    return len(dask_worker.state.executing)


def without_times(report: shardreader.Report) -> dict[str, Any]:
    document = report.to_json()
    return {name: value for name, value in document.items() if name not in TIMES}


@pytest.fixture
def damaged(writable: Writable) -> Path:
    path = writable("fafb-mini")
    for name, change in (("02fb", 20000), ("0669", 1500), ("066d", 30)):
        file = path / KEY / f"{name}.shard"
        data = bytearray(file.read_bytes())
        data[change] ^= 4
        file.write_bytes(data)
    (path / KEY / "1b68.shard").write_bytes(b"")
    return path


def test_every_job_gives_its_result_once_and_few_are_at_the_scheduler(
    client: Any, runner: DaskRunner
) -> None:
    taken: list[int] = []

    def all_jobs() -> Iterator[int]:
        for job in range(40):
            taken.append(job)
            yield job

    results = []
    for result in runner.map(jobs.square, all_jobs()):
        results.append(result)
        assert len(taken) <= len(results) + 4
        assert tasks_of(client) <= 5
    assert sorted(results) == [job * job for job in range(40)]
    assert runner.workers == 2
    assert list(runner.map(jobs.square, [])) == []


def test_an_error_of_a_job_reaches_the_caller(client: Any, runner: DaskRunner) -> None:
    with pytest.raises(ValueError, match=r"^three$"):
        list(runner.map(jobs.fail, range(10)))
    wait_until(lambda: not tasks_of(client))


def test_jobs_that_wait_are_withdrawn(client: Any, runner: DaskRunner, tmp_path: Path) -> None:
    folder = tmp_path / "jobs"
    folder.mkdir()
    results = runner.map(jobs.wait_for_release, (FolderJob(str(folder), i) for i in range(100)))

    def stop(_signal: int, _frame: object) -> None:
        raise KeyboardInterrupt

    def interrupt_when_two_run() -> None:
        wait_until(lambda: len(list(folder.glob("*-0"))) == 2)
        os.kill(os.getpid(), signal.SIGALRM)

    before = signal.signal(signal.SIGALRM, stop)
    threading.Thread(target=interrupt_when_two_run, daemon=True).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            next(results)
    finally:
        signal.signal(signal.SIGALRM, before)
    wait_until(lambda: not tasks_of(client))
    wait_until(lambda: not any(client.run(waiting_at_worker).values()))
    (folder / "release").touch()
    wait_until(lambda: not any(client.run(running_at_worker).values()))
    # Those that ran end; the others that had been handed over are never begun.
    assert len(list(folder.glob("*-0"))) == 2


def test_the_job_of_a_lost_worker_runs_again(client: Any, tmp_path: Path) -> None:
    runner = DaskRunner(client, str(FAFB_MINI))
    results = list(runner.map(jobs.die_once, [FolderJob(str(tmp_path), i) for i in range(8)]))
    assert sorted(results) == list(range(8))
    assert (tmp_path / "3-1").exists()


def test_the_report_is_the_same_to_the_letter(client: Any, damaged: Path) -> None:
    here = shardreader.verify(damaged)
    there = shardreader.verify(damaged, client=client)
    assert without_times(there) == without_times(here)
    assert len(here.findings) > 4
    assert there.groups == here.groups


@pytest.mark.slow
def test_the_report_is_the_same_though_a_worker_was_killed(client: Any, damaged: Path) -> None:
    told: list[Any] = []

    def kill(progress: Any) -> None:
        told.append(progress)
        if progress.shards_done == 2:
            pids = client.run(os.getpid)
            os.kill(next(iter(pids.values())), signal.SIGKILL)

    there = shardreader.verify(damaged, client=client, progress=kill)
    assert without_times(there) == without_times(shardreader.verify(damaged))
    assert told[-1].shards_done == 9
    assert {progress.workers for progress in told} <= {0, 1, 2}
    client.wait_for_workers(2)


@pytest.mark.slow
def test_the_command_gives_the_same_report(client: Any, damaged: Path) -> None:
    address = client.scheduler.address
    there = run("verify", damaged, "--json", "--dask", address)
    here = run_here("verify", damaged, "--json")
    assert (there.returncode, there.stderr) == (1, "")
    one, other = json.loads(there.stdout), json.loads(here.stdout)
    for name in TIMES:
        del one[name], other[name]
    assert one == other


def test_a_machine_that_does_not_see_the_volume_is_refused(client: Any, writable: Writable) -> None:
    path = writable("fafb-mini")
    runner = DaskRunner(client, str(path))
    info = (path / "info").read_text()
    (path / "info").write_text(info + " ")
    with pytest.raises(ClusterError, match=f"worker tcp.* sees another volume at {path}"):
        list(runner.map(jobs.square, [1]))
    (path / "info").unlink()
    with pytest.raises(ClusterError, match=f"does not see the volume: {path}/info: no such file"):
        list(runner.map(jobs.square, [1]))
    with pytest.raises(shardreader.ReadError, match="no such file"):
        DaskRunner(client, str(path))
    # What goes away while a job runs is not damage either.
    (path / "info").write_text(info)
    with pytest.raises(ClusterError, match="does not see"):
        list(DaskRunner(client, str(path)).map(jobs.unplug, [str(path)]))


def test_arguments_that_make_no_sense(client: Any) -> None:
    with pytest.raises(ValueError, match="with a client"):
        shardreader.verify(FAFB_MINI, threads=2, client=client)
    with pytest.raises(TypeError, match="synchronous"):
        shardreader.verify(FAFB_MINI, client="tcp://127.0.0.1:8786")
    with pytest.raises(ValueError, match="threads must be"):
        make_runner(str(FAFB_MINI), threads=0, client=None)


def test_an_address_without_a_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardreader.cluster.dask_runner._CONNECT_SECONDS", 0.5)
    for address in ("tcp://127.0.0.1:1", "nonsense", "foo://x:1"):
        done = run_here("verify", FAFB_MINI, "--dask", address)
        assert_refused(done, f"{address}: no dask scheduler answers", "tcp://node1:8786")
    done = run_here("verify", FAFB_MINI, "--dask", "tcp://x:1", "--threads", 3)
    assert_refused(done, "--threads: not allowed with argument --dask")
    monkeypatch.setitem(sys.modules, "distributed", None)
    done = run_here("verify", FAFB_MINI, "--dask", "tcp://127.0.0.1:1")
    assert_refused(done, "pip install 'shardreader[dask]'")


def in_another_process(path: Path, address: str, at_third: str) -> subprocess.CompletedProcess[str]:
    """Run the command, with something that happens when three shards are done."""
    code = f"""
import os, signal, sys
from shardreader.verification.run import Verification
show = Verification._show
def showing(self):
    show(self)
    if self._done_shards == 3:
        {at_third}
Verification._show = showing
from shardreader.cli import main
sys.exit(main(["verify", {str(path)!r}, "--dask", {address!r}]))
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


@pytest.mark.slow
def test_ctrl_c_ends_the_command_with_the_report_so_far(client: Any) -> None:
    path = copy_of_fafb_mini()
    done = in_another_process(path, client.scheduler.address, "os.kill(os.getpid(), signal.SIGINT)")
    assert done.returncode == 130
    assert done.stdout.startswith("NOT FINISHED")
    assert "Traceback" not in done.stderr
    resumed = run_here("verify", path, "--resume", "--allow-absent")
    assert "9 checked, 3 of them before" in resumed.stdout
    wait_until(lambda: not tasks_of(client))


@pytest.mark.slow
def test_progress_shows_the_workers(client: Any) -> None:
    fcntl, termios = pytest.importorskip("fcntl"), pytest.importorskip("termios")
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 120, 0, 0))
    command = ["verify", str(copy_of_fafb_mini()), "--dask", client.scheduler.address]
    with subprocess.Popen(
        [sys.executable, "-m", "shardreader", *command],
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
    ):
        os.close(theirs)
        told = b""
        with contextlib.suppress(OSError):  # Linux says so when the other end is closed
            while piece := os.read(ours, 4096):
                told += piece
        os.close(ours)
    assert b" findings, 2 workers" in told


@pytest.mark.slow
def test_a_scheduler_that_goes_away_is_one_error_and_what_is_done_is_kept(tmp_path: Path) -> None:
    path = copy_of_fafb_mini()
    with cluster_apart(tmp_path) as cluster:
        done = in_another_process(
            path, cluster.address, f"os.kill({cluster.scheduler.pid}, signal.SIGKILL)"
        )
    assert done.returncode == 2
    assert done.stdout.startswith("NOT FINISHED")
    (line,) = done.stderr.splitlines()
    assert line.startswith("shardreader: error: the dask scheduler went away")
    assert "--resume" in line
    resumed = run_here("verify", path, "--resume", "--allow-absent")
    assert resumed.returncode == 0
    # Some more had come in when the third was shown; not all, for few are handed over at a time.
    (before,) = re.findall(r"(\d) of them before", resumed.stdout)
    assert 3 <= int(before) < 9
    assert f"  {before}           whole" in done.stdout
    assert not (path / STATE_NAME).exists()


@pytest.mark.slow
def test_a_worker_of_another_version_says_so(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "shardreader", tmp_path / "shardreader")
    (tmp_path / "shardreader" / "version.py").write_text('__version__ = "0.0.7"\n')
    with cluster_apart(tmp_path, source=tmp_path) as cluster:
        done = run("verify", copy_of_fafb_mini(), "--dask", cluster.address, "--level", "quick")
    assert done.returncode == 2
    assert "has shardreader 0.0.7, and the machine that asks has" in done.stderr
    assert f"{shardreader.__version__}: install the same version" in done.stderr


@pytest.mark.slow
def test_a_worker_without_shardreader_says_so(tmp_path: Path) -> None:
    # Where the tests run it may be installed: it is hidden by one that cannot be imported.
    hidden = tmp_path / "shardreader"
    hidden.mkdir()
    (hidden / "__init__.py").write_text(
        "raise ModuleNotFoundError('No module named shardreader', name='shardreader')\n"
    )
    with cluster_apart(tmp_path, source=tmp_path) as cluster:
        done = run("verify", copy_of_fafb_mini(), "--dask", cluster.address, "--level", "quick")
    assert done.returncode == 2
    assert "shardreader" in done.stderr.splitlines()[-1]
    assert "install the same version" in done.stderr


@pytest.mark.slow
def test_a_cluster_without_workers_is_told_of_once_and_waited_for(tmp_path: Path) -> None:
    with local_cluster(workers=0) as client:
        told: list[str] = []

        def tell(line: str) -> None:
            told.append(line)
            client.cluster.scale(1)

        runner = DaskRunner(client, str(FAFB_MINI), tell)
        assert sorted(runner.map(jobs.square, range(9))) == [n * n for n in range(9)]
    assert told == ["the dask cluster has no workers: waiting for some"]


@pytest.mark.slow
def test_a_job_that_takes_down_its_workers_is_named(tmp_path: Path) -> None:
    with local_cluster(scheduler_kwargs={"allowed_failures": 0}) as client:
        runner = DaskRunner(client, str(FAFB_MINI))
        work = [FolderJob(str(tmp_path), number) for number in range(8)]
        # The job itself, or another that the worker had at the same time.
        with pytest.raises(ClusterError, match=r"^job \d: 1 workers died while they had it"):
            list(runner.map(jobs.die, work))


@pytest.mark.slow
def test_blocks_are_read_by_processes_each_with_one_volume(client: Any) -> None:
    patch = load_fafb_patches()[0]
    box = Box(tuple(patch.origin), patch.upper)
    with open_volume(FAFB_MINI) as volume:
        array = volume.to_dask(box)
        assert array.npartitions > 2
        absent = volume.to_dask(Box((20000, 20000, 2000), (20010, 20010, 2010)))
    np.testing.assert_array_equal(client.compute(array).result(), patch.labels)
    odd = array.map_blocks(lambda block: block % 2, dtype=array.dtype)
    np.testing.assert_array_equal(client.compute(odd).result(), patch.labels % 2)
    assert client.compute(array.max()).result() == patch.labels.max()
    np.testing.assert_array_equal(
        client.compute(array[3:-1:2, ::-1, 5]).result(), patch.labels[3:-1:2, ::-1, 5]
    )

    def opened() -> list[tuple[str, int]]:
        from shardreader.cluster.dask_array import _OPEN

        return [
            (entry.volume.path, entry.volume._core.workers.threads)
            for entry in _OPEN._open.values()
        ]

    assert set(map(tuple, client.run(opened).values())) == {((str(FAFB_MINI), 1),)}
    with pytest.raises(NotDownloadedError, match="shard"):
        client.compute(absent).result()


@pytest.mark.slow
def test_blocks_that_the_cluster_keeps_are_not_those_of_a_replaced_shard(
    client: Any, writable: Writable
) -> None:
    path = writable("fafb-mini")
    box = Box((61440 - 8, 32768 - 8, 3072 - 8), (61440, 32768, 3072))
    with open_volume(path) as volume:
        kept = client.persist(volume.to_dask(box))
        before = client.compute(kept).result()
        assert before.any()
    (path / KEY / "02fa.shard").unlink()
    with open_volume(path, missing="zero") as volume:
        assert not client.compute(volume.to_dask(box)).result().any()
    with open_volume(path) as volume, pytest.raises(NotDownloadedError):
        client.compute(volume.to_dask(box)).result()
    np.testing.assert_array_equal(client.compute(kept).result(), before)
