"""What a partial shard file has: its coverage record and where its chunks are.

Specification: sharded.md.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.inflate import inflate, most_stored_bytes
from shardreader.errors import FormatFault, Location, ReadError, ShardError
from shardreader.format.coverage import Coverage, read_coverage
from shardreader.format.morton import MORTON_BITS_LIMIT
from shardreader.format.shard_index import (
    MinishardIndex,
    decode_minishard_index,
    minishard_index_range,
    most_minishard_index_bytes,
)
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.local_store import FileIdentity, LocalStore, StaleFileError

__all__ = [
    "ADVICE",
    "MOST_SHARD_INDEX_BYTES",
    "PartialShard",
    "check_index_length",
    "read_partial_shard",
    "unsteady",
]

# The shard index is held in memory; with the 2**22 minishards of this one, no chunk would be left.
MOST_SHARD_INDEX_BYTES = 64 << 20
ADVICE = "delete the file, then fetch what it had again"


@dataclass(frozen=True, eq=False)
class PartialShard:
    """A partial shard file that is here.

    Attributes
    ----------
    identity : FileIdentity
    coverage : Coverage
    chunk_ids : ndarray of uint64, shape (n,)
        By their place in the file.
    starts, ends : ndarray of int64, shape (n,)
        Byte ranges in the file.
    """

    identity: FileIdentity
    coverage: Coverage
    chunk_ids: NDArray[np.uint64]
    starts: NDArray[np.int64]
    ends: NDArray[np.int64]


def read_partial_shard(path: str, spec: ShardingSpec, shard_number: int) -> PartialShard | None:
    """What a partial shard file has; None where there is no file, or a whole one.

    Raises
    ------
    ShardError
        Its shard index, its coverage record or one of its minishard indices is damaged.
    ReadError
        It cannot be read, or changed meanwhile.
    """
    folder, name = os.path.split(path)
    store = LocalStore(folder)
    try:
        identity = store.identity(name)
        if identity is None:
            return None
        return _Reading(store, name, identity, spec, shard_number).shard()
    except StaleFileError:
        raise unsteady(path) from None
    finally:
        store.close()


class _Reading:
    """Reads all indices of a partial shard."""

    def __init__(
        self,
        store: LocalStore,
        name: str,
        identity: FileIdentity,
        spec: ShardingSpec,
        shard_number: int,
    ) -> None:
        self._store = store
        self._name = name
        self._identity = identity
        self._spec = spec
        self._number = shard_number

    def shard(self) -> PartialShard | None:
        index_end = self._spec.shard_index_end
        minishard = None
        try:
            check_index_length(index_end)
            if self._identity.size < index_end:
                found = f"{self._identity.size}"
                raise FormatFault(
                    "length of the file", expected=f"at least {index_end} bytes", found=found
                )
            coverage, _ = read_coverage(self._read, start=index_end, file_size=self._identity.size)
            if coverage is None:
                return None
            entries = np.frombuffer(self._read(0, index_end), "<u8").reshape(-1, 2)
            parts = []
            for minishard in np.flatnonzero(entries[:, 0] != entries[:, 1]).tolist():
                start, end = entries[minishard].tolist()
                parts.append(self._minishard(minishard, start, end))
        except FormatFault as fault:
            location = Location(self._store.path(self._name), self._number, minishard)
            raise ShardError.from_fault(fault, location, ADVICE) from None
        ids = np.concatenate([np.zeros(0, np.uint64), *(part.chunk_ids for part in parts)])
        starts = np.concatenate([np.zeros(0, np.int64), *(part.starts for part in parts)])
        ends = np.concatenate([np.zeros(0, np.int64), *(part.ends for part in parts)])
        order = np.argsort(starts, kind="stable")
        return PartialShard(self._identity, coverage, ids[order], starts[order], ends[order])

    def _read(self, start: int, end: int) -> bytes:
        return self._store.read(self._name, start=start, end=end, identity=self._identity)

    def _minishard(self, minishard: int, start: int, end: int) -> MinishardIndex:
        spec, file_size = self._spec, self._identity.size
        where = minishard_index_range(
            start, end, shard_index_end=spec.shard_index_end, file_size=file_size
        )
        encoding = spec.minishard_index_encoding
        most = most_minishard_index_bytes(spec, MORTON_BITS_LIMIT)
        if where is None or where.end - where.start > most_stored_bytes(encoding, most):
            raise FormatFault(
                "stored size of the minishard index", expected=f"at most {most}", found=f"{where}"
            )
        stored = self._read(where.start, where.end)
        index = decode_minishard_index(
            inflate(stored, 0, len(stored), encoding=encoding, most_bytes=most),
            spec=spec,
            grid_size=None,  # reads of the file check its ids against the grid
            shard_number=self._number,
            minishard_number=minishard,
            file_size=file_size,
        )
        for position in np.flatnonzero(~index.sound).tolist():
            raise index.fault(position, shard_index_end=spec.shard_index_end, file_size=file_size)
        return index


def unsteady(path: str) -> ReadError:
    """The error for a file that somebody else writes to."""
    return ReadError(f"{path}: changed while it was read; try again")


def check_index_length(index_end: int) -> None:
    """Raise a FormatFault where a shard index is too long to be held in memory."""
    if index_end > MOST_SHARD_INDEX_BYTES:
        raise FormatFault(
            "shard index of a partial shard",
            expected=f"at most {MOST_SHARD_INDEX_BYTES} bytes",
            found=f"{index_end}; fetch whole shards of this volume",
        )
