"""The pins of a crackle stream, read in compiled code. Importing this imports numba."""

# The types of a kernel are those of the signature in compile_parse_pins.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numba import types

from shardreader.decoding.crackle import crack_codes
from shardreader.decoding.crackle.crack_codes import number_at
from shardreader.runtime.compiling import compile_cached, inlined

__all__ = ["COMPONENT", "CUT", "LEFT_OVER", "OUTSIDE", "TWO_LABELS", "compile_parse_pins"]

CUT, OUTSIDE, COMPONENT, TWO_LABELS, LEFT_OVER = -1, -2, -3, -4, -5


@inlined
def _sum_of(total, step, limit):
    """The next of numbers that are stored as differences, `limit` from there on."""
    # Of 8 bytes a number may be negative here.
    return limit if step < 0 or step >= limit - total else total + step


@inlined
def _read_lines(encoded, at, count, form, slices, key, pins, kept):
    """Read the pins of one label; how many are kept by now, or a fault."""
    _, _, depth_width, _, voxel_width, plane, depth = form
    voxels, tops, bottoms, keys = pins
    depths = at + count * voxel_width
    voxel = np.int64(0)
    for pin in range(count):
        step = number_at(encoded, at + pin * voxel_width, voxel_width)
        voxel = _sum_of(voxel, step, plane * depth)
        below = number_at(encoded, depths + pin * depth_width, depth_width)
        top = voxel // plane
        if top >= depth or below < 0 or below >= depth - top:
            return OUTSIDE
        if top < slices[1] and top + below >= slices[0]:
            voxels[kept], tops[kept], bottoms[kept] = voxel % plane, top, top + below
            keys[kept] = np.uint32(key)
            kept += 1
    return kept


@inlined
def _read_singles(encoded, at, count, width, components, key, keys, no_key):
    """Read the components of one label that are named singly."""
    first, end, every = components
    component = np.int64(0)
    for i in range(count):
        component = _sum_of(component, number_at(encoded, at + i * width, width), every)
        if component >= every:
            return COMPONENT
        if first <= component < end:
            place = np.uint64(component - first)
            if keys[place] != no_key and keys[place] != key:
                return TWO_LABELS
            keys[place] = np.uint32(key)
    return 0


@inlined
def _count_at(encoded, at, end, width, item_bytes):
    """The number of items that follow it, or CUT where there are not so many."""
    if end - at < width:
        return CUT
    count = number_at(encoded, at, width)
    return CUT if count < 0 or count > (end - at - width) // item_bytes else count


def parse_pins(encoded, at, end, form, slices, components, pins, keys, no_key):
    """Read all pins, keep those of some slices, and note the components that are named singly.

    Parameters
    ----------
    encoded : (n,) array of uint8
    at, end : int
        Bytes of the pin section.
    form : (labels, count width, depth width, component width, voxel width, plane, depth)
        Widths in bytes; `plane` is the voxels of a slice, `depth` the slices.
    slices : (int, int)
        The slices ``[first, end)`` that are wanted.
    components : (first, end, all)
        Of the chunk's components those of the slices, and how many there are.
    pins : four arrays of int64, int64, int64, uint32
        Get the voxel in its slice, first and last slice, and key of each pin kept. As long as
        the section can have pins.
    keys : (end - first,) array of uint32
        Get the keys of components that are named singly; `no_key` before.

    Returns
    -------
    int
        How many pins were kept, or one of the faults, which are negative.
    """
    labels, count_width, depth_width, component_width, voxel_width, _, _ = form
    kept = 0
    for key in range(labels):
        count = _count_at(encoded, at, end, count_width, voxel_width + depth_width)
        if count < 0:
            return CUT
        at += count_width
        kept = _read_lines(encoded, at, count, form, slices, key, pins, kept)
        if kept < 0:
            return kept
        at += count * (voxel_width + depth_width)
        count = _count_at(encoded, at, end, count_width, component_width)
        if count < 0:
            return CUT
        at += count_width
        fault = _read_singles(encoded, at, count, component_width, components, key, keys, no_key)
        if fault < 0:
            return fault
        at += count * component_width
    return kept if at == end else LEFT_OVER


def compile_parse_pins() -> Callable[..., int]:
    """Compile the kernel, or take it from numba's cache."""
    integer = types.int64
    numbers = types.Array(integer, 1, "C")
    keys = types.Array(types.uint32, 1, "C")
    return compile_cached(
        parse_pins,
        integer(
            types.Array(types.uint8, 1, "C", readonly=True),
            integer,
            integer,
            types.UniTuple(integer, 7),
            types.UniTuple(integer, 2),
            types.UniTuple(integer, 3),
            types.Tuple((numbers, numbers, numbers, keys)),
            keys,
            types.uint32,
        ),
        parts=(crack_codes,),
    )
