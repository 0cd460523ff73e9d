"""Short sections that no fork may cut in two. Floor 0."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["not_forking"]

# Many threads may be in such sections at once; a fork waits until none is, and holds the lock
# meanwhile, so that it is free in the child too.
_changed = threading.Condition(threading.Lock())
_inside = 0


@contextmanager
def not_forking() -> Iterator[None]:
    """No fork happens between the start and the end of this block, in any thread.

    For taking or giving up a descriptor and noting it: a child closes those that are noted.
    """
    global _inside  # noqa: PLW0603 (one process, one count)
    with _changed:
        _inside += 1
    try:
        yield
    finally:
        with _changed:
            _inside -= 1
            _changed.notify_all()


def _before() -> None:
    _changed.acquire()
    while _inside:
        _changed.wait()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_changed.release, after_in_child=_changed.release
    )
