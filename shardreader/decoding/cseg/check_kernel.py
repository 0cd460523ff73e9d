"""The check of an encoding's blocks, of which nothing is decoded. Importing this imports numba."""

# The types of a kernel are those of the signature in compile_check; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.decoding.cseg import faults, kernels
from shardreader.decoding.cseg.faults import CODE, OK
from shardreader.decoding.cseg.kernels import open_channel, read_header, word_at
from shardreader.runtime.compiling import compile_cached, inlined


@inlined
def _joined_codes(part, bits):
    """All codes in some words of values joined by "or": none is larger. One step for each word."""
    joined = np.uint32(0)
    for i in range(part.size):
        joined |= part[np.uint64(i)]
    mask = np.uint32((1 << bits) - 1)
    codes = np.uint32(0)
    for shift in range(0, 32, bits):
        codes |= (joined >> np.uint32(shift)) & mask
    return np.int64(codes)


@inlined
def _largest_code(part, bits):
    """The largest code in some words of values. One step for each code, of many words at once."""
    mask = np.uint32((1 << bits) - 1)
    largest = np.uint32(0)
    for shift in range(0, 32, bits):
        for i in range(part.size):
            code = np.uint32(np.uint32(part[np.uint64(i)] >> np.uint32(shift)) & mask)
            largest = max(largest, code)
    return np.int64(largest)


@inlined
def _any_code_outside(words, bits, entries, values, block_size, shape):
    """Whether one of the block's first `shape` voxels has a code of `entries` or more."""
    mask = (1 << bits) - 1
    for z in range(shape[2]):
        for y in range(shape[1]):
            row = bits * block_size[0] * (y + block_size[1] * z)
            for x in range(shape[0]):
                bit = row + bits * x
                if (word_at(words, values + (bit >> 5)) >> (bit & 31)) & mask >= entries:
                    return True
    return False


def check_blocks(words, num_channels, channel, cell_shape, block_size, label_words):
    """See :func:`shardreader.decoding.cseg.check_blocks`."""
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    header_words = 2 * gx * gy * gz
    status, start, length = open_channel(words, num_channels, channel, header_words)
    if status != OK:
        return status
    for block in range(gx * gy * gz):
        fault, bits, _, entries, values = read_header(
            words, start, length, header_words, block, bx * by * bz, label_words
        )
        if fault != OK:
            return fault + 16 * block
        if (1 << bits) > entries:
            # The tables of few blocks lie so near to the end, but of large blocks most do: first
            # what is quick, padding voxels included, then each voxel of the chunk.
            part = words[values : values + ((bits * bx * by * bz + 31) >> 5)]
            if _joined_codes(part, bits) < entries or _largest_code(part, bits) < entries:
                continue
            x, y, z = block % gx * bx, block // gx % gy * by, block // (gx * gy) * bz
            shape = (
                min(bx, cell_shape[0] - x),
                min(by, cell_shape[1] - y),
                min(bz, cell_shape[2] - z),
            )
            if _any_code_outside(words, bits, entries, values, block_size, shape):
                return CODE + 16 * block
    return OK


def compile_check() -> Callable[..., int]:
    """Compile `check_blocks`, which knows the size of labels from an argument."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    words = types.Array(types.uint32, 1, "C", readonly=True)
    return compile_cached(
        check_blocks,
        integer(words, integer, integer, triple, triple, integer),
        parts=(kernels, faults),
    )
