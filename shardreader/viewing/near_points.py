"""The points of a table that the viewer shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import PointStatus
from shardreader.reading.points import points_to_voxels
from shardreader.tables.point_tables import open_points
from shardreader.viewing.layers import Layer, points_layer
from shardreader.volume import Volume

__all__ = ["MOST_POINTS", "NearPoints", "read_points"]

MOST_POINTS = 10_000
"""The viewer keeps each in its state, and sends that with every move."""

Place = tuple[float, float, float]


@dataclass(frozen=True)
class NearPoints:
    """The layer of a table.

    Parameters
    ----------
    layer : Layer
    place : (float, float, float) or None
        What they are near to, in voxels: where the viewer opens. None without any in the volume.
    notes : tuple of str
        What is not shown.
    """

    layer: Layer
    place: Place | None
    notes: tuple[str, ...]


def read_points(
    volume: Volume,
    path: str,
    *,
    units: str | None,
    resolution: Sequence[float] | None,
    place: Place | None,
) -> NearPoints:
    """Look up the points of a table; of too many, those that are nearest to a place.

    Parameters
    ----------
    volume : Volume
    path : str
        As `open_points` takes it.
    units, resolution
        As in `Volume.lookup`.
    place : (float, float, float) or None
        In voxels; None takes the first point that is inside the volume.

    Raises
    ------
    PointFileError, OSError
        The table cannot be read.
    """
    chosen = _Nearest(volume, place)
    with open_points(path, sys.stdin.buffer) as table:
        for block in table.blocks():
            voxels, status, _ = points_to_voxels(
                block.points,
                units=units,
                resolution=resolution,
                voxel_size=volume.resolution,
                bounds=volume.bounds,
            )
            chosen.add(voxels, status)
    voxels, rows = chosen.result()
    labels, status = volume.lookup(voxels, units="voxel", return_status=True)
    layer = points_layer(voxels + 0.5, labels.tolist(), status.tolist(), (rows + 1).tolist())
    return NearPoints(layer, chosen.place, tuple(_notes(path, chosen, len(rows))))


def _notes(path: str, chosen: _Nearest, shown: int) -> Iterable[str]:
    valid = chosen.total - chosen.invalid
    if shown < valid:
        yield f"{path}: the {shown:,} of {valid:,} points that are nearest to where it opens"
    if chosen.invalid:
        yield f"{path}: {chosen.invalid:,} points are INVALID (no position) and not shown"


class _Nearest:
    """Keeps the points that are nearest to a place, block by block."""

    def __init__(self, volume: Volume, place: Place | None) -> None:
        self.place = place
        self.total = self.invalid = 0
        self._voxel_size = np.array(volume.resolution, dtype=np.float64)
        self._voxels = np.zeros((0, 3), dtype=np.int64)
        self._rows = np.zeros(0, dtype=np.int64)

    def add(self, voxels: NDArray[np.int64], status: NDArray[np.uint8]) -> None:
        """Take the points of one block, with the status that `points_to_voxels` gives."""
        inside = np.flatnonzero(status == PointStatus.OK)
        if self.place is None and len(inside):
            x, y, z = (voxels[inside[0]] + 0.5).tolist()
            self.place = (x, y, z)
        placed = np.flatnonzero(status != PointStatus.INVALID)
        self._voxels = np.concatenate([self._voxels, voxels[placed]])
        self._rows = np.concatenate([self._rows, placed + self.total])
        self.total += len(status)
        self.invalid += len(status) - len(placed)
        self._thin()

    def result(self) -> tuple[NDArray[np.int64], NDArray[Any]]:
        """The voxels, shape (n, 3), and the rows of those that are kept, in the table's order."""
        return self._voxels, self._rows

    def _thin(self) -> None:
        if len(self._rows) <= MOST_POINTS:
            return
        place = self.place or (0.0, 0.0, 0.0)
        distances = np.square((self._voxels + 0.5 - place) * self._voxel_size).sum(axis=1)
        kept = np.sort(np.argpartition(distances, MOST_POINTS)[:MOST_POINTS])
        self._voxels, self._rows = self._voxels[kept], self._rows[kept]
