"""Planned reads of stored chunks, inflated and cached. Floor 3; shared by all sources."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.cache import ByteCache
from shardreader.errors import FormatFault, PointStatus
from shardreader.found import Found, ReadJob, plan_reads
from shardreader.inflate import inflate, most_stored_bytes
from shardreader.store import StaleFileError
from shardreader.workers import Workers

__all__ = ["StoredReader"]

# Enough for each worker to take a new one several times, so that all end together.
_JOBS_PER_WORKER = 4

Consume = Callable[[int, bytes], None]
Fail = Callable[[int, FormatFault], None]


class RangeFiles(Protocol):
    """Files that are read by position, each bound to an identity."""

    def read(self, name: str, *, start: int, end: int, identity: Any) -> bytes:
        """As `LocalStore.read`."""


class Reading(NamedTuple):
    """Where one read gets its bytes, and what it does with a chunk's stored bytes that are sound.

    ``keep`` takes a row and the bytes, on any of the workers' threads.
    """

    files: RangeFiles
    keep: Callable[[int, bytes], None] | None


class StoredReader:
    """Reads the chunks that a `Found` says are there.

    Parameters
    ----------
    files : LocalStore or ShardFiles
    cache : ByteCache
        Keeps encoded chunks (after inflate) by file identity and offset.
    most_encoded_bytes : int
        The largest encoding that a chunk can need.
    """

    def __init__(self, files: RangeFiles, cache: ByteCache, most_encoded_bytes: int) -> None:
        self.files = files
        self.cache = cache
        self.most_encoded_bytes = most_encoded_bytes

    def read(
        self, found: Found, consume: Consume, fail: Fail, workers: Workers
    ) -> NDArray[np.intp]:
        """Hand the encoded bytes of every OK row to `consume`, from any of the workers' threads.

        `fail` is called instead where a chunk's bytes break the format, also where `consume`
        itself raises a `FormatFault`.

        Returns
        -------
        ndarray of intp
            Rows whose file was replaced meanwhile: search for them and read them again.

        Raises
        ------
        ReadError
            The operating system refuses.
        """
        stale: list[int] = []

        def run(job: ReadJob) -> None:
            try:
                self._run(reading, job, consume, fail)
            except StaleFileError:
                stale.extend(row for row, _, _ in job.parts)

        rest = self._serve_cached(found, consume, fail, workers)
        jobs = self.plan(found, rest, workers)
        with self.ahead(found, jobs) as reading:
            workers.run(run, jobs)
        return np.array(sorted(stale), dtype=np.intp)

    def plan(self, found: Found, rows: NDArray[np.intp], workers: Workers) -> list[ReadJob]:
        """The reads for some rows, in the order in which they are done."""
        return plan_reads(found, rows, jobs=_JOBS_PER_WORKER * workers.threads)

    def ahead(self, found: Found, jobs: list[ReadJob]) -> AbstractContextManager[Reading]:
        """Where to get what is about to be read; local files are just read."""
        del found, jobs
        return nullcontext(Reading(self.files, None))

    def is_too_long(self, job: ReadJob) -> bool:
        """Whether a single chunk claims more bytes than any encoding of it can need."""
        most = most_stored_bytes(job.file.encoding, self.most_encoded_bytes)
        return len(job.parts) == 1 and job.end - job.start > most

    def _serve_cached(
        self, found: Found, consume: Consume, fail: Fail, workers: Workers
    ) -> NDArray[np.intp]:
        rows = found.rows(PointStatus.OK)
        cached: list[tuple[int, bytes]] = []
        rest: list[int] = []
        places = zip(
            found.file_numbers[rows].tolist(),
            found.starts[rows].tolist(),
            found.ends[rows].tolist(),
            strict=True,
        )
        for row, (file, start, end) in zip(rows.tolist(), places, strict=True):
            encoded = self.cache.get((found.files[file].identity, start, end))
            if encoded is None:
                rest.append(row)
            else:
                cached.append((row, encoded))
        workers.run(lambda pair: _hand_over(*pair, consume, fail), cached)
        return np.array(rest, dtype=np.intp)

    def _run(self, reading: Reading, job: ReadJob, consume: Consume, fail: Fail) -> None:
        name, identity, encoding = job.file
        if identity is None:
            raise StaleFileError(name)
        if self.is_too_long(job):
            most_stored = most_stored_bytes(encoding, self.most_encoded_bytes)
            fail(
                job.parts[0][0],
                FormatFault(
                    "stored size of the chunk",
                    expected=f"at most {most_stored} bytes (the most that its geometry can need)",
                    found=f"{job.end - job.start}",
                ),
            )
            return
        stored = reading.files.read(name, start=job.start, end=job.end, identity=identity)
        for row, start, end in job.parts:
            try:
                encoded = inflate(
                    stored,
                    start - job.start,
                    end - job.start,
                    encoding=encoding,
                    most_bytes=self.most_encoded_bytes,
                )
            except FormatFault as fault:
                fail(row, fault)
                continue
            if reading.keep is not None:
                reading.keep(row, stored[start - job.start : end - job.start])
            self.cache.put((identity, start, end), encoded, len(encoded))
            _hand_over(row, encoded, consume, fail)


def _hand_over(row: int, encoded: bytes, consume: Any, fail: Fail) -> None:
    try:
        consume(row, encoded)
    except FormatFault as fault:
        fail(row, fault)
