"""Reads a few chunks of a scale with every block size of the declared one's volume."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.block_faces import (
    BlockReading,
    better_reading,
    block_sizes_of_volume,
    worth_going_on,
)
from shardreader.checking.checked_file import ShardFile
from shardreader.checking.chunk_check import ChunkCheck, ChunkFault
from shardreader.checking.shard_index_check import check_indices
from shardreader.checking.shard_job import ShardJob
from shardreader.decoding import cseg
from shardreader.decoding.inflate import most_stored_bytes
from shardreader.errors import ReadError, ShardError
from shardreader.format.grid import Triple, triples
from shardreader.storage.local_store import LocalStore, StaleFileError

__all__ = ["MOST_SHARDS", "BlockSizeQuestion", "WrongBlockSize", "check_block_size"]

MOST_SHARDS = 16
_MOST_CHUNKS = 64
# Of a chunk that is larger its first sections are looked at.
_MOST_CHUNK_VOXELS = 1 << 21
# Half a second of work on one core, whatever the chunks are.
_MOST_DECODED_VOXELS = 1 << 28
_HEADER_WORDS = 2


@dataclass(frozen=True)
class BlockSizeQuestion:
    """Some shards of a scale, to look at their chunks; `number` is the asker's own."""

    number: int
    jobs: tuple[ShardJob, ...]


class WrongBlockSize(NamedTuple):
    """The block size that is declared, and one that reads the same chunks without the break."""

    declared: Triple
    better: Triple
    changes: int
    better_changes: int
    chunks: int


class _Chunk(NamedTuple):
    encoded: bytes
    shape: Triple


def check_block_size(question: BlockSizeQuestion) -> tuple[int, WrongBlockSize | None]:
    """Whether another block size of the same volume reads some chunks better.

    At most 64 chunks of the shards are looked at: those stored longest, because chunks of
    background show no block faces. A chunk with a fault is left out, and so is a file that cannot
    be read: `check_shard` finds them.

    Returns
    -------
    number : int
        That of the question.
    wrong : WrongBlockSize or None
    """
    if not question.jobs or question.jobs[0].scale.block_size is None:
        return question.number, None
    comparison = _Comparison(question.jobs[0])
    each = _MOST_CHUNKS // len(question.jobs)
    for job in question.jobs:
        for chunk in _longest_chunks(job, each):
            if comparison.is_full:
                break
            comparison.add(chunk)
    return question.number, comparison.result()


def _longest_chunks(job: ShardJob, count: int) -> Iterator[_Chunk]:
    store = LocalStore(job.directory)
    try:
        identity = store.identity(job.file)
        if identity is not None:
            file = ShardFile(store, job.scale, job.spec, job.shard_number, identity)
            yield from _read_longest(file, job, count)
    except (ShardError, ReadError, StaleFileError):
        return
    finally:
        store.close()


def _read_longest(file: ShardFile, job: ShardJob, count: int) -> Iterator[_Chunk]:
    chunks = check_indices(file).chunks
    check = ChunkCheck(job.volume, job.scale)
    encoding = job.spec.data_encoding
    lengths = chunks.ends - chunks.starts
    wanted = chunks.readable & job.has_cells(chunks.cells)
    wanted &= lengths <= most_stored_bytes(encoding, check.most_encoded_bytes)
    rows = np.flatnonzero(wanted)
    for row in rows[np.argsort(-lengths[rows], kind="stable")][:count].tolist():
        stored = file.read(int(chunks.starts[row]), int(chunks.ends[row]))
        encoded = check.inflate(stored, 0, len(stored), encoding, check.most_encoded_bytes)
        (cell,) = triples(chunks.cells[row : row + 1])
        shape = job.scale.grid.cell_shape(cell)
        if not isinstance(encoded, ChunkFault) and len(encoded) % 4 == 0:
            yield _Chunk(encoded, shape)


class _Comparison:
    """Reads chunk by chunk with those block sizes that may still be better."""

    def __init__(self, job: ShardJob) -> None:
        block_size = job.scale.block_size
        if block_size is None:
            raise ValueError(f"scale {job.scale.key!r} has no blocks")
        chunk_size = job.scale.chunk_size
        self._num_channels = job.num_channels
        self._dtype = job.volume.dtype
        self._declared = BlockReading(block_size, chunk_size)
        sizes = block_sizes_of_volume(block_size, chunk_size)
        self._others = [BlockReading(size, chunk_size) for size in sizes]
        self._decoded_voxels = self._chunks = 0

    @property
    def is_full(self) -> bool:
        """Whether as much was looked at as may be."""
        return self._decoded_voxels >= _MOST_DECODED_VOXELS or not self._others

    def add(self, chunk: _Chunk) -> None:
        words = np.frombuffer(chunk.encoded, dtype="<u4")
        upper = _part(chunk.shape)
        if upper is None or not self._read(self._declared, words, chunk.shape, upper):
            return
        self._chunks += 1
        kept = [
            other
            for other in self._others
            if _can_be(words, chunk.shape, self._declared.block_size, other.block_size)
            and self._read(other, words, chunk.shape, upper)
        ]
        self._others = worth_going_on(self._declared, kept)

    def result(self) -> WrongBlockSize | None:
        declared = self._declared
        better = better_reading(declared, self._others)
        if better is None:
            return None
        return WrongBlockSize(
            declared.block_size, better.block_size, declared.changes, better.changes, self._chunks
        )

    def _read(
        self, reading: BlockReading, words: NDArray[np.uint32], shape: Triple, upper: Triple
    ) -> bool:
        """Add a chunk to a reading; False where it cannot be read with that block size."""
        self._decoded_voxels += prod(upper)
        block_size = reading.block_size
        flat = np.empty(prod(upper), dtype=self._dtype)
        strides = 1, upper[0], upper[0] * upper[1]
        box = (0, 0, 0), upper, flat, 0, strides
        if cseg.decode_box(words, self._num_channels, 0, shape, block_size, *box):
            return False
        reading.add(flat.reshape(upper, order="F"))
        return True


def _part(shape: Triple) -> Triple | None:
    """The first sections of a chunk, or None where one section is too much already."""
    section = shape[0] * shape[1]
    depth = min(shape[2], _MOST_CHUNK_VOXELS // section)
    return (shape[0], shape[1], depth) if depth else None


def _can_be(words: NDArray[np.uint32], shape: Triple, declared: Triple, size: Triple) -> bool:
    """Whether a chunk may have been written with a block size, by the number of its blocks.

    In a chunk that is cut off at the edge of the volume, blocks of another shape may be more or
    fewer. What no block refers to would be lost; writers put the first table or the first values
    directly behind the headers.
    """
    blocks = prod(cseg.block_grid(shape, size))
    if blocks == prod(cseg.block_grid(shape, declared)):
        return True
    first = int(words[0])  # of the first channel
    headers = words[first : first + _HEADER_WORDS * blocks]
    if len(headers) < _HEADER_WORDS * blocks:
        return False
    tables = headers[::2] & np.uint32(0xFFFFFF)
    has_values = headers[::2] >> np.uint32(24) > 0
    values = headers[1::2][has_values]
    return min(int(tables.min()), int(values.min(initial=0xFFFFFFFF))) == _HEADER_WORDS * blocks
