"""Planned reads of stored chunks, inflated and cached. Shared by all sources."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_cache import KeptChunk, SeenLately, words_of_all
from shardreader.chunks.chunk_cache import keep as keep_chunk
from shardreader.chunks.located import Found, ReadJob, plan_reads
from shardreader.decoding.inflate import inflate, loaded_file_reader, most_stored_bytes
from shardreader.errors import FormatFault, PointStatus
from shardreader.runtime.workers import Workers
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import Handle, StaleFileError

__all__ = ["TYPICAL_RATIO", "ConsumeMany", "RangeFiles", "StoredReader", "TakeWords"]

# Enough for each worker to take a new one several times, so that all end together.
_JOBS_PER_WORKER = 4
# To hand fewer to another thread takes longer than to do them.
_FEW_CHUNKS = 2
# What one thread does before it takes something else, and the descriptors that it holds for that:
# macOS allows a process 256.
_MOST_TASK_CHUNKS = 1 << 12
_MOST_TASK_FILES = 4
TYPICAL_RATIO = 5
"""Labels shrink to about a fifth: what a chunk will cost the cache, before it is known."""

Consume = Callable[[int, bytes], None]
Fail = Callable[[int, FormatFault], None]
ConsumeMany = Callable[
    [NDArray[np.intp], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]],
    NDArray[np.bool_],
]
"""Gets rows, memory with their encodings in 32-bit words, and the first word and the number of
words of each; says of each whether it is done. What is not is handed over again, one by one."""
TakeWords = Callable[[NDArray[np.uint32]], bool]
"""Gets the words of one encoding; says whether it is done."""


class RangeReader(Protocol):
    """What gives ranges of files."""

    def read(self, name: str, *, start: int, end: int, identity: Any) -> bytes:
        """As `LocalStore.read`."""


class RangeFiles(RangeReader, Protocol):
    """Files that are read by position, each bound to an identity."""

    def hold(self, name: str, identity: Any) -> Handle | None:
        """As `LocalStore.hold`; None where only `read` can."""

    def let_go(self, name: str, handle: Handle) -> None:
        """As `LocalStore.let_go`."""


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
        self.seen = SeenLately(cache.most_bytes)

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
        itself raises a `FormatFault`. With `consume_many`, chunks that are new to this reader, or
        that it kept, go there first, many at once, and to `consume` only if that says that they
        are not done.
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
        parts = _JOBS_PER_WORKER * workers.threads

        def run(task: _Task) -> None:
            left, keep = task.rows, task.keep
            if task.at_once and consume_many:
                done = self._read_many(found, left, task.at_once, consume_many)
                if np.count_nonzero(done) == len(done):
                    return
                # Damaged, or unusual, or replaced: read once more, by what can tell.
                left = left[~done]
            for job in plan_reads(found, left, in_order=True):
                try:
                    self._run(job, consume, fail, keep=keep)
                except StaleFileError:
                    stale.extend(job.rows.tolist())

        rows = found.rows(PointStatus.OK)
        again = self._again(found, rows)
        missed = rows[:0]
        if np.count_nonzero(again):
            missed = self._serve_cached(found, rows[again], consume, fail, workers, consume_many)
            rows = rows[~again]
        at_once = None if consume_many is None else _direct(found)
        tasks = [
            *_tasks(
                found, rows if in_order else _by_place(found, rows), at_once, parts, keep=False
            ),
            *_tasks(found, _by_place(found, missed), None, parts, keep=True),
        ]
        if len(rows) + len(missed) <= _FEW_CHUNKS:
            for task in tasks:
                run(task)
        else:
            workers.run(run, tasks)
        return np.array(sorted(stale), dtype=np.intp)

    def read_one(self, handle: Handle, start: int, end: int, take: TakeWords) -> bool:
        """Hand the words of one chunk, a gzip member, to `take`; False is for `read`."""
        libdeflate = loaded_file_reader()
        if libdeflate is None:
            return False
        if self.seen.again_one(handle.identity, start, (end - start) * TYPICAL_RATIO):
            kept: KeptChunk | None = self.cache.get((handle.identity, start, end))
            if kept is None or not kept.address:
                return False
            return take(np.frombuffer(kept.encoded, dtype=np.uint32))
        with libdeflate.workspace() as space:
            words = libdeflate.read_one(
                space, handle.descriptor, start, end, self.most_encoded_bytes
            )
            return words is not None and take(words)

    def _again(self, found: Found, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
        if not self.cache.most_bytes or not len(rows):
            return np.zeros(len(rows), dtype=np.bool_)
        starts = found.starts[rows]
        sizes = (found.ends[rows] - starts) * TYPICAL_RATIO
        identities = [file.identity for file in found.files]
        return self.seen.again(identities, found.file_numbers[rows], starts, sizes)

    def _serve_cached(
        self,
        found: Found,
        rows: NDArray[np.intp],
        consume: Consume,
        fail: Fail,
        workers: Workers,
        consume_many: ConsumeMany | None = None,
    ) -> NDArray[np.intp]:
        """Hand over what is in the cache; the rows that are not."""
        rest: list[int] = []
        here: list[int] = []
        chunks: list[KeptChunk] = []
        places = zip(
            found.file_numbers[rows].tolist(),
            found.starts[rows].tolist(),
            found.ends[rows].tolist(),
            strict=True,
        )
        for row, (file, start, end) in zip(rows.tolist(), places, strict=True):
            kept: KeptChunk | None = self.cache.get((found.files[file].identity, start, end))
            if kept is None:
                rest.append(row)
            else:
                here.append(row)
                chunks.append(kept)

        def serve(part: slice) -> None:
            of_part = list(zip(here[part], chunks[part], strict=True))
            if consume_many is not None:
                of_part = _hand_over_many(of_part, consume_many)
            for row, kept in of_part:
                _hand_over(row, kept.encoded, consume, fail)

        length = max(_FEW_CHUNKS, len(here) // (_JOBS_PER_WORKER * workers.threads))
        workers.run(serve, [slice(a, a + length) for a in range(0, len(here), length)])
        return np.array(rest, dtype=np.intp)

    def _read_many(
        self,
        found: Found,
        rows: NDArray[np.intp],
        libdeflate: ModuleType,
        consume_many: ConsumeMany,
    ) -> NDArray[np.bool_]:
        """Read, inflate and hand over without memory of its own for each chunk; which are done."""
        file_numbers = found.file_numbers[rows]
        descriptors: NDArray[np.int64] = np.empty(len(found.files), dtype=np.int64)
        descriptors.fill(-1)
        handles: list[tuple[str, Handle]] = []
        try:
            for number in dict.fromkeys(file_numbers.tolist()):
                name, identity, _ = found.files[number]
                try:
                    handle = self.files.hold(name, identity)
                except StaleFileError:
                    continue
                if handle is not None:
                    handles.append((name, handle))
                    descriptors[number] = handle.descriptor
            with libdeflate.workspace() as space:
                done: NDArray[np.bool_] = libdeflate.read_each(
                    space,
                    descriptors,
                    file_numbers,
                    found.starts[rows],
                    found.ends[rows],
                    self.most_encoded_bytes,
                    lambda some, *words: consume_many(rows[some], *words),
                )
        finally:
            for name, handle in handles:
                self.files.let_go(name, handle)
        return done

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
            self.cache.put(place, keep_chunk(encoded), len(encoded))
        _hand_over(row, encoded, consume, fail)
        return True


class _Task(NamedTuple):
    """What one thread does in one go; `at_once` is libdeflate, where it can take all the rows."""

    rows: NDArray[np.intp]
    at_once: ModuleType | None
    keep: bool


def _by_place(found: Found, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Rows by file and offset."""
    if len(rows) < 2:
        return rows
    return rows[np.lexsort((found.starts[rows], found.file_numbers[rows]))]


def _direct(found: Found) -> ModuleType | None:
    """libdeflate, where it reads files itself and all of these hold gzip members."""
    for file in found.files:
        if file.encoding != "gzip" and file.identity is not None:
            return None
    return loaded_file_reader()


def _tasks(
    found: Found, rows: NDArray[np.intp], at_once: ModuleType | None, parts: int, *, keep: bool
) -> list[_Task]:
    """Cut rows into at least `parts` tasks if possible, each of them of few files."""
    if not len(rows):
        return []
    length = max(_FEW_CHUNKS, min(len(rows) // parts, _MOST_TASK_CHUNKS))
    cuts = set(range(0, len(rows), length))
    if len(found.files) > _MOST_TASK_FILES:
        numbers = found.file_numbers[rows]
        files: set[int] = set()
        for at in [0, *(np.flatnonzero(np.diff(numbers)) + 1).tolist()]:
            files.add(int(numbers[at]))
            if len(files) > _MOST_TASK_FILES:
                cuts.add(at)
                files = {int(numbers[at])}
    starts = sorted(cuts)
    return [
        _Task(rows[a:b], at_once, keep)
        for a, b in zip(starts, [*starts[1:], len(rows)], strict=True)
    ]


def _hand_over_many(
    chunks: list[tuple[int, KeptChunk]], consume_many: ConsumeMany
) -> list[tuple[int, KeptChunk]]:
    """Hand over all chunks that can be at once; those that are left."""
    at_once = [(row, kept) for row, kept in chunks if kept.address]
    if not at_once:
        return chunks
    rows = np.array([row for row, _ in at_once], dtype=np.intp)
    done = consume_many(rows, *words_of_all([kept for _, kept in at_once]))
    left = [pair for pair, is_done in zip(at_once, done.tolist(), strict=True) if not is_done]
    return left + [pair for pair in chunks if not pair[1].address]


def _hand_over(row: int, encoded: bytes, consume: Any, fail: Fail) -> None:
    try:
        consume(row, encoded)
    except FormatFault as fault:
        fail(row, fault)
