"""A slice of a volume as a picture. Used by `volume`."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.state_colors import DAMAGED
from shardreader.errors import PointStatus
from shardreader.pictures.canvas import Swatch, add_legend, length_text, png_bytes
from shardreader.pictures.label_colors import OTHERS, hatched, label_colors
from shardreader.pictures.slice_plan import SlicePlan
from shardreader.runtime.output_file import replacing

__all__ = ["Picture", "take_picture"]

Lookup = Callable[[NDArray[np.int64]], tuple[NDArray[Any], NDArray[np.uint8]]]


@dataclass(frozen=True, eq=False)
class Picture:
    """A slice, coloured by label; made by `Volume.picture`. A notebook shows it.

    Parameters
    ----------
    labels : ndarray, shape (rows, columns), dtype of the volume
        The label that each pixel shows.
    status : ndarray of uint8, shape (rows, columns)
        The `PointStatus` of each pixel.
    plan : SlicePlan
        Which voxel it is.
    segments : ndarray or None
        Those in colour; None is all.
    """

    labels: NDArray[Any]
    status: NDArray[np.uint8]
    plan: SlicePlan
    segments: NDArray[Any] | None = None

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The colours, uint8 of shape (rows, columns, 3), without the legend."""
        distinct, which = np.unique(self.labels, return_inverse=True)
        colors = label_colors(distinct)
        if self.segments is not None:
            colors[~np.isin(distinct, self.segments) & (distinct != 0)] = OTHERS
        pixels: NDArray[np.uint8] = colors[which.reshape(self.labels.shape)]
        missing = self.status == PointStatus.NOT_DOWNLOADED
        pixels[missing] = hatched(*self.status.shape)[missing]
        pixels[self.status == PointStatus.CORRUPT] = DAMAGED
        return pixels

    def count(self, status: PointStatus) -> int:
        """How many pixels have a status."""
        return int(np.count_nonzero(self.status == status))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it as PNG, with a scale bar and a legend below the pixels.

        Raises
        ------
        ImportError
            Pillow is not installed; the message names the extra.
        OSError
            The file cannot be written.
        """
        data = self._repr_png_()
        with replacing(path) as file:
            file.write(data)

    def _repr_png_(self) -> bytes:
        return png_bytes(
            add_legend(
                self.pixels,
                self._caption(),
                pixel_nm=self.plan.pixel_nm,
                swatches=self._swatches(),
            )
        )

    def _caption(self) -> str:
        plan = self.plan
        axes = zip("xyz", plan.box.lower, plan.box.upper, strict=True)
        ends = {axis: f"{axis} {lower} to {upper}" for axis, lower, upper in axes}
        return (
            f"{plan.axis} = {plan.position}, {ends[plan.across]}, {ends[plan.down]} (voxels); "
            f"a pixel is {length_text(plan.pixel_nm)}"
        )

    def _swatches(self) -> list[Swatch]:
        swatches = []
        stripes = hatched(32, 32)
        for status, piece, text in (
            (PointStatus.NOT_DOWNLOADED, stripes, "not downloaded"),
            (PointStatus.CORRUPT, np.full_like(stripes, DAMAGED), "damaged"),
        ):
            count = self.count(status)
            if count:
                swatches.append((piece, f"{text}, {count / self.status.size:.1%}"))
        return swatches


def take_picture(
    lookup: Lookup,
    plan: SlicePlan,
    *,
    chunk_extent: int,
    first_chunk: int,
    segments: NDArray[Any] | None,
    progress: Callable[[float], None] | None,
) -> Picture:
    """Look up the voxel of every pixel, each voxel once.

    Parameters
    ----------
    lookup : callable
        Voxels, int64 of shape (..., 3), to labels and status.
    plan : SlicePlan
    chunk_extent, first_chunk : int
        As for `SlicePlan.bands`.
    segments : ndarray or None
        As for `Picture`.
    progress : callable or None
        Gets the part that is done, from 0 to 1.
    """
    columns, column_of = np.unique(plan.columns, return_inverse=True)
    rows, row_of = np.unique(plan.rows, return_inverse=True)
    parts = []
    for band in plan.bands(chunk_extent, first_chunk):
        parts.append(lookup(plan.voxels(columns, rows[band])))
        if progress is not None:
            progress(band.stop / len(rows))
    labels, status = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    pixels = np.ix_(row_of, column_of)
    return Picture(labels[pixels], status[pixels], plan, segments)
