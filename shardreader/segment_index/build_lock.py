"""Only one build at a time works in the directory of an index.

The lock is SQLite's on a file beside the index. The system takes it back when a process ends in
whatever way, so that the file may stay; who looks something up never asks for it.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from shardreader.errors import SegmentIndexError
from shardreader.segments.layout import LOCK_FILE

__all__ = ["IndexLockedError", "only_build"]


class IndexLockedError(SegmentIndexError):
    """Another build works in the directory."""


@contextmanager
def only_build(folder: str) -> Iterator[None]:
    """Keep other builds out of a directory.

    Parameters
    ----------
    folder : str
        It exists.

    Raises
    ------
    IndexLockedError
        Another build is at work there, in this process or another one.
    SegmentIndexError
        The drive does not say whether one is.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.mkdtemp()
    >>> with only_build(folder), only_build(folder):  # doctest: +ELLIPSIS
    ...     pass
    Traceback (most recent call last):
    shardreader.segment_index.build_lock.IndexLockedError: ...: another build of this index is at...
    """
    path = os.path.join(folder, LOCK_FILE)
    connection = None
    try:
        connection = sqlite3.connect(
            f"{Path(path).as_uri()}?mode=rwc", uri=True, isolation_level=None, timeout=0
        )
        connection.execute("BEGIN EXCLUSIVE")
    except sqlite3.Error as error:
        if connection is not None:
            connection.close()
        raise _refused(folder, path, error) from error
    try:
        yield
    finally:
        connection.close()


def _refused(folder: str, path: str, error: sqlite3.Error) -> SegmentIndexError:
    if getattr(error, "sqlite_errorname", "").startswith("SQLITE_BUSY") or "locked" in str(error):
        return IndexLockedError(
            f"{folder}: another build of this index is at work; wait for its end, or stop it (if "
            "there is none the drive cannot lock files: name another one with --out)"
        )
    return SegmentIndexError(
        f"{path}: cannot be locked ({error}); name a directory for the index on another drive with "
        "--out (in Python: out=)"
    )
