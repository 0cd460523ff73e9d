"""Sharded key-value stores on their own: meshes, skeletons, anything stored by a uint64 key.

Specification: sharded.md. Values are bytes; what they mean is not decoded here.
"""

from __future__ import annotations

import operator
import os
from collections.abc import Iterable, Mapping
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_visit import refuse_chunks, visit_chunks
from shardreader.chunks.located import Found
from shardreader.chunks.sharded_source import ShardedSource
from shardreader.errors import FormatFault, InfoError, NotDownloadedError, PointStatus, ReadError
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.after_fork import start_anew_after_fork
from shardreader.runtime.workers import Workers, cores
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import LocalStore
from shardreader.storage.volume_path import directory_of

__all__ = ["Shards", "open_shards"]

_CACHE_BYTES = 64 << 20
# No mesh or skeleton is near it; a larger claim is damage.
_MOST_VALUE_BYTES = 2**31 - 1


def open_shards(
    path: str | os.PathLike[str], spec_or_info: ShardingSpec | Mapping[str, Any]
) -> Shards:
    """Open a directory of shards as a read-only store of bytes by uint64 key.

    Parameters
    ----------
    path : str or path object
        The directory that holds the ``.shard`` files, such as the mesh or skeleton directory of a
        segmentation.
    spec_or_info : ShardingSpec or mapping
        The sharding specification, its JSON, or the JSON of an ``info`` with a member "sharding".

    Returns
    -------
    Shards

    Raises
    ------
    InfoError
        The specification breaks its schema.
    ReadError
        There is no such directory.

    Examples
    --------
    >>> import json
    >>> with open("fixtures/fafb-mini/info") as file:
    ...     scale = json.load(file)["scales"][0]
    >>> shards = open_shards("fixtures/fafb-mini/8.0x8.0x40.0", scale)
    >>> key = shards.keys(0x2FA)[0]
    >>> key in shards, len(shards.get(key)) > 0
    (True, True)
    """
    directory = directory_of(path)
    if not os.path.isdir(directory):
        raise ReadError(f"{directory}: no such directory; give the one that holds the shards")
    return Shards(directory, _spec_of(spec_or_info, directory))


class Shards:
    """Bytes by uint64 key; made by `open_shards`. Safe from many threads.

    Parameters
    ----------
    directory : str
    spec : ShardingSpec
    """

    def __init__(self, directory: str, spec: ShardingSpec) -> None:
        self.path = directory
        self.spec = spec
        self._start()
        start_anew_after_fork(self)

    def start_anew_in_child(self) -> None:
        """Leave all that a forked child shares with its parent; called after a fork."""
        self._store.abandon()
        self._start()

    def _start(self) -> None:
        self._workers = Workers(cores())
        self._store = LocalStore(self.path)
        self._source = ShardedSource(
            self._store,
            "",
            self.spec,
            None,
            cache=ByteCache(_CACHE_BYTES),
            most_encoded_bytes=_MOST_VALUE_BYTES,
            source_has_none=lambda *_: False,
            source_url=None,
            calls_partial=lambda _: False,
        )

    def get(self, key: SupportsIndex) -> bytes | None:
        """The value of a key; None where its shard does not list it.

        Raises
        ------
        NotDownloadedError
            The shard that may hold the key is not there.
        ShardError, ChunkError
            Damaged data.
        ReadError
            The operating system refuses.
        """
        return self.get_many([key])[0]

    def get_many(self, keys: Iterable[SupportsIndex]) -> list[bytes | None]:
        """The values of many keys, in their order, as `get`; read in file order and joined."""
        wanted = _keys_array(keys)
        values: list[bytes | None] = [None] * len(wanted)

        def settle(found: Found, _rows: NDArray[np.intp]) -> None:
            refuse_chunks(self._source, found, what="keys")

        def consume(row: int, value: bytes) -> None:
            values[row] = bytes(value)

        def fail(_row: int, error: Exception) -> None:
            raise error

        visit_chunks(
            self._source,
            self._workers,
            len(wanted),
            find=lambda rows: self._source.find_keys(wanted[rows], self._workers),
            settle=settle,
            consume=consume,
            fail=fail,
        )
        return values

    def keys(self, shard: SupportsIndex) -> NDArray[np.uint64]:
        """All keys of one shard, ascending: uint64, shape (n,).

        Raises
        ------
        NotDownloadedError
            The shard is not there.
        ShardError, ReadError
        """
        number = operator.index(shard)
        if not 0 <= number < 1 << self.spec.shard_bits:
            raise ValueError(f"shard must be from 0 to {(1 << self.spec.shard_bits) - 1}: {number}")
        found = self._source.keys(number)
        if found is None:
            raise NotDownloadedError(
                f"{os.path.join(self.path, self.spec.file_name(number))}: this file is not in the "
                f"copy; copy {self.spec.file_name(number)} from the source again"
            )
        return found

    def __contains__(self, key: object) -> bool:
        """Whether a key is stored; raises as `get` where that cannot be known."""
        if not hasattr(key, "__index__"):
            return False
        number = operator.index(key)
        if not 0 <= number < 1 << 64:
            return False
        found = self._source.find_keys(np.array([number], dtype=np.uint64), self._workers)
        refuse_chunks(self._source, found, what="keys")
        return bool(found.status[0] == PointStatus.OK)

    def __reduce__(self) -> tuple[Any, ...]:
        return open_shards, (self.path, self.spec)

    def __repr__(self) -> str:
        return f"<Shards {self.path}: {1 << self.spec.shard_bits} shards>"


def _spec_of(spec_or_info: object, directory: str) -> ShardingSpec:
    if isinstance(spec_or_info, ShardingSpec):
        return spec_or_info
    if not isinstance(spec_or_info, Mapping):
        raise TypeError(f"expected a ShardingSpec or a mapping, not {spec_or_info!r}")
    is_info = "sharding" in spec_or_info
    try:
        return ShardingSpec.from_json(
            spec_or_info["sharding"] if is_info else spec_or_info,
            "sharding" if is_info else "specification",
        )
    except FormatFault as fault:
        raise InfoError(f"{directory}: {fault}") from None


def _keys_array(keys: Iterable[SupportsIndex]) -> NDArray[np.uint64]:
    numbers = [operator.index(key) for key in keys]
    for number in numbers:
        if not 0 <= number < 1 << 64:
            raise ValueError(f"a key is an integer from 0 to 2**64 - 1, not {number}")
    return np.array(numbers, dtype=np.uint64)
