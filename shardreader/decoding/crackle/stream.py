"""The parts of a crackle stream: where they lie, and whether their checksums hold.

Specification: crackle's README, "Stream Format", of format versions 0 and 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.crackle.compiled import crc32c
from shardreader.errors import FormatFault

__all__ = ["FIXED_PINS", "FLAT", "PINS", "Stream", "bytes_for", "number_at", "parse_stream"]

FLAT, FIXED_PINS, PINS = 0, 1, 2
_MAGIC = b"crkl"
_HEADER_BYTES = (24, 29)  # of versions 0 and 1
_CRC8_POLYNOMIAL = 0xE7
_CRC_BYTES = 4


def bytes_for(largest: int) -> int:
    """The bytes of the smallest unsigned type that holds a number.

    Examples
    --------
    >>> bytes_for(255), bytes_for(256), bytes_for(1 << 32)
    (1, 2, 8)
    """
    return next(width for width in (1, 2, 4, 8) if largest < 1 << (8 * width))


def number_at(encoded: bytes, at: int, width: int) -> int:
    """An unsigned number of `width` bytes, lowest first."""
    return int.from_bytes(encoded[at : at + width], "little")


@dataclass(frozen=True)
class Stream:
    """What the header and the crack index say, all of it checked against the bytes that there are.

    Attributes
    ----------
    shape : (int, int, int)
        Voxels along x, y, z.
    stored_bytes : int
        Bytes of a label in the table.
    label_format : int
        FLAT, FIXED_PINS or PINS.
    permissible : bool
        Whether cracks are drawn where voxels connect, not where they do not.
    model_order : int
        Moves that the Markov model looks back on; 0 without a model.
    labels : (int, int)
        Bytes of the labels section.
    model_start : int
        First byte of the Markov model.
    code_starts : ndarray of int64, shape (z + 1,)
        First bytes of the slices' crack codes, and their end.
    slice_crcs : ndarray of uint32, shape (z,), or (0,) in version 0
    """

    shape: tuple[int, int, int]
    stored_bytes: int
    label_format: int
    permissible: bool
    model_order: int
    labels: tuple[int, int]
    model_start: int
    code_starts: NDArray[np.int64]
    slice_crcs: NDArray[np.uint32]


def parse_stream(encoded: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]) -> Stream:
    """Read the header and the index of a stream that must have this shape and fit this type.

    Raises
    ------
    FormatFault
    """
    if len(encoded) < min(_HEADER_BYTES) or encoded[:4] != _MAGIC:
        found = bytes(encoded[:4]).hex(" ") or "nothing"
        raise FormatFault(
            "crackle stream",
            expected=f"a header of {min(_HEADER_BYTES)} bytes or more that begins with "
            f"{_MAGIC.hex(' ')}",
            found=f"{found} in {len(encoded)} bytes",
        )
    version = encoded[4]
    if version >= len(_HEADER_BYTES):
        raise FormatFault("format version of crackle", expected="0 or 1", found=f"{version}")
    header_bytes = _HEADER_BYTES[version]
    if len(encoded) < header_bytes:
        raise FormatFault(
            "header of crackle", expected=f"{header_bytes} bytes", found=f"{len(encoded)}"
        )
    if version and (crc := _crc8(encoded[5 : header_bytes - 1])) != encoded[header_bytes - 1]:
        _refuse_crc("CRC-8 of the header", encoded[header_bytes - 1], crc, digits=2)
    form = number_at(encoded, 5, 2)
    _check_form(form, encoded, shape, dtype)
    label_bytes = number_at(encoded, 20, 8 if version else 4)
    order = form >> 9 & 15
    model_bytes = ((1 << 2 * order) * 5 + 7) // 8 if order else 0
    z = shape[2]
    labels_start = header_bytes + 4 * z + _CRC_BYTES * version
    model_start = labels_start + label_bytes
    codes_start = model_start + model_bytes
    end = len(encoded) - version * _CRC_BYTES * (z + 1)
    if codes_start > end:
        raise FormatFault(
            "length of the encoding",
            expected=f"{codes_start + len(encoded) - end} bytes or more, as its header says",
            found=f"{len(encoded)}",
        )
    lengths = np.frombuffer(encoded, "<u4", z, header_bytes)
    if version:
        _check_crc32c("crack index", encoded, (header_bytes, labels_start - 4), labels_start - 4)
        _check_crc32c("labels section", encoded, (labels_start, model_start), end)
    code_starts = np.full(z + 1, codes_start, np.int64)
    code_starts[1:] += np.cumsum(lengths, dtype=np.int64)
    if code_starts[-1] != end:
        raise FormatFault(
            "crack index",
            expected=f"{end - codes_start} bytes of crack codes, as there are",
            found=f"{code_starts[-1] - codes_start}",
        )
    return Stream(
        shape=shape,
        stored_bytes=1 << (form >> 2 & 3),
        label_format=form >> 5 & 3,
        permissible=bool(form >> 4 & 1),
        model_order=order,
        labels=(labels_start, model_start),
        model_start=model_start,
        code_starts=code_starts,
        slice_crcs=np.frombuffer(encoded, "<u4", z * version, end + _CRC_BYTES * version),
    )


def _check_form(
    form: int, encoded: bytes, shape: tuple[int, int, int], dtype: np.dtype[Any]
) -> None:
    found = number_at(encoded, 7, 4), number_at(encoded, 11, 4), number_at(encoded, 15, 4)
    if found != shape:
        raise FormatFault(
            "size of the crackle stream",
            expected=" x ".join(map(str, shape)),
            found=" x ".join(map(str, found)),
        )
    label_bytes, stored_bytes = 1 << (form & 3), 1 << (form >> 2 & 3)
    if form >> 8 & 1 or stored_bytes > label_bytes or label_bytes > dtype.itemsize:
        signed = "signed" if form >> 8 & 1 else "unsigned"
        raise FormatFault(
            "labels of the crackle stream",
            expected=f"unsigned ones of at most {dtype.itemsize} bytes, stored in no more",
            found=f"{signed} ones of {label_bytes} bytes, stored in {stored_bytes}",
        )
    if form >> 5 & 3 > PINS:
        raise FormatFault("label format of crackle", expected="0, 1 or 2", found="3")
    if encoded[19] < 64 and 1 << encoded[19] < max(shape[:2]):
        raise FormatFault(
            "grid of the crackle stream",
            expected=f"one cell for each slice of {shape[0]} x {shape[1]} voxels",
            found=f"cells of {1 << encoded[19]} voxels",
        )


def _make_crc8_table() -> bytes:
    table = bytearray(256)
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (_CRC8_POLYNOMIAL if crc & 1 else 0)
        table[byte] = crc
    return bytes(table)


_CRC8_TABLE = _make_crc8_table()


def _crc8(data: bytes) -> int:
    crc = 0xFF
    for byte in data:
        crc = _CRC8_TABLE[crc ^ byte]
    return crc


def _check_crc32c(what: str, encoded: bytes, part: tuple[int, int], stored_at: int) -> None:
    crc, stored = crc32c(encoded, *part), number_at(encoded, stored_at, _CRC_BYTES)
    if crc != stored:
        _refuse_crc(f"CRC-32C of the {what}, bytes [{part[0]}, {part[1]})", stored, crc, digits=8)


def _refuse_crc(what: str, stored: int, found: int, *, digits: int) -> None:
    raise FormatFault(
        what,
        expected=f"{stored:#0{digits + 2}x} as stored",
        found=f"{found:#0{digits + 2}x}",
    )


def most_encoded_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> int:
    """No stream of this shape is longer.

    A voxel has at most two cracks to draw, a branch and its end for each of them (4 codes of at
    most 3 bits more for each), and may be a component with a label, a key and a pin of its own.
    """
    x, y, z = shape[:3]
    vertices = (x + 1) * (y + 1) * z
    per_vertex = 4 + 8 + 8 + dtype.itemsize + 8 + 8 + 8
    return per_vertex * vertices + 16 * prod((y + 1, z)) + (1 << 20)
