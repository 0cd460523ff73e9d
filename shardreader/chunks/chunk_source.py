"""What all sources of chunks share: reading what was found, and saying where it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from shardreader.chunks.located import Found
from shardreader.chunks.stored_reader import ConsumeMany, RangeFiles, StoredReader
from shardreader.errors import ChunkError, FormatFault, Location, ReadError
from shardreader.runtime.workers import Workers
from shardreader.storage.cache import ByteCache
from shardreader.storage.local_store import Store

__all__ = ["ChunkSource"]


class ChunkSource(ABC):
    """Where the chunks of one scale are, and their encoded bytes.

    Parameters
    ----------
    store : Store
    files : Store or ShardFiles
        What chunks are read from.
    directory : str
        Name of the scale's directory in the store; empty for a store of keys without a volume.
    cache : ByteCache
    most_encoded_bytes : int
        The largest encoding that a chunk can need.
    source_has_none : callable
        As `VolumeFiles.source_has_none`.
    source_url : str or None
        Where the copy came from, for advice.
    """

    def __init__(
        self,
        store: Store,
        files: RangeFiles,
        directory: str,
        *,
        cache: ByteCache,
        most_encoded_bytes: int,
        source_has_none: Callable[..., bool],
        source_url: str | None,
    ) -> None:
        self.store = store
        self.directory = directory
        self.cache = cache
        self.source_has_none = source_has_none
        self.source_url = source_url
        self.reader = StoredReader(files, cache, most_encoded_bytes)

    @abstractmethod
    def find(self, cells: NDArray[np.int64], workers: Workers) -> Found:
        """Where the chunks at `cells` (int64, shape (n, 3), inside the grid) are.

        Never raises for one chunk: a problem is a status with its reason.

        Raises
        ------
        ReadError
            The operating system refuses, or the copy itself is gone.
        """

    @abstractmethod
    def location(self, found: Found, row: int) -> Location:
        """Where a chunk is, or would be."""

    def read(
        self,
        found: Found,
        consume: Callable[[int, bytes], None],
        fail: Callable[[int, FormatFault], None],
        workers: Workers,
        consume_many: ConsumeMany | None = None,
        *,
        in_order: bool = False,
    ) -> NDArray[np.intp]:
        """As `StoredReader.read`."""
        return self.reader.read(found, consume, fail, workers, consume_many, in_order=in_order)

    def chunk_error(self, found: Found, row: int, fault: FormatFault) -> ChunkError:
        """A fault in a chunk's bytes, with all that is known about where."""
        location = self.location(found, row)
        return ChunkError.from_fault(fault, location, self.advice(str(location.file)))

    def absence(self, found: Found, row: int) -> tuple[str, str]:
        """Why a chunk is NOT_DOWNLOADED, and what to do about it."""
        return "this file is not in the copy", self.advice(str(self.location(found, row).file))

    def advice(self, path: str) -> str:
        """What to do about a file that is damaged or not there."""
        name = path.replace("\\", "/").rsplit("/", 1)[-1]
        if self.source_url is None:
            return f"copy {name} from the source again"
        url = f"{self.source_url.rstrip('/')}/{self.directory}/{name}"
        return f"copy it again: gsutil cp {url} {path}"

    def name(self, file_name: str) -> str:
        """The name in the store of a file of this scale."""
        return f"{self.directory}/{file_name}" if self.directory else file_name

    def confirm_copy(self) -> None:
        """Raise `ReadError` unless the copy itself is there.

        Only then does a missing file mean NOT_DOWNLOADED.
        """
        if self.directory and not self.store.is_file("info"):
            gone = "info"
        elif not self.store.is_directory(self.directory):
            gone = self.directory
        else:
            return
        raise ReadError(
            f"{self.store.path(gone)}: not there (any more), so nothing can be said about the "
            "files below it; is the drive connected, and was this scale downloaded?"
        )
