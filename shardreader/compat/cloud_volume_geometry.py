"""What cloud-volume's users ask of a volume apart from its voxels. The base of compat."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

import numpy as np

from shardreader.compat.cloud_volume_boxes import UnsupportedError
from shardreader.compat.cloud_volume_types import Bbox, Vec
from shardreader.volume import Volume

__all__ = ["CloudVolumeGeometry"]


class CloudVolumeGeometry:
    """The metadata of one open scale under the names and in the types of cloud-volume.

    Parameters
    ----------
    vol : Volume
    """

    progress: bool = False
    """Set and read by users of cloud-volume; nothing shows progress here."""

    def __init__(self, vol: Volume) -> None:
        if not isinstance(vol, Volume):
            raise TypeError(
                f"CloudVolumeLike takes an open volume, shardreader.open_volume(path); not {vol!r}"
            )
        self._vol = vol

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Extent in voxels and the number of channels, (x, y, z, c)."""
        return *self._vol.scale.size, self._vol.num_channels

    @property
    def ndim(self) -> int:
        """Always 4."""
        return 4

    @property
    def volume_size(self) -> Vec:
        """Extent in voxels, (x, y, z)."""
        return Vec(*self._vol.scale.size)

    @property
    def num_channels(self) -> int:
        """Values a voxel holds."""
        return self._vol.num_channels

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of a voxel."""
        return self._vol.dtype

    @property
    def data_type(self) -> str:
        """Name of the type of a voxel."""
        return str(self._vol.dtype)

    @property
    def layer_type(self) -> str:
        """The ``type`` of the info: "segmentation" or "image"."""
        return str(self.info["type"])

    @property
    def encoding(self) -> str:
        """How the chunks are encoded."""
        return self._vol.scale.encoding

    @property
    def resolution(self) -> Vec:
        """Size of a voxel in nm, (x, y, z)."""
        return Vec(*self._vol.resolution)

    @property
    def voxel_offset(self) -> Vec:
        """The first voxel, (x, y, z)."""
        return Vec(*self._vol.voxel_offset)

    @property
    def bounds(self) -> Bbox:
        """The box of all voxels."""
        return Bbox(self._vol.bounds.lower, self._vol.bounds.upper)

    @property
    def chunk_size(self) -> Vec:
        """Nominal extent of a chunk in voxels, (x, y, z)."""
        return Vec(*self._vol.chunk_size)

    @property
    def underlying(self) -> Vec:
        """The same as `chunk_size`."""
        return self.chunk_size

    @property
    def info(self) -> dict[str, Any]:
        """All members of the ``info`` file; a new copy at each call."""
        return self._vol.info

    @property
    def scales(self) -> list[dict[str, Any]]:
        """The ``scales`` of the info."""
        scales: list[dict[str, Any]] = self.info["scales"]
        return scales

    @property
    def scale(self) -> dict[str, Any]:
        """The member of `scales` that is open."""
        return self.scales[self.mip]

    @property
    def key(self) -> str:
        """Directory of the open scale."""
        return self._vol.scale.key

    @property
    def mip(self) -> int:
        """Index of the open scale; only that one can be set."""
        return self._vol.scale.index

    @mip.setter
    def mip(self, mip: int | Sequence[float]) -> None:
        self._check_mip(mip)

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a volume is not read whole by accident: write vol[...]")

    def __iter__(self) -> NoReturn:
        raise TypeError("a volume is not iterated: read boxes with vol.download(bbox)")

    def _check_mip(self, mip: int | Sequence[float] | None) -> None:
        if mip is None:
            return
        if isinstance(mip, Iterable):
            same = tuple(mip) == tuple(self._vol.resolution)
        else:
            same = operator.index(mip) in (self.mip, self.mip - len(self.scales))
        if not same:
            raise UnsupportedError(
                f"mip {mip!r}: scale {self.mip} is open; open the other one with "
                f"shardreader.open_volume(path, {mip!r})"
            )
