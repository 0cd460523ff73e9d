"""What a source has, asked from the source itself: a listing, or a request a shard."""

from __future__ import annotations

import json
import posixpath
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote, urlencode

from shardreader.copies.gsutil_listing import ListedObject
from shardreader.errors import InfoError, ReadError
from shardreader.format.info import ScaleInfo, VolumeInfo, parse_info
from shardreader.format.redirect import redirect_of
from shardreader.format.shard_lattice import ShardLattice
from shardreader.storage.documents import INFO_BYTES_LIMIT, plain_document
from shardreader.storage.plain_http import (
    AbsentError,
    Answer,
    RefusedError,
    StoreError,
    TransientError,
    checksum_headers,
    is_checksum,
    plain_url,
)
from shardreader.storage.remote_store import ObjectVersion, RemoteStore, gcs_endpoint
from shardreader.storage.retrying import Patience
from shardreader.storage.scale_shown import lists_scale, names_to_try
from shardreader.storage.source_url import follow_redirect

__all__ = ["ScaleListing", "SourceReader", "safe_key", "unreachable"]

_SIZE_LIMIT = (1 << 53) - 1
# That an error names, and asks for.
_MOST_SCALES = 16
_FIELDS = "nextPageToken,items(name,size,generation,etag,crc32c,md5Hash)"


@dataclass(frozen=True)
class ScaleListing:
    """The shards that a source has of one scale.

    Parameters
    ----------
    files : dict of str to ListedObject
        By name in the directory of the scale.
    impossible : tuple of str
        Shard files that no chunk of the volume belongs to.
    pages : int
        How many requests it took.
    """

    files: dict[str, ListedObject]
    impossible: tuple[str, ...]
    pages: int


class SourceReader:
    """Asks a source for its info and its shards, trying again where that makes sense.

    Parameters
    ----------
    store : RemoteStore
    patience : Patience
    """

    def __init__(self, store: RemoteStore, patience: Patience) -> None:
        self.store = store
        self.source = store.source
        self._patience = patience

    def info(self) -> VolumeInfo:
        """The parsed info of the source; where it redirects, all else is asked of the target.

        Raises
        ------
        InfoError
            There is none, or it is not that of a volume.
        ReadError
            The source refuses, or does not answer.
        """
        hops = [self.source]
        while True:
            data, where = self._info_bytes()
            target = None if self.source.kind == "file" else redirect_of(data, where)
            if target is None:
                return parse_info(data, where)
            hops.append(follow_redirect(hops, target))
            # Credentials are for the source that the user named.
            self.store = RemoteStore(hops[-1])
            self.source = hops[-1]

    def _info_bytes(self) -> tuple[bytes, str]:
        where = f"{self.source.text}/info"
        try:
            data = self._patience.call(
                lambda: self.store.read_all(self.source.name("info"), most_bytes=INFO_BYTES_LIMIT)
            )
        except AbsentError:
            raise InfoError(
                f"{where}: the source has no such file; give the URL of the volume (the folder "
                "with the file info in it), and check the name of the bucket"
            ) from None
        except RefusedError as error:
            raise ReadError(
                f"{where}: {error}; check the name of the bucket, or use --auth with credentials"
            ) from None
        except StoreError as error:
            raise unreachable(where, error) from None
        return plain_document(data, where, INFO_BYTES_LIMIT), where

    def listing(self, key: str, lattice: ShardLattice) -> ScaleListing | None:
        """All shards of a scale, in pages; None where the source cannot be listed.

        A name that the geometry does not allow becomes no path.

        Raises
        ------
        ReadError
            The source does not answer, or lists nonsense.
        """
        where = f"{self.source.text}/{key}"
        folder = self.source.name(key)
        prefix = f"{folder}/" if folder else ""
        files: dict[str, ListedObject] = {}
        impossible, pages = [], 0
        try:
            for page in self._pages(prefix):
                pages += 1
                for name, listed in page:
                    base = name[len(prefix) :]
                    if not name.startswith(prefix) or "/" in base:
                        continue
                    if lattice.number_of_name(base) is not None:
                        files[base] = replace(listed, url=f"{where}/{base}")
                    elif base.endswith(".shard"):
                        impossible.append(base)
        except (AbsentError, RefusedError):
            return None
        except StoreError as error:
            raise unreachable(where, error) from None
        return ScaleListing(files, tuple(impossible), pages)

    def _pages(self, prefix: str) -> Iterator[list[tuple[str, ListedObject]]]:
        if self.source.kind == "http":
            raise RefusedError("a web server cannot be listed")
        if self.source.kind == "gs":
            try:
                yield from self._gcs_pages(prefix)
                return
            except (AbsentError, RefusedError):
                if not self.store.auth:
                    raise
        # A page that failed cannot be asked for alone: the listing starts again.
        yield from self._patience.call(
            lambda: [
                [(name, _listed(version)) for name, version in page]
                for page in self.store.pages(prefix)
            ]
        )

    def _gcs_pages(self, prefix: str) -> Iterator[list[tuple[str, ListedObject]]]:
        """The JSON listing, which alone has the checksums."""
        token = None
        while True:
            query = {"prefix": prefix, "fields": _FIELDS, "maxResults": "1000"}
            if token:
                query["pageToken"] = token
            bucket = quote(self.source.root, safe="")
            url = f"{gcs_endpoint()}/storage/v1/b/{bucket}/o?{urlencode(query)}"
            document = self._patience.call(lambda url=url: self._json(url))  # type: ignore[misc]
            yield [_gcs_object(item) for item in document.get("items", [])]
            token = document.get("nextPageToken")
            if not token:
                return

    def _json(self, url: str) -> dict[str, Any]:
        self.store.count()
        answer = plain_url(url)
        _judge(answer)
        try:
            document = json.loads(answer.body)
        except ValueError:
            raise RefusedError("the listing is no JSON") from None
        if not isinstance(document, dict) or not isinstance(document.get("items", []), list):
            raise RefusedError("the listing is no listing")
        return document

    def ask(self, key: str, name: str) -> ListedObject | None:
        """One shard of a source that cannot be listed; None where the source has none.

        Raises
        ------
        RefusedError
            It refuses, which says nothing.
        TransientError
            It does not answer.
        """
        url = f"{self.source.text}/{key}/{name}"
        path = self.source.name(f"{key}/{name}")
        try:
            if self.source.kind == "gs" and not self.store.auth:
                return self._patience.call(lambda: self._gcs_facts(path, url))
            version = self._patience.call(lambda: self.store.version(path))
        except AbsentError:
            return None
        return replace(_listed(version), url=url)

    def shows(self, scale: ScaleInfo) -> bool:
        """Whether the source has any data of a scale, as far as a bounded number of requests tells.

        Raises
        ------
        ReadError
            It does not answer.
        """
        try:
            if lists_scale(self.store, scale):
                return True
            return any(self._has(f"{scale.key}/{name}") for name in names_to_try(scale))
        except TransientError as error:
            raise unreachable(f"{self.source.text}/{scale.key}", error) from None

    def _has(self, name: str) -> bool:
        try:
            path = self.source.name(name)
            return self._patience.call(lambda: self.store.version(path)).size > 0
        except (AbsentError, RefusedError):
            return False

    def no_data(self, key: str, volume: VolumeInfo) -> InfoError:
        """The error for a scale of which the source has shown nothing; names those that it has."""
        others = [scale for scale in volume.scales if scale.key != key][:_MOST_SCALES]
        there = [repr(scale.key) for scale in others if self.shows(scale)]
        what = f"it has data of {', '.join(there)}" if there else "nor of another scale"
        return InfoError(
            f"{self.source.text}/{key}: the source lists no shard of this scale or does not have "
            f"those that were asked for, {what}; an info without its data says nothing about "
            "background: is it the right source and scale?"
        )

    def _gcs_facts(self, path: str, url: str) -> ListedObject:
        """The headers of the object have the checksum that obstore does not show."""
        self.store.count()
        answer = plain_url(f"{gcs_endpoint()}/{self.source.root}/{quote(path)}", method="HEAD")
        _judge(answer)
        size = answer.headers.get("Content-Length") or ""
        if not size.isdecimal():
            raise RefusedError("the source does not say how large the object is")
        return ListedObject(
            url,
            int(size),
            generation=answer.headers.get("x-goog-generation"),
            etag=answer.headers.get("ETag"),
            **checksum_headers(answer.headers),
        )


def unreachable(where: str, error: StoreError) -> ReadError:
    """The error for a source that does not answer."""
    return ReadError(f"{where}: cannot be read: {error}; check the network, then run it again")


def _judge(answer: Answer) -> None:
    if answer.status == 404:
        raise AbsentError("no such object")
    if answer.status in (408, 425, 429) or answer.status >= 500:
        raise TransientError(f"the source answers {answer.status}")
    if answer.status >= 300:
        raise RefusedError(f"the source refuses: {answer.status}")


def _listed(version: ObjectVersion) -> ListedObject:
    return ListedObject(
        "", version.size, generation=version.generation or None, etag=version.etag or None
    )


def _gcs_object(item: Any) -> tuple[str, ListedObject]:
    try:
        name, size = item["name"], int(item["size"])
    except (KeyError, TypeError, ValueError):
        raise RefusedError("the listing is no listing") from None
    if not isinstance(name, str) or not 0 <= size <= _SIZE_LIMIT:
        raise RefusedError("the listing has impossible names or sizes")
    crc32c, md5 = item.get("crc32c"), item.get("md5Hash")
    return name, ListedObject(
        "",
        size,
        crc32c=crc32c if is_checksum(crc32c, 4) else None,
        md5=md5 if is_checksum(md5, 16) else None,
        generation=_text(item.get("generation")),
        etag=_text(item.get("etag")),
    )


def _text(value: object) -> str | None:
    return str(value) if isinstance(value, (str, int)) and str(value) else None


def safe_key(key: str, where: str) -> str:
    """The key of a scale as the folder of a copy.

    Raises
    ------
    InfoError
        It would lie outside the copy, or take the name of one of its files.
    """
    folder = posixpath.normpath(key)
    first = folder.split("/")[0]
    if first == ".." or first in ("info", "info.bkp") or first.startswith("shardreader-"):
        raise InfoError(
            f"{where}: the key {key!r} of its scale lies outside the volume, or is the name of a "
            "file of the copy, so it cannot be fetched"
        )
    return folder
