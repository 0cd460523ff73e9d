"""A volume that is open for reading: voxels of a box, labels at points.

Here alone statuses become exceptions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.choose_source import keep_copy, make_source, make_store
from shardreader.cluster.dask_array import ToDask
from shardreader.decoding.chunk_decoder import make_decoder
from shardreader.errors import OutOfBoundsError
from shardreader.format.grid import Box
from shardreader.labels.label_counting import AnyBox
from shardreader.pictures.slice_picture import PicturedVolume
from shardreader.reading.box_read import BoxRead, cells_of, check_output, read_box
from shardreader.reading.direct_read import few_chunks_of
from shardreader.reading.indexing import box_of_index
from shardreader.reading.one_point import one_point_of
from shardreader.reading.point_read import PointRead, read_points, refuse_points
from shardreader.reading.points import points_to_voxels, voxel_box
from shardreader.runtime.after_fork import start_anew_after_fork
from shardreader.runtime.workers import Workers, cores
from shardreader.segments import SegmentQuestions
from shardreader.storage.cache import ByteCache
from shardreader.storage.documents import VolumeFiles, read_volume_files

if TYPE_CHECKING:
    from shardreader.copies.cache_dir import KeptCopy

__all__ = ["Volume", "open_volume"]

_MISSING = ("error", "zero")
# Cells of one search in `stored_chunks`: an edge of 64 is a quarter million at a time.
_TILE_EDGE = 64


def open_volume(
    path: str | os.PathLike[str],
    scale: int | str | Sequence[float] | None = None,
    *,
    missing: str = "error",
    threads: int | None = None,
    cache_bytes: int = 512 << 20,
    manifest: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    index: str | os.PathLike[str] | None = None,
) -> Volume:
    """Open one scale of a precomputed volume.

    Parameters
    ----------
    path : str or path object
        The directory that holds ``info``, made absolute now, or a URL: ``gs://``, ``s3://``,
        ``https://`` (these need the extra ``[fetch]``), ``file://``; each also with
        ``precomputed://`` in front. What a URL does not have (404) is background, what it refuses
        (403) a `ReadError`. In a forked child it raises: start processes with spawn.
    scale : int, str, three numbers or None
        Index, key, or resolution in nm; None is the only scale, or the first.
    missing : {"error", "zero"}
        What a read does where something is NOT_DOWNLOADED. "zero" forgives that alone, never
        damage.
    threads : int or None
        Threads that read and decode; None is one for each core.
    cache_bytes : int
        Memory for indices and encoded chunks that were read.
    manifest : str, path object or None
        A manifest elsewhere than beside ``info``, for read-only media.
    cache_dir : str, path object or None
        For a URL: a directory that keeps what is read, as a copy of its own, and is looked into
        first. Written when the volume is closed, or forgotten, and whenever 64 MiB have come.
    index : str, path object or None
        The directory of segment indices, if not beside ``info``: what ``--out`` named.

    Returns
    -------
    Volume

    Raises
    ------
    InfoError
        ``info`` or the manifest breaks its schema, or has a form that is not supported.
    ReadError
        There is no such directory, or it cannot be read, or the source does not answer.

    Examples
    --------
    >>> vol = open_volume("fixtures/fafb-mini")
    >>> vol.shape, vol.dtype.name, vol.resolution
    ((124416, 67072, 7063), 'uint64', (8, 8, 40))
    """
    if missing not in _MISSING:
        raise ValueError(f"missing must be 'error' or 'zero', not {missing!r}")
    if threads is not None and (type(threads) is not int or threads < 1):
        raise ValueError(f"threads must be a positive integer or None, not {threads!r}")
    if type(cache_bytes) is not int or cache_bytes < 0:
        raise ValueError(f"cache_bytes must be an integer, 0 or more, not {cache_bytes!r}")
    files = read_volume_files(path, scale, manifest)
    kept = None if cache_dir is None else keep_copy(files, cache_dir)
    return Volume(files, kept, index, missing=missing, threads=threads, cache_bytes=cache_bytes)


class Volume(ToDask, PicturedVolume, SegmentQuestions):
    """One scale of a volume; made by `open_volume`.

    Safe from many threads. Pickles as path and options only. One of a directory survives a fork:
    the child shares no descriptor, lock or thread with its parent.

    Examples
    --------
    >>> with open_volume("fixtures/fafb-mini") as vol:
    ...     voxels = vol[61435:61445, 32763:32773, 3067:3077]
    >>> voxels.shape, voxels.dtype.name
    ((10, 10, 10), 'uint64')
    """

    def __init__(
        self,
        files: VolumeFiles,
        kept: KeptCopy | None,
        index: str | os.PathLike[str] | None,
        *,
        missing: str,
        threads: int | None,
        cache_bytes: int,
    ) -> None:
        super().__init__(files)
        self._use_index(index)
        self._kept = kept
        self._missing = missing
        self._threads = threads
        self._cache_bytes = cache_bytes
        self._decoder = make_decoder(files.volume, files.scale)
        self._closed = False
        self._start()
        start_anew_after_fork(self)

    def start_anew_in_child(self) -> None:
        """Leave all that a forked child shares with its parent; called after a fork."""
        self._store.abandon()
        if self._kept is not None:
            self._kept.abandon()
        self._leave_index()
        self._start()

    def _start(self) -> None:
        cache = ByteCache(self._cache_bytes)
        self._workers = Workers(self._threads or cores())
        self._store = make_store(self._files)
        self._source = make_source(
            self._files,
            self._store,
            cache=cache,
            most_encoded_bytes=self._decoder.most_encoded_bytes,
            kept=self._kept,
        )
        self._one_point = one_point_of(self._grid, self._source, self._decoder, self.dtype)
        self._few_chunks = few_chunks_of(
            self._grid, self._source, self._decoder, self._workers, self.dtype
        )

    def __getitem__(self, index: Any) -> Any:
        """Voxels by index: ``vol[x0:x1, y0:y1, z0:z1]``, global coordinates, Fortran order.

        A negative integer is a coordinate; an omitted end is the bound; an int drops its axis.

        Raises
        ------
        OutOfBoundsError, NotDownloadedError, ShardError, ChunkError, ReadError
        TypeError
            Steps, bools, floats.
        """
        box, selection = box_of_index(index, self.bounds, self.num_channels)
        return self.cutout(box)[selection]

    def cutout(
        self,
        box: AnyBox,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        out: NDArray[Any] | None = None,
        mapping: Any = None,
        dtype: Any = None,
        renumber: bool = False,
    ) -> Any:
        """The voxels of a box.

        Parameters
        ----------
        box : Box or (lower, upper)
            A `Box` is in voxels. A pair of three numbers each needs `units` or `resolution`; the
            lower corner is floored, the upper one ceiled to whole voxels.
        units : {"voxel", "nm"}
        resolution : three numbers
            The pair is in voxels of this size in nm, for example ``(4, 4, 40)``.
        out : ndarray, optional
            Takes the voxels and is returned; of the box's shape and of `dtype`, with any strides.
            Undefined after an exception. For large boxes an array that an earlier `cutout`
            returned is the fastest: it begins at a line of the processor's caches. Without `out`
            large boxes take the memory of results that nobody holds any more.
        mapping : dict, pair of arrays, table with two columns, or LabelMap; optional
            What labels become; others stay as they are, or become the default of the `LabelMap`.
            Each distinct label of a chunk is looked up once, not each voxel.
        dtype : {"uint32", "uint64"}, optional
            Type of the result; a label that it cannot hold is a ValueError. The volume's own by
            default.
        renumber : bool
            Give the labels (after `mapping`) the numbers 0, 1, ... in ascending order, and return
            the table back.

        Returns
        -------
        ndarray, shape (x, y, z), dtype of the volume or `dtype`
            In Fortran order where it is new. With more than one channel, (x, y, z, c).
        table : ndarray, shape (n,)
            Only with `renumber`: the label of each number, ascending.

        Raises
        ------
        OutOfBoundsError
            The box reaches outside the volume.
        NotDownloadedError
            A chunk of it is not in this copy, and the volume was opened with missing="error".
        ShardError, ChunkError
            Damaged data.
        ReadError
            The operating system refuses.

        Examples
        --------
        >>> vol = open_volume("fixtures/fafb-mini")
        >>> vol.cutout(((491500, 262100, 122860), (491540, 262140, 122940)), units="nm").shape
        (6, 6, 3)
        """
        voxels = self._inside(box, units, resolution)
        if mapping is not None or dtype is not None or renumber:
            return self._cutout_as(voxels, out, mapping, dtype, renumber=renumber)
        shape = voxels.shape if self.num_channels == 1 else (*voxels.shape, self.num_channels)
        if out is not None:
            check_output(out, shape, self.dtype)
        if voxels.is_empty:
            return np.empty(shape, self.dtype, order="F") if out is None else out
        array = None if self._few_chunks is None else self._few_chunks.read_box(voxels, out)
        if array is not None:
            return array
        target = BoxRead(self._grid, self._decoder, voxels, self.dtype, self.num_channels, out)
        read_box(self._source, self._workers, target, forgive_absent=self._missing == "zero")
        return target.result()

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
        >>> vol = open_volume("fixtures/fafb-mini")
        >>> labels, status = vol.lookup([[-1, 0, 0]], units="voxel", return_status=True)
        >>> from shardreader import PointStatus
        >>> PointStatus(status[0]).name
        'OUT_OF_BOUNDS'
        """
        self._check_open()
        voxels, status, shape = points_to_voxels(
            points,
            units=units,
            resolution=resolution,
            voxel_size=self.resolution,
            bounds=None,
        )
        if len(status) == 1 and not status[0] and self._one_point is not None:
            labels = self._one_point.label(tuple(voxels[0].tolist()))
            if labels is not None:
                answer = labels.reshape(shape)
                return (answer, status.reshape(shape)) if return_status else answer
        read = PointRead(
            *(self._grid, self._decoder, voxels, status),
            *(self.dtype, self.num_channels, self._workers),
        )
        if self._few_chunks is None or not self._few_chunks.read_points(read):
            read_points(self._source, self._workers, read)
        if return_status:
            return read.labels(shape), status.reshape(shape)
        refuse_points(self._source, read, shape, forgive_absent=self._missing == "zero")
        return read.labels(shape)

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
        >>> vol = open_volume("fixtures/fafb-mini")
        >>> cells, status = vol.stored_chunks(Box((4000, 4000, 1000), (4200, 4200, 1040)))
        >>> cells
        Box(lower=(31, 31, 31), upper=(33, 33, 33))
        """
        cells = self._grid.cells_touching(self._inside(box, units, resolution))
        status = np.zeros(cells.shape, dtype=np.uint8)
        for tile in self._grid.tiles(cells, _TILE_EDGE):
            found = self._source.find(cells_of(tile), self._workers)
            part = tuple(
                slice(a - o, b - o)
                for a, b, o in zip(tile.lower, tile.upper, cells.lower, strict=True)
            )
            status[part] = found.status.reshape(tile.shape, order="F")
        return cells, status

    def close(self) -> None:
        """Close files and give up threads; reading afterwards is a ValueError.

        Raises
        ------
        ReadError, ShardError
            What was read cannot be kept in `cache_dir`.
        """
        self._closed = True
        self._workers.close()
        self._close_index()
        self._store.close()
        if self._kept is not None:
            self._kept.close()

    def __enter__(self) -> Volume:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reopening(self._threads)

    def _reopening(self, threads: int | None) -> tuple[Callable[..., Volume], tuple[Any, ...]]:
        options: dict[str, Any] = {
            "missing": self._missing,
            "threads": threads,
            "cache_bytes": self._cache_bytes,
            "manifest": self._files.manifest_path,
            "cache_dir": None if self._kept is None else self._kept.files.directory,
            "index": self._index_directory,
        }
        return _reopen, (self.path, self.scale.index, options)

    def _inside(self, box: AnyBox, units: str | None, resolution: Sequence[float] | None) -> Box:
        self._check_open()
        voxels = voxel_box(box, units=units, resolution=resolution, voxel_size=self.resolution)
        if not self.bounds.contains(voxels):
            raise OutOfBoundsError(
                f"box {voxels} reaches outside the volume, {self.bounds}; clip it with "
                "vol.bounds.intersection(box)"
            )
        return voxels

    def _check_open(self) -> None:
        if self._closed:
            raise ValueError(f"the volume {self.path} is closed")


def _reopen(path: str, scale: int, options: dict[str, Any]) -> Volume:
    return open_volume(path, scale, **options)
