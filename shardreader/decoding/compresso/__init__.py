"""Labels of a compresso stream: a whole chunk, or some of its slices.

The format: README and header comments of seung-lab/compresso. Versions 0 and 1 are read. A stream
of version 1 has a z index: of it, only the wanted slices are decoded. One of version 0 is decoded
whole, because where a slice's labels start is only known from the slices before it.

Importing this does not import numba; the first call does, and compiles the kernels or takes them
from numba's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.compresso.faults import ESCAPE, explain
from shardreader.decoding.compresso.stream import Stream, most_encoded_bytes, parse_stream
from shardreader.errors import FormatFault
from shardreader.format.grid import Triple
from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    from shardreader.decoding.compresso.kernels import Kernels, LabelKernels

__all__ = ["decode_box", "decode_slices", "labels_of_slices", "most_encoded_bytes"]

_kernels: list[Kernels] = []
_label_kernels: dict[int, LabelKernels] = {}


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

    Parameters
    ----------
    encoded : bytes
        The stream.
    cell_shape : (int, int, int)
        Voxels of the chunk, clipped to the volume, none of them 0.
    lower, upper : (int, int, int)
        Half-open box in voxels from the chunk's corner, inside `cell_shape`, not empty.
    out : ndarray, shape (m,), contiguous
        Of the type of the labels: an unsigned integer.
    out_start : int
        Item of `out` for the voxel at `lower`.
    out_strides : (int, int, int)
        Items of `out` from a voxel to the next along x, y and z, of any sign. All voxels of the
        box must fall inside `out`; this is not checked.

    Raises
    ------
    FormatFault
        The stream breaks the format. The voxels of the box are then undefined.
    """
    stream = parse_stream(encoded, cell_shape, out.dtype)
    voxels = _decode_range(stream, lower[2], upper[2])
    shape = [b - a for a, b in zip(lower, upper, strict=True)]
    strides = [step * out.itemsize for step in out_strides]
    box = np.lib.stride_tricks.as_strided(out[out_start:], shape, strides)
    box[...] = voxels[lower[0] : upper[0], lower[1] : upper[1]]


def decode_slices(
    encoded: bytes, cell_shape: Triple, slices: NDArray[np.int64], dtype: np.dtype[Any]
) -> tuple[NDArray[Any], dict[int, FormatFault]]:
    """Decode slices of a chunk along z.

    Parameters
    ----------
    encoded, cell_shape
        As in :func:`decode_box`.
    slices : ndarray of int64, shape (n,)
        In voxels from the chunk's first, one at least, ascending, each once, inside the chunk.
    dtype : dtype
        Type of the labels: an unsigned integer.

    Returns
    -------
    voxels : ndarray of dtype, shape (x, y, n)
    faults : dict of int to FormatFault
        Of the slices that are damaged, by their position in `slices`; their voxels are undefined.

    Raises
    ------
    FormatFault
        No slice can be read.
    """
    stream = parse_stream(encoded, cell_shape, dtype)
    if stream.component_starts is None:
        return _decode_range(stream, 0, cell_shape[2])[..., slices], {}
    parts: list[NDArray[Any]] = []
    faults: dict[int, FormatFault] = {}
    breaks = np.flatnonzero(np.diff(slices) != 1) + 1
    for together in np.split(slices, breaks):
        try:
            parts.append(_decode_range(stream, int(together[0]), int(together[-1]) + 1))
        except FormatFault:
            first = sum(part.shape[2] for part in parts)
            for row, z in enumerate(together.tolist(), first):
                try:
                    parts.append(_decode_range(stream, z, z + 1))
                except FormatFault as fault:
                    parts.append(np.zeros((*cell_shape[:2], 1), dtype))
                    faults[row] = fault
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2), faults


def labels_of_slices(
    encoded: bytes, cell_shape: Triple, slices: tuple[int, int], dtype: np.dtype[Any]
) -> NDArray[Any] | None:
    """The distinct labels of some slices of a chunk: its ids, and the labels among its locations.

    The slices are decoded to know that each id has its component and each location its voxel,
    because the stream has no checksum; their voxels are not looked at.

    Parameters
    ----------
    encoded, cell_shape, dtype
        As in :func:`decode_slices`.
    slices : (int, int)
        The slices ``[first, end)``, at least one.

    Returns
    -------
    ndarray of dtype, shape (n,), or None
        Each label once. None where a stream without a z index is asked for some of its slices.

    Raises
    ------
    FormatFault
    """
    stream = parse_stream(encoded, cell_shape, dtype)
    if stream.component_starts is None and slices != (0, cell_shape[2]):
        return None
    _decode_range(stream, *slices)
    ids, locations = _tables_of(stream, *slices)
    return np.unique(np.concatenate([ids, _literals(locations)]))


def _literals(locations: NDArray[Any]) -> NDArray[Any]:
    """The labels among sound locations: those above the codes, and those behind an escape."""
    places = np.arange(len(locations))
    escapes = locations == ESCAPE
    # What stands behind an escape is a label, even another 6: of several, every other one escapes.
    before = np.maximum.accumulate(np.where(escapes, -1, places))
    escapes &= (places - before) % 2 == 1
    behind = np.zeros(len(locations), np.bool_)
    behind[1:] = escapes[:-1]
    above = (locations > ESCAPE) & ~behind
    return np.concatenate([locations[behind], locations[above] - (ESCAPE + 1)])


def _tables_of(stream: Stream, lower: int, upper: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """The ids and the locations of some slices; all of them where there is no z index."""
    ids, locations = stream.component_starts, stream.location_starts
    if ids is None or locations is None:
        return stream.ids, stream.locations
    return (
        stream.ids[ids[lower] : ids[upper]],
        stream.locations[locations[lower] : locations[upper]],
    )


def _decode_range(stream: Stream, lower: int, upper: int) -> NDArray[Any]:
    """The slices ``[lower, upper)``, of shape (x, y, upper - lower), in Fortran order."""
    if stream.component_starts is None or stream.location_starts is None:
        depth = stream.shape[2]
        ends = np.full(depth, len(stream.locations), np.int64)
        voxels = _decode(stream, 0, depth, stream.ids, stream.locations, ends)
        return voxels[:, :, lower:upper]
    ids, locations = _tables_of(stream, lower, upper)
    ends = stream.location_starts[lower + 1 : upper + 1] - stream.location_starts[lower]
    return _decode(stream, lower, upper, ids, locations, ends)


def _decode(
    stream: Stream,
    lower: int,
    upper: int,
    ids: NDArray[Any],
    locations: NDArray[Any],
    location_ends: NDArray[np.int64],
) -> NDArray[Any]:
    kernels, label_kernels = _load(ids.dtype)
    width, height, _ = stream.shape
    slices = upper - lower
    in_volume = stream.connectivity == 6
    boundaries = np.zeros((slices, height, -(-width // 64)), np.uint64)
    _check(
        kernels.unpack_windows(
            stream.windows, stream.values, stream.block_grid, stream.steps, width, lower, boundaries
        ),
        stream,
        lower,
    )
    num_runs = kernels.count_runs(boundaries, width)
    starts, ends, components = np.empty((3, num_runs), np.int32)
    first_runs = np.empty(slices * height + 1, np.int64)
    per_slice = np.empty(slices, np.int64)
    kernels.find_components(
        boundaries, width, in_volume, first_runs, starts, ends, components, per_slice
    )
    _check_components(stream, lower, upper, per_slice)
    out = np.empty(width * height * slices, ids.dtype)
    label_kernels.fill_components(first_runs, starts, ends, components, ids, width, out)
    vertical = stream.component_starts is None
    _check(
        label_kernels.fill_boundaries(
            boundaries, width, locations, location_ends, vertical, in_volume, out
        ),
        stream,
        lower,
    )
    return out.reshape((width, height, slices), order="F")


def _check(status: int, stream: Stream, first_slice: int) -> None:
    if status:
        raise explain(status, stream.shape, first_slice)


def _check_components(stream: Stream, lower: int, upper: int, per_slice: NDArray[np.int64]) -> None:
    """Hold the number of components to that of the ids; the kernels rely on it."""
    if stream.component_starts is None:
        found = int(per_slice.sum())
        if found != len(stream.ids):
            raise FormatFault(
                "number of ids of the compresso stream",
                expected=f"{found}, one for each component of its boundaries",
                found=f"{len(stream.ids)}",
            )
        return
    said = np.diff(stream.component_starts[lower : upper + 1])
    wrong = np.flatnonzero(said != per_slice)
    if len(wrong):
        first = int(wrong[0])
        raise FormatFault(
            f"z index of the compresso stream: ids of slice {lower + first}",
            expected=f"{per_slice[first]}, one for each component of its boundaries",
            found=f"{said[first]}",
        )


def _load(dtype: np.dtype[Any]) -> tuple[Kernels, LabelKernels]:
    size = dtype.itemsize
    if not _kernels or size not in _label_kernels:
        with compiling:
            from shardreader.decoding.compresso.kernels import (
                compile_kernels,
                compile_label_kernels,
            )

            if not _kernels:
                _kernels.append(compile_kernels())
            if size not in _label_kernels:
                _label_kernels[size] = compile_label_kernels(dtype)
    return _kernels[0], _label_kernels[size]
