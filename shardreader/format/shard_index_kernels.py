"""A minishard index that is as it should be, read and searched in one compiled call.

Imports numba. Whatever is unusual is left to `shard_index`, which says what is wrong.
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.format import index_form
from shardreader.format.index_form import (
    ID_LIMITS,
    INDEX_END,
    MINISHARD_BITS,
    PRESHIFT_BITS,
    SHARD_BITS,
)
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["find_all", "find_one", "parse_sound", "parse_words"]


def _parse_sound(
    rows: NDArray[np.uint64],
    count: int,
    form: NDArray[np.int64],
    file_size: int,
    shard_number: int,
    minishard_number: int,
    table: NDArray[np.uint64],
    at: int,
) -> bool:
    """Parse ``rows[: 3 * count]`` to ``table[at : at + 5 * count]``; see `parse_sound`."""
    one = np.uint64(1)
    shard_index_end, preshift_bits = form[INDEX_END], form[PRESHIFT_BITS]
    minishard_bits, shard_bits = form[MINISHARD_BITS], form[SHARD_BITS]
    mask_x, mask_y, mask_z = (
        np.uint64(form[ID_LIMITS]),
        np.uint64(form[ID_LIMITS + 1]),
        np.uint64(form[ID_LIMITS + 2]),
    )
    top_x, top_y, top_z = (
        np.uint64(form[ID_LIMITS + 3]),
        np.uint64(form[ID_LIMITS + 4]),
        np.uint64(form[ID_LIMITS + 5]),
    )
    beyond = ~(mask_x | mask_y | mask_z)
    index_end = np.uint64(shard_index_end)
    available = np.uint64(file_size - shard_index_end)
    minishard_mask = (one << np.uint64(minishard_bits)) - one
    shard_mask = (one << np.uint64(shard_bits)) - one if shard_bits < 64 else ~np.uint64(0)
    chunk_id = offset = reach = np.uint64(0)
    for i in range(count):
        before = chunk_id
        chunk_id += rows[i]
        offset += rows[count + i]
        size = rows[2 * count + i]
        hashed = chunk_id >> np.uint64(preshift_bits)
        if (
            (i > 0 and chunk_id <= before)
            or (hashed & minishard_mask) != np.uint64(minishard_number)
            or ((hashed >> np.uint64(minishard_bits)) & shard_mask) != np.uint64(shard_number)
            or (chunk_id & beyond) != 0
            or (chunk_id & mask_x) > top_x
            or (chunk_id & mask_y) > top_y
            or (chunk_id & mask_z) > top_z
            or offset < reach
            or offset > available
            or size == 0
            or size > available - offset
        ):
            return False
        table[at + i] = chunk_id
        table[at + count + i] = index_end + offset
        table[at + 2 * count + i] = index_end + offset + size
        table[at + 3 * count + i] = offset
        table[at + 4 * count + i] = size
        offset += size
        reach = offset
    return True


parse_words = inlined(_parse_sound)


def _position(table: NDArray[np.uint64], key: int) -> int:
    """Where an id stands in the first row, -1 where it does not."""
    low, high = 0, table.shape[1]
    while low < high:
        middle = (low + high) >> 1
        if table[0, middle] < key:
            low = middle + 1
        else:
            high = middle
    return low if low < table.shape[1] and table[0, low] == key else -1


_inlined_position = inlined(_position)


def _find_one(table: NDArray[np.uint64], key: int) -> tuple[int, int]:
    at = _inlined_position(table, key)
    if at < 0:
        return np.int64(0), np.int64(0)
    return np.int64(table[1, at]), np.int64(table[2, at])


def _find_all(
    table: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    rows: NDArray[np.int64],
    found_starts: NDArray[np.int64],
    found_ends: NDArray[np.int64],
) -> bool:
    for i in range(rows.size):
        row = rows[i]
        at = _inlined_position(table, keys[row])
        if at < 0:
            return False
        found_starts[row], found_ends[row] = table[1, at], table[2, at]
    return True


_word = types.uint64
_words = types.Array(types.uint64, 1, "C", readonly=True)
_integers = types.Array(types.int64, 1, "C", readonly=True)
_parse = compile_cached(
    _parse_sound,
    types.boolean(
        *(_words, types.int64, _integers, types.int64, _word, types.int64),
        *(types.Array(types.uint64, 1, "C"), types.int64),
    ),
    nogil=False,
    parts=(index_form,),
)
_sorted = types.Array(types.uint64, 2, "C", readonly=True)
find_one = compile_cached(
    _find_one,
    types.UniTuple(types.int64, 2)(_sorted, _word),  # type: ignore[no-untyped-call]
    nogil=False,
)
_find = compile_cached(
    _find_all,
    types.boolean(_sorted, _words, _integers, *[types.Array(types.int64, 1, "C")] * 2),
    nogil=False,
)


def parse_sound(
    rows: NDArray[np.uint64],
    form: NDArray[np.int64],
    *,
    file_size: int,
    shard_number: int,
    minishard_number: int,
) -> NDArray[np.uint64] | None:
    """Parse a minishard index of the identity hash that writers in use would write.

    Parameters
    ----------
    rows : ndarray of uint64, shape (3 n,)
        Little-endian, as they are after inflate.
    form : ndarray of int64, shape (13,)
        `index_form.index_form`.
    file_size : int
        In bytes.
    shard_number, minishard_number : int

    Returns
    -------
    ndarray of uint64, shape (5, n), or None
        Chunk ids, starts and ends in the file, offsets and sizes as the entries say. None unless
        the ids ascend, belong to this shard and minishard and are those of cells in the grid, and
        the byte ranges are not empty, lie in the file and follow each other.
    """
    if form[PRESHIFT_BITS] > 63 or not rows.flags.aligned or file_size < form[INDEX_END]:
        return None
    count = len(rows) // 3
    table: NDArray[np.uint64] = np.empty(5 * count, dtype=np.uint64)
    sound = _parse(
        rows,
        count,
        form,
        file_size,
        shard_number,
        minishard_number,
        table,
        0,
    )
    return table.reshape(5, count) if sound else None


def find_all(
    table: NDArray[np.uint64],
    keys: NDArray[np.uint64],
    rows: NDArray[np.int64],
    found_starts: NDArray[np.int64],
    found_ends: NDArray[np.int64],
) -> bool:
    """Look up the byte ranges of ``keys[rows]`` in what `parse_sound` gave.

    Returns
    -------
    bool
        Whether all are there; then ``found_starts[rows]`` and ``found_ends[rows]`` are theirs.
    """
    every: bool = _find(table, keys, rows, found_starts, found_ends)
    return every
