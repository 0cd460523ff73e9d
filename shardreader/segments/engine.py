"""The one door to DuckDB, which keeps, sorts and looks up the rows of an index."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from shardreader.errors import SegmentIndexError

__all__ = ["connect", "cursor", "process_lock", "quoted", "told"]

_MEMORY = "1GB"
# Some network drives do not lock files, not even for reading.
_NO_LOCK = "Could not set lock"
_ELSEWHERE = (
    "where nothing else has it open, the drive cannot lock files: have the index on another drive "
    "(--out and --index; in Python out= and index=)"
)
# By process: a forked child cannot use what its parent made, and must not close it.
_locks: dict[int, threading.Lock] = {}
_shared: dict[int, Any] = {}


def connect(*, memory: str, threads: int, spill: str = "") -> Any:
    """A `DuckDBPyConnection` without a database; it never fetches extensions.

    Parameters
    ----------
    memory : str
        The most that it takes, such as "2GB".
    threads : int
        With 1 there is none but the caller's.
    spill : str
        A directory, made when needed, for what does not fit into `memory`; "" for none.

    Raises
    ------
    SegmentIndexError
        DuckDB is not installed.

    Examples
    --------
    >>> connect(memory="100MB", threads=1).execute("SELECT 6 * 7").fetchall()
    [(42,)]
    """
    try:
        import duckdb
    except ImportError:
        raise SegmentIndexError(
            "duckdb is not installed, which keeps the segment index: "
            "pip install 'shardreader[index]'"
        ) from None
    return duckdb.connect(
        config={
            "memory_limit": memory,
            "threads": threads,
            "temp_directory": spill,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


def cursor() -> Any:
    """A connection of its own to the one engine of this process, for files without a database.

    To start an engine takes longer than to write the rows of a small shard.

    Raises
    ------
    SegmentIndexError
        DuckDB is not installed.
    """
    with process_lock():
        if os.getpid() not in _shared:
            spill = os.path.join(tempfile.gettempdir(), f"shardreader-{os.getpid()}.spill")
            _shared[os.getpid()] = connect(memory=_MEMORY, threads=1, spill=spill)
        return _shared[os.getpid()].cursor()


def process_lock() -> threading.Lock:
    """A lock of this process, which no thread of its parent can hold."""
    return _locks.setdefault(os.getpid(), threading.Lock())


def quoted(text: str) -> str:
    """A string as SQL writes it, for the statements that take no parameters.

    Examples
    --------
    >>> print(quoted("it's"))
    'it''s'
    """
    return "'" + text.replace("'", "''") + "'"


@contextmanager
def told(path: str, action: str, advice: str) -> Iterator[None]:
    """Turn what DuckDB says into an error with the file and what to do."""
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        advice = _ELSEWHERE if _NO_LOCK in reason else advice
        raise SegmentIndexError(f"{path}: cannot {action}: {reason}; {advice}") from error
