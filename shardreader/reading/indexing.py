"""``vol[x0:x1, y0:y1, z0:z1]``: an index to a box.

Indices are global voxel coordinates. A negative one is a coordinate and does not count from the
end, because ``voxel_offset`` may be negative.
"""

from __future__ import annotations

import operator
from types import EllipsisType
from typing import Any

import numpy as np

from shardreader.errors import OutOfBoundsError
from shardreader.format.grid import Box

__all__ = ["box_of_index"]

_AXES = "xyz"


def box_of_index(index: Any, bounds: Box, channels: int = 1) -> tuple[Box, tuple[Any, ...]]:
    """The box that an index selects, and what to apply to the voxels read from it.

    Parameters
    ----------
    index : int, slice, Ellipsis or a tuple of them
        Of numpy integers too. An omitted end is the bound, an int drops its axis.
    bounds : Box
        The volume.
    channels : int
        With more than one, a fourth axis c may be indexed.

    Returns
    -------
    box : Box
    selection : tuple
        An index into the array of that box: 0 where an int was given, ``slice(None)`` elsewhere.

    Raises
    ------
    TypeError
        Floats, bools, arrays, steps, or a wrong number of indices.
    ValueError
        A slice that starts after its stop.
    OutOfBoundsError

    Examples
    --------
    >>> box_of_index((slice(2, 4), 7), Box((0, 0, 0), (9, 9, 9)))
    (Box(lower=(2, 7, 0), upper=(4, 8, 9)), (slice(None, None, None), 0, slice(None, None, None)))
    """
    lower, upper, selection = [], [], []
    axes = list(zip(_AXES, bounds.lower, bounds.upper, strict=True))
    if channels > 1:
        axes.append(("c", 0, channels))
    for item, (axis, first, end) in zip(_expanded(index, len(axes)), axes, strict=True):
        if isinstance(item, slice):
            if item.step is not None and _integer(item.step, axis) != 1:
                raise TypeError(f"index of {axis} has a step: read the box, then stride it")
            start = first if item.start is None else _integer(item.start, axis)
            stop = end if item.stop is None else _integer(item.stop, axis)
            if start > stop:
                raise ValueError(
                    f"index of {axis} starts at {start}, after its stop {stop}; indices are voxel "
                    "coordinates: negative ones do not count from the end"
                )
            keep: Any = slice(None)
        else:
            start = _integer(item, axis)
            stop, keep = start + 1, 0
        if start < stop and not first <= start < stop <= end:
            raise OutOfBoundsError(
                f"index of {axis} covers [{start}, {stop}), outside the volume's [{first}, {end}); "
                "indices are voxel coordinates: negative ones do not count from the end"
            )
        if axis == "c":
            keep = slice(start, stop) if isinstance(item, slice) else start
        else:
            lower.append(start)
            upper.append(stop)
        selection.append(keep)
    return Box(tuple(lower), tuple(upper)), tuple(selection)  # type: ignore[arg-type]


def _expanded(index: Any, axes: int) -> list[Any]:
    items = list(index) if isinstance(index, tuple) else [index]
    ellipses = [i for i, item in enumerate(items) if isinstance(item, EllipsisType)]
    if len(ellipses) > 1:
        raise TypeError("an index has at most one Ellipsis (...)")
    given = len(items) - len(ellipses)
    if given > axes:
        raise TypeError(f"{given} indices for a volume of {axes} axes")
    at = ellipses[0] if ellipses else len(items)
    return items[:at] + [slice(None)] * (axes - given) + items[at + len(ellipses) :]


def _integer(item: Any, axis: str) -> int:
    if isinstance(item, (bool, np.bool_)):
        raise TypeError(f"index of {axis} must be an integer or a slice, not the bool {item!r}")
    try:
        return operator.index(item)
    except TypeError:
        raise TypeError(
            f"index of {axis} must be an integer or a slice of integers, not {item!r}"
        ) from None
