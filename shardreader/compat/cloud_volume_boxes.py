"""The ways in which cloud-volume's users say a box, as boxes of voxels.

cloud-volume cuts a corner that is no whole voxel off without a word; here it is refused, except
where the caller's own unit (nm, `coord_resolution`) makes it: then both corners are floored, which
is what cloud-volume answers from coordinate 0 up.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from types import EllipsisType
from typing import Any

import numpy as np

from shardreader.errors import OutOfBoundsError
from shardreader.format.grid import Box

__all__ = ["UnsupportedError", "coordinate_lists", "index_to_box", "to_box"]

_AXES = "xyzc"
_FORMS = "a Bbox, a shardreader.Box, a tuple of slices, or six integers (both corners)"

Size = Sequence[float]


class UnsupportedError(NotImplementedError, AttributeError):
    """What cloud-volume can do, and `shardreader.compat.CloudVolumeLike` does not."""


def to_box(where: Any, bounds: Box, voxel_size: Size, coord_resolution: Size | None = None) -> Box:
    """A box as `CloudVolumeLike.download` takes it, in voxels; may be empty.

    Parameters
    ----------
    where : Bbox, Box, slice, tuple of slices, or six integers
        A Bbox is any object with ``minpt``, ``maxpt`` and perhaps ``unit``, "vx" or "nm".
    bounds : Box
        For ends that are not given; nothing is clipped to it.
    voxel_size : three numbers
        In nm.
    coord_resolution : three numbers, optional
        The box is in voxels of this size in nm.

    Examples
    --------
    >>> whole = Box((0, 0, 0), (40, 30, 20))
    >>> to_box((slice(4, 8), slice(None, 9)), whole, (8, 8, 40))
    Box(lower=(4, 0, 0), upper=(8, 9, 20))
    >>> to_box([0, 0, 0, 9, 8, 2], whole, (8, 8, 40), (4, 4, 40))
    Box(lower=(0, 0, 0), upper=(4, 4, 2))
    """
    unit: Size = voxel_size if coord_resolution is None else _sizes(coord_resolution)
    lower: Sequence[Any]
    upper: Sequence[Any]
    if isinstance(where, Box):
        lower, upper = where.lower, where.upper
    elif hasattr(where, "minpt") and hasattr(where, "maxpt"):
        lower, upper = list(where.minpt), list(where.maxpt)
        name = getattr(where, "unit", "vx")
        if name == "nm" and coord_resolution is None:
            unit = (1, 1, 1)
        elif name != "vx":
            raise UnsupportedError(
                f"a Bbox in {name!r}: only 'vx' and, without coord_resolution, 'nm' are read"
            )
    elif isinstance(where, (slice, tuple, list)):
        open_ends = None if coord_resolution is not None else bounds
        lower, upper = _corners(where, open_ends)
    else:
        raise TypeError(f"a box is {_FORMS}; not {where!r}")
    if len(lower) != 3 or len(upper) != 3:
        raise TypeError(f"a box has three axes x, y, z; not {where!r}")
    low = [_floored(*item) for item in zip(lower, unit, voxel_size, strict=True)]
    high = [_floored(*item) for item in zip(upper, unit, voxel_size, strict=True)]
    # A slice that ends before it starts is empty; the corners of a Bbox are in order.
    return Box(tuple(low), tuple(map(max, low, high)))  # type: ignore[arg-type]


def index_to_box(index: Any, bounds: Box, channels: int) -> tuple[Box, tuple[slice, ...]]:
    """``[...]`` as a box and the strides and channels to take of it; no axis is dropped."""
    items = list(index) if isinstance(index, (tuple, list)) else [index]
    at = [i for i, item in enumerate(items) if isinstance(item, EllipsisType)]
    if len(at) > 1 or len(items) - len(at) > 4:
        raise TypeError(
            f"an index has at most four axes x, y, z, c and one Ellipsis; not {index!r}"
        )
    if at:
        items[at[0] : at[0] + 1] = [slice(None)] * (4 - len(items) + 1)
    items += [slice(None)] * (4 - len(items))
    lower, upper, selection = [], [], []
    first = (*bounds.lower, 0)
    end = (*bounds.upper, channels)
    for axis, item, low, high in zip(_AXES, items, first, end, strict=True):
        start, stop, step = _ends(item, axis, low, high)
        if axis != "c":
            lower.append(start)
            upper.append(max(start, stop))
            selection.append(slice(None, None, step))
            continue
        if not low <= start < stop <= high or step != 1:
            raise OutOfBoundsError(f"channels [{start}, {stop}) of {channels}")
        selection.append(slice(start, stop))
    return Box(tuple(lower), tuple(upper)), tuple(selection)  # type: ignore[arg-type]


def coordinate_lists(index: Any) -> bool:
    """Whether an index is three lists of coordinates, one point for each row."""
    kinds = (list, tuple, np.ndarray)
    return (
        isinstance(index, (list, tuple))
        and len(index) == 3
        and all(isinstance(item, kinds) for item in index)
    )


def _corners(where: Any, open_ends: Box | None) -> tuple[list[Any], list[Any]]:
    if isinstance(where, slice):
        where = (where,)
    if len(where) == 6 and not any(isinstance(item, slice) for item in where):
        pairs = list(zip(where[:3], where[3:], strict=True))
        return [min(pair) for pair in pairs], [max(pair) for pair in pairs]
    if len(where) > 3 or not all(isinstance(item, slice) for item in where):
        raise TypeError(f"a box is {_FORMS}; not {where!r}")
    lower, upper = [], []
    slices = [*where, *[slice(None)] * (3 - len(where))]
    for axis, item in enumerate(slices):
        if open_ends is None and None in (item.start, item.stop):
            raise ValueError(f"give both ends of each slice with coord_resolution; not {where!r}")
        low, high = (open_ends.lower[axis], open_ends.upper[axis]) if open_ends else (0, 0)
        start, stop, step = _ends(item, _AXES[axis], low, high)
        if step != 1:
            raise ValueError(f"a box has no steps (index it, vol[::2, ...]); not {where!r}")
        lower.append(start)
        upper.append(stop)
    return lower, upper


def _ends(item: Any, axis: str, low: int, high: int) -> tuple[int, int, int]:
    if not isinstance(item, slice):
        start = _whole(item, axis)
        return start, start + 1, 1
    start = low if item.start is None else _whole(item.start, axis)
    stop = high if item.stop is None else _whole(item.stop, axis)
    step = 1 if item.step is None else _whole(item.step, axis)
    if step < 1:
        raise ValueError(f"the step of {axis} must be 1 or more, not {step}")
    return start, stop, step


def _whole(value: Any, axis: str) -> int:
    number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(
        value, bool
    )
    if not number or not math.isfinite(value) or value != math.floor(value):
        raise TypeError(f"the coordinate of {axis} must be a whole number, not {value!r}")
    return int(value)


def _floored(value: Any, unit: float, voxel: float) -> int:
    if unit == voxel:
        return _whole(value, "a corner")
    if not math.isfinite(value):
        raise ValueError(f"a corner of a box must be finite, not {value!r}")
    # Decimals as they are written: 0.1 is not what a float makes of it.
    return math.floor(Fraction(str(value)) * Fraction(str(unit)) / Fraction(str(voxel)))


def _sizes(resolution: Size) -> list[float]:
    sizes = list(resolution)
    if len(sizes) != 3 or not all(math.isfinite(size) and size > 0 for size in sizes):
        raise ValueError(f"coord_resolution must be three numbers above 0 (nm), not {resolution!r}")
    return sizes
