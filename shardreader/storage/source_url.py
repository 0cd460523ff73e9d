"""From what the user calls the source of a copy to a bucket or directory and a prefix."""

from __future__ import annotations

import ipaddress
import os
import posixpath
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shardreader.errors import InfoError

__all__ = ["SourceUrl", "follow_redirect", "is_loopback", "parse_source"]

_PREFIX = "precomputed://"
_BUCKETS = ("gs", "s3")
_MOST_REDIRECTS = 8


@dataclass(frozen=True)
class SourceUrl:
    """Where a volume can be read.

    Parameters
    ----------
    kind : {"gs", "s3", "http", "file"}
    root : str
        The bucket, the URL of the volume, or its absolute directory.
    prefix : str
        Of the volume in its bucket, without a ``/`` at the end; empty for the other kinds.
    text : str
        As a manifest names it; holds no secret.
    """

    kind: str
    root: str
    prefix: str
    text: str

    def name(self, relative: str) -> str:
        """The name, in the bucket or below `root`, of a file of the volume."""
        joined = posixpath.normpath(posixpath.join(self.prefix, relative))
        return "" if joined == "." else joined


def parse_source(source: str | os.PathLike[str]) -> SourceUrl:
    """Parse the URL or directory of a volume.

    Raises
    ------
    InfoError
        Another scheme, or a URL that may hold a secret.

    Examples
    --------
    >>> source = parse_source("precomputed://gs://fafb-ffn1-20190805/segmentation/")
    >>> source.root, source.name("8.0x8.0x40.0/0054.shard"), source.text
    ('fafb-ffn1-20190805', 'segmentation/8.0x8.0x40.0/0054.shard', \
'gs://fafb-ffn1-20190805/segmentation')
    """
    text = os.fspath(source)
    if not isinstance(text, str):
        raise TypeError(f"source must be a str or a path object, not {source!r}")
    text = text.removeprefix(_PREFIX)
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme in _BUCKETS:
        return _bucket(scheme, text)
    if scheme in ("http", "https"):
        return _http(scheme, text)
    if scheme not in ("", "file"):
        raise InfoError(f"{scheme}://: unknown scheme; give gs://, s3://, https:// or a directory")
    directory = os.path.abspath(_path_of_file_url(text) if scheme else text)
    return SourceUrl("file", directory, "", Path(directory).as_uri())


def follow_redirect(hops: list[SourceUrl], target: str) -> SourceUrl:
    """Where the ``redirect`` of an info leads; anonymously, whatever the first source was read by.

    Parameters
    ----------
    hops : list of SourceUrl
        The sources so far, the last of which redirects.
    target : str

    Raises
    ------
    InfoError
        It leads in a circle, too far, into a directory, or from a protected connection to one that
        is not.
    """
    where = f"{hops[-1].text}/info: redirects to {target!r}"
    found = parse_source(target) if "://" in target else None
    if found is None or found.kind == "file":
        raise InfoError(f"{where}: expected a gs://, s3:// or https:// URL; ask who published it")
    if found.root.startswith("http://") and not hops[-1].root.startswith("http://"):
        raise InfoError(f"{where}: not followed, because http:// is not protected")
    if found in hops:
        raise InfoError(f"{where}: that is a circle; ask who published it")
    if len(hops) > _MOST_REDIRECTS:
        raise InfoError(f"{where}: followed {_MOST_REDIRECTS} redirects already; give the last URL")
    return found


def _bucket(scheme: str, text: str) -> SourceUrl:
    bucket, _, prefix = text[len(scheme) + 3 :].partition("/")
    prefix = prefix.strip("/")
    parts = prefix.split("/") if prefix else []
    if not bucket or any(letter in bucket for letter in "@?#:\\ ") or {"", ".", ".."} & {*parts}:
        raise InfoError(f"expected {scheme}://BUCKET/PATH, found {text!r}")
    return SourceUrl(scheme, bucket, prefix, f"{scheme}://{bucket}/{prefix}".rstrip("/"))


def _http(scheme: str, text: str) -> SourceUrl:
    parts = urlsplit(text)
    if parts.query or parts.fragment or "@" in parts.netloc:
        # Not shown: it may be a password or a signature.
        raise InfoError(
            f"{scheme}://{parts.hostname}: a URL with a user, a password, ? or # is not supported, "
            "because it would be written to the manifest"
        )
    if not parts.hostname:
        raise InfoError(f"expected https://HOST/PATH, found {text!r}")
    if scheme == "http" and not is_loopback(parts.hostname):
        raise InfoError(
            f"{text}: http:// is only supported for this computer itself (anybody on the way "
            "could change the data); give https://"
        )
    url = f"{scheme}://{parts.netloc}{parts.path}".rstrip("/")
    return SourceUrl("http", url, "", url)


def is_loopback(host: str) -> bool:
    """Whether a host name is that of this computer."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _path_of_file_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.netloc not in ("", "localhost"):
        raise InfoError(f"{text}: a file:// URL with a host is not supported: give its path")
    if os.name == "nt":
        from urllib.request import url2pathname

        return url2pathname(parts.path)
    return unquote(parts.path)
