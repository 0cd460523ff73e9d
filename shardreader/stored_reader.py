"""Planned reads of stored chunks, inflated and cached. Floor 3; shared by all sources."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.cache import ByteCache
from shardreader.errors import FormatFault, PointStatus
from shardreader.found import Found, ReadJob, plan_reads
from shardreader.inflate import inflate, loaded_libdeflate, most_stored_bytes
from shardreader.seen_lately import SeenLately
from shardreader.store import StaleFileError
from shardreader.workers import Workers

__all__ = ["ConsumeMany", "RangeFiles", "StoredReader"]

# Enough for each worker to take a new one several times, so that all end together.
_JOBS_PER_WORKER = 4
# To hand fewer to another thread takes longer than to do them.
_FEW_CHUNKS = 2
# Labels shrink to about a fifth: what a chunk will cost the cache, before it is known.
_TYPICAL_RATIO = 5

Consume = Callable[[int, bytes], None]
Fail = Callable[[int, FormatFault], None]
ConsumeMany = Callable[
    [NDArray[np.intp], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]],
    NDArray[np.bool_],
]
"""Gets rows, memory with their encodings in 32-bit words, and the first word and the number of
words of each; says of each whether it is done. What is not is handed over again, one by one."""


class _Task(NamedTuple):
    """What one thread does in one go; `at_once` is libdeflate, where it can take the jobs."""

    jobs: list[ReadJob]
    at_once: ModuleType | None
    keep: bool


class RangeReader(Protocol):
    """What gives ranges of files."""

    def read(self, name: str, *, start: int, end: int, identity: Any) -> bytes:
        """As `LocalStore.read`."""


class RangeFiles(RangeReader, Protocol):
    """Files that are read by position, each bound to an identity."""

    def read_into(
        self, name: str, *, start: int, end: int, identity: Any, into: memoryview
    ) -> None:
        """As `LocalStore.read_into`."""


class Reading(NamedTuple):
    """Where one read gets its bytes, and what it does with a chunk's stored bytes that are sound.

    ``keep`` takes a row and the bytes, on any of the workers' threads.
    """

    files: RangeReader
    keep: Callable[[int, bytes], None] | None


class StoredReader:
    """Reads the chunks that a `Found` says are there.

    Parameters
    ----------
    files : LocalStore or ShardFiles
    cache : ByteCache
        Keeps encoded chunks (after inflate) by file identity and offset, of those that are read
        more than once.
    most_encoded_bytes : int
        The largest encoding that a chunk can need.
    """

    def __init__(self, files: RangeFiles, cache: ByteCache, most_encoded_bytes: int) -> None:
        self.files = files
        self.cache = cache
        self.most_encoded_bytes = most_encoded_bytes
        self._seen = SeenLately(cache.most_bytes)

    def read(
        self,
        found: Found,
        consume: Consume,
        fail: Fail,
        workers: Workers,
        consume_many: ConsumeMany | None = None,
        *,
        in_order: bool = False,
    ) -> NDArray[np.intp]:
        """Hand the encoded bytes of every OK row to `consume`, from any of the workers' threads.

        `fail` is called instead where a chunk's bytes break the format, also where `consume`
        itself raises a `FormatFault`. With `consume_many`, chunks that are new to this reader go
        there first, many at once, and to `consume` only if that says that they are not done.
        With `in_order` chunks are read in the order of their rows and not of the files.

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
        at_once = None if consume_many is None else loaded_libdeflate()

        def run(task: _Task) -> None:
            try:
                if consume_many and task.at_once:
                    self._run_many(task.jobs, task.at_once, consume_many, consume, fail)
                else:
                    for job in task.jobs:
                        self._run(job, consume, fail, keep=task.keep)
            except StaleFileError:
                for job in task.jobs:
                    stale.extend(job.rows.tolist())

        rows = found.rows(PointStatus.OK)
        again = self._again(found, rows)
        missed = self._serve_cached(found, rows[again], consume, fail, workers)
        jobs = _JOBS_PER_WORKER * workers.threads
        tasks = _tasks(
            plan_reads(found, rows[~again], jobs=jobs, in_order=in_order),
            at_once,
            jobs_wanted=jobs,
        )
        tasks += [_Task([job], None, keep=True) for job in plan_reads(found, missed, jobs=jobs)]
        if len(rows) <= _FEW_CHUNKS:
            for task in tasks:
                run(task)
        else:
            workers.run(run, tasks)
        return np.array(sorted(stale), dtype=np.intp)

    def _again(self, found: Found, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        if not self.cache.most_bytes:
            return np.zeros(len(rows), dtype=np.bool_)
        starts = found.starts[rows]
        sizes = (found.ends[rows] - starts) * _TYPICAL_RATIO
        identities = [file.identity for file in found.files]
        return self._seen.again(identities, found.file_numbers[rows], starts, sizes)

    def _serve_cached(
        self,
        found: Found,
        rows: NDArray[np.intp],
        consume: Consume,
        fail: Fail,
        workers: Workers,
    ) -> NDArray[np.intp]:
        """Hand over what is in the cache; the rows that are not."""
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

    def _run_many(
        self,
        jobs: list[ReadJob],
        libdeflate: ModuleType,
        consume_many: ConsumeMany,
        consume: Consume,
        fail: Fail,
    ) -> None:
        """Read, inflate and hand over without memory of its own for each chunk."""
        with libdeflate.workspace() as space:
            filled = 0
            shifts = []
            for job in jobs:
                self.files.read_into(
                    job.file.name,
                    start=job.start,
                    end=job.end,
                    identity=job.file.identity,
                    into=space.stored.data[filled:],
                )
                shifts.append(filled - job.start)
                filled += job.end - job.start
            rows = np.concatenate([job.rows for job in jobs])
            starts, ends = (
                np.concatenate([places + by for places, by in zip(lists, shifts, strict=True)])
                for lists in ([job.starts for job in jobs], [job.ends for job in jobs])
            )
            done = libdeflate.inflate_each(
                space,
                space.stored,
                starts,
                ends,
                self.most_encoded_bytes,
                lambda some, *words: consume_many(rows[some], *words),
            )
        if not done.all():
            # Damaged, or unusual: read once more, by what can tell.
            for job in jobs:
                left = job.only(~done[: len(job.rows)])
                done = done[len(job.rows) :]
                if left is not None:
                    self._run(left, consume, fail, keep=False)

    def is_too_long(self, job: ReadJob) -> bool:
        """Whether a single chunk claims more bytes than any encoding of it can need."""
        most = most_stored_bytes(job.file.encoding, self.most_encoded_bytes)
        return len(job.rows) == 1 and job.end - job.start > most

    def _run(
        self,
        job: ReadJob,
        consume: Consume,
        fail: Fail,
        *,
        keep: bool,
        reading: Reading | None = None,
    ) -> None:
        name, identity, encoding = job.file
        if identity is None:
            raise StaleFileError(name)
        if self.is_too_long(job):
            most_stored = most_stored_bytes(encoding, self.most_encoded_bytes)
            fault = FormatFault(
                "stored size of the chunk",
                expected=f"at most {most_stored} bytes (the most that its geometry can need)",
                found=f"{job.end - job.start}",
            )
            fail(int(job.rows[0]), fault)
            return
        files = self.files if reading is None else reading.files
        stored = files.read(name, start=job.start, end=job.end, identity=identity)
        starts, ends = (job.starts - job.start).tolist(), (job.ends - job.start).tolist()
        for at, (start, end) in enumerate(zip(starts, ends, strict=True)):
            is_sound = self._inflate(job, at, stored, start, end, consume, fail, keep=keep)
            if is_sound and reading is not None and reading.keep is not None:
                reading.keep(int(job.rows[at]), stored[start:end])

    def _inflate(
        self,
        job: ReadJob,
        at: int,
        stored: bytes,
        start: int,
        end: int,
        consume: Consume,
        fail: Fail,
        *,
        keep: bool,
    ) -> bool:
        """Inflate one chunk of a job and hand it over; False where it cannot be inflated."""
        row = int(job.rows[at])
        most = self.most_encoded_bytes
        try:
            encoded = inflate(stored, start, end, encoding=job.file.encoding, most_bytes=most)
        except FormatFault as fault:
            fail(row, fault)
            return False
        if keep:
            place = (job.file.identity, int(job.starts[at]), int(job.ends[at]))
            self.cache.put(place, encoded, len(encoded))
        _hand_over(row, encoded, consume, fail)
        return True


def _tasks(jobs: list[ReadJob], at_once: ModuleType | None, *, jobs_wanted: int) -> list[_Task]:
    """Gather reads that fit into one workspace, into at least `jobs_wanted` tasks if possible."""
    most_chunks = max(_FEW_CHUNKS, sum(len(job.rows) for job in jobs) // jobs_wanted)
    tasks: list[_Task] = []
    chunks, stored = most_chunks, 0  # no task yet that a job could join
    for job in jobs:
        length = job.end - job.start
        if (
            at_once is None
            or length > at_once.STORED_BYTES
            or job.file.encoding != "gzip"
            or job.file.identity is None
        ):
            tasks.append(_Task([job], None, keep=False))
            chunks = most_chunks
            continue
        if chunks + len(job.rows) > most_chunks or stored + length > at_once.STORED_BYTES:
            tasks.append(_Task([], at_once, keep=False))
            chunks = stored = 0
        tasks[-1].jobs.append(job)
        chunks += len(job.rows)
        stored += length
    return tasks


def _hand_over(row: int, encoded: bytes, consume: Any, fail: Fail) -> None:
    try:
        consume(row, encoded)
    except FormatFault as fault:
        fail(row, fault)
