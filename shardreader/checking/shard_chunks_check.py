"""The checks of all chunks of a shard, in the order of the file and in large reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.checked_file import CHUNK_GAP_BYTES, FileChecksum, Part, ShardFile
from shardreader.checking.chunk_check import ChunkCheck, ChunkFault
from shardreader.checking.findings import Finding, FindingKind, ShardTotals
from shardreader.checking.minishard_check import ShardChunks
from shardreader.checking.shard_job import ShardJob
from shardreader.decoding.cseg.chunk_rows import ChunkRows
from shardreader.decoding.inflate import loaded_file_reader, most_stored_bytes
from shardreader.format.grid import Triple, triples
from shardreader.format.sharding import CHECKED_ENCODINGS

__all__ = ["ChunksOutcome", "LabelRows", "check_chunks"]

# A tenth of a second of work, between which an interrupt is heard.
_CHUNKS_AT_ONCE = 1024


class LabelRows(Protocol):
    """Takes the labels of chunks and their voxels while the chunks are checked."""

    def add(
        self,
        chunk_ids: NDArray[np.uint64],
        labels: NDArray[np.uint64],
        voxels: NDArray[np.int64],
    ) -> None:
        """Add rows of a chunk and a label, all of shape (n,)."""


@dataclass
class ChunksOutcome:
    """What came of the chunks of a shard."""

    findings: list[Finding] = field(default_factory=list)
    totals: ShardTotals = field(default_factory=ShardTotals)


def check_chunks(
    job: ShardJob,
    file: ShardFile,
    chunks: ShardChunks,
    checksum: FileChecksum | None,
    label_rows: LabelRows | None = None,
) -> ChunksOutcome:
    """Look into every chunk that is `readable` and in the job's box.

    Parameters
    ----------
    checksum : FileChecksum or None
        Gets all that is read.
    label_rows : LabelRows, optional
        Gets what the chunks without a fault hold; for volumes of one channel of unsigned integers.

    Raises
    ------
    StaleFileError
    ReadError
        Much of the file cannot be read.
    """
    wanted = chunks.readable & job.has_cells(chunks.cells)
    return _ChunksCheck(job, file, chunks, np.flatnonzero(wanted), label_rows).run(checksum)


class _ChunksCheck:
    def __init__(
        self,
        job: ShardJob,
        file: ShardFile,
        chunks: ShardChunks,
        rows: NDArray[np.intp],
        label_rows: LabelRows | None,
    ) -> None:
        self.job, self.file, self.chunks = job, file, chunks
        self.label_rows = label_rows
        self.counting = None if label_rows is None else ChunkRows()
        self.check = ChunkCheck(job.volume, job.scale)
        self.most_encoded_bytes = self.check.most_encoded_bytes
        self.rng = np.random.default_rng((job.seed, job.shard_number))
        self.outcome = ChunksOutcome()
        self.inflated_chunks = self.inflated_bytes = self.cross_checked = 0
        self.rows = self._fitting(rows)
        self.shapes = np.ascontiguousarray(job.scale.grid.cell_extents(chunks.cells[self.rows])[1])
        fraction = job.cross_check if job.level == "deep" else 0.0
        self.is_crossed = self.rng.random(len(self.rows)) < fraction
        self.is_plain = ~self.is_crossed

    def run(self, checksum: FileChecksum | None) -> ChunksOutcome:
        left = np.arange(len(self.rows))
        if checksum is None:  # which is of all bytes in their order
            left = self._left_by_file()
        rows = self.rows[left]
        starts, ends = self.chunks.starts[rows], self.chunks.ends[rows]
        parts = self.file.read_parts(starts, ends, gap=CHUNK_GAP_BYTES, checksum=checksum)
        numbered = (part._replace(row=int(left[part.row])) for part in parts)
        for _, of_read in groupby(numbered, key=lambda part: id(part.data)):
            for part in self._left_by_read(list(of_read)):
                (shape,) = triples(self.shapes[part.row : part.row + 1])
                fault = self._check(part, shape)
                if fault is not None:
                    self._add(int(self.rows[part.row]), fault)
        verifiable = self.job.spec.data_encoding in CHECKED_ENCODINGS
        self.outcome.totals = ShardTotals(
            inflated_chunks=self.inflated_chunks,
            inflated_bytes=self.inflated_bytes,
            unverifiable_chunks=0 if verifiable else self.inflated_chunks,
            cross_checked_chunks=self.cross_checked,
        )
        return self.outcome

    def _left_by_file(self) -> NDArray[np.intp]:
        """Check all that can be where they lie; the numbers of those that need a closer look."""
        left = np.ones(len(self.rows), dtype=np.bool_)
        plain = np.flatnonzero(self.is_plain)
        if not self.check.takes_many(self.job.spec.data_encoding) or not loaded_file_reader():
            return np.flatnonzero(left)
        handle = self.file.store.hold(self.file.name, self.file.identity)
        try:
            for first in range(0, len(plain), _CHUNKS_AT_ONCE):
                some = plain[first : first + _CHUNKS_AT_ONCE]
                rows = self.rows[some]
                starts, ends = self.chunks.starts[rows], self.chunks.ends[rows]
                sound = self._sound(handle.descriptor, some, starts, ends)
                left[some[sound]] = False
                self.file.read_bytes += int((ends - starts)[sound].sum())
        finally:
            self.file.store.let_go(self.file.name, handle)
        return np.flatnonzero(left)

    def _left_by_read(self, parts: list[Part]) -> list[Part]:
        """The parts of one read that need a closer look than all at once can have."""
        plain = [part for part in parts if part.error is None and self.is_plain[part.row]]
        if not plain:
            return parts
        numbers, starts, ends = np.array([(part.row, part.start, part.end) for part in plain]).T
        sound = self._sound(plain[0].data, numbers, starts.copy(), ends.copy())
        left_out = set(numbers[sound].tolist())
        return [part for part in parts if part.row not in left_out]

    def _sound(
        self,
        source: bytes | int,
        numbers: NDArray[np.intp],
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which of some chunks are without a fault; these are counted."""
        sound, inflated_bytes = self.check.sound(
            source, starts, ends, self.job.spec.data_encoding, self.shapes[numbers], self.counting
        )
        if self.counting is not None and self.label_rows is not None:
            rows, labels, voxels = self.counting.take()
            self.label_rows.add(self.chunks.chunk_ids[self.rows[numbers[rows]]], labels, voxels)
        self.inflated_chunks += int(sound.sum())
        self.inflated_bytes += inflated_bytes
        return sound

    def _check(self, part: Part, cell_shape: Triple) -> ChunkFault | None:
        if part.error is not None:
            return ChunkFault(FindingKind.UNREADABLE, "bytes", str(part.error))
        encoded = self.check.inflate(
            part.data, part.start, part.end, self.job.spec.data_encoding, self.most_encoded_bytes
        )
        if isinstance(encoded, ChunkFault):
            return encoded
        self.inflated_chunks += 1
        self.inflated_bytes += len(encoded)
        if self.label_rows is not None:
            return self._count(part, encoded, cell_shape, self.label_rows)
        fault = self.check.structure(encoded, cell_shape)
        crossed = fault is None and self.is_crossed[part.row]
        if crossed and self.check.can_cross_check(encoded, cell_shape):
            fault = self.check.cross_check(encoded, cell_shape)
            self.cross_checked += fault is None
        return fault

    def _count(
        self, part: Part, encoded: bytes, cell_shape: Triple, label_rows: LabelRows
    ) -> ChunkFault | None:
        counted = self.check.count(encoded, cell_shape)
        if isinstance(counted, ChunkFault):
            return counted
        labels, voxels = counted
        chunk_id = self.chunks.chunk_ids[self.rows[part.row]]
        label_rows.add(np.full(len(labels), chunk_id), labels, voxels)
        return None

    def _fitting(self, rows: NDArray[np.intp]) -> NDArray[np.intp]:
        """The rows that are not longer than any chunk can be; the others are never read."""
        most = most_stored_bytes(self.job.spec.data_encoding, self.most_encoded_bytes)
        lengths = self.chunks.ends[rows] - self.chunks.starts[rows]
        for row in rows[lengths > most].tolist():
            length = int(self.chunks.ends[row] - self.chunks.starts[row])
            fault = ChunkFault(
                FindingKind.CHUNK_DECODE,
                f"at most {most} stored bytes (the most that its geometry can need)",
                f"{length}",
            )
            self._add(row, fault)
        return rows[lengths <= most]

    def _add(self, row: int, fault: ChunkFault) -> None:
        (cell,) = triples(self.chunks.cells[row : row + 1])
        self.outcome.findings.append(
            self.file.finding(
                fault.kind,
                minishard=int(self.chunks.minishards[row]),
                chunk_id=int(self.chunks.chunk_ids[row]),
                cell=cell,
                byte_range=(int(self.chunks.starts[row]), int(self.chunks.ends[row])),
                expected=fault.expected,
                found=fault.found,
            )
        )
