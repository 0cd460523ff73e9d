"""What the viewer shows when it opens: layers, place, scale."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.copy_map import CopyMap, ShardState, read_copy_map
from shardreader.errors import OutOfBoundsError, PointStatus
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo
from shardreader.reading.points import points_to_voxels
from shardreader.storage.documents import read_volume_files
from shardreader.viewing.absent import absent_boxes
from shardreader.viewing.layers import SEGMENTS, Layer, absent_layer, damage_layer
from shardreader.viewing.near_points import read_points
from shardreader.viewing.report_boxes import read_damage
from shardreader.volume import Volume

__all__ = ["Scene", "make_scene", "viewer_state"]

_METRES_PER_NM = 1e-9
_OTHERS_ALPHA = 0.15
# The viewer keeps each in its state.
_MOST_DAMAGE = 10_000

Place = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """What is shown of a volume.

    Parameters
    ----------
    scale : ScaleInfo
        Whose voxels the viewer counts in.
    volume_type : {"segmentation", "image"}
    title : str
    position : (float, float, float)
        In voxels.
    layers : tuple of Layer
        Beside the volume.
    notes : tuple of str
        What the user must know.
    """

    scale: ScaleInfo
    volume_type: str
    title: str
    position: Place
    layers: tuple[Layer, ...]
    notes: tuple[str, ...]


def make_scene(
    volume: Volume,
    *,
    at: Sequence[float] | None = None,
    points: str | None = None,
    units: str | None = None,
    resolution: Sequence[float] | None = None,
    report: str | os.PathLike[str] | None = None,
    force: bool = False,
) -> Scene:
    """Read what is to be shown.

    Parameters
    ----------
    volume : Volume
    at : three numbers, optional
        Where to look.
    points : str, optional
        A table, as `open_points` takes it.
    units, resolution
        Of `at` and `points`, as in `Volume.lookup`.
    report : path, optional
        A report of ``verify`` on this copy, as JSON.
    force : bool
        Take the report of a copy under another path.

    Raises
    ------
    OutOfBoundsError
        `at` is outside the volume.
    PointFileError, InfoError, OSError
        A file cannot be used.
    """
    files = read_volume_files(volume.path, volume.scale.index, None)
    found = read_copy_map(files)
    notes: list[str] = []
    layers: list[Layer] = []
    absent = absent_boxes(volume, found)
    if absent is None:
        notes.append("what is not downloaded is not marked: there are too many chunks to look at")
    elif absent:
        layers.append(absent_layer(absent))
    position = None if at is None else _place(volume, at, units, resolution)
    if points is not None:
        near = read_points(volume, points, units=units, resolution=resolution, place=position)
        layers.append(near.layer)
        notes += near.notes
        position = near.place
    if report is not None:
        damage = read_damage(report, files.directory, files.volume, files.scale, force=force)
        layers.append(damage_layer(damage[:_MOST_DAMAGE]))
        if position is None and damage:
            position = _middle(damage[0][0])
        more = f", the first {_MOST_DAMAGE:,} are shown" if len(damage) > _MOST_DAMAGE else ""
        notes.append(f"the report lists {len(damage):,} places with damage{more}")
    return Scene(
        files.scale,
        files.volume.volume_type,
        f"{os.path.basename(volume.path)}: shardreader",
        position or first_position(volume, found),
        tuple(layers),
        tuple(notes),
    )


def viewer_state(scene: Scene, url: str, *, segments: Sequence[int] = ()) -> dict[str, Any]:
    """The JSON that Neuroglancer's state is set to.

    Parameters
    ----------
    scene : Scene
    url : str
        Where the volume is served.
    segments : sequence of int
        Selected from the start; without any, all are in colour.
    """
    volume: dict[str, Any] = {
        "type": scene.volume_type,
        "name": SEGMENTS,
        "source": f"precomputed://{url}",
    }
    if scene.volume_type == "segmentation":
        # Labels may be above 2**53: as text they stay exact.
        volume["segments"] = [str(label) for label in segments]
        volume["selectedAlpha"] = 1
        volume["notSelectedAlpha"] = _OTHERS_ALPHA if segments else 0
    state: dict[str, Any] = {
        "title": scene.title,
        "dimensions": {
            axis: [size * _METRES_PER_NM, "m"]
            for axis, size in zip("xyz", scene.scale.resolution, strict=True)
        },
        "position": list(scene.position),
        "crossSectionScale": 1,
        "projectionScale": 4096,
        "crossSectionBackgroundColor": "#000000",
        "layers": [volume, *(layer.to_json() for layer in scene.layers)],
        "layout": "4panel",
    }
    if scene.layers:
        state["selectedLayer"] = {"layer": scene.layers[-1].name, "visible": True}
    return state


def first_position(volume: Volume, found: CopyMap | None) -> Place:
    """A place with data, as near to the middle of what is here as the indices tell."""
    box = volume.bounds
    here = None if found is None else np.isin(found.states, (ShardState.HERE, ShardState.PARTIAL))
    if found is None or here is None or not here.any():
        return _middle(box)
    x, y, z = _central(np.argwhere(here))
    box = found.voxels(Box((x, y, z), (x + 1, y + 1, z + 1)))
    cells, status = volume.stored_chunks(box)
    stored = np.argwhere(status == PointStatus.OK)
    if not len(stored):
        return _middle(box)
    cell = np.array(cells.lower) + _central(stored)
    return _middle(volume.scale.grid.cell_box(tuple(cell.tolist())))


def _central(places: NDArray[np.intp]) -> tuple[int, int, int]:
    """The one of some places, shape (n, 3), that is nearest to the middle of all."""
    x, y, z = places[np.abs(places - places.mean(axis=0)).sum(axis=1).argmin()].tolist()
    return x, y, z


def _middle(box: Box) -> Place:
    x, y, z = ((a + b) // 2 + 0.5 for a, b in zip(box.lower, box.upper, strict=True))
    return x, y, z


def _place(
    volume: Volume,
    at: Sequence[float],
    units: str | None,
    resolution: Sequence[float] | None,
) -> Place:
    voxels, status, _ = points_to_voxels(
        [list(at)],
        units=units,
        resolution=resolution,
        voxel_size=volume.resolution,
        bounds=volume.bounds,
    )
    if status[0] != PointStatus.OK:
        raise OutOfBoundsError(
            f"--at is outside the volume: voxel {tuple(voxels[0].tolist())}, the volume is "
            f"{volume.bounds}; is the unit right?"
        )
    x, y, z = (voxels[0] + 0.5).tolist()
    return x, y, z
