"""Ranges of one version of one object of the source."""

from __future__ import annotations

from collections.abc import Callable

from shardreader.storage.plain_http import TransientError
from shardreader.storage.remote_store import ChangedError, ObjectVersion, RemoteStore, same_version
from shardreader.storage.retrying import Patience, StoppedError, Throttle

__all__ = ["SourceObject", "strong_etag"]


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
        reply = self._store.read(
            self._path, start=start, end=end, if_match=strong_etag(self.version)
        )
        version = self.version or reply.version
        if not same_version(reply.version, version):
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


def strong_etag(version: ObjectVersion | None) -> str | None:
    """The ETag to insist on; a weak one never matches."""
    if version is None or version.etag is None or version.etag.startswith("W/"):
        return None
    return version.etag
