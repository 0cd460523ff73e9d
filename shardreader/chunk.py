"""Encoded bytes of one chunk to voxels and points. Floor 3; loads numba on the first decode."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader import cseg
from shardreader.errors import FormatFault, PointStatus
from shardreader.grid import Triple
from shardreader.info import ScaleInfo, VolumeInfo

__all__ = ["ChunkDecoder", "PointBatch"]

# A table may hold labels that no voxel has, and a file may hold words that nothing refers to;
# beyond what the geometry asks for, this much of it is let pass.
_SLACK_BYTES = 1 << 20
_CORRUPT = int(PointStatus.CORRUPT)


class PointBatch:
    """Points sorted by chunk, and where their labels go.

    Parameters
    ----------
    packed : ndarray of uint64, shape (n,)
        Position in the chunk: ``x | y << bits[0] | z << (bits[0] + bits[1])``, sorted by chunk.
    bits : (int, int)
        Bits of x and of y in `packed`.
    order : ndarray of int64, shape (n,)
        Row of `labels` and `status` for each of them.
    labels : ndarray, shape (m,)
    status : ndarray of uint8, shape (m,)
    """

    __slots__ = ("bits", "labels", "order", "packed", "status")

    def __init__(
        self,
        packed: NDArray[np.uint64],
        bits: tuple[int, int],
        order: NDArray[np.int64],
        labels: NDArray[Any],
        status: NDArray[np.uint8],
    ) -> None:
        self.packed = packed
        self.bits = bits
        self.order = order
        self.labels = labels
        self.status = status


class ChunkDecoder:
    """Decodes the chunks of one scale.

    Attributes
    ----------
    most_encoded_bytes : int
        No encoding that is longer is read.
    """

    def __init__(self, volume: VolumeInfo, scale: ScaleInfo) -> None:
        if scale.block_size is None:
            raise ValueError("the decoder of compressed_segmentation needs a block size")
        self._num_channels = volume.num_channels
        self._block_size = scale.block_size
        self._label_words = volume.dtype.itemsize // 4
        blocks = int(np.prod(cseg.block_grid(scale.chunk_size, scale.block_size), dtype=object))
        block_voxels = int(np.prod(scale.block_size, dtype=object))
        # Header, 32 bits a voxel, and a table with a label a voxel, for each block.
        words = 1 + blocks * (2 + block_voxels * (1 + self._label_words))
        self.most_encoded_bytes = 4 * words * volume.num_channels + _SLACK_BYTES

    def decode_box(
        self,
        encoded: bytes,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        flat: NDArray[Any],
        start: int,
        strides: Triple,
    ) -> None:
        """Decode the voxels ``[lower, upper)`` of a chunk to ``flat[start]`` and on.

        Parameters
        ----------
        lower, upper : (int, int, int)
            In voxels from the chunk's first.
        flat : ndarray, 1-D, contiguous
            Memory that holds all the targets.
        strides : (int, int, int)
            Step along x, y, z in elements of `flat`.

        Raises
        ------
        FormatFault
        """
        words = _words(encoded)
        status = cseg.decode_box(
            words,
            self._num_channels,
            0,
            cell_shape,
            self._block_size,
            lower,
            upper,
            flat,
            start,
            strides,
        )
        if status:
            raise self._explain(status, words, cell_shape)

    def read_voxels(
        self, encoded: bytes, cell_shape: Triple, batch: PointBatch, first: int, last: int
    ) -> FormatFault | None:
        """Read the labels of the points ``[first, last)`` of a batch, which lie in this chunk.

        Returns
        -------
        FormatFault or None
            The first fault met; its points and no others are marked CORRUPT.

        Raises
        ------
        FormatFault
            No point can be read.
        """
        words = _words(encoded)
        status = cseg.read_voxels(
            words,
            self._num_channels,
            0,
            cell_shape,
            self._block_size,
            batch.packed,
            first,
            last,
            batch.bits[0],
            batch.bits[1],
            batch.order,
            batch.labels,
            batch.status,
            _CORRUPT,
        )
        return self._explain(status, words, cell_shape) if status else None

    def _explain(self, status: int, words: NDArray[np.uint32], cell_shape: Triple) -> FormatFault:
        return cseg.explain(
            status, words, self._num_channels, 0, cell_shape, self._block_size, self._label_words
        )


def _words(encoded: bytes) -> NDArray[np.uint32]:
    if len(encoded) % 4:
        raise FormatFault(
            "length of the encoding", expected="a multiple of 4 bytes", found=f"{len(encoded)}"
        )
    return np.frombuffer(encoded, dtype="<u4")
