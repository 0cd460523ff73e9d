"""Dask clusters of real processes, and jobs for their workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from cli import REPOSITORY

T = TypeVar("T")


@contextmanager
def local_cluster(workers: int = 2, **options: Any) -> Iterator[Any]:
    """Start a LocalCluster whose workers are processes with one thread each; gives its client."""
    from distributed import Client, LocalCluster

    with LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        processes=True,
        dashboard_address=None,
        silence_logs=50,
        **options,
    ) as cluster:
        with Client(cluster, set_as_default=False) as client:
            yield client


class Cluster(NamedTuple):
    """One that was started by dask's own commands."""

    address: str
    scheduler: subprocess.Popen[bytes]


@contextmanager
def cluster_apart(folder: Path, source: Path = REPOSITORY) -> Iterator[Cluster]:
    """Start a scheduler and one worker, whose shardreader is the one in `source`."""
    file = folder / "scheduler.json"
    processes = []

    def start(what: str, paths: Path, *options: object) -> None:
        processes.append(
            subprocess.Popen(
                [
                    *(sys.executable, "-m", f"distributed.cli.dask_{what}"),
                    *("--scheduler-file", str(file), "--no-dashboard", *map(str, options)),
                ],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(paths)},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        )

    try:
        start("scheduler", REPOSITORY, "--host", "127.0.0.1", "--port", 0)
        start("worker", source, "--no-nanny", "--nthreads", 1)
        yield Cluster(wait_until(lambda: address_in(file)), processes[0])
    finally:
        for process in processes:
            process.kill()
            process.wait()


def address_in(scheduler_file: Path) -> str | None:
    """The address that a scheduler wrote, None while it has not: it opens the file before."""
    try:
        return str(json.loads(scheduler_file.read_text())["address"])
    except (FileNotFoundError, json.JSONDecodeError):
        return None


def wait_until(holds: Callable[[], T], seconds: float = 60) -> T:
    """Wait for what another process does; gives what then holds."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "this never came true"
        time.sleep(0.02)
    return found


def square(job: int) -> int:
    return job * job


def fail(job: int) -> int:
    if job == 3:
        raise ValueError("three")
    return job


class FolderJob(NamedTuple):
    """A job that leaves a file each time that it is begun."""

    folder: str
    number: int

    def __str__(self) -> str:
        return f"job {self.number}"

    def begin(self) -> int:
        """Say that it is begun; gives how often it was before."""
        before = len(list(Path(self.folder).glob(f"{self.number}-*")))
        Path(self.folder, f"{self.number}-{before}").touch()
        return before


def die_once(job: FolderJob) -> int:
    if job.begin() == 0 and job.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.number


def die(job: FolderJob) -> int:
    if job.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return job.number


def wait_for_release(job: FolderJob) -> int:
    job.begin()
    wait_until(Path(job.folder, "release").exists)
    return job.number


def unplug(job: str) -> None:
    os.rename(job, f"{job}-unplugged")
