"""The compiled loops that count labels and find their boxes; importing this imports numba.

Rules as in `kernels`.  What is counted are the voxels inside the chunk and
the box, by the codes that they have: never a table entry that no voxel uses, never padding.
"""

# The types of a kernel are those of the signature in compile_tally; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types

from shardreader.decoding.cseg import code_counts, faults, kernels
from shardreader.decoding.cseg.code_counts import MOST_CODES, add_codes, codes_in_window
from shardreader.decoding.cseg.faults import CODE, OK
from shardreader.decoding.cseg.kernels import open_channel, read_header, word_at
from shardreader.runtime.compiling import compile_cached, inlined

ROOM = -1
"""Status: the arrays of the tally are too small for the next block; call again with larger ones."""

# Members of `state`: labels so far; blocks of the box, or rows, that are done; whether unknown
# labels are left out; chunk to go on with.
SIZE, DONE, FROZEN, CHUNK = 0, 1, 2, 3

# Of each code of up to 4 bits: voxels, lower and upper corner.
SCRATCH_WIDTH = 7

# Constants to LLVM, but int64 to numba, which compiles one more version for each Python literal.
_0, _1, _2, _4, _32 = (np.int64(number) for number in (0, 1, 2, 4, 32))
_ONE = np.uint64(1)
_HASH = np.uint64(0x9E3779B97F4A7C15)


@inlined
def place_of(slots, labels, label):
    """Where in `slots` a label is, or would be: an entry is its number + 1, or 0."""
    mask = np.uint64(len(slots) - 1)
    at = ((label ^ label >> np.uint64(32)) * _HASH) >> np.uint64(32) & mask
    while slots[at] != 0 and labels[np.uint64(slots[at] - 1)] != label:
        at = (at + _ONE) & mask
    return at


@inlined
def label_at(words, table, code, label_words):
    """Entry `code` of the table at word `table`, as a uint64."""
    at = table + code * label_words
    label = np.uint64(words[np.uint64(at)])
    if label_words == 2:
        label |= np.uint64(words[np.uint64(at + 1)]) << np.uint64(32)
    return label


@inlined
def _repeated(bits, width):
    """The number that repeats a code of `bits` bits over `width` bits, when multiplied by it."""
    every = np.uint64(0xFFFFFFFF // ((1 << bits) - 1))
    return every & ((_ONE << np.uint64(width)) - _ONE)


@inlined
def add_label(tally, label, voxels):
    """Add voxels of a label; gives its number in the tally, or -1 where it is left out."""
    state, slots, labels, counts, _ = tally
    at = place_of(slots, labels, label)
    number = np.int64(slots[at]) - 1
    if number < 0:
        if state[FROZEN] != 0:
            return number
        number = state[SIZE]
        state[SIZE] = number + 1
        slots[at] = number + 1
        labels[number] = label
    counts[number] += voxels
    return number


@inlined
def _record(tally, label, voxels, lower, upper):
    """Add voxels of a label that fill the box from `lower` to `upper` on each axis."""
    number = add_label(tally, label, voxels)
    extents = tally[4]
    if number >= 0 and len(extents) != 0:
        for axis in range(3):
            extents[number, axis] = min(extents[number, axis], lower[axis])
            extents[number, 3 + axis] = max(extents[number, 3 + axis], upper[axis])


@inlined
def _add_run(scratch, code, x0, x1, y, z):
    """Add voxels [x0, x1) of a row to the voxels and the box of their code; z never falls."""
    at = SCRATCH_WIDTH * code
    if scratch[at] == 0:
        scratch[at + 1], scratch[at + 4] = x0, x1
        scratch[at + 2], scratch[at + 5] = y, y + 1
        scratch[at + 3] = z
    else:
        scratch[at + 1] = min(scratch[at + 1], x0)
        scratch[at + 4] = max(scratch[at + 4], x1)
        scratch[at + 2] = min(scratch[at + 2], y)
        scratch[at + 5] = max(scratch[at + 5], y + 1)
    scratch[at + 6] = z + 1
    scratch[at] += x1 - x0


@inlined
def _measure_codes(words, values, bits, voxel, count, y, z, scratch):
    """Add a row of `count` voxels from `voxel` on, run by run."""
    mask = np.uint64((1 << bits) - 1)
    x = np.int64(0)
    while x < count:
        width = min(_32, bits * (count - x))
        codes = codes_in_window(words, values, bits * (voxel + x), width)
        end = x + width // bits
        code = codes & mask
        if codes == code * _repeated(bits, width):
            _add_run(scratch, np.int64(code), x, end, y, z)
            x = end
            continue
        first = x
        while x < end:
            x += 1
            codes >>= np.uint64(bits)
            if x == end or codes & mask != code:
                _add_run(scratch, np.int64(code), first, x, y, z)
                first = x
                code = codes & mask


@inlined
def _measure_row(words, values, bits, voxel, count, y, z, scratch):
    if bits == 1:
        _measure_codes(words, values, _1, voxel, count, y, z, scratch)
    elif bits == 2:
        _measure_codes(words, values, _2, voxel, count, y, z, scratch)
    else:
        _measure_codes(words, values, _4, voxel, count, y, z, scratch)


@inlined
def _count_small(words, header, block_size, first, shape, label_words, tally, scratch):
    """Count `shape` voxels of a block of 1 to 4 bits, from its voxel `first` on."""
    bits, table, entries, values = header
    counts, sums = scratch[:MOST_CODES], scratch[MOST_CODES : 2 * MOST_CODES]
    counts[:] = 0
    add_codes(words, bits, values, block_size, first, shape, counts, _0, _1, sums)
    for code in range(np.int64(1) << bits):
        if counts[code] != 0:
            if code >= entries:
                return CODE
            add_label(tally, label_at(words, table, code, label_words), counts[code])
    return OK


@inlined
def _measure_small(words, header, block_size, first, shape, label_words, corner, tally, scratch):
    """Count and measure `shape` voxels of a block of 1 to 4 bits, from its voxel `first` on."""
    bits, table, entries, values = header
    codes = np.int64(1) << bits
    for code in range(codes):
        scratch[SCRATCH_WIDTH * code] = 0
    row, rows, planes = shape
    for z in range(planes):
        for y in range(rows):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            _measure_row(words, values, bits, voxel, row, y, z, scratch)
    for code in range(codes):
        at = SCRATCH_WIDTH * code
        if scratch[at] != 0:
            if code >= entries:
                return CODE
            lower = (
                corner[0] + scratch[at + 1],
                corner[1] + scratch[at + 2],
                corner[2] + scratch[at + 3],
            )
            upper = (
                corner[0] + scratch[at + 4],
                corner[1] + scratch[at + 5],
                corner[2] + scratch[at + 6],
            )
            _record(tally, label_at(words, table, code, label_words), scratch[at], lower, upper)
    return OK


@inlined
def tally_large(words, header, block_size, first, shape, label_words, corner, tally):
    """Tally `shape` voxels of a block of 8 to 32 bits, run by run."""
    bits, table, entries, values = header
    mask = (np.int64(1) << bits) - 1
    for z in range(shape[2]):
        for y in range(shape[1]):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            begin = np.int64(0)
            current = np.int64(-1)
            for x in range(shape[0] + 1):
                code = np.int64(-1)
                if x < shape[0]:
                    bit = bits * (voxel + x)
                    code = (word_at(words, values + (bit >> 5)) >> (bit & 31)) & mask
                    if code >= entries:
                        return CODE
                if code != current:
                    if current >= 0:
                        lower = (corner[0] + begin, corner[1] + y, corner[2] + z)
                        upper = (corner[0] + x, corner[1] + y + 1, corner[2] + z + 1)
                        label = label_at(words, table, current, label_words)
                        _record(tally, label, x - begin, lower, upper)
                    current = code
                    begin = np.int64(x)
    return OK


@inlined
def _tally_block(words, header, block_size, first, shape, label_words, corner, tally, scratch):
    """Tally `shape` voxels of a block, from its voxel `first` on, which lies at `corner`."""
    bits, table, _, _ = header
    if bits == 0:
        upper = (corner[0] + shape[0], corner[1] + shape[1], corner[2] + shape[2])
        label = label_at(words, table, np.int64(0), label_words)
        _record(tally, label, shape[0] * shape[1] * shape[2], corner, upper)
        return OK
    if bits > 4:
        return tally_large(words, header, block_size, first, shape, label_words, corner, tally)
    if len(tally[4]) == 0:
        return _count_small(words, header, block_size, first, shape, label_words, tally, scratch)
    return _measure_small(
        words, header, block_size, first, shape, label_words, corner, tally, scratch
    )


@inlined
def _tally_box(words, channels, cell_shape, block_size, label_words, box, tally, scratch):
    """Tally the part of one chunk; after ROOM it goes on at block ``state[DONE]``."""
    lower, upper, origin = box
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    header_words = 2 * gx * gy * gz
    fault, start, length = open_channel(words, channels[0], channels[1], header_words)
    if fault != OK:
        return fault
    state, _, labels, _, _ = tally
    number = 0
    for block_z in range(lower[2] // bz, (upper[2] + bz - 1) // bz):
        z0 = max(lower[2], block_z * bz)
        z1 = min(upper[2], (block_z + 1) * bz)
        for block_y in range(lower[1] // by, (upper[1] + by - 1) // by):
            y0 = max(lower[1], block_y * by)
            y1 = min(upper[1], (block_y + 1) * by)
            for block_x in range(lower[0] // bx, (upper[0] + bx - 1) // bx):
                number += 1
                if number <= state[DONE]:
                    continue
                x0 = max(lower[0], block_x * bx)
                x1 = min(upper[0], (block_x + 1) * bx)
                block = block_x + gx * (block_y + gy * block_z)
                fault, bits, table, entries, values = read_header(
                    words, start, length, header_words, block, bx * by * bz, label_words
                )
                if fault != OK:
                    return fault + 16 * block
                shape = (x1 - x0, y1 - y0, z1 - z0)
                corner = (origin[0] + x0, origin[1] + y0, origin[2] + z0)
                most = min(np.int64(1) << bits, entries, shape[0] * shape[1] * shape[2])
                if state[FROZEN] == 0 and state[SIZE] + most > len(labels):
                    state[DONE] = number - 1
                    return ROOM
                header = (bits, table, entries, values)
                first = (x0 - block_x * bx, y0 - block_y * by, z0 - block_z * bz)
                fault = _tally_block(
                    words, header, block_size, first, shape, label_words, corner, tally, scratch
                )
                if fault != OK:
                    return fault + 16 * block
    state[DONE] = 0
    return OK


@inlined
def triple_of(table, row):
    """A row of an integer array of shape (n, 3)."""
    return table[row, 0], table[row, 1], table[row, 2]


def tally_boxes(
    words,
    first_words,
    lengths,
    rows,
    num_channels,
    channel,
    cell_shapes,
    block_size,
    label_words,
    lowers,
    uppers,
    origins,
    state,
    slots,
    labels,
    counts,
    extents,
    scratch,
):
    """See :meth:`shardreader.decoding.cseg.tally.LabelTally.add_chunks`."""
    tally = (state, slots, labels, counts, extents)
    for i in range(state[CHUNK], len(rows)):
        row = np.uint64(rows[i])
        state[CHUNK] = i
        status = _tally_box(
            words[first_words[i] : first_words[i] + lengths[i]],
            (num_channels, channel),
            triple_of(cell_shapes, row),
            block_size,
            label_words,
            (triple_of(lowers, row), triple_of(uppers, row), triple_of(origins, row)),
            tally,
            scratch,
        )
        if status != OK:
            return status
    return OK


def tally_voxels(voxels, shape, origin, state, slots, labels, counts, extents):
    """See `LabelTally.add_voxels`; one row's labels need room."""
    tally = (state, slots, labels, counts, extents)
    for row in range(state[DONE], shape[1] * shape[2]):
        if state[FROZEN] == 0 and state[SIZE] + shape[0] > len(labels):
            state[DONE] = row
            return ROOM
        y, z = row % shape[1], row // shape[1]
        first = row * shape[0]
        begin = np.int64(0)
        for x in range(1, shape[0] + 1):
            if x == shape[0] or voxels[first + x] != voxels[first + begin]:
                lower = (origin[0] + begin, origin[1] + y, origin[2] + z)
                upper = (origin[0] + x, origin[1] + y + 1, origin[2] + z + 1)
                _record(tally, voxels[first + begin], x - begin, lower, upper)
                begin = np.int64(x)
    return OK


def merge_tally(size, labels, counts, extents, state, slots, to_labels, to_counts, to_extents):
    """Add the first `size` labels of one tally to another, which has room for them."""
    tally = (state, slots, to_labels, to_counts, to_extents)
    for number in range(size):
        lower = (np.int64(0), np.int64(0), np.int64(0))
        upper = lower
        if len(to_extents) != 0:
            lower = (extents[number, 0], extents[number, 1], extents[number, 2])
            upper = (extents[number, 3], extents[number, 4], extents[number, 5])
        _record(tally, labels[number], counts[number], lower, upper)


def fill_slots(size, labels, slots):
    """Enter the first `size` labels, all different, into `slots`, which are all 0."""
    for number in range(size):
        slots[place_of(slots, labels, labels[number])] = number + 1


class TallyKernels(NamedTuple):
    """The kernels of a `LabelTally`."""

    tally_boxes: Callable[..., int]
    tally_voxels: Callable[..., int]
    merge_tally: Callable[..., None]
    fill_slots: Callable[..., None]


def compile_tally() -> TallyKernels:
    """Compile the kernels, or take them from numba's cache."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    words = types.Array(types.uint32, 1, "C", readonly=True)
    state, slots = types.Array(types.int64, 1, "C"), types.Array(types.int32, 1, "C")
    labels, counts = types.Array(types.uint64, 1, "C"), types.Array(types.int64, 1, "C")
    extents, scratch = types.Array(types.int64, 2, "C"), types.Array(types.int64, 1, "C")
    voxels = types.Array(types.uint64, 1, "C", readonly=True)
    tally = (state, slots, labels, counts, extents)
    integers = types.Array(integer, 1, "C", readonly=True)
    triples = types.Array(integer, 2, "C", readonly=True)
    chunks = (words, integers, integers, integers, integer, integer, triples, triple, integer)

    def compiled(function: Callable[..., Any], signature: Any) -> Callable[..., Any]:
        return compile_cached(function, signature, parts=(kernels, faults, code_counts))

    return TallyKernels(
        compiled(tally_boxes, integer(*chunks, triples, triples, triples, *tally, scratch)),
        compiled(tally_voxels, integer(voxels, triple, triple, *tally)),
        compiled(merge_tally, types.void(integer, labels, counts, extents, *tally)),
        compiled(fill_slots, types.void(integer, labels, slots)),
    )
