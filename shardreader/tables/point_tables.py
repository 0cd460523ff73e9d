"""Opens a table of points by the ending of its name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from shardreader.tables.parquet_tables import ParquetBlock, ParquetTable
from shardreader.tables.swc_tables import SwcTable
from shardreader.tables.text_tables import (
    ArrayBlock,
    ArrayTable,
    PointFileError,
    TextBlock,
    TextTable,
)

__all__ = ["PointBlock", "PointTable", "open_points"]

PointTable = TextTable | ArrayTable | SwcTable | ParquetTable
PointBlock = TextBlock | ArrayBlock | ParquetBlock

# Anything else is text.
_BY_ENDING: dict[str, Callable[[BinaryIO, str], PointTable]] = {
    ".npy": ArrayTable,
    ".swc": SwcTable,
    ".parquet": ParquetTable,
}


@contextmanager
def open_points(path: str, standard_input: BinaryIO) -> Iterator[PointTable]:
    """Open a table of points.

    Parameters
    ----------
    path : str
        A file: ``.npy``, ``.swc``, ``.parquet`` or text; ``-`` means `standard_input`, which must
        be text.
    standard_input : binary file
        What ``-`` reads.

    Yields
    ------
    TextTable, ArrayTable, SwcTable or ParquetTable

    Raises
    ------
    PointFileError
        The file is no such table.
    OSError
        The file cannot be opened.
    """
    if path == "-":
        yield TextTable(standard_input, "standard input")
    elif Path(path).is_dir():
        raise PointFileError(
            f"{path} is a directory; expected a .csv, .tsv, .npy, .swc or .parquet file"
        )
    else:
        with open(path, "rb") as binary:
            kind = _BY_ENDING.get(Path(path).suffix.lower(), TextTable)
            yield kind(binary, path)
