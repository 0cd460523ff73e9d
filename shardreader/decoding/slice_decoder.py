"""Encodings of which single slices along z can be decoded: boxes and points of one chunk."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault, PointStatus

if TYPE_CHECKING:
    from shardreader.decoding.chunk_decoder import PointBatch
    from shardreader.decoding.flat_output import FlatOutput

__all__ = ["SliceCodec", "SliceDecoder"]

Triple: TypeAlias = tuple[int, int, int]


class SliceCodec(NamedTuple):
    """The functions of an encoding of one channel; see `decoding.crackle` for what they take.

    Attributes
    ----------
    decode_box : callable
        Writes a box of a chunk to memory of any strides. Raises FormatFault.
    decode_slices : callable
        Gives whole slices of a chunk, and the faults of those that are damaged. Raises
        FormatFault where none can be read.
    labels_of_slices : callable or None
        Gives the distinct labels of the whole slices from the first to the last of a chunk by the
        stream's tables, or None where the stream does not have them so. Raises FormatFault.
    """

    decode_box: Callable[[bytes, Triple, Triple, Triple, NDArray[Any], int, Triple], None]
    decode_slices: Callable[
        [bytes, Triple, NDArray[np.int64], np.dtype[Any]],
        tuple[NDArray[Any], dict[int, FormatFault]],
    ]
    labels_of_slices: (
        Callable[[bytes, Triple, tuple[int, int], np.dtype[Any]], NDArray[Any] | None] | None
    ) = None

    def decode_chunk(
        self, encoded: bytes, shape: tuple[int, int, int, int], dtype: np.dtype[Any]
    ) -> NDArray[Any]:
        """All voxels of a chunk, as `Codec.decode`."""
        slices = np.arange(shape[2], dtype=np.int64)
        voxels, faults = self.decode_slices(encoded, shape[:3], slices, dtype)
        for fault in faults.values():
            raise fault
        return voxels[..., np.newaxis]


class SliceDecoder:
    """Decodes the slices that are asked for, and no others.

    Parameters
    ----------
    codec : SliceCodec
    most_encoded_bytes : int
        No encoding that is longer is read.
    """

    def __init__(self, codec: SliceCodec, most_encoded_bytes: int) -> None:
        self._codec = codec
        self.most_encoded_bytes = most_encoded_bytes

    def decode_box(
        self,
        encoded: bytes,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        output: FlatOutput,
        first: Triple,
    ) -> None:
        """As `ChunkDecoder.decode_box`."""
        self._codec.decode_box(
            encoded, cell_shape, lower, upper, output.flat, output.at(first), output.strides
        )

    def labels_of_box(
        self,
        encoded: bytes,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        dtype: np.dtype[Any],
    ) -> NDArray[Any] | None:
        """The distinct labels of a box by the stream's tables; None where that cannot be done.

        Raises
        ------
        FormatFault
        """
        whole_slices = (*lower[:2], *upper[:2]) == (0, 0, *cell_shape[:2])
        if self._codec.labels_of_slices is None or not whole_slices:
            return None
        return self._codec.labels_of_slices(encoded, cell_shape, (lower[2], upper[2]), dtype)

    def read_voxels(
        self, encoded: bytes, cell_shape: Triple, batch: PointBatch, first: int, last: int
    ) -> FormatFault | None:
        """As `ChunkDecoder.read_voxels`."""
        x, y, z = batch.places(first, last)
        slices, rows = np.unique(z, return_inverse=True)
        voxels, faults = self._codec.decode_slices(encoded, cell_shape, slices, batch.labels.dtype)
        voxels[..., list(faults)] = 0
        columns = batch.order[first:last]
        batch.labels[0, columns] = voxels[x, y, rows]
        batch.status[columns[np.isin(rows, list(faults))]] = PointStatus.CORRUPT
        return next(iter(faults.values()), None)
