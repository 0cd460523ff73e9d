"""``shardreader lookup``: the segment at each point of a table."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shardreader.commands.common import (
    DONE,
    INCOMPLETE,
    CommandError,
    add_any_volume,
    add_cache_dir,
    add_scale,
    add_threads,
    add_units,
    check_units,
    opened_volume,
    progress,
    say,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shardreader.tables.point_tables import PointBlock, PointTable
    from shardreader.tables.point_writers import PointWriter
    from shardreader.volume import Volume

NAME = "lookup"
SUMMARY = "the segment at each point of a table"
DESCRIPTION = """\
Print the table with two more columns: the segment at the point x, y, z of each row,
and a status that says what a 0 means:
  OK              the data holds this label
  EMPTY           nothing is stored here: background
  OUT_OF_BOUNDS   outside the volume
  INVALID         x, y or z is no number, or the row is not as long as the header
  NOT_DOWNLOADED  the file that may hold it is not in this copy
  CORRUPT         the file that should hold it is damaged
The segment is 0 for all but OK. Exit status 1 if any is neither OK nor EMPTY."""
EXAMPLES = """\
  shardreader lookup /ssd/fafb-ffn1 synapses.csv --units nm -o segments.csv
  shardreader lookup /ssd/fafb-ffn1 catmaid.tsv --resolution 4,4,40 --column root
  shardreader lookup /ssd/fafb-ffn1 skeleton.swc --units nm
  shardreader lookup /ssd/fafb-ffn1 synapses.parquet --units nm -o segments.parquet
  shardreader lookup /ssd/fafb-ffn1 - --units voxel < points.csv | head
  shardreader lookup gs://fafb-ffn1-20190805/segmentation points.csv --units nm --cache-dir part

An SWC file does not say its unit: say it. .parquet needs pip install 'shardreader[parquet]'."""

_OUTPUT_ENDINGS = (".csv", ".tsv", ".npy", ".parquet")
# In the order of weight: the first that applies is given.
_ADVICE = {
    "CORRUPT": "a shardreader cutout of such a place says which file is damaged, and how",
    "NOT_DOWNLOADED": "shardreader info says how much of the volume is in this copy",
    "OUT_OF_BOUNDS": "is the unit right? shardreader info says how large the volume is",
    "INVALID": "x, y and z must be numbers, and each row as long as the header",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_any_volume(parser)
    parser.add_argument(
        "points",
        metavar="POINTS",
        help="CSV, TSV or .parquet with columns x, y, z; .npy of shape (N, 3); .swc; - is standard "
        "input (text)",
    )
    add_units(parser, "points")
    add_scale(parser, "the first")
    parser.add_argument(
        "--column",
        default="segment",
        metavar="NAME",
        help="name of the new column of segments; default: segment",
    )
    parser.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write to a .csv, .tsv or .npy file, and of a .parquet also to a .parquet; default: "
        "standard output, as text",
    )
    add_cache_dir(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.tables.point_tables import open_points
    from shardreader.tables.text_tables import PointFileError

    check_units(arguments, "points")
    _check_output(arguments)
    tally = _Tally()
    try:
        with (
            opened_volume(arguments) as volume,
            open_points(arguments.points, sys.stdin.buffer) as table,
        ):
            _check_columns(table, arguments.column)
            with _opened_writer(table, arguments) as writer:
                for block, labels, status in _answers(volume, table, arguments):
                    tally.add(block, status)
                    writer.write(block, labels, status)
                writer.finish()
    except PointFileError as error:
        raise CommandError(str(error)) from error
    return tally.report()


def _answers(
    volume: Volume, table: PointTable, arguments: argparse.Namespace
) -> Iterator[tuple[PointBlock, NDArray[np.unsignedinteger[Any]], NDArray[np.uint8]]]:
    total = table.bytes_total()
    with progress(total, "B", shares_terminal=arguments.output is None) as show:
        for block in table.blocks():
            labels, status = volume.lookup(
                block.points,
                units=arguments.units,
                resolution=arguments.resolution,
                return_status=True,
            )
            yield block, labels, status
            show(table.bytes_read())


def _check_output(arguments: argparse.Namespace) -> None:
    output = arguments.output
    if output is None:
        return
    if not output.lower().endswith(_OUTPUT_ENDINGS):
        raise CommandError(f"{output} must end in one of {', '.join(_OUTPUT_ENDINGS)}")
    if _is_parquet(output) and not _is_parquet(arguments.points):
        raise CommandError(
            f"{output}: only a .parquet table is written as .parquet (of others the types of the "
            "columns are not known); name a .csv, .tsv or .npy file"
        )
    both_exist = os.path.exists(output) and os.path.exists(arguments.points)
    if both_exist and os.path.samefile(output, arguments.points):
        raise CommandError(f"{output} is the table of points itself; name another output")


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(".parquet")


def _check_columns(table: PointTable, label_column: str) -> None:
    from shardreader.tables.point_writers import STATUS_COLUMN, columns_of

    columns = columns_of(table)
    if not label_column:
        raise CommandError("--column needs a name that is not empty")
    if label_column in columns or label_column == STATUS_COLUMN:
        owner = table.name if label_column in columns else "the output"
        raise CommandError(
            f"{owner} has a column {label_column!r} already; name the new one with --column NAME"
        )
    if STATUS_COLUMN in columns:
        raise CommandError(
            f"{table.name} has a column {STATUS_COLUMN!r} already, which would be two in the "
            "output (--column names the other new column); rename it in the table"
        )


@contextmanager
def _opened_writer(table: PointTable, arguments: argparse.Namespace) -> Iterator[PointWriter]:
    from shardreader.runtime.output_file import replacing
    from shardreader.tables.parquet_tables import ParquetTable, ParquetWriter
    from shardreader.tables.point_writers import STATUS_COLUMN, NpyWriter, TextWriter

    output = arguments.output
    if output is None:
        yield TextWriter(sys.stdout.buffer, table, arguments.column)
        sys.stdout.buffer.flush()
        return
    with replacing(output) as file:
        if isinstance(table, ParquetTable) and _is_parquet(output):
            writer = ParquetWriter(file, table, arguments.column, STATUS_COLUMN)
            try:
                yield writer
            finally:
                # Else pyarrow writes on its own later, when the file is closed.
                writer.finish()
        elif output.lower().endswith(".npy"):
            yield NpyWriter(file, table, arguments.column)
        else:
            delimiter = "\t" if output.lower().endswith(".tsv") else ","
            yield TextWriter(file, table, arguments.column, delimiter)


class _Tally:
    """How many points have which status, and the first that is neither OK nor EMPTY."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}
        self._rows = self._other_length = 0
        self._first = ""

    def add(self, block: PointBlock, status: NDArray[np.uint8]) -> None:
        """Count the points of one block."""
        import numpy as np

        from shardreader.errors import PointStatus
        from shardreader.tables.text_tables import ArrayBlock

        for code, count in enumerate(np.bincount(status, minlength=len(PointStatus)).tolist()):
            name = PointStatus(code).name
            self._counts[name] = self._counts.get(name, 0) + count
        wrong = np.flatnonzero(status > PointStatus.EMPTY)
        if len(wrong) and not self._first:
            row = int(wrong[0])
            name = PointStatus(int(status[row])).name
            self._first = f"row {self._rows + row + 1} {_told(block, row)} is {name}"
        self._rows += len(block)
        if not isinstance(block, ArrayBlock):
            lengths = np.fromiter(block.missing, dtype=np.intp)
            self._other_length += np.count_nonzero(status[lengths] == PointStatus.INVALID)

    def report(self) -> int:
        """Say what is wrong, if anything is; returns the exit status."""
        if not self._first:
            return DONE
        wrong = {name: self._counts[name] for name in _ADVICE if self._counts[name]}
        counts = ", ".join(f"{count:,} {name}" for name, count in wrong.items())
        say(f"of {self._rows:,} points {counts}; the first: {self._first}")
        name = next(iter(wrong))
        say(f"{name}: {_ADVICE[name]}")
        if self._other_length:
            say(f"rows not as long as the header, which are INVALID: {self._other_length:,}")
        return INCOMPLETE


def _told(block: PointBlock, row: int) -> str:
    """What a row holds, in words; of one that is not as long as the header, how long it is."""
    from shardreader.tables.text_tables import ArrayBlock

    too_few = 0 if isinstance(block, ArrayBlock) else block.missing.get(row, 0)
    if too_few:
        cells = "cell" if abs(too_few) == 1 else "cells"
        return f"with {abs(too_few)} {cells} too {'few' if too_few > 0 else 'many'}"
    return f"at ({', '.join(f'{value:.15g}' for value in block.points[row].tolist())})"
