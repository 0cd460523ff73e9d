"""The rows of one shard: the unit of work of an index.

A function of a small, picklable job, so that any machinery can map it. It may run twice: the file
that it writes is replaced by the same one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from shardreader.checking.findings import FindingKind, Severity
from shardreader.checking.shard_check import ShardJob, check_shard
from shardreader.copies.shard_listing import FileStamp
from shardreader.format.grid import Box
from shardreader.segment_index.row_file import RowFile, read_facts
from shardreader.segments.row_check import RowCheck, kept_check
from shardreader.verification.shard_summary import ShardSummary, summarize

__all__ = ["IndexJob", "ShardRows", "index_shard", "kept_rows"]

# The file could not be read through: its rows are no answer, and the next run tries again.
_NOT_READ = frozenset({FindingKind.UNREADABLE, FindingKind.FILE_CHANGED, FindingKind.NOT_A_FILE})
# Findings that name a chunk, after which no reader believes anything of its minishard.
_OF_ITS_MINISHARD = frozenset(
    {
        FindingKind.DUPLICATE_CHUNK_ID,
        FindingKind.FOREIGN_CHUNK_ID,
        FindingKind.CHUNK_OVERLAP,
    }
)


@dataclass(frozen=True)
class IndexJob:
    """One shard to index.

    Parameters
    ----------
    shard : ShardJob
    stamp : FileStamp
        The version of the file that is wanted.
    voxel_box : Box
        The voxels of the shard.
    rows_path : str
        The file to write.
    is_partial : bool
        The manifest says that the copy has only some of the shard's chunks.
    """

    shard: ShardJob
    stamp: FileStamp
    voxel_box: Box
    rows_path: str
    is_partial: bool

    def __str__(self) -> str:
        return self.shard.file


@dataclass(frozen=True)
class ShardRows:
    """What came of one shard.

    Parameters
    ----------
    summary : ShardSummary
        What was read, and what is wrong with it.
    rows, voxels : int
        Of segments; background is not counted.
    is_partial : bool
        The copy has only some of the shard's chunks.
    check : RowCheck or None
        Of the row file; None where the shard could not be read through: there are no rows.
    """

    summary: ShardSummary
    rows: int
    voxels: int
    is_partial: bool
    check: RowCheck | None

    @property
    def is_indexed(self) -> bool:
        """Whether there is a row file."""
        return self.check is not None

    @property
    def number(self) -> int:
        """That of the shard."""
        return self.summary.result.shard_number

    @property
    def damage(self) -> int:
        """How many findings there are, but for notes."""
        return sum(
            count
            for kind, count in self.summary.counts.items()
            if FindingKind[kind].severity is not Severity.NOTE
        )

    def to_json(self) -> dict[str, Any]:
        """What the row file says of itself, as JSON types, but for its rows and voxels."""
        return {"summary": self.summary.to_json(), "is_partial": self.is_partial}

    @classmethod
    def from_json(cls, members: Mapping[str, Any], check: RowCheck) -> ShardRows:
        """What a row file says of itself."""
        summary = ShardSummary.from_json(members["summary"])
        rows, voxels = int(members["rows"]), int(members["voxels"])
        return cls(summary, rows, voxels, bool(members["is_partial"]), check)


def index_shard(job: IndexJob) -> ShardRows:
    """Read a shard once and write the rows of its segments.

    Whatever the file is, there is a result. What is damaged has no rows and is told.

    Raises
    ------
    SegmentIndexError
        The rows cannot be written.
    """
    with RowFile(job.rows_path) as file:
        result = check_shard(job.shard, file)
        doubtful = {
            finding.minishard_number
            for finding in result.findings
            if finding.severity is Severity.DAMAGE
            and finding.minishard_number is not None
            and (finding.chunk_id is None or finding.kind in _OF_ITS_MINISHARD)
        }
        summary = summarize(result, job.voxel_box)
        is_partial = job.is_partial or result.is_partial
        changed = result.stamp != job.stamp
        if changed or any(finding.kind in _NOT_READ for finding in result.findings):
            return ShardRows(summary, 0, 0, is_partial, None)
        if doubtful:
            file.drop_minishards(job.shard.spec, doubtful)
        outcome = ShardRows(summary, 0, 0, is_partial, None)
        rows, voxels, check = file.finish(outcome.to_json())
        return replace(outcome, rows=rows, voxels=voxels, check=check)


def kept_rows(job: IndexJob) -> ShardRows | None:
    """What an earlier run wrote for this version of the shard.

    One that found damage is not trusted: the file may have been copied again with its time.
    """
    check = kept_check(job.rows_path)
    facts = read_facts(job.rows_path) if check else None
    if check is None or facts is None:
        return None
    try:
        kept = ShardRows.from_json(facts, check)
    except (KeyError, TypeError, ValueError, AttributeError):
        return None  # of another version, or damaged: the shard is indexed again
    of_this = kept.number == job.shard.shard_number and kept.summary.result.stamp == job.stamp
    return kept if of_this and not kept.damage else None
