"""Points and boxes in the user's units to voxels.

There is no default unit: FAFB-FFN1's voxels are 8 x 8 x 40 nm, while fafbseg and CATMAID users
think in 4 x 4 x 40 nm, and a point in the wrong unit lands on another segment without an error.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import PointStatus
from shardreader.format.grid import Box, Triple

__all__ = ["UNITS", "points_to_voxels", "unit_size", "voxel_box"]

UNITS = ("voxel", "nm")
# Sizes of a voxel in nm that arithmetic bears.
_LEAST, _MOST = 1e-30, 1e30
# Far outside every volume (info bounds coordinates to 2**53), and safe to add to.
_FAR = 1 << 60

Resolution = tuple[float, float, float]


def unit_size(
    units: str | None, resolution: Sequence[float] | None, voxel_size: Resolution
) -> Resolution:
    """The size in nm of one unit of the caller's coordinates, along x, y, z.

    Exactly one of `units` and `resolution` must be given.

    Raises
    ------
    TypeError
        Neither or both are given.
    ValueError
        An unknown unit, or a resolution that is not three positive numbers.

    Examples
    --------
    >>> unit_size("nm", None, (8, 8, 40)), unit_size(None, (4, 4, 40), (8, 8, 40))
    ((1, 1, 1), (4, 4, 40))
    """
    if (units is None) == (resolution is None):
        raise TypeError(
            'give one of units="voxel", units="nm" or resolution=(x, y, z) in nm; there is no '
            f"default, because this volume's voxels are {_by(voxel_size)} nm and many tools "
            "count in others (4 x 4 x 40 nm in fafbseg and CATMAID)"
        )
    if units is not None:
        if units not in UNITS:
            raise ValueError(f"units must be 'voxel' or 'nm', not {units!r}")
        return voxel_size if units == "voxel" else (1, 1, 1)
    values: list[Any] = list(resolution) if isinstance(resolution, Iterable) else []
    if len(values) != 3 or not all(_is_number(v) and _LEAST <= v <= _MOST for v in values):
        raise ValueError(
            f"resolution must be three positive numbers (nm, {_LEAST:g} to {_MOST:g}), not "
            f"{resolution!r}"
        )
    return values[0], values[1], values[2]


def voxel_box(
    box: Box | Sequence[Sequence[float]],
    *,
    units: str | None = None,
    resolution: Sequence[float] | None = None,
    voxel_size: Resolution,
) -> Box:
    """A box in the user's units as the smallest `Box` of whole voxels that holds it.

    A `Box` is in voxels already. Anything else is a pair (lower, upper) of three numbers each
    and needs `units` or `resolution`: the lower corner is floored, the upper one ceiled. In
    voxels of this volume the corners must be whole numbers.

    Raises
    ------
    TypeError
        No unit, not a pair of triples, not numbers, or a `Box` with another unit than voxels.
    ValueError
        A corner is NaN, infinite or, in voxels, not whole; lower is above upper.

    Examples
    --------
    >>> voxel_box(((4, 8, 40), (20, 17, 80)), units="nm", voxel_size=(8, 8, 40))
    Box(lower=(0, 1, 1), upper=(3, 3, 2))
    """
    if isinstance(box, Box):
        if resolution is not None or units not in (None, "voxel"):
            raise TypeError("a Box is in voxels; give a pair (lower, upper) for other units")
        return box
    corners = list(box) if hasattr(box, "__iter__") else []
    if len(corners) != 2 or not all(hasattr(c, "__len__") and len(c) == 3 for c in corners):
        raise TypeError(
            "a box is a Box or a pair (lower, upper) of three numbers each, not " + repr(box)
        )
    size = unit_size(units, resolution, voxel_size)
    for value in (*corners[0], *corners[1]):
        if not _is_number(value):
            raise TypeError(f"a corner of a box must be three numbers, not {value!r}")
        if not math.isfinite(value):
            raise ValueError(f"a corner of a box must be finite, not {value!r}")
        if units == "voxel" and value != math.floor(value):
            raise ValueError(f"a box in voxels has whole numbers as corners, not {value!r}")
    lower = [math.floor(_scaled(*item)) for item in zip(corners[0], size, voxel_size, strict=True)]
    upper = [math.ceil(_scaled(*item)) for item in zip(corners[1], size, voxel_size, strict=True)]
    return Box(tuple(lower), tuple(upper))  # type: ignore[arg-type]


def points_to_voxels(
    points: Any,
    *,
    units: str | None,
    resolution: Sequence[float] | None,
    voxel_size: Resolution,
    bounds: Box | None,
) -> tuple[NDArray[np.int64], NDArray[np.uint8], tuple[int, ...]]:
    """Points in the user's units as voxels; floor decides.

    Parameters
    ----------
    points : array-like of shape (..., 3), or a frame with columns x, y, z
    bounds : Box or None
        The volume; None leaves it to the caller to find what is OUT_OF_BOUNDS.

    Returns
    -------
    voxels : ndarray of int64, shape (n, 3), C order
        Meaningless where the status is not OK.
    status : ndarray of uint8, shape (n,)
        `PointStatus` OK, OUT_OF_BOUNDS or INVALID.
    shape : tuple of int
        The shape of `points` without its last axis; n is its product.

    Raises
    ------
    TypeError
        No unit, or points that are not numbers.
    ValueError
        The last axis is not 3 long.
    """
    size = unit_size(units, resolution, voxel_size)
    array = _point_array(points)
    shape = array.shape[:-1]
    flat = array.reshape(-1, 3)
    status = np.zeros(len(flat), dtype=np.uint8)
    if flat.dtype == np.int64 and size == voxel_size:
        voxels = np.ascontiguousarray(flat)
    else:
        if flat.dtype.kind == "f":
            status[~np.isfinite(flat).all(axis=1)] = PointStatus.INVALID
        voxels = np.empty((len(flat), 3), dtype=np.int64)
        ratios = _ratios(size, voxel_size)
        for axis in range(3):
            _to_voxels(flat[:, axis], ratios[axis], voxels[:, axis])
    if bounds is not None:
        for column, first, end in zip(voxels.T, bounds.lower, bounds.upper, strict=True):
            if len(column) and (column.min() < first or column.max() >= end):
                outside = (column < first) | (column >= end)
                status[outside & (status == PointStatus.OK)] = PointStatus.OUT_OF_BOUNDS
    return voxels, status, shape


def _point_array(points: Any) -> NDArray[Any]:
    if hasattr(points, "columns"):
        try:
            columns = [np.asarray(points[axis]) for axis in "xyz"]
        except (KeyError, IndexError):
            raise ValueError("a table of points needs the columns x, y and z") from None
        if any(column.dtype.kind == "b" for column in columns):
            raise TypeError("points must be integers or floats, not bools")
        array = np.stack(columns, axis=-1)
    else:
        array = np.asarray(points)
    if array.size == 0 and array.ndim <= 1:
        array = np.empty((0, 3))
    if array.ndim == 0 or array.shape[-1] != 3:
        raise ValueError(f"points must have the shape (..., 3), not {array.shape}")
    if array.size == 0:
        array = array.astype(np.float64)
    if array.dtype.kind not in "iuf":
        raise TypeError(f"points must be integers or floats, not {array.dtype}")
    return array


@lru_cache(maxsize=64)
def _ratios(size: Resolution, voxel_size: Resolution) -> tuple[Fraction, ...]:
    return tuple(_exact(a) / _exact(b) for a, b in zip(size, voxel_size, strict=True))


def _to_voxels(column: NDArray[Any], ratio: Fraction, voxels: NDArray[np.int64]) -> None:
    """Write floor(column * ratio), exact to the decimal that each number stands for."""
    limit = _FAR // max(ratio.numerator, 1)
    if column.dtype.kind == "f":
        _float_to_voxels(column.astype(np.float64), ratio, voxels)
    elif limit > _FAR >> 24 and ratio.denominator < _FAR:
        # Whatever is clipped here is far outside every volume.
        low = -limit if column.dtype.kind == "i" else 0
        clipped = np.clip(column, *_within(column.dtype, low, limit)).astype(np.int64)
        np.floor_divide(clipped * ratio.numerator, ratio.denominator, out=voxels)
    else:
        _float_to_voxels(column.astype(np.float64), ratio, voxels)


def _within(dtype: np.dtype[Any], low: int, high: int) -> tuple[int, int]:
    """The part of [low, high] that the integer type can hold."""
    limits = np.iinfo(dtype)
    return max(low, int(limits.min)), min(high, int(limits.max))


def _float_to_voxels(
    column: NDArray[np.float64], ratio: Fraction, voxels: NDArray[np.int64]
) -> None:
    numerator, denominator = float(ratio.numerator), float(ratio.denominator)
    column[~np.isfinite(column)] = 0.0
    np.clip(column, -_FAR / numerator, _FAR / numerator, out=column)
    floored = np.floor(column if ratio == 1 else column * numerator / denominator)
    if ratio != 1:
        # The product is rounded, the lower bound of a voxel (one division) is rounded as the
        # user's own decimal was: a point on the bound belongs to the voxel above it.
        floored += column >= (floored + 1) * denominator / numerator
        floored -= column < floored * denominator / numerator
    voxels[:] = floored.astype(np.int64)


def _scaled(value: float, unit: float, voxel: float) -> Fraction:
    """Convert without rounding; a float stands for its shortest decimal form."""
    return _exact(value) * _exact(unit) / _exact(voxel)


def _exact(value: float) -> Fraction:
    if isinstance(value, (int, np.integer)):
        return Fraction(int(value))
    return Fraction(repr(float(value)))


def _is_number(value: object) -> bool:
    kinds = (int, float, np.integer, np.floating)
    return isinstance(value, kinds) and not isinstance(value, (bool, np.bool_))


def _by(triple: Resolution | Triple) -> str:
    return " x ".join(f"{value:g}" for value in triple)
