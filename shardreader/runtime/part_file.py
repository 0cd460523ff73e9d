"""The calls of the operating system that a file in the making needs."""

from __future__ import annotations

import os
import stat

__all__ = ["is_occupied", "open_part", "write_all"]

_OPEN = os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


def open_part(path: str) -> int:
    """Open a file for reading and writing, with whatever is in it."""
    return os.open(path, _OPEN, 0o666)


def is_occupied(path: str) -> bool:
    """Whether something that is no regular file has this name."""
    try:
        return not stat.S_ISREG(os.stat(path).st_mode)
    except FileNotFoundError:
        return False


def write_all(file: int, data: bytes) -> None:
    """Write all of the bytes at the present position."""
    view = memoryview(data)
    while view:
        view = view[os.write(file, view) :]
