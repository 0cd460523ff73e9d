"""Sort points by chunk in linear time. Floor 1; numba is imported with this module."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.compiling import compile_cached

__all__ = ["sort_by_key"]

_DIGIT_BITS = 11
_DIGITS = 1 << _DIGIT_BITS


def _radix_pass(
    keys: NDArray[np.int64],
    order: NDArray[np.int64],
    sorted_keys: NDArray[np.int64],
    sorted_order: NDArray[np.int64],
    shift: int,
    positions: NDArray[np.int64],
) -> None:
    """One stable pass over the digit of `keys` at bit `shift`; `positions` is scratch."""
    for digit in range(_DIGITS):
        positions[digit] = 0
    for i in range(keys.size):
        positions[(keys[i] >> shift) & (_DIGITS - 1)] += 1
    before = 0
    for digit in range(_DIGITS):
        count = positions[digit]
        positions[digit] = before
        before += count
    for i in range(keys.size):
        digit = (keys[i] >> shift) & (_DIGITS - 1)
        target = positions[digit]
        positions[digit] = target + 1
        sorted_keys[target] = keys[i]
        sorted_order[target] = order[i]


_integers = types.Array(types.int64, 1, "C")
_sort_once = compile_cached(
    _radix_pass,
    types.void(_integers, _integers, _integers, _integers, types.int64, _integers),
)


def sort_by_key(
    keys: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Group equal keys: a stable radix sort.

    Parameters
    ----------
    keys : ndarray of int64, shape (n,), not negative
        Changed: it serves as scratch memory.

    Returns
    -------
    order : ndarray of int64, shape (n,)
        Indices into `keys` as it was, sorted by key, ties in input order.
    distinct : ndarray of int64, shape (g,)
        The keys that occur, ascending.
    firsts : ndarray of int64, shape (g + 1,)
        The group of ``distinct[i]`` is ``order[firsts[i]:firsts[i + 1]]``.

    Examples
    --------
    >>> order, distinct, firsts = sort_by_key(np.array([7, 3, 7, 0]))
    >>> order.tolist(), distinct.tolist(), firsts.tolist()
    ([3, 1, 0, 2], [0, 3, 7], [0, 1, 2, 4])
    """
    order: NDArray[np.int64] = np.arange(len(keys), dtype=np.int64)
    if len(keys) == 0:
        return order, keys, np.zeros(1, dtype=np.int64)
    lowest = keys.min()
    keys -= lowest
    other_keys, other_order = np.empty_like(keys), np.empty_like(order)
    positions: NDArray[np.int64] = np.empty(_DIGITS, dtype=np.int64)
    for shift in range(0, int(keys.max()).bit_length(), _DIGIT_BITS):
        _sort_once(keys, order, other_keys, other_order, shift, positions)
        keys, other_keys = other_keys, keys
        order, other_order = other_order, order
    changes: NDArray[Any] = np.flatnonzero(keys[1:] != keys[:-1]) + 1
    firsts = np.concatenate(([0], changes, [len(keys)])).astype(np.int64)
    return order, keys[firsts[:-1]] + lowest, firsts
