"""The runner: every job once, results as they are done, and nobody waits for what is not wanted."""

from __future__ import annotations

import threading
import time

import pytest

from shardreader.runtime.runner import ThreadRunner


@pytest.mark.parametrize("threads", [1, 2, 9])
@pytest.mark.parametrize("count", [0, 1, 50])
def test_every_job_gives_its_result_once(threads: int, count: int) -> None:
    results = list(ThreadRunner(threads).map(lambda job: job * job, range(count)))
    assert sorted(results) == [job * job for job in range(count)]


def test_none_is_a_job_and_a_result_like_any_other() -> None:
    assert list(ThreadRunner(2).map(lambda job: job, [None, None])) == [None, None]


def test_a_quick_job_does_not_wait_for_a_slow_one() -> None:
    release = threading.Event()

    def work(job: str) -> str:
        if job == "slow":
            release.wait(10)
        return job

    results = ThreadRunner(2).map(work, ["slow", "quick"])
    assert next(results) == "quick"
    release.set()
    assert next(results) == "slow"


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_reaches_the_caller(threads: int) -> None:
    def work(job: int) -> int:
        if job == 3:
            raise ValueError("three")
        return job

    with pytest.raises(ValueError, match="three"):
        list(ThreadRunner(threads).map(work, range(10)))


def test_an_error_of_the_jobs_themselves_reaches_the_caller() -> None:
    def jobs():  # type: ignore[no-untyped-def]
        yield 1
        raise KeyError("no more")

    with pytest.raises(KeyError, match="no more"):
        list(ThreadRunner(2).map(abs, jobs()))


def test_after_it_is_closed_no_job_is_begun_and_nobody_is_waited_for() -> None:
    begun: list[int] = []
    release = threading.Event()

    def work(job: int) -> int:
        begun.append(job)
        if job:
            release.wait(10)
        return job

    results = ThreadRunner(2).map(work, range(1000))
    assert next(results) == 0
    start = time.monotonic()
    results.close()  # type: ignore[attr-defined]
    assert time.monotonic() - start < 1
    running = len(begun)
    release.set()
    deadline = time.monotonic() + 5
    while threading.active_count() > 1 and time.monotonic() < deadline:
        if not any(thread.daemon for thread in threading.enumerate()):
            break
    assert len(begun) <= running + 2


def test_jobs_are_taken_one_by_one() -> None:
    taken: list[int] = []
    release = threading.Event()

    def jobs():  # type: ignore[no-untyped-def]
        for job in range(1000):
            taken.append(job)
            yield job

    results = ThreadRunner(2).map(lambda job: release.wait(10), jobs())
    release_later = threading.Timer(0.2, release.set)
    release_later.start()
    assert len(taken) <= 2
    next(results)
    results.close()  # type: ignore[attr-defined]


def test_the_default_is_a_thread_for_each_core() -> None:
    assert ThreadRunner().threads >= 1
