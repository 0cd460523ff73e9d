"""Slices of a crackle encoding, from crack codes to labels, in compiled code. Imports numba.

Each slice is drawn as two bit maps of the cracks between its voxels. Runs of voxels along x are
then joined to connected components, numbered in the order of their first voxels, x fastest.
"""

# The types of a kernel are those of the signatures in compile_kernels; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from shardreader.decoding.crackle import crack_codes, crc32c_kernels, faults
from shardreader.decoding.crackle.crack_codes import draw_cracks
from shardreader.decoding.crackle.crc32c_kernels import CRC_START, updated_crc
from shardreader.decoding.crackle.faults import COMPONENTS, CRC, OK, PINS_DISAGREE
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["compile_decode_slices"]

_1 = np.uint64(1)


def _lowest_bit(_context: Any, word: Any) -> tuple[Any, Any]:
    """The number of the lowest bit that is set in a uint64 other than 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(word), generate


lowest_bit: Any = intrinsic(_lowest_bit)


@inlined
def _bits_inside(word, sx):
    """The bits of a word of a row that stand for voxels."""
    left = sx - 64 * word
    return ~np.uint64(0) if left >= 64 else (_1 << np.uint64(left)) - _1


@inlined
def _turn_around(walls, sx, sy, words):
    """Make walls of cracks that are drawn where voxels connect."""
    for row in range(2 * sy):
        for word in range(words):
            at = np.uint64(row * words + word)
            walls[at] = ~walls[at] & _bits_inside(word, sx)


@inlined
def _find_runs(walls, sx, sy, words, run_starts, parents, row_runs):
    """Note where runs begin, each a component of its own; how many there are."""
    runs = 0
    for y in range(sy):
        row_runs[y] = runs
        for word in range(words):
            bits = walls[np.uint64(y * words + word)]
            if word == 0:
                bits |= _1
            first = y * sx + 64 * word
            while bits != 0:
                run_starts[np.uint64(runs)] = first + np.int64(lowest_bit(bits))
                parents[np.uint64(runs)] = runs
                runs += 1
                bits &= bits - _1
    row_runs[sy] = runs
    return runs


@inlined
def _root(parents, run):
    at = np.int64(run)
    while parents[np.uint64(at)] != at:
        parents[np.uint64(at)] = parents[np.uint64(parents[np.uint64(at)])]
        at = np.int64(parents[np.uint64(at)])
    return at


@inlined
def _join_rows(walls, sx, sy, words, run_starts, parents, row_runs):
    """Join the runs of neighbouring rows that no wall parts."""
    for y in range(1, sy):
        here, above = np.int64(row_runs[y]), np.int64(row_runs[y - 1])
        here_end, above_end = np.int64(row_runs[y + 1]) - 1, here - 1
        open_before = np.uint64(0)
        for word in range(words):
            at = y * words + word
            is_open = ~walls[np.uint64(sy * words + at)] & _bits_inside(word, sx)
            # One look for each pair of runs that touch is enough.
            looks = is_open & (
                walls[np.uint64(at)] | walls[np.uint64(at - words)] | ~(is_open << _1 | open_before)
            )
            open_before = is_open >> np.uint64(63)
            while looks != 0:
                x = 64 * word + np.int64(lowest_bit(looks))
                looks &= looks - _1
                while here < here_end and run_starts[np.uint64(here + 1)] <= y * sx + x:
                    here += 1
                while above < above_end and run_starts[np.uint64(above + 1)] <= (y - 1) * sx + x:
                    above += 1
                a, b = _root(parents, here), _root(parents, above)
                if a < b:
                    parents[np.uint64(b)] = a
                else:
                    parents[np.uint64(a)] = b


@inlined
def _number_components(parents, runs):
    """Replace what each run is joined to by the number of its component; how many there are."""
    components = 0
    for run in range(runs):
        parent = np.int64(parents[np.uint64(run)])
        if parent == run:
            parents[np.uint64(run)] = components
            components += 1
        else:
            # It comes before this one and has its number already.
            parents[np.uint64(run)] = parents[np.uint64(parent)]
    return components


@inlined
def _crc_of_slice(sx, sy, run_starts, numbers, row_runs, row):
    """The CRC-32C of the component numbers of all voxels, as uint32."""
    crc = np.uint64(CRC_START)
    filled_with = np.int64(-1)
    for y in range(sy):
        first, end = np.int64(row_runs[y]), np.int64(row_runs[y + 1])
        if end - first > 1 or np.int64(numbers[np.uint64(first)]) != filled_with:
            for run in range(first, end):
                number = np.uint32(numbers[np.uint64(run)])
                start = np.int64(run_starts[np.uint64(run)]) - y * sx
                stop = np.int64(run_starts[np.uint64(run + 1)]) - y * sx if run + 1 < end else sx
                for x in range(start, stop):
                    row[np.uint64(x)] = number
            filled_with = np.int64(numbers[np.uint64(first)]) if end - first == 1 else -1
        crc = updated_crc(crc, row, 0, 4 * sx)
    return np.int64(crc ^ np.uint64(CRC_START))


@inlined
def _component_at(voxel, runs, run_starts, numbers):
    low, high = 0, runs
    while high - low > 1:
        middle = (low + high) >> 1
        if run_starts[np.uint64(middle)] <= voxel:
            low = middle
        else:
            high = middle
    return np.int64(numbers[np.uint64(low)])


@inlined
def _place_pins(z, pins, keys, first_key, no_key, runs, run_starts, numbers):
    """Give the components that pins go through their labels."""
    voxels, tops, bottoms, pin_keys = pins
    for pin in range(len(voxels)):
        if tops[pin] <= z <= bottoms[pin]:
            at = first_key + _component_at(voxels[pin], runs, run_starts, numbers)
            if keys[np.uint64(at)] != no_key and keys[np.uint64(at)] != pin_keys[pin]:
                return PINS_DISAGREE + 16 * at
            keys[np.uint64(at)] = pin_keys[pin]
    return OK


@inlined
def _fill(out, at, step, count, label):
    for x in range(count):
        out[np.uint64(at + x * step)] = label


@inlined
def _fill_row(out, at, count, label):
    for x in range(count):
        out[np.uint64(at + x)] = label


@inlined
def _write_slice(
    sx, lower, upper, run_starts, row_runs, numbers, keys, first_key, values, out, at, strides
):
    """Write the labels of a slice's voxels ``[lower, upper)`` of x and y."""
    for y in range(lower[1], upper[1]):
        target = at + (y - lower[1]) * strides[1]
        end = np.int64(row_runs[y + 1])
        for run in range(np.int64(row_runs[y]), end):
            start = np.int64(run_starts[np.uint64(run)]) - y * sx
            stop = np.int64(run_starts[np.uint64(run + 1)]) - y * sx if run + 1 < end else sx
            start, stop = max(start, lower[0]), min(stop, upper[0])
            key = keys[np.uint64(first_key + np.int64(numbers[np.uint64(run)]))]
            label = values[np.uint64(key)]
            first = target + (start - lower[0]) * strides[0]
            if strides[0] == 1:
                _fill_row(out, first, stop - start, label)
            else:
                _fill(out, first, strides[0], stop - start, label)


def decode_slices(
    encoded,
    form,
    code_starts,
    slices,
    components,
    first_keys,
    crcs,
    keys,
    no_key,
    values,
    pins,
    lower,
    upper,
    out,
    out_start,
    out_strides,
    walls,
    run_starts,
    numbers,
    row_runs,
    row,
    branches,
    statuses,
):
    """See `shardreader.decoding.crackle.slices.decode_slices`."""
    sx, sy, permissible, order, model = form
    words = (sx + 63) >> 6
    for i in range(len(slices)):
        z = np.int64(slices[i])
        walls[:] = 0
        status = draw_cracks(
            encoded,
            code_starts[z],
            code_starts[z + 1],
            order,
            model,
            sx,
            sy,
            words,
            walls,
            branches,
        )
        if status != OK:
            statuses[i] = status
            continue
        if permissible != 0:
            _turn_around(walls, sx, sy, words)
        runs = _find_runs(walls, sx, sy, words, run_starts, numbers, row_runs)
        _join_rows(walls, sx, sy, words, run_starts, numbers, row_runs)
        found = _number_components(numbers, runs)
        if found != components[z]:
            statuses[i] = COMPONENTS + 16 * found
            continue
        if len(crcs) != 0:
            crc = _crc_of_slice(sx, sy, run_starts, numbers, row_runs, row)
            if crc != np.int64(crcs[z]):
                statuses[i] = CRC + 16 * crc
                continue
        status = _place_pins(z, pins, keys, first_keys[z], no_key, runs, run_starts, numbers)
        if status != OK:
            statuses[i] = status
            continue
        at = out_start + i * out_strides[2]
        _write_slice(
            sx,
            lower,
            upper,
            run_starts,
            row_runs,
            numbers,
            keys,
            first_keys[z],
            values,
            out,
            at,
            out_strides,
        )


def compile_decode_slices(label_bytes: int) -> Callable[..., None]:
    """Compile the kernel for labels of one size, or take it from numba's cache."""
    label = types.Integer.from_bitwidth(8 * label_bytes, signed=False)
    integer, pair, triple = (
        types.int64,
        types.UniTuple(types.int64, 2),
        types.UniTuple(types.int64, 3),
    )

    def array(item, *, readonly=False):
        return types.Array(item, 1, "C", readonly=readonly)

    numbers = array(integer, readonly=True)
    pins = types.Tuple((array(integer), array(integer), array(integer), array(types.uint32)))
    return compile_cached(
        decode_slices,
        types.void(
            array(types.uint8, readonly=True),
            types.UniTuple(integer, 5),
            numbers,
            numbers,
            numbers,
            numbers,
            array(types.uint32, readonly=True),
            array(types.uint32),
            types.uint32,
            array(label),
            pins,
            pair,
            pair,
            array(label),
            integer,
            triple,
            array(types.uint64),
            array(types.int32),
            array(types.int32),
            array(types.int32),
            array(types.uint32),
            array(integer),
            array(integer),
        ),
        parts=(crack_codes, crc32c_kernels, faults),
    )
