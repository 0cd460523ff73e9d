"""Crack codes: the moves that draw the cracks between the voxels of one slice. Imports numba.

Specification: crackle's README, "Crack Code Format" and "Boundary Structure: Crack Code". A
chain begins at a vertex, of which a slice has one more than voxels along x and y. Moves are
0 up, 1 right, 2 down, 3 left, each stored as the difference from the one before, modulo 4. A
move and its opposite mean no move but a branch (0 2 and 3 1), to which the chain comes back when
a branch ends (2 0 and 1 3). A chain ends with its last branch.
"""

# The types of a kernel are those of the signatures that it is compiled with.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from itertools import permutations

import numpy as np

from shardreader.decoding.crackle.faults import (
    BRANCHES,
    CHAIN_INDEX,
    CHAIN_START,
    CODE_CUT,
    CODE_LEFT_OVER,
    CRACK_OUTSIDE,
    MODEL_ROW,
    OK,
)
from shardreader.runtime.compiling import inlined

__all__ = ["BLANK", "draw_cracks", "number_at"]

BLANK = -1

_UP, _RIGHT, _DOWN, _LEFT = range(4)
_OPPOSITE = 2
_NO_MOVE = -1
_CUT, _NO_ORDER = -1, -2
_INDEX_LENGTH_BYTES = 4
# Row k: the moves from the likeliest on, in the k-th order of 0, 1, 2, 3.
_ORDERS = np.array(list(permutations(range(4))), np.uint8).reshape(-1)
_ORDER_COUNT = 24
_MODEL_ROW_BITS = 5


@inlined
def number_at(encoded, at, width):
    """A number of `width` bytes, lowest first."""
    number = np.int64(0)
    for byte in range(width):
        number |= np.int64(encoded[np.uint64(at + byte)]) << (8 * byte)
    return number


@inlined
def _width_of(largest):
    """Bytes of numbers up to `largest`."""
    return 1 if largest < 1 << 8 else 2 if largest < 1 << 16 else 4 if largest < 1 << 32 else 8


@inlined
def _bit(encoded, at):
    return np.int64(encoded[np.uint64(at >> 3)]) >> (at & 7) & 1


@inlined
def _modelled(encoded, bit, end_bit, model, context):
    """The move that a prefix code stands for, and the bit after it."""
    rank = 0
    while rank < 3:
        if bit >= end_bit:
            return _CUT, bit
        one = _bit(encoded, bit)
        bit += 1
        if one == 0:
            break
        rank += 1
    first = 8 * model + _MODEL_ROW_BITS * context
    number = 0
    for i in range(_MODEL_ROW_BITS):
        number |= _bit(encoded, first + i) << i
    if number >= _ORDER_COUNT:
        return _NO_ORDER - number, bit
    return np.int64(_ORDERS[np.uint64(4 * number + rank)]), bit


@inlined
def _draw(walls, x, y, move, sx, sy, words):
    """Draw the crack of a move from vertex x, y; whether it lies between two voxels.

    Without branches: which way the next move goes cannot be foretold.
    """
    across = move & 1
    column = x - np.int64(move == _LEFT)
    row = y - np.int64(move == _UP)
    inside = (column >= 1 - across) & (column < sx) & (row >= across) & (row < sy)
    if inside:
        at = (row + across * sy) * words + (column >> 6)
        walls[np.uint64(at)] |= np.uint64(1) << np.uint64(column & 63)
    return inside


@inlined
def _next_move(encoded, reader, end, order, model):
    """Read one move: a status, and the reader (next bit, last move, context) after it."""
    bit, last, context = reader
    if order == 0 or last == _NO_MOVE:
        if bit + 2 > 8 * end:
            return CODE_CUT + 16 * end, reader
        step = np.int64(encoded[np.uint64(bit >> 3)]) >> (bit & 7) & 3
        bit += 2
    else:
        step, bit = _modelled(encoded, bit, 8 * end, model, context)
        if step == _CUT:
            return CODE_CUT + 16 * end, reader
        if step < 0:
            return MODEL_ROW + 16 * (_NO_ORDER - step), reader
    # Before the first move the last one counts as 0.
    last = (max(last, 0) + step) & 3
    if order != 0:
        context = context >> 2 | step << (2 * order - 2)
    return OK, (bit, last, context)


@inlined
def _walk(encoded, reader, end, order, model, x, y, sx, sy, words, walls, branches):
    """Draw one chain; a status, and the reader after it."""
    depth = 0
    # A move is drawn once the next one is known not to be its opposite.
    pending = _NO_MOVE
    while True:
        status, reader = _next_move(encoded, reader, end, order, model)
        if status != OK:
            return status, reader
        move = reader[1]
        if pending == _NO_MOVE or move ^ pending != _OPPOSITE:
            if pending != _NO_MOVE:
                if not _draw(walls, x, y, pending, sx, sy, words):
                    return CRACK_OUTSIDE, reader
                x += np.int64(pending == _RIGHT) - np.int64(pending == _LEFT)
                y += np.int64(pending == _DOWN) - np.int64(pending == _UP)
            pending = move
            continue
        pending = _NO_MOVE
        if move in (_DOWN, _RIGHT):
            if depth >= len(branches):
                return BRANCHES, reader
            branches[np.uint64(depth)] = y * (sx + 1) + x
            depth += 1
        elif depth == 0:
            return OK, reader
        else:
            depth -= 1
            x = branches[np.uint64(depth)] % (sx + 1)
            y = branches[np.uint64(depth)] // (sx + 1)


@inlined
def _walk_row(
    encoded, at, index_end, count, reader, end, order, model, y, sx, sy, words, walls, branches
):
    """Draw the chains that begin in one row; a status, and the reader after them."""
    width = _width_of(sx + 1)
    if count > (index_end - at) // width:
        return CHAIN_INDEX, reader
    x = np.int64(0)
    for i in range(count):
        x += number_at(encoded, at + i * width, width)
        if x > sx or y > sy:
            return CHAIN_START, reader
        status, reader = _walk(
            encoded, reader, end, order, model, x, y, sx, sy, words, walls, branches
        )
        if status != OK:
            return status, reader
    return OK, reader


@inlined
def draw_cracks(encoded, start, end, order, model, sx, sy, words, walls, branches):
    """Draw the cracks of a slice, whose code is bytes ``[start, end)``, into bit maps.

    Bit x of row y of the first `sy` rows of `walls`: left of voxel x, y. Of the others: above.
    The status is BLANK where there are none.
    """
    if start == end:
        return BLANK
    x_width, y_width = _width_of(sx + 1), _width_of(sy + 1)
    at = start + _INDEX_LENGTH_BYTES + y_width
    if at > end:
        return CHAIN_INDEX
    index_end = start + _INDEX_LENGTH_BYTES + number_at(encoded, start, _INDEX_LENGTH_BYTES)
    if at > index_end or index_end > end:
        return CHAIN_INDEX
    reader = (8 * index_end, np.int64(_NO_MOVE), np.int64(0))
    y = np.int64(0)
    rows = number_at(encoded, at - y_width, y_width)
    for _ in range(rows):
        if at + y_width + x_width > index_end:
            return CHAIN_INDEX
        y += number_at(encoded, at, y_width)
        count = number_at(encoded, at + y_width, x_width)
        at += y_width + x_width
        status, reader = _walk_row(
            encoded,
            at,
            index_end,
            count,
            reader,
            end,
            order,
            model,
            y,
            sx,
            sy,
            words,
            walls,
            branches,
        )
        if status != OK:
            return status
        at += count * x_width
    left = end - ((reader[0] + 7) >> 3)
    if at != index_end:
        return CHAIN_INDEX
    if left != 0:
        return CODE_LEFT_OVER + 16 * left
    return OK if rows != 0 else BLANK
