"""The hash ``murmurhash3_x86_128`` of chunk ids, many at a time.

Specification: sharded.md, "hash": MurmurHash3 by A. Appleby, in its variant for 32-bit machines
with a result of 128 bits, seed 0.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["murmurhash3_x86_128_low"]

_Words: TypeAlias = NDArray[np.uint32]
# Hashing takes some ten arrays of four bytes a key: in pieces they stay in the processor's cache.
_PIECE = 1 << 14
_KEY_BYTES = np.uint32(8)


def murmurhash3_x86_128_low(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The low 8 bytes of the hash of each key, as little-endian integers.

    Parameters
    ----------
    keys : ndarray of uint64, any shape
        Hashed as 8 bytes each, little-endian.

    Returns
    -------
    ndarray of uint64, of the shape of `keys`

    Examples
    --------
    >>> murmurhash3_x86_128_low(np.array([0, 1], np.uint64)).tolist()
    [5148371408780832321, 16770674756601302682]
    """
    flat = np.ascontiguousarray(keys, dtype="<u8").ravel()
    hashes = np.empty(len(flat), dtype=np.uint64)
    for start in range(0, len(flat), _PIECE):
        piece = slice(start, start + _PIECE)
        hashes[piece] = _hash(flat[piece])
    return hashes.reshape(np.shape(keys))


def _hash(keys: NDArray[np.uint64]) -> NDArray[np.uint64]:
    # A key is shorter than the 16 bytes that the hash takes at a time, so that all of it is a
    # tail: its first word goes to lane 1, its second to lane 2, and lanes 3 and 4 only hold the
    # length. They stay equal, and so one array stands for both.
    words = keys.view("<u4").reshape(-1, 2)
    lane1 = _rotated(words[:, 0] * np.uint32(0x239B961B), 15) * np.uint32(0xAB0E9789)
    lane2 = _rotated(words[:, 1] * np.uint32(0xAB0E9789), 16) * np.uint32(0x38B34AE5)
    lane1 ^= _KEY_BYTES
    lane2 ^= _KEY_BYTES
    lane1 += lane2 + np.uint32(2 * _KEY_BYTES)
    lane2 += lane1
    rest = _mixed(lane1 + _KEY_BYTES)
    lane1, lane2 = _mixed(lane1), _mixed(lane2)
    lane1 += lane2 + rest + rest
    lane2 += lane1
    hashes: NDArray[np.uint64] = lane1.astype(np.uint64)
    hashes |= lane2.astype(np.uint64) << np.uint64(32)
    return hashes


def _rotated(words: _Words, bits: int) -> _Words:
    rotated: _Words = (words << np.uint32(bits)) | (words >> np.uint32(32 - bits))
    return rotated


def _mixed(words: _Words) -> _Words:
    """The finalizer of MurmurHash3: every bit of a word comes to bear on all others."""
    words = (words ^ (words >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    words = (words ^ (words >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    words ^= words >> np.uint32(16)
    return words
