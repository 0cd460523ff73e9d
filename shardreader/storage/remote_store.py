"""Objects of a bucket or web server, read by range: the one import of obstore.

Nothing is retried here: each call is one request (a listing: one a page), and its failure says
whether another try makes sense. obstore hangs in a child of a process that has used it, so that
there each call raises instead.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Iterator
from datetime import timedelta
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from shardreader.errors import InfoError, ReadError
from shardreader.storage.plain_http import (
    AbsentError,
    RefusedError,
    StoreError,
    TransientError,
    plain_url,
)
from shardreader.storage.source_url import SourceUrl, is_loopback

__all__ = [
    "BeyondEndError",
    "ChangedError",
    "ObjectVersion",
    "RemoteStore",
    "Reply",
    "check_process",
    "gcs_endpoint",
]

# What of a body that is cut was not yet given on is lost.
_STREAM_BYTES = 128 << 10
_PAGE_OBJECTS = 1000
_CLIENT = {"timeout": "120s", "connect_timeout": "15s", "read_timeout": "60s"}
_STATUS = re.compile(r"status code: (\d{3})([ A-Za-z]*)")
# Sent again, these can be answered otherwise.
_PASSING = frozenset({408, 425, 429, *range(500, 600)})
_TRUE = ("1", "true", "yes", "on")


class ChangedError(StoreError):
    """The object is no longer the one whose ETag was given."""


class BeyondEndError(RefusedError):
    """The object ends before the range begins."""


class ObjectVersion(NamedTuple):
    """What tells one version of an object from another."""

    size: int
    etag: str | None
    generation: str | None
    modified: str

    @property
    def strong_etag(self) -> str | None:
        """The ETag to insist on; a weak one never matches."""
        return None if self.etag is None or self.etag.startswith("W/") else self.etag

    def is_same(self, other: ObjectVersion) -> bool:
        """Whether two replies are about the same version of an object."""
        if self.size != other.size:
            return False
        if self.etag is not None and other.etag is not None:
            return self.etag == other.etag
        return self.modified == other.modified

    @property
    def token(self) -> str:
        """What a coverage record calls this version: generation, or ETag, or time and size."""
        return self.generation or self.etag or f"{self.modified} {self.size}"


class Reply(NamedTuple):
    """The answer to a request for a range: the object as it is now, and the bytes to come."""

    version: ObjectVersion
    start: int
    parts: Iterator[bytes]


# The process in which obstore was first used.
_used_in: int | None = None


def check_process() -> None:
    """Raise `ReadError` in a child of a process that has used obstore."""
    global _used_in  # noqa: PLW0603 (one process, one runtime of obstore)
    if _used_in is None:
        _used_in = os.getpid()
    elif _used_in != os.getpid():
        raise ReadError(
            "a URL was read before this process was forked, and cannot be read in the child: start "
            'processes with spawn: multiprocessing.get_context("spawn")'
        )


class RemoteStore:
    """Reads objects below the root of a source. Safe from many threads.

    Parameters
    ----------
    source : SourceUrl
    auth : bool
        Use the credentials that the cloud's own variables name; anonymous otherwise.

    Attributes
    ----------
    requests : int
        Sent so far.

    Raises
    ------
    InfoError
        obstore is not installed, or refuses the source.
    ReadError
        Also by every call: the process was forked from one that has used obstore.
    """

    def __init__(self, source: SourceUrl, *, auth: bool = False) -> None:
        self.source = source
        self.auth = auth
        self.requests = 0
        self._lock = threading.Lock()
        check_process()
        try:
            import obstore
        except ImportError:
            raise InfoError(
                "obstore is not installed, which reads from buckets: "
                "pip install 'shardreader[fetch]'"
            ) from None
        self._obstore = obstore
        try:
            if auth:
                self._store = _make_store(source, auth=True)
            else:
                self._store = _anonymous(source, tuple(map(os.environ.get, _VARIABLES)))
        except (obstore.exceptions.BaseError, ValueError) as error:
            raise InfoError(f"{source.text}: {_first_line(error)}") from None

    def count(self) -> None:
        """Count a request that was sent in another way."""
        check_process()
        with self._lock:
            self.requests += 1

    async def get(
        self, name: str, *, start: int, end: int, if_match: str | None = None
    ) -> tuple[ObjectVersion, bytes]:
        """The bytes ``[start, end)`` of an object as it is now; fewer at its end.

        Raises
        ------
        AbsentError, RefusedError, ChangedError, TransientError, ReadError
        """
        self.count()
        options: Any = {"range": (start, end)}
        if if_match is not None:
            options["if_match"] = if_match
        parts = []
        length = 0
        try:
            result = await self._obstore.get_async(self._store, name, options=options)
            version = _version(result.meta)
            async for part in result.stream(min_chunk_size=_STREAM_BYTES):
                parts.append(bytes(part))
                length += len(parts[-1])
                if length > end - start:
                    break
        except Exception as error:
            raise self._trouble(error) from error
        wanted = max(min(end, version.size) - start, 0)
        if length != wanted or int(result.range[0]) != start:
            raise TransientError(f"{length} of {wanted} bytes came")
        return version, b"".join(parts)

    async def head(self, name: str) -> ObjectVersion:
        """As `version`."""
        self.count()
        try:
            return _version(await self._obstore.head_async(self._store, name))
        except Exception as error:
            raise self._trouble(error) from error

    def read(self, name: str, *, start: int, end: int, if_match: str | None = None) -> Reply:
        """Ask for the bytes ``[start, end)`` of an object; fewer come at its end.

        Raises
        ------
        AbsentError, RefusedError, ChangedError, TransientError
            Also while the parts of the reply are iterated.
        """
        options: dict[str, Any] = {"range": (start, end)}
        if if_match is not None:
            options["if_match"] = if_match
        return self._get(name, options)

    def read_all(self, name: str, *, most_bytes: int) -> bytes:
        """The whole of a small object.

        Raises
        ------
        AbsentError, RefusedError, TransientError
        """
        reply = self._get(name, {})
        if reply.version.size > most_bytes:
            raise RefusedError(f"has {reply.version.size} bytes, more than the {most_bytes} it may")
        data = b"".join(reply.parts)
        if len(data) != reply.version.size:
            raise TransientError(f"{len(data)} of {reply.version.size} bytes came")
        return data

    def version(self, name: str) -> ObjectVersion:
        """The present version of an object.

        Raises
        ------
        AbsentError, RefusedError, TransientError
        """
        self.count()
        try:
            return _version(self._obstore.head(self._store, name))
        except Exception as error:
            raise self._trouble(error) from error

    def pages(self, prefix: str) -> Iterator[list[tuple[str, ObjectVersion]]]:
        """All objects below a folder, a page at a time, with their names in the bucket.

        Raises
        ------
        AbsentError, RefusedError, TransientError
        """
        try:
            for page in self._obstore.list(self._store, prefix, chunk_size=_PAGE_OBJECTS):
                self.count()
                yield [(str(meta["path"]), _version(meta)) for meta in page]
        except Exception as error:
            raise self._trouble(error) from error

    def _get(self, name: str, options: Any) -> Reply:
        self.count()
        try:
            result = self._obstore.get(self._store, name, options=options)
            version, start = _version(result.meta), int(result.range[0])
        except Exception as error:
            raise self._trouble(error) from error
        return Reply(version, start, self._parts(result))

    def _parts(self, result: Any) -> Iterator[bytes]:
        try:
            for part in result.stream(min_chunk_size=_STREAM_BYTES):
                yield bytes(part)
        except self._obstore.exceptions.BaseError as error:
            raise self._trouble(error) from error

    def _trouble(self, error: Exception) -> Exception:
        """The error as one of ours; what the server wrote in its answer is left out."""
        kinds = self._obstore.exceptions
        status = _STATUS.search(str(error))
        text = f"{status[1]}{status[2]}".strip() if status else _first_line(error)
        if isinstance(error, (FileNotFoundError, kinds.NotFoundError)):
            return AbsentError("no such object")
        if isinstance(error, kinds.PreconditionError):
            return ChangedError("the object has changed")
        if isinstance(error, (kinds.PermissionDeniedError, kinds.UnauthenticatedError)):
            return RefusedError(f"the source refuses: {text}")
        if isinstance(error, (kinds.NotSupportedError, PermissionError)) or "NotPartial" in str(
            error
        ):
            return RefusedError(
                f"the source refuses: {text}"
                if isinstance(error, PermissionError)
                else "the server answers a request for a range with the whole object"
            )
        if status and status[1] == "416":
            return BeyondEndError(f"the source refuses: {text}")
        if "StartTooLarge" in str(error):  # of a directory; a server answers 416
            return RefusedError("the object ends before the bytes that were asked for")
        if status and int(status[1]) not in _PASSING:
            return RefusedError(f"the source refuses: {text}")
        if isinstance(error, kinds.BaseError):
            return TransientError(text)
        return error


def _version(meta: Any) -> ObjectVersion:
    return ObjectVersion(
        int(meta["size"]), meta["e_tag"], meta["version"], meta["last_modified"].isoformat()
    )


def _first_line(error: Exception) -> str:
    line = (str(error).splitlines() or [""])[0]
    return re.sub(r"//[^/@\s]+@", "//", line)


def gcs_endpoint() -> str:
    """Where Google Cloud Storage is reached, or an emulator of it."""
    host = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/")
    if not host:
        return "https://storage.googleapis.com"
    return host if "://" in host else f"http://{host}"


# What an anonymous store depends on, besides its source.
_VARIABLES = (
    "STORAGE_EMULATOR_HOST",
    "AWS_ENDPOINT_URL_S3",
    "AWS_ENDPOINT_URL",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ALLOW_HTTP",
)


@lru_cache(maxsize=16)
def _anonymous(source: SourceUrl, _variables: tuple[str | None, ...]) -> Any:
    """A store that is kept, with its connections: making one takes as long as a round trip."""
    return _make_store(source, auth=False)


def _make_store(source: SourceUrl, *, auth: bool) -> Any:
    from obstore.store import GCSStore, HTTPStore, LocalStore, S3Store

    # Retried by the caller, who counts the tries and can be interrupted between them.
    retry: Any = {"max_retries": 0, "retry_timeout": timedelta(seconds=180)}
    client: Any = dict(_CLIENT)
    if source.kind == "file":
        if not os.path.isdir(source.root):
            raise ValueError("no such directory")
        return LocalStore(prefix=source.root)
    if source.kind == "http":
        client["allow_http"] = source.root.startswith("http://")
        return HTTPStore(source.root, client_options=client, retry_config=retry)
    anonymous: Any = {} if auth else {"skip_signature": True}
    if source.kind == "gs":
        config: Any = {}
        # Else it inflates what is stored with Content-Encoding: gzip, and sends the whole of it
        # for each range.
        client["default_headers"] = {"accept-encoding": "gzip"}
        endpoint = gcs_endpoint()
        if os.environ.get("STORAGE_EMULATOR_HOST"):
            config["base_url"] = endpoint
            client["allow_http"] = endpoint.startswith("http://")
        return GCSStore(
            source.root, config=config, client_options=client, retry_config=retry, **anonymous
        )
    config = _s3_config(source.root)
    client["allow_http"] = config.get("endpoint", "").startswith("http://")
    return S3Store(
        source.root, config=config, client_options=client, retry_config=retry, **anonymous
    )


def _s3_config(bucket: str) -> dict[str, str]:
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL", "")
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if not endpoint:
        return {"region": region or _s3_region(bucket)}
    allowed = os.environ.get("AWS_ALLOW_HTTP", "").lower() in _TRUE
    host = urlsplit(endpoint).hostname or ""
    if endpoint.startswith("http://") and not allowed and not is_loopback(host):
        raise ValueError(f"AWS_ENDPOINT_URL is http://{host}; set AWS_ALLOW_HTTP=true to allow it")
    return {"endpoint": endpoint, "region": region or "us-east-1"}


def _s3_region(bucket: str) -> str:
    """The region of a bucket, which S3 names even where it refuses everything else."""
    try:
        answer = plain_url(f"https://s3.amazonaws.com/{bucket}", method="HEAD")
    except StoreError:
        return "us-east-1"
    return answer.headers.get("x-amz-bucket-region") or "us-east-1"
