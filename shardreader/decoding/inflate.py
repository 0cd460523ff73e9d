"""Stored bytes to encoded bytes: raw, gzip and zstd, with the size bounded before memory is taken.

Specification: sharded.md, ``data_encoding`` and ``minishard_index_encoding``, which knows
raw and gzip; zstd (RFC 8878) is an extension of this package. Files that are gzip as a whole, as
those of unsharded volumes are, go through here too, and so do files that copy tools left gzip under
the name of a plain one (``gzip or raw``).
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import deflate

from shardreader.errors import FormatFault
from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    import zstandard

__all__ = [
    "ENCODINGS",
    "GZIP_OR_RAW",
    "inflate",
    "loaded_file_reader",
    "loaded_libdeflate",
    "most_stored_bytes",
]

GZIP_OR_RAW = "gzip or raw"
_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_WINDOW = 31  # zlib: a gzip wrapper around the largest window
_SMALLEST_GZIP = 18
_ZLIB_PIECE = 1 << 14

_ZSTD_MAGIC = 0xFD2FB528
_ZSTD_SKIPPABLE_MAGIC = 0x184D2A50  # and 15 more, in the low 4 bits
_ZSTD_LONGEST_HEADER = 18
_ZSTD_LARGEST_BLOCK = 1 << 17
_ZSTD_CHECKSUM_BYTES = 4
_ZSTD_RUN_BLOCK, _ZSTD_COMPRESSED_BLOCK = 1, 2
# What every decoder should take by RFC 8878, however little is in the frame: a writer that does
# not know the size beforehand puts down the window of its level.
_ZSTD_USUAL_WINDOW = 1 << 23


def inflate(stored: bytes, start: int, end: int, *, encoding: str, most_bytes: int) -> bytes:
    """Undo the encoding of ``stored[start:end]``.

    Parameters
    ----------
    stored : bytes
        A buffer that was read, possibly with several chunks in it.
    start, end : int
        The part of it to inflate, half-open.
    encoding : {"raw", "gzip", "zstd", "gzip or raw"}
        Of the last the first two bytes decide: what is never gzip as it is.
    most_bytes : int
        The result must not be larger; checked before memory is taken.

    Returns
    -------
    bytes or bytearray
        The caller owns it; it shares no memory with `stored`.

    Raises
    ------
    FormatFault
        A damaged or cut stream, a wrong checksum or length, bytes after the last gzip member or
        zstd frame, a zstd window of more than 8 MiB and `most_bytes`, or a result of more than
        `most_bytes`.

    Examples
    --------
    >>> import gzip
    >>> bytes(inflate(gzip.compress(b"abc"), 0, 23, encoding="gzip", most_bytes=100))
    b'abc'
    """
    return ENCODINGS[encoding](stored, start, end, most_bytes)


def loaded_libdeflate() -> ModuleType | None:
    """The module `libdeflate` where it is usable; loads numba."""
    if not _libdeflate:
        with compiling:
            from shardreader.decoding import libdeflate
        _libdeflate.append(libdeflate)
    return _libdeflate[0] if _libdeflate[0].usable() else None


def loaded_file_reader() -> ModuleType | None:
    """The module `libdeflate` where it also reads files by itself; loads numba."""
    libdeflate = loaded_libdeflate()
    return libdeflate if libdeflate is not None and libdeflate.reads_files() else None


_libdeflate: list[ModuleType] = []


def most_stored_bytes(encoding: str, most_bytes: int) -> int:
    """An upper limit for the stored length of what inflates to at most `most_bytes`.

    gzip stores what it cannot shrink with 5 bytes for each 64 KiB, zstd with 3 for each 128 KiB;
    the rest is for headers, which may hold a file name, and for further members or frames.
    """
    return most_bytes if encoding == "raw" else most_bytes + most_bytes // 64 + (1 << 16)


def _raw(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    if end - start > most_bytes:
        raise _too_large(most_bytes, f"{end - start}")
    return stored[start:end]


def _gzip_or_raw(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    is_gzip = stored[start : min(start + 2, end)] == _GZIP_MAGIC
    return (_gzip if is_gzip else _raw)(stored, start, end, most_bytes)


def _gzip(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    """Use libdeflate where it can be trusted to have seen all bytes, zlib for the rest."""
    if end - start >= _SMALLEST_GZIP:
        claimed = int.from_bytes(stored[end - 4 : end], "little")
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
                and not _stands_in(stored, start, end - 1, claimed)
            ):
                return result  # type: ignore[return-value]
    return _gzip_by_zlib(stored, start, end, most_bytes)


def _stands_in(stored: bytes, start: int, end: int, number: int) -> bool:
    """Whether the four bytes of a number stand in ``stored[start:end]``."""
    if not _fast_search and "numba" in sys.modules:
        # What decodes chunks has loaded numba; what reads indices alone must not.
        with compiling:
            from shardreader.decoding.byte_search import stands_in

            _fast_search.append(stands_in)
    if _fast_search:
        return _fast_search[0](stored, start, end, number)
    return stored.find(number.to_bytes(4, "little"), start, end) != -1


_fast_search: list[Callable[[bytes, int, int, int], bool]] = []


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


def _zstd(stored: bytes, start: int, end: int, most_bytes: int) -> bytes:
    """Every frame in turn; frames that hold no data are passed over."""
    parts: list[bytes] = []
    length = 0
    position = start
    while position < end or position == start:
        magic = int.from_bytes(stored[position : min(position + 4, end)], "little")
        if magic & ~0xF == _ZSTD_SKIPPABLE_MAGIC:
            skipped = int.from_bytes(stored[position + 4 : min(position + 8, end)], "little")
            frame_end = position + 8 + skipped
            if frame_end > end:
                raise _cut_frame(position, end)
        elif magic == _ZSTD_MAGIC:
            frame_end, data = _one_frame(stored, position, end, most_bytes - length)
            parts.append(data)
            length += len(data)
            if length > most_bytes:
                raise _too_large(most_bytes, "more")
        else:
            first = position == start
            raise FormatFault(
                "zstd stream" if first else "bytes after the last zstd frame",
                expected="a zstd frame (28 b5 2f fd)" if first else "none, or a further frame",
                found=f"{end - position} bytes that start with "
                f"{stored[position : min(position + 4, end)].hex(' ') or 'nothing'}",
            )
        position = frame_end
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _one_frame(stored: bytes, start: int, end: int, most_bytes: int) -> tuple[int, bytes]:
    """Where a frame ends, and its data, of which at most `most_bytes` and one byte are made."""
    import zstandard

    head = stored[start : min(start + _ZSTD_LONGEST_HEADER, end)]
    try:
        header = zstandard.get_frame_parameters(head)
        header_bytes = zstandard.frame_header_size(head)
    except zstandard.ZstdError as error:
        raise _bad_frame(error) from None
    frame_end, block_bytes = _walk_blocks(stored, start, header_bytes, end)
    if header.has_checksum:
        frame_end += _ZSTD_CHECKSUM_BYTES
    if frame_end > end:
        raise _cut_frame(start, end)
    most_window = max(most_bytes, _ZSTD_USUAL_WINDOW)
    known = header.content_size != zstandard.CONTENTSIZE_UNKNOWN
    if known and header.content_size > min(most_bytes, block_bytes):
        raise _too_large(min(most_bytes, block_bytes), f"{header.content_size} by the zstd frame")
    if header.window_size > most_window:
        raise FormatFault(
            "window of a zstd frame",
            expected=f"at most {most_window} bytes",
            found=f"{header.window_size}",
        )
    decompressor = zstandard.ZstdDecompressor(max_window_size=most_window)
    frame = memoryview(stored)[start:frame_end]
    try:
        if block_bytes == 0 or header.content_size == 0:
            # The one-shot call does not look into such frames.
            return frame_end, decompressor.decompressobj().decompress(frame)
        # One byte more than can be needed, because a full buffer counts as one that was too small.
        room = min(block_bytes, most_bytes) + 1
        return frame_end, decompressor.decompress(frame, max_output_size=room)
    except zstandard.ZstdError as error:
        if not known and block_bytes > most_bytes:
            raise _too_large(most_bytes, f"more, or a damaged frame ({error}, says zstd)") from None
        raise _bad_frame(error) from None


def _walk_blocks(stored: bytes, start: int, header_bytes: int, end: int) -> tuple[int, int]:
    """Where the last block of a frame ends, and the most that all blocks can hold.

    Only the block headers are read; this is what bounds the memory that a frame can take.
    """
    position = start + header_bytes
    most = 0
    while True:
        if position + 3 > end:
            raise _cut_frame(start, end)
        header = int.from_bytes(stored[position : position + 3], "little")
        last, kind, size = header & 1, header >> 1 & 3, header >> 3
        if kind > _ZSTD_COMPRESSED_BLOCK or size > _ZSTD_LARGEST_BLOCK:
            raise FormatFault(
                "block of a zstd frame",
                expected=f"type 0, 1 or 2, and at most {_ZSTD_LARGEST_BLOCK} bytes",
                found=f"type {kind} and {size} bytes",
            )
        most += _ZSTD_LARGEST_BLOCK if kind == _ZSTD_COMPRESSED_BLOCK else size
        position += 3 + (1 if kind == _ZSTD_RUN_BLOCK else size)
        if last:
            return position, most


def _cut_frame(start: int, end: int) -> FormatFault:
    return FormatFault("zstd stream", expected="its end", found=f"a cut after {end - start} bytes")


def _bad_frame(error: zstandard.ZstdError) -> FormatFault:
    return FormatFault("zstd stream", expected="a valid one", found=f"{error} (says zstd)")


def _too_large(most_bytes: int, found: str) -> FormatFault:
    return FormatFault(
        "length after inflate",
        expected=f"at most {most_bytes} bytes (the most that its geometry can need)",
        found=found,
    )


ENCODINGS: dict[str, Callable[[bytes, int, int, int], bytes]] = {
    "raw": _raw,
    "gzip": _gzip,
    "zstd": _zstd,
    GZIP_OR_RAW: _gzip_or_raw,
}
