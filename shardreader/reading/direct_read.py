"""Labels of boxes and points in few chunks, in as few steps as can be. Used by `volume`.

Such a read waits for Python and not for the data: `BoxRead`, `PointRead` and their walk over
chunks are made for many. Whatever is unusual, and all that is not a stored chunk, is left to them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_cache import KeptChunk, Places, words_of_all
from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.sharded_source import Runs, ShardedSource
from shardreader.chunks.stored_reader import TYPICAL_RATIO
from shardreader.decoding.chunk_decoder import CORRUPT, ChunkDecoder, ManyChunksDecoder, PointBatch
from shardreader.decoding.flat_output import MOST_CACHED_BYTES, FlatOutput
from shardreader.decoding.inflate import loaded_file_reader
from shardreader.errors import FormatFault, ShardError
from shardreader.format.grid import Box, ChunkGrid, Triple
from shardreader.format.morton import chunk_id_of_cell, chunk_ids_of_cells
from shardreader.reading.large_arrays import new_array
from shardreader.reading.point_read import PointRead
from shardreader.runtime.compile_lock import compiling
from shardreader.runtime.workers import Workers
from shardreader.storage.local_store import FileVersion, Handle, StaleFileError

__all__ = ["FewChunks", "OnePoint", "few_chunks_of", "one_point_of"]

_ORDER: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
_ORDER.flags.writeable = False
# A slice through a shard has so many. For more of them the steps of `BoxRead` do not count.
_MOST_CHUNKS_OF_BOX = 256
# Those of a shard. A thread that reads them does not hear of an interrupt for a fifth of a second.
_MOST_CHUNKS_OF_POINTS = 4096
# To wake another thread for fewer takes longer than to read them.
_LEAST_CHUNKS_OF_A_THREAD = 2
# All of them are open at once.
_MOST_FILES = 16


class OnePoint:
    """Looks up single points of a local sharded volume of one channel.

    Parameters
    ----------
    grid : ChunkGrid
    source : ShardedSource
    decoder : ManyChunksDecoder
    dtype : numpy dtype
        Of the labels.
    """

    def __init__(
        self,
        grid: ChunkGrid,
        source: ShardedSource,
        decoder: ManyChunksDecoder,
        dtype: np.dtype[Any],
    ) -> None:
        self._grid, self._source, self._decoder, self._dtype = grid, source, decoder, dtype

    def label(self, voxel: Triple) -> NDArray[Any] | None:
        """The label of a voxel, shape (1, 1); None where `PointRead` has to look.

        Raises
        ------
        ReadError
            The operating system refuses.
        """
        cell, at, shape = [], [], []
        for position, first, extent, edge in zip(
            voxel, self._grid.voxel_offset, self._grid.size, self._grid.chunk_size, strict=True
        ):
            if not 0 <= position - first < extent:
                return None
            number, rest = divmod(position - first, edge)
            cell.append(number)
            at.append(rest)
            shape.append(min(edge, extent - number * edge))
        bits = ((shape[0] - 1).bit_length(), (shape[1] - 1).bit_length())
        packed = np.array([at[0] | at[1] << bits[0] | at[2] << bits[0] + bits[1]], dtype=np.uint64)
        labels = np.zeros((1, 1), dtype=self._dtype)
        batch = PointBatch(packed, bits, _ORDER, labels, np.zeros(1, dtype=np.uint8))
        cell_shape = (shape[0], shape[1], shape[2])
        chunk_id = chunk_id_of_cell((cell[0], cell[1], cell[2]), self._grid.grid_size)
        try:
            if self._source.read_one(
                chunk_id, lambda words: self._decoder.read_voxel(words, cell_shape, batch)
            ):
                return labels
        except (FormatFault, ShardError, StaleFileError):
            pass  # PointRead meets it too, and says where
        return None


class FewChunks:
    """Reads boxes and points of a local sharded volume of one channel.

    Parameters
    ----------
    grid : ChunkGrid
    source : ShardedSource
    decoder : ManyChunksDecoder
    workers : Workers
    dtype : numpy dtype
        Of the labels.
    """

    def __init__(
        self,
        grid: ChunkGrid,
        source: ShardedSource,
        decoder: ManyChunksDecoder,
        workers: Workers,
        dtype: np.dtype[Any],
    ) -> None:
        self._grid, self._source, self._decoder = grid, source, decoder
        self._workers, self._dtype = workers, dtype

    def read_box(self, box: Box, out: NDArray[Any] | None) -> NDArray[Any] | None:
        """The voxels of a box inside the volume, not empty; None where `BoxRead` has to look.

        Parameters
        ----------
        box : Box
        out : ndarray or None
            The caller's array of the box's shape; undefined after None.

        Returns
        -------
        ndarray, shape (x, y, z), or None
            `out`, or an array in Fortran order.

        Raises
        ------
        ReadError
            The operating system refuses.
        """
        cells = self._grid.cells_touching(box)
        count = cells.voxels
        if (
            count > _MOST_CHUNKS_OF_BOX
            or box.voxels * self._dtype.itemsize > MOST_CACHED_BYTES
            or not (out is None or FlatOutput.fits(out))
        ):
            return None
        libdeflate = loaded_file_reader()
        if libdeflate is None:
            return None
        array = new_array(box.shape, self._dtype, zeroed=False) if out is None else out
        output = FlatOutput(array)
        parts: NDArray[np.int64] = np.empty((3, count, 3), dtype=np.int64)
        keys: NDArray[np.uint64] = np.empty(count, dtype=np.uint64)
        runs: NDArray[np.uint64] = np.empty((count, 3), dtype=np.uint64)
        out_firsts, order = np.zeros((2, count), dtype=np.int64)
        filled = _kernel("plan_box")(
            self._grid.table,
            self._grid.grid_size,
            self._source.indices.limits.form,
            cells.lower,
            cells.shape,
            box.lower,
            box.upper,
            output.start,
            output.strides,
            parts,
            out_firsts,
            keys,
            order,
            runs,
        )
        files: dict[int, Runs] = {}
        begin = 0
        for shard_number, minishard, end in runs[:filled].tolist():
            files.setdefault(shard_number, []).append((minishard, order[begin:end]))
            begin = end
        what = (parts, output.flat, out_firsts, output.strides)
        return array if self._read("read_boxes", keys, files, order, libdeflate, what) else None

    def read_points(self, read: PointRead) -> bool:
        """Read all points of `read`; False where the walk over its chunks has to do it.

        Raises
        ------
        ReadError
            The operating system refuses.
        """
        libdeflate = loaded_file_reader()
        if libdeflate is None or not 0 < len(read.cells) <= _MOST_CHUNKS_OF_POINTS:
            return False
        keys = chunk_ids_of_cells(read.cells, self._grid.grid_size)
        files = self._source.by_file(keys)
        order = np.concatenate([rows for runs in files.values() for _, rows in runs])
        batch = read.batch
        points = (batch.packed, batch.bits, batch.order, batch.labels[0], batch.status, CORRUPT)
        what = (read.shapes, read.firsts, *points)
        return self._read("read_points", keys, files, order, libdeflate, what)

    def _read(
        self,
        name: str,
        keys: NDArray[np.uint64],
        files: dict[int, Runs],
        order: NDArray[np.int64],
        libdeflate: ModuleType,
        what: tuple[Any, ...],
    ) -> bool:
        """Hand all chunks to a kernel, with `what` it takes of them; False as `read_points`."""
        if len(files) > _MOST_FILES:
            return False
        handles: list[tuple[str, Handle]] = []
        places = Places(*np.zeros((5, len(keys)), dtype=np.int64))
        try:
            if not self._source.hold_few(keys, files, places, handles):
                return False
            identities = [handle.identity for _, handle in handles]
            kept = self._kept(identities, places)
            if kept is None:
                return False
            words, _held = kept
            kernel = _kernel(name, self._dtype.itemsize)
            descriptors: NDArray[np.int64] = np.array([handle.descriptor for _, handle in handles])
            source = (
                *(libdeflate.functions(), descriptors, self._decoder.most_encoded_bytes),
                *places,
            )
            taken: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
            done: NDArray[np.bool_] = np.zeros(len(keys), dtype=np.bool_)

            def work(_: int) -> None:
                with libdeflate.workspace() as space:
                    memory = (space.stored, space.arena, space.half_words, space.used)
                    kernel(
                        source,
                        (space.decompressor, *memory),
                        words,
                        order,
                        taken,
                        done,
                        self._decoder.block_size,
                        *what,
                    )

            threads = -(-len(keys) // _LEAST_CHUNKS_OF_A_THREAD)
            self._workers.run(work, range(min(threads, self._workers.threads)))
            if not done.all():
                return False
            if self._source.reader.cache.most_bytes:
                self._look(identities, places, come_now=True)
            return True
        except (FormatFault, ShardError, StaleFileError):
            return False  # the walk over chunks meets it too, and says where
        finally:
            self._source.let_go(handles)

    def _kept(
        self, identities: Sequence[FileVersion], places: Places
    ) -> tuple[NDArray[np.uint32], list[KeptChunk]] | None:
        """Those that the cache has, and memory with all of them, by `places`.

        The list has to be held as long as the memory is used. None where one comes again that the
        cache does not have: that is for `StoredReader.read`, which keeps it.
        """
        cache = self._source.reader.cache
        if not cache.most_bytes or not self._look(identities, places, come_now=False):
            return np.zeros(0, dtype=np.uint32), []
        rows = (places.lengths < 0).nonzero()[0]
        chunks: list[KeptChunk] = []
        for row in rows.tolist():
            identity = identities[int(places.files[row])]
            kept = cache.get((identity, int(places.starts[row]), int(places.ends[row])))
            if kept is None or not kept.address:
                return None
            chunks.append(kept)
        words, places.first_words[rows], places.lengths[rows] = words_of_all(chunks)
        return words, chunks

    def _look(self, identities: Sequence[FileVersion], places: Places, *, come_now: bool) -> int:
        seen = self._source.reader.seen
        return seen.look(_kernel("look"), identities, places, TYPICAL_RATIO, come_now=come_now)


_loaded: dict[tuple[str, int], Callable[..., Any]] = {}


def _kernel(name: str, label_bytes: int = 0) -> Callable[..., Any]:
    """A kernel by its name; loads numba."""
    return _loaded.get((name, label_bytes)) or _load(name, label_bytes)


def _load(name: str, label_bytes: int) -> Callable[..., Any]:
    with compiling:
        from shardreader.reading import direct_read_kernels as few_chunks_kernels

        if (name, label_bytes) not in _loaded:
            _loaded[name, label_bytes] = (
                few_chunks_kernels.compile_kernel(name, label_bytes)
                if label_bytes
                else getattr(few_chunks_kernels, name)
            )
        return _loaded[name, label_bytes]


def few_chunks_of(
    grid: ChunkGrid,
    source: ChunkSource,
    decoder: ChunkDecoder,
    workers: Workers,
    dtype: np.dtype[Any],
) -> FewChunks | None:
    """None for volumes that it does not serve."""
    if (
        type(source) is ShardedSource
        and source.spec.data_encoding == "gzip"
        and source.indices.limits.is_simple
        and isinstance(decoder, ManyChunksDecoder)
    ):
        return FewChunks(grid, source, decoder, workers, dtype)
    return None


def one_point_of(
    grid: ChunkGrid, source: ChunkSource, decoder: ChunkDecoder, dtype: np.dtype[Any]
) -> OnePoint | None:
    """None for volumes that it does not serve."""
    if (
        type(source) is ShardedSource
        and source.spec.data_encoding == "gzip"
        and isinstance(decoder, ManyChunksDecoder)
    ):
        return OnePoint(grid, source, decoder, dtype)
    return None
