"""One shard from the source to its place: the work of a thread.

The bytes go to a ``.part`` beside the final name, strictly in order (exFAT fills what is skipped),
are synced and checked, and take the final name only then. Nothing reads from a ``.part`` but the
fetch that goes on with it.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

from shardreader.copies.gsutil_listing import ListedObject
from shardreader.errors import ReadError
from shardreader.fetching.checksum import base64_of, extend_crc32c
from shardreader.fetching.chunk_spool import discard_spool
from shardreader.fetching.plan import RANGE_BYTES, ShardTask, same_object
from shardreader.fetching.source_listing import SourceReader
from shardreader.fetching.state import ShardRow, whole_row
from shardreader.fetching.structure import PARTIAL, structure_faults
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import FileRecord
from shardreader.runtime.output_file import is_occupied, open_part, sync_directory, write_all
from shardreader.storage.plain_http import AbsentError, RefusedError, TransientError
from shardreader.storage.remote_store import ChangedError, ObjectVersion
from shardreader.storage.retrying import Patience, StoppedError, Throttle

__all__ = ["Desk", "Outcome", "RowNews", "ShardDownload"]

_COMPARE_BYTES = 4 << 20
# What a power cut costs at most, where the source gives no checksum; each sync holds up the thread.
SYNC_BYTES = 64 << 20
# Wrong bytes, or an object that changes under the fetch: whole downloads of one shard.
_MOST_DOWNLOADS = 3


class RowNews(NamedTuple):
    """A row to be kept; `kept` is set when it is on the disk."""

    name: str
    row: ShardRow
    kept: threading.Event


@dataclass(frozen=True)
class Outcome:
    """What came of one shard.

    Parameters
    ----------
    kind : {"fetched", "kept", "partial", "kept_part", "none", "failed"}
        "kept": the whole file that was here needs nothing; "partial": chunks were fetched;
        "kept_part": the partial shard that was here answers for all that was asked.
    row : ShardRow or None
        Of a whole shard that was compared or fetched.
    record : FileRecord or None
        Of a partial shard that was written.
    reason : str
        Of a failure.
    restarts : tuple of str
        Why it was started again.
    unreachable : bool
        The source did not answer: others will fail too.
    """

    kind: str
    row: ShardRow | None = None
    reason: str = ""
    restarts: tuple[str, ...] = ()
    unreachable: bool = False
    record: FileRecord | None = None


@dataclass(frozen=True)
class Desk:
    """What all downloads of one scale share.

    Parameters
    ----------
    reader : SourceReader
    scale : ScaleInfo
    folder : str
        Of the scale in the copy.
    directory : str
        Of the copy.
    patience, throttle : Patience and Throttle
    tell : callable
        Takes a `RowNews`.
    count : callable
        Takes how many bytes more of the shard are here (fewer: it starts again), and how many
        have come.
    """

    reader: SourceReader
    scale: ScaleInfo
    folder: str
    directory: str
    patience: Patience
    throttle: Throttle
    tell: Callable[[RowNews], None]
    count: Callable[[int, int], None]


class WrongBytesError(Exception):
    """What came is not what the source should have. Never leaves this file."""


class DamagedSourceError(Exception):
    """What came is what the source has, and it is damaged. Never leaves this file."""


class ShardDownload:
    """Fetches one shard; `run` is called once.

    Parameters
    ----------
    desk : Desk
    task : ShardTask
    """

    def __init__(self, desk: Desk, task: ShardTask) -> None:
        self._desk = desk
        self._task = task
        self._final = os.path.join(desk.folder, task.name)
        self._part = f"{self._final}.part"
        self._path = desk.reader.source.name(f"{desk.scale.key}/{task.name}")
        self._listed: ListedObject | None = task.listed
        self._version: ObjectVersion | None = None
        self._position = self._synced = 0
        self._crc32c = 0
        self._file = -1
        self._restarts: list[str] = []

    def run(self) -> Outcome:
        """Fetch the shard.

        Raises
        ------
        StoppedError
            The fetch ends early.
        OSError
            The drive refuses: no other shard can be written either.
        """
        task = self._task
        if task.changed:
            self._restarts.append("it is another object at the source than before")
        try:
            if is_occupied(self._final):
                return self._failed("its name is taken by something that is no regular file")
            if task.listed is None and not self._ask():
                return self._outcome("none")
            if task.compare and (row := self._compare()) is not None:
                return self._outcome("kept", row)
            return self._outcome("fetched", self._download())
        except AbsentError:
            if task.listed is None:
                return self._outcome("none")
            return self._failed("the source listed it, but does not have it any more")
        except TransientError as error:
            return self._failed(f"the source does not give it: {error}", unreachable=True)
        except (RefusedError, WrongBytesError, ChangedError, DamagedSourceError) as error:
            return self._failed(str(error))

    def _outcome(self, kind: str, row: ShardRow | None = None) -> Outcome:
        return Outcome(kind, row, restarts=tuple(self._restarts))

    def _failed(self, reason: str, *, unreachable: bool = False) -> Outcome:
        return Outcome(
            "failed", None, reason, restarts=tuple(self._restarts), unreachable=unreachable
        )

    def _ask(self) -> bool:
        """Ask for checksum or size where a request for the bytes would not give them."""
        reader, row = self._desk.reader, self._task.row
        knows = row is not None and row.state == "whole" and row.crc32c is not None
        has_hashes = reader.source.kind == "gs" and not reader.store.auth
        if has_hashes or (self._task.compare and not knows):
            self._listed = reader.ask(self._desk.scale.key, self._task.name)
            return self._listed is not None
        return True

    def _compare(self) -> ShardRow | None:
        """The row of the file that is here, if it is the one of the source."""
        row, listed = self._task.row, self._listed
        status = os.stat(self._final)
        if listed is not None and status.st_size != listed.size:
            return None
        expected = listed.crc32c if listed else None
        if expected is None and row is not None and row.state == "whole" and row.crc32c is not None:
            expected = base64_of(row.crc32c)
        expected = expected or self._task.crc32c
        crc32c = self._crc_of(self._final, status.st_size)[0]
        if expected is not None and base64_of(crc32c) != expected:
            return None
        if structure_faults(self._desk.directory, self._desk.scale, self._task.number):
            return None
        kept = whole_row(
            row or ShardRow("part", listed=listed), status.st_size, crc32c, status.st_mtime_ns
        )
        if listed is not None:
            kept = replace(kept, listed=listed)
        self._keep(kept, wait=True)
        return kept

    def _crc_of(self, path: str, end: int, mark: int = 0) -> tuple[int, int]:
        """The checksum of the first `end` bytes of a file, and that of the first `mark`."""
        crc32c = at_mark = position = 0
        with open(path, "rb", buffering=0) as file:
            while position < end:
                until = mark if position < mark else end
                data = file.read(min(_COMPARE_BYTES, until - position))
                if not data:
                    raise ReadError(f"{path}: became shorter while it was read")
                crc32c = extend_crc32c(crc32c, data)
                position += len(data)
                if position == mark:
                    at_mark = crc32c
                if self._desk.patience.stop.is_set():
                    raise StoppedError
        return crc32c, at_mark

    def _download(self) -> ShardRow:
        if self._listed is not None and self._listed.size == 0:
            raise DamagedSourceError("the object at the source has no bytes")
        for _ in range(_MOST_DOWNLOADS):
            try:
                self._resume()
                self._receive()
                row = self._checked()
            except (WrongBytesError, ChangedError) as error:
                wrong: Exception = error
                self._restarts.append(str(error))
                self._desk.count(-self._position, 0)
                continue
            except DamagedSourceError:
                self._discard()
                raise
            finally:
                self._close()
            self._keep(row, wait=True)
            os.replace(self._part, self._final)
            sync_directory(self._desk.folder)
            discard_spool(self._final)
            return row
        self._discard()
        raise WrongBytesError(f"{wrong}; downloaded {_MOST_DOWNLOADS} times")

    def _resume(self) -> None:
        """Where to go on: behind the bytes of an earlier run that can be trusted."""
        row = self._task.row
        self._position = self._synced = self._crc32c = 0
        self._version = None
        if row is None or row.version is None or row.state == "none" or self._restarts:
            return
        try:
            size = os.stat(self._part).st_size
        except FileNotFoundError:
            return
        if size < row.synced or size > row.version.size:
            return
        # Bytes that were not synced are there after a kill, but maybe not after a power cut: only
        # a checksum of the whole can vouch for them. The last byte is asked for again, so that
        # the source can say that the object has changed.
        known = self._listed is not None and self._listed.crc32c is not None
        end = min(size if known else row.synced, row.version.size - 1)
        mark = row.synced if row.synced <= end else 0
        crc32c, at_mark = self._crc_of(self._part, end, mark)
        if mark and at_mark != row.crc32c:
            return
        self._position, self._crc32c, self._version = end, crc32c, row.version
        self._synced = row.synced if mark else 0
        self._open()
        self._desk.count(end, 0)

    def _open(self) -> None:
        """Open the .part at the present position; what is behind it is dropped."""
        self._file = open_part(self._part)
        os.ftruncate(self._file, self._position)
        os.lseek(self._file, self._position, os.SEEK_SET)

    def _close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _discard(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._part)

    def _receive(self) -> None:
        """All bytes from the present position on, a range at a time."""
        failed = 0
        while self._version is None or self._position < self._version.size:
            if self._desk.patience.stop.is_set():
                raise StoppedError
            before = self._position
            try:
                self._receive_range()
                failed = 0
            except TransientError as error:
                failed = failed + 1 if self._position == before else 1
                self._desk.patience.wait(failed, error)

    def _receive_range(self) -> None:
        start = self._position
        end = start + RANGE_BYTES
        if self._version is not None:
            end = min(end, self._version.size)
        reply = self._desk.reader.store.read(
            self._path, start=start, end=end, if_match=self._version and self._version.strong_etag
        )
        self._accept(reply.version)
        missing = min(end, reply.version.size) - start
        if reply.start != start:
            raise TransientError(f"bytes from {reply.start} on came instead of from {start} on")
        for part in reply.parts:
            if len(part) > missing:
                raise TransientError("more bytes came than were asked for")
            self._desk.throttle.take(len(part))
            write_all(self._file, part)
            self._crc32c = extend_crc32c(self._crc32c, part)
            self._position += len(part)
            missing -= len(part)
            self._desk.count(len(part), len(part))
            if self._desk.patience.stop.is_set():
                raise StoppedError
        if missing:
            raise TransientError(f"{missing} bytes less came than the source said")
        # With a checksum of the source the end will show what a power cut did to the rest.
        vouched_for = self._listed is not None and self._listed.crc32c is not None
        if self._position - self._synced >= SYNC_BYTES and not vouched_for:
            os.fsync(self._file)
            self._synced = self._position
            self._keep(self._row(self._position))

    def _accept(self, version: ObjectVersion) -> None:
        """Hold a reply to the version that is being fetched, or to the listing."""
        if self._version is not None:
            if not version.is_same(self._version):
                raise ChangedError("the object changed at the source while it was fetched")
            return
        listed = self._listed
        if listed is not None and not same_object(listed, version):
            self._restarts.append("the object changed at the source after it was listed")
            listed = self._desk.reader.ask(self._desk.scale.key, self._task.name)
            if listed is None or not same_object(listed, version):
                raise ChangedError("the object changed at the source while it was fetched")
            self._listed = listed
        if listed is not None and listed.size != version.size:
            raise RefusedError(
                f"the source lists {listed.size} bytes, but its object has {version.size}"
            )
        self._version = version
        self._open()
        self._keep(self._row(0))

    def _checked(self) -> ShardRow:
        """The row of the whole file.

        Raises
        ------
        WrongBytesError
        """
        os.fsync(self._file)
        status = os.fstat(self._file)
        if self._version is None or status.st_size != self._version.size:
            raise WrongBytesError(f"the file became one of {status.st_size} bytes")
        known = self._listed.crc32c if self._listed else None
        if known is not None and base64_of(self._crc32c) != known:
            raise WrongBytesError(
                f"the checksum of the source is crc32c {known}, that of the bytes that came "
                f"{base64_of(self._crc32c)}"
            )
        faults = structure_faults(
            self._desk.directory, self._desk.scale, self._task.number, suffix=".part"
        )
        if PARTIAL in faults:
            raise DamagedSourceError(PARTIAL)
        if faults and known is not None:
            raise DamagedSourceError(f"the shard is damaged at the source: {faults[0]}")
        if faults:
            raise WrongBytesError(f"the shard is damaged: {faults[0]}")
        return whole_row(self._row(0), status.st_size, self._crc32c, status.st_mtime_ns)

    def _row(self, synced: int) -> ShardRow:
        return ShardRow("part", self._version, self._listed, synced, self._crc32c)

    def _keep(self, row: ShardRow, *, wait: bool = False) -> None:
        news = RowNews(self._task.name, row, threading.Event())
        self._desk.tell(news)
        while wait and not news.kept.wait(0.1):
            if self._desk.patience.stop.is_set():
                raise StoppedError
