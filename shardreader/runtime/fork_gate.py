"""Short sections that no fork may cut in two."""

from __future__ import annotations

import os
import threading

__all__ = ["not_forking"]

# Many threads may be in such sections at once; a fork waits until none is, and holds the lock
# meanwhile, so that it is free in the child too.
_lock = threading.Lock()
_changed = threading.Condition(_lock)
_inside = 0
_waiting = 0


class _NotForking:
    """Written out, because a generator takes three times as long and each read passes here."""

    def __enter__(self) -> None:
        global _inside  # noqa: PLW0603 (one process, one count)
        with _lock:
            _inside += 1

    def __exit__(self, *_: object) -> None:
        global _inside  # noqa: PLW0603
        with _lock:
            _inside -= 1
            if _waiting and not _inside:
                _changed.notify_all()


not_forking = _NotForking()
"""No fork happens between the start and the end of a block ``with not_forking``, in any thread.

For taking or giving up a descriptor and noting it: a child closes those that are noted.
"""


def _before() -> None:
    global _waiting  # noqa: PLW0603
    _changed.acquire()
    _waiting += 1
    while _inside:
        _changed.wait()
    _waiting -= 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before, after_in_parent=_changed.release, after_in_child=_changed.release
    )
