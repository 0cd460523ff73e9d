"""The label at one point, in as few steps as can be. Used by `volume`.

Whoever asks for points one by one waits for Python and not for the data: `PointRead` takes four
times as long to prepare for many. Whatever is unusual, and all that is not a label, is left to it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.sharded_source import ShardedSource
from shardreader.decoding.chunk_decoder import ChunkDecoder, ManyChunksDecoder, PointBatch
from shardreader.errors import FormatFault, ShardError
from shardreader.format.grid import ChunkGrid, Triple
from shardreader.format.morton import chunk_id_of_cell
from shardreader.storage.local_store import StaleFileError

__all__ = ["OnePoint", "one_point_of"]

_ORDER: NDArray[np.int64] = np.zeros(1, dtype=np.int64)
_ORDER.flags.writeable = False


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
