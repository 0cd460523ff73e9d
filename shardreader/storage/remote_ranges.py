"""Ranges of remote objects that were asked for, and what came of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from typing import Any, NamedTuple

from shardreader.runtime.request_loop import RequestLoop
from shardreader.storage.local_store import StaleFileError
from shardreader.storage.remote_store import ObjectVersion

__all__ = ["Answer", "Budget", "Piece", "RangeStream", "RemoteIdentity", "Wanted"]

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
