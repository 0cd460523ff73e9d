"""Half-open byte ranges, and joining those that lie near each other into one read."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["ByteRange", "join_ranges"]


class ByteRange(NamedTuple):
    """The bytes ``start <= byte < end`` of a file."""

    start: int
    end: int

    def __str__(self) -> str:
        return f"[{self.start}, {self.end})"


def join_ranges(
    files: NDArray[np.integer[Any]],
    starts: NDArray[np.int64],
    ends: NDArray[np.int64],
    *,
    gap: int,
    most_bytes: int,
    most_ranges: int,
) -> list[tuple[int, int]]:
    """Group sorted ranges into reads: slices ``[first, last)`` of the arrays.

    Ranges join when they are of the same file, start at or after the end of the one before, and
    at most `gap` unwanted bytes lie between; a read spans at most `most_bytes` (a single range
    may be larger) and at most `most_ranges` ranges.

    Parameters
    ----------
    files, starts, ends : ndarray, shape (n,)
        Sorted by file, then by start.

    Examples
    --------
    >>> join_ranges(np.array([0, 0, 0]), np.array([0, 10, 500]), np.array([10, 20, 600]),
    ...             gap=16, most_bytes=1000, most_ranges=8)
    [(0, 2), (2, 3)]
    """
    reads: list[tuple[int, int]] = []
    first = 0
    count = len(starts)
    if count == 0:
        return reads
    file_list, start_list, end_list = files.tolist(), starts.tolist(), ends.tolist()
    for i in range(1, count):
        distance = start_list[i] - end_list[i - 1]
        joined = (
            file_list[i] == file_list[first]
            and 0 <= distance <= gap
            and end_list[i] - start_list[first] <= most_bytes
            and i - first < most_ranges
        )
        if not joined:
            reads.append((first, i))
            first = i
    reads.append((first, count))
    return reads
