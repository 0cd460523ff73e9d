"""Boxes of few chunks: which these are, and their voxels, each in one compiled call. Floor 1.

Imports numba. int64 and uint64 are not mixed here: to numba the result would be a float.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from shardreader import gzip_kernels, positioned_read
from shardreader.compiling import compile_cached, inlined
from shardreader.cseg import faults, kernels, stores
from shardreader.grid import Triple
from shardreader.gzip_kernels import inlined_read_one
from shardreader.seen_lately import MIX, SLOT_SHIFT

__all__ = ["FewChunksKernels", "compile_kernels"]

_decode_box: Any = inlined(kernels.decode_box)


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
def _slot_of(token: Any, start: int) -> tuple[Any, Any]:
    """The key of a range, and its slot; as `SeenLately.again_one`."""
    key = (token + np.uint64(start)) * MIX
    return key, key >> SLOT_SHIFT


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
    form : ndarray of int64, shape (7,)
        `minishard_indices.Limits.form`.
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
    preshift, minishard_bits = np.uint64(form[4]), np.uint64(form[5])
    both = np.uint64(form[5] + form[6])
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


def _note(
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
    even_again: bool,
) -> tuple[int, int]:
    """How many ranges come again, and the bytes that have come so far; see `SeenLately.note`."""
    again = np.int64(0)
    come = passed
    for row in range(files.size):
        key, slot = _slot_of(tokens[files[row]], starts[row])
        come += ratio * (ends[row] - starts[row])
        is_again = seen_keys[slot] == key and come - seen_when[slot] <= most_bytes
        lengths[row] = -1 if is_again else 0
        again += is_again
    if again and not even_again:
        return again, passed
    come = passed
    for row in range(files.size):
        key, slot = _slot_of(tokens[files[row]], starts[row])
        come += ratio * (ends[row] - starts[row])
        seen_keys[slot], seen_when[slot] = key, come
    return again, come


def _read_boxes(
    pread: int,
    function: int,
    decompressor: int,
    descriptors: NDArray[np.int64],
    most_bytes: int,
    stored: NDArray[np.uint8],
    arena: NDArray[np.uint8],
    words: NDArray[np.uint32],
    used: NDArray[np.int64],
    files: NDArray[np.int64],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    kept: NDArray[np.uint32],
    first_words: NDArray[np.int64],
    lengths: NDArray[np.int64],
    parts: NDArray[np.int64],
    order: NDArray[np.int64],
    block_size: Triple,
    out: NDArray[Any],
    out_firsts: NDArray[np.int64],
    strides: Triple,
    taken: NDArray[np.int64],
    done: NDArray[np.bool_],
) -> None:
    """Read, inflate and decode one chunk after the other, beside other threads that do the same.

    A chunk with a length lies in `kept` already. `taken` is what the threads share: how many
    chunks somebody has begun with.
    """
    while True:
        at = _take_next(np.int64(taken.ctypes.data))
        if at >= order.size:
            return
        row = order[at]
        if lengths[row] > 0:
            encoded = kept[first_words[row] : first_words[row] + lengths[row]]
        else:
            length = inlined_read_one(
                pread,
                function,
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
                continue
            encoded = words[: length >> 2]
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
)
note = compile_cached(
    _note,
    types.UniTuple(_integer, 2)(  # type: ignore[no-untyped-call]
        *(types.Array(types.uint64, 1, "C"), _integers, types.Array(types.uint64, 1, "C")),
        *([_integers] * 4),
        *(_integer, _integer, _integer, types.boolean),
    ),
    nogil=False,
)


class FewChunksKernels(NamedTuple):
    """The three kernels, for labels of one size."""

    plan_box: Callable[..., int]
    note: Callable[..., tuple[int, int]]
    read_boxes: Callable[..., None]


def compile_kernels(label_bytes: int) -> FewChunksKernels:
    """Compile the kernels, or take them from numba's cache."""
    byte, word = types.Array(types.uint8, 1, "C"), types.Array(types.uint32, 1, "C")
    labels = types.Array(types.uint64 if label_bytes == 8 else types.uint32, 1, "C")
    signature = types.void(
        *([_integer] * 3),
        *(_integers, _integer, byte, byte, word, _integers),
        *([_integers] * 3),
        *(types.Array(types.uint32, 1, "C", readonly=True), _integers, _integers),
        *(_parts, _integers, _triple, labels, _integers, _triple),
        *(_integers, types.Array(types.boolean, 1, "C")),
    )
    parts = (kernels, faults, stores, gzip_kernels, positioned_read)
    return FewChunksKernels(plan_box, note, compile_cached(_read_boxes, signature, parts=parts))
