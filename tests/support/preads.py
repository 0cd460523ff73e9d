"""Puts a function of Python in the place of ``pread``, for compiled code too."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

import pytest

from shardreader.decoding import libdeflate

Pread = Callable[[int, int, int], bytes]
"""Descriptor, length, position."""

_Callback = ctypes.CFUNCTYPE(
    ctypes.c_ssize_t, ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_ssize_t
)
true_pread: Pread | None = getattr(os, "pread", None)
# ctypes frees a callback that nobody holds.
_callbacks: list[Any] = []


def replace_pread(patch: pytest.MonkeyPatch, pread: Pread) -> None:
    """Have all reads of local files go through `pread`.

    An exception reaches compiled code as a refusal of the system; the reader then asks once more
    by ``os.pread``, where it is raised.
    """

    def called(descriptor: int, target: int, length: int, position: int) -> int:
        try:
            data = pread(descriptor, length, position)
        except BaseException:
            return -1
        ctypes.memmove(target, data, len(data))
        return len(data)

    if true_pread is not None:
        patch.setattr(os, "pread", pread)
    if libdeflate.usable() and libdeflate.reads_files():
        callback = _Callback(called)
        _callbacks.append(callback)
        address = ctypes.cast(callback, ctypes.c_void_p).value
        patch.setattr(libdeflate, "_functions", [*libdeflate._functions[:2], address])
