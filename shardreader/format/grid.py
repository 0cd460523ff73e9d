"""Boxes of voxels and the grid of chunks."""

from __future__ import annotations

import operator
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import SupportsIndex, TypeVar

import numpy as np
from numpy.typing import NDArray

__all__ = ["Box", "ChunkGrid", "Triple", "int_triple", "merged_boxes", "triples"]

Triple = tuple[int, int, int]


def int_triple(value: Sequence[SupportsIndex], name: str) -> Triple:
    """Three exact integers; floats, bools and other lengths are refused with `name`."""
    if isinstance(value, (str, bytes, AbstractSet, Mapping)) or not hasattr(value, "__len__"):
        raise TypeError(f"{name} must be three integers (x, y, z), not {value!r}")
    if len(value) != 3:
        raise TypeError(f"{name} must be three integers (x, y, z), not {value!r}")
    if any(isinstance(item, bool) for item in value):
        raise TypeError(f"{name} must be integers, not bools: {value!r}")
    try:
        x, y, z = (operator.index(item) for item in value)
    except TypeError:
        raise TypeError(f"{name} must be integers, not {value!r}") from None
    return x, y, z


def _is_plain(value: object) -> bool:
    if type(value) is not tuple or len(value) != 3:
        return False
    x, y, z = value
    return type(x) is int and type(y) is int and type(z) is int


def triples(rows: NDArray[np.int64]) -> list[Triple]:
    """The rows of an integer array of shape (n, 3) as Python tuples."""
    return [(x, y, z) for x, y, z in rows.tolist()]


@dataclass(frozen=True)
class Box:
    """A half-open box of voxels, ``lower <= voxel < upper``, in x, y, z order; may be empty.

    Parameters
    ----------
    lower, upper : sequence of three ints
        Global voxel coordinates of the first voxel and of the voxel past the last.

    Raises
    ------
    TypeError
        A corner is not three integers.
    ValueError
        A lower coordinate is above its upper one.

    Examples
    --------
    >>> box = Box((0, 0, 0), (4, 3, 2))
    >>> box.shape, box.voxels
    ((4, 3, 2), 24)
    """

    lower: Triple
    upper: Triple

    def __post_init__(self) -> None:
        lower, upper = self.lower, self.upper
        # Boxes are made many times in each read, most of them from what is three ints already.
        if not (_is_plain(lower) and _is_plain(upper)):
            lower = int_triple(lower, "lower corner of a Box")
            upper = int_triple(upper, "upper corner of a Box")
            object.__setattr__(self, "lower", lower)
            object.__setattr__(self, "upper", upper)
        if lower[0] > upper[0] or lower[1] > upper[1] or lower[2] > upper[2]:
            raise ValueError(f"lower corner {lower} of a Box is above its upper corner {upper}")

    @property
    def shape(self) -> Triple:
        """Extent in voxels, (x, y, z)."""
        (a, b, c), (x, y, z) = self.lower, self.upper
        return x - a, y - b, z - c

    @property
    def voxels(self) -> int:
        """How many voxels the box holds."""
        return prod(self.shape)

    @property
    def is_empty(self) -> bool:
        """Whether the box holds no voxel."""
        (a, b, c), (x, y, z) = self.lower, self.upper
        return a == x or b == y or c == z

    def contains(self, other: Box) -> bool:
        """Whether every voxel of `other` is in this box; an empty box is in every box."""
        (a, b, c), (x, y, z) = self.lower, self.upper
        (d, e, f), (u, v, w) = other.lower, other.upper
        inside = a <= d and b <= e and c <= f and u <= x and v <= y and w <= z
        return inside or other.is_empty

    def intersection(self, other: Box) -> Box:
        """The voxels that are in both boxes; an empty box where there are none."""
        lower = tuple(map(max, self.lower, other.lower))
        upper = tuple(map(max, lower, map(min, self.upper, other.upper)))
        return Box(lower, upper)  # type: ignore[arg-type]

    def __str__(self) -> str:
        return f"{self.lower} to {self.upper}"


@dataclass(frozen=True)
class ChunkGrid:
    """The regular grid of chunks over a volume; chunks at the upper faces are clipped.

    Specification: volume.md, "Chunked representation of volume data".

    Parameters
    ----------
    size : (int, int, int)
        Extent of the volume in voxels.
    voxel_offset : (int, int, int)
        Global coordinate of the volume's first voxel; may be negative.
    chunk_size : (int, int, int)
        Nominal extent of a chunk in voxels.

    Examples
    --------
    >>> grid = ChunkGrid((124416, 67072, 7063), (0, 0, 0), (128, 128, 32))
    >>> grid.grid_size
    (972, 524, 221)
    >>> grid.cell_shape((971, 523, 220))
    (128, 128, 23)
    """

    size: Triple
    voxel_offset: Triple
    chunk_size: Triple

    @cached_property
    def grid_size(self) -> Triple:
        """How many cells the grid has along x, y, z."""
        x, y, z = (-(-s // c) for s, c in zip(self.size, self.chunk_size, strict=True))
        return x, y, z

    @cached_property
    def bounds(self) -> Box:
        """The voxel box of the whole volume."""
        upper = tuple(o + s for o, s in zip(self.voxel_offset, self.size, strict=True))
        return Box(self.voxel_offset, upper)  # type: ignore[arg-type]

    @cached_property
    def table(self) -> NDArray[np.int64]:
        """The grid for compiled code, int64 of shape (4, 3).

        First voxel, end of the bounds, chunk size, and its logarithm to the base 2; -1 where that
        is not whole.
        """
        shifts = [(c - 1).bit_length() if c & (c - 1) == 0 else -1 for c in self.chunk_size]
        rows = (self.bounds.lower, self.bounds.upper, self.chunk_size, shifts)
        table = np.array(rows, dtype=np.int64)
        table.flags.writeable = False
        return table

    def cell_box(self, cell: Triple) -> Box:
        """The voxels of one cell, clipped to the volume."""
        lower = tuple(
            o + g * c for o, g, c in zip(self.voxel_offset, cell, self.chunk_size, strict=True)
        )
        upper = tuple(a + c for a, c in zip(lower, self.chunk_size, strict=True))
        return self.bounds.intersection(Box(lower, upper))  # type: ignore[arg-type]

    def cell_shape(self, cell: Triple) -> Triple:
        """The clipped extent of one cell in voxels."""
        return self.cell_box(cell).shape

    def file_names(self, cells: NDArray[np.int64]) -> list[str]:
        """The names of the chunks at `cells` (shape (n, 3)) as files of an unsharded scale."""
        lowers, shapes = self.cell_extents(cells)
        return [
            f"{x0}-{x1}_{y0}-{y1}_{z0}-{z1}"
            for (x0, y0, z0), (x1, y1, z1) in zip(
                lowers.tolist(), (lowers + shapes).tolist(), strict=True
            )
        ]

    def cell_extents(self, cells: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Lower corners (global) and clipped shapes of many cells, all int64 of shape (n, 3)."""
        relative = cells * np.array(self.chunk_size, dtype=np.int64)
        shapes = np.minimum(
            np.array(self.chunk_size, dtype=np.int64),
            np.array(self.size, dtype=np.int64) - relative,
        )
        return relative + np.array(self.voxel_offset, dtype=np.int64), shapes

    def cells_touching(self, box: Box) -> Box:
        """The box of cells that hold a voxel of `box`, which must lie inside the bounds."""
        if box.is_empty:
            return Box((0, 0, 0), (0, 0, 0))
        (ax, ay, az), (bx, by, bz) = box.lower, box.upper
        (ox, oy, oz), (cx, cy, cz) = self.voxel_offset, self.chunk_size
        # Written out: each small read passes here.
        return Box(
            ((ax - ox) // cx, (ay - oy) // cy, (az - oz) // cz),
            (-((ox - bx) // cx), -((oy - by) // cy), -((oz - bz) // cz)),
        )

    def tiles(self, cells: Box, edge: int) -> Iterator[Box]:
        """Cut a box of cells at multiples of `edge`, so that a huge one is worked off in parts."""
        if cells.is_empty:
            return
        cuts = []
        for a, b in zip(cells.lower, cells.upper, strict=True):
            inner = range(a // edge * edge + edge, b, edge)
            cuts.append(list(zip([a, *inner], [*inner, b], strict=True)))
        for z0, z1 in cuts[2]:
            for y0, y1 in cuts[1]:
                for x0, x1 in cuts[0]:
                    yield Box((x0, y0, z0), (x1, y1, z1))


_Shape = TypeVar("_Shape", bound=Hashable)


def merged_boxes(mask: NDArray[np.bool_]) -> list[Box]:
    """Boxes of cells, apart from each other, that hold exactly the cells that are True.

    Neighbours along x are joined first, then equal rows along y, then equal fields along z: not
    the fewest boxes, but few where the cells lie in blocks.

    Parameters
    ----------
    mask : ndarray of bool, shape (x, y, z)

    Examples
    --------
    >>> mask = np.zeros((4, 3, 2), np.bool_)
    >>> mask[1:3] = True
    >>> merged_boxes(mask)
    [Box(lower=(1, 0, 0), upper=(3, 3, 2))]
    """
    fields = (_joined(_runs(row) for row in mask[:, :, z].T) for z in range(mask.shape[2]))
    return [Box((x0, y0, z0), (x1, y1, z1)) for (((x0, x1), y0, y1), z0, z1) in _joined(fields)]


def _runs(row: NDArray[np.bool_]) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(row.astype(np.int8), prepend=0, append=0)).tolist()
    return list(zip(edges[::2], edges[1::2], strict=True))


def _joined(layers: Iterable[Iterable[_Shape]]) -> list[tuple[_Shape, int, int]]:
    """The shapes of successive layers, each with the first layer that has it and the one past."""
    return list(_spans(layers))


def _spans(layers: Iterable[Iterable[_Shape]]) -> Iterator[tuple[_Shape, int, int]]:
    begun: dict[_Shape, int] = {}
    number = 0
    for number, layer in enumerate(layers):
        shapes = dict.fromkeys(layer)
        for shape in [shape for shape in begun if shape not in shapes]:
            yield shape, begun.pop(shape), number
        for shape in shapes:
            begun.setdefault(shape, number)
    for shape, first in begun.items():
        yield shape, first, number + 1
