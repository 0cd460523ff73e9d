"""The voxels of one box, gathered from its chunks. Used by `volume`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.chunk_visit import refuse_chunks, visit_chunks
from shardreader.chunks.located import Found
from shardreader.chunks.stored_reader import ConsumeMany
from shardreader.decoding.chunk_decoder import (
    BoxDecoder,
    ChunkParts,
    DecodesMany,
    EncodedChunks,
)
from shardreader.decoding.flat_output import MOST_CACHED_BYTES, FlatOutput
from shardreader.errors import ChunkError
from shardreader.format.grid import Box, ChunkGrid, Triple, triples
from shardreader.reading.large_arrays import new_array
from shardreader.runtime.workers import Workers

__all__ = ["BoxRead", "cells_of", "check_output", "no_overlap", "read_box"]


# Background in one of so many chunks is written; more of it is left to the system's zeroed memory.
_FEW_OF = 8


class BoxRead:
    """Writes the chunks of `box` into an array as they come.

    Parameters
    ----------
    box : Box
        Inside the volume, not empty.
    channels : int
    out : ndarray or None
        The caller's array of shape (x, y, z), with more than one channel (x, y, z, c); None makes
        one in Fortran order.

    Attributes
    ----------
    cells : ndarray of int64, shape (n, 3)
        The chunks that the box touches, x fastest.
    in_order : bool
        Whether they had better come in this order.
    """

    def __init__(
        self,
        grid: ChunkGrid,
        decoder: BoxDecoder,
        box: Box,
        dtype: np.dtype[Any],
        channels: int,
        out: NDArray[Any] | None,
        background: Callable[[], int] = int,
    ) -> None:
        self._background = background
        self._decoder = decoder
        self._shape = box.shape if channels == 1 else (*box.shape, channels)
        self._dtype = dtype
        self._out = out
        self._target: FlatOutput | None = None
        # By and by, so that threads get fresh memory for different parts of the array.
        self.in_order = prod(self._shape) * dtype.itemsize > MOST_CACHED_BYTES
        self._array = out
        touched = grid.cells_touching(box)
        # Cell, extent, part and place of each chunk, along one axis after the other.
        axes = [
            [
                (cell, *_part_of_cell(cell * edge + offset, edge, offset + size, lower, upper))
                for cell in range(first, end)
            ]
            for first, end, edge, offset, size, lower, upper in zip(
                touched.lower,
                touched.upper,
                grid.chunk_size,
                grid.voxel_offset,
                grid.size,
                box.lower,
                box.upper,
                strict=True,
            )
        ]
        self.cells, *parts = _product(axes, 5)
        self._parts = ChunkParts(*parts)

    def prepare(self, background: NDArray[np.intp]) -> None:
        """Have memory ready, with background in the chunks whose rows in `cells` are given."""
        value = self._background() if len(background) else 0
        is_zero = False
        if self._array is None:
            # New memory is zeroed at no further cost; a few chunks are better zeroed in old one.
            is_zero = len(background) > len(self.cells) // _FEW_OF
            self._array = new_array(self._shape, self._dtype, zeroed=is_zero)
        elif self._target is None and not FlatOutput.fits(self._array):
            self._array = np.zeros(self._shape, self._dtype, order="F")
        if self._target is None:
            self._target = FlatOutput(self._array)
            if is_zero and value == 0:
                return
        for row in background.tolist():
            _, lower, upper, first = self._part(row)
            part = zip(first, lower, upper, strict=True)
            self._array[tuple(slice(at, at + b - a) for at, a, b in part)] = value

    def consume(self, row: int, encoded: bytes) -> None:
        """Decode the part of one chunk that lies in the box. Raises FormatFault."""
        if self._target is None:
            raise RuntimeError("prepare() comes first")
        cell_shape, lower, upper, first = self._part(row)
        self._decoder.decode_box(encoded, cell_shape, lower, upper, self._target, first)

    @property
    def consume_many(self) -> ConsumeMany | None:
        """Decodes the parts of several chunks at once; None where that cannot be."""
        decoder = self._decoder
        if not isinstance(decoder, DecodesMany):
            return None

        def decode(*chunks: Any) -> NDArray[np.bool_]:
            if self._target is None:
                raise RuntimeError("prepare() comes first")
            return decoder.decode_boxes(EncodedChunks(*chunks), self._parts, self._target)

        return decode

    def _part(self, row: int) -> list[Triple]:
        """Clipped shape of a chunk, corners of its part of the box in it and in the array."""
        return triples(np.array([table[row] for table in self._parts]))

    def result(self) -> NDArray[Any]:
        """The array, once all chunks are consumed."""
        if self._array is None:
            raise RuntimeError("prepare() comes first")
        if self._out is not None and self._array is not self._out:
            self._out[...] = self._array
            return self._out
        return self._array


def read_box(
    source: ChunkSource, workers: Workers, target: BoxRead, *, forgive_absent: bool
) -> None:
    """Read all chunks of a box into `target`, or raise for the first that cannot be."""

    def settle(found: Found, rows: NDArray[np.intp]) -> None:
        refuse_chunks(source, found, what="chunks of the box", forgive_absent=forgive_absent)
        target.prepare(rows[found.status.nonzero()[0]])  # OK is 0

    visit_chunks(
        source,
        workers,
        len(target.cells),
        find=lambda rows: source.find(target.cells[rows], workers),
        settle=settle,
        consume=target.consume,
        fail=_raise,
        consume_many=target.consume_many,
        in_order=target.in_order,
    )


def _raise(_row: int, error: ChunkError) -> NoReturn:
    """A box is read whole or not at all."""
    raise error


def cells_of(cells: Box) -> NDArray[np.int64]:
    """The cells of a box of cells, int64 of shape (n, 3), x fastest."""
    lower, upper = cells.lower, cells.upper
    axes = [[(i,) for i in range(a, b)] for a, b in zip(lower, upper, strict=True)]
    return _product(axes, 1)[0]


def _part_of_cell(
    corner: int, edge: int, end: int, lower: int, upper: int
) -> tuple[int, int, int, int]:
    """Along one axis: the extent of a cell, the part ``[lower, upper)`` in it, and its place."""
    edge = min(edge, end - corner)
    first = max(corner, lower)
    return edge, first - corner, min(corner + edge, upper) - corner, first - lower


def _product(axes: Sequence[Sequence[tuple[int, ...]]], tables: int) -> list[NDArray[np.int64]]:
    """Tables of all combinations of x, y, z, x fastest, each int64 of shape (n, 3)."""
    x, y, z = (np.array(axis, dtype=np.int64).reshape(len(axis), tables).T for axis in axes)
    lengths = z.shape[1], y.shape[1], x.shape[1]
    table: NDArray[np.int64] = np.empty((tables, *lengths, 3), dtype=np.int64)
    table[..., 0] = x[:, None, None, :]
    table[..., 1] = y[:, None, :, None]
    table[..., 2] = z[:, :, None, None]
    return list(table.reshape(tables, prod(lengths), 3))


def check_output(out: Any, shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Refuse an ``out=`` that cannot take the box exactly.

    Raises
    ------
    TypeError
        Not an array, or one of another type: labels are never converted on the way.
    ValueError
        Another shape, read-only, or elements that share memory.
    """
    if not isinstance(out, np.ndarray):
        raise TypeError(f"out must be a numpy array, not {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"out has dtype {out.dtype}, the volume has {dtype}")
    if out.shape != shape:
        raise ValueError(f"out has shape {out.shape}, the box has {shape}")
    if not out.flags.writeable:
        raise ValueError("out is read-only")
    if not no_overlap(out):
        raise ValueError("elements of out share memory")


def no_overlap(array: NDArray[Any]) -> bool:
    """Whether the elements of an array are surely apart in memory."""
    if array.size == 0:
        return True
    steps = sorted(
        (abs(stride), length)
        for stride, length in zip(array.strides, array.shape, strict=True)
        if length > 1
    )
    reach = array.itemsize
    for stride, length in steps:
        if stride < reach:
            return False
        reach = stride * (length - 1) + reach
    return True
