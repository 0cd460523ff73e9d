"""Many gzip members read and inflated in one compiled call. Imports numba.

The package `deflate` carries libdeflate, and its extension module shows the library's functions on
Linux and macOS. Called from compiled code they need neither the interpreter lock nor memory of
their own for each chunk: fresh memory costs as much as inflating into it. Where the functions do
not show, `usable` says so, and `inflate` does the work chunk by chunk.
"""

from __future__ import annotations

import ctypes
import gzip
from collections.abc import Callable

import deflate
import numpy as np
from numpy.typing import NDArray

from shardreader.decoding import positioned_read
from shardreader.decoding.gzip_kernels import read_index as index_kernel
from shardreader.decoding.gzip_kernels import read_one as one_kernel
from shardreader.decoding.gzip_kernels import read_some as read_kernel
from shardreader.runtime.compile_lock import compiling

__all__ = [
    "ARENA_BYTES",
    "STORED_BYTES",
    "Take",
    "Workspace",
    "functions",
    "inflate_each",
    "read_each",
    "read_minishard_index",
    "read_one",
    "reads_files",
    "usable",
    "workspace",
]

Take = Callable[
    [NDArray[np.intp], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]],
    NDArray[np.bool_],
]
"""Gets some numbers of chunks, memory with their data as 32-bit words, and the first word and the
number of words of each; says which are done."""
STORED_BYTES = 1 << 20
"""The most stored bytes that a `Workspace` takes at once."""
ARENA_BYTES = 1 << 20
"""The most inflated bytes that it holds at once; they had better stay in a core's cache."""


class Workspace:
    """Memory and a decompressor for one thread at a time, used again and again.

    Attributes
    ----------
    stored, arena : ndarray of uint8
    words, half_words : ndarray of uint64, uint32
        The memory of `arena`.
    held : ndarray of int64, shape (3,)
        What `stored` holds: the number of a file, start and end of a range of it.
    """

    def __init__(self, decompressor: int) -> None:
        self.decompressor = decompressor
        self.stored: NDArray[np.uint8] = np.empty(STORED_BYTES, dtype=np.uint8)
        self.arena: NDArray[np.uint8] = np.empty(ARENA_BYTES, dtype=np.uint8)
        self.words: NDArray[np.uint64] = self.arena.view(np.uint64)
        self.half_words: NDArray[np.uint32] = self.arena.view(np.uint32)
        self.used: NDArray[np.int64] = np.zeros(2, dtype=np.int64)
        self.held: NDArray[np.int64] = np.zeros(3, dtype=np.int64)


def inflate_each(
    space: Workspace,
    stored: NDArray[np.uint8],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    most_bytes: int,
    take: Take,
) -> NDArray[np.bool_]:
    """Hand over all chunks of what was read, an arena full at a time, inflated without the lock.

    Parameters
    ----------
    space : Workspace
    stored : ndarray of uint8
        What was read; may be the workspace's own.
    starts, ends : ndarray of int64, shape (n,)
        Each chunk's part of `stored`, half-open and inside it.
    most_bytes : int
        No chunk may be larger after inflate.
    take : Take

    Returns
    -------
    ndarray of bool, shape (n,)
        Which are done. What is not was not one whole, sound gzip member that fits into the arena,
        or no multiple of 4 bytes, or not to the liking of `take`: `inflate` has to judge it.
    """
    space.held[:] = 0, 0, len(stored)
    all_in_it = np.zeros(len(starts), dtype=np.int64)
    return _each(space, stored, _NO_FILES, all_in_it, starts, ends, most_bytes, take)


def read_each(
    space: Workspace,
    descriptors: NDArray[np.int64],
    file_numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    most_bytes: int,
    take: Take,
) -> NDArray[np.bool_]:
    """As `inflate_each`, of chunks that lie in open files; neighbours are read together.

    Only where `reads_files`.

    Parameters
    ----------
    descriptors : ndarray of int64
        The descriptor of each file; -1 for one that is not to be read.
    file_numbers, starts, ends : ndarray of int64, shape (n,)
        Which of them each chunk is in, and its bytes there; half-open and not empty.
    """
    space.held[0] = -1
    return _each(space, space.stored, descriptors, file_numbers, starts, ends, most_bytes, take)


def _each(
    space: Workspace,
    stored: NDArray[np.uint8],
    descriptors: NDArray[np.int64],
    file_numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    most_bytes: int,
    take: Take,
) -> NDArray[np.bool_]:
    done: NDArray[np.bool_] = np.zeros(len(starts), dtype=np.bool_)
    picked, first_words, lengths = np.empty((3, len(starts)), dtype=np.int64)
    first = 0
    while first < len(starts):
        first, count = read_kernel(
            _functions[2],
            _functions[1],
            space.decompressor,
            descriptors,
            file_numbers,
            starts,
            ends,
            first,
            most_bytes,
            space.held,
            stored,
            space.arena,
            space.used,
            picked,
            first_words,
            lengths,
        )
        some = picked[:count]
        done[some] = take(some, space.half_words, first_words[:count], lengths[:count])
    return done


def read_one(
    space: Workspace, descriptor: int, start: int, end: int, most_bytes: int
) -> NDArray[np.uint32] | None:
    """The words of a single chunk of an open file, as `read_each` hands over many.

    They lie in the workspace, until it is used again. None where `inflate` has to judge the chunk.
    """
    space.held[0] = -1
    length: int = one_kernel(
        _functions[2],
        _functions[1],
        space.decompressor,
        descriptor,
        start,
        end,
        most_bytes,
        space.stored,
        space.arena,
        space.used,
    )
    return None if length < 0 or length & 3 else space.half_words[: length >> 2]


def read_minishard_index(
    space: Workspace,
    descriptor: int,
    file_size: int,
    shard_number: int,
    minishard_number: int,
    form: NDArray[np.int64],
) -> NDArray[np.uint64] | None:
    """Read a minishard index by its entry in the shard index; only where `reads_files`.

    Parameters
    ----------
    space : Workspace
    descriptor, file_size : int
        Of the shard file.
    shard_number, minishard_number : int
    form : ndarray of int64, shape (13,)
        `index_form.index_form`, with at most 63 preshift bits. The hash is the identity.

    Returns
    -------
    ndarray of uint64, shape (5, n), or None
        As `minishard_kernels.parse_sound`. Empty where the entry is. None where anything is
        unusual, for others to say what.
    """
    count: int = index_kernel(
        _functions[2],
        _functions[1],
        space.decompressor,
        descriptor,
        file_size,
        shard_number,
        minishard_number,
        form,
        space.stored,
        space.arena,
        space.words,
        space.used,
    )
    return None if count < 0 else space.words[3 * count : 8 * count].reshape(5, count).copy()


def functions() -> tuple[int, int]:
    """The addresses of ``pread`` and of what inflates a gzip member; only where `reads_files`."""
    return _functions[2], _functions[1]


def usable() -> bool:
    """Whether libdeflate's functions are to be had; found out by inflating something."""
    if not _judged:
        with compiling:  # which a fork waits for
            if not _judged:
                _functions[:] = *_addresses(), positioned_read.address()
                _judged.append(_functions[0] != 0 and _works())
    return _judged[0]


def reads_files() -> bool:
    """Whether `read_each` may be called; only where `usable`."""
    return _functions[2] != 0


class _Borrowed:
    """A workspace for the time of a block; written out, because each read passes here."""

    __slots__ = ("_space",)

    def __enter__(self) -> Workspace:
        try:
            self._space = _idle.pop()
        except IndexError:
            self._space = Workspace(_new_decompressor())
        return self._space

    def __exit__(self, *_: object) -> None:
        _idle.append(self._space)


def workspace() -> _Borrowed:
    """A workspace that nobody else uses meanwhile; only where `usable`."""
    return _Borrowed()


_NO_FILES: NDArray[np.int64] = np.full(1, -1, dtype=np.int64)
# Addresses of `alloc_decompressor`, `gzip_decompress_ex` and `pread`, and whether the first two
# are these.
_functions = [0, 0, 0]
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
    found: list[bytes] = []

    def take(
        rows: NDArray[np.intp],
        words: NDArray[np.uint32],
        first_words: NDArray[np.int64],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        found.extend(words[a : a + n].tobytes() for a, n in zip(first_words, lengths, strict=True))
        return np.ones(len(rows), dtype=np.bool_)

    with workspace() as space:
        read = np.frombuffer(stored, np.uint8)
        done = inflate_each(space, read, starts, ends, len(text), take)
    return done.tolist() == [True, False] and found == [text]
