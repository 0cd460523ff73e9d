"""Undo the filters of PNG rows. Floor 1; numba is imported with this module.

Specification: PNG (ISO/IEC 15948), "Filtering".
"""

from __future__ import annotations

import numpy as np
from numba import types
from numpy.typing import NDArray

from shardreader.compiling import compile_cached

__all__ = ["undo_filters"]

_NONE, _LEFT, _ABOVE, _MEAN, _PAETH = range(5)


def _undo_filters(rows: NDArray[np.uint8], step: int) -> int:
    height, end = rows.shape
    for y in range(height):
        kind = rows[y, 0]
        if kind > _PAETH:
            return y
        if kind == _NONE:
            continue
        for i in range(1, end):
            left = np.int64(rows[y, i - step]) if i > step else 0
            above = np.int64(rows[y - 1, i]) if y > 0 else 0
            if kind == _LEFT:
                guess = left
            elif kind == _ABOVE:
                guess = above
            elif kind == _MEAN:
                guess = (left + above) >> 1
            else:
                corner = np.int64(rows[y - 1, i - step]) if y > 0 and i > step else 0
                slope = left + above - corner
                to_left, to_above = abs(slope - left), abs(slope - above)
                to_corner = abs(slope - corner)
                if to_left <= to_above and to_left <= to_corner:
                    guess = left
                elif to_above <= to_corner:
                    guess = above
                else:
                    guess = corner
            rows[y, i] = (rows[y, i] + guess) & 255
    return -1


_compiled = compile_cached(
    _undo_filters, types.int64(types.Array(types.uint8, 2, "C"), types.int64)
)


def undo_filters(rows: NDArray[np.uint8], step: int) -> int:
    """Turn filtered bytes into those of the image, in place.

    Parameters
    ----------
    rows : ndarray of uint8, shape (height, 1 + bytes of a row), C order
        The first byte of each row is its filter.
    step : int
        Bytes of a pixel.

    Returns
    -------
    int
        The row whose filter does not exist; -1 if all do.
    """
    return int(_compiled(rows, step))
