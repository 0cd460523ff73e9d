"""The sections of a compresso stream, each count and length checked. Loads no numba.

The format: README of seung-lab/compresso, "Compresso Stream Format" and "Random Access to
Z-Slices". All integers are little-endian. The sections follow each other without a gap:

========= ==========================================================================
header    36 bytes
ids       the label of each component of voxels that are no boundary
values    the windows (bit fields of boundary voxels) that occur
locations codes and labels of the boundary voxels that no neighbour gives a label
windows   run-length codes of indices into `values`, to the end or to the z index
z index   version 1: two unsigned integers a slice, for its components and locations
========= ==========================================================================
"""

from __future__ import annotations

import struct
from math import prod
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault
from shardreader.format.grid import Triple

__all__ = ["HEADER_BYTES", "Stream", "most_encoded_bytes", "parse_stream"]

Integers: TypeAlias = NDArray[np.int64]

HEADER_BYTES = 36
_HEADER = struct.Struct("<4sBB3H3BQIQB")
_MAGIC = b"cpso"
_MOST_WINDOW_VOXELS = 64
_MOST_WINDOW_BYTES = _MOST_WINDOW_VOXELS // 8
# A literal label takes two locations.
_LOCATIONS_PER_VOXEL = 2


class Stream(NamedTuple):
    """The sections of a stream.

    Parameters
    ----------
    shape, steps : (int, int, int)
        Voxels of the chunk and of a window, x y z.
    block_grid : (int, int, int)
        Windows along x, y, z.
    connectivity : int
        4 or 6.
    ids, locations : ndarray of the labels' type
    values, windows : ndarray of uint64
    component_starts, location_starts : ndarray of int64, shape (z + 1,), or None
        Where the ids and locations of each slice begin; None in a stream without a z index.
    """

    shape: Triple
    steps: Triple
    block_grid: Triple
    connectivity: int
    ids: NDArray[Any]
    values: NDArray[np.uint64]
    locations: NDArray[Any]
    windows: NDArray[np.uint64]
    component_starts: Integers | None
    location_starts: Integers | None


def most_encoded_bytes(shape: tuple[int, int, int, int], dtype: np.dtype[Any]) -> int:
    """The most bytes of a stream whose sections are no longer than its voxels need.

    Parameters
    ----------
    shape : (int, int, int, int)
        Voxels of the chunk along x, y, z, and channels.
    dtype : dtype
        Type of the labels.

    Examples
    --------
    >>> most_encoded_bytes((64, 64, 64, 1), np.dtype("u8"))
    10486820
    """
    voxels = prod(shape[:3])
    labels = (1 + _LOCATIONS_PER_VOXEL) * voxels * dtype.itemsize
    return HEADER_BYTES + labels + 2 * _MOST_WINDOW_BYTES * voxels + 2 * 8 * shape[2]


def parse_stream(encoded: bytes, cell_shape: Triple, dtype: np.dtype[Any]) -> Stream:
    """Find and check the sections of a stream.

    Parameters
    ----------
    encoded : bytes
    cell_shape : (int, int, int)
        Voxels of the chunk, clipped to the volume.
    dtype : dtype
        Type of the labels: an unsigned integer of 1, 2, 4 or 8 bytes.

    Raises
    ------
    FormatFault
        The header is not that of such a chunk, or a section does not fit.
    """
    if len(encoded) < HEADER_BYTES:
        _fail("compresso stream", f"a header of {HEADER_BYTES} bytes", f"{len(encoded)} bytes")
    magic, version, width, *rest = _HEADER.unpack_from(encoded)
    shape, steps = (rest[0], rest[1], rest[2]), (rest[3], rest[4], rest[5])
    num_ids, num_values, num_locations, connectivity = rest[6:]
    _check_kind(magic, version, connectivity)
    if width != dtype.itemsize:
        _fail("data width of the compresso stream", f"{dtype.itemsize} bytes", f"{width}")
    if shape != tuple(cell_shape):
        _fail("shape of the compresso stream", "{} x {} x {}".format(*cell_shape), f"{shape}")
    if not 0 < prod(steps) <= _MOST_WINDOW_VOXELS:
        expected = f"from 1 to {_MOST_WINDOW_VOXELS} voxels"
        _fail("window of the compresso stream", expected, "{} x {} x {}".format(*steps))
    window_bytes = _window_bytes(steps)
    grid = (-(-shape[0] // steps[0]), -(-shape[1] // steps[1]), -(-shape[2] // steps[2]))
    voxels, blocks = prod(shape), prod(grid)
    # One bit of a window's code tells a run of windows from an index.
    most_values = min(blocks, 1 << (8 * window_bytes - 1))
    _check_count("ids", num_ids, voxels)
    _check_count("window values", num_values, most_values)
    _check_count("locations", num_locations, _LOCATIONS_PER_VOXEL * voxels)
    index_bytes = 2 * shape[2] * _index_bytes(shape) if version else 0
    ids_end = HEADER_BYTES + num_ids * width
    values_end = ids_end + num_values * window_bytes
    locations_end = values_end + num_locations * width
    windows_end = len(encoded) - index_bytes
    if locations_end > windows_end:
        expected = f"at least {locations_end + index_bytes} bytes for the sections of its header"
        _fail("compresso stream", expected, f"{len(encoded)} bytes")
    num_windows, over = divmod(windows_end - locations_end, window_bytes)
    if over:
        expected = f"a multiple of {window_bytes} bytes"
        _fail("windows of the compresso stream", expected, f"{windows_end - locations_end} bytes")
    _check_count("windows", num_windows, blocks)
    window_type = np.dtype(f"<u{window_bytes}")
    components = locations = None
    if version:
        components, locations = _z_index(encoded, windows_end, shape, num_ids, num_locations)
    return Stream(
        shape,
        steps,
        grid,
        connectivity,
        _integers(encoded, dtype, HEADER_BYTES, num_ids),
        _integers(encoded, window_type, ids_end, num_values).astype(np.uint64),
        _integers(encoded, dtype, values_end, num_locations),
        _windows(_integers(encoded, window_type, locations_end, num_windows)),
        components,
        locations,
    )


def _fail(what: str, expected: str, found: str) -> None:
    raise FormatFault(what, expected=expected, found=found)


def _check_kind(magic: bytes, version: int, connectivity: int) -> None:
    if magic != _MAGIC:
        _fail("first bytes of the compresso stream", repr(_MAGIC), repr(magic))
    if version > 1:
        _fail("version of the compresso stream", "0 or 1", f"{version}")
    if connectivity not in (4, 6):
        _fail("connectivity of the compresso stream", "4 or 6", f"{connectivity}")
    if version == 1 and connectivity == 6:
        expected = "4 in a stream of version 1, whose slices do not depend on each other"
        _fail("connectivity of the compresso stream", expected, "6")


def _check_count(what: str, found: int, most: int) -> None:
    if found > most:
        _fail(f"number of {what} of the compresso stream", f"at most {most}", f"{found}")


def _window_bytes(steps: Triple) -> int:
    """Bytes of the smallest integer with a bit for each voxel of a window."""
    voxels = prod(steps)
    return next(size for size in (1, 2, 4, 8) if voxels <= 8 * size)


def _index_bytes(shape: Triple) -> int:
    """Bytes of the smallest integer that holds twice the voxels of a slice."""
    most = _LOCATIONS_PER_VOXEL * shape[0] * shape[1]
    return next(size for size in (1, 2, 4, 8) if most < 1 << (8 * size))


def _integers(encoded: bytes, dtype: np.dtype[Any], start: int, count: int) -> NDArray[Any]:
    """A section, which may lie at any address, as an aligned array of the machine's byte order."""
    section = np.frombuffer(encoded, dtype.newbyteorder("<"), count, start)
    return np.array(section, dtype.newbyteorder("="))


def _windows(codes: NDArray[Any]) -> NDArray[np.uint64]:
    """The run-length codes without those that stand for no window.

    Encoders write windows of number 0 as runs only. Those before compresso 2.3.2 did write a 0
    behind a run of the greatest length, for a window that they had counted in the run.
    """
    spare = np.zeros(len(codes), np.bool_)
    spare[1:] = (codes[1:] == 0) & (codes[:-1] == np.iinfo(codes.dtype).max)
    return codes[~spare].astype(np.uint64)


def _z_index(
    encoded: bytes, start: int, shape: Triple, num_ids: int, num_locations: int
) -> tuple[Integers, Integers]:
    """Where each slice's ids and locations start.

    The first half has the number of components of each slice; the second has, for each slice,
    how far its locations start behind those of the slice before.
    """
    slices = shape[2]
    entries = _integers(encoded, np.dtype(f"<u{_index_bytes(shape)}"), start, 2 * slices)
    most = _LOCATIONS_PER_VOXEL * shape[0] * shape[1]
    if int(entries.max(initial=0)) > most:
        _fail("z index of the compresso stream", f"at most {most}", f"{int(entries.max())}")
    components = np.zeros(slices + 1, np.int64)
    np.cumsum(entries[:slices], out=components[1:])
    if components[-1] != num_ids:
        expected = f"{num_ids} components in all"
        _fail("z index of the compresso stream", expected, f"{components[-1]}")
    locations = np.zeros(slices + 1, np.int64)
    np.cumsum(entries[slices:], out=locations[:-1])
    locations[-1] = num_locations
    if locations[0] != 0 or (slices and locations[-2] > num_locations):
        expected = f"locations that start at 0 and end at {num_locations}"
        found = f"a first start of {locations[0]}, a last one of {locations[-2]}"
        _fail("z index of the compresso stream", expected, found)
    return components, locations
