"""Memory for large results, used again when nobody has them any more.

The system clears each page of new memory, which takes as long as to decode into it. So memory of
results that were dropped is kept here for the next ones, marked as free: the system takes it
whenever it is short of memory, and only then.
"""

from __future__ import annotations

import mmap
import os
import sys
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.flat_output import MOST_CACHED_BYTES

__all__ = ["MOST_KEPT_BYTES", "drop_kept", "large_array", "new_array"]

MOST_KEPT_BYTES = 1 << 30
"""Of what is kept, all together; larger results get new memory each time."""
_LINE_BYTES = 64
_HUGE_PAGE_BYTES = 2 << 20
# Windows has neither; there each result gets new memory.
_FREE: int | None = getattr(mmap, "MADV_FREE", None)
_HUGE_PAGES: int | None = getattr(mmap, "MADV_HUGEPAGE", None)
# Appended to and popped from without a lock: results end in any thread, at any time.
_kept: list[mmap.mmap] = []


def new_array(shape: tuple[int, ...], dtype: np.dtype[Any], *, zeroed: bool) -> NDArray[Any]:
    """A new array in Fortran order, a `large_array` where it outgrows the caches."""
    if prod(shape) * dtype.itemsize > MOST_CACHED_BYTES:
        return large_array(shape, dtype, zeroed=zeroed)
    return (np.zeros if zeroed else np.empty)(shape, dtype, order="F")


def large_array(shape: tuple[int, ...], dtype: np.dtype[Any], *, zeroed: bool) -> NDArray[Any]:
    """A new array in Fortran order, whose memory begins at a whole line of the caches.

    Rows of blocks are then whole lines, which kernels write faster.

    Parameters
    ----------
    shape : tuple of int
    dtype : numpy dtype
    zeroed : bool
        Whether it has to be all 0; that is new memory. Else its content is undefined.
    """
    size = prod(shape)
    if _FREE is None:
        return _aligned(shape, dtype)
    length = size * dtype.itemsize + _HUGE_PAGE_BYTES
    mapping = None if zeroed else _take(length)
    if mapping is None:
        try:
            mapping = mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        except OSError:
            return _aligned(shape, dtype)  # says how much memory there is not
        _advise(mapping, _HUGE_PAGES)
    memory = np.asarray(_Memory(mapping, _give_back))[: size * dtype.itemsize]
    array: NDArray[Any] = memory.view(dtype).reshape(shape, order="F")
    return array


def drop_kept() -> None:
    """Give back all that is kept."""
    _kept.clear()


class _Memory:
    """A mapping from its first huge page on, for numpy; given back with the last array of it."""

    def __init__(self, mapping: mmap.mmap, give_back: Callable[[mmap.mmap], None]) -> None:
        first = np.frombuffer(mapping, dtype=np.uint8).ctypes.data
        skipped = -first % _HUGE_PAGE_BYTES
        self._mapping, self._give_back = mapping, give_back
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "data": (first + skipped, False),
            "shape": (len(mapping) - skipped,),
            "typestr": "|u1",
        }

    def __del__(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        # At the end of the process the names of this module may be gone, and all memory goes.
        if not is_finalizing():
            self._give_back(self._mapping)


def _take(length: int) -> mmap.mmap | None:
    """Memory that is long enough, and not twice as long."""
    for _ in range(len(_kept)):
        try:
            mapping = _kept.pop(0)
        except IndexError:
            return None
        if length <= len(mapping) <= 2 * length:
            return mapping
        _kept.append(mapping)
    return None


def _give_back(mapping: mmap.mmap) -> None:
    if len(mapping) > MOST_KEPT_BYTES or not _advise(mapping, _FREE):
        return
    _kept.append(mapping)
    try:
        while sum(map(len, _kept)) > MOST_KEPT_BYTES:
            del _kept[0]
    except IndexError:
        pass  # another thread was faster


def _advise(mapping: mmap.mmap, advice: int | None) -> bool:
    """Whether the system takes the advice; without it memory is slower, and nothing else."""
    if advice is None:
        return False
    try:
        mapping.madvise(advice)
    except OSError:
        return False
    return True


def _aligned(shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
    size = prod(shape)
    line = _LINE_BYTES // dtype.itemsize
    memory = np.zeros(size + line, dtype)
    skipped = -(memory.ctypes.data // dtype.itemsize) % line
    return memory[skipped : skipped + size].reshape(shape, order="F")


if hasattr(os, "register_at_fork"):
    # A child that writes to memory that it shares with its parent would have it copied.
    os.register_at_fork(after_in_child=drop_kept)
