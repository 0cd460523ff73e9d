"""Where the chunks of an unsharded scale are: one file each.

Specification: volume.md, "Unsharded chunk storage". An absent file is background only where a
manifest says that the source has none.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.chunk_source import ChunkSource
from shardreader.chunks.located import Found, FoundFile
from shardreader.decoding.inflate import GZIP_OR_RAW
from shardreader.errors import FormatFault, InfoError, Location, PointStatus, ShardError
from shardreader.format.grid import ChunkGrid
from shardreader.runtime.workers import Workers
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import FileVersion, Store

__all__ = ["SUFFIXES_TO_ASK", "UnshardedSource"]

# Other tools append what a file is compressed with: suffix -> our name of the encoding. Copy tools
# leave gzip bytes under the plain name, as a bucket has them with Content-Encoding: gzip. The first
# bytes tell: no encoding but raw can begin as gzip does, and of raw the size tells.
_SUFFIXES = {"": GZIP_OR_RAW, ".gz": "gzip", ".zstd": "zstd"}
_REFUSED = {".br": "brotli"}
SUFFIXES_TO_ASK = (*_SUFFIXES, *_REFUSED)
# Files looked for by one worker at a time.
_FILES_A_JOB = 64


class UnshardedSource(ChunkSource):
    """The chunks of one scale in files ``x0-x1_y0-y1_z0-z1``, plain or compressed whole.

    Parameters
    ----------
    store, directory, cache, most_encoded_bytes, source_has_none, source_url
        As for `ChunkSource`.
    grid : ChunkGrid
    raw_voxel_bytes : int
        Bytes of a voxel, all channels, where the encoding is raw; 0 of another encoding.
    """

    def __init__(
        self,
        store: Store,
        directory: str,
        grid: ChunkGrid,
        raw_voxel_bytes: int,
        *,
        cache: ByteCache,
        most_encoded_bytes: int,
        source_has_none: Callable[..., bool],
        source_url: str | None,
    ) -> None:
        super().__init__(
            store,
            store,
            directory,
            cache=cache,
            most_encoded_bytes=most_encoded_bytes,
            source_has_none=source_has_none,
            source_url=source_url,
        )
        self.grid = grid
        self._raw_voxel_bytes = raw_voxel_bytes

    def find(self, cells: NDArray[np.int64], workers: Workers) -> Found:
        """As `ChunkSource.find`. Raises `InfoError` for a compression that is not read."""
        found = Found.blank(np.zeros(len(cells), dtype=np.uint64), cells)
        found.file_numbers[:] = np.arange(len(cells))
        names = self.grid.file_names(cells)
        _, shapes = self.grid.cell_extents(cells)
        raw_sizes = (shapes.prod(axis=1) * self._raw_voxel_bytes).tolist()
        found.files = [FoundFile(self.name(name), None, "raw") for name in names]

        def search(first: int) -> None:
            for row in range(first, min(first + _FILES_A_JOB, len(names))):
                self._find_one(found, row, names[row], raw_sizes[row])

        workers.run(search, range(0, len(names), _FILES_A_JOB))
        if (found.status == PointStatus.NOT_DOWNLOADED).any():
            self.confirm_copy()
        return found

    def location(self, found: Found, row: int) -> Location:
        """As `ChunkSource.location`."""
        in_file = found.status[row] == PointStatus.OK
        return Location(
            file=self.store.path(found.files[row].name),
            cell=None if found.cells is None else tuple(found.cells[row].tolist()),
            byte_range=(int(found.starts[row]), int(found.ends[row])) if in_file else None,
        )

    def _find_one(self, found: Found, row: int, file_name: str, raw_size: int) -> None:
        rows = np.array([row])
        try:
            file = self._present(file_name)
        except ShardError as error:
            found.mark_corrupt(rows, error)
            return
        if file is None:
            self._refuse_other_compression(file_name)
            none = self.source_has_none(*(file_name + suffix for suffix in _SUFFIXES))
            found.status[row] = PointStatus.EMPTY if none else PointStatus.NOT_DOWNLOADED
            return
        found.files[row], found.ends[row] = file
        if file[0].encoding == GZIP_OR_RAW and file[1] == raw_size:
            found.files[row] = file[0]._replace(encoding="raw")
        if found.ends[row] == 0:
            found.status[row] = PointStatus.CORRUPT
            fault = FormatFault("length of the file", expected="at least 1 byte", found="0")
            found.mark_corrupt(rows, self.chunk_error(found, row, fault))

    def _present(self, file_name: str) -> tuple[FoundFile, int] | None:
        # Always in this order: where two are there, what was read before must not decide.
        for suffix, encoding in _SUFFIXES.items():
            name = self.name(file_name + suffix)
            identity: FileVersion | None = self.store.identity(name)
            if identity is not None:
                return FoundFile(name, identity, encoding), identity.size
        return None

    def _refuse_other_compression(self, file_name: str) -> None:
        for suffix, compression in _REFUSED.items():
            name = self.name(file_name + suffix)
            if self.store.identity(name) is not None:
                raise InfoError(
                    f"{self.store.path(name)}: files compressed with {compression} are not "
                    f"supported: decompress those of {self.directory} first"
                )
