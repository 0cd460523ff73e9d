"""Size and checksum of a row file, kept beside it and in the index. Floor 9.

DuckDB takes a Parquet file with a wrong bit for a sound one, and counts something else.
"""

from __future__ import annotations

import json
import os
import zlib
from typing import NamedTuple

from shardreader.runtime.output_file import replacing

__all__ = ["CHECK_ENDING", "RowCheck", "check_of", "keep_check", "kept_check"]

CHECK_ENDING = ".check"
_PIECE_BYTES = 1 << 20


class RowCheck(NamedTuple):
    """What tells a row file from a damaged one: its size in bytes, and the CRC-32 of them."""

    size: int
    crc32: int

    def __str__(self) -> str:
        return f"{self.size} bytes with the CRC-32 {self.crc32:08x}"


def check_of(path: str) -> RowCheck:
    """Read a row file.

    Raises
    ------
    OSError
    """
    size = crc32 = 0
    with open(path, "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            size += len(piece)
            crc32 = zlib.crc32(piece, crc32)
    return RowCheck(size, crc32)


def keep_check(path: str, check: RowCheck) -> None:
    """Write down beside a row file what it is."""
    with replacing(path + CHECK_ENDING) as file:
        file.write(json.dumps(check._asdict()).encode())


def kept_check(path: str) -> RowCheck | None:
    """What a row file is, if it is what was written down beside it; None otherwise."""
    if not os.path.exists(path) or not os.path.exists(path + CHECK_ENDING):
        return None
    with open(path + CHECK_ENDING, "rb") as file:
        try:
            expected = RowCheck(**json.load(file))
        except (ValueError, TypeError):
            return None
    return expected if check_of(path) == expected else None
