"""The compiled loop that gives chunks other labels and decodes them; importing this imports numba.

Rules as in `kernels`.  A channel is copied with tables of what its labels
become, and then decoded as any other: that is twice as fast as to look values up block by block.
"""

# The types of a kernel are those of the signature in compile_recode; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.decoding.cseg import (
    code_counts,
    faults,
    kernels,
    stores,
    tally_kernels,
    translate_kernels,
)
from shardreader.decoding.cseg.faults import OK
from shardreader.decoding.cseg.kernels import open_channel, read_header
from shardreader.decoding.cseg.stores import fence
from shardreader.decoding.cseg.tally_kernels import triple_of
from shardreader.decoding.cseg.translate_kernels import argument_types, translate_box, value_of
from shardreader.runtime.compiling import compile_cached, inlined

# Tables of more bits may be longer than the chunk; their blocks are few.
_MOST_BITS = 8
_MOST_TABLE_OFFSET = 1 << 24
_LOW_WORD, _WORD_BITS = np.uint64(0xFFFFFFFF), np.uint64(32)

_decode_box = inlined(kernels.decode_box)


@inlined
def _put_table(words, header, label_words, known, values, copy, end):
    """Write what the entries of a table become to `copy` from `end` on; where that ends."""
    bits, table, entries, _ = header
    for code in range(np.int64(1) << bits):
        word = np.uint64(0)
        # The tally has followed the codes of this box: none of them is past the entries.
        if code < entries:
            word = np.uint64(value_of(words, table, code, label_words, known, values))
        copy[np.uint64(end)] = np.uint32(word & _LOW_WORD)
        end += 1
        if values.itemsize == 8:
            copy[np.uint64(end)] = np.uint32(word >> _WORD_BITS)
            end += 1
    return end


@inlined
def _recode(words, channels, cell_shape, block_size, label_words, box, known, values, copy):
    """Copy a channel as an encoding of its own, in the box with new tables behind it.

    The length of the copy, or 0 where that cannot be.
    """
    lower, upper = box
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    header_words = 2 * gx * gy * gz
    fault, start, length = open_channel(words, channels[0], channels[1], header_words)
    if fault != OK or length >= len(copy):
        return 0
    copy[0] = 1  # where the only channel begins
    for i in range(length):
        copy[np.uint64(1 + i)] = words[np.uint64(start + i)]
    value_words = np.int64(values.itemsize >> 2)
    end = 1 + length
    last_table = last_bits = last_end = np.int64(-1)
    for block_z in range(lower[2] // bz, (upper[2] + bz - 1) // bz):
        for block_y in range(lower[1] // by, (upper[1] + by - 1) // by):
            for block_x in range(lower[0] // bx, (upper[0] + bx - 1) // bx):
                block = block_x + gx * (block_y + gy * block_z)
                fault, bits, table, entries, values_at = read_header(
                    words, start, length, header_words, block, bx * by * bz, label_words
                )
                if fault != OK or bits > _MOST_BITS:
                    return 0
                if table != last_table or bits != last_bits:
                    last_table, last_bits, last_end = table, bits, end
                    if end + (value_words << bits) > len(copy) or end > _MOST_TABLE_OFFSET:
                        return 0
                    header = (bits, table, entries, values_at)
                    end = _put_table(words, header, label_words, known, values, copy, end)
                copy[np.uint64(1 + 2 * block)] = np.uint32(bits << 24 | last_end - 1)
    return end


def recode_boxes(
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
    stream,
    copy,
):
    """See :meth:`shardreader.decoding.cseg.tally.LabelTally.decode_as`."""
    status = OK
    for i in range(len(rows)):
        row = np.uint64(rows[i])
        chunk = words[first_words[i] : first_words[i] + lengths[i]]
        channels = (num_channels, channel)
        cell_shape = triple_of(cell_shapes, row)
        box = (triple_of(lowers, row), triple_of(uppers, row))
        known = (slots, labels)
        length = _recode(
            chunk, channels, cell_shape, block_size, label_words, box, known, values, copy
        )
        if length > 0:
            status = _decode_box(
                copy[:length],
                1,
                0,
                cell_shape,
                block_size,
                box[0],
                box[1],
                out,
                out_firsts[row],
                out_strides,
                stream,
            )
        else:
            target = (out, out_firsts[row], out_strides)
            status = translate_box(
                chunk, channels, cell_shape, block_size, label_words, box, known, values, target,
                scratch,
            )  # fmt: skip
        if status != OK:
            break
    if stream:
        fence()
    return status


def compile_recode(value_bytes: int) -> Callable[..., int]:
    """Compile the kernel for values of 4 or 8 bytes, or take it from numba's cache."""
    copy = types.Array(types.uint32, 1, "C")
    signature = types.int64(*argument_types(value_bytes), types.boolean, copy)
    parts = (faults, kernels, stores, tally_kernels, code_counts, translate_kernels)
    return compile_cached(recode_boxes, signature, parts=parts)
