"""Maps jobs over threads; results come as they are done.

`dask_runner` maps them over machines in the same way.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from shardreader.runtime.workers import cores

__all__ = ["Runner", "ThreadRunner"]

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")
# Windows does not interrupt a wait without an end.
_WAIT_SECONDS = 0.25


class Runner(Protocol):
    """Calls a function for each of many jobs.

    So that it can run on any machine, the function is a module's own (it is pickled by its name),
    jobs and results are small values that pickle, and calling it twice for a job does no harm.
    """

    @property
    def workers(self) -> int | None:
        """How many machines or processes work; None for threads of this one."""
        ...

    def map(self, work: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> Iterator[_Result]:
        """Give ``work(job)`` for each job, as they are done, in any order."""
        ...


class ThreadRunner:
    """Runs jobs on threads that nobody waits for once their results are not wanted any more.

    The caller's own thread only waits, so that Ctrl-C reaches it while a large job runs.

    Parameters
    ----------
    threads : int, optional
        One per core by default.

    Examples
    --------
    >>> sorted(ThreadRunner(2).map(abs, [-3, 1, -2]))
    [1, 2, 3]
    """

    workers = None

    def __init__(self, threads: int | None = None) -> None:
        self.threads = cores() if threads is None else threads

    def map(self, work: Callable[[_Job], _Result], jobs: Iterable[_Job]) -> Iterator[_Result]:
        """Give ``work(job)`` for each job, as they are done.

        Jobs are taken from `jobs` one by one. When the iterator is closed no new job is begun;
        those that run end by themselves.

        Raises
        ------
        Exception
            What the first failing job, or `jobs`, raised.
        """
        done: queue.SimpleQueue[_Outcome[_Result] | None] = queue.SimpleQueue()
        stop = threading.Event()
        shared = _SharedIterator(jobs)

        def work_off() -> None:
            try:
                for job in shared:
                    if stop.is_set():
                        break
                    done.put(_Outcome(value=[work(job)]))
            except BaseException as error:  # noqa: BLE001 (raised by the thread that takes results)
                done.put(_Outcome(error=error))
            done.put(None)

        # Daemons: a process that was interrupted does not wait for them at its end.
        workers = [threading.Thread(target=work_off, daemon=True) for _ in range(self.threads)]
        for worker in workers:
            worker.start()
        try:
            running = len(workers)
            while running:
                try:
                    outcome = done.get(timeout=_WAIT_SECONDS)
                except queue.Empty:
                    continue
                if outcome is None:
                    running -= 1
                elif outcome.error is not None:
                    raise outcome.error
                else:
                    yield from outcome.value
        finally:
            stop.set()


@dataclass(frozen=True)
class _Outcome(Generic[_Result]):
    """What came of one job: one value, or an error."""

    value: Sequence[_Result] = ()
    error: BaseException | None = None


class _SharedIterator(Generic[_Job]):
    """An iterator that several threads take items from."""

    def __init__(self, items: Iterable[_Job]) -> None:
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> Iterator[_Job]:
        return self

    def __next__(self) -> _Job:
        with self._lock:
            return next(self._items)
