"""Where an index lies and what it holds.

``shardreader-index/<scale>/`` beside ``info``, or in a directory that the user names, holds

- ``segments.duckdb``: all rows sorted by label, and what they were made of. It appears under its
  name only when it is whole.
- ``rows/*.parquet``: the rows of each shard, sorted by chunk. A shard that is indexed again gets a
  file of another name, so that a published index keeps what it was made of. Beside each its size
  and checksum (``*.check``), which are in ``segments.duckdb`` too.
- ``building.lock``: empty; locked while a build works here.
"""

from __future__ import annotations

import hashlib
import os
from urllib.parse import quote

from shardreader.copies.shard_listing import FileStamp
from shardreader.format.info import ScaleInfo
from shardreader.storage.documents import VolumeFiles

__all__ = [
    "INDEX_DIRECTORY",
    "INDEX_FILE",
    "INDEX_VERSION",
    "LOCK_FILE",
    "ROWS_DIRECTORY",
    "index_folder",
    "question_digest",
    "rows_name",
]

INDEX_DIRECTORY = "shardreader-index"
INDEX_FILE = "segments.duckdb"
ROWS_DIRECTORY = "rows"
LOCK_FILE = "building.lock"
INDEX_VERSION = 2
_DOTS = (".", "..")


def index_folder(directory: str, scale: ScaleInfo, named: str | os.PathLike[str] | None) -> str:
    """The directory of the index of a scale.

    Parameters
    ----------
    directory : str
        That of ``info``.
    scale : ScaleInfo
    named : path-like or None
        The directory that the user named; None for the one beside ``info``.
    """
    home = os.path.join(directory, INDEX_DIRECTORY) if named is None else os.fspath(named)
    key = quote(scale.key, safe="")
    return os.path.join(os.path.abspath(home), key.replace(".", "%2E") if key in _DOTS else key)


def question_digest(files: VolumeFiles) -> str:
    """Tells the volume that an index is about from one whose chunks mean something else."""
    scale = files.scale
    parts = (
        INDEX_VERSION,
        files.volume.data_type,
        files.volume.num_channels,
        scale.size,
        scale.voxel_offset,
        scale.chunk_size,
        scale.encoding,
        scale.block_size,
        scale.sharding,
    )
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def rows_name(shard_name: str, digest: str, stamp: FileStamp) -> str:
    """The name of a shard's row file: another one for another version of the shard."""
    version = hashlib.sha256(f"{digest} {stamp.size} {stamp.mtime_ns}".encode()).hexdigest()
    return f"{shard_name.removesuffix('.shard')}-{version[:16]}.parquet"
