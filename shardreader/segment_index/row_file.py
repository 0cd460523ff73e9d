"""The rows of one shard, written to a file that appears only when it is whole. Floor 5.

A Parquet file, sorted by chunk and label, whose metadata say what it was made of.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.segments.engine import cursor, quoted, told
from shardreader.sharding import ShardingSpec

__all__ = ["RowFile", "read_facts"]

# So many wait in memory, of 20 bytes each; a shard of FAFB-FFN1 has some 600,000.
_ROWS_AT_A_TIME = 1 << 20
_FACTS = "shardreader"
_ADVICE = "is there room on the drive, and may it be written? Go on with --resume"


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
    ...     file.finish({"shard": 3})
    (2, 32)
    >>> read_facts(path)
    {'shard': 3, 'rows': 2, 'voxels': 32}
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._part = f"{path}.{os.getpid()}.{id(self)}.part"
        self._chunks: list[NDArray[np.uint64]] = []
        self._labels: list[NDArray[np.uint64]] = []
        self._voxels: list[NDArray[np.int64]] = []
        self._waiting = 0
        self._connection = cursor()
        self._connection.execute(
            "CREATE TEMP TABLE rows (label UBIGINT, chunk UBIGINT, voxels UINTEGER)"
        )

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
        self._chunks.append(chunk_ids)
        self._labels.append(labels)
        self._voxels.append(voxels)
        self._waiting += len(labels)
        if self._waiting >= _ROWS_AT_A_TIME:
            self._flush()

    def drop_minishards(self, spec: ShardingSpec, minishards: Collection[int]) -> None:
        """Take back the rows of all chunks of these minishards."""
        self._flush()
        chunks = self._connection.execute("SELECT DISTINCT chunk FROM rows").fetchnumpy()["chunk"]
        _, numbers = spec.locate(chunks)
        doubtful = chunks[np.isin(numbers, np.array(sorted(minishards), np.uint64))]
        self._connection.execute(
            "DELETE FROM rows WHERE chunk IN (SELECT unnest(?::UBIGINT[]))", [doubtful.tolist()]
        )

    def finish(self, facts: dict[str, Any]) -> tuple[int, int]:
        """Write the file; returns how many rows it has, and how many voxels they count.

        Parameters
        ----------
        facts : dict
            JSON types, for `read_facts`, which gives "rows" and "voxels" too.

        Raises
        ------
        SegmentIndexError
            It cannot be written.
        """
        self._flush()
        with told(self._path, "write the rows of a shard", _ADVICE):
            ((rows, voxels),) = self._connection.execute(
                "SELECT count(*), coalesce(sum(voxels), 0)::UBIGINT FROM rows"
            ).fetchall()
            facts = {**facts, "rows": rows, "voxels": voxels}
            text = quoted(json.dumps(facts, separators=(",", ":")))
            target = f"{quoted(self._part)} (FORMAT parquet, COMPRESSION zstd"
            self._connection.execute(
                "COPY (SELECT * FROM rows ORDER BY chunk, label) TO "  # noqa: S608 (quoted)
                f"{target}, KV_METADATA {{{_FACTS}: {text}}})"
            )
        with open(self._part, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(self._part, self._path)
        return rows, voxels

    def _flush(self) -> None:
        if not self._waiting:
            return
        rows = {
            "label": np.concatenate(self._labels),
            "chunk": np.concatenate(self._chunks),
            "voxels": np.concatenate(self._voxels),
        }
        with told(self._path, "keep the rows of a shard", _ADVICE):
            self._connection.register("added", rows)
            self._connection.execute("INSERT INTO rows SELECT label, chunk, voxels FROM added")
            self._connection.unregister("added")
        self._chunks, self._labels, self._voxels, self._waiting = [], [], [], 0


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
