"""The checks of the rows of one minishard index, as findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.checked_file import ShardFile
from shardreader.checking.findings import Finding, FindingKind
from shardreader.format.grid import triples
from shardreader.format.morton import cells_of_chunk_ids
from shardreader.format.shard_index import (
    MinishardIndex,
    foreign_ids,
    foreign_ids_fault,
    repeated_ids,
)

__all__ = ["ShardChunks", "check_rows"]


@dataclass(frozen=True, eq=False)
class ShardChunks:
    """Chunks whose byte range lies in the file.

    Attributes
    ----------
    chunk_ids, minishards : ndarray of uint64 and int64, shape (n,)
    starts, ends : ndarray of int64, shape (n,)
    cells : ndarray of int64, shape (n, 3)
    readable : ndarray of bool, shape (n,)
        Whether to look into the chunk: its cell is in the grid, and its entry has no fault.
    """

    chunk_ids: NDArray[np.uint64]
    minishards: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    cells: NDArray[np.int64]
    readable: NDArray[np.bool_]

    @classmethod
    def joined(cls, tables: Sequence[ShardChunks]) -> ShardChunks:
        """All chunks of several minishards, sorted by the start of their range."""
        none = np.zeros(0, dtype=np.int64)
        ids, rows, flags = none.astype(np.uint64), none.reshape(0, 3), none.astype(np.bool_)
        tables = [cls(ids, none, none, none, rows, flags), *tables]
        order = np.argsort(np.concatenate([table.starts for table in tables]), kind="stable")
        return cls(
            np.concatenate([table.chunk_ids for table in tables])[order],
            np.concatenate([table.minishards for table in tables])[order],
            np.concatenate([table.starts for table in tables])[order],
            np.concatenate([table.ends for table in tables])[order],
            np.concatenate([table.cells for table in tables])[order],
            np.concatenate([table.readable for table in tables])[order],
        )


def check_rows(
    file: ShardFile, index: MinishardIndex, minishard: int, where: tuple[int, int]
) -> tuple[list[Finding], ShardChunks]:
    """Judge the ids and the byte range of each row by itself.

    Parameters
    ----------
    where : (int, int)
        Byte range of the index.

    Returns
    -------
    findings : list of Finding
    chunks : ShardChunks
        The rows whose range lies in the file, but for exact repetitions.
    """
    grid_size = file.scale.grid.grid_size
    cells, inside = cells_of_chunk_ids(index.chunk_ids, grid_size)
    foreign = np.zeros(len(index), dtype=np.bool_)
    foreign[foreign_ids(index.chunk_ids, file.spec, file.number, minishard)] = True
    findings = _check_ids(
        file, index, minishard, where, foreign, np.flatnonzero(~inside & ~foreign)
    )
    keep = index.sound.copy()
    # Without a checksum a wrong row can be the outcome of any damage to the index.
    checked = file.spec.minishard_index_encoding != "raw"

    def add(kind: FindingKind, row: int, expected: str, found: str) -> None:
        findings.append(
            file.finding(
                kind,
                minishard=minishard,
                chunk_id=int(index.chunk_ids[row]),
                cell=triples(cells[row : row + 1])[0] if inside[row] else None,
                byte_range=where,
                whole_minishard=not checked,
                expected=expected,
                found=found,
            )
        )

    for row in repeated_ids(index.chunk_ids).tolist():
        add(FindingKind.DUPLICATE_CHUNK_ID, row, "each id once", "this one again")
        same_start = index.starts[row] == index.starts[row - 1]
        keep[row] &= not (same_start and index.ends[row] == index.ends[row - 1])
    for row in np.flatnonzero(~index.sound & inside).tolist():
        fault = index.fault(row, shard_index_end=file.spec.shard_index_end, file_size=file.size)
        empty = index.sizes[row] == 0
        kind = FindingKind.EMPTY_CHUNK_ENTRY if empty else FindingKind.CHUNK_RANGE
        add(kind, row, fault.expected, fault.found)
    return findings, ShardChunks(
        index.chunk_ids[keep],
        np.full(int(keep.sum()), minishard, dtype=np.int64),
        index.starts[keep],
        index.ends[keep],
        cells[keep],
        (inside & ~foreign)[keep],
    )


def _check_ids(
    file: ShardFile,
    index: MinishardIndex,
    minishard: int,
    where: tuple[int, int],
    foreign: NDArray[np.bool_],
    outside: NDArray[np.intp],
) -> list[Finding]:
    """One finding for all foreign ids, and one for all that are outside the grid."""
    findings = []
    rows = np.flatnonzero(foreign)
    if len(rows):
        fault = foreign_ids_fault(index.chunk_ids, rows, file.spec, file.number, minishard)
        findings.append(
            file.finding(
                FindingKind.FOREIGN_CHUNK_ID,
                minishard=minishard,
                chunk_id=int(index.chunk_ids[rows[0]]),
                byte_range=where,
                expected=fault.expected,
                found=fault.found,
            )
        )
    if len(outside):
        findings.append(
            file.finding(
                FindingKind.CHUNK_OUTSIDE_GRID,
                minishard=minishard,
                chunk_id=int(index.chunk_ids[outside[0]]),
                byte_range=where,
                expected="ids of cells in the grid of {} x {} x {}".format(
                    *file.scale.grid.grid_size
                ),
                found=f"{len(outside)} others, the first {index.chunk_ids[outside[0]]}",
            )
        )
    return findings
