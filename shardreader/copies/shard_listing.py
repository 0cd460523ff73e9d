"""Which shard files of a scale are here, and which version of each, by one listing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import NamedTuple

from shardreader.format.info import ScaleInfo
from shardreader.format.shard_lattice import ShardLattice

__all__ = ["FileStamp", "ShardListing", "list_shards", "scale_folder"]

_FIRST_VERSION = (".index", ".data")


class FileStamp(NamedTuple):
    """Which version of a file a result is about: survives a remount, unlike a device number."""

    size: int
    mtime_ns: int


class ShardListing(NamedTuple):
    """The shards of a scale that are here, by number.

    Attributes
    ----------
    stamps : mapping of int to FileStamp
        Whatever lies under the name; (0, 0) for what is no file.
    pairs : frozenset of int
        Those that have only a file in the form of the format's first version.
    """

    stamps: Mapping[int, FileStamp]
    pairs: frozenset[int]


def scale_folder(directory: str, scale: ScaleInfo) -> str:
    """The directory of a scale's files; `directory` is that of ``info``."""
    return os.path.normpath(os.path.join(directory, *scale.key.split("/")))


def list_shards(folder: str, lattice: ShardLattice) -> ShardListing:
    """List a scale's directory; one that does not exist has no shards.

    Raises
    ------
    OSError
        The directory cannot be listed.
    """
    stamps: dict[int, FileStamp] = {}
    pairs = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                number = lattice.number_of_name(entry.name)
                if number is not None:
                    stamps[number] = _stamp(entry)
                elif entry.name.endswith(_FIRST_VERSION):
                    stem = os.path.splitext(entry.name)[0]
                    pairs.add(lattice.number_of_name(f"{stem}.shard"))
    except FileNotFoundError:
        pass
    known = frozenset(number for number in pairs if number is not None)
    return ShardListing(stamps, known - stamps.keys())


def _stamp(entry: os.DirEntry[str]) -> FileStamp:
    try:
        status = entry.stat()
    except OSError:  # a link to nothing: the check of the shard says so
        return FileStamp(0, 0)
    return FileStamp(status.st_size, status.st_mtime_ns) if entry.is_file() else FileStamp(0, 0)
