"""Many gzip members inflated in one compiled call. Floor 1; imports numba.

The package `deflate` carries libdeflate, and its extension module shows the library's functions on
Linux and macOS. Called from compiled code they need neither the interpreter lock nor memory of
their own for each chunk: fresh memory costs as much as inflating into it. Where the functions do
not show, `usable` says so, and `inflate` does the work chunk by chunk.
"""

from __future__ import annotations

import ctypes
import gzip
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import deflate
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from shardreader.compile_lock import compiling
from shardreader.compiling import compile_cached

__all__ = [
    "ARENA_BYTES",
    "STORED_BYTES",
    "Workspace",
    "inflate_each",
    "inflate_some",
    "usable",
    "workspace",
]

STORED_BYTES = 1 << 20
"""The most stored bytes that a `Workspace` takes at once."""
ARENA_BYTES = 1 << 20
"""The most inflated bytes that it holds at once; they had better stay in a core's cache."""
_WORD = 8
_SMALLEST_GZIP = 18


def _gzip_decompress_ex(
    _context: Any,
    function: Any,  # noqa: ARG001 (numba counts the arguments; the values come to `generate`)
    decompressor: Any,  # noqa: ARG001
    source: Any,  # noqa: ARG001
    source_bytes: Any,  # noqa: ARG001
    target: Any,  # noqa: ARG001
    target_bytes: Any,  # noqa: ARG001
    used: Any,  # noqa: ARG001
) -> tuple[Any, Any]:
    """A call of ``libdeflate_gzip_decompress_ex`` by its address; all arguments are int64."""
    signature = types.int64(*[types.int64] * 7)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        function, decompressor, source, source_bytes, target, target_bytes, used = arguments
        size = ir.IntType(64)
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(
            ir.IntType(32), [pointer, pointer, size, pointer, size, pointer, pointer]
        )

        def at(address: Any, offset: int = 0) -> Any:
            moved = builder.add(address, ir.Constant(size, offset))
            return builder.inttoptr(moved, pointer)

        result = builder.call(
            builder.inttoptr(function, kind.as_pointer()),
            [
                at(decompressor),
                at(source),
                source_bytes,
                at(target),
                target_bytes,
                at(used),
                at(used, _WORD),
            ],
        )
        return builder.sext(result, size)

    return signature, generate


_call: Any = intrinsic(_gzip_decompress_ex)


def _inflate_some(
    function: int,
    decompressor: int,
    stored: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first: int,
    most_bytes: int,
    arena: NDArray[np.uint8],
    used: NDArray[np.int64],
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> int:
    room = np.int64(arena.size)
    at = np.int64(0)
    row = first
    while row < starts.size:
        start, end = starts[row], ends[row]
        offsets[row] = at
        lengths[row] = -1
        if end - start >= _SMALLEST_GZIP:
            length = np.int64(0)
            for byte in range(4):
                length |= np.int64(stored[end - 4 + byte]) << np.int64(8 * byte)
            if 0 < length <= most_bytes and length <= room:
                if length > room - at:
                    return row
                fault = _call(
                    function,
                    decompressor,
                    np.int64(stored.ctypes.data) + start,
                    end - start,
                    np.int64(arena.ctypes.data) + at,
                    length,
                    np.int64(used.ctypes.data),
                )
                if fault == 0 and used[0] == end - start and used[1] == length:
                    lengths[row] = length
                    at += (length + _WORD - 1) // _WORD * _WORD
                    at = min(at, room)
        row += 1
    return row


_integer = types.int64
_integers = types.Array(types.int64, 1, "C")
_ranges = types.Array(types.int64, 1, "C", readonly=True)
_bytes = types.Array(types.uint8, 1, "C")
_kernel = compile_cached(
    _inflate_some,
    _integer(
        _integer,
        _integer,
        types.Array(types.uint8, 1, "C", readonly=True),
        _ranges,
        _ranges,
        _integer,
        _integer,
        _bytes,
        _integers,
        _integers,
        _integers,
    ),
)


class Workspace:
    """Memory and a decompressor for one thread at a time, used again and again.

    Attributes
    ----------
    stored, arena : ndarray of uint8
    """

    def __init__(self, decompressor: int) -> None:
        self.decompressor = decompressor
        self.stored: NDArray[np.uint8] = np.empty(STORED_BYTES, dtype=np.uint8)
        self.arena: NDArray[np.uint8] = np.empty(ARENA_BYTES, dtype=np.uint8)
        self.used: NDArray[np.int64] = np.zeros(2, dtype=np.int64)


def inflate_some(
    space: Workspace,
    stored: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first: int,
    most_bytes: int,
    offsets: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> int:
    """Inflate chunks into the arena, as many as it holds, without the interpreter lock.

    Parameters
    ----------
    space : Workspace
    stored : ndarray of uint8
        What was read; may be the workspace's own.
    starts, ends : ndarray of int64, shape (n,)
        Each chunk's part of `stored`, half-open and inside it.
    first : int
        The chunk to begin with.
    most_bytes : int
        No chunk may be larger after inflate.
    offsets, lengths : ndarray of int64, shape (n,)
        Filled in from `first` on: where in the arena each chunk begins, at a multiple of 8, and
        its length in bytes; -1 where it is not one whole, sound gzip member that fits, which
        `inflate` then has to judge.

    Returns
    -------
    int
        The chunk to go on with, which found no room; n where all are done.
    """
    last: int = _kernel(
        _functions[1],
        space.decompressor,
        stored,
        starts,
        ends,
        first,
        most_bytes,
        space.arena,
        space.used,
        offsets,
        lengths,
    )
    return last


def inflate_each(
    space: Workspace,
    stored: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    most_bytes: int,
    take: Callable[
        [NDArray[np.intp], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]],
        NDArray[np.bool_],
    ],
) -> NDArray[np.bool_]:
    """Hand over all chunks of what was read, an arena full at a time.

    Parameters
    ----------
    space, stored, starts, ends, most_bytes
        As for `inflate_some`.
    take : callable
        Gets some numbers of chunks, memory with their data as 32-bit words, and the first word
        and the number of words of each; says which are done.

    Returns
    -------
    ndarray of bool, shape (n,)
        Which are done. What is not was not sound, no multiple of 4 bytes, or not to the liking of
        `take`.
    """
    offsets, lengths = np.empty_like(starts), np.empty_like(starts)
    done: NDArray[np.bool_] = np.zeros(len(starts), dtype=np.bool_)
    words = space.arena.view(np.uint32)
    first = 0
    while first < len(starts):
        last = inflate_some(space, stored, starts, ends, first, most_bytes, offsets, lengths)
        found = lengths[first:last]
        whole = np.flatnonzero((found > 0) & (found & 3 == 0)) + first
        done[whole] = take(whole, words, offsets[whole] >> 2, lengths[whole] >> 2)
        first = last
    return done


def usable() -> bool:
    """Whether libdeflate's functions are to be had; found out by inflating something."""
    if not _judged:
        with compiling:  # which a fork waits for
            if not _judged:
                _functions[:] = _addresses()
                _judged.append(_functions[0] != 0 and _works())
    return _judged[0]


@contextmanager
def workspace() -> Iterator[Workspace]:
    """A workspace that nobody else uses meanwhile; only where `usable`."""
    try:
        space = _idle.pop()
    except IndexError:
        space = Workspace(_new_decompressor())
    try:
        yield space
    finally:
        _idle.append(space)


# Addresses of `alloc_decompressor` and `gzip_decompress_ex`, and whether they are these.
_functions = [0, 0]
_judged: list[bool] = []
# As many as there ever were threads at work at once.
_idle: list[Workspace] = []


def _addresses() -> tuple[int, int]:
    """Both 0 where they do not show."""
    try:
        library = ctypes.CDLL(deflate._deflate.__file__)  # noqa: SLF001 (its only extension)
        alloc, decompress = (
            ctypes.cast(getattr(library, name), ctypes.c_void_p).value or 0
            for name in ("libdeflate_alloc_decompressor", "libdeflate_gzip_decompress_ex")
        )
    except (OSError, AttributeError):
        return 0, 0
    return (alloc, decompress) if alloc and decompress else (0, 0)


def _new_decompressor() -> int:
    handle: int | None = ctypes.CFUNCTYPE(ctypes.c_void_p)(_functions[0])()
    if not handle:
        raise MemoryError("libdeflate has no memory for a decompressor")
    return handle


def _works() -> bool:
    """Whether the functions are those of the library's documented interface."""
    text = b"0123456789" * 20
    member = gzip.compress(text)
    stored = member + member[-8:]
    starts, ends = np.zeros(2, np.int64), np.array([len(member), len(stored)])
    offsets, lengths = np.zeros(2, np.int64), np.zeros(2, np.int64)
    with workspace() as space:
        space.stored[: len(stored)] = np.frombuffer(stored, np.uint8)
        last = inflate_some(space, space.stored, starts, ends, 0, len(text), offsets, lengths)
        return (
            last == len(ends)
            and lengths.tolist() == [len(text), -1]
            and space.arena[: len(text)].tobytes() == text
        )
