"""A picture of which shards of a copy are here: one field for each layer in z."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.copy_map import CopyMap, ShardState
from shardreader.copies.state_colors import DAMAGED, NOT_DOWNLOADED
from shardreader.format.grid import Box
from shardreader.pictures.canvas import add_legend, write_text
from shardreader.pictures.label_colors import BACKGROUND

__all__ = ["copy_pixels", "draw_copy"]

_COLORS = {
    ShardState.HERE: (47, 160, 110),
    ShardState.PARTIAL: (150, 215, 90),
    ShardState.UNREADABLE: DAMAGED,
    ShardState.NOT_DOWNLOADED: NOT_DOWNLOADED,
    ShardState.UNKNOWN: (140, 140, 140),
    ShardState.SOURCE_HAS_NONE: (48, 52, 66),
}
_TEXTS = {
    ShardState.HERE: "here",
    ShardState.PARTIAL: "here with some of its chunks",
    ShardState.UNREADABLE: "here, and cannot be read",
    ShardState.NOT_DOWNLOADED: "not downloaded",
    ShardState.UNKNOWN: "absent; unknown whether the source has them",
    ShardState.SOURCE_HAS_NONE: "absent; the source has none either",
}
_WIDTH = 1024
_MOST_IN_A_ROW = 4
_GAP = 12
_TITLE = 22
_SIDES = (3, 24)


def draw_copy(found: CopyMap) -> NDArray[np.uint8]:
    """The shards as squares, x to the right and y down, with a legend that counts them.

    Parameters
    ----------
    found : CopyMap

    Returns
    -------
    ndarray of uint8, shape (height, width, 3)

    Raises
    ------
    ImportError
        Pillow is not installed; the message names the extra.
    """
    swatches = [
        (np.full((32, 32, 3), color, dtype=np.uint8), f"{found.count(state):,} {_TEXTS[state]}")
        for state, color in _COLORS.items()
        if found.count(state)
    ]
    caption = f"the {found.lattice.count:,} possible shards of {found.files.scale.key}"
    pixels = copy_pixels(found)
    return add_legend(pixels, caption, pixel_nm=None, swatches=swatches)


def copy_pixels(found: CopyMap) -> NDArray[np.uint8]:
    """The fields without the legend."""
    wide, high, layers = found.states.shape
    in_a_row = min(layers, _MOST_IN_A_ROW)
    least, most = _SIDES
    side = max(least, min(most, ((_WIDTH - _GAP) // in_a_row - _GAP) // wide))
    step_x, step_y = wide * side + _GAP, high * side + _GAP + _TITLE
    in_a_row = max(1, min(layers, (_WIDTH - _GAP) // step_x))
    pixels = np.zeros(
        (-(-layers // in_a_row) * step_y, in_a_row * step_x + _GAP, 3), dtype=np.uint8
    )
    pixels[:] = BACKGROUND
    palette = np.array([_COLORS[state] for state in ShardState], dtype=np.uint8)
    for layer in range(layers):
        field = palette[found.states[:, :, layer].T].repeat(side, axis=0).repeat(side, axis=1)
        # A line between the shards.
        field[side - 1 :: side] //= 2
        field[:, side - 1 :: side] //= 2
        top, left = layer // in_a_row * step_y, layer % in_a_row * step_x + _GAP
        pixels[top + _TITLE :, left:][: high * side, : wide * side] = field
        box = found.voxels(Box((0, 0, layer), (wide, high, layer + 1)))
        pixels = write_text(pixels, f"z {box.lower[2]} to {box.upper[2]}", left, top + 1)
    return pixels
