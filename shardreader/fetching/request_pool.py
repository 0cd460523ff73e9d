"""Threads that send requests for all shards of a fetch together.

The threads are daemons: one that waits for the network keeps no process alive.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from shardreader.storage.retrying import StoppedError

__all__ = ["RequestPool"]

_T = TypeVar("_T")
_R = TypeVar("_R")
_LOOK_SECONDS = 0.1


class _Call(Generic[_T, _R]):
    """One `RequestPool.run`."""

    def __init__(self, action: Callable[[_T], _R], items: Sequence[_T]) -> None:
        self.action = action
        self.items = items
        self.results: dict[int, _R] = {}
        self.error: BaseException | None = None
        self.left = len(items)
        self.done = threading.Event()
        self._lock = threading.Lock()

    def work(self, number: int) -> None:
        result: list[_R] = []
        error: BaseException | None = None
        try:
            if self.error is None:
                result.append(self.action(self.items[number]))
        except BaseException as caught:  # noqa: BLE001 (raised by the thread that waits)
            error = caught
        with self._lock:
            self.error = self.error or error
            if result:
                self.results[number] = result[0]
            self.left -= 1
            if self.left == 0:
                self.done.set()


class RequestPool:
    """Runs actions on some threads that all callers share.

    Parameters
    ----------
    threads : int
        Actions that run at a time.
    stop : threading.Event
        Ends every wait.

    Examples
    --------
    >>> pool = RequestPool(2, threading.Event())
    >>> pool.run(lambda number: number * number, [1, 2, 3])
    [1, 4, 9]
    """

    def __init__(self, threads: int, stop: threading.Event) -> None:
        self._work: queue.SimpleQueue[tuple[_Call[Any, Any], int]] = queue.SimpleQueue()
        self._stop = stop
        self._left_to_start = threads
        self._lock = threading.Lock()

    def run(self, action: Callable[[_T], _R], items: Sequence[_T]) -> list[_R]:
        """The results of ``action(item)``, in the order of the items.

        Raises
        ------
        Exception
            What the first of the failed items raised; no further one is begun.
        StoppedError
            The fetch ends early.
        """
        if not items:
            return []
        call = _Call(action, items)
        self._start(len(items))
        for number in range(len(items)):
            self._work.put((call, number))
        while not call.done.wait(_LOOK_SECONDS):
            if self._stop.is_set():
                raise StoppedError
        if call.error is not None:
            raise call.error
        return [call.results[number] for number in range(len(items))]

    def _start(self, wanted: int) -> None:
        with self._lock:
            count = min(wanted, self._left_to_start)
            self._left_to_start -= count
        for _ in range(count):
            threading.Thread(target=self._work_off, daemon=True).start()

    def _work_off(self) -> None:
        while not self._stop.is_set():
            try:
                call, number = self._work.get(timeout=_LOOK_SECONDS)
            except queue.Empty:
                continue
            call.work(number)
