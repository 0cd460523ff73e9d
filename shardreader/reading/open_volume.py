"""What a volume is, apart from its voxels. The base of `Volume`."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from shardreader.format.grid import Box, Triple
from shardreader.format.info import ScaleInfo
from shardreader.storage.documents import VolumeFiles

__all__ = ["VolumeGeometry"]


class VolumeGeometry:
    """The metadata of one open scale, and the refusals of what would read all of it."""

    # Read and set by code made for cloud-volume (fafbseg's GSPointLoader); shows nothing here.
    progress: bool = False

    def __init__(self, files: VolumeFiles) -> None:
        self._files = files
        self._grid = files.scale.grid

    @property
    def path(self) -> str:
        """The absolute directory of the volume."""
        return self._files.directory

    @property
    def info(self) -> dict[str, Any]:
        """All members of the ``info`` file, unknown ones too; a new copy at each call."""
        return self._files.volume.document

    @property
    def scale(self) -> ScaleInfo:
        """The scale that is open."""
        return self._files.scale

    @property
    def shape(self) -> tuple[int, ...]:
        """Extent in voxels, (x, y, z), and with more than one channel (x, y, z, c)."""
        size = self.scale.size
        return size if self.num_channels == 1 else (*size, self.num_channels)

    @property
    def num_channels(self) -> int:
        """Values a voxel holds."""
        return self._files.volume.num_channels

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        return self._files.volume.dtype

    @property
    def resolution(self) -> tuple[float, float, float]:
        """Size of a voxel in nm, (x, y, z)."""
        return self.scale.resolution

    @property
    def voxel_offset(self) -> Triple:
        """Global coordinate of the first voxel; may be negative."""
        return self.scale.voxel_offset

    @property
    def chunk_size(self) -> Triple:
        """Nominal extent of a chunk in voxels."""
        return self.scale.chunk_size

    @property
    def bounds(self) -> Box:
        """The box of all voxels, in global coordinates."""
        return self._grid.bounds

    def __repr__(self) -> str:
        size = " x ".join(map(str, self.scale.size))
        nm = " x ".join(f"{value:g}" for value in self.resolution)
        return (
            f"<Volume {self.path} scale {self.scale.key!r}: {size} voxels of {nm} nm, {self.dtype}>"
        )

    def __array__(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a Volume is not read whole by accident: write vol[...] or vol.cutout(box)")

    def __len__(self) -> NoReturn:
        raise TypeError("a Volume has no length: see vol.shape and vol.bounds")

    def __iter__(self) -> NoReturn:
        raise TypeError("a Volume is not iterated: read boxes with vol.cutout(box)")
