"""PNG images by hand: any filter for any row, any chunk, any lie."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}


def chunk(name: bytes, data: bytes) -> bytes:
    """Give a chunk with its length and checksum."""
    checksum = zlib.crc32(name + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + name + data + checksum


def header(width: int, height: int, bits: int, color_type: int, methods: bytes = bytes(3)) -> bytes:
    """Give the IHDR chunk."""
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return chunk(b"IHDR", sizes + bytes([bits, color_type]) + methods)


def paeth(left: int, above: int, corner: int) -> int:
    """Give the neighbour that is nearest to left + above - corner."""
    guess = left + above - corner
    return min((abs(guess - n), rank, n) for rank, n in enumerate((left, above, corner)))[2]


def filtered(pixels: np.ndarray, filters: Sequence[int]) -> bytes:
    """Give the rows, each behind its filter, in slow and plain Python."""
    step = pixels.itemsize * pixels.shape[2]
    big_endian = pixels.astype(pixels.dtype.newbyteorder(">"))
    rows = [list(row.tobytes()) for row in big_endian]
    result = bytearray()
    for y, row in enumerate(rows):
        kind = filters[y % len(filters)]
        result.append(kind)
        above_row = rows[y - 1] if y else [0] * len(row)
        for i, value in enumerate(row):
            left, corner = (row[i - step], above_row[i - step]) if i >= step else (0, 0)
            above = above_row[i]
            guess = (0, left, above, (left + above) // 2, paeth(left, above, corner))[kind]
            result.append((value - guess) % 256)
    return bytes(result)


def png_of(pixels: np.ndarray, filters: Sequence[int] = (0, 1, 2, 3, 4), pieces: int = 1) -> bytes:
    """Give an image of pixels (height, width, channels), its data in several IDAT chunks."""
    height, width, channels = pixels.shape
    data = zlib.compress(filtered(pixels, filters))
    step = -(-len(data) // pieces)
    parts = [data[at : at + step] for at in range(0, len(data), step)]
    head = header(width, height, 8 * pixels.itemsize, COLOR_TYPES[channels])
    return SIGNATURE + head + b"".join(chunk(b"IDAT", p) for p in parts) + chunk(b"IEND", b"")
