"""PNG images of 8 or 16 bits, without palette and interlacing, to arrays. Floor 1.

Specification: PNG (ISO/IEC 15948), "Datastream structure" and "Filtering".

It is written here because no small package decodes all that the chunks of a volume may be without
harm: Pillow cuts 16-bit colors to 8 bits, pyspng adds channels to them, and each damaged image
costs imagecodecs a reference to None, of which an old Python (below 3.12) has not enough.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault

__all__ = ["PngHeader", "decode_png", "read_png_header"]

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER_END = len(_SIGNATURE) + 25
_CHUNK_OVERHEAD = 12  # length, name, checksum
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}  # by color type; 3 is a palette
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")


class PngHeader(NamedTuple):
    """What an image says of itself."""

    width: int
    height: int
    bits: int
    channels: int

    @property
    def pixel_bytes(self) -> int:
        """Bytes of a pixel, all channels."""
        return self.bits // 8 * self.channels


def read_png_header(encoded: bytes) -> PngHeader:
    """The header of an image; nothing else is looked at.

    Raises
    ------
    FormatFault
        No PNG, or a form of it that is not read here.
    """
    head = bytes(encoded[:_HEADER_END])
    if len(head) < _HEADER_END or head[: len(_SIGNATURE)] != _SIGNATURE or head[12:16] != b"IHDR":
        found = head[:16].hex(" ") or "nothing"
        raise FormatFault("png image", expected="its signature and header", found=found)
    bits, color, *methods = head[24:29]
    if bits not in (8, 16) or color not in _CHANNELS or methods != [0, 0, 0]:
        raise FormatFault(
            "form of the png image",
            expected="8 or 16 bits, no palette, no interlacing",
            found=f"{bits} bits, color type {color}, methods {methods}",
        )
    width, height = (int.from_bytes(head[at : at + 4], "big") for at in (16, 20))
    if not width or not height:
        raise FormatFault(
            "size of the png image", expected="1 or more", found=f"{width} x {height} pixels"
        )
    return PngHeader(width, height, bits, _CHANNELS[color])


def decode_png(encoded: bytes) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """The pixels of an image.

    It takes the memory that the header asks for: look at that first.

    Returns
    -------
    ndarray of uint8 or uint16, shape (height, width, channels)

    Raises
    ------
    FormatFault
        As `read_png_header`; or an image that is damaged or cut. All of its checksums are held.
    """
    header = read_png_header(encoded)
    filtered = _inflated(b"".join(_image_data(encoded)), header)
    rows = np.frombuffer(filtered, dtype=np.uint8).reshape(header.height, -1)

    from shardreader.png_filters import undo_filters  # numba, on the first image only

    bad_row = undo_filters(rows, header.pixel_bytes)
    if bad_row >= 0:
        raise FormatFault(
            f"filter of row {bad_row} of the png image",
            expected="0 to 4",
            found=f"{rows[bad_row, 0]}",
        )
    samples = np.ascontiguousarray(rows[:, 1:])
    pixels = samples if header.bits == 8 else samples.view(">u2").astype("<u2")
    return pixels.reshape(header.height, header.width, header.channels)


def _image_data(encoded: bytes) -> Iterator[bytes]:
    """The data of each IDAT chunk, the checksums of all chunks held."""
    position = len(_SIGNATURE)
    name = b""
    while name != b"IEND":
        length = int.from_bytes(encoded[position : position + 4], "big")
        end = position + _CHUNK_OVERHEAD + length
        if end > len(encoded):
            raise FormatFault("png image", expected="its end", found=f"{len(encoded)} bytes")
        name = bytes(encoded[position + 4 : position + 8])
        if zlib.crc32(encoded[position + 4 : end - 4]) != int.from_bytes(
            encoded[end - 4 : end], "big"
        ):
            raise FormatFault(
                f"checksum of the {name!r} chunk of the png image",
                expected="that of its bytes",
                found="another",
            )
        # A chunk whose name starts with a capital letter cannot be left out.
        if name[:1].isupper() and name not in _CRITICAL:
            expected = "IHDR, PLTE, IDAT or IEND"
            raise FormatFault("chunk of the png image", expected=expected, found=f"{name!r}")
        if name == b"IDAT":
            yield encoded[position + 8 : end - 4]
        position = end
    if position != len(encoded):
        found = f"{len(encoded) - position} bytes"
        raise FormatFault("bytes after the png image", expected="none", found=found)


def _inflated(data: bytes, header: PngHeader) -> bytearray:
    expected = header.height * (1 + header.width * header.pixel_bytes)
    engine = zlib.decompressobj()
    try:
        filtered = bytearray(engine.decompress(data, expected + 1))
    except zlib.error as error:
        raise FormatFault(
            "data of the png image", expected="a valid stream", found=f"{error} (says zlib)"
        ) from None
    if len(filtered) != expected or not engine.eof or engine.unused_data:
        raise FormatFault(
            "data of the png image",
            expected=f"a whole stream of {expected} bytes",
            found=f"{len(filtered)} bytes or more"
            if engine.eof or len(filtered) > expected
            else f"a cut after {len(filtered)} bytes",
        )
    return filtered
