"""From what the user calls a volume to an absolute directory. Floor 1."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

from shardreader.errors import InfoError

__all__ = ["directory_of"]

_PREFIX = "precomputed://"
_REMOTE_SCHEMES = ("gs", "s3", "http", "https")


def directory_of(path: str | os.PathLike[str]) -> str:
    """The absolute directory of a volume, from a path or a ``file://`` URL.

    Both may have the ``precomputed://`` in front that Neuroglancer uses.

    Raises
    ------
    InfoError
        A URL of a store that this version does not read.

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
            f"{text}: {scheme}:// volumes are not supported by this version: "
            "copy the volume to a local directory"
        )
    elif scheme:
        raise InfoError(f"{text}: unknown scheme {scheme}://: give a local directory")
    return os.path.abspath(text)
