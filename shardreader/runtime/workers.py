"""A few threads that work off a list together with the thread that called.

Not `concurrent.futures`: what it does for a single task takes longer than to read and decode a
chunk, and a small box has eight of them.
"""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import Any, TypeVar

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
        self._pool: _Pool | None = None
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
        shared = _Shared(work, listed, min(self.threads, len(listed)) - 1)
        try:
            self._pool_of_threads().help_with(shared)
            shared.work_off()
        finally:
            shared.end()
        if shared.failures:
            raise min(shared.failures, key=lambda failure: failure[0])[1]

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
            _idle[:] = [pool]
        for other in earlier:
            other.stop()

    def _pool_of_threads(self) -> _Pool:
        with self._lock:
            if self._pool is None:
                with _lending:
                    if _idle and _idle[0].most == self.threads - 1:
                        self._pool = _idle.pop()
                        return self._pool
                self._pool = _Pool(self.threads - 1)
            return self._pool


class _Shared:
    """A list that several threads work off."""

    def __init__(self, work: Callable[[Any], None], items: list[Any], helpers: int) -> None:
        self._work = work
        self._queue = deque(enumerate(items))
        self.failures: list[tuple[int, BaseException]] = []
        self.helpers = helpers
        # One for each helper that has not begun: whoever takes it, the helper or the caller that
        # is done without it, decides whether it ever does.
        self._places = deque(range(helpers))
        self._ended: SimpleQueue[None] = SimpleQueue()

    def help(self) -> None:
        """What a thread of the pool does."""
        try:
            self._places.pop()
        except IndexError:
            return
        self.work_off()
        self._ended.put(None)

    def work_off(self) -> None:
        while not self.failures:
            try:
                number, item = self._queue.popleft()
            except IndexError:
                return
            try:
                self._work(item)
            except BaseException as error:  # noqa: BLE001 (raised by `Workers.run`)
                self.failures.append((number, error))

    def end(self) -> None:
        """Let nobody begin any more, and wait for those that have."""
        self._queue.clear()
        begun = self.helpers
        while self._places:
            try:
                self._places.pop()
            except IndexError:
                break
            begun -= 1
        for _ in range(begun):
            self._ended.get()
        # A thread may hold this object a moment longer; the caller's arrays it must not.
        del self._work


class _Pool:
    """Up to `most` threads that help, started when they are first needed."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._wanted: SimpleQueue[_Shared | None] = SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        _pools.add(self)

    def help_with(self, shared: _Shared) -> None:
        """Have as many threads help as it has room for."""
        if len(self._threads) < shared.helpers:
            self._start(shared.helpers)
        for _ in range(min(shared.helpers, len(self._threads))):
            self._wanted.put(shared)

    def _start(self, count: int) -> None:
        with self._lock:
            while len(self._threads) < count:
                # They end with the process, which must not wait for who waits for work.
                thread = threading.Thread(
                    target=_serve, args=(self._wanted,), name="shardreader", daemon=True
                )
                try:
                    thread.start()
                except RuntimeError:
                    # No thread is to be had, or the interpreter is at its end: the caller's does
                    # what is left.
                    return
                self._threads.append(thread)

    def stop(self) -> None:
        """End the threads, and wait for that."""
        self._dismiss()
        for thread in self._threads:
            thread.join()

    def _dismiss(self) -> None:
        for _ in self._threads:
            self._wanted.put(None)

    # Of workers that nobody closed: `put` may be called from wherever an object ends.
    __del__ = _dismiss


def _serve(wanted: SimpleQueue[_Shared | None]) -> None:
    while True:
        shared = wanted.get()
        if shared is None:
            return
        shared.help()
        del shared  # not kept until the next one comes


# At most one pool that nobody uses.
_idle: list[_Pool] = []
_lending = threading.Lock()
_pools: weakref.WeakSet[_Pool] = weakref.WeakSet()


@atexit.register
def _stop_all() -> None:
    """No thread may be in compiled code when its memory goes."""
    for pool in list(_pools):
        pool.stop()


def _forget() -> None:
    """A forked child has none of its parent's threads."""
    _idle.clear()
    _pools.clear()
    _lending.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_lending.acquire, after_in_parent=_lending.release, after_in_child=_forget
    )
