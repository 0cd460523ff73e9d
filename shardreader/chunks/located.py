"""What a search for chunks found, and the plan of the reads that fetch them.

Plain values; nothing here reads a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import PointStatus, ShardReaderError
from shardreader.format.byterange import join_ranges
from shardreader.storage.local_store import FileVersion

__all__ = ["Found", "FoundFile", "ReadJob", "ReadLimits", "plan_reads"]


class FoundFile(NamedTuple):
    """A file that holds chunks; `identity` is None where it does not exist."""

    name: str
    identity: FileVersion | None
    encoding: str
    """How its chunks are stored: a key of `inflate.ENCODINGS`."""


@dataclass(eq=False)
class Found:
    """The answer of a source to "where are these chunks?", one row a chunk, in input order.

    Attributes
    ----------
    keys : ndarray of uint64, shape (n,)
        Chunk ids.
    cells : ndarray of int64, shape (n, 3), or None
        Grid cells, where the keys are chunks of a volume.
    status : ndarray of uint8, shape (n,)
        `PointStatus` OK, EMPTY, NOT_DOWNLOADED or CORRUPT.
    file_numbers : ndarray of int64, shape (n,)
        Index into `files`.
    starts, ends : ndarray of int64, shape (n,)
        Byte range in the file, where the status is OK.
    problems : dict of int to ShardReaderError
        Why a chunk is CORRUPT, by row.
    """

    keys: NDArray[np.uint64]
    cells: NDArray[np.int64] | None
    status: NDArray[np.uint8]
    file_numbers: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    files: list[FoundFile]
    problems: dict[int, ShardReaderError]

    @classmethod
    def blank(cls, keys: NDArray[np.uint64], cells: NDArray[np.int64] | None) -> Found:
        """Rows that a source is about to fill in."""
        count = len(keys)
        files, starts, ends = np.zeros((3, count), dtype=np.int64)
        return cls(keys, cells, np.zeros(count, np.uint8), files, starts, ends, [], {})

    def rows(self, status: PointStatus) -> NDArray[np.intp]:
        """The rows of one status."""
        found: NDArray[np.intp] = (self.status == int(status)).nonzero()[0]
        return found

    def subset(self, rows: NDArray[np.integer[Any]]) -> Found:
        """A blank search for some of the rows."""
        return Found.blank(self.keys[rows], None if self.cells is None else self.cells[rows])

    def put(self, rows: NDArray[np.integer[Any]], part: Found) -> None:
        """Take over what was found for some of the rows, as `subset` gave them."""
        self.status[rows] = part.status
        self.file_numbers[rows] = part.file_numbers + len(self.files)
        self.starts[rows], self.ends[rows] = part.starts, part.ends
        self.files = self.files + part.files
        numbers = rows.tolist()
        self.problems.update({numbers[row]: error for row, error in part.problems.items()})

    def mark_corrupt(self, rows: NDArray[np.integer[Any]], error: ShardReaderError) -> None:
        """Set rows to CORRUPT, with the reason."""
        self.status[rows] = PointStatus.CORRUPT
        self.problems.update(dict.fromkeys(rows.tolist(), error))


class ReadJob(NamedTuple):
    """One positional read: the bytes ``[start, end)`` of a file, and the rows that it serves."""

    file: FoundFile
    start: int
    end: int
    rows: NDArray[np.intp]
    """Rows of the `Found`, shape (n,)."""
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    """Where in the file the bytes of each of them are, shape (n,)."""


class ReadLimits(NamedTuple):
    """How far ranges are joined: bytes between two of them, bytes and chunks of one read."""

    gap: int
    most_bytes: int
    most_chunks: int


# Reading a gap this small costs less than another system call.
LOCAL_LIMITS = ReadLimits(gap=4096, most_bytes=1 << 20, most_chunks=32)


def plan_reads(
    found: Found,
    rows: NDArray[np.integer[Any]],
    *,
    in_order: bool = False,
    limits: ReadLimits = LOCAL_LIMITS,
) -> list[ReadJob]:
    """Sort rows by file and offset, and join neighbours into reads.

    With `in_order` they are not sorted, and those are joined that are neighbours as they stand.
    """
    if len(rows) == 0:
        return []
    order = rows
    if not in_order:
        order = rows[np.lexsort((found.starts[rows], found.file_numbers[rows]))]
    files, starts, ends = (
        found.file_numbers[order],
        found.starts[order],
        found.ends[order],
    )
    reads = join_ranges(
        files,
        starts,
        ends,
        gap=limits.gap,
        most_bytes=limits.most_bytes,
        most_ranges=limits.most_chunks,
    )
    return [
        ReadJob(
            found.files[int(files[first])],
            int(starts[first]),
            int(ends[last - 1]),
            order[first:last].astype(np.intp),
            starts[first:last],
            ends[first:last],
        )
        for first, last in reads
    ]
