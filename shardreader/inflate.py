"""Stored bytes to encoded bytes: raw and gzip, with the size bounded before memory is taken.

Floor 1. Specification: sharded.md, ``data_encoding`` and ``minishard_index_encoding``.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable

import deflate

from shardreader.errors import FormatFault

__all__ = ["ENCODINGS", "inflate", "most_stored_bytes"]

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib: a gzip wrapper around the largest window
_SMALLEST_GZIP = 18
_ZLIB_PIECE = 1 << 14


def inflate(stored: bytes, start: int, end: int, *, encoding: str, most_bytes: int) -> bytes:
    """Undo the encoding of ``stored[start:end]``.

    Parameters
    ----------
    stored : bytes
        A buffer that was read, possibly with several chunks in it.
    start, end : int
        The part of it to inflate, half-open.
    encoding : {"raw", "gzip"}
    most_bytes : int
        The result must not be larger; checked before memory is taken.

    Returns
    -------
    bytes or bytearray
        The caller owns it; it shares no memory with `stored`.

    Raises
    ------
    FormatFault
        A damaged or cut stream, a wrong checksum or length, bytes after the last gzip member,
        or a result of more than `most_bytes`.

    Examples
    --------
    >>> import gzip
    >>> bytes(inflate(gzip.compress(b"abc"), 0, 23, encoding="gzip", most_bytes=100))
    b'abc'
    """
    return ENCODINGS[encoding](stored, start, end, most_bytes)


def most_stored_bytes(encoding: str, most_bytes: int) -> int:
    """An upper limit for the stored length of what inflates to at most `most_bytes`.

    gzip stores what it cannot shrink with 5 bytes for each 64 KiB; the rest is for its header,
    which may hold a file name, and for further members.
    """
    return most_bytes if encoding == "raw" else most_bytes + most_bytes // 64 + (1 << 16)


def _raw(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    if end - start > most_bytes:
        raise _too_large(most_bytes, f"{end - start}")
    return stored[start:end]


def _gzip(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    """Use libdeflate where it can be trusted to have seen all bytes, zlib for the rest."""
    if end - start >= _SMALLEST_GZIP:
        size_field = stored[end - 4 : end]
        (claimed,) = struct.unpack("<I", size_field)
        # A claim of 0 makes the binding guess and return nothing for a cut stream; a claim above
        # the limit is either a bomb or a lie. Both are zlib's to judge.
        if 0 < claimed <= most_bytes:
            try:
                result = deflate.gzip_decompress(memoryview(stored)[start:end], claimed)
            except deflate.DeflateError:
                result = None
            # libdeflate stops after the first member and does not say where that was. The member
            # ends with the length of the result: if these four bytes stand at the very end and
            # nowhere earlier, the member ends at `end`.
            if (
                result is not None
                and len(result) == claimed
                and stored.find(size_field, start, end - 1) == -1
            ):
                return result  # type: ignore[return-value]
    return _gzip_by_zlib(stored, start, end, most_bytes)


def _gzip_by_zlib(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    """Every member in turn; slower, and the judge of what is valid."""
    result = bytearray()
    position = start
    while True:
        if stored[position : min(position + 2, end)] != _GZIP_MAGIC:
            what = "gzip stream" if position == start else "bytes after the last gzip member"
            expected = "a gzip header (1f 8b)" if position == start else "none, or a further member"
            raise FormatFault(
                what,
                expected=expected,
                found=f"{end - position} bytes that start with "
                f"{stored[position : min(position + 4, end)].hex(' ') or 'nothing'}",
            )
        position = _one_member(stored, position, end, most_bytes, result)
        if position == end:
            return bytes(result)


def _one_member(stored: bytes, position: int, end: int, most: int, result: bytearray) -> int:
    """Append one member's data to `result`; return where the member ends."""
    member_start = position
    engine = zlib.decompressobj(_GZIP_WINDOW)
    while not engine.eof:
        # Small pieces, because zlib copies the unused rest of a piece after each member.
        piece = stored[position : min(position + _ZLIB_PIECE, end)]
        if not piece:
            raise FormatFault(
                "gzip stream",
                expected="its end (checksum and length)",
                found=f"a cut after {end - member_start} bytes and {len(result)} inflated ones",
            )
        position += len(piece)
        try:
            while piece:
                result += engine.decompress(piece, most - len(result) + 1)
                if len(result) > most:
                    raise _too_large(most, "more")
                piece = engine.unconsumed_tail
        except zlib.error as error:
            raise FormatFault(
                "gzip stream", expected="a valid one", found=f"{error} (says zlib)"
            ) from None
    return position - len(engine.unused_data)


def _too_large(most_bytes: int, found: str) -> FormatFault:
    return FormatFault(
        "length after inflate",
        expected=f"at most {most_bytes} bytes (the most that its geometry can need)",
        found=found,
    )


ENCODINGS: dict[str, Callable[[bytes, int, int, int], bytes]] = {"raw": _raw, "gzip": _gzip}
