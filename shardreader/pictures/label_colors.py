"""A colour for each label, the same in every picture."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.state_colors import NOT_DOWNLOADED, Color

__all__ = ["BACKGROUND", "OTHERS", "STRIPES", "hatched", "label_colors"]

BACKGROUND: Color = (0, 0, 0)
STRIPES: tuple[Color, Color] = (NOT_DOWNLOADED, (56, 46, 34))
"""The stripes of what is not downloaded, and what is between them."""
OTHERS: Color = (64, 64, 64)
"""Segments beside those that the user chose."""

_STRIPE_PIXELS = 12
_STRIPE_WIDTH = 3
# Red alone means damage: hues leave out a twelfth on both sides of it.
_HUES = (1 / 12, 11 / 12)


def label_colors(labels: NDArray[Any]) -> NDArray[np.uint8]:
    """The colour of each label; black for 0.

    Parameters
    ----------
    labels : ndarray of an unsigned integer type, any shape

    Returns
    -------
    ndarray of uint8, shape of `labels` and 3 for red, green, blue

    Examples
    --------
    >>> label_colors(np.array([0, 2142873971], np.uint64))[0].tolist()
    [0, 0, 0]
    """
    bits = _mixed(labels.astype(np.uint64))
    hue, saturation, value = (
        (bits >> np.uint64(shift) & np.uint64(0xFFFF)) / 0xFFFF for shift in (0, 16, 32)
    )
    low, high = _HUES
    colors = _rgb(low + hue * (high - low), 0.55 + 0.45 * saturation, 0.7 + 0.3 * value)
    colors[labels == 0] = BACKGROUND
    return colors


def hatched(height: int, width: int) -> NDArray[np.uint8]:
    """Stripes as large as a picture, shape (height, width, 3)."""
    diagonal = np.add.outer(np.arange(height), np.arange(width)) % _STRIPE_PIXELS
    stripe, between = STRIPES
    colors = np.array([between, stripe], dtype=np.uint8)
    return colors[(diagonal < _STRIPE_WIDTH).astype(np.intp)]


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Spread neighbouring labels over all 64 bits: rounds of shifting and odd multipliers."""
    for shift, factor in ((31, 0x7FB5D329728EA185), (27, 0x81DADEF4BC2DD44D)):
        bits = (bits ^ (bits >> np.uint64(shift))) * np.uint64(factor)
    mixed: NDArray[np.uint64] = bits ^ (bits >> np.uint64(33))
    return mixed


def _rgb(
    hue: NDArray[np.float64], saturation: NDArray[np.float64], value: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Colours from hue (0 to 1 around the circle), saturation and value."""
    # Each channel falls from its own hue to both sides; a third of the circle away it is gone.
    distances = np.abs(hue[..., np.newaxis] * 6 - np.array([3, 2, 4]))
    strength = np.stack(
        [distances[..., 0] - 1, 2 - distances[..., 1], 2 - distances[..., 2]], axis=-1
    ).clip(0, 1)
    channels: NDArray[np.float64] = value[..., np.newaxis] * (
        1 - saturation[..., np.newaxis] * (1 - strength)
    )
    colors: NDArray[np.uint8] = np.rint(channels * 255).astype(np.uint8)
    return colors
