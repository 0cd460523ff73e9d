"""The compiled search for the nearest voxel of a label; importing this imports numba.

Rules as in `kernels`.  Distances are float64, computed the same way
everywhere; rounding is monotonic, so that no voxel of a block is nearer than the block's corner
that is computed to be nearest.
"""

# The types of a kernel are those of the signature in compile_nearest; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.decoding.cseg import code_counts, faults, kernels, tally_kernels
from shardreader.decoding.cseg.faults import CODE, OK
from shardreader.decoding.cseg.kernels import open_channel, read_header, word_at
from shardreader.decoding.cseg.tally_kernels import label_at
from shardreader.runtime.compiling import compile_cached, inlined


@inlined
def _distance(x, y, z, sizes):
    """Squared distance in nm of a voxel that is so many voxels away."""
    a, b, c = x * sizes[0], y * sizes[1], z * sizes[2]
    return a * a + b * b + c * c


@inlined
def _offer(x, y, z, squared, best, squares, at):
    """Keep a voxel that is nearer than the best one, or as near and before it in z, y, x."""
    if squared > squares[at]:
        return
    if squared == squares[at]:
        if z > best[at, 2]:
            return
        same_z = z == best[at, 2]
        if same_z and (y > best[at, 1] or (y == best[at, 1] and x >= best[at, 0])):
            return
    squares[at] = squared
    best[at, 0], best[at, 1], best[at, 2] = x, y, z


@inlined
def _within(value, low, high):
    """The number of [low, high) that is nearest to a value."""
    return min(max(value, low), high - 1)


@inlined
def _offer_voxels(words, header, block_size, corner, shape, label_words, query, found):
    """Offer the voxels of a block that have the label; only those inside the chunk."""
    label, point, sizes, origin = query
    best, squares, at = found
    bits, table, entries, values = header
    mask = (np.int64(1) << bits) - 1
    last = np.int64(-1)
    wanted = False
    for z in range(shape[2]):
        for y in range(shape[1]):
            row = block_size[0] * (y + block_size[1] * z)
            for x in range(shape[0]):
                bit = bits * (row + x)
                code = (word_at(words, values + (bit >> 5)) >> (bit & 31)) & mask
                if code != last:
                    if code >= entries:
                        return CODE
                    last = code
                    wanted = label_at(words, table, code, label_words) == label
                if wanted:
                    i, j, k = corner[0] + x, corner[1] + y, corner[2] + z
                    squared = _distance(i - point[0], j - point[1], k - point[2], sizes)
                    i, j, k = i + origin[0], j + origin[1], k + origin[2]
                    _offer(i, j, k, squared, best, squares, at)
    return OK


@inlined
def _may_have(words, header, label_words, label):
    """Whether a label is among the entries that a block of few bits can use."""
    bits, table, entries, _ = header
    if bits > 4 or (np.int64(1) << bits) > entries:
        return True
    for code in range(np.int64(1) << bits):
        if label_at(words, table, code, label_words) == label:
            return True
    return False


@inlined
def _search_block(words, channel_words, chunk, block, query, found):
    """A fault or OK, and whether the block is near enough to be looked at."""
    start, length = channel_words
    cell_shape, block_size, label_words = chunk
    label, point, sizes, origin = query
    best, squares, at = found
    bx, by, bz = block_size
    corner = (block[0] * bx, block[1] * by, block[2] * bz)
    shape = (
        min(bx, cell_shape[0] - corner[0]),
        min(by, cell_shape[1] - corner[1]),
        min(bz, cell_shape[2] - corner[2]),
    )
    i = _within(point[0], corner[0], corner[0] + shape[0])
    j = _within(point[1], corner[1], corner[1] + shape[1])
    k = _within(point[2], corner[2], corner[2] + shape[2])
    squared = _distance(i - point[0], j - point[1], k - point[2], sizes)
    if squared > squares[at]:
        return OK, False
    gx = (cell_shape[0] + bx - 1) // bx
    gy = (cell_shape[1] + by - 1) // by
    gz = (cell_shape[2] + bz - 1) // bz
    number = block[0] + gx * (block[1] + gy * block[2])
    fault, bits, table, entries, values = read_header(
        words, start, length, 2 * gx * gy * gz, number, bx * by * bz, label_words
    )
    if fault != OK:
        return fault + 16 * number, True
    header = (bits, table, entries, values)
    if bits == 0:
        if label_at(words, table, np.int64(0), label_words) == label:
            _offer(i + origin[0], j + origin[1], k + origin[2], squared, best, squares, at)
    elif _may_have(words, header, label_words, label):
        fault = _offer_voxels(words, header, block_size, corner, shape, label_words, query, found)
        if fault != OK:
            return fault + 16 * number, True
    return OK, True


@inlined
def _search_ring(words, channel_words, chunk, home, ring, query, found):
    """Search the blocks that are `ring` away from `home` along one axis at least."""
    cell_shape, block_size, _ = chunk
    gx = (cell_shape[0] + block_size[0] - 1) // block_size[0]
    gy = (cell_shape[1] + block_size[1] - 1) // block_size[1]
    gz = (cell_shape[2] + block_size[2] - 1) // block_size[2]
    near = False
    for z in range(max(0, home[2] - ring), min(gz, home[2] + ring + 1)):
        for y in range(max(0, home[1] - ring), min(gy, home[1] + ring + 1)):
            face = ring == 0 or abs(z - home[2]) == ring or abs(y - home[1]) == ring
            for x in range(home[0] - ring, home[0] + ring + 1, 1 if face else 2 * ring):
                if 0 <= x < gx:
                    fault, looked = _search_block(
                        words, channel_words, chunk, (x, y, z), query, found
                    )
                    if fault != OK:
                        return fault, True
                    near = near or looked
    return OK, near


def nearest_voxels(
    words,
    num_channels,
    channel,
    cell_shape,
    block_size,
    label_words,
    origin,
    sizes,
    points,
    labels,
    best,
    squares,
    status,
):
    """See :func:`shardreader.decoding.cseg.nearest.nearest_voxels`."""
    bx, by, bz = block_size
    grid = (
        (cell_shape[0] + bx - 1) // bx,
        (cell_shape[1] + by - 1) // by,
        (cell_shape[2] + bz - 1) // bz,
    )
    header_words = 2 * grid[0] * grid[1] * grid[2]
    fault, start, length = open_channel(words, num_channels, channel, header_words)
    chunk = (cell_shape, block_size, label_words)
    for at in range(len(points)):
        status[at] = fault
        if fault != OK:
            continue
        point = (points[at, 0], points[at, 1], points[at, 2])
        home = (
            _within(point[0], np.int64(0), cell_shape[0]) // bx,
            _within(point[1], np.int64(0), cell_shape[1]) // by,
            _within(point[2], np.int64(0), cell_shape[2]) // bz,
        )
        query = (labels[at], point, sizes, origin)
        found = (best, squares, at)
        # Along each axis a ring is nearer than the next: where all of one is too far, so is the
        # rest.
        for ring in range(max(grid[0], grid[1], grid[2])):
            status[at], near = _search_ring(words, (start, length), chunk, home, ring, query, found)
            if status[at] != OK or not near:
                break


def compile_nearest() -> Callable[..., None]:
    """Compile the kernel, or take it from numba's cache."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    words = types.Array(types.uint32, 1, "C", readonly=True)
    points = types.Array(integer, 2, "C", readonly=True)
    labels = types.Array(types.uint64, 1, "C", readonly=True)
    best, squares = types.Array(integer, 2, "C"), types.Array(types.float64, 1, "C")
    sizes = types.UniTuple(types.float64, 3)
    signature = types.void(
        *(words, integer, integer, triple, triple, integer, triple, sizes),
        *(points, labels, best, squares, types.Array(integer, 1, "C")),
    )
    return compile_cached(
        nearest_voxels, signature, parts=(faults, kernels, tally_kernels, code_counts)
    )
