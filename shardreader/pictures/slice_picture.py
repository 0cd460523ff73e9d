"""`Volume.picture`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import OutOfBoundsError, PointStatus
from shardreader.format.grid import Box
from shardreader.pictures.picture import Picture, take_picture
from shardreader.pictures.slice_plan import plan_slice
from shardreader.reading.open_volume import AnyBox, OpenScale, VolumeRole
from shardreader.reading.points import points_to_voxels
from shardreader.reading.read_role import look_up, statuses_of_chunks

__all__ = ["PictureRole"]

_AXES = "xyz"


class PictureRole(VolumeRole):
    """Pictures of a volume whose labels can be looked up."""

    def picture(
        self,
        *,
        x: float | None = None,
        y: float | None = None,
        z: float | None = None,
        box: AnyBox | None = None,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        segments: Sequence[int] | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Picture:
        """A slice coloured by label; the same label has the same colour in every picture.

        Only the voxels that the picture shows are decoded, at most 1024 along its longer side.

        Parameters
        ----------
        x, y, z : number
            Exactly one: where the slice is. Without `units` and `resolution`, in voxels.
        box : Box or (lower, upper), optional
            The part of the slice to show, as in `cutout`; all of it by default.
        units, resolution
            Of the position and of a `box` that is no `Box`, as in `cutout`.
        segments : sequence of int, optional
            Only these in colour, the others grey.
        progress : callable, optional
            Gets the part that is done, from 0 to 1.

        Returns
        -------
        Picture
            With ``pixels``, ``labels``, ``status`` and ``save(path)``. What is not downloaded is
            hatched and what is damaged red; neither raises.

        Raises
        ------
        OutOfBoundsError
            The slice or the box reaches outside the volume.
        ValueError
            The volume is no segmentation of one channel; the box does not meet the slice.
        TypeError
            Not exactly one of x, y, z.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> box = shardreader.Box((61440, 32768, 3072), (61500, 32800, 3090))
        >>> picture = vol.picture(z=3080, box=box)
        >>> picture.pixels.shape, picture.plan.pixel_nm
        ((544, 1020, 3), 0.47058823529411764)
        """
        scale = self._check_open()
        _refuse_form(scale)
        axis, position = _slice_of(scale, {"x": x, "y": y, "z": z}, units, resolution)
        part = scale.grid.bounds
        if box is not None:
            own_units = (None, None) if isinstance(box, Box) else (units, resolution)
            part = scale.inside(box, *own_units)
        wanted = None if segments is None else _labels(segments, self.dtype)
        return _picture(scale, axis, _slice_box(part, axis, position), wanted, progress)


def _picture(
    scale: OpenScale,
    axis: str,
    box: Box,
    segments: NDArray[Any] | None,
    progress: Callable[[float], None] | None,
) -> Picture:
    """A picture of a box that is one voxel thick along an axis."""
    plan = plan_slice(box, axis, scale.resolution)
    cells, stored = statuses_of_chunks(scale, plan.box)
    grid = scale.grid

    def lookup(voxels: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        # Most chunks of an overview may be absent: then only the index is asked.
        chunks = (voxels - grid.voxel_offset) // grid.chunk_size - cells.lower
        status = stored[chunks[..., 0], chunks[..., 1], chunks[..., 2]]
        labels = np.zeros(status.shape, dtype=scale.dtype)
        here = status == PointStatus.OK
        labels[here], status[here] = look_up(
            scale, voxels[here], units="voxel", resolution=None, return_status=True
        )
        return labels, status

    down = _AXES.index(plan.down)
    return take_picture(
        lookup,
        plan,
        chunk_extent=grid.chunk_size[down],
        first_chunk=grid.voxel_offset[down],
        segments=segments,
        progress=progress,
    )


def _refuse_form(scale: OpenScale) -> None:
    kind = scale.files.volume.volume_type
    if kind != "segmentation" or scale.num_channels != 1 or scale.dtype.kind != "u":
        raise ValueError(
            "a picture is coloured by label: it needs a segmentation with one channel of "
            f"unsigned integers; this is of type {kind}, {scale.num_channels} of {scale.dtype}"
        )


def _slice_of(
    scale: OpenScale,
    positions: dict[str, float | None],
    units: str | None,
    resolution: Sequence[float] | None,
) -> tuple[str, int]:
    """The axis and the voxel coordinate of a slice that is inside the volume."""
    given = {axis: value for axis, value in positions.items() if value is not None}
    if len(given) != 1:
        raise TypeError("give exactly one of x, y and z: where the slice is")
    ((axis, value),) = given.items()
    if units is None and resolution is None:
        units = "voxel"
    bounds = scale.grid.bounds
    voxels, status, _ = points_to_voxels(
        [[value if name == axis else 0 for name in _AXES]],
        units=units,
        resolution=resolution,
        voxel_size=scale.resolution,
        bounds=bounds,
    )
    at = _AXES.index(axis)
    voxel, lower, upper = int(voxels[0, at]), bounds.lower[at], bounds.upper[at]
    if status[0] == PointStatus.INVALID or not lower <= voxel < upper:
        raise OutOfBoundsError(
            f"the slice {axis} = {value} (voxel {voxel}) is outside the volume, whose {axis} "
            f"goes from {lower} to {upper} voxels; is the unit right?"
        )
    return axis, voxel


def _slice_box(part: Box, axis: str, position: int) -> Box:
    """What a slice and a box have in common."""
    at = _AXES.index(axis)
    if not part.lower[at] <= position < part.upper[at] or part.is_empty:
        raise ValueError(f"the slice {axis} = {position} does not meet the box {part} (voxels)")
    lower, upper = list(part.lower), list(part.upper)
    lower[at], upper[at] = position, position + 1
    return Box(tuple(lower), tuple(upper))  # type: ignore[arg-type]


def _labels(segments: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Exact labels of the volume's type; no label has gone through a float."""
    values = [operator.index(segment) for segment in segments]
    most = int(np.iinfo(dtype).max)
    wrong = [value for value in values if not 0 <= value <= most]
    if wrong:
        raise ValueError(f"segments must be from 0 to {most}, the largest {dtype}; not {wrong[0]}")
    return np.array(values, dtype=dtype)
