"""Voxels of a compressed_segmentation encoding: a box of them, or a list of single ones.

Specification: Neuroglancer, ``src/sliceview/compressed_segmentation/README.md``.

Importing this does not import numba; the first call does, and compiles the kernels or takes them
from numba's cache.
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shardreader.decoding.cseg.faults import OK, Triple, Words, block_grid, explain
from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardreader.decoding.cseg.kernels import Kernels
    from shardreader.decoding.cseg.many import ManyKernels

__all__ = [
    "OK",
    "Words",
    "block_grid",
    "check_blocks",
    "check_chunks",
    "decode_box",
    "decode_boxes",
    "explain",
    "read_voxels",
    "read_voxels_of_chunks",
]

Labels = npt.NDArray[np.uint32] | npt.NDArray[np.uint64]

_compiled: dict[int, "Kernels"] = {}
_many: dict[int, "ManyKernels"] = {}
_check: list["Callable[..., int]"] = []
_check_many: list["Callable[..., None]"] = []


def decode_box(
    words: Words,
    num_channels: int,
    channel: int,
    cell_shape: Triple,
    block_size: Triple,
    lower: Triple,
    upper: Triple,
    out: Labels,
    out_start: int,
    out_strides: Triple,
) -> int:
    """Decode the part of a chunk that lies in a box, into memory of any strides.

    Only the blocks that the box crosses are looked at.  On a fault the voxels of the box are
    undefined.

    Parameters
    ----------
    words : (n,) array of '<u4', contiguous
        The encoding.
    num_channels, channel : int
        How many channels the encoding has, and which one is wanted.
    cell_shape : three ints
        Voxels of the chunk, clipped to the volume.
    block_size : three ints
        Voxels of a block; fewer than 2**40 bits in a block of 32 bits a voxel.
    lower, upper : three ints
        Half-open box in voxels from the chunk's corner, inside `cell_shape`.
    out : (m,) array of uint32 or uint64, contiguous
        The labels' type decides how the tables are read.
    out_start : int
        Item of `out` for the voxel at `lower`.
    out_strides : three ints
        Items of `out` from a voxel to the next along x, y and z, of any sign.  All voxels of the
        box must fall inside `out`; this is not checked.

    Returns
    -------
    int
        ``OK``, or a status for :func:`explain`.

    Examples
    --------
    >>> words = np.array([1, 1 << 24 | 3, 2, 0b0110, 7, 9], "<u4")
    >>> out = np.zeros(4, np.uint32)
    >>> decode_box(words, 1, 0, (4, 1, 1), (4, 1, 1), (0, 0, 0), (4, 1, 1), out, 0, (1, 4, 4))
    0
    >>> out
    array([7, 9, 9, 7], dtype=uint32)
    """
    kernels = _compiled.get(out.itemsize) or _load(out.itemsize)
    return kernels.decode_box(
        words,
        num_channels,
        channel,
        cell_shape,
        block_size,
        lower,
        upper,
        out,
        out_start,
        out_strides,
        False,
    )


def read_voxels(
    words: Words,
    num_channels: int,
    channel: int,
    cell_shape: Triple,
    block_size: Triple,
    packed: npt.NDArray[np.uint64],
    first: int,
    last: int,
    bits_x: int,
    bits_y: int,
    order: npt.NDArray[np.int64],
    labels: Labels,
    status: npt.NDArray[np.uint8],
    corrupt: int,
) -> int:
    """Read the labels of single voxels of a chunk; nothing else is decoded.

    A voxel whose block or code is damaged gets the label 0 and the status `corrupt`; the others
    are read all the same.

    Parameters
    ----------
    words, num_channels, channel, cell_shape, block_size
        As in :func:`decode_box`.
    packed : (n,) array of uint64
        Voxels from the chunk's corner, as ``x | y << bits_x | z << (bits_x + bits_y)``; those
        asked for must lie inside `cell_shape`, which is not checked.
    first, last : int
        The half-open range of `packed` and `order` that lies in this chunk.
    bits_x, bits_y : int
        Bits of x and y in `packed`.
    order : (n,) array of int64
        Voxel j's place in `labels` and `status`.
    labels : (m,) array of uint32 or uint64
        Gets the labels.
    status : (m,) array of uint8
        Gets `corrupt` where a voxel cannot be read, and is left alone elsewhere.
    corrupt : int
        The status of a voxel that cannot be read.

    Returns
    -------
    int
        ``OK``, or the status of the first fault, for :func:`explain`.

    Examples
    --------
    >>> words = np.array([1, 1 << 24 | 3, 2, 0b0110, 7, 9], "<u4")
    >>> packed, order = np.array([2, 3], np.uint64), np.array([1, 0])
    >>> labels, status = np.zeros(2, np.uint32), np.zeros(2, np.uint8)
    >>> read_voxels(
    ...     words, 1, 0, (4, 1, 1), (4, 1, 1), packed, 0, 2, 2, 0, order, labels, status, 5
    ... )
    0
    >>> labels
    array([7, 9], dtype=uint32)
    """
    kernels = _compiled.get(labels.itemsize) or _load(labels.itemsize)
    return kernels.read_voxels(
        words,
        num_channels,
        channel,
        cell_shape,
        block_size,
        packed,
        first,
        last,
        bits_x,
        bits_y,
        order,
        labels,
        status,
        corrupt,
    )


def decode_boxes(
    words: Words,
    first_words: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    cell_shapes: npt.NDArray[np.int64],
    block_size: Triple,
    lowers: npt.NDArray[np.int64],
    uppers: npt.NDArray[np.int64],
    out: Labels,
    out_firsts: npt.NDArray[np.int64],
    out_strides: Triple,
    *,
    stream: bool = False,
) -> npt.NDArray[np.bool_]:
    """Decode a box of each of several chunks of one channel, as :func:`decode_box` does of one.

    Parameters
    ----------
    words : (n,) array of '<u4', contiguous
        Memory with all encodings.
    first_words, lengths : (k,) arrays of int64
        Where in `words` each encoding begins, and its words.
    rows : (k,) array of int64
        Which row of the tables belongs to each.
    cell_shapes, lowers, uppers : (m, 3) arrays of int64, contiguous
        Tables of what :func:`decode_box` takes of a chunk.
    out_firsts : (m,) array of int64
        Table of the item of `out` for the voxel at `lower`.
    block_size, out, out_strides
        As in :func:`decode_box`.
    stream : bool
        Whether rows that fill lines of memory (64 bytes) are written past the processor's
        caches: faster where `out` is larger than these, slower else.

    Returns
    -------
    (k,) array of bool
        False where something is wrong, which :func:`decode_box` tells.
    """
    done = np.zeros(len(rows), dtype=np.bool_)
    kernels = _many.get(out.itemsize) or _load_many(out.itemsize)
    kernels.decode_boxes(
        words,
        first_words,
        lengths,
        rows,
        cell_shapes,
        block_size,
        lowers,
        uppers,
        out,
        out_firsts,
        out_strides,
        stream,
        done,
    )
    return done


def read_voxels_of_chunks(
    words: Words,
    first_words: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    cell_shapes: npt.NDArray[np.int64],
    block_size: Triple,
    packed: npt.NDArray[np.uint64],
    firsts: npt.NDArray[np.int64],
    bits_x: int,
    bits_y: int,
    order: npt.NDArray[np.int64],
    labels: Labels,
    status: npt.NDArray[np.uint8],
    corrupt: int,
) -> npt.NDArray[np.bool_]:
    """Read single voxels of several chunks of one channel, as :func:`read_voxels` does of one.

    Parameters
    ----------
    words, first_words, lengths, rows, cell_shapes, block_size
        As in :func:`decode_boxes`.
    firsts : (m + 1,) array of int64
        Row r's voxels are those from ``firsts[r]`` to ``firsts[r + 1]`` of `packed` and `order`.
    packed, bits_x, bits_y, order, labels, status, corrupt
        As in :func:`read_voxels`.

    Returns
    -------
    (k,) array of bool
        False where something is wrong, which :func:`read_voxels` tells.
    """
    done = np.zeros(len(rows), dtype=np.bool_)
    kernels = _many.get(labels.itemsize) or _load_many(labels.itemsize)
    kernels.read_voxels_of_chunks(
        words,
        first_words,
        lengths,
        rows,
        cell_shapes,
        block_size,
        packed,
        firsts,
        bits_x,
        bits_y,
        order,
        labels,
        status,
        corrupt,
        done,
    )
    return done


def check_blocks(
    words: Words,
    num_channels: int,
    channel: int,
    cell_shape: Triple,
    block_size: Triple,
    label_words: int,
) -> int:
    """Check every block of a channel against the encoding; nothing is decoded.

    Parameters
    ----------
    words, num_channels, channel, cell_shape, block_size
        As in :func:`decode_box`.
    label_words : int
        32-bit words in a label: 1 or 2.

    Returns
    -------
    int
        ``OK``, exactly where :func:`decode_box` decodes the whole chunk, or a status for
        :func:`explain`: that of the first faulty block.

    Examples
    --------
    >>> words = np.array([1, 1 << 24 | 3, 2, 0b0110, 7], "<u4")
    >>> check_blocks(words, 1, 0, (4, 1, 1), (4, 1, 1), 1)
    7
    """
    kernel = _check[0] if _check else _load_check()
    return kernel(words, num_channels, channel, cell_shape, block_size, label_words)


def check_chunks(
    words: Words,
    first_words: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
    cell_shapes: npt.NDArray[np.int64],
    block_size: Triple,
    label_words: int,
) -> npt.NDArray[np.bool_]:
    """Check several chunks of one channel, as :func:`check_blocks` does one.

    Parameters
    ----------
    words, first_words, lengths, rows, cell_shapes, block_size
        As in :func:`decode_boxes`.
    label_words
        As in :func:`check_blocks`.

    Returns
    -------
    (k,) array of bool
        False where something is wrong, which :func:`check_blocks` tells.
    """
    done = np.zeros(len(rows), dtype=np.bool_)
    kernel = _check_many[0] if _check_many else _load_check_many()
    kernel(
        words,
        first_words,
        lengths,
        rows,
        cell_shapes,
        block_size,
        label_words,
        done,
    )
    return done


def _load_check_many() -> "Callable[..., None]":
    with compiling:
        if not _check_many:
            from shardreader.decoding.cseg.many import compile_check_chunks

            _check_many.append(compile_check_chunks())
        return _check_many[0]


def _load_check() -> "Callable[..., int]":
    with compiling:
        if not _check:
            from shardreader.decoding.cseg.check_kernel import compile_check

            _check.append(compile_check())
        return _check[0]


def _load_many(label_bytes: int) -> "ManyKernels":
    with compiling:
        if label_bytes not in _many:
            from shardreader.decoding.cseg.many import compile_many

            _many[label_bytes] = compile_many(label_bytes)
        return _many[label_bytes]


def _load(label_bytes: int) -> "Kernels":
    # Sixteen threads may make the first call at once; without the lock each would compile.
    with compiling:
        if label_bytes not in _compiled:
            from shardreader.decoding.cseg.kernels import compile_kernels

            _compiled[label_bytes] = compile_kernels(label_bytes)
        return _compiled[label_bytes]
