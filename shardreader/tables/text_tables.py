"""Tables of points, read a block of rows at a time.

A text table (CSV or TSV) keeps the text of every row as it is; the columns x, y and
z are only looked at. A ``.npy`` file holds an (N, 3) array of numbers.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BLOCK_ROWS",
    "ArrayBlock",
    "ArrayTable",
    "PointFileError",
    "TextBlock",
    "TextTable",
    "parse_points",
]

BLOCK_ROWS = 200_000
"""Rows that are in memory at a time."""

_AXES = ("x", "y", "z")
_LONGEST_LINE = 1 << 20


class PointFileError(ValueError):
    """A point table that cannot be read, with what to do about it."""


@dataclass(frozen=True)
class TextBlock:
    """Some rows of a text table.

    Attributes
    ----------
    lines : list of str
        The rows as they stand in the file, without their line ends.
    missing : dict
        For rows that are not as long as the header: row -> how many cells it lacks
        (negative: has too many).
    points : ndarray, shape (n, 3)
        int64 or float64; NaN where the cell is no number, or the row of a CSV or TSV is not as
        long as the header.
    """

    lines: list[str]
    missing: dict[int, int]
    points: NDArray[Any]

    def __len__(self) -> int:
        return len(self.lines)


@dataclass(frozen=True)
class ArrayBlock:
    """Some rows of an (N, 3) array."""

    points: NDArray[Any]

    def __len__(self) -> int:
        return len(self.points)


def parse_points(x: Sequence[str], y: Sequence[str], z: Sequence[str]) -> NDArray[Any]:
    """Points from the text of their cells.

    Text that is no number becomes NaN, so that the lookup says INVALID.

    Parameters
    ----------
    x, y, z : sequences of str
        The cells, of equal length.

    Returns
    -------
    ndarray, shape (n, 3)
        int64 if all cells are whole numbers, else float64, in which every coordinate that a
        volume can have (up to 2**53) is exact.

    Examples
    --------
    >>> parse_points(["1", "2"], ["3", "4"], ["5", "6"])
    array([[1, 3, 5],
           [2, 4, 6]])
    >>> parse_points(["1.5"], ["1_000"], [""])
    array([[1.5, nan, nan]])
    """
    return np.stack([_numbers(cells) for cells in (x, y, z)], axis=1)


def _numbers(cells: Sequence[str]) -> NDArray[Any]:
    """One column: int64 if every cell is a whole number, else float64, NaN where there is text."""
    # Python reads "1_000" as a number; no table means it as one.
    if "_" not in "".join(cells):
        try:
            return np.array(list(map(int, cells)), dtype=np.int64)
        except (ValueError, OverflowError):
            pass
        try:
            return np.array(list(map(float, cells)), dtype=np.float64)
        except ValueError:
            pass
    return np.array([_number(cell) for cell in cells], dtype=np.float64)


def _number(cell: str) -> float:
    try:
        return math.nan if "_" in cell else float(cell)
    except ValueError:
        return math.nan


class TextTable:
    """A CSV or TSV file, open for reading.

    Parameters
    ----------
    binary : binary file
        At its start.
    name : str
        For messages.

    Attributes
    ----------
    columns : list of str
        The cells of the header line.
    header : str
        The header line itself.
    delimiter : str
        A tab if the header line has one, else a comma.
    line_end : str
        How the header line ends.

    Raises
    ------
    PointFileError
        No header, no columns x, y, z, or not a text file.
    """

    def __init__(self, binary: BinaryIO, name: str) -> None:
        self.name = name
        self._binary = binary
        # Bytes that are not UTF-8 (a note by an old program) come out as they went in.
        self._text = io.TextIOWrapper(
            binary, encoding="utf-8-sig", errors="surrogateescape", newline=""
        )
        self._lines_read = 0
        first = self._text.readline(_LONGEST_LINE)
        if "\0" in first or len(first) == _LONGEST_LINE:
            raise PointFileError(f"{name} is not a text table; save it as CSV in UTF-8")
        if not first:
            raise PointFileError(f"{name} is empty; expected a header line with columns x, y, z")
        self.delimiter = "\t" if "\t" in first else ","
        [(line, self.columns)] = self._records([first])
        self.header = line.rstrip("\r\n")
        self.line_end = line[len(self.header) :] or "\n"
        self._axis_columns = self._find_axes()

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[TextBlock]:
        """The rows of the table, some `rows` of them at a time; a blank line is no row.

        Raises
        ------
        PointFileError
            A quoted cell does not end, so that nobody can tell where the next row begins.
        """
        while lines := list(islice(self._text, rows)):
            block = self._block(lines)
            if len(block):
                yield block

    def bytes_read(self) -> int:
        """How far the file has been read; 0 where that cannot be known (a pipe)."""
        return self._binary.tell() if self._binary.seekable() else 0

    def bytes_total(self) -> int | None:
        """The size of the file; None where that cannot be known (a pipe)."""
        return os.fstat(self._binary.fileno()).st_size if self._binary.seekable() else None

    def _find_axes(self) -> list[int]:
        found = ", ".join(map(repr, self.columns[:20]))
        for axis in _AXES:
            if self.columns.count(axis) > 1:
                raise PointFileError(f"{self.name} has more than one column {axis!r}: {found}")
        if all(axis in self.columns for axis in _AXES):
            return [self.columns.index(axis) for axis in _AXES]
        advice = "the first line must name the columns x, y and z"
        if ";" in self.header:
            advice += ", with commas or tabs (not semicolons) between the columns"
        raise PointFileError(f"{self.name} has no columns x, y, z (found: {found}); {advice}")

    def _block(self, lines: list[str]) -> TextBlock:
        kept: list[str] = []
        missing: dict[int, int] = {}
        xs: list[str] = []
        ys: list[str] = []
        zs: list[str] = []
        x, y, z = self._axis_columns
        width = len(self.columns)
        for line, cells in self._records(lines):
            if not cells:
                continue
            if len(cells) != width:
                missing[len(kept)] = width - len(cells)
                # Nobody knows which cell is lost or too many: no position is to be trusted.
                cells = [""] * width
            xs.append(cells[x])
            ys.append(cells[y])
            zs.append(cells[z])
            kept.append(line.rstrip("\r\n"))
        return TextBlock(kept, missing, parse_points(xs, ys, zs))

    def _records(self, lines: list[str]) -> Iterator[tuple[str, list[str]]]:
        """Each record of `lines` as text and as cells; reads on to the end of the last one."""
        pending: list[str] = []
        taken = start = 0

        def feed() -> Iterator[str]:
            nonlocal taken
            for line in chain(lines, self._text):
                taken += 1
                pending.append(line)
                yield line

        try:
            if '"' not in "".join(lines):
                # Without quotes a line is a record: much faster.
                yield from zip(lines, csv.reader(lines, delimiter=self.delimiter), strict=True)
                taken = len(lines)
            # Strict, because otherwise a quote that is never closed swallows all further rows.
            reader = csv.reader(feed(), delimiter=self.delimiter, strict=True)
            while taken < len(lines):
                start = taken
                cells = next(reader)
                text = pending[0] if len(pending) == 1 else "".join(pending)
                pending.clear()
                yield text, cells
        except csv.Error as error:
            raise PointFileError(
                f"{self.name}, line {self._lines_read + start + 1} or after it: not CSV ({error}); "
                "look for quotes that do not match, correct them and run again"
            ) from None
        self._lines_read += taken


class ArrayTable:
    """A ``.npy`` file with an (N, 3) array of numbers, open for reading.

    Parameters
    ----------
    binary : binary file
        Seekable.
    name : str
        For messages.

    Attributes
    ----------
    length : int
        The number of points.
    dtype : numpy.dtype
        Of the coordinates.

    Raises
    ------
    PointFileError
        Not a ``.npy`` file, not (N, 3), not real numbers, or cut short.
    """

    def __init__(self, binary: BinaryIO, name: str) -> None:
        self.name = name
        self._binary = binary
        try:
            if np.lib.format.read_magic(binary) == (1, 0):
                header = np.lib.format.read_array_header_1_0(binary)
            else:
                header = np.lib.format.read_array_header_2_0(binary)
        except ValueError as error:
            raise PointFileError(f"{name} is not a .npy file: {error}") from None
        shape, self._fortran_order, self.dtype = header
        if len(shape) != 2 or shape[1] != 3:
            raise PointFileError(f"{name} must have the shape (N, 3); found {shape}")
        if self.dtype.kind not in "iuf" or self.dtype.itemsize > np.dtype(np.float64).itemsize:
            raise PointFileError(f"{name} must hold integers or floats; found {self.dtype}")
        self.length = shape[0]
        self._data_start = binary.tell()
        expected = self._data_start + 3 * self.length * self.dtype.itemsize
        found = binary.seek(0, os.SEEK_END)
        if found < expected:
            raise PointFileError(
                f"{name} is cut short: {self.length:,} points need {expected:,} bytes, found "
                f"{found:,}"
            )

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[ArrayBlock]:
        """The rows of the table, at most `rows` of them at a time."""
        native = self.dtype.newbyteorder("=")
        for first in range(0, self.length, rows):
            count = min(rows, self.length - first)
            if self._fortran_order:
                columns = [self._numbers(axis * self.length + first, count) for axis in range(3)]
                points = np.stack(columns, axis=1)
            else:
                points = self._numbers(3 * first, 3 * count).reshape(count, 3)
            yield ArrayBlock(points.astype(native, copy=False))

    def bytes_read(self) -> int:
        """How far the file has been read."""
        return self._binary.tell()

    def bytes_total(self) -> int | None:
        """The size of the file."""
        return os.fstat(self._binary.fileno()).st_size

    def _numbers(self, first: int, count: int) -> NDArray[Any]:
        self._binary.seek(self._data_start + first * self.dtype.itemsize)
        data = self._binary.read(count * self.dtype.itemsize)
        if len(data) != count * self.dtype.itemsize:
            raise PointFileError(f"{self.name} became shorter while it was read")
        return np.frombuffer(data, dtype=self.dtype)
