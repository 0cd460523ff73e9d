"""The checks of one chunk's bytes: inflate, structure, codes, another implementation.

Loads numba with the first chunk.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.findings import FindingKind
from shardreader.decoding import cseg
from shardreader.decoding.chunk_decoder import make_decoder
from shardreader.decoding.cseg import faults
from shardreader.decoding.cseg.chunk_rows import ChunkRows
from shardreader.decoding.cseg.tally import LabelTally
from shardreader.decoding.inflate import inflate, loaded_libdeflate
from shardreader.decoding.whole_chunk_codecs import CODECS
from shardreader.errors import FormatFault
from shardreader.format.grid import Triple
from shardreader.format.info import ScaleInfo, VolumeInfo

__all__ = ["ChunkCheck", "ChunkFault"]

# What the other implementation needs for a chunk of more voxels is more than a check may take.
_MOST_CROSS_CHECK_VOXELS = 1 << 22
_KINDS = {
    faults.CHANNEL_OFFSETS_CUT: FindingKind.CHANNEL_OFFSET,
    faults.CHANNEL_OFFSET: FindingKind.CHANNEL_OFFSET,
    faults.BLOCK_HEADERS_CUT: FindingKind.BLOCK_HEADERS_CUT,
    faults.ENCODED_BITS: FindingKind.ENCODED_BITS,
    faults.LOOKUP_TABLE_OFFSET: FindingKind.LOOKUP_TABLE_OFFSET,
    faults.ENCODED_VALUES_OFFSET: FindingKind.ENCODED_VALUES_OFFSET,
    faults.CODE: FindingKind.CODE_OUTSIDE_TABLE,
}
_KINDS_BY_ENCODING = {
    "raw": FindingKind.ENCODING_LENGTH,
    "compresso": FindingKind.ENCODING_STRUCTURE,
    "crackle": FindingKind.ENCODING_STRUCTURE,
}


class ChunkFault(NamedTuple):
    """What is wrong with a chunk."""

    kind: FindingKind
    expected: str
    found: str


class ChunkCheck:
    """Checks the chunks of one scale, one at a time; keeps nothing of them.

    Parameters
    ----------
    volume : VolumeInfo
    scale : ScaleInfo

    Attributes
    ----------
    most_encoded_bytes : int
        The largest encoding that a chunk can need.
    """

    def __init__(self, volume: VolumeInfo, scale: ScaleInfo) -> None:
        self.volume = volume
        self.scale = scale
        self.most_encoded_bytes = make_decoder(volume, scale).most_encoded_bytes
        self._dtype = volume.dtype
        self._label_words = volume.dtype.itemsize // 4

    def inflate(
        self, stored: bytes, start: int, end: int, data_encoding: str, most_bytes: int
    ) -> bytes | ChunkFault:
        """The encoded bytes of a chunk, or why there are none."""
        try:
            return inflate(stored, start, end, encoding=data_encoding, most_bytes=most_bytes)
        except FormatFault as fault:
            return _chunk_fault(FindingKind.CHUNK_DECODE, fault)

    def structure(self, encoded: bytes, cell_shape: Triple) -> ChunkFault | None:
        """Check an encoding against its geometry; one without blocks is decoded for that."""
        if self.scale.block_size is None:
            decoded = self._decoded_whole(encoded, cell_shape)
            return decoded if isinstance(decoded, ChunkFault) else None
        if len(encoded) % 4:
            return _odd_length(encoded)
        words = np.frombuffer(encoded, dtype="<u4")
        channels, block_size = self.volume.num_channels, self.scale.block_size
        for channel in range(channels):
            geometry = words, channels, channel, cell_shape, block_size, self._label_words
            status = cseg.check_blocks(*geometry)
            if status:
                return _chunk_fault(_KINDS[status % 16], cseg.explain(status, *geometry))
        return None

    def count(
        self, encoded: bytes, cell_shape: Triple
    ) -> tuple[NDArray[np.uint64], NDArray[np.int64]] | ChunkFault:
        """The labels of a chunk of one channel and their voxels, but for label 0."""
        tally = LabelTally()
        fault = self._tally(encoded, cell_shape, tally)
        if fault is not None:
            return fault
        labels, counts, _ = tally.result()
        segments = labels != 0
        return labels[segments], counts[segments]

    def takes_many(self, data_encoding: str) -> bool:
        """Whether `sound` can say anything of chunks of this form."""
        has_blocks = self.scale.block_size is not None
        return has_blocks and self.volume.num_channels == 1 and data_encoding == "gzip"

    def sound(
        self,
        source: bytes | int,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        data_encoding: str,
        cell_shapes: NDArray[np.int64],
        count: ChunkRows | None = None,
    ) -> tuple[NDArray[np.bool_], int]:
        """Which of several chunks are without a fault, and how long these are after inflate.

        Parameters
        ----------
        source : bytes or int
            What was read, or the descriptor of a file.
        starts, ends : ndarray of int64, shape (n,)
            Their bytes in it.
        cell_shapes : ndarray of int64, shape (n, 3)
        count : ChunkRows, optional
            Counts the labels of those that are.

        Returns
        -------
        sound : ndarray of bool, shape (n,)
            What is not has to be looked at by `inflate` and `structure`.
        inflated_bytes : int
        """
        block_size = self.scale.block_size
        usable = loaded_libdeflate() if self.takes_many(data_encoding) else None
        if block_size is None or usable is None:
            return np.zeros(len(starts), dtype=np.bool_), 0
        inflated_words = 0

        def take(
            rows: NDArray[np.intp],
            words: NDArray[np.uint32],
            first_words: NDArray[np.int64],
            lengths: NDArray[np.int64],
        ) -> NDArray[np.bool_]:
            nonlocal inflated_words
            chunks = words, first_words, lengths, rows, cell_shapes, block_size, self._label_words
            done = cseg.check_chunks(*chunks) if count is None else count.add_chunks(*chunks)
            inflated_words += int(lengths[done].sum())
            return done

        most = self.most_encoded_bytes
        with usable.workspace() as space:
            if isinstance(source, bytes):
                data = np.frombuffer(source, dtype=np.uint8)
                sound = usable.inflate_each(space, data, starts, ends, most, take)
            else:
                one_file = np.array([source]), np.zeros(len(starts), dtype=np.int64)
                sound = usable.read_each(space, *one_file, starts, ends, most, take)
        return sound, 4 * inflated_words

    def can_cross_check(self, encoded: bytes, cell_shape: Triple) -> bool:
        """Whether the C++ implementation decodes such an encoding, and stays inside its buffer.

        It decodes blocks of 32 bits wrongly, and follows the values offset of blocks of 0 bits.
        """
        block_size = self.scale.block_size
        if block_size is None or self.volume.num_channels != 1:
            return False
        if prod(cell_shape) > _MOST_CROSS_CHECK_VOXELS:
            return False
        words = np.frombuffer(encoded, dtype="<u4")
        headers = words[1 : 1 + 2 * prod(cseg.block_grid(cell_shape, block_size))]
        values_inside = headers[1::2] <= np.uint32(len(words) - 1)
        return bool((headers[::2] >> np.uint32(24) < 32).all() and values_inside.all())

    def cross_check(self, encoded: bytes, cell_shape: Triple) -> ChunkFault | None:
        """Compare an encoding whose codes are checked with what the C++ implementation decodes."""
        import compressed_segmentation

        ours = self._decode(encoded, cell_shape, (0, 0, 0), cell_shape)
        # One word more, because it reads the values of a block that has none.
        theirs: NDArray[Any] = compressed_segmentation.decompress(
            bytes(encoded) + bytes(4),
            cell_shape,
            self._dtype,
            block_size=self.scale.block_size,
            order="F",
        )
        theirs = theirs.reshape(cell_shape)
        if ours is None:
            return None
        differing = np.flatnonzero(ours.ravel("F") != theirs.ravel("F"))
        if len(differing) == 0:
            return None
        voxel = tuple(int(n) for n in np.unravel_index(int(differing[0]), cell_shape, order="F"))
        return ChunkFault(
            FindingKind.CROSS_CHECK_MISMATCH,
            "the labels that compressed_segmentation (C++) decodes",
            f"{len(differing)} of {ours.size} voxels differ, the first {voxel} of the chunk: "
            f"{ours[voxel]} here, {theirs[voxel]} there",
        )

    def _decode(
        self, encoded: bytes, cell_shape: Triple, lower: Triple, upper: Triple
    ) -> NDArray[Any] | None:
        """The labels of a box of a chunk's first channel, None where a code is damaged."""
        if self.scale.block_size is None:
            return None
        shape = upper[0] - lower[0], upper[1] - lower[1], upper[2] - lower[2]
        flat = np.empty(prod(shape), dtype=self._dtype)
        status = cseg.decode_box(
            np.frombuffer(encoded, dtype="<u4"),
            self.volume.num_channels,
            0,
            cell_shape,
            self.scale.block_size,
            lower,
            upper,
            flat,
            0,
            (1, shape[0], shape[0] * shape[1]),
        )
        return None if status else flat.reshape(shape, order="F")

    def _tally(self, encoded: bytes, cell_shape: Triple, tally: LabelTally) -> ChunkFault | None:
        if self.scale.block_size is None:
            voxels = self._decoded_whole(encoded, cell_shape)
            if isinstance(voxels, ChunkFault):
                return voxels
            tally.add_voxels(voxels[..., 0].astype(np.uint64), (0, 0, 0))
            return None
        if len(encoded) % 4:
            return _odd_length(encoded)
        words = np.frombuffer(encoded, dtype="<u4")
        geometry = words, 1, 0, cell_shape, self.scale.block_size, self._label_words
        status = tally.add_chunk(*geometry, (0, 0, 0), cell_shape, (0, 0, 0))
        if status:
            return _chunk_fault(_KINDS[status % 16], cseg.explain(status, *geometry))
        return None

    def _decoded_whole(self, encoded: bytes, cell_shape: Triple) -> NDArray[Any] | ChunkFault:
        shape = (*cell_shape, self.volume.num_channels)
        encoding = self.scale.encoding
        try:
            voxels: NDArray[Any] = CODECS[encoding].decode(encoded, shape, self._dtype)
        except FormatFault as fault:
            return _chunk_fault(_KINDS_BY_ENCODING.get(encoding, FindingKind.IMAGE), fault)
        return voxels


def _odd_length(encoded: bytes) -> ChunkFault:
    return ChunkFault(FindingKind.ENCODING_LENGTH, "a multiple of 4 bytes", f"{len(encoded)}")


def _chunk_fault(kind: FindingKind, fault: FormatFault) -> ChunkFault:
    return ChunkFault(kind, f"{fault.what}: {fault.expected}", fault.found)
