"""Boxes, points and chunks of an open scale; `Volume.lookup` and `Volume.stored_chunks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box
from shardreader.reading.box_read import BoxRead, cells_of, check_output, read_box
from shardreader.reading.open_volume import AnyBox, OpenScale, VolumeRole
from shardreader.reading.point_read import PointRead, read_points, refuse_points
from shardreader.reading.points import points_to_voxels

__all__ = ["ReadRole", "look_up", "read_voxels", "statuses_of_chunks"]

# Cells of one search in `statuses_of_chunks`: an edge of 64 is a quarter million at a time.
_TILE_EDGE = 64


class ReadRole(VolumeRole):
    """Labels at points, and what is known of chunks."""

    @overload
    def lookup(
        self,
        points: Any,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        return_status: Literal[False] = ...,
    ) -> NDArray[Any]: ...

    @overload
    def lookup(
        self,
        points: Any,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        return_status: Literal[True],
    ) -> tuple[NDArray[Any], NDArray[np.uint8]]: ...

    @overload
    def lookup(
        self,
        points: Any,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        return_status: bool,
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[np.uint8]]: ...

    def lookup(
        self,
        points: Any,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        return_status: bool = False,
    ) -> Any:
        """The label at each point, read without decoding any other voxel.

        Parameters
        ----------
        points : array-like of shape (..., 3), or a frame with columns x, y, z
            Floor decides the voxel.
        units : {"voxel", "nm"}
        resolution : three numbers
            Points are in voxels of this size in nm. One of the two must be given.
        return_status : bool
            Return a `PointStatus` for each point instead of raising.

        Returns
        -------
        labels : ndarray, shape (...), dtype of the volume
            In input order; 0 where the status is not OK. With more than one channel, (..., c).
        status : ndarray of uint8, shape (...)
            Only with `return_status`.

        Raises
        ------
        ShardError, ChunkError, NotDownloadedError, OutOfBoundsError, ValueError
            For points that are CORRUPT, NOT_DOWNLOADED (unless missing="zero"), OUT_OF_BOUNDS or
            INVALID, in this order; the exception's ``labels`` and ``status`` hold the answer.
            Not with `return_status`.
        ReadError
            The operating system refuses.
        TypeError
            No unit, or points that are not numbers.

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> labels, status = vol.lookup([[-1, 0, 0]], units="voxel", return_status=True)
        >>> from shardreader import PointStatus
        >>> PointStatus(status[0]).name
        'OUT_OF_BOUNDS'
        """
        return look_up(
            self._check_open(),
            points,
            units=units,
            resolution=resolution,
            return_status=return_status,
        )

    def stored_chunks(
        self,
        box: AnyBox,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
    ) -> tuple[Box, NDArray[np.uint8]]:
        """What is known of each chunk that a box touches; reads indices only.

        Parameters
        ----------
        box, units, resolution
            As in `cutout`.

        Returns
        -------
        cells : Box
            The chunks as a box of grid cells.
        status : ndarray of uint8, shape of `cells`
            `PointStatus` OK (stored), EMPTY, NOT_DOWNLOADED or CORRUPT (the index says nothing
            sound about it).

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> cells, status = vol.stored_chunks(Box((4000, 4000, 1000), (4200, 4200, 1040)))
        >>> cells
        Box(lower=(31, 31, 31), upper=(33, 33, 33))
        """
        voxels = self._inside(box, units, resolution)
        return statuses_of_chunks(self._core, voxels)


def read_voxels(scale: OpenScale, voxels: Box, out: NDArray[Any] | None) -> NDArray[Any]:
    """The voxels of a box inside the volume, as `Volume.cutout` without a mapping.

    Parameters
    ----------
    scale : OpenScale
    voxels : Box
    out : ndarray or None
        Takes the voxels and is returned.
    """
    channels = scale.num_channels
    shape = voxels.shape if channels == 1 else (*voxels.shape, channels)
    if out is not None:
        check_output(out, shape, scale.dtype)
    if voxels.is_empty:
        return np.empty(shape, scale.dtype, order="F") if out is None else out
    array = None if scale.few_chunks is None else scale.few_chunks.read_box(voxels, out)
    if array is not None:
        return array
    target = BoxRead(scale.grid, scale.decoder, voxels, scale.dtype, channels, out)
    read_box(scale.source, scale.workers, target, forgive_absent=scale.forgive_absent)
    return target.result()


def look_up(
    scale: OpenScale,
    points: Any,
    *,
    units: str | None,
    resolution: Sequence[float] | None,
    return_status: bool,
) -> Any:
    """The label at each point, as `Volume.lookup`.

    Parameters
    ----------
    scale : OpenScale
    points, units, resolution, return_status
        As in `Volume.lookup`.
    """
    voxels, status, shape = points_to_voxels(
        points,
        units=units,
        resolution=resolution,
        voxel_size=scale.resolution,
        bounds=None,
    )
    if len(status) == 1 and not status[0] and scale.one_point is not None:
        labels = scale.one_point.label(tuple(voxels[0].tolist()))
        if labels is not None:
            answer = labels.reshape(shape)
            return (answer, status.reshape(shape)) if return_status else answer
    read = PointRead(
        *(scale.grid, scale.decoder, voxels, status),
        *(scale.dtype, scale.num_channels, scale.workers),
    )
    if scale.few_chunks is None or not scale.few_chunks.read_points(read):
        read_points(scale.source, scale.workers, read)
    if return_status:
        return read.labels(shape), status.reshape(shape)
    refuse_points(scale.source, read, shape, forgive_absent=scale.forgive_absent)
    return read.labels(shape)


def statuses_of_chunks(scale: OpenScale, voxels: Box) -> tuple[Box, NDArray[np.uint8]]:
    """The chunks that a box touches, as cells, and the `PointStatus` of each; reads indices only.

    Parameters
    ----------
    scale : OpenScale
    voxels : Box
        Inside the volume.
    """
    cells = scale.grid.cells_touching(voxels)
    status = np.zeros(cells.shape, dtype=np.uint8)
    for tile in scale.grid.tiles(cells, _TILE_EDGE):
        found = scale.source.find(cells_of(tile), scale.workers)
        part = tuple(
            slice(a - o, b - o) for a, b, o in zip(tile.lower, tile.upper, cells.lower, strict=True)
        )
        status[part] = found.status.reshape(tile.shape, order="F")
    return cells, status
