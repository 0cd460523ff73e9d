"""Boxes and single slices of a crackle stream."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.crackle.compiled import slice_decoder
from shardreader.decoding.crackle.faults import COMPONENTS, OK, explain
from shardreader.decoding.crackle.labels import SliceLabels, read_labels
from shardreader.decoding.crackle.stream import FLAT, Stream, parse_stream
from shardreader.errors import FormatFault

__all__ = ["decode_box", "decode_slices", "labels_of_slices"]

Triple = tuple[int, int, int]


def decode_box(
    encoded: bytes,
    cell_shape: Triple,
    lower: Triple,
    upper: Triple,
    out: NDArray[Any],
    out_start: int,
    out_strides: Triple,
) -> None:
    """Decode the part of a chunk that lies in a box, into memory of any strides.

    Only the slices that the box crosses are drawn. On a fault the voxels of the box are undefined.

    Parameters
    ----------
    encoded : bytes
    cell_shape : (int, int, int)
        Voxels of the chunk, clipped to the volume.
    lower, upper : (int, int, int)
        Half-open box in voxels from the chunk's corner, inside `cell_shape`.
    out : (m,) array of unsigned integers, contiguous
    out_start : int
        Item of `out` for the voxel at `lower`.
    out_strides : (int, int, int)
        Items of `out` from a voxel to the next along x, y and z, of any sign. All voxels of the
        box must fall inside `out`; this is not checked.

    Raises
    ------
    FormatFault
    """
    slices = np.arange(lower[2], upper[2], dtype=np.int64)
    if min(b - a for a, b in zip(lower, upper, strict=True)) < 1:
        return
    faults = _decode(
        encoded, cell_shape, slices, (lower[:2], upper[:2]), out, out_start, out_strides
    )
    if faults:
        raise next(iter(faults.values()))


def decode_slices(
    encoded: bytes, cell_shape: Triple, slices: NDArray[np.int64], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], dict[int, FormatFault]]:
    """Decode whole slices of a chunk, those that are sound.

    Parameters
    ----------
    encoded, cell_shape
        As in :func:`decode_box`.
    slices : (n,) array of int64
        Their numbers, in ascending order, at least one.
    dtype : dtype
        Of unsigned integers.

    Returns
    -------
    array of shape (x, y, n), Fortran order
        Undefined for slices that have a fault.
    dict of int to FormatFault
        The faults by the positions of their slices in `slices`.

    Raises
    ------
    FormatFault
        No slice can be read.
    """
    x, y, _ = cell_shape
    flat = np.empty(x * y * len(slices), dtype)
    faults = _decode(encoded, cell_shape, slices, ((0, 0), (x, y)), flat, 0, (1, x, x * y))
    return flat.reshape((x, y, len(slices)), order="F"), faults


def labels_of_slices(
    encoded: bytes, cell_shape: Triple, slices: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[Any] | None:
    """The distinct labels of some slices of a chunk, from the labels section alone.

    Parameters
    ----------
    encoded, cell_shape
        As in :func:`decode_box`.
    slices : (int, int)
        The slices ``[first, end)``, at least one.
    dtype : dtype
        Of unsigned integers.

    Returns
    -------
    array of shape (n,), or None
        Each label once, in no order. None where the section has no checksum or has pins, which
        name the components that they go through only by their place.

    Raises
    ------
    FormatFault
    """
    stream = parse_stream(encoded, cell_shape, dtype)
    if stream.label_format != FLAT or not len(stream.slice_crcs):
        return None
    labels = read_labels(encoded, stream, dtype, *slices)
    used = np.zeros(len(labels.values), np.bool_)
    used[labels.keys] = True
    return labels.values[used]


def _decode(
    encoded: bytes,
    cell_shape: Triple,
    slices: NDArray[np.int64],
    part: tuple[tuple[int, ...], tuple[int, ...]],
    out: NDArray[Any],
    out_start: int,
    out_strides: Triple,
) -> dict[int, FormatFault]:
    stream = parse_stream(encoded, cell_shape, out.dtype)
    first, end = int(slices[0]), int(slices[-1]) + 1
    labels = read_labels(encoded, stream, out.dtype, first, end)
    x, y, _ = cell_shape
    code_bytes = int(np.diff(stream.code_starts[first : end + 1]).max())
    statuses = np.zeros(len(slices), np.int64)
    slice_decoder(out.itemsize)(
        np.frombuffer(encoded, np.uint8),
        (x, y, int(stream.permissible), stream.model_order, stream.model_start),
        stream.code_starts,
        slices,
        labels.components,
        labels.first_keys,
        stream.slice_crcs,
        labels.keys,
        len(labels.values) - 1,
        labels.values,
        tuple(labels.pins),
        *part,
        out,
        out_start,
        out_strides,
        np.empty(2 * y * -(-x // 64), np.uint64),
        np.empty(x * y, np.int32),
        np.empty(x * y, np.int32),
        np.empty(y + 1, np.int32),
        np.empty(x * y, np.uint32),
        np.empty(int(labels.components[first:end].max()), out.dtype),
        # Each branch takes two of the codes, and goes along a crack that is drawn once.
        np.empty(min(4 * code_bytes, 2 * x * y), np.int64),
        statuses,
    )
    return {
        int(at): _explain(int(statuses[at]), int(slices[at]), stream, labels)
        for at in np.flatnonzero(statuses != OK)
    }


def _explain(status: int, z: int, stream: Stream, labels: SliceLabels) -> FormatFault:
    by_count = status % 16 == COMPONENTS
    stored = labels.components if by_count or not len(stream.slice_crcs) else stream.slice_crcs
    return explain(status, z, int(stored[z]))
