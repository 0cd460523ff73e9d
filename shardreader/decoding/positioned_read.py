"""Reads of open files by position, from compiled code. Imports numba.

``pread`` is called by its address: a reader of many chunks then needs neither the interpreter lock
nor an object of Python for each read. Where the system has no such function (Windows), or its
arguments are not of 64 bits, `address` is 0, and files are read one range at a time by `store`.
"""

from __future__ import annotations

import ctypes
import os
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from shardreader.runtime.compiling import inlined

__all__ = ["address", "read_exactly"]

_MOST_PER_CALL = 1 << 30  # some systems refuse a read of 2 GiB or more


def _pread(
    _context: Any,
    function: Any,  # noqa: ARG001 (numba counts the arguments; the values come to `generate`)
    descriptor: Any,  # noqa: ARG001
    target: Any,  # noqa: ARG001
    length: Any,  # noqa: ARG001
    position: Any,  # noqa: ARG001
) -> tuple[Any, Any]:
    """A call of ``pread`` by its address; all arguments are int64."""
    signature = types.int64(*[types.int64] * 5)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function, descriptor, target, length, position = arguments
        size, pointer = ir.IntType(64), ir.IntType(8).as_pointer()
        kind = ir.FunctionType(size, [ir.IntType(32), pointer, size, size])
        return builder.call(
            builder.inttoptr(function, kind.as_pointer()),
            [
                builder.trunc(descriptor, ir.IntType(32)),
                builder.inttoptr(target, pointer),
                length,
                position,
            ],
        )

    return signature, generate


_call: Any = intrinsic(_pread)


def _read_exactly(function: int, descriptor: int, target: int, length: int, position: int) -> bool:
    """Fill `length` bytes at the address `target`; False where the file or the system does not.

    Whoever gets False reads once more by `store`, which knows why.
    """
    while length > 0:
        count = _call(function, descriptor, target, min(length, _MOST_PER_CALL), position)
        if count <= 0:
            return False
        target += count
        position += count
        length -= count
    return True


read_exactly = inlined(_read_exactly)


def address() -> int:
    """Where ``pread`` is; 0 where it is not to be had."""
    if not hasattr(os, "pread") or ctypes.sizeof(ctypes.c_void_p) != 8:
        return 0
    try:
        function = ctypes.CDLL(None).pread
    except (OSError, AttributeError, TypeError):
        return 0
    return ctypes.cast(function, ctypes.c_void_p).value or 0
