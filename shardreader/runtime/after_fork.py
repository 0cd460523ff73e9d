"""Objects that start anew in a forked child."""

from __future__ import annotations

import os
import weakref
from typing import Protocol

__all__ = ["start_anew_after_fork"]


class _StartsAnew(Protocol):
    def start_anew_in_child(self) -> None:
        """Leave all that a forked child shares with its parent."""


_known: weakref.WeakSet[_StartsAnew] = weakref.WeakSet()


def start_anew_after_fork(thing: _StartsAnew) -> None:
    """Have ``thing.start_anew_in_child()`` called in each forked child, while `thing` lives."""
    _known.add(thing)


def _after_fork() -> None:
    for thing in list(_known):
        thing.start_anew_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
