"""Pixels with a scale bar and a legend, and PNG files.

Needs Pillow, of the extra ``[png]``, imported on use.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["Swatch", "add_legend", "length_text", "png_bytes", "scale_bar_nm", "write_text"]

_FONT_SIZE = 15
_LINE = 24
_MARGIN = 10
_BAR_HEIGHT = 5
# A scale bar is at most this part of the width.
_BAR_PART = 4
_INK = (255, 255, 255)
# Not black, so that background ends where the picture does.
_PAPER = (38, 40, 46)
_NM_PER_UM = 1000

Swatch = tuple[NDArray[np.uint8], str]
"""A small piece of a picture, and what it means."""


def scale_bar_nm(width_nm: float) -> float:
    """A round length, 1, 2 or 5 times a power of ten, for a picture of this width.

    Examples
    --------
    >>> scale_bar_nm(32768), scale_bar_nm(900)
    (5000.0, 200.0)
    """
    most = width_nm / _BAR_PART
    power = 10.0 ** math.floor(math.log10(most))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= most)


def length_text(nm: float) -> str:
    """A length with its unit.

    Examples
    --------
    >>> length_text(500), length_text(20000)
    ('500 nm', '20 um')
    """
    return f"{nm:.3g} nm" if nm < _NM_PER_UM else f"{nm / _NM_PER_UM:.3g} um"


def add_legend(
    pixels: NDArray[np.uint8], caption: str, *, pixel_nm: float | None, swatches: Sequence[Swatch]
) -> NDArray[np.uint8]:
    """A picture with lines of text below it; no pixel of it is covered.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
    caption : str
    pixel_nm : float or None
        Side of a pixel; None gives no scale bar.
    swatches : sequence of (ndarray, str)
        Each explained in a line of its own.

    Returns
    -------
    ndarray of uint8, shape (more height, at least width, 3)
    """
    height, width = pixels.shape[:2]
    bar = 0.0 if pixel_nm is None else scale_bar_nm(width * pixel_nm)
    bar_text = length_text(bar) if bar else ""
    bar_pixels = 0 if pixel_nm is None else round(bar / pixel_nm)
    lines = [bar_text, caption, *(text for _, text in swatches)]
    widest = max([bar_pixels, *(_text_width(line) for line in lines)])
    canvas = np.zeros(
        (
            height + _LINE * (len(lines) - (not bar)) + 2 * _MARGIN,
            max(width, widest + 4 * _LINE),
            3,
        ),
        dtype=np.uint8,
    )
    canvas[:] = _PAPER
    canvas[:height, :width] = pixels
    top = height + _MARGIN
    if bar:
        middle = top + _LINE // 2
        canvas[middle : middle + _BAR_HEIGHT, _MARGIN : _MARGIN + bar_pixels] = _INK
        canvas = write_text(canvas, bar_text, _MARGIN * 2 + bar_pixels, top)
        top += _LINE
    canvas = write_text(canvas, caption, _MARGIN, top)
    for piece, text in swatches:
        top += _LINE
        part = piece[: _LINE - 8, : _LINE - 4]
        canvas[top + 4 : top + 4 + part.shape[0], _MARGIN : _MARGIN + part.shape[1]] = part
        canvas = write_text(canvas, text, _MARGIN + _LINE + 4, top)
    return canvas


def write_text(pixels: NDArray[np.uint8], text: str, left: int, top: int) -> NDArray[np.uint8]:
    """A copy of a picture with a line of text in it."""
    image = _image(pixels)
    from PIL import ImageDraw

    ImageDraw.Draw(image).text((left, top), text, fill=_INK, font=_font())
    return np.array(image)


def png_bytes(pixels: NDArray[np.uint8]) -> bytes:
    """A PNG file.

    Raises
    ------
    ImportError
        Pillow is not installed; the message names the extra.
    """
    file = io.BytesIO()
    _image(pixels).save(file, format="PNG")
    return file.getvalue()


def _image(pixels: NDArray[np.uint8]) -> Image:
    image: Image = _pillow().fromarray(np.ascontiguousarray(pixels))
    return image


def _pillow() -> Any:
    try:
        from PIL import Image
    except ImportError:
        raise ImportError(
            "the library pillow is not installed; run: pip install 'shardreader[png]'",
            name="PIL",
        ) from None
    return Image


def _font() -> Any:
    _pillow()
    from PIL import ImageFont

    return ImageFont.load_default(_FONT_SIZE)


def _text_width(text: str) -> int:
    width: float = _font().getlength(text)
    return math.ceil(width)
