"""The files of a remote volume, behind the interface of the local store.

Every range is bound to the version of the object that was met first, by If-Match and by what each
reply says of itself. What is about to be read can be asked for ahead, many requests at a time.
"""

from __future__ import annotations

import asyncio
import random
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import NamedTuple

from shardreader.errors import ReadError
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import MANIFEST_NAME
from shardreader.runtime.request_loop import RequestLoop
from shardreader.storage.local_store import Handle, StaleFileError
from shardreader.storage.plain_http import AbsentError, RefusedError, StoreError, TransientError
from shardreader.storage.remote_ranges import (
    Answer,
    Budget,
    Piece,
    RangeStream,
    RemoteIdentity,
    Wanted,
)
from shardreader.storage.remote_store import (
    BeyondEndError,
    ChangedError,
    ObjectVersion,
    RemoteStore,
    check_process,
)
from shardreader.storage.scale_shown import lists_scale, names_to_try
from shardreader.storage.source_url import SourceUrl

__all__ = ["RemoteFiles"]

# A thousand scattered points take this many requests at a time for six round trips of waiting.
_MOST_IN_FLIGHT = 512
# Files that are asked for at a time, to see whether the source has any of a scale.
_TRIED_AT_ONCE = 9
# Between tries: what passes in some seconds is sat out.
RETRY_SECONDS = (0.1, 0.3, 1.0, 2.0, 4.0)


class _Engine(NamedTuple):
    """What runs requests; made on first use."""

    loop: RequestLoop
    slots: asyncio.Semaphore


class RemoteFiles:
    """Objects below the root of a source, read by position. Safe from many threads.

    What the source had of an object when it was first asked holds, until a read finds that it was
    replaced.

    Parameters
    ----------
    source : SourceUrl

    Attributes
    ----------
    root : str
        URL.

    Raises
    ------
    InfoError
        As `RemoteStore`.
    """

    def __init__(self, source: SourceUrl) -> None:
        self.root = source.text
        self.remote = RemoteStore(source)
        self._known: dict[str, RemoteIdentity | None] = {}
        self._pieces: dict[str, list[Piece]] = {}
        self._lock = threading.Lock()
        # Folders that an object came from, by its name; scales that were looked for in vain.
        self._given: set[str] = set()
        self._not_shown: set[str] = set()
        self._showing = threading.Lock()
        self._engine: _Engine | None = None

    def path(self, name: str) -> str:
        """The URL of an object, for messages."""
        return f"{self.root}/{name}"

    def known(self, name: str) -> tuple[bool, RemoteIdentity | None]:
        """Whether `identity` can do without a request, and what it would give."""
        with self._lock:
            return name in self._known, self._known.get(name)

    def identity(self, name: str) -> RemoteIdentity | None:
        """The version of an object; None where the source says that there is none.

        Raises
        ------
        ReadError
            The source refuses, or does not answer.
        """
        is_known, identity = self.known(name)
        if is_known:
            return identity
        with self._lock:
            pieces = list(self._pieces.get(name, ()))
        for piece in pieces:
            piece.answered()
            is_known, identity = self.known(name)  # what came may be forgotten already
            if is_known:
                return identity
        return self._ask_now(Wanted(name, 0, 0, None))[0]

    def has_given(self, folder: str) -> bool:
        """Whether the source had any object of a folder, among those that were asked for."""
        with self._lock:
            return folder in self._given

    def has_shown(self, scale: ScaleInfo) -> bool:
        """Whether the source has shown that it has a scale, so that its 404 is its word.

        Asks at most once: for a page of a listing, then for some files that are likely.

        Raises
        ------
        ReadError
            The source does not answer.
        """
        if self.has_given(scale.key):
            return True
        with self._showing:
            if self.has_given(scale.key) or scale.key in self._not_shown:
                return self.has_given(scale.key)
            if lists_scale(self.remote, scale):
                with self._lock:
                    self._given.add(scale.key)
                return True
            folder = f"{scale.key}/" if scale.key else ""
            names = [folder + name for name in names_to_try(scale)]
            for first in range(0, len(names), _TRIED_AT_ONCE):
                some = names[first : first + _TRIED_AT_ONCE]
                with self.ahead([Wanted(n, 0, 0, None) for n in some if not self.known(n)[0]]):
                    for name in some:
                        self._has(name)
                if self.has_given(scale.key):
                    return True
            self._not_shown.add(scale.key)
            return False

    def _has(self, name: str) -> bool:
        """Whether there is an object; a refusal is no sign of one."""
        try:
            return self.identity(name) is not None
        except ReadError as error:
            if isinstance(error.__cause__, RefusedError):
                return False
            raise

    def is_file(self, _name: str) -> bool:
        """As `LocalStore.is_file`: a bucket is no drive that can be unplugged."""
        return True

    is_directory = is_file

    def read(self, name: str, *, start: int, end: int, identity: RemoteIdentity) -> bytes:
        """The bytes ``[start, end)`` of an object, all of them.

        Raises
        ------
        StaleFileError
            The object is not the one of `identity` any more, or ends before `end`.
        ReadError
            The source refuses, or does not answer.
        """
        if end > identity.size:
            raise self._stale(identity)
        with self._lock:
            piece = self._piece_of(name, start, end)
        answer = None if piece is None else piece.answered()
        if piece is None or answer is None or answer[0] != identity:
            return self._ask_now(Wanted(name, start, end, identity))[1]
        return answer[1][start - piece.wanted.start : end - piece.wanted.start]

    def hold(self, name: str, identity: RemoteIdentity) -> None:
        """As `LocalStore.hold`: objects have no descriptors."""

    def hold_present(self, name: str) -> None:
        """As `LocalStore.hold_present`: objects have no descriptors."""

    def let_go(self, name: str, handle: Handle) -> None:
        """As `LocalStore.let_go`."""

    @contextmanager
    def ahead(self, wanted: Sequence[Wanted]) -> Iterator[None]:
        """Ask for ranges now, in this order; inside of the block `read` gives what is in them.

        All are kept to the end of the block: the caller bounds their bytes.
        """
        if not wanted:
            yield
            return
        pieces = [Piece(item) for item in wanted]
        with self._lock:
            for piece in pieces:
                self._pieces.setdefault(piece.wanted.name, []).append(piece)
        try:
            with self._filling(pieces, None):
                yield
        finally:
            with self._lock:
                for piece in pieces:
                    of_name = self._pieces[piece.wanted.name]
                    of_name.remove(piece)
                    if not of_name:
                        del self._pieces[piece.wanted.name]

    @contextmanager
    def stream(
        self, wanted: Sequence[Wanted], *, otherwise: Callable[..., bytes]
    ) -> Iterator[RangeStream]:
        """Ask for ranges now, in this order, as many as fit the byte budget.

        Each is taken once from what the block gets, in the same order by and large; what was not
        asked for is read by `otherwise`.
        """
        pieces = [Piece(item) for item in wanted]
        budget = Budget(self._running().loop)
        with self._filling(pieces, budget):
            yield RangeStream(pieces, budget, otherwise)

    def is_ahead(self, name: str, start: int, end: int) -> bool:
        """Whether a range was asked for already."""
        with self._lock:
            return self._piece_of(name, start, end) is not None

    def close(self) -> None:
        """End all requests; a later read begins anew."""
        with self._lock:
            engine, self._engine = self._engine, None
        if engine is not None:
            engine.loop.close()

    def abandon(self) -> None:
        """Leave what a forked child shares with its parent; reading raises there."""
        self._lock, self._showing = threading.Lock(), threading.Lock()
        self._known, self._pieces = {}, {}
        if self._engine is not None:
            self._engine.loop.abandon()
            self._engine = None

    def _running(self) -> _Engine:
        check_process()
        with self._lock:
            if self._engine is None:
                self._engine = _Engine(RequestLoop(), asyncio.Semaphore(_most_in_flight()))
            return self._engine

    def _ask_now(self, wanted: Wanted) -> Answer:
        engine = self._running()
        try:
            return engine.loop.start(self._fetch(wanted, engine.slots)).result()
        except CancelledError:
            raise ReadError(f"{self.root}: was closed while it was read") from None

    @contextmanager
    def _filling(self, pieces: list[Piece], budget: Budget | None) -> Iterator[None]:
        engine = self._running()
        work = engine.loop.start(self._fill_all(pieces, budget, engine.slots))
        work.add_done_callback(lambda _: [piece.answer.cancel() for piece in pieces])
        try:
            yield
        finally:
            work.cancel()

    def _piece_of(self, name: str, start: int, end: int) -> Piece | None:
        """The piece that holds a range. Needs the lock."""
        for piece in self._pieces.get(name, ()):
            if piece.wanted.start <= start < end <= piece.wanted.end:
                return piece
        return None

    async def _fill_all(
        self, pieces: list[Piece], budget: Budget | None, slots: asyncio.Semaphore
    ) -> None:
        tasks = []
        try:
            for piece in pieces:
                if budget is not None:
                    await budget.take(piece.wanted.end - piece.wanted.start)
                tasks.append(asyncio.create_task(self._fill(piece, slots)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()

    async def _fill(self, piece: Piece, slots: asyncio.Semaphore) -> None:
        try:
            answer = await self._fetch(piece.wanted, slots)
        except Exception as error:  # noqa: BLE001 (raised by who reads the piece)
            if piece.answer.set_running_or_notify_cancel():
                piece.answer.set_exception(error)
        else:
            if piece.answer.set_running_or_notify_cancel():
                piece.answer.set_result(answer)

    async def _fetch(self, wanted: Wanted, slots: asyncio.Semaphore) -> Answer:
        failed = 0
        while True:
            try:
                async with slots:
                    return await self._ask(wanted)
            except TransientError as error:
                failed += 1
                if failed > len(RETRY_SECONDS):
                    raise self._refused(wanted, error) from error
            except RefusedError as error:
                raise self._refused(wanted, error) from error
            # Not all at once.
            await asyncio.sleep(RETRY_SECONDS[failed - 1] * random.uniform(0.7, 1.3))  # noqa: S311

    async def _ask(self, wanted: Wanted) -> Answer:
        expected = wanted.identity
        name = self.remote.source.name(wanted.name)
        if_match = None if expected is None else expected.version.strong_etag
        data = b""
        try:
            if wanted.start == wanted.end:
                version = await self.remote.head(name)
            else:
                version, data = await self.remote.get(
                    name, start=wanted.start, end=wanted.end, if_match=if_match
                )
        except (AbsentError, ChangedError, BeyondEndError) as error:
            if expected is not None:
                raise self._stale(expected) from None
            if isinstance(error, AbsentError):
                return self._learn(wanted.name, None), b""
            # An object without bytes has no ranges.
            return await self._ask(Wanted(wanted.name, 0, 0, None))
        if expected is None:
            return self._learn(wanted.name, version), data
        if not version.is_same(expected.version):
            raise self._stale(expected)
        return expected, data

    def _learn(self, name: str, version: ObjectVersion | None) -> RemoteIdentity | None:
        """Note what the source has; what is known stays the same object, and equal to itself."""
        with self._lock:
            known = self._known.get(name)
            if version is None or known is None or not known.version.is_same(version):
                known = None if version is None else RemoteIdentity(name, version)
                self._known[name] = known
            if known is not None and known.size and name not in ("info", MANIFEST_NAME):
                self._given.add(name.rpartition("/")[0])
            return known

    def _stale(self, identity: RemoteIdentity) -> StaleFileError:
        with self._lock:
            if self._known.get(identity.name) == identity:
                del self._known[identity.name]
        return StaleFileError(identity.name)

    def _refused(self, wanted: Wanted, error: StoreError) -> ReadError:
        what = f"read its bytes [{wanted.start}, {wanted.end})" if wanted.end else "ask for it"
        return ReadError(
            f"{self.path(wanted.name)}: cannot {what}: {error}; this says nothing about the data: "
            "check the address, the network and your rights, then try again"
        )


def _most_in_flight() -> int:
    """Requests at a time; half of the descriptors that a process may have, if those are few."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are no descriptors
        return _MOST_IN_FLIGHT
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_IN_FLIGHT if limit < 0 else max(1, min(_MOST_IN_FLIGHT, limit // 2))
