"""One walk over chunks: find them, then hand over the encoding of each that is stored."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.located import Found
from shardreader.chunks.stored_reader import ConsumeMany
from shardreader.errors import (
    ChunkError,
    FormatFault,
    NotDownloadedError,
    PointStatus,
    ReadError,
)
from shardreader.runtime.workers import Workers

__all__ = ["not_downloaded", "refuse_chunks", "visit_chunks"]

_MOST_TRIES = 3


def visit_chunks(
    source: ChunkSource,
    workers: Workers,
    count: int,
    *,
    find: Callable[[NDArray[np.intp]], Found],
    settle: Callable[[Found, NDArray[np.intp]], None],
    consume: Callable[[int, bytes], None],
    fail: Callable[[int, ChunkError], None],
    consume_many: ConsumeMany | None = None,
    in_order: bool = False,
) -> None:
    """Find `count` chunks, then read those that are stored.

    Parameters
    ----------
    count : int
    find : callable
        Searches for some of the chunks, by their numbers below `count`.
    settle : callable
        Gets what was found and the numbers it is about, before any read; again for those whose
        file was replaced in between.
    consume : callable
        Gets a number and the encoded bytes, on any of the workers' threads.
    fail : callable
        Gets a number and its error instead, where the bytes break the format.
    consume_many : callable or None
        As for `StoredReader.read`, with numbers in place of rows.
    in_order : bool
        Whether to read in the order of the numbers, and not of the files.

    Raises
    ------
    ReadError
        The operating system refuses, or files keep changing.
    """
    rows = np.arange(count)
    for _ in range(_MOST_TRIES):
        found = find(rows)
        settle(found, rows)
        consumers = _Consumers(source, found, rows.tolist(), consume, fail)
        many = None if consume_many is None else _renumbered(consume_many, rows)
        stale = source.read(
            found, consumers.consume, consumers.fail, workers, many, in_order=in_order
        )
        rows = rows[stale]
        if len(rows) == 0:
            return
    location = source.location(found, 0)
    raise ReadError(
        f"{location.file}: changed {_MOST_TRIES} times while it was read; wait until it is "
        "written, then try again"
    )


class _Consumers:
    """The caller's functions, for the rows of one search."""

    def __init__(
        self,
        source: ChunkSource,
        found: Found,
        numbers: list[int],
        consume: Callable[[int, bytes], None],
        fail: Callable[[int, ChunkError], None],
    ) -> None:
        self._source, self._found, self._numbers = source, found, numbers
        self._consume, self._fail = consume, fail

    def consume(self, row: int, encoded: bytes) -> None:
        self._consume(self._numbers[row], encoded)

    def fail(self, row: int, fault: FormatFault) -> None:
        self._fail(self._numbers[row], self._source.chunk_error(self._found, row, fault))


def _renumbered(consume_many: ConsumeMany, numbers: NDArray[np.intp]) -> ConsumeMany:
    return lambda rows, words, first_words, lengths: consume_many(
        numbers[rows], words, first_words, lengths
    )


def refuse_chunks(
    source: ChunkSource, found: Found, *, what: str, forgive_absent: bool = False
) -> None:
    """Raise unless all can be read: damage first, then what is missing."""
    if not np.count_nonzero(found.status):  # OK is 0
        return
    corrupt = found.rows(PointStatus.CORRUPT)
    if len(corrupt):
        raise found.problems[int(corrupt[0])]
    absent = found.rows(PointStatus.NOT_DOWNLOADED)
    if len(absent) and not forgive_absent:
        count = f"{len(absent)} of {len(found.status)} {what} are"
        raise not_downloaded(source, found, int(absent[0]), count)


def not_downloaded(source: ChunkSource, found: Found, row: int, count: str) -> NotDownloadedError:
    """The error for a chunk whose file is not in this copy."""
    location = source.location(found, row)
    what, advice = source.absence(found, row)
    forgiving = ', or open the volume with missing="zero" to read what is not downloaded as 0'
    error = NotDownloadedError(
        f"{location}: {what} ({count} NOT_DOWNLOADED, this is the first); "
        f"{advice}{'' if found.cells is None else forgiving}"
    )
    error.location = location
    return error
