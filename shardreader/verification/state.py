"""The results of the shards that are done, in a SQLite file, so that a run can go on.

A result is trusted where the question is the same (the job's digest) and the file is the same
(size and time of change). It is kept as JSON: a file that came with a drive is not unpickled.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import time
from types import TracebackType

from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import ReadError
from shardreader.verification.shard_summary import ShardSummary

__all__ = ["STATE_NAME", "State", "default_state_path"]

STATE_NAME = "shardreader-verify-state.sqlite"
_APPLICATION_ID = 0x73687264  # "shrd"
_VERSION = 1
# One flush a shard would hold up a slow drive.
_SECONDS_BETWEEN_COMMITS = 1.0
_TABLE = """
CREATE TABLE IF NOT EXISTS shards (
    file TEXT NOT NULL,
    digest TEXT NOT NULL,
    size INTEGER NOT NULL,
    mtime_ns INTEGER NOT NULL,
    summary TEXT NOT NULL,
    PRIMARY KEY (file, digest)
)
"""


def default_state_path(directory: str) -> str:
    """Where the state of a volume is kept: beside its info."""
    return os.path.join(directory, STATE_NAME)


class State:
    """Results by file and question.

    Parameters
    ----------
    path : str
        Made if it does not exist.
    start_anew : bool
        Forget what an earlier run left.

    Raises
    ------
    ReadError
        The file cannot be opened or written, or is something else.
    """

    def __init__(self, path: str, *, start_anew: bool = False) -> None:
        self.path = path
        self._last_commit = time.monotonic()
        try:
            self._connection = sqlite3.connect(path, isolation_level=None, timeout=1.0)
        except sqlite3.Error as error:
            raise self._refused(error) from error
        try:
            self._prepare(start_anew)
        except BaseException as error:
            self._connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._refused(error) from error
            raise

    def lies_in(self, directory: str) -> bool:
        """Whether the file is beside the info of this volume."""
        return os.path.dirname(os.path.realpath(self.path)) == os.path.realpath(directory)

    def __enter__(self) -> State:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def find(self, file: str, digest: str, stamp: FileStamp) -> ShardSummary | None:
        """The result of an earlier run, if it is about this version of the file."""
        try:
            row = self._connection.execute(
                "SELECT summary FROM shards WHERE file = ? AND digest = ? AND size = ?"
                " AND mtime_ns = ?",
                (file, digest, stamp.size, stamp.mtime_ns),
            ).fetchone()
        except sqlite3.Error as error:
            raise self._refused(error) from error
        if row is None:
            return None
        try:
            return ShardSummary.from_json(json.loads(row[0]))
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # of another version, or damaged: the shard is checked again

    def add(self, digest: str, summary: ShardSummary) -> None:
        """Keep a result; it reaches the disk within a second or at the end."""
        stamp = summary.result.stamp
        if stamp is None:
            return
        text = json.dumps(summary.to_json(), separators=(",", ":"))
        row = (summary.result.file, digest, stamp.size, stamp.mtime_ns, text)
        try:
            if not self._connection.in_transaction:
                self._connection.execute("BEGIN")
            self._connection.execute("INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?, ?)", row)
            if time.monotonic() - self._last_commit > _SECONDS_BETWEEN_COMMITS:
                self._commit()
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def close(self) -> None:
        """Write what is waiting, and close the file."""
        try:
            self._commit()
        except sqlite3.Error as error:
            raise self._refused(error) from error
        finally:
            self._connection.close()

    def remove(self) -> None:
        """Close and delete the file: nothing is left to go on with."""
        self._connection.close()
        with contextlib.suppress(OSError):
            os.remove(self.path)

    def _commit(self) -> None:
        if self._connection.in_transaction:
            self._connection.execute("COMMIT")
        self._last_commit = time.monotonic()

    def _prepare(self, start_anew: bool) -> None:
        execute = self._connection.execute
        (owner,) = execute("PRAGMA application_id").fetchone()
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        if owner != _APPLICATION_ID and tables:
            raise ReadError(
                f"{self.path}: is a database of another program; name another file for the state"
            )
        (version,) = execute("PRAGMA user_version").fetchone()
        # A write-ahead log needs shared memory, which network drives do not have.
        execute("PRAGMA journal_mode = DELETE")
        if start_anew or version != _VERSION:
            execute("DROP TABLE IF EXISTS shards")
        execute(_TABLE)
        execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        execute(f"PRAGMA user_version = {_VERSION}")

    def _refused(self, error: sqlite3.Error) -> ReadError:
        return ReadError(
            f"{self.path}: cannot keep the state of the run there ({error}); name a file on "
            "another drive with --state (in Python: state=)"
        )
