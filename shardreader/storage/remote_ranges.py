"""Ranges of remote objects that were asked for, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

from shardreader.runtime.request_loop import RequestLoop
from shardreader.storage.local_store import StaleFileError
from shardreader.storage.plain_http import TransientError
from shardreader.storage.remote_store import ChangedError, ObjectVersion, RemoteStore
from shardreader.storage.retrying import Patience, StoppedError, Throttle

__all__ = [
    "Answer",
    "Budget",
    "Piece",
    "RangeStream",
    "RemoteIdentity",
    "SourceObject",
    "Wanted",
]

# Answers that have come, or are about to, and that nobody has taken yet.
_MOST_AHEAD_BYTES = 64 << 20


class RemoteIdentity(NamedTuple):
    """One version of one object."""

    name: str
    version: ObjectVersion

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.version.size


class Wanted(NamedTuple):
    """A range that will be read; of whatever version the object has where `identity` is None.

    An empty range asks for the identity alone.
    """

    name: str
    start: int
    end: int
    identity: RemoteIdentity | None


Answer = tuple[RemoteIdentity | None, bytes]


class Piece:
    """A range that was asked for ahead."""

    def __init__(self, wanted: Wanted) -> None:
        self.wanted = wanted
        self.answer: Future[Answer] = Future()

    def answered(self) -> Answer | None:
        """What came, when it has come; None where it is of an object that was replaced since.

        Also where the block that asked for it has ended.

        Raises
        ------
        ReadError
        """
        try:
            return self.answer.result()
        except (CancelledError, StaleFileError):
            return None


class Budget:
    """Bounds the bytes of pieces that were begun and not taken yet; counts on the loop alone."""

    def __init__(self, loop: RequestLoop) -> None:
        self._loop = loop
        self._used = 0
        self._changed = asyncio.Event()

    async def take(self, count: int) -> None:
        """Wait for room; there always is for one piece."""
        while self._used and self._used + count > _MOST_AHEAD_BYTES:
            self._changed.clear()
            await self._changed.wait()
        self._used += count

    def give(self, count: int) -> None:
        """Make room, from any thread."""
        self._loop.call(lambda: self._give(count))

    def _give(self, count: int) -> None:
        self._used -= count
        self._changed.set()


class RangeStream:
    """Ranges that were asked for by `RemoteFiles.stream`; reads others, too."""

    def __init__(
        self, pieces: list[Piece], budget: Budget, otherwise: Callable[..., bytes]
    ) -> None:
        self._budget = budget
        self._otherwise = otherwise
        self._pieces = {piece.wanted: piece for piece in pieces}

    def read(self, name: str, *, start: int, end: int, identity: Any) -> bytes:
        """As `RemoteFiles.read`."""
        piece = self._pieces.pop(Wanted(name, start, end, identity), None)
        if piece is None:
            return self._otherwise(name, start=start, end=end, identity=identity)
        self._budget.give(end - start)
        answer = piece.answered()
        if answer is None:
            raise StaleFileError(name)
        return answer[1]


class SourceObject:
    """Reads ranges of an object; all of them come from the version that the first one met.

    Parameters
    ----------
    store : RemoteStore
    path : str
        Name in the store.
    patience, throttle : Patience and Throttle
    count : callable
        Takes how many bytes of use have come, and how many in all.

    Attributes
    ----------
    version : ObjectVersion or None
        None before the first read.
    """

    def __init__(
        self,
        store: RemoteStore,
        path: str,
        patience: Patience,
        throttle: Throttle,
        count: Callable[[int, int], None],
    ) -> None:
        self._store = store
        self._path = path
        self._patience = patience
        self._throttle = throttle
        self._count = count
        self.version: ObjectVersion | None = None

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``[start, end)``, fewer only at the end of the object; safe from many threads.

        Raises
        ------
        ChangedError
            The object is another one than before.
        AbsentError, RefusedError, TransientError, StoppedError
        """
        return self._patience.call(lambda: self._read_once(start, end))

    def _read_once(self, start: int, end: int) -> bytes:
        if self._patience.stop.is_set():
            raise StoppedError
        known = self.version
        reply = self._store.read(
            self._path, start=start, end=end, if_match=known and known.strong_etag
        )
        version = known or reply.version
        if not reply.version.is_same(version):
            raise ChangedError("the object changed at the source while it was fetched")
        expected = max(min(end, version.size) - start, 0)
        if reply.start != start:
            raise TransientError(f"bytes from {reply.start} on came instead of from {start} on")
        parts: list[bytes] = []
        came = 0
        try:
            for part in reply.parts:
                came += len(part)
                if came > expected:
                    raise TransientError("more bytes came than were asked for")
                self._throttle.take(len(part))
                parts.append(part)
                if self._patience.stop.is_set():
                    raise StoppedError
            if came < expected:
                raise TransientError(f"{expected - came} bytes less came than the source said")
        except BaseException:
            self._count(0, came)
            raise
        self._count(came, came)
        self.version = version
        return b"".join(parts)
