"""Tries again what may go right the next time, until it is told to stop."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from shardreader.storage.plain_http import TransientError

__all__ = ["Patience", "StoppedError", "Throttle"]

_T = TypeVar("_T")
# Between tries that brought nothing: an outage of a minute and a half is sat out.
RETRY_SECONDS = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 30.0)


class StoppedError(Exception):
    """The fetch ends early. Never leaves the package."""


class Patience:
    """Waits between tries.

    Parameters
    ----------
    stop : threading.Event
        Ends every wait.

    Attributes
    ----------
    retries : int
        So far, by all threads.
    """

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.retries = 0
        self._lock = threading.Lock()

    def wait(self, failed_tries: int, error: TransientError) -> None:
        """Wait after the n-th failure in a row, or give up and raise it."""
        if failed_tries > len(RETRY_SECONDS):
            raise error
        with self._lock:
            self.retries += 1
        # Not all threads at once.
        pause = RETRY_SECONDS[failed_tries - 1] * random.uniform(0.7, 1.3)  # noqa: S311
        if self.stop.wait(pause):
            raise StoppedError

    def call(self, action: Callable[[], _T]) -> _T:
        """Give ``action()``, tried again while it raises `TransientError`."""
        failed = 0
        while True:
            try:
                return action()
            except TransientError as error:
                failed += 1
                self.wait(failed, error)


class Throttle:
    """Keeps all threads together below a rate.

    Parameters
    ----------
    rate : float or None
        Bytes a second; None is no limit.
    stop : threading.Event
    """

    def __init__(self, rate: float | None, stop: threading.Event) -> None:
        self._rate = rate
        self._stop = stop
        self._free_at = 0.0
        self._lock = threading.Lock()

    def take(self, count: int) -> None:
        """Wait until `count` bytes that have come are paid for."""
        if self._rate is None:
            return
        with self._lock:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            pause = self._free_at - now
        if self._stop.wait(pause):
            raise StoppedError
