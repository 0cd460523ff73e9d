"""From what the user calls a volume to an absolute directory."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from shardreader.errors import InfoError

__all__ = ["directory_of", "is_remote"]

_PREFIX = "precomputed://"
_REMOTE_SCHEMES = ("gs", "s3", "http", "https")


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a volume is called by the URL of a bucket or web server.

    Examples
    --------
    >>> is_remote("precomputed://gs://bucket/segmentation"), is_remote("segmentation")
    (True, False)
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or a path object, not {path!r}")
    scheme, separator, _ = text.removeprefix(_PREFIX).partition("://")
    return bool(separator) and scheme.lower() in _REMOTE_SCHEMES


def directory_of(path: str | os.PathLike[str]) -> str:
    """The absolute directory of a volume, from a path or a ``file://`` URL.

    Both may have the ``precomputed://`` in front that Neuroglancer uses.

    Raises
    ------
    InfoError
        A URL that leads to no directory of this computer.

    Examples
    --------
    >>> directory_of("precomputed:///data/segmentation") == os.path.abspath("/data/segmentation")
    True
    """
    text = os.fspath(path)
    if not isinstance(text, str):
        raise TypeError(f"path must be a str or a path object, not {path!r}")
    text = text.removeprefix(_PREFIX)
    scheme = text.partition("://")[0].lower() if "://" in text else ""
    if scheme == "file":
        parts = urlsplit(text)
        if parts.netloc not in ("", "localhost"):
            raise InfoError(f"{text}: a file:// URL with a host is not supported: give its path")
        from urllib.request import url2pathname  # takes as long to import as all the rest

        text = url2pathname(parts.path)
    elif scheme in _REMOTE_SCHEMES:
        raise InfoError(
            f"{text}: this works on a local directory: make a copy, shardreader fetch {text} "
            "DIRECTORY, and give that"
        )
    elif scheme:
        raise InfoError(f"{text}: unknown scheme {scheme}://: give a local directory")
    # `abspath` of what begins with a slash, by one call instead of four.
    is_absolute = os.sep == "/" and text.startswith("/")
    return os.path.normpath(text) if is_absolute else os.path.abspath(text)
