"""A few threads that work off a list together with the thread that called. Floor 1."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import TypeVar

__all__ = ["Workers", "cores"]

_T = TypeVar("_T")


def cores() -> int:
    """How many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Workers:
    """Runs a function over items on up to `threads` threads, the caller's own among them.

    The pool is made on first use, and not at all for one thread or one item, so that a single
    lookup never waits for another thread.
    """

    def __init__(self, threads: int) -> None:
        self.threads = threads
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()

    def run(self, work: Callable[[_T], None], items: Iterable[_T]) -> None:
        """Call ``work(item)`` for each item; after an error no new item is begun.

        Raises
        ------
        Exception
            What the earliest of the failed items raised, when all running ones are done.
        """
        listed = list(items)
        if self.threads == 1 or len(listed) < 2:
            for item in listed:
                work(item)
            return
        queue = deque(enumerate(listed))
        failures: list[tuple[int, BaseException]] = []

        def work_off() -> None:
            while not failures:
                try:
                    number, item = queue.popleft()
                except IndexError:
                    return
                try:
                    work(item)
                except BaseException as error:  # noqa: BLE001 (raised by run below)
                    failures.append((number, error))

        futures = self._start(work_off, min(self.threads, len(queue)) - 1)
        try:
            work_off()
        finally:
            queue.clear()
            wait(futures)
        if failures:
            raise min(failures, key=lambda failure: failure[0])[1]

    def close(self) -> None:
        """Give up the pool; a later `run` gets another.

        The threads of the last one stay for whoever comes next: to start one takes as long as
        reading a chunk, and pipelines open a volume for each of their tasks.
        """
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is None:
            return
        with _lending:
            earlier = _idle[:]
            _idle[:] = [(self.threads, pool)]
        for _, other in earlier:
            other.shutdown(wait=True)

    def _start(self, work_off: Callable[[], None], helpers: int) -> list[Future[None]]:
        futures: list[Future[None]] = []
        try:
            for _ in range(helpers):
                futures.append(self._executor().submit(work_off))  # noqa: PERF401 (may raise)
        except RuntimeError:
            # The pool or the interpreter is shutting down: the caller's thread does what is left.
            pass
        return futures

    def _executor(self) -> ThreadPoolExecutor:
        with self._lock:
            if self._pool is None:
                with _lending:
                    if _idle and _idle[0][0] == self.threads:
                        self._pool = _idle.pop()[1]
                        return self._pool
                self._pool = ThreadPoolExecutor(self.threads - 1, "shardreader")
            return self._pool


# At most one pool that nobody uses, and its number of threads with that of its caller.
_idle: list[tuple[int, ThreadPoolExecutor]] = []
_lending = threading.Lock()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    _idle.clear()
    _lending.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lending.acquire, after_in_parent=_lending.release, after_in_child=_forget
    )
