"""The compiled loop that counts the labels of many chunks, each by itself; imports numba.

Rules as in `kernels`.
"""

# The types of a kernel are those of the signature in compile_rows; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.decoding.cseg import code_counts, faults, kernels, tally_kernels
from shardreader.decoding.cseg.code_counts import USUAL, add_codes, add_usual_codes
from shardreader.decoding.cseg.faults import CODE, OK
from shardreader.decoding.cseg.kernels import open_channel, read_header
from shardreader.decoding.cseg.tally_kernels import (
    ROOM,
    SIZE,
    add_label,
    label_at,
    place_of,
    tally_large,
    triple_of,
)
from shardreader.runtime.compiling import compile_cached, inlined

ROW_ROOM = -2
"""Status: the arrays of the rows are too small for the next chunk; call again with larger ones."""

# A member of `state` besides those of a tally: how many tables were found.
TABLES = 1
NOWHERE = (np.int64(0), np.int64(0), np.int64(0))
# Members of `progress`: chunks that are done; rows so far.
CHUNKS, ROWS = 0, 1


@inlined
def _clear(state, slots, labels, counts):
    # Last in, first out: a label that stays never waits behind a place that is free already.
    for number in range(state[SIZE] - 1, -1, -1):
        slots[place_of(slots, labels, labels[np.uint64(number)])] = 0
        counts[np.uint64(number)] = 0
    state[:] = 0


@inlined
def _note_table(table, codes, state, table_codes, found):
    """Remember that blocks of so many codes have this table."""
    most = np.int64(table_codes[np.uint64(table)])
    if most < codes:
        if most == 0:
            found[np.uint64(state[TABLES])] = table
            state[TABLES] += 1
        table_codes[np.uint64(table)] = codes


@inlined
def _uses_cut_off(table, entries, codes, label_words, entry_voxels):
    """Whether voxels have entries that do not fit into the chunk; no other table has these."""
    for code in range(entries, codes):
        if entry_voxels[np.uint64(table + code * label_words)] != 0:
            return True
    return False


@inlined
def _count_small_blocks(words, start, length, blocks, label_words, state, tables, sums):
    """Count the blocks of up to 4 bits where each has 512 voxels and none is cut off.

    Gives a fault, and how many others there are.
    """
    entry_voxels, table_codes, found = tables
    others = np.int64(0)
    for block in range(blocks):
        fault, bits, table, entries, values = read_header(
            words, start, length, 2 * blocks, block, USUAL, label_words
        )
        if fault != OK:
            return fault, others
        if bits > 4:
            others += 1
            continue
        codes = np.int64(1) << bits
        _note_table(table, codes, state, table_codes, found)
        if bits == 0:
            entry_voxels[np.uint64(table)] += USUAL
            continue
        add_usual_codes(words, bits, values, entry_voxels, table, label_words, sums)
        if _uses_cut_off(table, entries, codes, label_words, entry_voxels):
            return CODE, others
    return OK, others


@inlined
def _count_block(words, header, block_size, shape, label_words, tally, tables, sums):
    """Count one block, of which `shape` is in the chunk."""
    bits, table, entries, values = header
    state, _, labels, _, _ = tally
    entry_voxels, table_codes, found = tables
    codes = np.int64(1) << bits
    voxels = shape[0] * shape[1] * shape[2]
    if bits > 4:
        if state[SIZE] + min(codes, entries, voxels) > len(labels):
            return ROOM
        return tally_large(words, header, block_size, NOWHERE, shape, label_words, NOWHERE, tally)
    _note_table(table, codes, state, table_codes, found)
    if bits == 0:
        entry_voxels[np.uint64(table)] += voxels
        return OK
    place = (words, bits, values, block_size, NOWHERE, shape)
    add_codes(*place, entry_voxels, table, label_words, sums)
    if _uses_cut_off(table, entries, codes, label_words, entry_voxels):
        return CODE
    return OK


@inlined
def _count_blocks(words, cell_shape, block_size, label_words, tally, tables, sums):
    """Count a chunk by the entries of its tables: many blocks have the same one."""
    bx, by, bz = block_size
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    blocks = gx * gy * gz
    fault, start, length = open_channel(words, np.int64(1), np.int64(0), 2 * blocks)
    if fault != OK:
        return fault
    are_whole = gx * bx == cell_shape[0] and gy * by == cell_shape[1] and gz * bz == cell_shape[2]
    is_usual = are_whole and bx * by * bz == USUAL
    others = blocks
    if is_usual:
        fault, others = _count_small_blocks(
            words, start, length, blocks, label_words, tally[0], tables, sums
        )
    if fault != OK or others == 0:
        return fault
    for block in range(blocks):
        fault, bits, table, entries, values = read_header(
            words, start, length, 2 * blocks, block, bx * by * bz, label_words
        )
        if fault != OK:
            return fault
        if is_usual and bits <= 4:
            continue
        x, y, z = block % gx, block // gx % gy, block // (gx * gy)
        shape = (
            min(bx, cell_shape[0] - bx * x),
            min(by, cell_shape[1] - by * y),
            min(bz, cell_shape[2] - bz * z),
        )
        header = (bits, table, entries, values)
        fault = _count_block(words, header, block_size, shape, label_words, tally, tables, sums)
        if fault != OK:
            return fault
    return OK


@inlined
def _empty_tables(words, label_words, is_sound, tally, tables):
    """Give the labels of a sound chunk the voxels of their table entries, and forget these."""
    state, _, labels, _, _ = tally
    entry_voxels, table_codes, found = tables
    fits = True
    for number in range(state[TABLES]):
        table = found[np.uint64(number)]
        codes = np.int64(table_codes[np.uint64(table)])
        table_codes[np.uint64(table)] = 0
        fits = fits and state[SIZE] + codes <= len(labels)
        for code in range(codes):
            entry = np.uint64(table + code * label_words)
            voxels = entry_voxels[entry]
            if voxels != 0:
                entry_voxels[entry] = 0
                if is_sound and fits:
                    add_label(tally, label_at(words, table, code, label_words), voxels)
    return fits


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
    sums,
    progress,
    row_chunks,
    row_labels,
    row_counts,
    entry_voxels,
    table_codes,
    found,
    done,
):
    """See :meth:`shardreader.decoding.cseg.chunk_rows.ChunkRows.add_chunks`."""
    tally = (state, slots, labels, counts, extents)
    tables = (entry_voxels, table_codes, found)
    for i in range(progress[CHUNKS], len(rows)):
        progress[CHUNKS] = i
        _clear(state, slots, labels, counts)
        encoding = words[first_words[i] : first_words[i] + lengths[i]]
        shape = triple_of(cell_shapes, np.uint64(rows[i]))
        status = _count_blocks(encoding, shape, block_size, label_words, tally, tables, sums)
        if not _empty_tables(encoding, label_words, status == OK, tally, tables):
            status = ROOM if status == OK else status
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
        *(integers, types.Array(types.uint8, 1, "C"), integers),
        types.Array(types.boolean, 1, "C"),
    )
    parts = (kernels, faults, tally_kernels, code_counts)
    return compile_cached(count_chunks, signature, parts=parts)
