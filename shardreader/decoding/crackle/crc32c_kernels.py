"""CRC-32C of memory, in compiled code. Importing this imports numba.

x86 has an instruction for it, which takes eight bytes a step; elsewhere tables do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target
from numba.extending import intrinsic
from numpy.typing import NDArray

from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["CRC_START", "compile_crc32c", "crc32c_of", "updated_crc"]

CRC_START = 0xFFFFFFFF
_POLYNOMIAL = 0x82F63B78  # Castagnoli's, lowest bit first
_TRIPLE, _, _FEATURES = cpu_target.target_context.codegen().magic_tuple()
# What the code is compiled for, which an environment variable may make less than this processor.
HAS_INSTRUCTION = _TRIPLE.startswith(("x86_64", "amd64")) and "+sse4.2" in _FEATURES.split(",")


def _make_tables() -> NDArray[np.uint32]:
    """Row k: what a byte adds that k more bytes follow."""
    tables = np.zeros((8, 256), np.uint32)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_POLYNOMIAL if crc & 1 else 0)
        tables[0, byte] = crc
    for row in range(1, 8):
        before = tables[row - 1]
        tables[row] = before >> 8 ^ tables[0, before & 0xFF]
    return tables


_TABLES = _make_tables()


def _load_word(_context: Any, array: Any, at: Any) -> tuple[Any, Any]:
    """Eight bytes of an array's memory from byte `at` (uint64) on, not aligned."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        first = builder.bitcast(data, ir.IntType(8).as_pointer())
        word = builder.bitcast(builder.gep(first, [arguments[1]]), ir.IntType(64).as_pointer())
        return builder.load(word, align=1)

    return types.uint64(array, at), generate


def _load_byte(_context: Any, array: Any, at: Any) -> tuple[Any, Any]:
    """Byte `at` (uint64) of an array's memory."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        first = builder.bitcast(data, ir.IntType(8).as_pointer())
        return builder.load(builder.gep(first, [arguments[1]]))

    return types.uint8(array, at), generate


def _crc_of_word(_context: Any, crc: Any, word: Any) -> tuple[Any, Any]:
    """One step of the instruction; both are uint64."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        long = ir.IntType(64)
        function = builder.module.declare_intrinsic(
            "llvm.x86.sse42.crc32.64.64", fnty=ir.FunctionType(long, [long, long])
        )
        return builder.call(function, arguments)

    return types.uint64(crc, word), generate


load_word: Any = intrinsic(_load_word)
load_byte: Any = intrinsic(_load_byte)
crc_of_word: Any = intrinsic(_crc_of_word)


def _updated_crc(crc: int, memory: NDArray[Any], start: int, count: int) -> int:
    """Go on with a CRC (uint64, not yet inverted) over `count` bytes from byte `start` on."""
    at = np.uint64(start)
    for _ in range(count >> 3):
        word = load_word(memory, at)
        if HAS_INSTRUCTION:
            crc = crc_of_word(crc, word)
        else:
            word ^= crc
            crc = np.uint64(0)
            for byte in range(8):
                part = word >> np.uint64(8 * byte) & np.uint64(0xFF)
                crc ^= np.uint64(_TABLES[np.uint64(7 - byte), part])
        at += np.uint64(8)
    for _ in range(count & 7):
        part = (crc ^ np.uint64(load_byte(memory, at))) & np.uint64(0xFF)
        crc = crc >> np.uint64(8) ^ np.uint64(_TABLES[np.uint64(0), part])
        at += np.uint64(1)
    return crc


updated_crc = inlined(_updated_crc)


def crc32c_of(encoded: NDArray[np.uint8], start: int, end: int) -> int:
    """The CRC-32C of bytes ``[start, end)``, which must lie inside; this is not checked."""
    crc = updated_crc(np.uint64(CRC_START), encoded, start, end - start)
    return int(crc ^ np.uint64(CRC_START))


def compile_crc32c() -> Callable[..., int]:
    """Compile `crc32c_of`, or take it from numba's cache."""
    encoded = types.Array(types.uint8, 1, "C", readonly=True)
    return compile_cached(crc32c_of, types.int64(encoded, types.int64, types.int64))
