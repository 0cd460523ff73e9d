"""The rows of one shard, written to a file that appears only when it is whole.

A Parquet file, sorted by chunk, whose metadata say what it was made of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from types import TracebackType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import SegmentIndexError
from shardreader.format.sharding import ShardingSpec
from shardreader.segments.engine import cursor, quoted, told
from shardreader.segments.row_check import RowCheck, check_of, keep_check

__all__ = ["RowFile", "read_facts"]

# So many are kept in memory, of 24 bytes each; a shard of FAFB-FFN1 has some 600,000. What is more
# goes to DuckDB, which has the disk for it.
_MOST_IN_MEMORY = 1 << 21
_FACTS = "shardreader"
_Rows: TypeAlias = "tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]"
_NO_ROWS: _Rows = np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.int64)
_ADVICE = "is there room on the drive, and may it be written? Go on with --resume, or with --out"


class RowFile:
    """Takes the rows of a shard, in any order.

    Parameters
    ----------
    path : str
        The file to write; its directory exists.

    Examples
    --------
    >>> import tempfile
    >>> path = tempfile.mkdtemp() + "/rows.parquet"
    >>> with RowFile(path) as file:
    ...     chunk_ids, labels = np.array([[7, 7], [4, 5]], np.uint64)
    ...     file.add(chunk_ids, labels, np.array([30, 2]))
    ...     file.finish({"shard": 3})[:2]
    (2, 32)
    >>> read_facts(path)
    {'shard': 3, 'rows': 2, 'voxels': 32}
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._part = f"{path}.{os.getpid()}.{id(self)}.part"
        self._waiting: list[_Rows] = []
        self._waiting_rows = 0
        self._has_table = False
        self._connection = cursor()

    def __enter__(self) -> RowFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._connection.close()
        if os.path.exists(self._part):
            os.remove(self._part)

    def add(
        self,
        chunk_ids: NDArray[np.uint64],
        labels: NDArray[np.uint64],
        voxels: NDArray[np.int64],
    ) -> None:
        """Add rows of a chunk and a segment, all of shape (n,)."""
        self._waiting.append((labels, chunk_ids, voxels))
        self._waiting_rows += len(labels)
        if self._waiting_rows >= _MOST_IN_MEMORY:
            self._move_to_table()

    def drop_minishards(self, spec: ShardingSpec, minishards: Collection[int]) -> None:
        """Take back the rows of all chunks of these minishards."""
        self._move_to_table()
        chunks = self._connection.execute("SELECT DISTINCT chunk FROM rows").fetchnumpy()["chunk"]
        _, numbers = spec.locate(chunks)
        doubtful = chunks[np.isin(numbers, np.array(sorted(minishards), np.uint64))]
        self._connection.execute(
            "DELETE FROM rows WHERE chunk IN (SELECT unnest(?::UBIGINT[]))", [doubtful.tolist()]
        )

    def finish(self, facts: dict[str, Any]) -> tuple[int, int, RowCheck]:
        """Write the file; returns how many rows it has, how many voxels they count, and its check.

        Parameters
        ----------
        facts : dict
            JSON types, for `read_facts`, which gives "rows" and "voxels" too.

        Raises
        ------
        SegmentIndexError
            It cannot be written.
        """
        if self._has_table:
            self._move_to_table()
        with told(self._path, "write the rows of a shard", _ADVICE):
            if not self._has_table:
                # As they come they are all but sorted, which DuckDB has no use of.
                self._connection.register("rows", self._taken(by_chunk=True))
            ((rows, voxels),) = self._connection.execute(
                "SELECT count(*), coalesce(sum(voxels), 0)::UBIGINT FROM rows"
            ).fetchall()
            facts = {**facts, "rows": rows, "voxels": voxels}
            text = quoted(json.dumps(facts, separators=(",", ":")))
            order = " ORDER BY chunk" if self._has_table else ""
            # Without dictionaries it is quicker, and smaller too.
            how = "FORMAT parquet, COMPRESSION zstd, DICTIONARY_SIZE_LIMIT 1"
            self._connection.execute(
                f"COPY (SELECT label, chunk, voxels::UINTEGER AS voxels FROM rows{order}) "  # noqa: S608
                f"TO {quoted(self._part)} ({how}, KV_METADATA {{{_FACTS}: {text}}})"
            )
        try:
            with open(self._part, "rb+") as file:
                os.fsync(file.fileno())
            check = check_of(self._part)
            # First, so that rows that are there without it are never believed.
            keep_check(self._path, check)
            os.replace(self._part, self._path)
        except OSError as error:
            raise SegmentIndexError(
                f"{self._path}: cannot write the rows of a shard: {error.strerror}; {_ADVICE}"
            ) from error
        return rows, voxels, check

    def _move_to_table(self) -> None:
        with told(self._path, "keep the rows of a shard", _ADVICE):
            if not self._has_table:
                self._connection.execute(
                    "CREATE TEMP TABLE rows (label UBIGINT, chunk UBIGINT, voxels UINTEGER)"
                )
                self._has_table = True
            self._connection.register("added", self._taken(by_chunk=False))
            self._connection.execute("INSERT INTO rows SELECT label, chunk, voxels FROM added")
            self._connection.unregister("added")

    def _taken(self, *, by_chunk: bool) -> dict[str, NDArray[Any]]:
        """The rows that wait, which then wait no more."""
        parts = [_NO_ROWS, *self._waiting]
        labels, chunks, voxels = (np.concatenate([part[i] for part in parts]) for i in range(3))
        self._waiting, self._waiting_rows = [], 0
        rows = {"label": labels, "chunk": chunks, "voxels": voxels}
        if not by_chunk:
            return rows
        order = np.argsort(chunks, kind="stable")
        return {name: column[order] for name, column in rows.items()}


def read_facts(path: str) -> dict[str, Any] | None:
    """The facts in a row file's metadata; None where there is no such file, or no sound one."""
    import duckdb

    if not os.path.exists(path):
        return None
    connection = cursor()
    try:
        found = connection.execute(
            "SELECT value FROM parquet_kv_metadata(?) WHERE decode(key) = ?", [path, _FACTS]
        ).fetchall()
        facts = json.loads(found[0][0]) if found else None
    except (duckdb.Error, ValueError):
        return None
    finally:
        connection.close()
    return facts if isinstance(facts, dict) else None
