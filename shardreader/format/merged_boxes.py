"""Few boxes for many cells of a grid."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box

__all__ = ["merged_boxes"]

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
