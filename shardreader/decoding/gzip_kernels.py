"""Inflating gzip members, and reading them from files, in compiled code. Imports numba.

libdeflate's functions are called by their addresses; `libdeflate` finds these, and has the memory.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from shardreader.decoding import positioned_read
from shardreader.decoding.positioned_read import read_exactly
from shardreader.format import index_form, shard_index_kernels
from shardreader.format.index_form import INDEX_END, IS_GZIP, MOST_BYTES, MOST_STORED_BYTES
from shardreader.format.shard_index_kernels import parse_words
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["inlined_read_one", "read_index", "read_one", "read_some"]

_WORD = 8
_SMALLEST_GZIP = 18
_UNSOUND, _NO_ROOM = -1, -2
_GAP = 4096  # to read what lies between costs less than another call


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


def _inflate_one(
    function: int,
    decompressor: int,
    stored: NDArray[np.uint8],
    start: int,
    end: int,
    most_bytes: int,
    arena: NDArray[np.uint8],
    at: int,
    used: NDArray[np.int64],
) -> int:
    """Inflate ``stored[start:end]`` to ``arena[at:]``: its length, _NO_ROOM or _UNSOUND."""
    if end - start < _SMALLEST_GZIP:
        return _UNSOUND
    length = np.int64(0)
    for byte in range(4):
        length |= np.int64(stored[end - 4 + byte]) << np.int64(8 * byte)
    if not 0 < length <= most_bytes or length > arena.size:
        return _UNSOUND
    if length > arena.size - at:
        return _NO_ROOM
    fault = _call(
        function,
        decompressor,
        np.int64(stored.ctypes.data) + start,
        end - start,
        np.int64(arena.ctypes.data) + at,
        length,
        np.int64(used.ctypes.data),
    )
    return length if fault == 0 and used[0] == end - start and used[1] == length else _UNSOUND


inflate_one = inlined(_inflate_one)


def _read_some(
    pread: int,
    function: int,
    decompressor: int,
    descriptors: NDArray[np.int64],
    file_numbers: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    first: int,
    most_bytes: int,
    held: NDArray[np.int64],
    stored: NDArray[np.uint8],
    arena: NDArray[np.uint8],
    used: NDArray[np.int64],
    picked: NDArray[np.int64],
    first_words: NDArray[np.int64],
    lengths: NDArray[np.int64],
) -> tuple[int, int]:
    """See `libdeflate.read_each`: the chunk to go on with, and how many of them were inflated."""
    at = np.int64(0)
    count = 0
    row = first
    # A bad sector fails the reads of those that lie up to here if they are joined.
    alone_file, alone_end = np.int64(-1), np.int64(0)
    while row < starts.size:
        file, start, end = file_numbers[row], starts[row], ends[row]
        if held[0] != file or start < held[1] or end > held[2]:
            if descriptors[file] < 0 or end - start > stored.size:
                row += 1
                continue
            reach = end
            later = row + 1
            while (
                (file != alone_file or start >= alone_end)
                and later < starts.size
                and file_numbers[later] == file
                and reach <= starts[later] <= reach + _GAP
                and ends[later] - start <= stored.size
            ):
                reach = ends[later]
                later += 1
            held[0] = -1
            target = np.int64(stored.ctypes.data)
            if not read_exactly(pread, descriptors[file], target, reach - start, start):
                if reach > end:
                    alone_file, alone_end = file, reach
                else:
                    row += 1
                continue
            held[0], held[1], held[2] = file, start, reach
        length = inflate_one(
            function,
            decompressor,
            stored,
            start - held[1],
            end - held[1],
            most_bytes,
            arena,
            at,
            used,
        )
        if length == _NO_ROOM:
            break
        if length > 0 and length & 3 == 0:
            picked[count] = row
            first_words[count] = at >> 2
            lengths[count] = length >> 2
            count += 1
            at = min((at + length + _WORD - 1) // _WORD * _WORD, np.int64(arena.size))
        row += 1
    return row, count


def _read_one(
    pread: int,
    function: int,
    decompressor: int,
    descriptor: int,
    start: int,
    end: int,
    most_bytes: int,
    stored: NDArray[np.uint8],
    arena: NDArray[np.uint8],
    used: NDArray[np.int64],
) -> int:
    """Read one chunk and inflate it to the start of `arena`: its length, or less than 0."""
    length = end - start
    if length > stored.size or not read_exactly(
        pread, descriptor, np.int64(stored.ctypes.data), length, start
    ):
        return _UNSOUND
    zero = np.int64(0)
    return inflate_one(function, decompressor, stored, zero, length, most_bytes, arena, zero, used)


inlined_read_one = inlined(_read_one)


def _word_at(stored: NDArray[np.uint8], at: int) -> int:
    word: Any = np.int64(0)
    for byte in range(8):
        word |= np.int64(stored[at + byte]) << np.int64(8 * byte)
    return int(word)


word_at = inlined(_word_at)


def _read_index(
    pread: int,
    function: int,
    decompressor: int,
    descriptor: int,
    file_size: int,
    shard_number: int,
    minishard_number: int,
    form: NDArray[np.int64],
    stored: NDArray[np.uint8],
    arena: NDArray[np.uint8],
    words: NDArray[np.uint64],
    used: NDArray[np.int64],
) -> int:
    """Read a minishard index, by its entry in the shard index, to the start of `arena`, and parse.

    The number of its chunks; 0 where the entry is empty, _UNSOUND where anything is unusual. What
    was parsed lies in `words` behind the three words of each chunk.
    """
    shard_index_end, is_gzip = form[INDEX_END], form[IS_GZIP]
    most_stored, most_bytes = form[MOST_STORED_BYTES], form[MOST_BYTES]
    memory = stored if is_gzip else arena
    target = np.int64(memory.ctypes.data)
    if file_size < shard_index_end or not read_exactly(
        pread, descriptor, target, 16, 16 * minishard_number
    ):
        return _UNSOUND
    start, end = word_at(memory, 0), word_at(memory, 8)
    if start == end:
        return 0
    if not 0 <= start < end <= file_size - shard_index_end:
        return _UNSOUND
    length = end - start
    if length > min(most_stored, memory.size):
        return _UNSOUND
    if not read_exactly(pread, descriptor, target, length, shard_index_end + start):
        return _UNSOUND
    if is_gzip:
        zero = np.int64(0)
        length = inflate_one(
            function, decompressor, stored, zero, length, most_bytes, arena, zero, used
        )
    count = length // 24
    if length <= 0 or length % 24 or 8 * count > words.size:
        return _UNSOUND
    sound = parse_words(
        words,
        count,
        form,
        file_size,
        shard_number,
        minishard_number,
        words,
        3 * count,
    )
    return count if sound else _UNSOUND


_integer = types.int64
_integers = types.Array(types.int64, 1, "C")
_ranges = types.Array(types.int64, 1, "C", readonly=True)
_bytes = types.Array(types.uint8, 1, "C")
read_some = compile_cached(
    _read_some,
    types.UniTuple(_integer, 2)(  # type: ignore[no-untyped-call]
        *[_integer] * 3,
        *[_ranges] * 4,
        _integer,
        _integer,
        _integers,
        types.Array(types.uint8, 1, "C", readonly=True),  # written to by its address alone
        _bytes,
        *[_integers] * 4,
    ),
    parts=(positioned_read,),
)
read_one = compile_cached(
    _read_one,
    _integer(*[_integer] * 7, _bytes, _bytes, _integers),
    parts=(positioned_read,),
)
read_index = compile_cached(
    _read_index,
    _integer(
        *[_integer] * 5,
        *(types.uint64, _integer, _ranges),
        *(_bytes, _bytes, types.Array(types.uint64, 1, "C"), _integers),
    ),
    parts=(positioned_read, shard_index_kernels, index_form),
)
