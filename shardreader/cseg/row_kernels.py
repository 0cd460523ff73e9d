"""The compiled loop that counts the labels of many chunks, each by itself; imports numba.

Rules as in :mod:`shardreader.cseg.kernels`.
"""

# The types of a kernel are those of the signature in compile_rows; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.compiling import compile_cached, inlined
from shardreader.cseg import faults, kernels, tally_kernels
from shardreader.cseg.faults import OK
from shardreader.cseg.tally_kernels import ROOM, SIZE, _tally_box, triple_of

ROW_ROOM = -2
"""Status: the arrays of the rows are too small for the next chunk; call again with larger ones."""

# Members of `progress`: chunks that are done; rows so far.
CHUNKS, ROWS = 0, 1


@inlined
def _clear(state, slots, counts):
    for number in range(state[SIZE]):
        counts[number] = 0
    slots[:] = 0
    state[:] = 0


def count_chunks(
    words,
    first_words,
    lengths,
    rows,
    cell_shapes,
    block_size,
    label_words,
    state,
    slots,
    labels,
    counts,
    extents,
    scratch,
    progress,
    row_chunks,
    row_labels,
    row_counts,
    done,
):
    """See :meth:`shardreader.cseg.chunk_rows.ChunkRows.add_chunks`."""
    tally = (state, slots, labels, counts, extents)
    nowhere = (np.int64(0), np.int64(0), np.int64(0))
    for i in range(progress[CHUNKS], len(rows)):
        progress[CHUNKS] = i
        shape = triple_of(cell_shapes, np.uint64(rows[i]))
        _clear(state, slots, counts)
        status = _tally_box(
            words[first_words[i] : first_words[i] + lengths[i]],
            (np.int64(1), np.int64(0)),
            shape,
            block_size,
            label_words,
            (nowhere, shape, nowhere),
            tally,
            scratch,
        )
        if status == ROOM:
            return ROOM
        if status != OK:
            continue
        if progress[ROWS] + state[SIZE] > len(row_labels):
            return ROW_ROOM
        for number in range(state[SIZE]):
            if labels[number] != 0:
                at = progress[ROWS]
                row_chunks[at] = rows[i]
                row_labels[at] = labels[number]
                row_counts[at] = counts[number]
                progress[ROWS] = at + 1
        done[i] = True
    return OK


def compile_rows() -> Callable[..., int]:
    """Compile the kernel, or take it from numba's cache."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    read = types.Array(integer, 1, "C", readonly=True)
    integers, labels = types.Array(integer, 1, "C"), types.Array(types.uint64, 1, "C")
    table = types.Array(integer, 2, "C")
    signature = integer(
        types.Array(types.uint32, 1, "C", readonly=True),
        *(read, read, read),
        types.Array(integer, 2, "C", readonly=True),
        *(triple, integer),
        *(integers, types.Array(types.int32, 1, "C"), labels, integers, table, integers),
        *(integers, integers, labels, integers),
        types.Array(types.boolean, 1, "C"),
    )
    return compile_cached(count_chunks, signature, parts=(kernels, faults, tally_kernels))
