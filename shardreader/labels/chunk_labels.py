"""The labels of one chunk: which there are, how many, where, and decoded to other values.

compressed_segmentation is counted in its packed form; other encodings are decoded for it.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding import cseg
from shardreader.decoding.chunk_decoder import ChunkDecoder, make_decoder, words_of
from shardreader.decoding.cseg.nearest import nearest_voxels
from shardreader.decoding.cseg.tally import ChunkBoxes, LabelTally, one_chunk
from shardreader.decoding.flat_output import FlatOutput
from shardreader.decoding.slice_decoder import SliceDecoder
from shardreader.format.grid import Triple
from shardreader.format.info import COMPRESSED_SEGMENTATION, ScaleInfo, VolumeInfo
from shardreader.labels.label_map import ValuesOf

__all__ = [
    "LabelReader",
    "Nearest",
    "PackedLabels",
    "from_uint64",
    "make_label_reader",
    "take_nearer",
]


class Nearest(NamedTuple):
    """Points that look for their label in one chunk; see `cseg.nearest.nearest_voxels`.

    Attributes
    ----------
    origin : (int, int, int)
        The chunk's first voxel.
    voxel_size : (float, float, float)
        In nm.
    points : ndarray of int64, shape (n, 3)
        In voxels from the chunk's first.
    labels : ndarray of uint64, shape (n,)
    best : ndarray of int64, shape (n, 3)
    squares : ndarray of float64, shape (n,)
    status : ndarray of int64, shape (n,)
        Not 0 for points whose search met a fault.
    """

    origin: Triple
    voxel_size: tuple[float, float, float]
    points: NDArray[np.int64]
    labels: NDArray[np.uint64]
    best: NDArray[np.int64]
    squares: NDArray[np.float64]
    status: NDArray[np.int64]


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

    def nearest(self, encoded: bytes, channel: int, cell_shape: Triple, search: Nearest) -> None:
        """Look in a chunk for voxels that are nearer to points than the best ones so far.

        Raises
        ------
        FormatFault
            Nothing of the chunk can be read. A fault in one block is noted in `search`.
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
        words = words_of(encoded)
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
        words = words_of(encoded)
        chunk = one_chunk(words, cell_shape, lower, upper)
        start = np.array([output.at(first, output_channel)], np.int64)
        status = self._translate(chunk, channel, values_of, output, start)
        self._check(status, words, channel, cell_shape)

    def nearest(self, encoded: bytes, channel: int, cell_shape: Triple, search: Nearest) -> None:
        """As `LabelReader.nearest`."""
        channels, _, block_size, label_words = self._form(channel)
        chunk = words_of(encoded), channels, channel, cell_shape, block_size, label_words
        nearest_voxels(
            *chunk,
            search.origin,
            search.voxel_size,
            search.points,
            search.labels,
            search.best,
            search.squares,
            search.status,
        )

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
            status = tally.decode_as(
                values,
                chunks,
                *form,
                output.flat,
                starts,
                output.strides,
                stream=output.outgrows_caches,
            )
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
        if tally.labels_only and isinstance(self._decoder, SliceDecoder):
            found = self._decoder.labels_of_box(encoded, cell_shape, lower, upper, self._dtype)
            if found is not None:
                tally.add_voxels(_as_uint64(found.reshape(-1, 1, 1)), origin)
                return
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

    def nearest(self, encoded: bytes, channel: int, cell_shape: Triple, search: Nearest) -> None:
        """As `LabelReader.nearest`."""
        voxels = _as_uint64(self._decode(encoded, channel, cell_shape, (0, 0, 0), cell_shape))
        sizes = np.array(search.voxel_size)
        for row, (point, label) in enumerate(zip(search.points, search.labels, strict=True)):
            # z slowest: of equal distances the first is the one wanted.
            at = np.argwhere(label == voxels.T)[:, ::-1]
            if len(at) == 0:
                continue
            steps = (at - point) * sizes
            squares = steps[:, 0] ** 2 + steps[:, 1] ** 2 + steps[:, 2] ** 2
            first = int(np.argmin(squares))
            take_nearer(search, row, at[first] + np.array(search.origin), squares[first])

    def _decode(
        self, encoded: bytes, channel: int, cell_shape: Triple, lower: Triple, upper: Triple
    ) -> NDArray[Any]:
        shape = [b - a for a, b in zip(lower, upper, strict=True)]
        voxels: NDArray[Any] = np.empty((*shape, self._num_channels), self._dtype, order="F")
        self._decoder.decode_box(encoded, cell_shape, lower, upper, FlatOutput(voxels), (0, 0, 0))
        return voxels[..., channel]


def take_nearer(search: Nearest, row: int, voxel: NDArray[np.int64], squared: np.float64) -> None:
    """Keep a voxel that is nearer than the best one, or as near and before it in z, y, x."""
    here = (float(squared), *voxel[::-1].tolist())
    if here < (float(search.squares[row]), *search.best[row, ::-1].tolist()):
        search.best[row], search.squares[row] = voxel, squared
