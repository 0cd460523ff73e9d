"""The checks of the rows of one minishard index, as findings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.checked_file import ShardFile
from shardreader.checking.findings import Finding, FindingKind, Severity
from shardreader.format.grid import triples
from shardreader.format.index_rules import (
    foreign_ids,
    foreign_ids_fault,
    outside_grid_fault,
    repeated_ids,
)
from shardreader.format.morton import cells_of_chunk_ids
from shardreader.format.shard_index import MinishardIndex

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
    findings = _check_ids(file, index, minishard, where, foreign, ~inside & ~foreign)
    keep = index.sound.copy()

    def add(
        kind: FindingKind, row: int, expected: str, found: str, *, whole_minishard: bool = True
    ) -> None:
        findings.append(
            file.finding(
                kind,
                minishard=minishard,
                chunk_id=int(index.chunk_ids[row]),
                cell=triples(cells[row : row + 1])[0] if inside[row] else None,
                byte_range=where,
                whole_minishard=whole_minishard,
                expected=expected,
                found=found,
            )
        )

    for row in repeated_ids(index.chunk_ids).tolist():
        add(FindingKind.DUPLICATE_CHUNK_ID, row, "each id once", "this one again")
        same_start = index.starts[row] == index.starts[row - 1]
        keep[row] &= not (same_start and index.ends[row] == index.ends[row - 1])
    # Without a checksum a wrong row can be the outcome of any damage to the index.
    raw = file.spec.minishard_index_encoding == "raw"
    for row in np.flatnonzero(~index.sound & (inside | (index.sizes > 0))).tolist():
        fault = index.fault(row, shard_index_end=file.spec.shard_index_end, file_size=file.size)
        if index.sizes[row] == 0:
            kind, whole = FindingKind.EMPTY_CHUNK_ENTRY, raw
        else:
            kind, whole = FindingKind.CHUNK_RANGE, True
        add(kind, row, fault.expected, fault.found, whole_minishard=whole)
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
    outside: NDArray[np.bool_],
) -> list[Finding]:
    """One finding for all foreign ids, and one for all outside the grid, with and without bytes."""
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
    for kind, rows in (
        (FindingKind.CHUNK_OUTSIDE_GRID, np.flatnonzero(outside & (index.sizes > 0))),
        (FindingKind.SPARE_ENTRY, np.flatnonzero(outside & (index.sizes == 0))),
    ):
        if len(rows):
            fault = outside_grid_fault(index.chunk_ids, rows, file.scale.grid.grid_size)
            findings.append(
                file.finding(
                    kind,
                    minishard=minishard,
                    chunk_id=int(index.chunk_ids[rows[0]]),
                    byte_range=where,
                    expected=fault.expected,
                    found=fault.found
                    if kind.severity is Severity.DAMAGE
                    else f"{len(rows)} others",
                )
            )
    return findings
