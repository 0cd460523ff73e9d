"""The kernels of compresso. Importing this imports numba.

Voxels that are no boundary form runs along x, and runs form components. Components are numbered
in the order of their first voxels; their labels are the ids of the stream. Boundaries are rows of
bits, 64 voxels a word, the first voxel in the lowest bit, those behind the row's end 0.
"""

# The types of a kernel are those of the signatures in compile_kernels; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype, types

from shardreader.decoding import run_kernels
from shardreader.decoding.compresso import faults
from shardreader.decoding.compresso.faults import (
    ESCAPE,
    LOCATIONS_CUT,
    LOCATIONS_LEFT,
    NEIGHBOUR,
    OK,
    WINDOW_NUMBER,
    WINDOW_RUN,
    WINDOWS_CUT,
    WINDOWS_LEFT,
)
from shardreader.decoding.run_kernels import bits_inside, lowest_bit, number_components, unite
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["Kernels", "LabelKernels", "compile_kernels", "compile_label_kernels"]

_ALL = np.uint64(0xFFFFFFFFFFFFFFFF)


class Kernels(NamedTuple):
    """The kernels that see no labels."""

    unpack_windows: Callable[..., int]
    count_runs: Callable[..., int]
    find_components: Callable[..., None]


class LabelKernels(NamedTuple):
    """The kernels for one type of label."""

    fill_components: Callable[..., None]
    fill_boundaries: Callable[..., int]


@inlined
def _place_window(value, steps, x, y, z, width, boundaries):
    """Set the bits of a window whose first voxel is (x, y, z), as far as it lies in the slices."""
    inside = _ALL >> np.uint64(64 - min(steps[0], width - x))
    word, shift = x >> 6, np.uint64(x & 63)
    for dz in range(steps[2]):
        for dy in range(steps[1]):
            at = steps[0] * (dy + steps[1] * dz)
            bits = (value >> np.uint64(at)) & inside
            in_slices = 0 <= z + dz < boundaries.shape[0] and y + dy < boundaries.shape[1]
            if bits != 0 and in_slices:
                boundaries[z + dz, y + dy, word] |= bits << shift
                if shift != 0 and word + 1 < boundaries.shape[2]:
                    boundaries[z + dz, y + dy, word + 1] |= bits >> (np.uint64(64) - shift)


def unpack_windows(windows, values, block_grid, steps, width, first_slice, boundaries):
    """Set the boundary bits of the slices from `first_slice` on; all windows are checked.

    `boundaries`, of shape (slices, y, words), is all 0.
    """
    columns, layer = block_grid[0], block_grid[0] * block_grid[1]
    total = layer * block_grid[2]
    num_values = len(values)
    block = 0
    for i in range(len(windows)):
        number = np.int64(windows[i] >> np.uint64(1))
        count = 1
        if windows[i] & np.uint64(1):
            if number == 0 or number > total - block:
                return WINDOW_RUN + 16 * i
            count, number = number, np.int64(0)
        elif block == total:
            return WINDOWS_LEFT + 16 * i
        if number >= num_values:
            return WINDOW_NUMBER + 16 * i
        value = values[number]
        if value != 0:
            for at in range(block, block + count):
                z = at // layer * steps[2] - first_slice
                if -steps[2] < z < boundaries.shape[0]:
                    x, y = at % columns * steps[0], at % layer // columns * steps[1]
                    _place_window(value, steps, x, y, z, width, boundaries)
        block += count
    return OK if block == total else WINDOWS_CUT + 16 * block


@inlined
def _inner_word(boundaries, z, y, word, width):
    """The voxels of a word that are no boundary."""
    return ~boundaries[z, y, word] & bits_inside(word, width)


def count_runs(boundaries, width):
    """How many runs the voxels that are no boundary form."""
    total = 0
    for z in range(boundaries.shape[0]):
        for y in range(boundaries.shape[1]):
            before = np.uint64(0)
            for word in range(boundaries.shape[2]):
                inner = _inner_word(boundaries, z, y, word, width)
                firsts = inner & ~((inner << np.uint64(1)) | before)
                before = inner >> np.uint64(63)
                while firsts != 0:
                    firsts &= firsts - np.uint64(1)
                    total += 1
    return total


@inlined
def _unite_rows(starts, ends, parents, i, last_i, j, last_j):
    """Unite the runs of two rows that have an x in common."""
    while i < last_i and j < last_j:
        if ends[i] > starts[j] and ends[j] > starts[i]:
            unite(parents, i, j)
        if ends[i] < ends[j]:
            i += 1
        else:
            j += 1


@inlined
def _append_runs(boundaries, z, y, width, starts, ends, parents, run):
    """Append the runs of a row; return how many there are now."""
    before = np.uint64(0)
    for word in range(boundaries.shape[2]):
        inner = _inner_word(boundaries, z, y, word, width)
        edges = inner ^ ((inner << np.uint64(1)) | before)
        is_open = before != 0
        before = inner >> np.uint64(63)
        while edges != 0:
            x = 64 * word + np.int64(lowest_bit(edges))
            edges &= edges - np.uint64(1)
            if is_open:
                ends[run] = x
                run += 1
            else:
                starts[run] = x
                parents[run] = run
            is_open = not is_open
    if before != 0:
        ends[run] = width
        run += 1
    return run


def find_components(boundaries, width, in_volume, first_runs, starts, ends, components, per_slice):
    """Number the components of the voxels that are no boundary.

    `first_runs` gets the first run of each row, with the end of all in its last item. The runs
    are ``[starts, ends)`` along x, each with its component. `per_slice` gets how many components
    have their first voxel in each slice.
    """
    slices, rows = boundaries.shape[0], boundaries.shape[1]
    run = 0
    for z in range(slices):
        for y in range(rows):
            row = z * rows + y
            first = run
            first_runs[row] = first
            run = _append_runs(boundaries, z, y, width, starts, ends, components, run)
            if y > 0:
                _unite_rows(starts, ends, components, first_runs[row - 1], first, first, run)
            if in_volume and z > 0:
                above = row - rows
                last = first_runs[above + 1]
                _unite_rows(starts, ends, components, first_runs[above], last, first, run)
    first_runs[slices * rows] = run
    number = 0
    for z in range(slices):
        before = number
        last = first_runs[(z + 1) * rows]
        number = number_components(components, first_runs[z * rows], last, before)
        per_slice[z] = number - before


def fill_components(first_runs, starts, ends, components, ids, width, out):
    """Give runs the labels of their components, and each voxel behind a run its label."""
    for row in range(len(first_runs) - 1):
        base = row * width
        for run in range(first_runs[row], first_runs[row + 1]):
            label = ids[components[run]]
            for x in range(base + starts[run], base + min(ends[run] + 1, width)):
                out[x] = label


@inlined
def _neighbour(code, x, y, z, width, boundaries, vertical):
    """The voxel that a code of 0 to 5 names, as its position in the slices; -1 where that is none.

    It has its label already unless it is a boundary, which no writer refers to.
    """
    if code == 0:
        x -= 1
    elif code == 1:
        x += 1
    elif code == 2:
        y -= 1
    elif code == 3:
        y += 1
    elif not vertical:
        return -1
    elif code == 4:
        z -= 1
    else:
        z += 1
    slices, rows = boundaries.shape[0], boundaries.shape[1]
    if x < 0 or x >= width or y < 0 or y >= rows or z < 0 or z >= slices:
        return -1
    if (boundaries[z, y, x >> 6] >> np.uint64(x & 63)) & np.uint64(1):
        return -1
    return x + width * (y + rows * z)


@inlined
def _copy_labels(bits, base, step, out):
    """Give each voxel of a word whose bit is set the label of the one `step` before it."""
    while bits != 0:
        voxel = base + np.int64(lowest_bit(bits))
        bits &= bits - np.uint64(1)
        out[voxel] = out[voxel - step]


@inlined
def _follow_locations(bits, corner, width, boundaries, vertical, locations, at, end, out):
    """Give each voxel of a word whose bit is set its location's label; return where they end.

    `corner` is the first voxel of the word. The locations from `at` to `end` can be taken.
    """
    x, y, z = corner
    base = x + width * (y + boundaries.shape[1] * z)
    while bits != 0:
        bit = np.int64(lowest_bit(bits))
        bits &= bits - np.uint64(1)
        voxel = base + bit
        if at >= end:
            return LOCATIONS_CUT + 16 * voxel, at
        code = np.uint64(locations[at])
        at += 1
        if code > np.uint64(ESCAPE):
            out[voxel] = code - np.uint64(ESCAPE + 1)
        elif code == np.uint64(ESCAPE):
            if at >= end:
                return LOCATIONS_CUT + 16 * voxel, at
            out[voxel] = locations[at]
            at += 1
        else:
            found = _neighbour(np.int64(code), x + bit, y, z, width, boundaries, vertical)
            if found < 0:
                return NEIGHBOUR + 16 * voxel, at
            out[voxel] = out[found]
    return OK, at


def fill_boundaries(boundaries, width, locations, location_ends, vertical, in_volume, out):
    """Give boundary voxels without a run before them the label of a neighbour or a location's.

    `location_ends` is where the locations of each slice end. `vertical` is whether a location may
    name a voxel of another slice, `in_volume` whether the connectivity is 6.
    """
    slices, rows = boundaries.shape[0], boundaries.shape[1]
    at = 0
    for z in range(slices):
        end = location_ends[z]
        for y in range(rows):
            before = np.uint64(1)
            for word in range(boundaries.shape[2]):
                here = boundaries[z, y, word]
                rest = here & ((here << np.uint64(1)) | before)
                before = here >> np.uint64(63)
                base = 64 * word + width * (y + rows * z)
                if y > 0:
                    other = boundaries[z, y - 1, word]
                    _copy_labels(rest & ~other, base, width, out)
                    rest &= other
                if in_volume and z > 0:
                    other = boundaries[z - 1, y, word]
                    _copy_labels(rest & ~other, base, width * rows, out)
                    rest &= other
                if rest != 0:
                    fault, at = _follow_locations(
                        rest,
                        (64 * word, y, z),
                        width,
                        boundaries,
                        vertical,
                        locations,
                        at,
                        end,
                        out,
                    )
                    if fault != OK:
                        return fault
        if at != end and (z + 1 == slices or location_ends[z + 1] != end):
            return LOCATIONS_LEFT + 16 * z
    return OK


def _array(item: Any, axes: int = 1) -> Any:
    return types.Array(item, axes, "C")


def compile_kernels() -> Kernels:
    """Compile those that see no labels."""
    integer, triple = types.int64, types.UniTuple(types.int64, 3)
    words, bits = _array(types.uint64), _array(types.uint64, 3)
    integers, short = _array(types.int64), _array(types.int32)
    flag = types.boolean
    return Kernels(
        compile_cached(
            unpack_windows,
            integer(words, words, triple, triple, integer, integer, bits),
            parts=(faults,),
        ),
        compile_cached(count_runs, integer(bits, integer), parts=(run_kernels,)),
        compile_cached(
            find_components,
            types.void(bits, integer, flag, integers, short, short, short, integers),
            parts=(run_kernels,),
        ),
    )


def compile_label_kernels(dtype: np.dtype[Any]) -> LabelKernels:
    """Compile those for one type of label."""
    integer, flag = types.int64, types.boolean
    labels, bits = _array(from_dtype(dtype)), _array(types.uint64, 3)
    integers, short = _array(types.int64), _array(types.int32)
    return LabelKernels(
        compile_cached(
            fill_components, types.void(integers, short, short, short, labels, integer, labels)
        ),
        compile_cached(
            fill_boundaries,
            integer(bits, integer, labels, integers, flag, flag, labels),
            parts=(faults, run_kernels),
        ),
    )
