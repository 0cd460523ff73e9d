"""Which chunks were read lately: those alone are worth memory in the cache."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["MIX", "SLOT_SHIFT", "KeptChunk", "Places", "SeenLately", "keep", "words_of_all"]

_FEW = 8  # for so few, numpy takes longer than Python
_SLOTS = 1 << 16
MIX = np.uint64(0x9E3779B97F4A7C15)
SLOT_SHIFT = np.uint64(64 - 16)
_WORD = (1 << 64) - 1
_keys: NDArray[np.uint64] = np.zeros(_SLOTS, dtype=np.uint64)
_when: NDArray[np.int64] = np.zeros(_SLOTS, dtype=np.int64)
_names = itertools.count(1)


class Places(NamedTuple):
    """Where the chunks of a short read are, each int64 of shape (n,).

    The number of the file and the bytes there; for a chunk that the cache has, where it lies in
    memory, in words, else a length of 0.
    """

    files: NDArray[np.int64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]
    first_words: NDArray[np.int64]
    lengths: NDArray[np.int64]


class SeenLately:
    """Remembers ranges of files for as long as a cache of their data would keep them.

    Most chunks are read once, and memory for those would cost more than decoding them. A chunk
    that comes again, before as many bytes as the cache holds have come in between, is worth it.

    A hint, of fixed size: now and then a range is forgotten or taken for another, which costs
    time and nothing else. Threads may use it at once for the same reason.

    Parameters
    ----------
    most_bytes : int
        Bytes of the cache.

    Examples
    --------
    >>> seen = SeenLately(1000)
    >>> files, starts, sizes = np.array([0, 0]), np.array([0, 70]), np.array([70, 30])
    >>> seen.again(["file"], files, starts, sizes).tolist()
    [False, False]
    >>> seen.again(["file"], files, starts, sizes).tolist()
    [True, True]
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._passed = 0
        # All in the process share the tables, which saves memory and the time to get it; what
        # one saw is no news to another, so each has its own name for a range.
        self._name = next(_names)

    def again(
        self,
        identities: Sequence[Hashable],
        file_numbers: NDArray[np.int64],
        starts: NDArray[np.int64],
        sizes: NDArray[np.int64],
    ) -> NDArray[np.bool_]:
        """Which of some ranges have come before lately; they all come now.

        Parameters
        ----------
        identities : sequence of hashables
            One for each file.
        file_numbers : ndarray of int64, shape (n,)
            Which of them each range lies in.
        starts, sizes : ndarray of int64, shape (n,)
            In bytes; sizes as they count in the cache.
        """
        result: NDArray[np.bool_]
        if len(starts) <= _FEW:
            rows = zip(file_numbers.tolist(), starts.tolist(), sizes.tolist(), strict=True)
            seen = [self.again_one(identities[file], start, size) for file, start, size in rows]
            return np.array(seen, dtype=np.bool_)
        tokens = np.array([hash((self._name, one)) & _WORD for one in identities], np.uint64)
        keys = (tokens[file_numbers] + starts.astype(np.uint64)) * MIX
        slots = (keys >> SLOT_SHIFT).astype(np.intp)
        passed = self._passed + np.cumsum(sizes)
        result = (_keys[slots] == keys) & (passed - _when[slots] <= self._most_bytes)
        _keys[slots], _when[slots] = keys, passed
        if len(passed):
            self._passed = int(passed[-1])
        return result

    def look(
        self,
        kernel: Callable[..., tuple[int, int]],
        identities: Sequence[Hashable],
        places: Places,
        ratio: int,
        *,
        come_now: bool,
    ) -> int:
        """As `again` in one compiled call; how many have come before.

        Parameters
        ----------
        kernel : callable
            `few_chunks_kernels.look`.
        places : Places
            Sizes count `ratio` times. Without `come_now`, lengths become -1 for those that have
            come before, else 0.
        come_now : bool
            Whether they come now; else it is only asked.
        """
        tokens = np.array([hash((self._name, one)) & _WORD for one in identities], np.uint64)
        before, self._passed = kernel(
            _keys,
            _when,
            tokens,
            places.files,
            places.starts,
            places.ends,
            places.lengths,
            ratio,
            self._passed,
            self._most_bytes,
            come_now,
        )
        return before

    def again_one(self, identity: Hashable, start: int, size: int) -> bool:
        """As `again`, of a single range."""
        key = ((hash((self._name, identity)) & _WORD) + start) * int(MIX) & _WORD
        slot = key >> int(SLOT_SHIFT)
        self._passed += size
        is_again = int(_keys[slot]) == key and self._passed - int(_when[slot]) <= self._most_bytes
        _keys[slot], _when[slot] = key, self._passed
        return is_again


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
