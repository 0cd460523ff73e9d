"""The compiled loops of the compressed_segmentation format; importing this imports numba.

Arrays and integers go in, a status comes out (see `faults`).  Offsets and
bit positions are int64: an offset has at most 32 bits and a block fewer than 2**40, so that no sum
of them overflows.  Each offset is checked before it is followed, and is then made a uint64, because
a signed index costs a test for negative ones.  int64 and uint64 are never mixed in arithmetic: to
numba the result is a float.

What the kernels over many chunks share with these stays in this file.
"""

# The types of a kernel are those of the signature in compile_kernels; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import types
from numba.extending import overload

from shardreader.decoding.cseg import faults, stores
from shardreader.decoding.cseg.faults import (
    BLOCK_HEADERS_CUT,
    CHANNEL_OFFSET,
    CHANNEL_OFFSETS_CUT,
    CODE,
    ENCODED_BITS,
    ENCODED_VALUES_OFFSET,
    LOOKUP_TABLE_OFFSET,
    OK,
)
from shardreader.decoding.cseg.stores import LINE_BYTES, stream_item
from shardreader.runtime.compiling import INNER_OPTIONS, compile_cached, inlined

FILL = 0
WINDOW = 1
GENERAL = 2

# Constants to LLVM, but int64 to numba, which compiles one more version for each Python literal.
_1, _2, _4, _8, _16 = (np.int64(number) for number in (1, 2, 4, 8, 16))

# numba's annotations leave out the options; it uses them itself (misc/mergesort.py).
_overload: Any = overload


@inlined
def word_at(words, at):
    """A word as the number that offsets are calculated with."""
    return np.int64(words[np.uint64(at)])


def _label(words, table, code, labels):
    """Entry `code` of the table at word `table`, of the type of the items of `labels`."""
    raise NotImplementedError("only within compiled functions")


@_overload(_label, jit_options=INNER_OPTIONS)
def _overload_label(words, table, code, labels):  # noqa: ARG001
    if labels.dtype == types.uint32:
        return lambda words, table, code, labels: words[np.uint64(table + code)]  # noqa: ARG005
    return lambda words, table, code, labels: (  # noqa: ARG005
        np.uint64(words[np.uint64(table + 2 * code)])
        | np.uint64(words[np.uint64(table + 2 * code + 1)]) << np.uint64(32)
    )


@inlined
def open_channel(words, num_channels, channel, header_words):
    """Status, first word and length in words of a channel."""
    total = len(words)
    if total < num_channels:
        return CHANNEL_OFFSETS_CUT, 0, 0
    previous = num_channels
    start = end = total
    for number in range(num_channels):
        offset = word_at(words, number)
        if offset < previous or offset > total or (number == 0 and offset > num_channels):
            return CHANNEL_OFFSET + 16 * number, 0, 0
        if number == channel:
            start = offset
        elif number == channel + 1:
            end = offset
        previous = offset
    if end - start < header_words:
        return BLOCK_HEADERS_CUT, 0, 0
    return OK, start, end - start


@inlined
def read_header(words, start, length, header_words, block, block_volume, label_words):
    """Fault, encoded bits, word of the table, labels that fit behind it, word of the values."""
    first = word_at(words, start + 2 * block)
    bits = first >> 24
    table = first & 0xFFFFFF
    if bits > 32 or bits & (bits - 1) != 0:
        return ENCODED_BITS, 0, 0, 0, 0
    if table < header_words or table > length - label_words:
        return LOOKUP_TABLE_OFFSET, 0, 0, 0, 0
    values = word_at(words, start + 2 * block + 1)
    value_words = (bits * block_volume + 31) >> 5
    # The values of a block of 0 bits are not followed, so that they may be said to be anywhere.
    if bits != 0 and (values < header_words or values > length - value_words):
        return ENCODED_VALUES_OFFSET, 0, 0, 0, 0
    # A shift: a division by 1 or 2 that the compiler does not know would take longest of all.
    return OK, bits, start + table, (length - table) >> (label_words - 1), start + values


@inlined
def choose_path(bits, entries, stride, block_x, first_x, row):
    """How the part of a block is decoded of which each row has `row` voxels, from `first_x` on.

    ``WINDOW``: rows are contiguous in the output, the codes of each lie in two words of 32 bits,
    and no code can reach past the `entries` labels that fit behind the start of the table.
    """
    if bits == 0:
        return FILL
    if stride != 1 or bits > 4 or (1 << bits) > entries:
        return GENERAL
    shift = bits * first_x & 31 if bits * block_x & 31 == 0 else 31
    return WINDOW if shift + bits * row <= 64 else GENERAL


@inlined
def _fills_lines(out, at, row, strides):
    """Whether rows of `row` items from item `at` on are whole lines of memory."""
    line = np.int64(LINE_BYTES // out.itemsize)
    first = np.int64(out.ctypes.data) // out.itemsize + at
    return (first | row | strides[1] | strides[2]) & (line - 1) == 0


@inlined
def _fill_lines(out, at, strides, shape, label):
    for z in range(shape[2]):
        for y in range(shape[1]):
            row = at + y * strides[1] + z * strides[2]
            for x in range(shape[0]):
                stream_item(out, np.uint64(row + x), label)


@inlined
def _fill(out, at, strides, shape, label):
    for z in range(shape[2]):
        for y in range(shape[1]):
            row = at + y * strides[1] + z * strides[2]
            for x in range(shape[0]):
                out[np.uint64(row + x * strides[0])] = label


@inlined
def _codes_in_window(words, values, bit, width):
    """The `width` bits from `bit` on, in the low end of 64."""
    at = values + (bit >> 5)
    shift = bit & 31
    codes = np.uint64(words[np.uint64(at)])
    if shift + width > 32:
        codes |= np.uint64(words[np.uint64(at + 1)]) << np.uint64(32)
    return codes >> np.uint64(shift)


@inlined
def _write_row(out, at, row, bits, codes, words, table):
    mask = np.uint64((1 << bits) - 1)
    for x in range(row):
        code = np.int64(codes >> np.uint64(bits * x) & mask)
        out[np.uint64(at + x)] = _label(words, table, code, out)


@inlined
def _stream_row(out, at, row, bits, codes, words, table):
    mask = np.uint64((1 << bits) - 1)
    for x in range(row):
        code = np.int64(codes >> np.uint64(bits * x) & mask)
        stream_item(out, np.uint64(at + x), _label(words, table, code, out))


@inlined
def _decode_window(words, bits, table, values, block_size, first, shape, out, at, strides, stream):
    row = shape[0]
    for z in range(shape[2]):
        for y in range(shape[1]):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            codes = _codes_in_window(words, values, bits * voxel, bits * row)
            target = at + y * strides[1] + z * strides[2]
            # A row whose length the compiler knows is unrolled.
            if stream and row == 16:
                _stream_row(out, target, _16, bits, codes, words, table)
            elif row == 16:
                _write_row(out, target, _16, bits, codes, words, table)
            elif row == 8:
                _write_row(out, target, _8, bits, codes, words, table)
            else:
                _write_row(out, target, row, bits, codes, words, table)


@inlined
def _decode_general(
    words, bits, table, entries, values, block_size, first, shape, out, at, strides
):
    mask = (1 << bits) - 1
    for z in range(shape[2]):
        for y in range(shape[1]):
            voxel = first[0] + block_size[0] * (first[1] + y + block_size[1] * (first[2] + z))
            row = at + y * strides[1] + z * strides[2]
            for x in range(shape[0]):
                bit = bits * (voxel + x)
                code = (word_at(words, values + (bit >> 5)) >> (bit & 31)) & mask
                if code >= entries:
                    return CODE
                label = _label(words, table, code, out)
                out[np.uint64(row + x * strides[0])] = label
    return OK


@inlined
def _decode_block(words, header, block_size, first, shape, out, at, strides, stream):
    """Decode `shape` voxels of a block, from its voxel `first` on, to item `at` of `out`."""
    bits, table, entries, values = header
    path = choose_path(bits, entries, strides[0], block_size[0], first[0], shape[0])
    if path == GENERAL:
        return _decode_general(
            words, bits, table, entries, values, block_size, first, shape, out, at, strides
        )
    stream = stream and strides[0] == 1 and _fills_lines(out, at, shape[0], strides)
    # From here on the same call several times, for a compiler that knows the stride or the bits.
    if path == FILL:
        label = _label(words, table, 0, out)
        if stream:
            _fill_lines(out, at, strides, shape, label)
        elif strides[0] == 1:
            _fill(out, at, (_1, strides[1], strides[2]), shape, label)
        else:
            _fill(out, at, strides, shape, label)
    elif bits == 1:
        _decode_window(words, _1, table, values, block_size, first, shape, out, at, strides, stream)
    elif bits == 2:
        _decode_window(words, _2, table, values, block_size, first, shape, out, at, strides, stream)
    else:
        _decode_window(words, _4, table, values, block_size, first, shape, out, at, strides, stream)
    return OK


def decode_box(
    words,
    num_channels,
    channel,
    cell_shape,
    block_size,
    lower,
    upper,
    out,
    out_start,
    out_strides,
    stream,
):
    """See :func:`shardreader.decoding.cseg.decode_box`; `stream` as in `decode_boxes`."""
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    header_words = 2 * gx * gy * gz
    block_volume = bx * by * bz
    label_words = out.itemsize >> 2
    status, start, length = open_channel(words, num_channels, channel, header_words)
    if status != OK:
        return status
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
                fault, bits, table, entries, values = read_header(
                    words, start, length, header_words, block, block_volume, label_words
                )
                if fault != OK:
                    return fault + 16 * block
                header = (bits, table, entries, values)
                first = (x0 - block_x * bx, y0 - block_y * by, z0 - block_z * bz)
                shape = (x1 - x0, y1 - y0, z1 - z0)
                at = (
                    out_start
                    + (x0 - lower[0]) * out_strides[0]
                    + (y0 - lower[1]) * out_strides[1]
                    + (z0 - lower[2]) * out_strides[2]
                )
                fault = _decode_block(
                    words, header, block_size, first, shape, out, at, out_strides, stream
                )
                if fault != OK:
                    return fault + 16 * block
    return OK


def read_voxels(
    words,
    num_channels,
    channel,
    cell_shape,
    block_size,
    packed,
    first,
    last,
    bits_x,
    bits_y,
    order,
    labels,
    status,
    corrupt,
):
    """See :func:`shardreader.decoding.cseg.read_voxels`."""
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    header_words = 2 * gx * gy * gz
    block_volume = bx * by * bz
    label_words = labels.itemsize >> 2
    channel_fault, start, length = open_channel(words, num_channels, channel, header_words)
    mask_x = (1 << bits_x) - 1
    mask_y = (1 << bits_y) - 1
    first_fault = channel_fault
    for j in range(first, last):
        position = np.int64(packed[j])
        x = position & mask_x
        y = (position >> bits_x) & mask_y
        z = position >> (bits_x + bits_y)
        block = x // bx + gx * (y // by + gy * (z // bz))
        fault = channel_fault
        label = labels.dtype.type(0)
        if fault == OK:
            fault, bits, table, entries, values = read_header(
                words, start, length, header_words, block, block_volume, label_words
            )
            code = 0
            if fault == OK and bits != 0:
                bit = bits * (x % bx + bx * (y % by + by * (z % bz)))
                code = (word_at(words, values + (bit >> 5)) >> (bit & 31)) & ((1 << bits) - 1)
                if code >= entries:
                    fault = CODE
            if fault == OK:
                label = _label(words, table, code, labels)
            elif first_fault == OK:
                first_fault = fault + 16 * block
        labels[order[j]] = label
        if fault != OK:
            status[order[j]] = corrupt
    return first_fault


class Kernels(NamedTuple):
    """The two kernels, compiled for labels of one size."""

    decode_box: Callable[..., int]
    read_voxels: Callable[..., int]


def compile_kernels(label_bytes: int) -> Kernels:
    """Compile the kernels, or take them from numba's cache.

    Only this signature is ever compiled: an argument of another type is converted or refused,
    where numba would otherwise spend seconds on one more version.
    """
    label = types.uint64 if label_bytes == 8 else types.uint32
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    words = types.Array(types.uint32, 1, "C", readonly=True)
    labels = types.Array(label, 1, "C")
    packed = types.Array(types.uint64, 1, "C", readonly=True)
    order = types.Array(types.int64, 1, "C", readonly=True)
    status = types.Array(types.uint8, 1, "C")
    chunk = (words, integer, integer, triple, triple)
    points = (packed, integer, integer, integer, integer, order, labels, status, types.uint8)
    return Kernels(
        compile_cached(
            decode_box,
            integer(*chunk, triple, triple, labels, integer, triple, types.boolean),
            parts=(stores, faults),
        ),
        compile_cached(read_voxels, integer(*chunk, *points), parts=(faults,)),
    )
