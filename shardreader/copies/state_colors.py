"""The colours that say the same in pictures, in reports and in the viewer."""

from __future__ import annotations

__all__ = ["DAMAGED", "NOT_DOWNLOADED", "Color", "css"]

Color = tuple[int, int, int]

DAMAGED: Color = (215, 38, 61)
NOT_DOWNLOADED: Color = (242, 165, 65)


def css(color: Color) -> str:
    """A colour as web pages write it.

    Examples
    --------
    >>> css(DAMAGED)
    '#d7263d'
    """
    return "#" + bytes(color).hex()
