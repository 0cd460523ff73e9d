"""Components of voxels by runs along x, in rows of bits. Imports numba.

A row is words of 64 voxels, the first of them in the lowest bit. Runs are numbered in the order of
their first voxels, x fastest, and so are components. While they are joined, `parents` has for each
run an earlier one of its component, or the run itself.
"""

# The types of a kernel are those of the signatures that it is compiled with.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from shardreader.runtime.compiling import inlined

__all__ = ["bits_inside", "lowest_bit", "number_components", "unite"]

_1 = np.uint64(1)


def _lowest_bit(_context: Any, word: Any) -> tuple[Any, Any]:
    """The number of the lowest bit that is set in a uint64 other than 0."""

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.uint64(word), generate


lowest_bit: Any = intrinsic(_lowest_bit)


@inlined
def bits_inside(word, width):
    """The bits of a word of a row that stand for voxels."""
    left = width - 64 * word
    return ~np.uint64(0) if left >= 64 else (_1 << np.uint64(left)) - _1


@inlined
def _root(parents, run):
    at = np.int64(run)
    while parents[np.uint64(at)] != at:
        parents[np.uint64(at)] = parents[np.uint64(parents[np.uint64(at)])]
        at = np.int64(parents[np.uint64(at)])
    return at


@inlined
def unite(parents, one, other):
    """Make one component of those of two runs."""
    a, b = _root(parents, one), _root(parents, other)
    if a < b:
        parents[np.uint64(b)] = a
    else:
        parents[np.uint64(a)] = b


@inlined
def number_components(parents, first, last, number):
    """Replace what the runs ``[first, last)`` are joined to by the number of their component.

    Those before have theirs already, the next one free is `number`; returns the next one free.
    """
    for run in range(first, last):
        parent = np.int64(parents[np.uint64(run)])
        if parent == run:
            parents[np.uint64(run)] = number
            number += 1
        else:
            # It comes before this one and has its number already.
            parents[np.uint64(run)] = parents[np.uint64(parent)]
    return number
