"""Short and long ways to the same answer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shardreader import ShardReaderError, Volume


class Ways:
    """Counts what went the short way, and what was left to the long one."""

    def __init__(self) -> None:
        self.short = self.long = 0


def answers(volume: Volume, points: Any) -> list[Any]:
    """What a volume says of points, asked in each of the ways; exceptions by their words."""
    said: list[Any] = []
    for options in ({}, {"return_status": True}):
        try:
            answer = volume.lookup(points, units="voxel", **options)
            parts = answer if options else (answer,)
            said.append([(part.tolist(), part.dtype, part.shape) for part in parts])
        except (ShardReaderError, ValueError) as error:
            said.append((type(error), str(error)))
    return said


def change_core(volume: Volume, **fields: Any) -> None:
    """Give a volume that is open other parts, for example no short way: ``few_chunks=None``."""
    volume._core = replace(volume._core, **fields)
