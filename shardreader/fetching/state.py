"""What a fetch knows between two runs: a SQLite file beside the info, and a lock.

One connection, in the thread that started the fetch, holds the file locked until the end of the
run, so that two fetches never work in one place; the operating system frees it when a process is
killed. The journal is a rollback journal: it works on drives that know no shared memory.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from shardreader.copies.gsutil_listing import ListedObject
from shardreader.errors import InfoError, ReadError
from shardreader.storage.remote_store import ObjectVersion

__all__ = ["STATE_NAME", "FetchState", "ShardRow", "whole_row"]

STATE_NAME = "shardreader-fetch-state.sqlite"
_APPLICATION_ID = 0x73687266  # "shrf"
_VERSION = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS volume (
    source TEXT NOT NULL,
    info TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS shards (
    scale TEXT NOT NULL,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    facts TEXT NOT NULL,
    PRIMARY KEY (scale, name)
);
"""


@dataclass(frozen=True)
class ShardRow:
    """What is known of one shard.

    Parameters
    ----------
    state : {"part", "whole", "none"}
        "part": some of it may be in the .part file; "none": the source has none.
    version : ObjectVersion or None
        Of the object that the bytes are from, as it came with them.
    listed : ListedObject or None
        What the source said of it before that.
    synced : int
        Bytes of the .part file that are surely on the disk.
    crc32c : int or None
        Of the whole file, or of the synced bytes.
    mtime_ns : int or None
        Of the whole file.
    """

    state: str
    version: ObjectVersion | None = None
    listed: ListedObject | None = None
    synced: int = 0
    crc32c: int | None = None
    mtime_ns: int | None = None

    def to_json(self) -> str:
        """All but the state."""
        return json.dumps(
            {
                "version": self.version,
                "listed": None if self.listed is None else asdict(self.listed),
                "synced": self.synced,
                "crc32c": self.crc32c,
                "mtime_ns": self.mtime_ns,
            }
        )

    @classmethod
    def from_json(cls, state: str, text: str) -> ShardRow:
        """The inverse of `to_json`."""
        facts: dict[str, Any] = json.loads(text)
        version, listed = facts.pop("version"), facts.pop("listed")
        return cls(
            state,
            None if version is None else ObjectVersion(*version),
            None if listed is None else ListedObject(**listed),
            **facts,
        )


class FetchState:
    """The rows of one copy.

    Parameters
    ----------
    directory : str
        Of the copy.
    writable : bool
        Otherwise the file is only looked at, and need not exist.

    Raises
    ------
    InfoError
        Another fetch works in this directory.
    ReadError
        The file cannot be opened or written, or is something else.
    """

    def __init__(self, directory: str, *, writable: bool = True) -> None:
        self.path = os.path.join(directory, STATE_NAME)
        self._connection: sqlite3.Connection | None = None
        if not writable and not os.path.exists(self.path):
            return
        # A journal that a killed run left is rolled back in both cases.
        mode = "rwc" if writable else "rw"
        connection = None
        try:
            connection = sqlite3.connect(
                f"{Path(self.path).as_uri()}?mode={mode}", uri=True, isolation_level=None, timeout=0
            )
            self._prepare(connection, writable)
        except BaseException as error:
            if connection is not None:
                connection.close()
            if isinstance(error, sqlite3.Error):
                raise self._refused(error) from error
            raise
        self._connection = connection

    def _prepare(self, connection: sqlite3.Connection, writable: bool) -> None:
        if writable:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.execute("PRAGMA journal_mode = DELETE")
            connection.execute("BEGIN EXCLUSIVE")  # held from here on, also after the commit
        (application,) = connection.execute("PRAGMA application_id").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (tables,) = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if (tables or application) and (application, version) != (_APPLICATION_ID, _VERSION):
            raise ReadError(
                f"{self.path}: expected the state of a fetch by this version, found something "
                "else; move it away: what is in the copy is then compared with the source"
            )
        if writable:
            connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version = {_VERSION}")
            for statement in _TABLES.split(";"):
                connection.execute(statement)
            connection.execute("COMMIT")

    def volume(self) -> tuple[str, str] | None:
        """Source and info of the fetch that was begun here."""
        rows = self._select("SELECT source, info FROM volume", ())
        return (rows[0][0], rows[0][1]) if rows else None

    def set_volume(self, source: str, info: str) -> None:
        """Note whose copy this is; what another source did not have, this one may."""
        self._execute("DELETE FROM shards WHERE state = 'none'", ())
        self._execute("DELETE FROM volume", ())
        self._execute("INSERT INTO volume VALUES (?, ?)", (source, info))

    def rows(self, scale: str) -> dict[str, ShardRow]:
        """All rows of a scale by file name."""
        found = self._select("SELECT name, state, facts FROM shards WHERE scale = ?", (scale,))
        rows = {}
        for name, state, facts in found:
            try:
                rows[name] = ShardRow.from_json(state, facts)
            except (TypeError, ValueError, KeyError):
                continue  # damaged: as if it had never been fetched
        return rows

    def put_all(self, scale: str, rows: Mapping[str, ShardRow]) -> None:
        """Keep rows; on the disk when this returns."""
        self._execute("BEGIN", ())
        for name, row in rows.items():
            self._execute(
                "INSERT OR REPLACE INTO shards VALUES (?, ?, ?, ?)",
                (scale, name, row.state, row.to_json()),
            )
        self._execute("COMMIT", ())

    def close(self) -> None:
        """Let another fetch in."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _select(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._connection is None:
            return []
        try:
            return self._connection.execute(statement, values).fetchall()
        except sqlite3.Error as error:
            raise self._refused(error) from error

    def _execute(self, statement: str, values: tuple[Any, ...]) -> None:
        if self._connection is None:
            raise ValueError("the state is closed, or only looked at")
        try:
            self._connection.execute(statement, values)
        except sqlite3.Error as error:
            if self._connection.in_transaction:
                self._connection.rollback()
            raise self._refused(error) from error

    def _refused(self, error: sqlite3.Error) -> Exception:
        if "locked" in str(error):
            return InfoError(
                f"{os.path.dirname(self.path)}: another fetch works in this directory; wait for "
                "its end, or stop it"
            )
        return ReadError(
            f"{self.path}: the state of the fetch cannot be kept ({error}); make room on the drive "
            "and check the permissions, then run the same command again"
        )


def whole_row(row: ShardRow, size: int, crc32c: int, mtime_ns: int) -> ShardRow:
    """The row of a shard that is about to take its final name."""
    version = row.version or ObjectVersion(size, None, None, "")
    return replace(
        row, state="whole", version=version, synced=size, crc32c=crc32c, mtime_ns=mtime_ns
    )
