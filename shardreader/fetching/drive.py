"""What is on the drive of a copy already, and what to say when it is full."""

from __future__ import annotations

import errno
import os

from shardreader.errors import ReadError
from shardreader.fetching.plan import LocalFile, ScalePlan

__all__ = ["begun_bytes", "files_in", "no_room"]


def files_in(folder: str) -> dict[str, LocalFile]:
    """The regular files of a directory, which need not exist."""
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat()) for e in entries if e.is_file()]
    except FileNotFoundError:
        return {}
    return {name: LocalFile(status.st_size, status.st_mtime_ns) for name, status in found}


def begun_bytes(folder: str, plan: ScalePlan) -> int:
    """What of the bytes to come is on the drive already."""
    sizes = {name: file.size for name, file in files_in(folder).items()}
    return sum(
        min(sizes.get(f"{task.name}.part", 0), task.bytes_to_come)
        for task in plan.shard_tasks
        if task.row is not None
    )


def no_room(directory: str, needed: int, free: int) -> ReadError:
    """The error for a drive that is too small."""
    error = ReadError(
        f"{directory}: {needed:,} bytes are to be fetched, but only {free:,} are free on this "
        "drive; make room, or give a directory on another"
    )
    error.errno = errno.ENOSPC
    return error
