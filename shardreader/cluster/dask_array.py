"""A box of a volume as a dask array, which workers in any process read block by block."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import InfoError
from shardreader.format.grid import Box, ChunkGrid, Triple, int_triple
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import MANIFEST_NAME
from shardreader.format.shard_lattice import ShardLattice
from shardreader.runtime.after_fork import start_anew_after_fork
from shardreader.storage.documents import VolumeFiles

__all__ = ["MOST_BLOCKS", "Reopening", "box_as_dask"]

MOST_BLOCKS = 100_000
# Volumes that a process keeps open for its blocks; each has a cache.
_MOST_OPEN = 4
# Looked at one by one when an array is named; FAFB-FFN1 has 3,689.
_MOST_FILES_NAMED = 10_000

Reopening = tuple[Callable[..., Any], tuple[Any, ...]]


def box_as_dask(
    files: VolumeFiles, reopening: Reopening, voxels: Box, blocks: Sequence[int] | None
) -> Any:
    """A box as a dask array, as `Volume.to_dask`.

    Parameters
    ----------
    files : VolumeFiles
    reopening : tuple
        The function that opens the volume in another process, and its arguments.
    voxels : Box
        Inside the volume.
    blocks : three ints or None
        The shape of a block of the array, in chunks of the volume.
    """
    da, tokenize = _dask()
    shape_in_chunks = _checked_blocks((1, 1, 1) if blocks is None else blocks)
    chunks = _chunks(files, voxels, shape_in_chunks)
    opened = tokenize(reopening, _documents(files))
    reader = _BoxReader(reopening, opened, _Geometry.of(files), voxels)
    read = (voxels.lower, voxels.upper, shape_in_chunks, _files_read(files, voxels))
    return da.from_array(
        reader,
        chunks=chunks,
        name=f"shardreader-{tokenize(opened, *read)}",
        meta=np.empty((0,) * reader.ndim, reader.dtype),
        inline_array=True,  # the reader is small, and so each task stands alone
    )


def _checked_blocks(blocks: Sequence[int]) -> Triple:
    shape = int_triple(blocks, "blocks")
    if min(shape) < 1:
        raise ValueError(f"blocks must be three numbers of chunks from 1 on, not {blocks!r}")
    return shape


def _chunks(files: VolumeFiles, box: Box, blocks: Triple) -> tuple[tuple[int, ...], ...]:
    """The extents of the blocks along each axis, as dask wants them.

    Raises
    ------
    ValueError
        There are too many; counted before they are listed.
    """
    count = _block_count(files.scale.grid, box, blocks)
    if count > MOST_BLOCKS:
        larger = blocks
        while _block_count(files.scale.grid, box, larger) > MOST_BLOCKS:
            larger = (larger[0] * 2, larger[1] * 2, larger[2] * 2)
        gigabytes = prod(larger) * prod(files.scale.chunk_size) * files.volume.dtype.itemsize / 1e9
        raise ValueError(
            f"box {box} is {count:,} blocks of {blocks} chunks, more than the {MOST_BLOCKS:,} that "
            "a dask scheduler bears: take a smaller box (vol.stored_chunks tells where something "
            f"is), or larger blocks: blocks={larger} makes "
            f"{_block_count(files.scale.grid, box, larger):,} of {gigabytes:.3g} GB each"
        )
    chunks = []
    for lower, upper, origin, step in _axes(files.scale.grid, box, blocks):
        inner = range(origin + ((lower - origin) // step + 1) * step, upper, step)
        cuts = [lower, *inner, upper]
        chunks.append(tuple(b - a for a, b in pairwise(cuts)))
    if files.volume.num_channels > 1:
        chunks.append((files.volume.num_channels,))
    return tuple(chunks)


def _block_count(grid: ChunkGrid, box: Box, blocks: Triple) -> int:
    return prod(
        max(1, -((origin - upper) // step) - (lower - origin) // step)
        for lower, upper, origin, step in _axes(grid, box, blocks)
    )


def _axes(grid: ChunkGrid, box: Box, blocks: Triple) -> Iterator[tuple[int, int, int, int]]:
    """Along x, y, z: the box's ends, the grid's origin, and the extent of a block in voxels."""
    steps = (a * b for a, b in zip(blocks, grid.chunk_size, strict=True))
    return zip(box.lower, box.upper, grid.voxel_offset, steps, strict=True)


@dataclass(frozen=True)
class _Geometry:
    """What an array was made for; a worker that opens another volume there must not read it."""

    scale: ScaleInfo
    data_type: str
    num_channels: int

    @classmethod
    def of(cls, files: VolumeFiles) -> _Geometry:
        return cls(files.scale, files.volume.data_type, files.volume.num_channels)


@dataclass(frozen=True)
class _BoxReader:
    """A box of a volume that opens itself where it is read; indexed by dask.

    ``opened`` tells the volume from any other, by its path, options and documents.
    """

    reopening: Reopening
    opened: str
    geometry: _Geometry
    box: Box

    @property
    def shape(self) -> tuple[int, ...]:
        channels = self.geometry.num_channels
        return self.box.shape if channels == 1 else (*self.box.shape, channels)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self.geometry.data_type)

    def __getitem__(self, index: tuple[Any, ...]) -> NDArray[Any]:
        """The part that an index selects, axis by axis (dask's way: numpy mixes two lists).

        Dask joins an index of the user's with that of a block, so it may be any but a mask.
        """
        chosen = [_choice(item, n) for item, n in zip(index, self.shape, strict=True)]
        lower, upper = (
            tuple(o + choice[end] for o, choice in zip(self.box.lower, chosen, strict=False))
            for end in (0, 1)
        )
        with _OPEN.borrowed(self) as volume:
            voxels: NDArray[Any] = volume.cutout(Box(lower, upper))  # type: ignore[arg-type]
        if self.ndim == 4:
            voxels = voxels[..., chosen[3][0] : chosen[3][1]]
        # From the last axis on, as an integer that drops its axis moves those behind it.
        for axis in reversed(range(self.ndim)):
            voxels = voxels[(slice(None),) * axis + (chosen[axis][2],)]
        return voxels


def _choice(item: Any, length: int) -> tuple[int, int, Any]:
    """The range that holds what is chosen of an axis, and how to choose from it."""
    if isinstance(item, slice):
        steps = range(length)[item]
        if not steps:
            return 0, 0, slice(None)
        # Both ends of the range are chosen, so the step alone says the rest.
        return min(steps[0], steps[-1]), max(steps[0], steps[-1]) + 1, slice(None, None, steps.step)
    if np.ndim(item):
        numbers = np.asarray(item, dtype=np.int64)
        if not numbers.size:
            return 0, 0, numbers
        first = int(numbers.min())
        return first, int(numbers.max()) + 1, numbers - first
    return int(item), int(item) + 1, 0


class _OpenVolumes:
    """The volumes that this process has open for blocks, a few at a time."""

    def __init__(self) -> None:
        start_anew_after_fork(self)
        self.start_anew_in_child()

    def start_anew_in_child(self) -> None:
        """Open volumes anew: another thread of the parent may have held the lock."""
        self._lock = threading.Lock()
        self._open: OrderedDict[str, _OpenVolume] = OrderedDict()

    @contextmanager
    def borrowed(self, reader: _BoxReader) -> Iterator[Any]:
        """An open volume, which is not closed meanwhile.

        Raises
        ------
        InfoError
            It is not of the geometry any more.
        """
        entry = self._take(reader)
        try:
            yield entry.volume
        finally:
            with self._lock:
                entry.users -= 1
                self._close_idle()

    def _take(self, reader: _BoxReader) -> _OpenVolume:
        reopen, arguments = reader.reopening
        with self._lock:
            entry = self._open.get(reader.opened)
            if entry is None:
                volume = reopen(*arguments)
                if _Geometry.of(volume._files) != reader.geometry:  # noqa: SLF001
                    volume.close()
                    raise InfoError(
                        f"{volume.path}: its info is not the one that the dask array was made "
                        "from; make the array again (vol.to_dask)"
                    )
                entry = self._open[reader.opened] = _OpenVolume(volume)
            self._open.move_to_end(reader.opened)
            entry.users += 1
            return entry

    def _close_idle(self) -> None:
        """Close the volumes used least recently. Needs the lock."""
        for key, entry in list(self._open.items()):
            if len(self._open) <= _MOST_OPEN:
                return
            if not entry.users:
                del self._open[key]
                entry.volume.close()


@dataclass
class _OpenVolume:
    volume: Any
    users: int = 0


_OPEN = _OpenVolumes()


def _documents(files: VolumeFiles) -> tuple[object, ...]:
    """What tells this info and manifest from later ones."""
    texts = repr(files.volume.document), repr(files.manifest)
    if "://" in files.directory:
        return texts
    manifest = files.manifest_path or os.path.join(files.directory, MANIFEST_NAME)
    return (*texts, _identity(os.path.join(files.directory, "info")), _identity(manifest))


def _files_read(files: VolumeFiles, box: Box) -> tuple[object, ...]:
    """What is different after a shard of the box was changed, as far as that is seen quickly."""
    if "://" in files.directory:
        return ()
    folder = os.path.join(files.directory, *files.scale.key.split("/"))
    paths = [os.path.join(folder, name) for name in _shard_names(files.scale, box)]
    # That of the directory changes when a file in it is made, replaced or removed.
    return (_identity(folder), *map(_identity, paths))


def _shard_names(scale: ScaleInfo, box: Box) -> list[str]:
    """The files that the box is read from; none where they are too many to look at each."""
    sharding = scale.sharding
    if sharding is None:
        return []
    if sharding.hash != "identity":
        # A hash scatters the chunks of any box over all shards.
        count = 1 << sharding.shard_bits
        return [] if count > _MOST_FILES_NAMED else list(map(sharding.file_name, range(count)))
    lattice = ShardLattice(scale)
    if lattice.count > _MOST_FILES_NAMED:
        return []
    return list(map(lattice.file_name, lattice.numbers(scale.grid.cells_touching(box))))


def _identity(path: str) -> tuple[int, ...] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _dask() -> tuple[Any, Callable[..., str]]:
    try:
        import dask.array
        from dask.base import tokenize
    except ImportError:
        raise InfoError(
            "dask is not installed, which makes dask arrays: pip install 'shardreader[dask]'"
        ) from None
    return dask.array, tokenize
