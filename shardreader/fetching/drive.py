"""What is on the drive of a copy already, and what to say when it is full."""

from __future__ import annotations

import errno

from shardreader.copies.shard_listing import files_in
from shardreader.errors import ReadError
from shardreader.fetching.plan import ScalePlan

__all__ = ["begun_bytes", "no_room"]


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
