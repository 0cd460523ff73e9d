"""What an open scale is, and what of a volume is known without its voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.decoding.chunk_decoder import ChunkDecoder
from shardreader.errors import OutOfBoundsError
from shardreader.format.grid import Box, ChunkGrid, Triple
from shardreader.format.info import ScaleInfo
from shardreader.reading.direct_read import FewChunks, OnePoint, few_chunks_of, one_point_of
from shardreader.reading.points import voxel_box
from shardreader.runtime.workers import Workers
from shardreader.storage.documents import VolumeFiles

__all__ = ["AnyBox", "OpenScale", "VolumeRole", "open_scale"]

AnyBox = Box | Sequence[Sequence[float]]


@dataclass(frozen=True, eq=False)
class OpenScale:
    """One scale that is open: all that a function needs to read from it; made by `open_scale`.

    Attributes
    ----------
    files : VolumeFiles
        The parsed documents.
    grid : ChunkGrid
    source : ChunkSource
        Where the chunks are.
    decoder : ChunkDecoder
    workers : Workers
        The threads that read and decode.
    forgive_absent : bool
        Whether what is NOT_DOWNLOADED is read as 0 (missing="zero").
    one_point, few_chunks
        The short ways to small answers; None where the scale has none.
    """

    files: VolumeFiles
    grid: ChunkGrid
    source: ChunkSource
    decoder: ChunkDecoder
    workers: Workers
    forgive_absent: bool
    one_point: OnePoint | None
    few_chunks: FewChunks | None

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the labels."""
        return self.files.volume.dtype

    @property
    def num_channels(self) -> int:
        """Values a voxel holds."""
        return self.files.volume.num_channels

    @property
    def resolution(self) -> tuple[float, float, float]:
        """Size of a voxel in nm, (x, y, z)."""
        return self.files.scale.resolution

    def inside(self, box: AnyBox, units: str | None, resolution: Sequence[float] | None) -> Box:
        """A user's box in voxels.

        Raises
        ------
        OutOfBoundsError
            It reaches outside the volume.
        """
        voxels = voxel_box(box, units=units, resolution=resolution, voxel_size=self.resolution)
        if not self.grid.bounds.contains(voxels):
            raise OutOfBoundsError(
                f"box {voxels} reaches outside the volume, {self.grid.bounds}; clip it with "
                "vol.bounds.intersection(box)"
            )
        return voxels


def open_scale(
    files: VolumeFiles,
    source: ChunkSource,
    decoder: ChunkDecoder,
    workers: Workers,
    *,
    forgive_absent: bool,
) -> OpenScale:
    """Put an open scale together; the arguments are the attributes of `OpenScale`."""
    grid, dtype = files.scale.grid, files.volume.dtype
    return OpenScale(
        files,
        grid,
        source,
        decoder,
        workers,
        forgive_absent,
        one_point_of(grid, source, decoder, dtype),
        few_chunks_of(grid, source, decoder, workers, dtype),
    )


class VolumeRole:
    """The metadata of an open volume, and what each role of `Volume` begins with."""

    # Read and set by code made for cloud-volume (fafbseg's GSPointLoader); shows nothing here.
    progress: bool = False

    _files: VolumeFiles
    _core: OpenScale
    _closed: bool

    def _check_open(self) -> OpenScale:
        if self._closed:
            raise ValueError(f"the volume {self.path} is closed")
        return self._core

    def _inside(self, box: AnyBox, units: str | None, resolution: Sequence[float] | None) -> Box:
        return self._check_open().inside(box, units, resolution)

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
        return self._files.scale.grid.bounds

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
