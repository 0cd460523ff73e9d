"""A Volume under the names that code written for cloud-volume uses.

Nothing of cloud-volume is imported or needed.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from shardreader.compat.cloud_volume_boxes import (
    UnsupportedError,
    coordinate_lists,
    index_to_box,
    to_box,
)
from shardreader.compat.cloud_volume_geometry import CloudVolumeGeometry
from shardreader.compat.cloud_volume_types import Bbox, Vec
from shardreader.errors import PointStatus, ShardError
from shardreader.format.grid import Box
from shardreader.pictures.image_files import z_slabs
from shardreader.reading.points import points_to_voxels

__all__ = ["Bbox", "CloudVolumeLike", "UnsupportedError", "Vec"]

# Names of `exists`; some gigabytes of text.
_NAMES_LIMIT = 10_000_000


class CloudVolumeLike(CloudVolumeGeometry):
    """An open `Volume` with the reading half of cloud-volume's ``CloudVolume``.

    The same call gives the same values, in an array of the same shape, dtype and order. What
    differs, on purpose:

    - What is not downloaded raises `NotDownloadedError`, where cloud-volume with
      ``fill_missing=True`` answers 0. Open the volume with ``missing="zero"`` for zeros.
    - A chunk that is not stored in a shard that is here is background by the format: 0, where
      cloud-volume without ``fill_missing`` raises ``EmptyVolumeException``.
    - `exists` looks into shards; cloud-volume looks for a file of the chunk's name, and answers
      False for every chunk of a sharded volume.
    - Coordinates that are no whole voxels are refused, not cut off.
    - Arrays are plain ``numpy.ndarray``, not ``VolumeCutout``. `Vec` and `Bbox` are the ones of
      this package: cloud-volume's own are taken wherever a box is, and compare equal to them.
    - Errors are those of this package: `shardreader.OutOfBoundsError` is an ``IndexError``.
    - One scale is open, that of the volume; `mip` is its index.

    Whatever else ``CloudVolume`` has raises `UnsupportedError`.

    Parameters
    ----------
    vol : Volume

    Examples
    --------
    >>> import shardreader
    >>> vol = CloudVolumeLike(shardreader.open_volume("fixtures/fafb-mini"))
    >>> vol.shape, vol.resolution, vol.mip
    ((124416, 67072, 7063, 1), Vec(8,8,40, dtype=int64), 0)
    >>> vol[61430:61434, 32760:32763, 3060].shape
    (4, 3, 1, 1)
    >>> vol.scattered_points([(61347, 32796, 3045)])
    {(61347, 32796, 3045): np.uint64(2142873971)}
    """

    def __getattr__(self, name: str) -> NoReturn:
        # Python asks for private names of its own (copy, pickle), and may take no for an answer.
        if name.startswith("_"):
            raise AttributeError(name)
        raise UnsupportedError(
            f"CloudVolumeLike has no {name!r}: it reads voxels ([...], download, download_point, "
            "scattered_points, unique, exists) and says what the volume is; use cloud-volume, or "
            "the shardreader.Volume itself, for the rest"
        )

    def __setitem__(self, index: Any, value: Any) -> NoReturn:
        raise UnsupportedError("shardreader only reads; nothing can be assigned to a volume")

    def __repr__(self) -> str:
        return f"CloudVolumeLike({self._vol!r})"

    def __getitem__(self, index: Any) -> NDArray[Any]:
        """Voxels by a `Bbox`, by slices, or by three lists of coordinates.

        Returns
        -------
        ndarray, shape (x, y, z, c), dtype of the volume
            An integer keeps its axis. Three lists of n coordinates give shape (n,).
        """
        if coordinate_lists(index):
            return self._labels_at(np.stack([np.asarray(axis) for axis in index], axis=-1))
        if isinstance(index, Box) or hasattr(index, "minpt"):
            return self.download(index)
        box, selection = index_to_box(index, self._vol.bounds, self.num_channels)
        return self._voxels(box)[selection]

    def download(
        self,
        bbox: Any,
        mip: int | Sequence[float] | None = None,
        parallel: int | None = None,  # noqa: ARG002 (the volume has its own threads)
        segids: Iterable[int] | None = None,
        preserve_zeros: bool = False,
        agglomerate: bool | None = None,
        timestamp: int | None = None,
        stop_layer: int | None = None,
        renumber: bool = False,
        coord_resolution: Sequence[float] | None = None,
        label: int | None = None,
        crackle: bool = False,
    ) -> NDArray[Any]:
        """The voxels of a box.

        Parameters
        ----------
        bbox : Bbox, Box, tuple of slices, or six integers
            In voxels; a Bbox may be in nm.
        mip : int or three numbers, optional
            The open scale.
        parallel : int, optional
            Not used: see ``threads`` of `open_volume`.
        segids : iterable of int, optional
            Other labels become 0, or with `preserve_zeros` the largest value of the type (and 0
            stays).
        coord_resolution : three numbers, optional
            The box is in voxels of this size in nm.
        label : int, optional
            Give bools: where this label is.
        agglomerate, timestamp, stop_layer, renumber, crackle
            `UnsupportedError`.

        Returns
        -------
        ndarray, shape (x, y, z, c), dtype of the volume
            In Fortran order.

        Raises
        ------
        ValueError
            The box holds no voxel.
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError
            As `Volume.cutout`.
        """
        self._check_mip(mip)
        _refuse(
            agglomerate=agglomerate,
            timestamp=timestamp,
            stop_layer=stop_layer,
            renumber=renumber,
            crackle=crackle,
        )
        voxels = self._voxels(self._box(bbox, coord_resolution))
        if label is not None:
            is_label: NDArray[Any] = voxels == self._labels([label])[0]
            return is_label
        if segids is None:
            return voxels
        kept = list(segids)
        mask_value = np.iinfo(self.dtype).max if preserve_zeros else 0
        voxels[~np.isin(voxels, self._labels([*kept, 0] if preserve_zeros else kept))] = mask_value
        return voxels

    def download_point(
        self,
        pt: Sequence[float],
        size: int | Sequence[int] = 256,
        mip: int | Sequence[float] | None = None,
        parallel: int | None = None,  # noqa: ARG002 (the volume has its own threads)
        coord_resolution: Sequence[float] | None = None,
    ) -> NDArray[Any]:
        """The voxels around a point.

        Parameters
        ----------
        pt : three numbers
            In voxels of scale 0, or of `coord_resolution`.
        size : int or three integers
            Extent in voxels of the open scale; an odd one above 1 loses one, as in cloud-volume.
        mip, parallel
            As in `download`.
        coord_resolution : three numbers, optional
            The point is in voxels of this size in nm.

        Returns
        -------
        ndarray, shape (x, y, z, c), dtype of the volume
        """
        self._check_mip(mip)
        edges: Any = [size] * 3 if np.ndim(size) == 0 else size
        extent = [operator.index(edge) for edge in edges]
        voxel = self._points([pt], coord_resolution)[0].tolist()
        lower = [p if n == 1 else p - n // 2 for p, n in zip(voxel, extent, strict=True)]
        upper = [p + 1 if n == 1 else p + n // 2 for p, n in zip(voxel, extent, strict=True)]
        return self._voxels(Box(lower, upper))  # type: ignore[arg-type]

    def scattered_points(
        self,
        pts: Any,
        mip: int | Sequence[float] | None = None,
        coord_resolution: Sequence[float] | None = None,
    ) -> dict[tuple[int, int, int], Any]:
        """The label at each point.

        Parameters
        ----------
        pts : iterable of three numbers each, or one point
            In voxels of scale 0, or of `coord_resolution`.
        mip : int or three numbers, optional
            The open scale.
        coord_resolution : three numbers, optional
            The points are in voxels of this size in nm.

        Returns
        -------
        dict of (int, int, int) to a scalar of `dtype`
            The keys are voxels of the open scale; several points in a voxel are one item.
        """
        self._check_mip(mip)
        points = list(pts)
        if points and np.ndim(points[0]) == 0:
            points = [points]
        if not points:
            return {}
        voxels = np.unique(self._points(points, coord_resolution), axis=0)
        labels = self._labels_at(voxels)
        return {(x, y, z): label for (x, y, z), label in zip(voxels.tolist(), labels, strict=True)}

    def unique(
        self,
        bbox: Any,
        mip: int | Sequence[float] | None = None,
        agglomerate: bool | None = None,
        timestamp: int | None = None,
        stop_layer: int | None = None,
        coord_resolution: Sequence[float] | None = None,
    ) -> set[Any]:
        """The labels in a box, as scalars of `dtype`; 0 is one of them where it occurs.

        The arguments are those of `download`.
        """
        self._check_mip(mip)
        _refuse(agglomerate=agglomerate, timestamp=timestamp, stop_layer=stop_layer)
        box = self._box(bbox, coord_resolution)
        if box.is_empty:
            return set()
        slabs = z_slabs(
            box,
            first_chunk_z=self._vol.voxel_offset[2],
            chunk_depth=self._vol.chunk_size[2],
            bytes_per_voxel=self.dtype.itemsize * self.num_channels,
        )
        return set().union(*(np.unique(self._vol.cutout(slab)) for slab in slabs))

    def exists(self, bbox_or_slices: Any) -> dict[str, bool]:
        """Whether each chunk that a box touches is stored in this copy.

        False does not say background: `Volume.stored_chunks` tells a chunk that the volume does
        not have from one that is not downloaded.

        Returns
        -------
        dict of str to bool
            The names are those of chunk files, ``key/x0-x1_y0-y1_z0-z1``.

        Raises
        ------
        ShardError
            The index says nothing sound about a chunk.
        """
        box = self._box(bbox_or_slices, None)
        touched = self._vol.scale.grid.cells_touching(self._vol.bounds.intersection(box))
        if touched.voxels > _NAMES_LIMIT:
            raise ValueError(
                f"the names of {touched.voxels:,} chunks; ask for {_NAMES_LIMIT:,} at a time, or "
                "use stored_chunks(box) of the Volume"
            )
        cells, status = self._vol.stored_chunks(box)
        found = {}
        for place, code in np.ndenumerate(status):
            lower, upper = self._chunk(np.add(place, cells.lower))
            axes = zip(lower, upper, strict=True)
            name = f"{self.key}/{'_'.join(f'{start}-{stop}' for start, stop in axes)}"
            if code == PointStatus.CORRUPT:
                raise ShardError(
                    f"chunk {name}: its index says nothing sound about it; run: shardreader "
                    f"verify {self._vol.path}"
                )
            found[name] = bool(code == PointStatus.OK)
        return found

    def _box(self, where: Any, coord_resolution: Sequence[float] | None) -> Box:
        return to_box(where, self._vol.bounds, self._vol.resolution, coord_resolution)

    def _voxels(self, box: Box) -> NDArray[Any]:
        if box.is_empty:
            raise ValueError(f"the box {box} holds no voxel")
        voxels: NDArray[Any] = self._vol.cutout(box)
        return voxels[..., np.newaxis] if voxels.ndim == 3 else voxels

    def _points(self, points: Any, coord_resolution: Sequence[float] | None) -> NDArray[np.int64]:
        """Points in voxels of scale 0, or of `coord_resolution`, as voxels of the open scale."""
        first = self.scales[0]["resolution"]
        voxels, status, _ = points_to_voxels(
            np.asarray(points),
            units=None,
            resolution=tuple(first if coord_resolution is None else coord_resolution),
            voxel_size=self._vol.resolution,
            bounds=self._vol.bounds,
        )
        if (status == PointStatus.INVALID).any():
            raise ValueError("a point is not finite")
        return voxels

    def _labels_at(self, voxels: NDArray[Any]) -> NDArray[Any]:
        if self.num_channels > 1:
            raise UnsupportedError(
                f"points of a volume of {self.num_channels} channels (cloud-volume gives the first "
                "alone); use lookup of the Volume"
            )
        labels: NDArray[Any] = self._vol.lookup(voxels, units="voxel")
        return labels

    def _labels(self, labels: Sequence[int]) -> NDArray[Any]:
        """Labels in the type of the volume, exactly."""
        if self.dtype.kind not in "iu":
            raise UnsupportedError(f"labels of a volume of {self.dtype}")
        limits = np.iinfo(self.dtype)
        exact = [operator.index(label) for label in labels]
        if any(not limits.min <= label <= limits.max for label in exact):
            raise ValueError(f"labels of {self.dtype} are from {limits.min} to {limits.max}")
        return np.array(exact, dtype=self.dtype)

    def _chunk(self, cell: NDArray[Any]) -> tuple[tuple[int, ...], tuple[int, ...]]:
        x, y, z = cell.tolist()
        box = self._vol.scale.grid.cell_box((x, y, z))
        return box.lower, box.upper


def _refuse(**arguments: Any) -> None:
    """Refuse arguments that are given and that would change the answer."""
    for name, value in arguments.items():
        if value is not None and value is not False:
            raise UnsupportedError(f"{name}={value!r} is not supported; use cloud-volume for it")
