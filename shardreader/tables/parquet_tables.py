"""Tables of points in Parquet files, read and written a batch of rows at a time.

Needs the extra ``[parquet]``, imported on use.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Iterator
from functools import cached_property
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import PointStatus
from shardreader.tables.text_tables import BLOCK_ROWS, PointFileError

__all__ = ["ParquetBlock", "ParquetTable", "ParquetWriter"]

_AXES = ("x", "y", "z")
# pyarrow would read whole row groups ahead, which may be the whole table.
_BUFFER_BYTES = 1 << 20


class ParquetBlock:
    """Some rows of a Parquet table.

    Attributes
    ----------
    batch : pyarrow.RecordBatch
    points : ndarray, shape (n, 3)
        Integers, or float64 with NaN where the cell is null.
    missing : dict
        Empty: all rows are as long as the header.
    """

    def __init__(self, batch: Any) -> None:
        self.batch = batch
        self.points = np.stack([_numbers(batch.column(axis)) for axis in _AXES], axis=1)
        self.missing: dict[int, int] = {}

    def __len__(self) -> int:
        return len(self.points)

    @cached_property
    def lines(self) -> list[str]:
        """The rows as CSV, without their line ends; a null is an empty cell."""
        columns = [column.to_pylist() for column in self.batch.columns]
        return _as_csv(zip(*columns, strict=True))


class ParquetTable:
    """A Parquet file, open for reading.

    Parameters
    ----------
    binary : binary file
        Seekable.
    name : str
        For messages.

    Attributes
    ----------
    columns : list of str
        Of the top level.
    schema : pyarrow.Schema

    Raises
    ------
    PointFileError
        Not a Parquet file, no columns x, y, z of numbers, or no pyarrow.
    """

    delimiter = ","
    line_end = "\n"

    def __init__(self, binary: BinaryIO, name: str) -> None:
        pyarrow, parquet = _libraries()
        self.name = name
        self._binary = binary
        self._rows_read = 0
        try:
            self._file = parquet.ParquetFile(
                binary,
                buffer_size=_BUFFER_BYTES,
                pre_buffer=False,
                page_checksum_verification=True,
            )
            self.schema = self._file.schema_arrow
        except (pyarrow.ArrowException, OSError) as error:
            raise PointFileError(
                f"{name} is not a Parquet file that can be read: {error}"
            ) from None
        self.columns: list[str] = list(self.schema.names)
        (self.header,) = _as_csv([self.columns])
        self._check_axes(pyarrow)

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[ParquetBlock]:
        """The rows of the table, at most `rows` of them at a time.

        Raises
        ------
        PointFileError
            The file is damaged.
        """
        pyarrow, _ = _libraries()
        try:
            for batch in self._file.iter_batches(batch_size=rows):
                self._rows_read += len(batch)
                if len(batch):
                    yield ParquetBlock(batch)
        except (pyarrow.ArrowException, OSError) as error:
            raise PointFileError(
                f"{self.name} is damaged after row {self._rows_read:,}: {error}"
            ) from None

    def bytes_read(self) -> int:
        """How far the file has been read, by the share of its rows."""
        rows: int = max(self._file.metadata.num_rows, 1)
        return self.bytes_total() * self._rows_read // rows

    def bytes_total(self) -> int:
        """The size of the file."""
        return os.fstat(self._binary.fileno()).st_size

    def _check_axes(self, pyarrow: Any) -> None:
        found = ", ".join(map(repr, self.columns[:20]))
        for axis in _AXES:
            if self.columns.count(axis) != 1:
                raise PointFileError(
                    f"{self.name} must have one column {axis!r} (found: {found}); rename the "
                    "columns to x, y and z"
                )
            kind = self.schema.field(axis).type
            if not (pyarrow.types.is_integer(kind) or pyarrow.types.is_floating(kind)):
                raise PointFileError(f"column {axis!r} of {self.name} must be numbers, not {kind}")


class ParquetWriter:
    """Writes Parquet: all columns as they are, then the label (uint64) and the status (by name).

    Parameters
    ----------
    file : binary file
        Where to write.
    table : ParquetTable
        Where the rows come from.
    label_column, status_column : str
        Names of the new columns.
    """

    def __init__(
        self, file: BinaryIO, table: ParquetTable, label_column: str, status_column: str
    ) -> None:
        self._pyarrow, parquet = _libraries()
        schema = table.schema.append(self._pyarrow.field(label_column, self._pyarrow.uint64()))
        self._schema = schema.append(self._pyarrow.field(status_column, self._pyarrow.string()))
        self._names = self._pyarrow.array([status.name for status in PointStatus])
        self._writer = parquet.ParquetWriter(file, self._schema)

    def write(
        self, block: Any, labels: NDArray[np.unsignedinteger[Any]], status: NDArray[np.uint8]
    ) -> None:
        """Write the rows of one block with their labels and statuses."""
        columns = [
            *block.batch.columns,
            self._pyarrow.array(labels.astype(np.uint64)),
            self._names.take(self._pyarrow.array(status)),
        ]
        batch = self._pyarrow.RecordBatch.from_arrays(columns, schema=self._schema)
        self._writer.write_batch(batch)

    def finish(self) -> None:
        """Write the end of the file, without which it is none; a second time does nothing."""
        self._writer.close()


def _libraries() -> tuple[Any, Any]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise PointFileError(
            "a .parquet file needs pyarrow; run: pip install 'shardreader[parquet]'"
        ) from None
    return pyarrow, pyarrow.parquet


def _numbers(column: Any) -> NDArray[Any]:
    """One column: whole numbers as they are, else float64, NaN for null."""
    if column.null_count:
        column = column.cast("float64", safe=False)
    values: NDArray[Any] = column.to_numpy(zero_copy_only=False)
    return values if values.dtype.kind in "iu" else values.astype(np.float64)


class _Rows(list[str]):
    """Takes what a CSV writer writes, which is a row at a time."""

    write = list.append


def _as_csv(rows: Iterable[Iterable[Any]]) -> list[str]:
    texts = _Rows()
    # Cells with a character of the line end are quoted only if the writer knows of it.
    csv.writer(texts, lineterminator="\r\n").writerows(rows)
    return [text.removesuffix("\r\n") for text in texts]
