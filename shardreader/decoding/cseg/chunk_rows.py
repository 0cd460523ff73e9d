"""The labels of many chunks, each counted by itself, as rows of one table.

Importing this does not import numba; the first chunk does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shardreader.decoding.cseg.faults import OK, Triple, Words
from shardreader.runtime.compile_lock import compiling

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ChunkRows"]

_FEWEST_LABELS = 64
_FEWEST_ROWS = 1 << 12
_FEWEST_WORDS = 1 << 14
# In words, of a block of 4 bits; a table may lie at the end and be cut off.
_LONGEST_TABLE = 16 * 2
_compiled: list[Callable[..., int]] = []


class ChunkRows:
    """One row for each label of each chunk, but for label 0; its memory is used again and again.

    Examples
    --------
    >>> words = np.array([1, 1 << 24 | 3, 2, 0b0110, 0, 9], "<u4")
    >>> rows, zero = ChunkRows(), np.zeros(1, np.int64)
    >>> rows.add_chunks(
    ...     words, zero, np.array([6]), zero, np.array([[4, 1, 1]]), (4, 1, 1), 1
    ... )
    array([ True])
    >>> rows.take()
    (array([0]), array([9], dtype=uint64), array([2]))
    """

    def __init__(self) -> None:
        # As that of a LabelTally, but for the tables that were found.
        self._state = np.zeros(4, np.int64)
        self._sums = np.empty(16, np.int64)
        self._no_extents = np.empty((0, 6), np.int64)
        self._progress = np.zeros(2, np.int64)
        self._make_label_room(_FEWEST_LABELS)
        # By the word at which it is: voxels of a table's entry, codes of a table.
        self._entry_voxels = np.zeros(0, np.int64)
        self._make_table_room(_FEWEST_WORDS)
        self._row_chunks = np.empty(_FEWEST_ROWS, np.int64)
        self._row_labels = np.empty(_FEWEST_ROWS, np.uint64)
        self._row_counts = np.empty(_FEWEST_ROWS, np.int64)

    def add_chunks(
        self,
        words: Words,
        first_words: npt.NDArray[np.int64],
        lengths: npt.NDArray[np.int64],
        rows: npt.NDArray[np.int64],
        cell_shapes: npt.NDArray[np.int64],
        block_size: Triple,
        label_words: int,
    ) -> npt.NDArray[np.bool_]:
        """Count the labels of compressed_segmentation chunks of one channel.

        Parameters
        ----------
        words, first_words, lengths, rows, cell_shapes, block_size, label_words
            As in :func:`shardreader.decoding.cseg.check_chunks`.

        Returns
        -------
        (k,) array of bool
            False where a block or a code is damaged; such a chunk has no rows.
        """
        kernel = _compiled[0] if _compiled else _load()
        done = np.zeros(len(rows), np.bool_)
        self._progress[0] = 0
        self._make_table_room(int(lengths.max(initial=0)))
        while True:
            status = kernel(
                words,
                first_words,
                lengths,
                rows,
                cell_shapes,
                block_size,
                label_words,
                self._state,
                self._slots,
                self._labels,
                self._counts,
                self._no_extents,
                self._sums,
                self._progress,
                self._row_chunks,
                self._row_labels,
                self._row_counts,
                self._entry_voxels,
                self._table_codes,
                self._found_tables,
                done,
            )
            if status == OK:
                return done
            if status == _status_of_label_room():
                self._make_label_room(2 * len(self._labels))
            else:
                self._make_row_room()

    def take(
        self,
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """All rows since the last call: their chunk's number in `rows`, label and voxels."""
        count = int(self._progress[1])
        self._progress[1] = 0
        columns = self._row_chunks, self._row_labels, self._row_counts
        return columns[0][:count].copy(), columns[1][:count].copy(), columns[2][:count].copy()

    def _make_label_room(self, items: int) -> None:
        self._labels = np.empty(items, np.uint64)
        self._counts = np.zeros(items, np.int64)
        self._slots = np.zeros(2 * items, np.int32)
        self._state[:] = 0

    def _make_table_room(self, words: int) -> None:
        """For encodings of so many words; between two calls all is 0."""
        room = words + _LONGEST_TABLE
        if room > len(self._entry_voxels):
            self._entry_voxels = np.zeros(room, np.int64)
            self._table_codes = np.zeros(room, np.uint8)
            self._found_tables = np.empty(room, np.int64)

    def _make_row_room(self) -> None:
        room = len(self._row_labels) + max(len(self._row_labels), len(self._labels))
        self._row_chunks = np.resize(self._row_chunks, room)
        self._row_labels = np.resize(self._row_labels, room)
        self._row_counts = np.resize(self._row_counts, room)


def _status_of_label_room() -> int:
    from shardreader.decoding.cseg.tally_kernels import ROOM

    return ROOM


def _load() -> Callable[..., int]:
    with compiling:
        if not _compiled:
            from shardreader.decoding.cseg.row_kernels import compile_rows

            _compiled.append(compile_rows())
        return _compiled[0]
