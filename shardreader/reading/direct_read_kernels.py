"""Reads of few chunks: which these are, and their labels, each in one compiled call.

Imports numba. int64 and uint64 are not mixed here: to numba the result would be a float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from shardreader.chunks.chunk_cache import MIX, SLOT_SHIFT
from shardreader.decoding import gzip_kernels, positioned_read
from shardreader.decoding.cseg import faults, kernels, stores
from shardreader.decoding.gzip_kernels import inlined_read_one
from shardreader.format import index_form
from shardreader.format.grid import Triple
from shardreader.format.index_form import MINISHARD_BITS, PRESHIFT_BITS, SHARD_BITS
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["compile_kernel", "look", "plan_box"]

_decode_box: Any = inlined(kernels.decode_box)
_read_voxels: Any = inlined(kernels.read_voxels)


def _next_of(_context: Any, _address: Any) -> tuple[Any, Any]:
    """Add 1 to the int64 at an address as one step for all threads; what it was before."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        word = ir.IntType(64)
        place = builder.inttoptr(arguments[0], word.as_pointer())
        return builder.atomic_rmw("add", place, ir.Constant(word, 1), "monotonic")

    return types.int64(types.int64), generate


_take_next: Any = intrinsic(_next_of)


@inlined
def _morton(x: int, y: int, z: int, grid_size: Triple) -> Any:
    """The compressed Morton code; sharded.md, "Chunk identifiers"."""
    cell = (np.uint64(x), np.uint64(y), np.uint64(z))
    code = np.uint64(0)
    position = np.uint64(0)
    one = np.uint64(1)
    most = max(grid_size[0], grid_size[1], grid_size[2])
    bit = np.uint64(0)
    while np.int64(1) << np.int64(bit) < most:
        for axis in range(3):
            if np.int64(1) << np.int64(bit) < grid_size[axis]:
                code |= ((cell[axis] >> bit) & one) << position
                position += one
        bit += one
    return code


@inlined
def _along(
    cell: int, grid: NDArray[np.int64], axis: int, lower: int, upper: int
) -> tuple[int, int, int, int]:
    """Along one axis: the extent of a cell, the part ``[lower, upper)`` in it, and its place."""
    corner = grid[0, axis] + cell * grid[2, axis]
    end = min(corner + grid[2, axis], grid[1, axis])
    first = max(corner, lower)
    return end - corner, first - corner, min(end, upper) - corner, first - lower


def _plan_box(
    grid: NDArray[np.int64],
    grid_size: Triple,
    form: NDArray[np.int64],
    first_cell: Triple,
    counts: Triple,
    lower: Triple,
    upper: Triple,
    start: int,
    strides: Triple,
    parts: NDArray[np.int64],
    out_firsts: NDArray[np.int64],
    keys: NDArray[np.uint64],
    order: NDArray[np.int64],
    runs: NDArray[np.uint64],
) -> int:
    """List the chunks of a box, x fastest, and the minishards that would hold them.

    Parameters
    ----------
    grid : ndarray of int64, shape (4, 3)
        `ChunkGrid.table`.
    form : ndarray of int64, shape (13,)
        `index_form.index_form`.
    first_cell, counts : three ints
        The cells that the box touches.
    start, strides
        Of the output: the item for `lower`, and the steps along x, y and z.
    parts : ndarray of int64, shape (3, n, 3)
        Becomes the clipped shapes of the chunks, and the corners of their parts of the box.
    out_firsts : ndarray of int64, shape (n,)
        Becomes the items of the output for the first voxels of these parts.
    keys : ndarray of uint64, shape (n,)
        Becomes the chunk ids.
    order : ndarray of int64, shape (n,)
        Becomes the chunks by shard, minishard and id.
    runs : ndarray of uint64, shape (n, 3)
        Becomes shard, minishard, and the end in `order` of those that are in one minishard.

    Returns
    -------
    int
        The number of runs.
    """
    row = np.int64(0)
    for cell_z in range(first_cell[2], first_cell[2] + counts[2]):
        shape_z, low_z, high_z, at_z = _along(cell_z, grid, 2, lower[2], upper[2])
        for cell_y in range(first_cell[1], first_cell[1] + counts[1]):
            shape_y, low_y, high_y, at_y = _along(cell_y, grid, 1, lower[1], upper[1])
            for cell_x in range(first_cell[0], first_cell[0] + counts[0]):
                shape_x, low_x, high_x, at_x = _along(cell_x, grid, 0, lower[0], upper[0])
                parts[0, row, 0], parts[0, row, 1], parts[0, row, 2] = shape_x, shape_y, shape_z
                parts[1, row, 0], parts[1, row, 1], parts[1, row, 2] = low_x, low_y, low_z
                parts[2, row, 0], parts[2, row, 1], parts[2, row, 2] = high_x, high_y, high_z
                out_firsts[row] = start + at_x * strides[0] + at_y * strides[1] + at_z * strides[2]
                keys[row] = _morton(cell_x, cell_y, cell_z, grid_size)
                row += 1
    preshift, minishard_bits = np.uint64(form[PRESHIFT_BITS]), np.uint64(form[MINISHARD_BITS])
    both = np.uint64(form[MINISHARD_BITS] + form[SHARD_BITS])
    one = np.uint64(1)
    mask = (one << both) - one if both < 64 else ~np.uint64(0)
    for at in range(row):
        slot = (keys[at] >> preshift) & mask
        place = at
        while place > 0:
            before = order[place - 1]
            slot_before = (keys[before] >> preshift) & mask
            if slot_before < slot or (slot_before == slot and keys[before] < keys[at]):
                break
            order[place] = before
            place -= 1
        order[place] = at
    count = np.int64(0)
    for at in range(row):
        slot = (keys[order[at]] >> preshift) & mask
        shard, minishard = slot >> minishard_bits, slot & ((one << minishard_bits) - one)
        if count == 0 or runs[count - 1, 0] != shard or runs[count - 1, 1] != minishard:
            runs[count, 0], runs[count, 1] = shard, minishard
            count += 1
        runs[count - 1, 2] = np.uint64(at + 1)
    return int(count)


def _look(
    seen_keys: NDArray[np.uint64],
    seen_when: NDArray[np.int64],
    tokens: NDArray[np.uint64],
    files: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    lengths: NDArray[np.int64],
    ratio: int,
    passed: int,
    most_bytes: int,
    come_now: bool,
) -> tuple[int, int]:
    """How many ranges have come before, and the bytes that have come so far; `SeenLately.look`."""
    before = np.int64(0)
    come = passed
    for row in range(files.size):
        key = (tokens[files[row]] + np.uint64(starts[row])) * MIX
        slot = key >> SLOT_SHIFT
        come += ratio * (ends[row] - starts[row])
        has_come = seen_keys[slot] == key and come - seen_when[slot] <= most_bytes
        before += has_come
        if come_now:
            seen_keys[slot], seen_when[slot] = key, come
        else:
            lengths[row] = -1 if has_come else 0
    return before, come if come_now else passed


@inlined
def _next_chunk(
    source: Any,
    space: Any,
    kept: NDArray[np.uint32],
    order: NDArray[np.int64],
    taken: NDArray[np.int64],
) -> tuple[int, NDArray[np.uint32]]:
    """The next chunk that no thread has begun with, and its encoding; -1 where this one is done.

    A chunk with a length lies in `kept` already. `taken` is what the threads share: how many
    chunks somebody has begun with.
    """
    functions, descriptors, most_bytes, files, starts, ends, first_words, lengths = source
    decompressor, stored, arena, words, used = space
    at = _take_next(np.int64(taken.ctypes.data))
    if at >= order.size:
        return np.int64(-1), words[:0]
    row = order[at]
    if lengths[row] > 0:
        return row, kept[first_words[row] : first_words[row] + lengths[row]]
    length = inlined_read_one(
        functions[0],
        functions[1],
        decompressor,
        descriptors[files[row]],
        starts[row],
        ends[row],
        most_bytes,
        stored,
        arena,
        used,
    )
    if length < 0 or length & 3 != 0:
        taken[0] = order.size  # what others still begin is of no use
        return np.int64(-1), words[:0]
    return row, words[: length >> 2]


def _read_boxes(
    source: Any,
    space: Any,
    kept: NDArray[np.uint32],
    order: NDArray[np.int64],
    taken: NDArray[np.int64],
    done: NDArray[np.bool_],
    block_size: Triple,
    parts: NDArray[np.int64],
    out: NDArray[Any],
    out_firsts: NDArray[np.int64],
    strides: Triple,
) -> None:
    """Read, inflate and decode one chunk after the other, beside other threads that do the same."""
    while True:
        row, encoded = _next_chunk(source, space, kept, order, taken)
        if row < 0:
            return
        status = _decode_box(
            encoded,
            1,
            0,
            (parts[0, row, 0], parts[0, row, 1], parts[0, row, 2]),
            block_size,
            (parts[1, row, 0], parts[1, row, 1], parts[1, row, 2]),
            (parts[2, row, 0], parts[2, row, 1], parts[2, row, 2]),
            out,
            out_firsts[row],
            strides,
            False,
        )
        done[row] = status == 0


def _read_points(
    source: Any,
    space: Any,
    kept: NDArray[np.uint32],
    order: NDArray[np.int64],
    taken: NDArray[np.int64],
    done: NDArray[np.bool_],
    block_size: Triple,
    shapes: NDArray[np.int64],
    firsts: NDArray[np.int64],
    packed: NDArray[np.uint64],
    bits: tuple[int, int],
    point_order: NDArray[np.int64],
    labels: NDArray[Any],
    status: NDArray[np.uint8],
    corrupt: int,
) -> None:
    """As `_read_boxes`, of the points ``[firsts[row], firsts[row + 1])`` of each chunk."""
    while True:
        row, encoded = _next_chunk(source, space, kept, order, taken)
        if row < 0:
            return
        fault = _read_voxels(
            encoded,
            1,
            0,
            (shapes[row, 0], shapes[row, 1], shapes[row, 2]),
            block_size,
            packed,
            firsts[row],
            firsts[row + 1],
            bits[0],
            bits[1],
            point_order,
            labels,
            status,
            corrupt,
        )
        done[row] = fault == 0


_integer = types.int64
_triple = types.UniTuple(types.int64, 3)  # type: ignore[no-untyped-call]
_integers = types.Array(types.int64, 1, "C")
_fixed = types.Array(types.int64, 1, "C", readonly=True)
_parts = types.Array(types.int64, 3, "C")
_table = types.Array(types.int64, 2, "C")
plan_box = compile_cached(
    _plan_box,
    _integer(
        *(types.Array(types.int64, 2, "C", readonly=True), _triple, _fixed),
        *([_triple] * 4),
        *(_integer, _triple, _parts, _integers, types.Array(types.uint64, 1, "C"), _integers),
        types.Array(types.uint64, 2, "C"),
    ),
    nogil=False,
    parts=(index_form,),
)
look = compile_cached(
    _look,
    types.UniTuple(_integer, 2)(  # type: ignore[no-untyped-call]
        *(types.Array(types.uint64, 1, "C"), _integers, types.Array(types.uint64, 1, "C")),
        *([_integers] * 4),
        *(_integer, _integer, _integer, types.boolean),
    ),
    nogil=False,
)


def compile_kernel(what: str, label_bytes: int) -> Callable[..., None]:
    """Compile ``read_boxes`` or ``read_points``, or take it from numba's cache."""
    byte, word = types.Array(types.uint8, 1, "C"), types.Array(types.uint32, 1, "C")
    labels = types.Array(types.uint64 if label_bytes == 8 else types.uint32, 1, "C")
    pair = types.UniTuple(_integer, 2)  # type: ignore[no-untyped-call]
    chunks = (
        types.Tuple((pair, _integers, _integer, *([_integers] * 5))),  # type: ignore[no-untyped-call]
        types.Tuple((_integer, byte, byte, word, _integers)),  # type: ignore[no-untyped-call]
        types.Array(types.uint32, 1, "C", readonly=True),
        *(_integers, _integers, types.Array(types.boolean, 1, "C"), _triple),
    )
    packed = types.Array(types.uint64, 1, "C", readonly=True)
    parts = (kernels, faults, stores, gzip_kernels, positioned_read)
    if what == "read_boxes":
        signature = types.void(*chunks, _parts, labels, _integers, _triple)
        return compile_cached(_read_boxes, signature, parts=parts)
    points = (packed, pair, _fixed, labels, byte, types.uint8)
    signature = types.void(*chunks, _table, _integers, *points)
    return compile_cached(_read_points, signature, parts=parts)
