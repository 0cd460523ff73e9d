"""SWC files of skeletons as tables of points, read a block of rows at a time."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from itertools import chain, islice
from typing import BinaryIO

from shardreader.tables.text_tables import BLOCK_ROWS, PointFileError, TextBlock, parse_points

__all__ = ["SwcTable"]

_COLUMNS = ["id", "type", "x", "y", "z", "radius", "parent"]
_X = _COLUMNS.index("x")


class SwcTable:
    r"""An SWC file, open for reading: a node a line, seven columns with blanks between them.

    Its rows come out as CSV, because what an SWC line may hold is fixed; comments (``#``) are no
    rows. The format does not say its unit: it may be um, nm or voxels.

    Parameters
    ----------
    binary : binary file
        At its start.
    name : str
        For messages.

    Attributes
    ----------
    columns : list of str
        ``id, type, x, y, z, radius, parent``.

    Raises
    ------
    PointFileError
        The first node is none.

    Examples
    --------
    >>> table = SwcTable(io.BytesIO(b"# by hand\n1 0 8.5 16 40 1 -1\n"), "a.swc")
    >>> [block] = table.blocks()
    >>> block.lines, block.points.tolist()
    (['1,0,8.5,16,40,1,-1'], [[8.5, 16.0, 40.0]])
    """

    delimiter = ","
    line_end = "\n"
    header = ",".join(_COLUMNS)

    def __init__(self, binary: BinaryIO, name: str) -> None:
        self.name = name
        self.columns = list(_COLUMNS)
        self._binary = binary
        # Comments by old programs are in any encoding.
        self._text = io.TextIOWrapper(binary, encoding="utf-8-sig", errors="surrogateescape")
        self._lines_read = 0
        self._first = self._first_node()

    def blocks(self, rows: int = BLOCK_ROWS) -> Iterator[TextBlock]:
        """The nodes of the file, at most `rows` of them at a time.

        Raises
        ------
        PointFileError
            A line that no SWC file has.
        """
        text = chain(self._first, self._text)
        while lines := list(islice(text, rows)):
            block = self._block(lines)
            self._lines_read += len(lines)
            if len(block):
                yield block

    def bytes_read(self) -> int:
        """How far the file has been read."""
        return self._binary.tell()

    def bytes_total(self) -> int:
        """The size of the file."""
        return os.fstat(self._binary.fileno()).st_size

    def _first_node(self) -> list[str]:
        """The first line that is no comment, looked at before anything is written."""
        for line in self._text:
            if len(self._block([line])):
                return [line]
            self._lines_read += 1
        return []

    def _block(self, lines: list[str]) -> TextBlock:
        kept: list[str] = []
        missing: dict[int, int] = {}
        places: list[list[str]] = []
        for number, line in enumerate(lines, self._lines_read + 1):
            cells = line.split()
            if not cells or cells[0].startswith("#"):
                continue
            if any(sign in line for sign in ',;"\0'):
                raise PointFileError(
                    f"{self.name}, line {number}: not SWC, which has seven numbers with blanks "
                    "between them; save a table with other separators as CSV with a header line"
                )
            if len(cells) != len(_COLUMNS):
                missing[len(kept)] = len(_COLUMNS) - len(cells)
            # Of a short row nobody knows which cell is lost.
            is_whole = len(cells) >= len(_COLUMNS)
            places.append(cells[_X : _X + 3] if is_whole else ["", "", ""])
            kept.append(",".join(cells))
        xs, ys, zs = zip(*places, strict=True) if places else ((), (), ())
        return TextBlock(kept, missing, parse_points(xs, ys, zs))
