"""CRC32C of bytes while they pass, and its form in listings."""

from __future__ import annotations

import base64

import google_crc32c

__all__ = ["base64_of", "extend_crc32c"]


def extend_crc32c(crc32c: int, data: bytes) -> int:
    """The checksum of some bytes (0 for none) and of those that follow them."""
    return int(google_crc32c.extend(crc32c, data))


def base64_of(crc32c: int) -> str:
    """A checksum as Google's listings have it.

    Examples
    --------
    >>> base64_of(0x0face4e4)
    'D6zk5A=='
    """
    return base64.b64encode(crc32c.to_bytes(4, "big")).decode("ascii")
