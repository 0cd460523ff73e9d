"""Distinct labels with their voxel counts and bounding boxes, taken from encoded chunks.

Importing this does not import numba; the first tally does, and compiles its kernels or takes them
from numba's cache.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shardreader.decoding.cseg.faults import OK, Triple, Words
from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    from collections.abc import Callable

    from shardreader.decoding.cseg.tally_kernels import TallyKernels

__all__ = ["ChunkBoxes", "LabelTally", "one_chunk"]

_FEWEST = 64
_FURTHER_WORDS = 1 << 14
_NOWHERE = np.repeat(np.array([np.iinfo(np.int64).max, np.iinfo(np.int64).min]), 3)
_compiled: list[TallyKernels] = []
_translate: dict[int, Callable[..., int]] = {}


class ChunkBoxes(NamedTuple):
    """Encodings in one array, and the part of each that is meant.

    Attributes
    ----------
    words : ndarray of '<u4', contiguous
    first_words, lengths : ndarray of int64, shape (k,)
        Where each encoding begins, and its length, in words.
    rows : ndarray of int64, shape (k,)
        Its row in the tables that follow.
    cell_shapes, lowers, uppers : ndarray of int64, shape (m, 3)
        Voxels of the chunk, and the half-open box in voxels from its corner.
    """

    words: Words
    first_words: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int64]
    rows: npt.NDArray[np.int64]
    cell_shapes: npt.NDArray[np.int64]
    lowers: npt.NDArray[np.int64]
    uppers: npt.NDArray[np.int64]


def one_chunk(words: Words, cell_shape: Triple, lower: Triple, upper: Triple) -> ChunkBoxes:
    """The part of a single chunk."""
    zero, length = np.zeros(1, np.int64), np.array([len(words)], np.int64)
    return ChunkBoxes(words, zero, length, zero, _row(cell_shape), _row(lower), _row(upper))


def _row(triple: Triple) -> npt.NDArray[np.int64]:
    return np.array([triple], np.int64)


class LabelTally:
    """Labels, how many voxels each has, and the tight box of each; its memory follows the labels.

    Parameters
    ----------
    boxes : bool
        Whether bounding boxes are kept, which takes longer than counting alone.
    only : ndarray of uint64, optional
        No other labels are tallied. They are listed even where they have no voxel.
    labels_only : bool
        Whether nobody asks for the counts and boxes, which then may be of anything.

    Examples
    --------
    >>> words = np.array([1, 1 << 24 | 3, 2, 0b0110, 7, 9], "<u4")
    >>> tally = LabelTally(boxes=True)
    >>> tally.add_chunk(words, 1, 0, (4, 1, 1), (4, 1, 1), 1, (0, 0, 0), (3, 1, 1), (10, 0, 0))
    0
    >>> labels, counts, boxes = tally.result()
    >>> labels, counts
    (array([7, 9], dtype=uint64), array([1, 2]))
    >>> boxes[1].tolist()
    [[11, 0, 0], [13, 1, 1]]
    """

    def __init__(
        self,
        *,
        boxes: bool = False,
        only: npt.NDArray[np.uint64] | None = None,
        labels_only: bool = False,
    ) -> None:
        self.labels_only = labels_only
        self._kernels = _compiled[0] if _compiled else _load()
        self._boxes = boxes
        self._only = None if only is None else np.unique(only.astype(np.uint64, casting="safe"))
        # Labels so far; blocks or rows done; whether only known labels; chunk to go on with.
        self._state = np.zeros(4, np.int64)
        self._copy: npt.NDArray[np.uint32] = np.empty(0, np.uint32)
        self._scratch: npt.NDArray[np.int64] = np.empty(16 * 7, np.int64)
        self._labels = np.empty(0, np.uint64)
        self._counts = np.empty(0, np.int64)
        self._extents = np.empty((0, 6), np.int64)
        self._make_room(max(_FEWEST, 0 if self._only is None else len(self._only)))
        self.clear()

    def __len__(self) -> int:
        """How many labels there are."""
        return int(self._state[0])

    def clear(self) -> None:
        """Forget all, but keep the memory."""
        size = len(self)
        self._counts[:size] = 0
        self._extents[:size] = _NOWHERE
        self._slots[:] = 0
        self._state[:] = 0
        if self._only is not None:
            self._labels[: len(self._only)] = self._only
            self._state[:] = len(self._only), 0, 1, 0
            self._kernels.fill_slots(len(self._only), self._labels, self._slots)

    def add_chunk(
        self,
        words: Words,
        num_channels: int,
        channel: int,
        cell_shape: Triple,
        block_size: Triple,
        label_words: int,
        lower: Triple,
        upper: Triple,
        origin: Triple,
    ) -> int:
        """Add the part of a compressed_segmentation chunk that lies in a box.

        Labels and counts follow the codes of the voxels inside the chunk and the box; no voxel is
        decoded, and blocks of one label cost next to nothing.

        Parameters
        ----------
        words, num_channels, channel, cell_shape, block_size
            As in :func:`shardreader.decoding.cseg.decode_box`.
        label_words : int
            32-bit words in a label: 1 or 2.
        lower, upper : three ints
            Half-open box in voxels from the chunk's corner, inside `cell_shape`.
        origin : three ints
            The chunk's corner in the coordinates of the bounding boxes.

        Returns
        -------
        int
            ``OK``, or a status for `explain`: it is ``OK`` exactly where
            ``decode_box`` decodes that part. On a fault the tally is undefined.
        """
        one = one_chunk(words, cell_shape, lower, upper)
        channels = num_channels, channel
        return self.add_chunks(one, *channels, block_size, label_words, _row(origin))

    def add_chunks(
        self,
        chunks: ChunkBoxes,
        num_channels: int,
        channel: int,
        block_size: Triple,
        label_words: int,
        origins: npt.NDArray[np.int64],
    ) -> int:
        """As `add_chunk`, for many chunks in one call without the interpreter lock.

        Parameters
        ----------
        chunks : ChunkBoxes
        num_channels, channel, block_size, label_words
            As in `add_chunk`.
        origins : ndarray of int64, shape (m, 3)
            The first voxel of each row's chunk.

        Returns
        -------
        int
            ``OK``, or the status of the first chunk that has a fault.
        """
        kernel = self._kernels.tally_boxes
        self._state[1], self._state[3] = 0, 0
        while True:
            status = kernel(
                chunks.words,
                chunks.first_words,
                chunks.lengths,
                chunks.rows,
                num_channels,
                channel,
                chunks.cell_shapes,
                block_size,
                label_words,
                chunks.lowers,
                chunks.uppers,
                origins,
                self._state,
                self._slots,
                self._labels,
                self._counts,
                self._extents,
                self._scratch,
            )
            if status >= OK:
                return status
            self._make_room(2 * len(self._labels))

    def add_voxels(self, voxels: npt.NDArray[np.uint64], origin: Triple) -> None:
        """Add decoded voxels.

        Parameters
        ----------
        voxels : ndarray of uint64, shape (x, y, z)
        origin : three ints
            Its corner in the coordinates of the bounding boxes.
        """
        flat = voxels.ravel(order="F")
        self._state[1] = 0
        while self._kernels.tally_voxels(
            flat,
            voxels.shape,
            origin,
            self._state,
            self._slots,
            self._labels,
            self._counts,
            self._extents,
        ):
            self._make_room(2 * len(self._labels))

    def add(self, other: LabelTally) -> None:
        """Add all that another tally holds; both keep boxes, or neither."""
        if other._boxes != self._boxes:
            raise ValueError("one of the tallies keeps boxes, the other does not")
        self._make_room(len(self) + len(other))
        self._kernels.merge_tally(
            len(other),
            other._labels,
            other._counts,
            other._extents,
            self._state,
            self._slots,
            self._labels,
            self._counts,
            self._extents,
        )

    def add_label(self, label: int, voxels: int, lower: Triple, upper: Triple) -> None:
        """Add voxels of one label and their box."""
        one = LabelTally(boxes=self._boxes)
        one._labels[0] = label
        one._counts[0] = voxels
        one._state[0] = 1
        if self._boxes:
            one._extents[0] = (*lower, *upper)
        self.add(one)

    def seen(self) -> npt.NDArray[np.uint64]:
        """The labels in the order in which they were met; valid until more are added."""
        return self._labels[: len(self)]

    def decode_as(
        self,
        values: npt.NDArray[Any],
        chunks: ChunkBoxes,
        num_channels: int,
        channel: int,
        block_size: Triple,
        label_words: int,
        out: npt.NDArray[Any],
        out_firsts: npt.NDArray[np.int64],
        out_strides: Triple,
        *,
        stream: bool,
    ) -> int:
        """Decode parts of chunks that this tally has counted, to other values than their labels.

        Parameters
        ----------
        values : ndarray of uint8, uint32 or uint64, contiguous
            What each of the labels of `seen` becomes.
        chunks, num_channels, channel, block_size, label_words
            As in the call of `add_chunks` that counted them.
        out : ndarray, 1-D, of the type of `values`
        out_firsts : ndarray of int64, shape (m,)
            Item of `out` for the first voxel of each row's part.
        out_strides : three ints
            As in :func:`shardreader.decoding.cseg.decode_box`.
        stream : bool
            As in :func:`shardreader.decoding.cseg.decode_boxes`.

        Returns
        -------
        int
            As `add_chunks`.
        """
        kernel = _translate.get(out.itemsize) or _load_translate(out.itemsize)
        arguments = (
            chunks.words,
            chunks.first_words,
            chunks.lengths,
            chunks.rows,
            num_channels,
            channel,
            chunks.cell_shapes,
            block_size,
            label_words,
            chunks.lowers,
            chunks.uppers,
            self._slots,
            self._labels,
            values,
            out,
            out_firsts,
            out_strides,
            np.empty(16, out.dtype),
        )
        # A table's entries have 4 or 8 bytes: values of 1 byte are looked up block by block.
        if out.itemsize == 1:
            return kernel(*arguments)
        return kernel(*arguments, stream, self._copy_for(chunks))

    def result(
        self,
    ) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """All labels that have a voxel, ascending.

        Returns
        -------
        labels : ndarray of uint64, shape (n,)
        counts : ndarray of int64, shape (n,)
            Voxels, at least 1 each.
        boxes : ndarray of int64, shape (n, 2, 3), or (0, 2, 3) where boxes are not kept
            Lower and upper (past the last voxel) corner of each.
        """
        size = len(self)
        order = np.argsort(self._labels[:size])
        order = order[self._counts[order] != 0]
        boxes = self._extents[order] if self._boxes else self._extents
        return self._labels[order], self._counts[order], boxes.reshape(-1, 2, 3)

    def _copy_for(self, chunks: ChunkBoxes) -> npt.NDArray[np.uint32]:
        """Memory for the longest of some chunks, and as much again and more for tables."""
        words = 2 * int(chunks.lengths.max(initial=0)) + _FURTHER_WORDS
        if len(self._copy) < words:
            self._copy = np.empty(words, np.uint32)
        return self._copy

    def _make_room(self, items: int) -> None:
        have = len(self._labels)
        if items <= have:
            return
        items = 1 << (items - 1).bit_length()
        self._labels = np.concatenate([self._labels, np.empty(items - have, np.uint64)])
        self._counts = np.concatenate([self._counts, np.zeros(items - have, np.int64)])
        if self._boxes:
            self._extents = np.concatenate([self._extents, np.tile(_NOWHERE, (items - have, 1))])
        self._slots = np.zeros(2 * items, np.int32)
        self._kernels.fill_slots(len(self), self._labels, self._slots)


def _load() -> TallyKernels:
    with compiling:
        if not _compiled:
            from shardreader.decoding.cseg.tally_kernels import compile_tally

            _compiled.append(compile_tally())
        return _compiled[0]


def _load_translate(value_bytes: int) -> Callable[..., int]:
    with compiling:
        if value_bytes not in _translate:
            if value_bytes == 1:
                from shardreader.decoding.cseg.translate_kernels import compile_translate

                _translate[value_bytes] = compile_translate()
            else:
                from shardreader.decoding.cseg.recode_kernels import compile_recode

                _translate[value_bytes] = compile_recode(value_bytes)
        return _translate[value_bytes]
