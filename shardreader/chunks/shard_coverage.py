"""Which of its source's chunks a shard file answers for. Used by `sharded_source`.

A whole shard has no record, and a chunk that is not in it is background. A partial one says in its
coverage record what was asked for; nothing is known of the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault, NotDownloadedError, PointStatus
from shardreader.format.byterange import ByteRange
from shardreader.format.coverage import COVERAGE_HEADER_BYTES, Coverage, read_coverage
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import StaleFileError
from shardreader.storage.shard_pairs import ShardFiles

__all__ = ["CoverageFault", "ShardCoverage"]


class CoverageFault(FormatFault):
    """A coverage record that breaks the format, with where it begins."""

    def __init__(self, what: str, *, expected: str, found: str, where: ByteRange) -> None:
        super().__init__(what, expected=expected, found=found)
        self.where = where


class ShardCoverage:
    """The coverage records of the shards of one scale, each read once per version of its file.

    Parameters
    ----------
    files : ShardFiles
    cache : ByteCache
    shard_index_end : int
        Where a record begins, in bytes.
    calls_partial : callable
        Whether the manifest calls a shard partial, by the name of its file.
    """

    def __init__(
        self,
        files: ShardFiles,
        cache: ByteCache,
        shard_index_end: int,
        calls_partial: Callable[[str], bool],
    ) -> None:
        self._files = files
        self._cache = cache
        self._start = shard_index_end
        self._calls_partial = calls_partial
        # Most shards are whole; that costs one entry each, in no need of the cache.
        self._whole: dict[str, Any] = {}

    def status_of_absent(
        self, name: str, identity: Any, keys: NDArray[np.uint64]
    ) -> NDArray[np.uint8]:
        """EMPTY or NOT_DOWNLOADED for chunks that a file does not have, shape of `keys`.

        Raises
        ------
        CoverageFault
        """
        record = self.record(name, identity)
        if record is not None:
            known: NDArray[np.bool_] | bool = record.covers(keys)
        else:
            known = not self._calls_partial(name.rsplit("/", 1)[-1])
        status = np.where(known, PointStatus.EMPTY, PointStatus.NOT_DOWNLOADED).astype(np.uint8)
        return np.broadcast_to(status, keys.shape)

    def record(self, name: str, identity: Any) -> Coverage | None:
        """The record of a file; None where it has none.

        Raises
        ------
        CoverageFault
            It is damaged: what it covers is not known.
        """
        return self._record(name, identity)[0]

    def record_bytes(self, name: str, identity: Any) -> int:
        """Length of the record in the file, 0 where it has none. Raises CoverageFault."""
        return self._record(name, identity)[1] - self._start

    def _record(self, name: str, identity: Any) -> tuple[Coverage | None, int]:
        if self._whole.get(name) == identity:
            return None, self._start
        key = (identity, "coverage", name)
        cached: tuple[Coverage, int] | None = self._cache.get(key)
        if cached is not None:
            return cached
        try:
            record, end = read_coverage(
                lambda start, end: self._files.read(name, start=start, end=end, identity=identity),
                start=self._start,
                file_size=identity.size,
            )
        except FormatFault as fault:
            where = ByteRange(self._start, min(self._start + COVERAGE_HEADER_BYTES, identity.size))
            raise CoverageFault(
                fault.what, expected=fault.expected, found=fault.found, where=where
            ) from None
        if record is None:
            self._whole[name] = identity
            return None, self._start
        self._cache.put(key, (record, end), record.firsts.nbytes + record.lasts.nbytes)
        return record, end

    def refuse_partial(self, name: str, identity: Any) -> None:
        """Raise where a file does not have all keys of its source.

        Raises
        ------
        NotDownloadedError
            The shard is partial.
        CoverageFault
        """
        if self.record(name, identity) is not None:
            raise NotDownloadedError(
                f"{self._files.path(name, identity)}: has only some of the keys of its source, as "
                "its coverage record says; copy it whole"
            )

    def absence(self, name: str, identity: Any, fetch: str) -> tuple[str, str]:
        """Why a chunk of a file that is here is NOT_DOWNLOADED, and what to do about it.

        `fetch` is the command that would fetch the scale.
        """
        try:
            has_record = self.record(name, identity) is not None
        except (CoverageFault, StaleFileError):
            has_record = True  # replaced since
        if has_record:
            box = "--box X0,Y0,Z0,X1,Y1,Z1 --units voxel"
            return "the shard in this copy is partial, without this chunk", f"{fetch} {box}"
        what = (
            "the manifest calls this shard partial, but the file has no coverage record that says "
            "which chunks it answers for"
        )
        return what, f"{fetch} --whole-shards, or shardreader adopt if the file is whole"
