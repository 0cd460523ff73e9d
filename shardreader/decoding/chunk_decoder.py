"""Encoded bytes of one chunk to voxels and points. Loads numba on the first decode."""

from __future__ import annotations

from functools import lru_cache
from math import prod
from typing import Any, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding import cseg
from shardreader.decoding.flat_output import FlatOutput
from shardreader.decoding.slice_decoder import SliceDecoder
from shardreader.decoding.whole_chunk_codecs import CODECS, Codec
from shardreader.errors import FormatFault, PointStatus
from shardreader.format.grid import Triple
from shardreader.format.info import COMPRESSED_SEGMENTATION, ScaleInfo, VolumeInfo

__all__ = [
    "CORRUPT",
    "BoxDecoder",
    "ChunkDecoder",
    "ChunkParts",
    "DecodesMany",
    "EncodedChunks",
    "ManyChunksDecoder",
    "PointBatch",
    "make_decoder",
    "words_of",
]

# A table may hold labels that no voxel has, and a file may hold words that nothing refers to;
# beyond what the geometry asks for, this much of it is let pass.
_SLACK_BYTES = 1 << 20
CORRUPT = int(PointStatus.CORRUPT)


class PointBatch:
    """Points sorted by chunk, and where their labels go.

    Parameters
    ----------
    packed : ndarray of uint64, shape (n,)
        Position in the chunk: ``x | y << bits[0] | z << (bits[0] + bits[1])``, sorted by chunk.
    bits : (int, int)
        Bits of x and of y in `packed`.
    order : ndarray of int64, shape (n,)
        Column of `labels` and row of `status` for each of them.
    labels : ndarray, shape (channels, m), C order
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

    def places(
        self, first: int, last: int
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """The x, y and z of the points ``[first, last)``, in voxels from their chunk's first."""
        packed = self.packed[first:last].astype(np.int64)
        bits_x, bits_y = self.bits
        y = packed >> bits_x & ((1 << bits_y) - 1)
        return packed & ((1 << bits_x) - 1), y, packed >> (bits_x + bits_y)


class EncodedChunks(NamedTuple):
    """Encodings in one array, and which rows of a read they belong to; all of shape (k,)."""

    rows: NDArray[np.intp]
    words: NDArray[np.uint32]
    first_words: NDArray[np.int64]
    lengths: NDArray[np.int64]


class ChunkParts(NamedTuple):
    """The part of each chunk of a read that is wanted, int64 of shape (m, 3).

    In voxels from the chunk's first; `first` is where in the output the voxel `lower` goes.
    """

    cell_shape: NDArray[np.int64]
    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    first: NDArray[np.int64]


class BoxDecoder(Protocol):
    """Writes parts of chunks to an output."""

    def decode_box(
        self,
        encoded: bytes,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        output: FlatOutput,
        first: Triple,
    ) -> None:
        """Decode the voxels ``[lower, upper)`` of a chunk, all channels.

        Parameters
        ----------
        cell_shape : (int, int, int)
            Clipped shape of the chunk.
        lower, upper : (int, int, int)
            In voxels from the chunk's first.
        output : FlatOutput
        first : (int, int, int)
            Where in the output the voxel `lower` goes.

        Raises
        ------
        FormatFault
        """


class ChunkDecoder(BoxDecoder, Protocol):
    """Decodes the chunks of one scale."""

    most_encoded_bytes: int
    """No encoding that is longer is read."""

    def read_voxels(
        self, encoded: bytes, cell_shape: Triple, batch: PointBatch, first: int, last: int
    ) -> FormatFault | None:
        """Read the labels of the points ``[first, last)`` of a batch, which lie in this chunk.

        Returns
        -------
        FormatFault or None
            The first fault met; its points and no others are marked CORRUPT, with label 0.

        Raises
        ------
        FormatFault
            No point can be read.
        """


def make_decoder(volume: VolumeInfo, scale: ScaleInfo) -> ChunkDecoder:
    """The decoder for the encoding of a scale; here and nowhere else it is chosen."""
    if scale.encoding == COMPRESSED_SEGMENTATION:
        one_channel = volume.num_channels == 1
        return (ManyChunksDecoder if one_channel else _CompressedSegmentation)(volume, scale)
    codec = CODECS[scale.encoding]
    if codec.slices is not None:
        most = codec.most_encoded_bytes((*scale.chunk_size, volume.num_channels), volume.dtype)
        return SliceDecoder(codec.slices, most)
    return _WholeChunk(volume, scale, codec)


@lru_cache(maxsize=64)  # volumes are opened again and again
def _most_words(chunk_size: Triple, block_size: Triple, label_words: int) -> int:
    """Offset, and for each block a header, 32 bits a voxel and a table with a label a voxel."""
    blocks = prod(cseg.block_grid(chunk_size, block_size))
    return 1 + blocks * (2 + prod(block_size) * (1 + label_words))


class _CompressedSegmentation:
    """Decodes blocks and single voxels by the kernels of `cseg`."""

    def __init__(self, volume: VolumeInfo, scale: ScaleInfo) -> None:
        if scale.block_size is None:
            raise ValueError("the decoder of compressed_segmentation needs a block size")
        self._num_channels = volume.num_channels
        self.block_size = scale.block_size
        self._label_words = volume.dtype.itemsize // 4
        words = _most_words(scale.chunk_size, scale.block_size, self._label_words)
        self.most_encoded_bytes = 4 * words * volume.num_channels + _SLACK_BYTES

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
        words = words_of(encoded)
        for channel in range(self._num_channels):
            status = cseg.decode_box(
                words,
                self._num_channels,
                channel,
                cell_shape,
                self.block_size,
                lower,
                upper,
                output.flat,
                output.at(first, channel),
                output.strides,
            )
            if status:
                raise self._explain(status, words, channel, cell_shape)

    def read_voxels(
        self, encoded: bytes, cell_shape: Triple, batch: PointBatch, first: int, last: int
    ) -> FormatFault | None:
        """As `ChunkDecoder.read_voxels`."""
        words = words_of(encoded)
        fault = None
        for channel in range(self._num_channels):
            status = cseg.read_voxels(
                words,
                self._num_channels,
                channel,
                cell_shape,
                self.block_size,
                batch.packed,
                first,
                last,
                batch.bits[0],
                batch.bits[1],
                batch.order,
                batch.labels[channel],
                batch.status,
                CORRUPT,
            )
            if status and fault is None:
                fault = self._explain(status, words, channel, cell_shape)
        if fault is not None:
            columns = batch.order[first:last]
            batch.labels[:, columns[batch.status[columns] == CORRUPT]] = 0
        return fault

    def _explain(
        self, status: int, words: NDArray[np.uint32], channel: int, cell_shape: Triple
    ) -> FormatFault:
        return cseg.explain(
            status,
            words,
            self._num_channels,
            channel,
            cell_shape,
            self.block_size,
            self._label_words,
        )


@runtime_checkable
class DecodesMany(Protocol):
    """Decodes the parts of several chunks in one compiled call."""

    def decode_boxes(
        self, chunks: EncodedChunks, parts: ChunkParts, output: FlatOutput
    ) -> NDArray[np.bool_]:
        """As `ManyChunksDecoder.decode_boxes`."""


class ManyChunksDecoder(_CompressedSegmentation):
    """Also decodes many chunks of one channel in one compiled call."""

    def decode_boxes(
        self, chunks: EncodedChunks, parts: ChunkParts, output: FlatOutput
    ) -> NDArray[np.bool_]:
        """Decode parts of several chunks; False where `decode_box` has to see what is wrong."""
        return cseg.decode_boxes(
            chunks.words,
            chunks.first_words,
            chunks.lengths,
            chunks.rows,
            parts.cell_shape,
            self.block_size,
            parts.lower,
            parts.upper,
            output.flat,
            output.start + parts.first @ np.array(output.strides),
            output.strides,
            stream=output.outgrows_caches,
        )

    def read_voxel(self, words: NDArray[np.uint32], cell_shape: Triple, batch: PointBatch) -> bool:
        """Read the only point of a batch; False where `read_voxels` has to see what is wrong."""
        status = cseg.read_voxels(
            words,
            1,
            0,
            cell_shape,
            self.block_size,
            batch.packed,
            0,
            1,
            batch.bits[0],
            batch.bits[1],
            batch.order,
            batch.labels[0],
            batch.status,
            CORRUPT,
        )
        return status == 0

    def read_voxels_of_chunks(
        self,
        chunks: EncodedChunks,
        cell_shapes: NDArray[np.int64],
        batch: PointBatch,
        firsts: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Read the points of several chunks; False where `read_voxels` has to see what is wrong.

        Parameters
        ----------
        cell_shapes : ndarray of int64, shape (m, 3)
        firsts : ndarray of int64, shape (m + 1,)
            The points of row r of the chunks are ``[firsts[r], firsts[r + 1])`` of the batch.
        """
        return cseg.read_voxels_of_chunks(
            chunks.words,
            chunks.first_words,
            chunks.lengths,
            chunks.rows,
            cell_shapes,
            self.block_size,
            batch.packed,
            firsts,
            batch.bits[0],
            batch.bits[1],
            batch.order,
            batch.labels[0],
            batch.status,
            CORRUPT,
        )


class _WholeChunk:
    """Decodes a chunk entire by a codec, then takes what is asked for."""

    def __init__(self, volume: VolumeInfo, scale: ScaleInfo, codec: Codec) -> None:
        self._dtype = volume.dtype
        self._num_channels = volume.num_channels
        self._codec = codec
        self.most_encoded_bytes = codec.most_encoded_bytes(
            (*scale.chunk_size, volume.num_channels), volume.dtype
        )

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
        voxels = self._decode(encoded, cell_shape)
        source, target = [], []
        for a, b, at in zip(lower, upper, first, strict=True):
            source.append(slice(a, b))
            target.append(slice(at, at + b - a))
        output.array[tuple(target)] = voxels[tuple(source)]

    def read_voxels(
        self, encoded: bytes, cell_shape: Triple, batch: PointBatch, first: int, last: int
    ) -> FormatFault | None:
        """As `ChunkDecoder.read_voxels`."""
        voxels = self._decode(encoded, cell_shape)
        batch.labels[:, batch.order[first:last]] = voxels[batch.places(first, last)].T
        return None

    def _decode(self, encoded: bytes, cell_shape: Triple) -> NDArray[Any]:
        voxels: NDArray[Any] = self._codec.decode(
            encoded, (*cell_shape, self._num_channels), self._dtype
        )
        return voxels


def words_of(encoded: bytes) -> NDArray[np.uint32]:
    """An encoding as 32-bit words. Raises FormatFault where its length is no multiple of 4."""
    if len(encoded) % 4:
        raise FormatFault(
            "length of the encoding", expected="a multiple of 4 bytes", found=f"{len(encoded)}"
        )
    return np.frombuffer(encoded, dtype="<u4")
