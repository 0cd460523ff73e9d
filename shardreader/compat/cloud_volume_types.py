"""The two small types in which cloud-volume gives its geometry.

Written here so that code made for cloud-volume finds ``.x`` and ``.minpt`` without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Bbox", "Vec"]


class Vec(np.ndarray[Any, Any]):
    """A short vector with names for its axes.

    Parameters
    ----------
    *values : int or float
        int64 if all are whole numbers by type, else float64.

    Examples
    --------
    >>> size = Vec(8, 8, 40)
    >>> size, int(size.z), size * 2
    (Vec(8,8,40, dtype=int64), 40, Vec(16,16,80, dtype=int64))
    """

    def __new__(cls, *values: float) -> Vec:  # noqa: D102 (said above)
        whole = all(isinstance(value, (int, np.integer)) for value in values)
        return np.array(values, dtype=np.int64 if whole else np.float64).view(cls)

    @property
    def x(self) -> Any:
        """The first value."""
        return self[0]

    @property
    def y(self) -> Any:
        """The second value."""
        return self[1]

    @property
    def z(self) -> Any:
        """The third value."""
        return self[2]

    def __repr__(self) -> str:
        return f"Vec({','.join(map(str, self.tolist()))}, dtype={self.dtype})"


class Bbox:
    """A half-open box of voxels, ``minpt <= voxel < maxpt``.

    Parameters
    ----------
    minpt, maxpt : three integers
        First voxel, and the one past the last.

    Examples
    --------
    >>> box = Bbox((6, 4, 2), (46, 34, 22))
    >>> box
    Bbox([6, 4, 2],[46, 34, 22], unit='vx')
    >>> box.size3(), box.volume()
    (Vec(40,30,20, dtype=int64), 24000)
    """

    unit = "vx"

    def __init__(self, minpt: Iterable[int], maxpt: Iterable[int]) -> None:
        self.minpt = Vec(*minpt)
        self.maxpt = Vec(*maxpt)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.minpt)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the corners."""
        return np.dtype(np.int64)

    def size3(self) -> Vec:
        """Extent in voxels, (x, y, z)."""
        return Vec(*(self.maxpt - self.minpt))

    def volume(self) -> int:
        """How many voxels the box holds."""
        x, y, z = self.size3().tolist()
        return int(x * y * z)

    def center(self) -> NDArray[np.float64]:
        """The middle, (x, y, z)."""
        return Vec(*(self.minpt + self.maxpt) / 2.0)

    def contains(self, point: Iterable[float]) -> bool:
        """Whether a point lies in the box or, as in cloud-volume, on its upper face."""
        place = np.asarray(list(point))
        return bool((place >= self.minpt).all() and (place <= self.maxpt).all())

    def to_list(self) -> list[int]:
        """The six numbers of both corners."""
        return [*self.minpt.tolist(), *self.maxpt.tolist()]

    def to_slices(self) -> tuple[slice, ...]:
        """A slice for each axis."""
        return tuple(map(slice, self.minpt.tolist(), self.maxpt.tolist()))

    def clone(self) -> Bbox:
        """A copy."""
        return Bbox(self.minpt, self.maxpt)

    def __eq__(self, other: object) -> bool:
        if not (hasattr(other, "minpt") and hasattr(other, "maxpt")):
            return NotImplemented
        same = np.array_equal(self.minpt, other.minpt) and np.array_equal(self.maxpt, other.maxpt)
        return same and getattr(other, "unit", "vx") == self.unit

    def __hash__(self) -> int:
        return hash(tuple(self.to_list()))

    def __repr__(self) -> str:
        return f"Bbox({self.minpt.tolist()},{self.maxpt.tolist()}, unit='{self.unit}')"
