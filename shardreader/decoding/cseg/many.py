"""The kernels over many chunks that lie in one array of words: one call, no interpreter lock.

Importing this imports numba.
"""

# The types of a kernel are those of the signature in compile_many; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numba import types

from shardreader.decoding.cseg import check_kernel, faults, kernels, stores
from shardreader.decoding.cseg.stores import fence
from shardreader.runtime.compiling import compile_cached, inlined

_PARTS = (kernels, check_kernel, faults, stores)
_decode_box = inlined(kernels.decode_box)
_read_voxels = inlined(kernels.read_voxels)
_check_blocks = inlined(check_kernel.check_blocks)


@inlined
def _triple(table, row):
    return table[row, 0], table[row, 1], table[row, 2]


def decode_boxes(
    words,
    first_words,
    lengths,
    rows,
    cell_shapes,
    block_size,
    lowers,
    uppers,
    out,
    out_firsts,
    out_strides,
    stream,
    done,
):
    """See :func:`shardreader.decoding.cseg.decode_boxes`."""
    for i in range(rows.size):
        row = np.uint64(rows[i])
        status = _decode_box(
            words[first_words[i] : first_words[i] + lengths[i]],
            1,
            0,
            _triple(cell_shapes, row),
            block_size,
            _triple(lowers, row),
            _triple(uppers, row),
            out,
            out_firsts[row],
            out_strides,
            stream,
        )
        done[i] = status == 0
    if stream:
        fence()


def read_voxels_of_chunks(
    words,
    first_words,
    lengths,
    rows,
    cell_shapes,
    block_size,
    packed,
    firsts,
    bits_x,
    bits_y,
    order,
    labels,
    status,
    corrupt,
    done,
):
    """See :func:`shardreader.decoding.cseg.read_voxels_of_chunks`."""
    for i in range(rows.size):
        row = np.uint64(rows[i])
        fault = _read_voxels(
            words[first_words[i] : first_words[i] + lengths[i]],
            1,
            0,
            _triple(cell_shapes, row),
            block_size,
            packed,
            firsts[row],
            firsts[row + np.uint64(1)],
            bits_x,
            bits_y,
            order,
            labels,
            status,
            corrupt,
        )
        done[i] = fault == 0


def check_chunks(words, first_words, lengths, rows, cell_shapes, block_size, label_words, done):
    """See :func:`shardreader.decoding.cseg.check_chunks`."""
    for i in range(rows.size):
        fault = _check_blocks(
            words[first_words[i] : first_words[i] + lengths[i]],
            1,
            0,
            _triple(cell_shapes, np.uint64(rows[i])),
            block_size,
            label_words,
        )
        done[i] = fault == 0


class ManyKernels(NamedTuple):
    """The two kernels, compiled for labels of one size."""

    decode_boxes: Callable[..., None]
    read_voxels_of_chunks: Callable[..., None]


def compile_many(label_bytes: int) -> ManyKernels:
    """Compile the kernels, or take them from numba's cache."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    integers = types.Array(integer, 1, "C", readonly=True)
    triples = types.Array(integer, 2, "C", readonly=True)
    labels = types.Array(types.uint64 if label_bytes == 8 else types.uint32, 1, "C")
    packed = types.Array(types.uint64, 1, "C", readonly=True)
    status, done = types.Array(types.uint8, 1, "C"), types.Array(types.boolean, 1, "C")
    chunks = _chunk_types()
    boxes = (triples, triples, labels, integers, triple, types.boolean)
    points = (packed, integers, integer, integer, integers, labels, status, types.uint8)
    return ManyKernels(
        compile_cached(decode_boxes, types.void(*chunks, *boxes, done), parts=_PARTS),
        compile_cached(read_voxels_of_chunks, types.void(*chunks, *points, done), parts=_PARTS),
    )


def compile_check_chunks() -> Callable[..., None]:
    """Compile `check_chunks`, which knows the size of labels from an argument."""
    done = types.Array(types.boolean, 1, "C")
    signature = types.void(*_chunk_types(), types.int64, done)
    return compile_cached(check_chunks, signature, parts=_PARTS)


def _chunk_types():
    integers = types.Array(types.int64, 1, "C", readonly=True)
    return (
        types.Array(types.uint32, 1, "C", readonly=True),
        integers,
        integers,
        integers,
        types.Array(types.int64, 2, "C", readonly=True),
        types.UniTuple(types.int64, 3),
    )
