"""Many requests in flight from one thread of their own.

Requests are coroutines on an event loop in the background; whoever needs an answer waits for it in
a thread of his own, where Ctrl-C gets through.
"""

from __future__ import annotations

import asyncio
import atexit
import functools
import threading
import time
import weakref
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

__all__ = ["RequestLoop"]

_T = TypeVar("_T")
_END_SECONDS = 5.0
# The client's own threads end their part of a cancelled request after the loop has ended. One that
# still calls Python when the interpreter is taken down ends the process with SIGABRT; nothing tells
# when they are done, and they take about a millisecond.
_SETTLE_SECONDS = 0.05


class RequestLoop:
    """An event loop in a daemon thread; ends when it is closed or forgotten, or with Python.

    Examples
    --------
    >>> loop = RequestLoop()
    >>> async def answer():
    ...     return 42
    >>> loop.start(answer()).result()
    42
    >>> loop.close()
    """

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=_run, args=(self._loop,), name="shardreader-requests", daemon=True
        )
        self._thread.start()
        _LOOPS.add(self)
        _settle_at_exit()
        self._finalizer = weakref.finalize(self, _end, self._loop, self._thread)

    def close(self) -> None:
        """End the loop; what it was doing is cancelled."""
        self._finalizer()

    def abandon(self) -> None:
        """Leave the loop, which is that of the parent, in a forked child."""
        self._finalizer.detach()

    def start(self, work: Coroutine[Any, Any, _T]) -> Future[_T]:
        """Begin to run a coroutine."""
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def call(self, action: Callable[[], object]) -> None:
        """Call something on the loop, soon; nothing happens where it has ended."""
        try:
            self._loop.call_soon_threadsafe(action)
        except RuntimeError:
            return


_LOOPS: weakref.WeakSet[RequestLoop] = weakref.WeakSet()


@functools.cache
def _settle_at_exit() -> None:
    atexit.register(_settle)


def _settle() -> None:
    for loop in list(_LOOPS):
        loop.close()
    time.sleep(_SETTLE_SECONDS)


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(asyncio.sleep(0))  # what was to begin becomes a task
        while tasks := asyncio.all_tasks(loop):
            for task in tasks:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
    finally:
        loop.close()


def _end(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    loop.call_soon_threadsafe(loop.stop)
    if thread is not threading.current_thread():
        thread.join(_END_SECONDS)
