"""Ranges of a shard file that overlap, and bytes that belong to nothing, as findings."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.checked_file import ShardFile
from shardreader.checking.findings import Finding, FindingKind
from shardreader.checking.minishard_check import ShardChunks
from shardreader.format.grid import triples
from shardreader.format.index_rules import overlaps

__all__ = ["IndexRanges", "check_gaps", "check_overlaps"]


class IndexRanges(NamedTuple):
    """Byte ranges that are no chunks, each with a name such as "the index of minishard 3"."""

    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    names: list[str]


def check_overlaps(
    file: ShardFile, chunks: ShardChunks, indices: IndexRanges
) -> tuple[list[Finding], ShardChunks]:
    """One finding for each chunk that overlaps another or an index; those are not `readable`.

    Which of two chunks has the wrong range cannot be told.
    """
    count = len(chunks.starts)
    starts = np.concatenate([chunks.starts, indices.starts])
    ends = np.concatenate([chunks.ends, indices.ends])

    def name(row: int) -> str:
        what = f"chunk {chunks.chunk_ids[row]}" if row < count else indices.names[row - count]
        return f"{what} at [{starts[row]}, {ends[row]})"

    other_of: dict[int, int] = {}
    for first, second in overlaps(starts, ends).tolist():
        for row, other in ((first, second), (second, first)):
            if row < count:
                other_of.setdefault(row, other)
    findings = [
        file.finding(
            FindingKind.CHUNK_OVERLAP,
            minishard=int(chunks.minishards[row]),
            chunk_id=int(chunks.chunk_ids[row]),
            cell=triples(chunks.cells[row : row + 1])[0] if chunks.readable[row] else None,
            byte_range=(int(starts[row]), int(ends[row])),
            # Within one index reads believe none of its entries.
            whole_minishard=other < count and chunks.minishards[row] == chunks.minishards[other],
            expected="a range that overlaps no other",
            found=f"an overlap with {name(other)}",
        )
        for row, other in sorted(other_of.items())
    ]
    readable = chunks.readable.copy()
    readable[list(other_of)] = False
    return findings, replace(chunks, readable=readable)


def check_gaps(file: ShardFile, chunks: ShardChunks, indices: IndexRanges) -> list[Finding]:
    """One finding for each run of bytes behind the shard index that nothing refers to."""
    starts = np.concatenate([chunks.starts, indices.starts, [file.size]])
    ends = np.concatenate([chunks.ends, indices.ends, [file.size]])
    order = np.argsort(starts, kind="stable")
    reach = np.maximum.accumulate(np.concatenate([[file.spec.shard_index_end], ends[order]]))
    gaps = np.flatnonzero(starts[order] > reach[:-1])
    return [
        file.finding(
            FindingKind.UNREFERENCED_BYTES,
            byte_range=(start, end),
            expected="a chunk or an index",
            found=f"{end - start} bytes that nothing refers to",
        )
        for start, end in zip(reach[gaps].tolist(), starts[order][gaps].tolist(), strict=True)
    ]
