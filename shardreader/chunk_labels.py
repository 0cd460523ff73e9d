"""The labels of one chunk: which there are, how many, where, and decoded to other values. Floor 3.

compressed_segmentation is counted in its packed form; other encodings are decoded for it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader import cseg
from shardreader.chunk import ChunkDecoder, make_decoder
from shardreader.cseg.tally import LabelTally
from shardreader.errors import FormatFault
from shardreader.flat_output import FlatOutput
from shardreader.grid import Triple
from shardreader.info import COMPRESSED_SEGMENTATION, ScaleInfo, VolumeInfo
from shardreader.label_map import ValuesOf

__all__ = ["LabelReader", "TranslatingDecoder", "from_uint64", "make_label_reader"]


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
        return _PackedLabels(volume, scale)
    return _DecodedLabels(volume, make_decoder(volume, scale))


def from_uint64(labels: NDArray[np.uint64], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Labels of a tally as labels of the volume: negative ones were counted modulo 2**64."""
    return labels.astype(dtype) if dtype.kind == "u" else labels.view(np.int64).astype(dtype)


def _as_uint64(voxels: NDArray[Any]) -> NDArray[np.uint64]:
    if voxels.dtype.kind == "u":
        return voxels.astype(np.uint64)
    return voxels.astype(np.int64).view(np.uint64)


class _PackedLabels:
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
        chunk = self._chunk(encoded, channel, cell_shape)
        self._check(tally.add_chunk(*chunk, lower, upper, origin), chunk)

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
        chunk = self._chunk(encoded, channel, cell_shape)
        try:
            tally = self._tallies.pop()
            tally.clear()
        except IndexError:
            tally = LabelTally()
        self._check(tally.add_chunk(*chunk, lower, upper, (0, 0, 0)), chunk)
        values = values_of(tally.seen())
        if (values == values[0]).all():
            part = tuple(
                slice(at, at + b - a) for a, b, at in zip(lower, upper, first, strict=True)
            )
            output.array[..., output_channel][part] = values[0]
        else:
            start = output.at(first, output_channel)
            target = output.flat, start, output.strides
            self._check(tally.decode_as(values, *chunk, lower, upper, *target), chunk)
        self._tallies.append(tally)

    def _chunk(
        self, encoded: bytes, channel: int, cell_shape: Triple
    ) -> tuple[cseg.Words, int, int, Triple, Triple, int]:
        if len(encoded) % 4:
            raise FormatFault(
                "length of the encoding", expected="a multiple of 4 bytes", found=f"{len(encoded)}"
            )
        words = np.frombuffer(encoded, dtype="<u4")
        block_size, label_words = self._block_size, self._label_words
        return words, self._num_channels, channel, cell_shape, block_size, label_words

    def _check(self, status: int, chunk: tuple[cseg.Words, int, int, Triple, Triple, int]) -> None:
        if status != cseg.OK:
            raise cseg.explain(status, *chunk)


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
