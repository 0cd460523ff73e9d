"""The checks of all chunks of a shard, in the order of the file and in large reads. Floor 3."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from shardreader.chunk_check import ChunkCheck, ChunkFault
from shardreader.findings import FaceCounts, Finding, FindingKind, ShardTotals
from shardreader.grid import Triple, triples
from shardreader.inflate import most_stored_bytes
from shardreader.minishard_check import ShardChunks
from shardreader.shard_file import CHUNK_GAP_BYTES, FileChecksum, Part, ShardFile
from shardreader.shard_job import ShardJob

__all__ = ["ChunksOutcome", "Counter", "check_chunks"]

Counter = Callable[[ChunkCheck, int, bytes, Triple], "ChunkFault | None"]

# Encodings that carry a checksum of their data.
_CHECKED_ENCODINGS = ("gzip",)
# Chunks whose block faces are looked at: enough for a judgement, few enough to cost little.
_LEAST_FACE_CHUNKS, _MOST_FACE_CHUNKS = 4, 64
_CHUNKS_PER_FACE_CHUNK = 16


@dataclass
class ChunksOutcome:
    """What came of the chunks of a shard."""

    findings: list[Finding] = field(default_factory=list)
    totals: ShardTotals = field(default_factory=ShardTotals)
    faces: FaceCounts = field(default_factory=FaceCounts)


def check_chunks(
    job: ShardJob,
    file: ShardFile,
    chunks: ShardChunks,
    checksum: FileChecksum | None,
    count: Counter | None = None,
) -> ChunksOutcome:
    """Look into every chunk that is `readable` and in the job's box.

    Parameters
    ----------
    checksum : FileChecksum or None
        Gets all that is read.
    count : callable, optional
        Gets each chunk's id, encoded bytes and shape, and checks them in place of the structure.

    Raises
    ------
    StaleFileError
    ReadError
        Much of the file cannot be read.
    """
    wanted = chunks.readable
    if job.box is not None:
        lower, upper = np.array(job.box.lower), np.array(job.box.upper)
        wanted = wanted & ((chunks.cells >= lower) & (chunks.cells < upper)).all(axis=1)
    return _ChunksCheck(job, file, chunks, np.flatnonzero(wanted), count).run(checksum)


class _ChunksCheck:
    def __init__(
        self,
        job: ShardJob,
        file: ShardFile,
        chunks: ShardChunks,
        rows: NDArray[np.intp],
        count: Counter | None,
    ) -> None:
        self.job, self.file, self.chunks, self.count = job, file, chunks, count
        self.check = ChunkCheck(job.volume, job.scale, follow_codes=job.level == "deep")
        self.most_encoded_bytes = self.check.most_encoded_bytes
        self.rng = np.random.default_rng((job.seed, job.shard_number))
        self.outcome = ChunksOutcome()
        self.inflated_chunks = self.inflated_bytes = self.cross_checked = 0
        self.rows = self._fitting(rows)
        self.shapes = triples(job.scale.grid.cell_extents(chunks.cells[self.rows])[1])
        self.face_rows = self._choose_face_rows() if count is None else frozenset()
        fraction = job.cross_check if job.level == "deep" else 0.0
        self.is_crossed = self.rng.random(len(self.rows)) < fraction

    def run(self, checksum: FileChecksum | None) -> ChunksOutcome:
        starts, ends = self.chunks.starts[self.rows], self.chunks.ends[self.rows]
        for part in self.file.read_parts(starts, ends, gap=CHUNK_GAP_BYTES, checksum=checksum):
            fault = self._check(part, self.shapes[part.row])
            if fault is not None:
                self._add(int(self.rows[part.row]), fault)
        verifiable = self.job.spec.data_encoding in _CHECKED_ENCODINGS
        self.outcome.totals = ShardTotals(
            inflated_chunks=self.inflated_chunks,
            inflated_bytes=self.inflated_bytes,
            unverifiable_chunks=0 if verifiable else self.inflated_chunks,
            cross_checked_chunks=self.cross_checked,
        )
        return self.outcome

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
        if self.count is not None:
            chunk_id = int(self.chunks.chunk_ids[self.rows[part.row]])
            return self.count(self.check, chunk_id, encoded, cell_shape)
        fault = self.check.structure(encoded, cell_shape)
        if fault is None and part.row in self.face_rows:
            self.outcome.faces += self.check.faces(encoded, cell_shape, self.rng)
        crossed = fault is None and self.is_crossed[part.row]
        if crossed and self.check.can_cross_check(encoded, cell_shape):
            fault = self.check.cross_check(encoded, cell_shape)
            self.cross_checked += fault is None
        return fault

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

    def _choose_face_rows(self) -> frozenset[int]:
        """Some of the half that is stored longest: chunks of background have no label changes."""
        count = len(self.rows)
        wanted = min(max(count // _CHUNKS_PER_FACE_CHUNK, _LEAST_FACE_CHUNKS), _MOST_FACE_CHUNKS)
        lengths = self.chunks.ends[self.rows] - self.chunks.starts[self.rows]
        longest = np.argsort(-lengths, kind="stable")[: max(count // 2, wanted)]
        chosen = self.rng.permutation(longest)[:wanted]
        return frozenset(chosen.tolist())

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
