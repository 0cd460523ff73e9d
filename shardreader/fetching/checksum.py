"""CRC32C of bytes while they pass, and its form in listings; imports google-crc32c. Floor 5."""

from __future__ import annotations

import base64
from typing import Any

from shardreader.errors import InfoError

__all__ = ["base64_of", "extend_crc32c", "require_crc32c"]

_library: Any = None


def require_crc32c() -> None:
    """Load the library.

    Raises
    ------
    InfoError
        It is not installed.
    """
    global _library  # noqa: PLW0603 (loaded once)
    try:
        import google_crc32c
    except ImportError:
        raise InfoError(
            "google-crc32c is not installed, which checks what is fetched: "
            "pip install 'shardreader[fetch]'"
        ) from None
    _library = google_crc32c


def extend_crc32c(crc32c: int, data: bytes) -> int:
    """The checksum of some bytes (0 for none) and of those that follow them."""
    if _library is None:
        require_crc32c()
    return int(_library.extend(crc32c, data))


def base64_of(crc32c: int) -> str:
    """A checksum as Google's listings have it.

    Examples
    --------
    >>> base64_of(0x0face4e4)
    'D6zk5A=='
    """
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode("ascii")
