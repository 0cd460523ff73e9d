"""The labels of one chunk: which there are, how many, where, and decoded to other values. Floor 3.

compressed_segmentation is counted in its packed form; other encodings are decoded for it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader import cseg
from shardreader.chunk import ChunkDecoder, ChunkParts, EncodedChunks, make_decoder
from shardreader.cseg.tally import ChunkBoxes, LabelTally, one_chunk
from shardreader.errors import FormatFault
from shardreader.flat_output import FlatOutput
from shardreader.grid import Triple
from shardreader.info import COMPRESSED_SEGMENTATION, ScaleInfo, VolumeInfo
from shardreader.label_map import ValuesOf

__all__ = [
    "LabelReader",
    "ManyTranslatingDecoder",
    "PackedLabels",
    "chunk_boxes",
    "from_uint64",
    "make_label_reader",
    "translating_decoder",
]


class LabelReader(Protocol):
    """Answers for one encoded chunk of a scale; safe from many threads."""

    def tally(
        self,
        encoded: bytes,
        channel: int,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        origin: Triple,
        tally: LabelTally,
    ) -> None:
        """Add the voxels ``[lower, upper)`` of a chunk to a tally; `origin` is its first voxel.

        Raises
        ------
        FormatFault
            The tally is undefined then.
        """

    def translate(
        self,
        encoded: bytes,
        channel: int,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        values_of: ValuesOf,
        output: FlatOutput,
        first: Triple,
        output_channel: int,
    ) -> None:
        """Write what the labels of the voxels ``[lower, upper)`` become.

        `values_of` gets each distinct label of these voxels once, and no other, and gives an
        array of the type of the output.

        Raises
        ------
        FormatFault
        Exception
            Whatever `values_of` raises.
        """


def make_label_reader(volume: VolumeInfo, scale: ScaleInfo) -> LabelReader:
    """The reader for the encoding of a scale.

    Raises
    ------
    TypeError
        The voxels are floats, which are no labels.
    """
    if volume.dtype.kind not in "iu":
        raise TypeError(f"a volume of {volume.data_type} has no labels, which are integers")
    if scale.encoding == COMPRESSED_SEGMENTATION:
        return PackedLabels(volume, scale)
    return _DecodedLabels(volume, make_decoder(volume, scale))


def from_uint64(labels: NDArray[np.uint64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Labels of a tally as labels of the volume: negative ones were counted modulo 2**64."""
    return labels.astype(dtype) if dtype.kind == "u" else labels.view(np.int64).astype(dtype)


def _as_uint64(voxels: NDArray[Any]) -> NDArray[np.uint64]:
    if voxels.dtype.kind == "u":
        return voxels.astype(np.uint64)
    return voxels.astype(np.int64).view(np.uint64)


class PackedLabels:
    """Asks the kernels of `cseg`; no voxel is decoded but for an output."""

    def __init__(self, volume: VolumeInfo, scale: ScaleInfo) -> None:
        if scale.block_size is None:
            raise ValueError("compressed_segmentation needs a block size")
        self._num_channels = volume.num_channels
        self._block_size = scale.block_size
        self._label_words = volume.dtype.itemsize // 4
        # One for each thread that translates at the same time.
        self._tallies: deque[LabelTally] = deque()

    def tally(
        self,
        encoded: bytes,
        channel: int,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        origin: Triple,
        tally: LabelTally,
    ) -> None:
        """As `LabelReader.tally`."""
        words = _words(encoded)
        chunk = one_chunk(words, cell_shape, lower, upper)
        status = tally.add_chunks(chunk, *self._form(channel), np.array([origin], np.int64))
        self._check(status, words, channel, cell_shape)

    def translate(
        self,
        encoded: bytes,
        channel: int,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        values_of: ValuesOf,
        output: FlatOutput,
        first: Triple,
        output_channel: int,
    ) -> None:
        """As `LabelReader.translate`."""
        words = _words(encoded)
        chunk = one_chunk(words, cell_shape, lower, upper)
        start = np.array([output.at(first, output_channel)], np.int64)
        status = self._translate(chunk, channel, values_of, output, start)
        self._check(status, words, channel, cell_shape)

    def tally_many(
        self, chunks: ChunkBoxes, channel: int, origins: NDArray[np.int64], tally: LabelTally
    ) -> bool:
        """As `tally`, for many chunks; False where one has a fault."""
        return tally.add_chunks(chunks, *self._form(channel), origins) == cseg.OK

    def translate_many(
        self,
        chunks: ChunkBoxes,
        channel: int,
        values_of: ValuesOf,
        output: FlatOutput,
        firsts: NDArray[np.int64],
        output_channel: int,
    ) -> bool:
        """As `translate`, for many chunks; False where one has a fault."""
        starts = output.at((0, 0, 0), output_channel) + firsts @ np.array(output.strides)
        return self._translate(chunks, channel, values_of, output, starts) == cseg.OK

    def _translate(
        self,
        chunks: ChunkBoxes,
        channel: int,
        values_of: ValuesOf,
        output: FlatOutput,
        starts: NDArray[np.int64],
    ) -> int:
        form = self._form(channel)
        try:
            tally = self._tallies.pop()
            tally.clear()
        except IndexError:
            tally = LabelTally()
        status = tally.add_chunks(chunks, *form, np.zeros_like(chunks.lowers))
        if status == cseg.OK:
            values = values_of(tally.seen())
            status = tally.decode_as(values, chunks, *form, output.flat, starts, output.strides)
        self._tallies.append(tally)
        return status

    def _form(self, channel: int) -> tuple[int, int, Triple, int]:
        return self._num_channels, channel, self._block_size, self._label_words

    def _check(self, status: int, words: cseg.Words, channel: int, cell_shape: Triple) -> None:
        if status != cseg.OK:
            channels, _, block_size, label_words = self._form(channel)
            raise cseg.explain(
                status, words, channels, channel, cell_shape, block_size, label_words
            )


def _words(encoded: bytes) -> cseg.Words:
    if len(encoded) % 4:
        raise FormatFault(
            "length of the encoding", expected="a multiple of 4 bytes", found=f"{len(encoded)}"
        )
    return np.frombuffer(encoded, dtype="<u4")


class _DecodedLabels:
    """Decodes the part that is asked for, then counts."""

    def __init__(self, volume: VolumeInfo, decoder: ChunkDecoder) -> None:
        self._dtype = volume.dtype.newbyteorder("=")
        self._num_channels = volume.num_channels
        self._decoder = decoder

    def tally(
        self,
        encoded: bytes,
        channel: int,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        origin: Triple,
        tally: LabelTally,
    ) -> None:
        """As `LabelReader.tally`."""
        voxels = self._decode(encoded, channel, cell_shape, lower, upper)
        x, y, z = (o + a for o, a in zip(origin, lower, strict=True))
        tally.add_voxels(_as_uint64(voxels), (x, y, z))

    def translate(
        self,
        encoded: bytes,
        channel: int,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        values_of: ValuesOf,
        output: FlatOutput,
        first: Triple,
        output_channel: int,
    ) -> None:
        """As `LabelReader.translate`."""
        voxels = self._decode(encoded, channel, cell_shape, lower, upper)
        labels, numbers = np.unique(_as_uint64(voxels), return_inverse=True)
        part = tuple(slice(at, at + size) for at, size in zip(first, voxels.shape, strict=True))
        values = values_of(labels)
        output.array[..., output_channel][part] = values[numbers].reshape(voxels.shape)

    def _decode(
        self, encoded: bytes, channel: int, cell_shape: Triple, lower: Triple, upper: Triple
    ) -> NDArray[Any]:
        shape = [b - a for a, b in zip(lower, upper, strict=True)]
        voxels: NDArray[Any] = np.empty((*shape, self._num_channels), self._dtype, order="F")
        self._decoder.decode_box(encoded, cell_shape, lower, upper, FlatOutput(voxels), (0, 0, 0))
        return voxels[..., channel]


class TranslatingDecoder:
    """Decodes to what labels become; a `BoxDecoder`.

    Parameters
    ----------
    channels : list of int
        Those that the output has, in its order.
    """

    def __init__(self, reader: LabelReader, channels: list[int], values_of: ValuesOf) -> None:
        self._reader = reader
        self._channels = channels
        self._values_of = values_of

    def decode_box(
        self,
        encoded: bytes,
        cell_shape: Triple,
        lower: Triple,
        upper: Triple,
        output: FlatOutput,
        first: Triple,
    ) -> None:
        """As `BoxDecoder.decode_box`."""
        for number, channel in enumerate(self._channels):
            self._reader.translate(
                encoded,
                channel,
                cell_shape,
                lower,
                upper,
                self._values_of,
                output,
                first,
                number,
            )


class ManyTranslatingDecoder(TranslatingDecoder):
    """Also decodes many chunks in one compiled call."""

    def __init__(self, reader: PackedLabels, channels: list[int], values_of: ValuesOf) -> None:
        super().__init__(reader, channels, values_of)
        self._packed = reader

    def decode_boxes(
        self, chunks: EncodedChunks, parts: ChunkParts, output: FlatOutput
    ) -> NDArray[np.bool_]:
        """As `ManyChunksDecoder.decode_boxes`."""
        boxes = chunk_boxes(chunks, parts)
        done = all(
            self._packed.translate_many(
                boxes, channel, self._values_of, output, parts.first, number
            )
            for number, channel in enumerate(self._channels)
        )
        return np.full(len(chunks.rows), done)


def chunk_boxes(chunks: EncodedChunks, parts: ChunkParts) -> ChunkBoxes:
    """Encodings as they are handed over, with the parts that a read wants of them."""
    encodings = chunks.words, chunks.first_words, chunks.lengths, chunks.rows.astype(np.int64)
    return ChunkBoxes(*encodings, parts.cell_shape, parts.lower, parts.upper)


def translating_decoder(
    reader: LabelReader, channels: list[int], values_of: ValuesOf
) -> TranslatingDecoder:
    """The decoder that suits the encoding."""
    if isinstance(reader, PackedLabels):
        return ManyTranslatingDecoder(reader, channels, values_of)
    return TranslatingDecoder(reader, channels, values_of)
