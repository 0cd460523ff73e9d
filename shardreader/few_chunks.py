"""The voxels of a box of few chunks, in as few steps as can be. Floor 4; used by `volume`.

Such a box waits for Python and not for the data: `BoxRead` and its walk over chunks are made for
many. Whatever is unusual, and all that is not a stored chunk, is left to them.
"""

from __future__ import annotations

from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunk import ChunkDecoder, ManyChunksDecoder
from shardreader.chunk_source import ChunkSource
from shardreader.compile_lock import compiling
from shardreader.errors import FormatFault, ShardError
from shardreader.flat_output import MOST_CACHED_BYTES, FlatOutput
from shardreader.grid import Box, ChunkGrid
from shardreader.inflate import loaded_file_reader
from shardreader.large_arrays import new_array
from shardreader.seen_lately import Places
from shardreader.sharded_source import ShardedSource
from shardreader.store import Handle, StaleFileError
from shardreader.workers import Workers

if TYPE_CHECKING:
    from shardreader.few_chunks_kernels import FewChunksKernels

__all__ = ["FewChunks", "few_chunks_of"]

# A slice through a shard has so many. For more of them the steps of `BoxRead` do not count.
_MOST_CHUNKS = 256
# To wake another thread for fewer takes longer than to read them.
_LEAST_CHUNKS_OF_A_THREAD = 2


class FewChunks:
    """Reads boxes of a local sharded volume of one channel.

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

    def read(self, box: Box, out: NDArray[Any] | None) -> NDArray[Any] | None:
        """The voxels of a box inside the volume, not empty; None where `read_box` has to look.

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
        if (
            cells.voxels > _MOST_CHUNKS
            or box.voxels * self._dtype.itemsize > MOST_CACHED_BYTES
            or not (out is None or FlatOutput.fits(out))
        ):
            return None
        libdeflate = loaded_file_reader()
        if libdeflate is None:
            return None
        array = new_array(box.shape, self._dtype, zeroed=False) if out is None else out
        handles: list[tuple[str, Handle]] = []
        try:
            is_whole = self._read(box, cells, FlatOutput(array), handles, libdeflate)
        except (FormatFault, ShardError, StaleFileError):
            is_whole = False  # BoxRead meets it too, and says where
        finally:
            self._source.let_go(handles)
        return array if is_whole else None

    def _read(
        self,
        box: Box,
        cells: Box,
        output: FlatOutput,
        handles: list[tuple[str, Handle]],
        libdeflate: ModuleType,
    ) -> bool:
        count = cells.voxels
        itemsize = self._dtype.itemsize
        kernels = _loaded.get(itemsize) or _load(itemsize)
        parts: NDArray[np.int64] = np.empty((3, count, 3), dtype=np.int64)
        keys: NDArray[np.uint64] = np.empty(count, dtype=np.uint64)
        runs: NDArray[np.uint64] = np.empty((count, 3), dtype=np.uint64)
        out_firsts, order, taken, *numbers = np.zeros((8, count), dtype=np.int64)
        places = Places(*numbers)
        filled = kernels.plan_box(
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
        if not self._source.hold_few(keys, runs[:filled].tolist(), order, places, handles):
            return False
        found = self._source.few_kept(handles, places, kernels.note)
        if found is None:
            return False
        words, _held = found
        descriptors: NDArray[np.int64] = np.array([handle.descriptor for _, handle in handles])
        done: NDArray[np.bool_] = np.zeros(count, dtype=np.bool_)

        def work(_: int) -> None:
            with libdeflate.workspace() as space:
                kernels.read_boxes(
                    *libdeflate.functions(),
                    space.decompressor,
                    descriptors,
                    self._decoder.most_encoded_bytes,
                    space.stored,
                    space.arena,
                    space.half_words,
                    space.used,
                    *places[:3],
                    words,
                    *places[3:],
                    parts,
                    order,
                    self._decoder.block_size,
                    output.flat,
                    out_firsts,
                    output.strides,
                    taken,
                    done,
                )

        threads = -(-count // _LEAST_CHUNKS_OF_A_THREAD)
        self._workers.run(work, range(min(threads, self._workers.threads)))
        return bool(done.all())


_loaded: dict[int, FewChunksKernels] = {}


def _load(label_bytes: int) -> FewChunksKernels:
    with compiling:
        if label_bytes not in _loaded:
            from shardreader.few_chunks_kernels import compile_kernels

            _loaded[label_bytes] = compile_kernels(label_bytes)
        return _loaded[label_bytes]


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
