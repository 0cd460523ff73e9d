"""Which chunks were read lately: those alone are worth memory in the cache. Floor 1."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["SeenLately"]

_SLOTS = 1 << 16
_MIX = np.uint64(0x9E3779B97F4A7C15)
_SLOT_SHIFT = np.uint64(64 - 16)
_WORD = (1 << 64) - 1


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
        self._keys: NDArray[np.uint64] | None = None
        self._when: NDArray[np.int64] | None = None

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
        if self._keys is None or self._when is None:
            self._keys = np.zeros(_SLOTS, dtype=np.uint64)
            self._when = np.zeros(_SLOTS, dtype=np.int64)
        tokens = np.array([hash(one) & _WORD for one in identities], dtype=np.uint64)
        keys = (tokens[file_numbers] + starts.astype(np.uint64)) * _MIX
        slots = (keys >> _SLOT_SHIFT).astype(np.intp)
        passed = self._passed + np.cumsum(sizes)
        result: NDArray[np.bool_] = (self._keys[slots] == keys) & (
            passed - self._when[slots] <= self._most_bytes
        )
        self._keys[slots], self._when[slots] = keys, passed
        if len(passed):
            self._passed = int(passed[-1])
        return result
