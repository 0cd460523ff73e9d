"""Decoders that write what labels become."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.chunk_decoder import ChunkParts, EncodedChunks
from shardreader.decoding.cseg.tally import ChunkBoxes
from shardreader.decoding.flat_output import FlatOutput
from shardreader.format.grid import Triple
from shardreader.labels.chunk_labels import LabelReader, PackedLabels
from shardreader.labels.label_map import ValuesOf

__all__ = ["ManyTranslatingDecoder", "TranslatingDecoder", "chunk_boxes", "translating_decoder"]


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
