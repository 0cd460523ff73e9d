"""The kernels of crackle, each compiled with its first call. Importing this loads no numba."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["crc32c", "parse_pins", "slice_decoder"]

_crc32c: list[Callable[..., int]] = []
_parse_pins: list[Callable[..., int]] = []
_slice_decoders: dict[int, Callable[..., None]] = {}


def crc32c(encoded: bytes, start: int, end: int) -> int:
    """The CRC-32C of bytes ``[start, end)``, which must lie inside; this is not checked.

    Examples
    --------
    >>> hex(crc32c(b"x123456789", 1, 10))
    '0xe3069283'
    """
    if not _crc32c:
        with compiling:
            if not _crc32c:
                from shardreader.decoding.crackle.crc32c_kernels import compile_crc32c

                _crc32c.append(compile_crc32c())
    return _crc32c[0](np.frombuffer(encoded, np.uint8), start, end)


def parse_pins(*arguments: Any) -> int:
    """See `pin_kernel.parse_pins`."""
    if not _parse_pins:
        with compiling:
            if not _parse_pins:
                from shardreader.decoding.crackle.pin_kernel import compile_parse_pins

                _parse_pins.append(compile_parse_pins())
    return _parse_pins[0](*arguments)


def slice_decoder(label_bytes: int) -> Callable[..., None]:
    """`kernels.decode_slices` for labels of one size."""
    if label_bytes not in _slice_decoders:
        with compiling:
            if label_bytes not in _slice_decoders:
                from shardreader.decoding.crackle.kernels import compile_decode_slices

                _slice_decoders[label_bytes] = compile_decode_slices(label_bytes)
    return _slice_decoders[label_bytes]
