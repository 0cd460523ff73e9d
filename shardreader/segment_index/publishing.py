"""From the rows of the shards to an index that is looked up by label.

DuckDB sorts, on the disk where the memory does not do, into one file that takes its name whole.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from shardreader.errors import SegmentIndexError
from shardreader.segments.engine import connect, cursor, quoted, told
from shardreader.segments.layout import INDEX_FILE, INDEX_VERSION, ROWS_DIRECTORY
from shardreader.segments.row_check import CHECK_ENDING
from shardreader.segments.standing import IndexedShard
from shardreader.version import __version__

__all__ = ["Published", "publish", "remove_other_rows"]

# A laptop has more, but other programs run on it too; with a quarter of it the sort takes half as
# long again.
_MEMORY = "2GB"
# To start an engine takes as long as to sort so many with the one that this process has.
_FEW_ROWS = 1 << 18
# The oldest form that all supported versions of DuckDB write and read.
_STORAGE = "v1.2.0"
_ADVICE = "is there room on the drive, and may it be written? Go on with --resume, or with --out"


class Published(NamedTuple):
    """What was published."""

    path: str
    rows: int
    segments: int


def publish(
    folder: str,
    shards: Sequence[tuple[int, IndexedShard]],
    *,
    question: str,
    created: str,
    voxels: int,
    threads: int,
) -> Published:
    """Sort the rows of all shards by label, and replace the index in `folder`.

    Parameters
    ----------
    folder : str
        With the row files in its ``rows``.
    shards : sequence of (int, IndexedShard)
        By number.
    question : str
        As `question_digest`.
    created : str
        UTC.
    voxels : int
        How many the rows count, for comparison.
    threads : int
        That sort.

    Raises
    ------
    SegmentIndexError
        It cannot be written, or rows are missing from what was sorted.
    """
    path = os.path.join(folder, INDEX_FILE)
    part = os.path.join(folder, f".{INDEX_FILE}.{os.getpid()}.part")
    rows_folder = os.path.join(folder, ROWS_DIRECTORY)
    row_files = [os.path.join(rows_folder, shard.rows_file) for _, shard in shards]
    expected = sum(shard.rows for _, shard in shards), voxels
    try:
        with (
            told(path, "write the index", _ADVICE),
            _engine(expected[0], threads, spill=f"{part}.spill") as engine,
            _database(engine, part) as connection,
        ):
            # In one transaction: else each statement would wait for the drive.
            connection.execute("BEGIN")
            _sort(connection, row_files)
            rows, segments = _compared(connection, path, *expected)
            _describe(connection, shards, question, created, rows, segments)
            connection.execute("COMMIT")
        with open(part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(part, path)
    finally:
        for left in (part, f"{part}.wal"):
            if os.path.exists(left):
                os.remove(left)
    return Published(path, rows, segments)


@contextmanager
def _engine(rows: int, threads: int, *, spill: str) -> Iterator[Any]:
    """A connection to an engine that sorts so many rows."""
    is_small = rows <= _FEW_ROWS
    engine = cursor() if is_small else connect(memory=_MEMORY, threads=threads, spill=spill)
    try:
        yield engine
    finally:
        engine.close()
        shutil.rmtree(spill, ignore_errors=True)


@contextmanager
def _database(engine: Any, path: str) -> Iterator[Any]:
    """A connection that makes tables in a new file."""
    name = f"built_{uuid.uuid4().hex}"  # other builds of this process may have theirs
    engine.execute(f"ATTACH {quoted(path)} AS {name} (STORAGE_VERSION '{_STORAGE}')")
    connection = engine.cursor()
    try:
        connection.execute(f"USE {name}")
        yield connection
    finally:
        connection.close()  # what was not committed is rolled back
        engine.execute(f"DETACH {name}")


def _sort(connection: Any, row_files: list[str]) -> None:
    connection.execute("CREATE TABLE rows (label UBIGINT, chunk UBIGINT, voxels UINTEGER)")
    if row_files:
        connection.execute(
            "INSERT INTO rows SELECT label, chunk, voxels FROM read_parquet(?) "
            "ORDER BY label, chunk",
            [row_files],
        )
    connection.execute(
        "CREATE TABLE segments AS SELECT label, sum(voxels)::UBIGINT AS voxels, "
        "count(*)::UBIGINT AS chunks FROM rows GROUP BY label ORDER BY voxels DESC, label"
    )


def _compared(connection: Any, path: str, rows: int, voxels: int) -> tuple[int, int]:
    """Rows and segments, if what was sorted is what the shards gave."""
    ((segments, sorted_rows, sorted_voxels),) = connection.execute(
        "SELECT count(*), coalesce(sum(chunks), 0)::UBIGINT, coalesce(sum(voxels), 0)::UBIGINT "
        "FROM segments"
    ).fetchall()
    if (sorted_rows, sorted_voxels) != (rows, voxels):
        raise SegmentIndexError(
            f"{path}: expected {rows} rows of {voxels} voxels from the shards, found "
            f"{sorted_rows} of {sorted_voxels} after the sort; build it again without --resume"
        )
    return sorted_rows, segments


def _describe(
    connection: Any,
    shards: Sequence[tuple[int, IndexedShard]],
    question: str,
    created: str,
    rows: int,
    segments: int,
) -> None:
    columns: list[list[Any]] = [[number for number, _ in shards]]
    columns += [[shard.stamp[i] for _, shard in shards] for i in range(2)]
    columns.append([shard.rows_file for _, shard in shards])
    columns += [[shard.rows_check[i] for _, shard in shards] for i in range(2)]
    columns += [[shard[i] for _, shard in shards] for i in range(3, 6)]
    connection.execute(
        "CREATE TABLE shards AS SELECT unnest(?::UBIGINT[]) AS number, "
        "unnest(?::BIGINT[]) AS size, unnest(?::BIGINT[]) AS mtime_ns, "
        "unnest(?::VARCHAR[]) AS rows_file, unnest(?::BIGINT[]) AS rows_size, "
        "unnest(?::UINTEGER[]) AS rows_crc32, unnest(?::BIGINT[]) AS rows, "
        "unnest(?::BOOLEAN[]) AS is_partial, unnest(?::BIGINT[]) AS damage",
        columns,
    )
    connection.execute(
        "CREATE TABLE about AS SELECT ?::UINTEGER AS version, ? AS question, ? AS created, "
        "? AS program, ?::BIGINT AS rows, ?::BIGINT AS segments",
        [INDEX_VERSION, question, created, f"shardreader {__version__}", rows, segments],
    )


def remove_other_rows(folder: str, wanted: Iterable[str]) -> None:
    """Remove the row files that no published index is made of; one in use stays."""
    names = frozenset(wanted)
    keep = names | {name + CHECK_ENDING for name in names}
    for entry in list(os.scandir(os.path.join(folder, ROWS_DIRECTORY))):
        if entry.name not in keep:
            _remove(entry.path)


def _remove(path: str) -> None:
    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        os.remove(path)
    except OSError:
        return  # Windows keeps what a reader holds; the next run tries again
