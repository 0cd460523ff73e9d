"""The compiled loop that decodes to other values than the labels; importing this imports numba.

Rules as in `kernels`.  Each table entry is looked up once a block, whatever
the number of voxels that have its code.
"""

# The types of a kernel are those of the signature in compile_translate; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import types

from shardreader.decoding.cseg import code_counts, faults, kernels, tally_kernels
from shardreader.decoding.cseg.code_counts import codes_in_window
from shardreader.decoding.cseg.faults import CODE, OK
from shardreader.decoding.cseg.kernels import open_channel, read_header, word_at
from shardreader.decoding.cseg.tally_kernels import label_at, place_of, triple_of
from shardreader.runtime.compiling import compile_cached, inlined

_1, _2, _4, _8 = (np.int64(number) for number in (1, 2, 4, 8))


@inlined
def value_of(words, table, code, label_words, known, values):
    """The value of a table entry; 0 for a label that is not known, which then no voxel has."""
    slots, labels = known
    number = np.int64(slots[place_of(slots, labels, label_at(words, table, code, label_words))])
    return values[np.uint64(number - 1)] if number != 0 else values.dtype.type(0)


@inlined
def _fill(out, at, strides, shape, value):
    for z in range(shape[2]):
        for y in range(shape[1]):
            row = at + y * strides[1] + z * strides[2]
            for x in range(shape[0]):
                out[np.uint64(row + x * strides[0])] = value


@inlined
def _write(out, at, stride, count, bits, codes, translated):
    mask = np.uint64((1 << bits) - 1)
    for x in range(count):
        out[np.uint64(at + x * stride)] = translated[codes >> np.uint64(bits * x) & mask]


@inlined
def _translate_rows(words, bits, values_at, block_size, first, shape, out, at, strides, table):
    """Write codes of up to 4 bits, 8 of them from one window of 32 bits."""
    for z in range(shape[2]):
        for y in range(shape[1]):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            row = at + y * strides[1] + z * strides[2]
            x = np.int64(0)
            while x < shape[0]:
                count = min(_8, shape[0] - x)
                codes = codes_in_window(words, values_at, bits * (voxel + x), bits * count)
                target = row + x * strides[0]
                # What the compiler knows is unrolled: a whole step, and items side by side.
                if count == 8 and strides[0] == 1:
                    _write(out, target, _1, _8, bits, codes, table)
                else:
                    _write(out, target, strides[0], count, bits, codes, table)
                x += count


@inlined
def _translate_large(
    words, header, block_size, first, shape, label_words, known, values, out, at, strides
):
    """Write a block of 8 to 32 bits; an entry is looked up again only where the code changes."""
    bits, table, entries, values_at = header
    mask = (np.int64(1) << bits) - 1
    last = np.int64(-1)
    value = values.dtype.type(0)
    for z in range(shape[2]):
        for y in range(shape[1]):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            row = at + y * strides[1] + z * strides[2]
            for x in range(shape[0]):
                bit = bits * (voxel + x)
                code = (word_at(words, values_at + (bit >> 5)) >> (bit & 31)) & mask
                if code != last:
                    if code >= entries:
                        return CODE
                    last = code
                    value = value_of(words, table, code, label_words, known, values)
                out[np.uint64(row + x * strides[0])] = value
    return OK


@inlined
def _translate_block(
    words,
    header,
    block_size,
    first,
    shape,
    label_words,
    known,
    values,
    out,
    at,
    strides,
    scratch,
):
    bits, table, entries, values_at = header
    if bits == 0:
        value = value_of(words, table, np.int64(0), label_words, known, values)
        if strides[0] == 1:
            _fill(out, at, (_1, strides[1], strides[2]), shape, value)
        else:
            _fill(out, at, strides, shape, value)
        return OK
    if bits > 4:
        return _translate_large(
            words, header, block_size, first, shape, label_words, known, values, out, at, strides
        )
    codes = np.int64(1) << bits
    for code in range(codes):
        # The tally has followed the codes of this box: none of them is past the entries.
        scratch[code] = values.dtype.type(0)
        if code < entries:
            scratch[code] = value_of(words, table, code, label_words, known, values)
    rest = (values_at, block_size, first, shape, out, at, strides, scratch)
    if bits == 1:
        _translate_rows(words, _1, *rest)
    elif bits == 2:
        _translate_rows(words, _2, *rest)
    else:
        _translate_rows(words, _4, *rest)
    return OK


@inlined
def translate_box(
    words, channels, cell_shape, block_size, label_words, box, known, values, target, scratch
):
    """Decode a box of one chunk; OK or a status with its block."""
    lower, upper = box
    out, out_start, out_strides = target
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    header_words = 2 * gx * gy * gz
    fault, start, length = open_channel(words, channels[0], channels[1], header_words)
    if fault != OK:
        return fault
    for block_z in range(lower[2] // bz, (upper[2] + bz - 1) // bz):
        z0 = max(lower[2], block_z * bz)
        z1 = min(upper[2], (block_z + 1) * bz)
        for block_y in range(lower[1] // by, (upper[1] + by - 1) // by):
            y0 = max(lower[1], block_y * by)
            y1 = min(upper[1], (block_y + 1) * by)
            for block_x in range(lower[0] // bx, (upper[0] + bx - 1) // bx):
                x0 = max(lower[0], block_x * bx)
                x1 = min(upper[0], (block_x + 1) * bx)
                block = block_x + gx * (block_y + gy * block_z)
                fault, bits, table, entries, values_at = read_header(
                    words, start, length, header_words, block, bx * by * bz, label_words
                )
                if fault != OK:
                    return fault + 16 * block
                header = (bits, table, entries, values_at)
                first = (x0 - block_x * bx, y0 - block_y * by, z0 - block_z * bz)
                shape = (x1 - x0, y1 - y0, z1 - z0)
                at = (
                    out_start
                    + (x0 - lower[0]) * out_strides[0]
                    + (y0 - lower[1]) * out_strides[1]
                    + (z0 - lower[2]) * out_strides[2]
                )
                fault = _translate_block(
                    words, header, block_size, first, shape, label_words, known, values, out, at,
                    out_strides, scratch,
                )  # fmt: skip
                if fault != OK:
                    return fault + 16 * block
    return OK


def translate_boxes(
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
    slots,
    labels,
    values,
    out,
    out_firsts,
    out_strides,
    scratch,
):
    """See :meth:`shardreader.decoding.cseg.tally.LabelTally.decode_as`."""
    for i in range(len(rows)):
        row = np.uint64(rows[i])
        status = translate_box(
            words[first_words[i] : first_words[i] + lengths[i]],
            (num_channels, channel),
            triple_of(cell_shapes, row),
            block_size,
            label_words,
            (triple_of(lowers, row), triple_of(uppers, row)),
            (slots, labels),
            values,
            (out, out_firsts[row], out_strides),
            scratch,
        )
        if status != OK:
            return status
    return OK


def argument_types(value_bytes: int) -> tuple[Any, ...]:
    """The types of the arguments of `translate_boxes`, for values of 1, 4 or 8 bytes."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    value: Any = {1: types.uint8, 4: types.uint32, 8: types.uint64}[value_bytes]
    words = types.Array(types.uint32, 1, "C", readonly=True)
    known = (types.Array(types.int32, 1, "C"), types.Array(types.uint64, 1, "C"))
    values, out = types.Array(value, 1, "C", readonly=True), types.Array(value, 1, "C")
    integers = types.Array(integer, 1, "C", readonly=True)
    triples = types.Array(integer, 2, "C", readonly=True)
    chunks = (words, integers, integers, integers, integer, integer, triples, triple, integer)
    return (*chunks, triples, triples, *known, values, out, integers, triple, out)


def compile_translate() -> Callable[..., int]:
    """Compile the kernel for values of 1 byte, or take it from numba's cache."""
    parts = (faults, kernels, tally_kernels, code_counts)
    return compile_cached(translate_boxes, types.int64(*argument_types(1)), parts=parts)
