"""The check of one shard file: the unit of work of `verify`.

A pure function of a small, picklable job, so that any machinery can map it.
"""

from __future__ import annotations

from dataclasses import replace

from shardreader.checking.checked_file import FileChecksum, ShardFile
from shardreader.checking.findings import (
    Finding,
    FindingKind,
    ShardResult,
    ShardTotals,
)
from shardreader.checking.minishard_check import ShardChunks
from shardreader.checking.shard_chunks_check import LabelRows, check_chunks
from shardreader.checking.shard_index_check import ShardIndices, check_indices
from shardreader.checking.shard_job import LEVELS, ShardJob
from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import ReadError, ShardError
from shardreader.storage.local_store import FileIdentity, LocalStore, StaleFileError

__all__ = ["LEVELS", "ShardJob", "check_shard"]


def check_shard(job: ShardJob, label_rows: LabelRows | None = None) -> ShardResult:
    """Check one shard file and say all that is wrong with it.

    Whatever the file is, there is a result: a damaged chunk hides no other, and a damaged
    minishard index hides no other minishard.

    Parameters
    ----------
    job : ShardJob
    label_rows : LabelRows, optional
        As in `check_chunks`: gets what the chunks hold while they are checked.

    Examples
    --------
    >>> from pathlib import Path
    >>> from shardreader.format.info import parse_info
    >>> volume = parse_info(Path("fixtures/fafb-mini/info").read_bytes(), "info")
    >>> job = ShardJob("fixtures/fafb-mini", volume.scales[0], 1, "uint64", 0x02fa)
    >>> result = check_shard(job)
    >>> result.findings, result.totals.chunks
    ((), 1)
    """
    store = LocalStore(job.directory)
    try:
        return _check(job, store, label_rows)
    finally:
        store.close()


def _check(job: ShardJob, store: LocalStore, label_rows: LabelRows | None) -> ShardResult:
    try:
        identity = store.identity(job.file)
    except ShardError:
        kind = "a directory" if store.is_directory(job.file) else "a special file"
        return _without_file(job, FindingKind.NOT_A_FILE, "a regular file", kind)
    except ReadError as error:
        return _without_file(job, FindingKind.UNREADABLE, "a file that can be read", str(error))
    if identity is None:
        return _without_file(job, FindingKind.FILE_CHANGED, "a file", "none any more")
    return _FileCheck(job, store, identity, label_rows).run()


def _without_file(job: ShardJob, kind: FindingKind, expected: str, found: str) -> ShardResult:
    nothing = ShardFile(
        LocalStore(job.directory), job.scale, job.spec, job.shard_number, FileIdentity(0, 0, 0, 0)
    )
    finding = nothing.finding(kind, expected=expected, found=found)
    return ShardResult(job.shard_number, job.file, job.level, None, (finding,), ShardTotals())


class _FileCheck:
    def __init__(
        self, job: ShardJob, store: LocalStore, identity: FileIdentity, label_rows: LabelRows | None
    ) -> None:
        self.job = job
        self.label_rows = label_rows
        self.file = ShardFile(store, job.scale, job.spec, job.shard_number, identity)
        self.findings: list[Finding] = []
        self.totals = ShardTotals(shards=1, file_bytes=identity.size)
        self.is_partial = False
        self.checksum: FileChecksum | None = None

    def run(self) -> ShardResult:
        try:
            indices = check_indices(self.file)
            self._compare_with_record(indices)
            is_sound = all(f.kind is not FindingKind.COVERAGE_RECORD for f in indices.findings)
            if indices.coverage is not None and is_sound:
                chunks = len(indices.chunks.chunk_ids)
                self._add(FindingKind.PARTIAL, "all chunks of the source", f"{chunks:,} of them")
            self.findings += indices.findings
            self.is_partial = indices.coverage is not None
            self._count(indices.chunks)
            if self.job.level != "quick":
                self._look_into(indices.chunks)
                self._compare_checksum()
        except StaleFileError:
            self._add(FindingKind.FILE_CHANGED, "the same file to the end", "another one, or less")
        except ReadError as error:
            self._add(FindingKind.UNREADABLE, "a file that can be read", str(error))
        identity = self.file.identity
        return ShardResult(
            self.job.shard_number,
            self.job.file,
            self.job.level,
            FileStamp(identity.size, identity.mtime_ns),
            tuple(self.findings),
            replace(self.totals, read_bytes=self.file.read_bytes),
            self.is_partial,
        )

    def _add(self, kind: FindingKind, expected: str, found: str) -> None:
        self.findings.append(self.file.finding(kind, expected=expected, found=found))

    def _compare_with_record(self, indices: ShardIndices) -> None:
        """Compare the size, and see whether the checksum can be compared too."""
        record = self.job.record
        if record is None or record.state not in ("whole", "not_fetched"):
            return
        if indices.coverage is not None:
            return
        if record.size is not None and record.size != self.file.size:
            self._add(FindingKind.SIZE_MISMATCH, f"{record.size} bytes", f"{self.file.size}")
        elif record.crc32c or record.md5:
            self.checksum = FileChecksum(self.file, record)

    def _compare_checksum(self) -> None:
        checksum = self.checksum
        if checksum is None or self.job.box is not None:
            return
        self.totals = replace(self.totals, checksummed_files=1)
        value = checksum.value()
        if value == checksum.expected:
            self.totals = replace(self.totals, unverifiable_chunks=0)
        else:
            self._add(
                FindingKind.CHECKSUM_MISMATCH,
                f"{checksum.name} {checksum.expected}",
                f"{checksum.name} {value}",
            )

    def _count(self, chunks: ShardChunks) -> None:
        self.totals = replace(
            self.totals,
            chunks=len(chunks.starts),
            stored_bytes=int((chunks.ends - chunks.starts).sum()),
        )

    def _look_into(self, chunks: ShardChunks) -> None:
        checksum = self.checksum if self.job.box is None else None
        outcome = check_chunks(self.job, self.file, chunks, checksum, self.label_rows)
        self.findings += outcome.findings
        self.totals += outcome.totals
