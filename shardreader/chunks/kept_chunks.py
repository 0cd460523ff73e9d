"""Encoded chunks in the cache, as compiled code takes many of them at once."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["KeptChunk", "keep", "words_of_all"]


class KeptChunk(NamedTuple):
    """The encoding of a chunk, and where in memory it lies; 0 where it is not whole words."""

    encoded: bytes
    address: int


class _Span:
    """Memory from the first to the last of some chunks, for numpy; only their words are read."""

    def __init__(self, first: int, words: int) -> None:
        self.__array_interface__: dict[str, Any] = {
            "version": 3,
            "data": (first, True),
            "shape": (words,),
            "typestr": "<u4",
        }


def keep(encoded: bytes) -> KeptChunk:
    """A chunk as the cache keeps it; its memory must neither move nor change."""
    if len(encoded) % 4 or not len(encoded) or sys.byteorder != "little":
        return KeptChunk(encoded, 0)
    address = np.frombuffer(encoded, dtype=np.uint8).__array_interface__["data"][0]
    return KeptChunk(encoded, 0 if address % 4 else address)


def words_of_all(
    chunks: Sequence[KeptChunk],
) -> tuple[NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """One array that holds all of some chunks, without a copy.

    Parameters
    ----------
    chunks : sequence of KeptChunk
        At least one, each with an address; they must be held as long as the array is used.

    Returns
    -------
    words : ndarray of uint32
        With whatever lies between the chunks, which nobody may look at.
    first_words, lengths : ndarray of int64, shape (n,)
        Where in it each chunk is.

    Examples
    --------
    >>> chunks = [keep(np.array(values, "<u4").tobytes()) for values in ([1, 2], [3, 4, 5])]
    >>> words, first_words, lengths = words_of_all(chunks)
    >>> [words[a : a + n].tolist() for a, n in zip(first_words, lengths)]
    [[1, 2], [3, 4, 5]]
    """
    addresses: NDArray[np.int64] = np.array([chunk.address for chunk in chunks], dtype=np.int64)
    lengths: NDArray[np.int64] = np.array([len(chunk.encoded) // 4 for chunk in chunks], np.int64)
    first = int(addresses.min())
    first_words = (addresses - first) >> 2
    words = np.asarray(_Span(first, int((first_words + lengths).max())))
    return words, first_words, lengths
