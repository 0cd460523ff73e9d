"""A volume that is open for reading: voxels of a box, labels at points.

Here alone statuses become exceptions.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, overload

from numpy.typing import NDArray

from shardreader.chunks.choose_source import keep_copy, make_source, make_store
from shardreader.cluster.dask_array import box_as_dask
from shardreader.decoding.chunk_decoder import make_decoder
from shardreader.labels.count_role import CountRole
from shardreader.labels.mask_role import MaskRole
from shardreader.labels.translated_read import read_mapped
from shardreader.pictures.slice_picture import PictureRole
from shardreader.reading.indexing import box_of_index
from shardreader.reading.open_volume import AnyBox, open_scale
from shardreader.reading.read_role import ReadRole, read_voxels
from shardreader.runtime.after_fork import start_anew_after_fork
from shardreader.runtime.workers import Workers, cores
from shardreader.segments import SegmentRole
from shardreader.storage.cache import ByteCache
from shardreader.storage.documents import VolumeFiles, read_volume_files

if TYPE_CHECKING:
    from shardreader.copies.cache_dir import KeptCopy

__all__ = ["Volume", "open_volume"]

_MISSING = ("error", "zero")


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


class Volume(ReadRole, CountRole, MaskRole, PictureRole, SegmentRole):
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
        self._files = files
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
        self._store = make_store(self._files)
        source = make_source(
            self._files,
            self._store,
            cache=ByteCache(self._cache_bytes),
            most_encoded_bytes=self._decoder.most_encoded_bytes,
            kept=self._kept,
        )
        self._core = open_scale(
            self._files,
            source,
            self._decoder,
            Workers(self._threads or cores()),
            forgive_absent=self._missing == "zero",
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

    @overload
    def cutout(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        out: NDArray[Any] | None = ...,
        mapping: Any = ...,
        dtype: Any = ...,
        renumber: Literal[False] = ...,
    ) -> NDArray[Any]: ...

    @overload
    def cutout(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        out: NDArray[Any] | None = ...,
        mapping: Any = ...,
        dtype: Any = ...,
        renumber: Literal[True],
    ) -> tuple[NDArray[Any], NDArray[Any]]: ...

    @overload
    def cutout(
        self,
        box: AnyBox,
        *,
        units: str | None = ...,
        resolution: Sequence[float] | None = ...,
        out: NDArray[Any] | None = ...,
        mapping: Any = ...,
        dtype: Any = ...,
        renumber: bool,
    ) -> NDArray[Any] | tuple[NDArray[Any], NDArray[Any]]: ...

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
            return read_mapped(self._counting, voxels, out, mapping, dtype, renumber=renumber)
        return read_voxels(self._core, voxels, out)

    def to_dask(
        self,
        box: AnyBox | None = None,
        *,
        units: str | None = None,
        resolution: Sequence[float] | None = None,
        blocks: Sequence[int] | None = None,
    ) -> Any:
        """A box as a dask array; nothing is read before it is computed.

        Parameters
        ----------
        box : Box or (lower, upper), optional
            As in `cutout`; the whole volume by default.
        units, resolution
            Of a box that is a pair.
        blocks : three ints, optional
            The shape of a block of the array, in chunks of the volume; (1, 1, 1) by default.
            Blocks are aligned to the chunk grid and clipped to the box.

        Returns
        -------
        dask.array.Array, shape (x, y, z), dtype of the volume
            With more than one channel (x, y, z, c), all channels in each block. Index 0 is the
            lower corner of the box. It pickles as path and options; each process that computes
            blocks opens the volume once, with one thread, as dask has threads of its own. A slice
            is read without the rest of its blocks.

            Its name is the same for the same box, blocks and options of the same copy, so that a
            scheduler can keep its blocks. In the name of a local copy are the identities of
            ``info``, of the manifest, of the scale's directory, and of the box's shard files where
            they are at most 10,000; a remote volume counts as the same while its ``info`` stays.

        Raises
        ------
        OutOfBoundsError
            The box reaches outside the volume.
        ValueError
            More than 100,000 blocks.
        InfoError
            Dask is not installed. Also in a worker, if ``info`` has changed since.

        What `cutout` raises is raised when the array is computed: `NotDownloadedError` too, unless
        the volume was opened with missing="zero".

        Examples
        --------
        >>> import shardreader
        >>> vol = shardreader.open_volume("fixtures/fafb-mini")
        >>> array = vol.to_dask(shardreader.Box((61400, 32700, 3060), (61500, 32800, 3080)))
        >>> array.chunks
        ((40, 60), (68, 32), (12, 8))
        """
        if box is None:
            if units is not None or resolution is not None:
                raise TypeError("units and resolution are those of a box, and there is none")
            box = self.bounds
        voxels = self._inside(box, units, resolution)
        return box_as_dask(self._files, self._reopening(threads=1), voxels, blocks)

    def close(self) -> None:
        """Close files and give up threads; reading afterwards is a ValueError.

        Raises
        ------
        ReadError, ShardError
            What was read cannot be kept in `cache_dir`.
        """
        self._closed = True
        self._core.workers.close()
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


def _reopen(path: str, scale: int, options: dict[str, Any]) -> Volume:
    return open_volume(path, scale, **options)
