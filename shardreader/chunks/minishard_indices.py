"""The indices of the shards of one scale, read, checked and cached.

Specification: sharded.md, "Shard index format" and "Minishard index format". All methods raise
FormatFault where an index breaks the format, StaleFileError where the file was replaced, and
ReadError where the operating system refuses.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.inflate import inflate, loaded_file_reader, most_stored_bytes
from shardreader.errors import FormatFault
from shardreader.format.byterange import ByteRange
from shardreader.format.grid import Triple
from shardreader.format.index_form import index_form
from shardreader.format.index_rules import ForeignKeysFault
from shardreader.format.morton import MORTON_BITS_LIMIT, morton_bits
from shardreader.format.shard_index import (
    SHARD_INDEX_ENTRY_BYTES,
    MinishardIndex,
    decode_minishard_index,
    minishard_index_range,
    most_minishard_index_bytes,
)
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import FileVersion, Handle
from shardreader.storage.shard_pairs import ShardFiles

__all__ = ["PAGE_ENTRIES", "MinishardIndices", "Shard"]

# The shard index is read in pages, because 2**32 minishards would make it 64 GiB long.
PAGE_ENTRIES = 1 << 12


class Shard(NamedTuple):
    """One version of one shard file."""

    number: int
    name: str
    identity: FileVersion


class Limits(NamedTuple):
    """What is true of all minishard indices of a volume.

    ``most_bytes`` and ``most_stored_bytes`` are the largest sizes, after inflate and in the file;
    ``form`` is all of it for compiled code, as `index_form` gives it;
    ``is_simple`` says whether that can read them.
    """

    most_bytes: int
    most_stored_bytes: int
    is_simple: bool
    form: NDArray[np.int64]


@lru_cache(maxsize=64)  # volumes are opened again and again
def _limits_of(spec: ShardingSpec, grid_size: Triple | None) -> Limits:
    id_bits = MORTON_BITS_LIMIT if grid_size is None else morton_bits(grid_size)
    most_bytes = most_minishard_index_bytes(spec, id_bits)
    encoding = spec.minishard_index_encoding
    most_stored = most_stored_bytes(encoding, most_bytes)
    form = index_form(spec, grid_size, most_stored, most_bytes)
    simple = spec.hash == "identity" and spec.preshift_bits < 64 and encoding in ("gzip", "raw")
    return Limits(most_bytes, most_stored, simple, form)


class MinishardIndices:
    """What the indices of shards say, each read once per version of its file.

    Parameters
    ----------
    files : ShardFiles
    cache : ByteCache
    spec : ShardingSpec
    grid_size : (int, int, int) or None
        Chunks along x, y, z. None for a key-value store, whose keys are any 64 bits.
    """

    def __init__(
        self,
        files: ShardFiles,
        cache: ByteCache,
        spec: ShardingSpec,
        grid_size: tuple[int, int, int] | None,
    ) -> None:
        self._files = files
        self._cache = cache
        self._spec = spec
        self._grid_size = grid_size
        self.limits = _limits_of(spec, grid_size)

    def get(
        self, shard: Shard, minishard: int, handle: Handle | None = None
    ) -> MinishardIndex | None:
        """The index of one minishard; None where it has no chunks.

        With a `handle` of the file it is read by compiled code, if nothing is unusual.
        """
        key = self.key(shard, minishard)
        cached: MinishardIndex | None = self._cache.get(key)
        if cached is not None:
            return cached
        index = None
        kernels = None
        # What reads indices alone must not load numba.
        if handle is not None and self.limits.is_simple and "numba" in sys.modules:
            kernels = loaded_file_reader()
        if kernels is not None and handle is not None:
            is_there, index = self._read_at_once(shard, minishard, handle, kernels)
            if not is_there:
                return None
        index = index or self._read_index(shard, minishard)
        if index is not None:
            self._cache.put(key, index, index.nbytes)
        return index

    def _read_at_once(
        self, shard: Shard, minishard: int, handle: Handle, libdeflate: ModuleType
    ) -> tuple[bool, MinishardIndex | None]:
        """Whether it may have chunks, and the index if nothing is unusual about it."""
        with libdeflate.workspace() as space:
            table = libdeflate.read_minishard_index(
                space,
                handle.descriptor,
                shard.identity.size,
                shard.number,
                minishard,
                self.limits.form,
            )
        if table is None:
            return True, None
        return (True, MinishardIndex(table, None)) if table.size else (False, None)

    def _read_index(self, shard: Shard, minishard: int) -> MinishardIndex | None:
        where = self.where(shard, minishard)
        if where is None:
            return None
        length = where.end - where.start
        if length > self.limits.most_stored_bytes:
            raise FormatFault(
                "stored size of the minishard index",
                expected=f"at most {self.limits.most_stored_bytes} bytes for this grid",
                found=f"{length}",
            )
        return decode_minishard_index(
            inflate(
                self._read(shard, where),
                0,
                length,
                encoding=self._spec.minishard_index_encoding,
                most_bytes=self.limits.most_bytes,
            ),
            spec=self._spec,
            grid_size=self._grid_size,
            shard_number=shard.number,
            minishard_number=minishard,
            file_size=shard.identity.size,
        )

    def key(self, shard: Shard, minishard: int) -> tuple[Any, ...]:
        """What the index of a minishard is cached under."""
        # With the number: two names may lead to one file, and its keys belong to one of them.
        return (shard.identity, "minishard", shard.number, minishard)

    def where(self, shard: Shard, minishard: int) -> ByteRange | None:
        """Where in the file the index of a minishard lies; None where it has no chunks."""
        page = self.page(shard, minishard // PAGE_ENTRIES)
        start, end = page[minishard % PAGE_ENTRIES].tolist()
        return minishard_index_range(
            start,
            end,
            shard_index_end=self._spec.shard_index_end,
            file_size=shard.identity.size,
        )

    def page(self, shard: Shard, number: int) -> NDArray[np.uint64]:
        """A page of the shard index, shape (entries, 2)."""
        key = (shard.identity, "shard index", number)
        cached: NDArray[np.uint64] | None = self._cache.get(key)
        if cached is not None:
            return cached
        index_end = self._spec.shard_index_end
        if shard.identity.size < index_end:
            raise FormatFault(
                "length of the file",
                expected=f"at least {index_end} bytes (the shard index)",
                found=f"{shard.identity.size}",
            )
        page_bytes = PAGE_ENTRIES * SHARD_INDEX_ENTRY_BYTES
        start = number * page_bytes
        data = self._read(shard, ByteRange(start, min(start + page_bytes, index_end)))
        page = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
        self._cache.put(key, page, len(data))
        return page

    def check_keys(self, shard: Shard, minishards: NDArray[np.int64]) -> None:
        """Raise a fault unless the first minishard whose index is sound has keys of its own."""
        first_fault: FormatFault | None = None
        for minishard in minishards.tolist():
            try:
                index = self.get(shard, minishard)
            except ForeignKeysFault:
                raise
            except FormatFault as fault:
                first_fault = first_fault or fault
                continue
            if index is not None and len(index):
                return
        if first_fault is not None:
            raise first_fault

    def filled(self, shard: Shard) -> NDArray[np.int64]:
        """The minishards whose entry in the shard index is not empty, ascending."""
        filled = []
        for number in range(-(-(1 << self._spec.minishard_bits) // PAGE_ENTRIES)):
            page = self.page(shard, number)
            filled.append(np.flatnonzero(page[:, 0] != page[:, 1]) + number * PAGE_ENTRIES)
        return np.concatenate(filled).astype(np.int64)

    def _read(self, shard: Shard, where: ByteRange) -> bytes:
        return self._files.read(
            shard.name, start=where.start, end=where.end, identity=shard.identity
        )
