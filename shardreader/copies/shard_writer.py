"""Stored chunks to a shard file that has some of its source's chunks, and says which.

The file is, in this order: shard index, coverage record, chunks, minishard indices. The chunks
are sorted by minishard and id as far as they come so, and their stored bytes are copied as they
are. Of them no more than a piece is in memory. Specification: sharded.md.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import zstandard
from numpy.typing import NDArray

from shardreader.copies.partial_shard import (
    ADVICE,
    PartialShard,
    check_index_length,
    read_partial_shard,
    unsteady,
)
from shardreader.errors import ShardError
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.output_file import replacing, sync_directory
from shardreader.storage.local_store import LocalStore, StaleFileError
from shardreader.storage.shard_pairs import ShardFiles

__all__ = [
    "NewChunks",
    "OtherGenerationError",
    "merge_shard",
    "write_shard",
]

_COPY_BYTES = 4 << 20


class OtherGenerationError(ShardError):
    """The chunks that are here are of another version of the source's file than the new ones."""


@dataclass(frozen=True, eq=False)
class NewChunks:
    """Chunks that are to be written.

    Parameters
    ----------
    chunk_ids : ndarray of uint64, shape (n,)
        Each once; best sorted by minishard and id.
    sizes : ndarray of int64, shape (n,)
        Stored bytes of each.
    stored : iterable of bytes
        The chunks themselves, in the same order. It is not asked for more than the next one.

    Examples
    --------
    >>> spec = ShardingSpec(preshift_bits=1, minishard_bits=1, shard_bits=0)
    >>> NewChunks.of({7: b"abc", 3: b"de", 4: b"f"}, spec).chunk_ids.tolist()
    [4, 3, 7]
    """

    chunk_ids: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    stored: Iterable[bytes]

    @classmethod
    def of(cls, chunks: Mapping[int, bytes], spec: ShardingSpec) -> NewChunks:
        """Chunks of one shard that are in memory, by id."""
        ids = np.array(list(chunks), dtype=np.uint64)
        ids = ids[np.lexsort((ids, spec.locate(ids)[1]))]
        stored = [chunks[chunk_id] for chunk_id in ids.tolist()]
        return cls(ids, np.array([len(data) for data in stored], dtype=np.int64), stored)


def write_shard(
    path: str,
    spec: ShardingSpec,
    shard_number: int,
    new: NewChunks,
    coverage: Coverage,
    *,
    part: str | None = None,
) -> None:
    """Write a shard file of these chunks alone, in place of whatever is there.

    Parameters
    ----------
    path : str
        Of the shard file, whose directory exists; it takes its name in one rename.
    spec : ShardingSpec
    shard_number : int
    new : NewChunks
    coverage : Coverage
        Which chunks the file answers for; all of `new`, and those the source does not have.
    part : str, optional
        Name of the file in the making, where the caller knows that nobody else writes it.

    Raises
    ------
    ValueError
        An id stands twice, belongs into another shard or is not covered; a size is 0, or not that
        of the bytes that come; the shard index would have more than 64 MiB.
    OSError
        The drive refuses. What was there stays.

    Examples
    --------
    >>> import tempfile
    >>> spec = ShardingSpec(preshift_bits=1, minishard_bits=1, shard_bits=0)
    >>> new = NewChunks.of({0: b"zero", 5: b"five"}, spec)
    >>> asked = Coverage.of_ids(np.arange(6, dtype=np.uint64), generation="1")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_shard(f"{folder}/0.shard", spec, 0, new, asked)
    ...     here = read_partial_shard(f"{folder}/0.shard", spec, 0)
    >>> here.chunk_ids.tolist(), here.coverage.lasts.tolist()
    ([0, 5], [5])
    """
    _write(path, spec, shard_number, None, new, coverage, part)


def merge_shard(
    path: str,
    spec: ShardingSpec,
    shard_number: int,
    new: NewChunks,
    coverage: Coverage,
    *,
    part: str | None = None,
) -> bool:
    """Write a shard file of these chunks and those of the partial shard that is there, if any.

    A reader sees the old file or the new one. Parameters are those of `write_shard`; of a chunk
    that is in both, the one that is here stays.

    Returns
    -------
    bool
        False where the file that is there is whole: it is left as it is.

    Raises
    ------
    OtherGenerationError
        The chunks that are here are of another version of the source's file. They are not mixed:
        the file stays as it is, and the caller decides whether to fetch all of its coverage from
        the new version (`write_shard` then takes its place), or to fail.
    ShardError
        The file that is there is damaged.
    ReadError
        It cannot be read, or changed meanwhile.
    ValueError, OSError
        As for `write_shard`.
    """
    here = read_partial_shard(path, spec, shard_number)
    if here is None and _is_whole(path):
        return False
    if here is not None:
        if here.coverage.generation != coverage.generation:
            raise OtherGenerationError(
                f"{path}: expected chunks of version {coverage.generation!r} of the shard at the "
                f"source, found chunks of version {here.coverage.generation!r}; they are not "
                f"mixed: {ADVICE}"
            )
        coverage = here.coverage.union(coverage)
    _write(path, spec, shard_number, here, new, coverage, part)
    return True


def _is_whole(path: str) -> bool:
    """Whether a shard that is not partial is there, in one file or in two."""
    folder, name = os.path.split(path)
    return ShardFiles(LocalStore(folder)).identity(name) is not None


@dataclass(frozen=True, eq=False)
class _Layout:
    """All chunks of a file in the making, in the order in which they are written.

    ``rows`` counts through those that are here, then through the new ones.
    """

    rows: NDArray[np.intp]
    chunk_ids: NDArray[np.uint64]
    sizes: NDArray[np.int64]
    minishards: NDArray[np.uint64]


def _write(
    path: str,
    spec: ShardingSpec,
    shard_number: int,
    here: PartialShard | None,
    new: NewChunks,
    coverage: Coverage,
    part: str | None,
) -> None:
    folder, name = os.path.split(path)
    _check(spec, shard_number, new, coverage)
    layout = _layout(spec, here, new)
    head, tail = _head_and_tail(spec, layout, encode_coverage(coverage))
    store = LocalStore(folder)
    try:
        with replacing(path, part=part) as file:
            file.write(head)
            _write_chunks(file, store, name, here, new, layout)
            file.write(tail)
    except StaleFileError:
        raise unsteady(path) from None
    finally:
        store.close()
    sync_directory(folder)


def _check(spec: ShardingSpec, shard_number: int, new: NewChunks, coverage: Coverage) -> None:
    check_index_length(spec.shard_index_end)
    ids = new.chunk_ids
    shards, _ = spec.locate(ids)
    faults = {
        "an id stands twice": len(np.unique(ids)) != len(ids),
        f"an id belongs into another shard than {shard_number:#x}": (shards != shard_number).any(),
        "an id is not covered": not coverage.covers(ids).all(),
        "not every id has a size above 0": len(ids) != len(new.sizes) or (new.sizes <= 0).any(),
    }
    for fault, is_so in faults.items():
        if is_so:
            raise ValueError(f"chunks for {spec.file_name(shard_number)}: {fault}")


def _layout(spec: ShardingSpec, here: PartialShard | None, new: NewChunks) -> _Layout:
    ids, sizes, here_count = new.chunk_ids, new.sizes, 0
    kept = np.ones(len(ids), dtype=np.bool_)
    if here is not None:
        here_count = len(here.chunk_ids)
        kept = ~np.isin(ids, here.chunk_ids)
        ids = np.concatenate([here.chunk_ids, ids])
        sizes = np.concatenate([here.ends - here.starts, sizes])
    rows = np.concatenate([np.arange(here_count), here_count + np.flatnonzero(kept)])
    _, minishards = spec.locate(ids)
    rank = np.empty(len(ids), dtype=np.int64)
    rank[np.lexsort((ids, minishards))] = np.arange(len(ids))
    # Both parts are read from front to back; where they are sorted, so is the outcome.
    reach = np.concatenate(
        [np.maximum.accumulate(rank[:here_count]), np.maximum.accumulate(rank[here_count:])]
    )
    rows = rows[np.argsort(reach[rows], kind="stable")]
    return _Layout(rows, ids[rows], sizes[rows], minishards[rows])


def _head_and_tail(spec: ShardingSpec, layout: _Layout, record: bytes) -> tuple[bytes, bytes]:
    """What goes before the chunks (shard index and coverage record), and the minishard indices.

    The indices are last, because the length of an encoded one depends on the offsets in it.
    """
    entries = np.zeros((1 << spec.minishard_bits, 2), dtype="<u8")
    offsets = len(record) + np.cumsum(layout.sizes) - layout.sizes
    position = len(record) + int(layout.sizes.sum())
    order = np.lexsort((layout.chunk_ids, layout.minishards))
    minishards = layout.minishards[order]
    tail = []
    for rows in np.split(order, np.flatnonzero(minishards[1:] != minishards[:-1]) + 1):
        if len(rows) == 0:
            continue
        stored = _minishard_index(layout.chunk_ids[rows], offsets[rows], layout.sizes[rows], spec)
        entries[int(layout.minishards[rows[0]])] = position, position + len(stored)
        position += len(stored)
        tail.append(stored)
    return entries.tobytes() + record, b"".join(tail)


def _minishard_index(
    chunk_ids: NDArray[np.uint64],
    offsets: NDArray[np.int64],
    sizes: NDArray[np.int64],
    spec: ShardingSpec,
) -> bytes:
    """One minishard index of sorted ids, encoded."""
    table = np.stack([chunk_ids, offsets.astype(np.uint64), sizes.astype(np.uint64)]).astype("<u8")
    # Ids count from the one before, offsets from the end of the chunk before, modulo 2**64.
    table[0, 1:] -= chunk_ids[:-1]
    table[1, 1:] -= (offsets[:-1] + sizes[:-1]).astype(np.uint64)
    return _ENCODERS[spec.minishard_index_encoding](table.tobytes())


_ENCODERS: dict[str, Callable[[bytes], bytes]] = {
    "raw": bytes,
    # Without a time: equal chunks make equal files.
    "gzip": lambda data: gzip.compress(data, mtime=0),
    "zstd": lambda data: zstandard.ZstdCompressor().compress(data),
}


def _write_chunks(
    file: BinaryIO,
    store: LocalStore,
    name: str,
    here: PartialShard | None,
    new: NewChunks,
    layout: _Layout,
) -> None:
    here_count = 0 if here is None else len(here.chunk_ids)
    is_new = layout.rows >= here_count
    coming = _numbered(new)
    for run in np.split(np.arange(len(is_new)), np.flatnonzero(is_new[1:] != is_new[:-1]) + 1):
        rows = layout.rows[run]
        if len(run) == 0:
            continue
        if here is not None and not is_new[run[0]]:
            _copy(file, store, name, here, rows)
            continue
        for row in (rows - here_count).tolist():
            # What comes between is here already.
            file.write(next(stored for number, stored in coming if number == row))
    for _ in coming:
        pass


def _numbered(new: NewChunks) -> Iterator[tuple[int, bytes]]:
    """The new chunks with their row, each of the size that was said."""
    count = 0
    for stored in new.stored:
        if count == len(new.sizes) or len(stored) != new.sizes[count]:
            break
        yield count, stored
        count += 1
    else:
        if count == len(new.sizes):
            return
    raise ValueError(f"chunks of other sizes, or another number, come than said: chunk {count}")


def _copy(
    file: BinaryIO, store: LocalStore, name: str, here: PartialShard, rows: NDArray[np.intp]
) -> None:
    """Copy chunks that are here; what lies together is read together."""
    starts, ends = here.starts[rows], here.ends[rows]
    cuts = np.flatnonzero(starts[1:] != ends[:-1]) + 1
    for run in np.split(np.arange(len(rows)), cuts):
        position, end = int(starts[run[0]]), int(ends[run[-1]])
        while position < end:
            until = min(position + _COPY_BYTES, end)
            file.write(store.read(name, start=position, end=until, identity=here.identity))
            position = until
