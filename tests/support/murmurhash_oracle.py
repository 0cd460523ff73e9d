"""The hash of a chunk id by an independent implementation."""

from __future__ import annotations

import mmh3


def hash_by_mmh3(key: int) -> int:
    """Hash 8 bytes, and give the low 8 bytes of the result as an integer."""
    digest = mmh3.hash_bytes(key.to_bytes(8, "little"), 0, x64arch=False)
    return int.from_bytes(digest[:8], "little")
