"""Slices of a crackle encoding, from crack codes to labels, in compiled code. Imports numba.

A slice's connected components are found, compared with their checksum, and given their labels.
"""

# The types of a kernel are those of the signatures in compile_kernels; numba reads no annotations.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.decoding import run_kernels
from shardreader.decoding.crackle import (
    component_kernels,
    crack_codes,
    crc32c_kernels,
    faults,
)
from shardreader.decoding.crackle.component_kernels import find_components
from shardreader.decoding.crackle.crc32c_kernels import CRC_START, updated_crc
from shardreader.decoding.crackle.faults import COMPONENTS, CRC, OK, PINS_DISAGREE
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["compile_decode_slices"]

_BLOCK = 8
_STEP = 1


@inlined
def _paint(memory, at, count, room, value):
    """Write `count` items, and perhaps more of the `room` ones, which are written later.

    Blocks of a known size take fewer branches than runs of any length, most of which are short.
    """
    done = 0
    while done + _BLOCK <= room and done < count:
        for i in range(_BLOCK):
            memory[np.uint64(at + done + i)] = value
        done += _BLOCK
    for i in range(done, count):
        memory[np.uint64(at + i)] = value


@inlined
def _paint_components(size, run_starts, numbers, runs, plane):
    """Write the component number of each voxel of a slice, as uint32."""
    for run in range(runs):
        start = np.int64(run_starts[np.uint64(run)])
        stop = np.int64(run_starts[np.uint64(run + 1)]) if run + 1 < runs else size
        _paint(plane, start, stop - start, size - start, np.uint32(numbers[np.uint64(run)]))


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
def _look_up(plane, first, labels, out, at, step, count):
    for x in range(count):
        number = plane[np.uint64(first + x)]
        out[np.uint64(at + x * step)] = labels[np.uint64(number)]


@inlined
def _write_row(plane, number, first, labels, out, at, step, count):
    """Write `count` labels: of component `number`, or if this is negative of those in `plane`."""
    # The same calls twice, for a compiler that knows the step.
    if number >= 0:
        if step == 1:
            _fill(out, at, _STEP, count, labels[np.uint64(number)])
        else:
            _fill(out, at, step, count, labels[np.uint64(number)])
    elif step == 1:
        _look_up(plane, first, labels, out, at, _STEP, count)
    else:
        _look_up(plane, first, labels, out, at, step, count)


@inlined
def _only_component(y, found, numbers, row_runs):
    """The component of all voxels of a row, negative where there are several."""
    if found == 1:
        return 0
    run = np.int64(row_runs[np.uint64(y)])
    alone = np.int64(row_runs[np.uint64(y + 1)]) - run == 1
    return np.int64(numbers[np.uint64(run)]) if alone else -1


@inlined
def _write_slice(
    sx, sy, found, numbers, row_runs, plane, sum_up, labels, lower, upper, out, at, strides
):
    """Write the labels of a slice from item `at` on; the CRC-32C of its components if asked for."""
    crc = np.uint64(CRC_START)
    for y in range(sy):
        # In turn: a checksum's steps wait for each other, and the writing goes on meanwhile.
        if sum_up:
            crc = updated_crc(crc, plane, 4 * sx * y, 4 * sx)
        if lower[1] <= y < upper[1]:
            _write_row(
                plane,
                _only_component(y, found, numbers, row_runs),
                sx * y + lower[0],
                labels,
                out,
                at + (y - lower[1]) * strides[1],
                strides[0],
                upper[0] - lower[0],
            )
    return np.int64(crc ^ np.uint64(CRC_START))


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
    plane,
    labels,
    branches,
    statuses,
):
    """Decode the part of some slices that lies in a box of x and y.

    Parameters
    ----------
    encoded : (n,) array of uint8
    form : (x, y, permissible, model order, model start)
    code_starts : (z + 1,) array of int64
        Byte of each slice's crack code; they ascend, to the end of the codes inside `encoded`.
    slices : (k,) array of int64
        Which slices are wanted, ascending.
    components, first_keys, keys, values, pins
        As in `labels.SliceLabels`, of the slices from the first to the last that is wanted.
    crcs : (z,) or (0,) array of uint32
        The checksums of the slices' components; none in version 0.
    no_key : int
        The entry of `values` for components without a pin.
    lower, upper : (int, int)
        The box, which must lie inside the slices.
    out, out_start, out_strides
        As in `slices.decode_box`; a step of z for each of `slices`.
    walls, run_starts, numbers, row_runs, plane, labels, branches
        Memory, as `slices` makes it.
    statuses : (k,) array of int64
        Get `faults.OK` or what is wrong with each slice, whose part of `out` is undefined then.
    """
    sx, sy = form[:2]
    crc_of_one = np.int64(-1)
    for i in range(len(slices)):
        z = np.int64(slices[i])
        status, runs, found = find_components(
            encoded,
            code_starts[z],
            code_starts[z + 1],
            form,
            walls,
            branches,
            run_starts,
            numbers,
            row_runs,
        )
        if status == OK and found != components[z]:
            status = COMPONENTS + 16 * found
        if status == OK:
            status = _place_pins(z, pins, keys, first_keys[z], no_key, runs, run_starts, numbers)
        statuses[i] = status
        if status != OK:
            continue
        for number in range(found):
            key = keys[np.uint64(first_keys[z] + number)]
            labels[np.uint64(number)] = values[np.uint64(key)]
        # Slices of one component, of which many chunks are full, have the same checksum.
        sum_up = len(crcs) != 0 and (found != 1 or crc_of_one < 0)
        if found != 1 or sum_up:
            _paint_components(sx * sy, run_starts, numbers, runs, plane)
        at = out_start + i * out_strides[2]
        crc = _write_slice(
            sx,
            sy,
            found,
            numbers,
            row_runs,
            plane,
            sum_up,
            labels,
            lower,
            upper,
            out,
            at,
            out_strides,
        )
        if not sum_up:
            crc = crc_of_one
        elif found == 1:
            crc_of_one = crc
        if len(crcs) != 0 and crc != np.int64(crcs[z]):
            statuses[i] = CRC + 16 * crc


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
            array(label),
            array(integer),
            array(integer),
        ),
        parts=(component_kernels, crack_codes, crc32c_kernels, faults, run_kernels),
    )
