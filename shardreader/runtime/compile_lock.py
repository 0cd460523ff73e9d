"""One lock around every import of numba and every compilation.

A fork waits for it, because numba's own locks would stay locked for ever in a child that was
forked while another thread compiled.
"""

from __future__ import annotations

# Hooks run before a fork in the reverse order of their registration: those of these two modules,
# whose locks an import of numba takes, must come after ours, so that they are registered first.
import concurrent.futures.thread
import logging
import os
import threading

__all__ = ["compiling"]

compiling = threading.Lock()
# Another library's hook may hold what the compiling thread waits for; then the fork goes on.
_LONGEST_WAIT_SECONDS = 60
_held: list[bool] = []


def _before() -> None:
    _held.append(compiling.acquire(timeout=_LONGEST_WAIT_SECONDS))


def _after() -> None:
    if _held.pop():
        compiling.release()


if hasattr(os, "register_at_fork"):
    # Named, because they are imported for their hooks alone.
    _ = (concurrent.futures.thread, logging)
    os.register_at_fork(before=_before, after_in_parent=_after, after_in_child=_after)
