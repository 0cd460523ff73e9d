"""Tables of points with their segments, written a block of rows at a time."""

from __future__ import annotations

import csv
import io
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import PointStatus
from shardreader.runtime.output_file import npy_header
from shardreader.tables.point_tables import PointBlock, PointTable
from shardreader.tables.text_tables import ArrayBlock, ArrayTable, PointFileError

__all__ = ["STATUS_COLUMN", "NpyWriter", "PointWriter", "TextWriter", "columns_of"]

STATUS_COLUMN = "status"
_STATUS_NAMES = [status.name for status in PointStatus]
_AXES = ["x", "y", "z"]
_LONGEST_FIELD = 100


class PointWriter(Protocol):
    """What the writers have in common."""

    def write(
        self,
        block: PointBlock,
        labels: NDArray[np.unsignedinteger[Any]],
        status: NDArray[np.uint8],
    ) -> None:
        """Write the rows of one block with their labels and statuses."""
        ...

    def finish(self) -> None:
        """Write what is only known at the end."""
        ...


def columns_of(table: PointTable) -> list[str]:
    """The columns of a table; those of an array are x, y and z."""
    return _AXES if isinstance(table, ArrayTable) else table.columns


class TextWriter:
    """Writes CSV or TSV: the rows of the table as they are, then the label and the status.

    Parameters
    ----------
    file : binary file
        Where to write.
    table : PointTable
        Where the rows come from.
    label_column : str
        Name of the column of labels.
    delimiter : str or None
        None for that of the table.

    Notes
    -----
    A row that is shorter than the header is filled up with empty cells; the extra cells
    of a longer one come after the status.
    """

    def __init__(
        self, file: BinaryIO, table: PointTable, label_column: str, delimiter: str | None = None
    ) -> None:
        self._file = file
        text = None if isinstance(table, ArrayTable) else table
        self._source_delimiter = text.delimiter if text else ","
        self._delimiter = delimiter or self._source_delimiter
        self._line_end = text.line_end if text else "\n"
        self._width = len(columns_of(table))
        added = [label_column, STATUS_COLUMN]
        if text and self._delimiter == self._source_delimiter:
            self._write_text([f"{text.header}{self._delimiter}{self._joined(added)}"])
        else:
            self._write_text([self._joined([*columns_of(table), *added])])

    def write(
        self,
        block: PointBlock,
        labels: NDArray[np.unsignedinteger[Any]],
        status: NDArray[np.uint8],
    ) -> None:
        """Write the rows of one block with their labels and statuses."""
        between = self._delimiter
        names = [_STATUS_NAMES[code] for code in status.tolist()]
        ends = [
            f"{label}{between}{name}" for label, name in zip(labels.tolist(), names, strict=True)
        ]
        if isinstance(block, ArrayBlock):
            starts = [between.join(map(repr, point)) for point in block.points.tolist()]
            rows = [f"{start}{between}{end}" for start, end in zip(starts, ends, strict=True)]
        elif self._delimiter == self._source_delimiter:
            rows = [f"{line}{between}{end}" for line, end in zip(block.lines, ends, strict=True)]
            for row in block.missing:
                rows[row] = self._row(block.lines[row], labels[row], names[row])
        else:
            rows = [
                self._row(*row) for row in zip(block.lines, labels.tolist(), names, strict=True)
            ]
        self._write_text(rows)

    def finish(self) -> None:
        """Nothing is left to write."""

    def _row(self, line: str, label: int, status_name: str) -> str:
        cells = next(csv.reader([line], delimiter=self._source_delimiter))
        cells += [""] * (self._width - len(cells))
        added = [str(label), status_name]
        return self._joined(cells[: self._width] + added + cells[self._width :])

    def _joined(self, cells: list[str]) -> str:
        text = io.StringIO()
        # Cells with a character of the line end are quoted only if the writer knows of it.
        csv.writer(text, delimiter=self._delimiter, lineterminator="\r\n").writerow(cells)
        return text.getvalue().removesuffix("\r\n")

    def _write_text(self, rows: list[str]) -> None:
        text = "".join([row + self._line_end for row in rows])
        left = memoryview(text.encode("utf-8", "surrogateescape"))
        # An unbuffered standard output (python -u) may take less than it is given.
        while left:
            left = left[self._file.write(left) :]


class NpyWriter:
    """Writes a ``.npy`` file of records: x, y, z, the label (uint64) and the status (uint8).

    Coordinates keep the type of an array; those of a text table are float64.

    Parameters
    ----------
    file : binary file
        Where to write; seekable.
    table : PointTable
        Where the rows come from.
    label_column : str
        Name of the field of labels.
    """

    def __init__(self, file: BinaryIO, table: PointTable, label_column: str) -> None:
        # The head of a .npy file is ASCII, and of a length that is fixed beforehand.
        if not label_column.isascii() or len(label_column) > _LONGEST_FIELD:
            raise PointFileError(
                f"a column of a .npy file has an ASCII name of at most {_LONGEST_FIELD} letters, "
                f"not {label_column!r}"
            )
        self._file = file
        coordinate = (
            table.dtype.newbyteorder("=") if isinstance(table, ArrayTable) else np.dtype(np.float64)
        )
        self._dtype = np.dtype(
            [(axis, coordinate) for axis in _AXES]
            + [(label_column, np.dtype(np.uint64)), (STATUS_COLUMN, np.dtype(np.uint8))]
        )
        self._label_column = label_column
        self._written = 0
        self._write_header()

    def write(
        self,
        block: PointBlock,
        labels: NDArray[np.unsignedinteger[Any]],
        status: NDArray[np.uint8],
    ) -> None:
        """Write the rows of one block with their labels and statuses."""
        records = np.zeros(len(block), dtype=self._dtype)
        for number, axis in enumerate(_AXES):
            records[axis] = block.points[:, number]
        records[self._label_column] = labels
        records[STATUS_COLUMN] = status
        self._file.write(records.tobytes())
        self._written += len(block)

    def finish(self) -> None:
        """Write the number of points, now that it is known, into the head of the file."""
        self._file.seek(0)
        self._write_header()

    def _write_header(self) -> None:
        self._file.write(npy_header(self._dtype, (self._written,), fortran_order=False))
