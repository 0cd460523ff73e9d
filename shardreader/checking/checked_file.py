"""One shard file under check: its reads, and findings that say where they are."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from shardreader.checking.findings import Finding, FindingKind
from shardreader.errors import ReadError
from shardreader.format.byterange import join_ranges
from shardreader.format.grid import Triple
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import FileRecord
from shardreader.format.shard_lattice import shard_cells, voxels_of_cells
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.local_store import FileIdentity, LocalStore

__all__ = ["CHUNK_GAP_BYTES", "INDEX_GAP_BYTES", "FileChecksum", "Part", "ShardFile"]

# What is read stays in a core's cache until it is inflated; larger reads are no faster.
_READ_BYTES = 1 << 20
# Reading this much that nobody asked for is as quick as a further read; among the indices little,
# because what lies between them is chunks, which are read once.
CHUNK_GAP_BYTES = 256 << 10
INDEX_GAP_BYTES = 4 << 10
# A bad sector fails a read or two; a drive that is gone fails them all.
_MOST_FAILED_READS = 16


class Part(NamedTuple):
    """A range that was asked for: ``data[start:end]``, or the reason why it cannot be read."""

    row: int
    data: bytes
    start: int
    end: int
    error: ReadError | None


class ShardFile:
    """One version of one shard file.

    Parameters
    ----------
    store : LocalStore
    scale : ScaleInfo
    spec : ShardingSpec
        That of `scale`.
    shard_number : int
    identity : FileIdentity
    """

    def __init__(
        self,
        store: LocalStore,
        scale: ScaleInfo,
        spec: ShardingSpec,
        shard_number: int,
        identity: FileIdentity,
    ) -> None:
        self.store = store
        self.scale = scale
        self.spec = spec
        self.number = shard_number
        self.name = f"{scale.key}/{spec.file_name(shard_number)}"
        self.identity = identity
        self.read_bytes = 0

    @property
    def size(self) -> int:
        """Length of the file in bytes."""
        return self.identity.size

    def read(self, start: int, end: int) -> bytes:
        """The bytes ``[start, end)``.

        Raises
        ------
        StaleFileError
        ReadError
        """
        self.read_bytes += end - start
        return self.store.read(self.name, start=start, end=end, identity=self.identity)

    def read_parts(
        self,
        starts: NDArray[np.int64],
        ends: NDArray[np.int64],
        *,
        gap: int,
        checksum: FileChecksum | None = None,
    ) -> Iterator[Part]:
        """Ranges that are sorted by their start, in large reads; also fed to `checksum`.

        Ranges at most `gap` bytes apart are read together.

        Raises
        ------
        StaleFileError
        ReadError
            So many reads fail that the trouble is not with the ranges.
        """
        one_file = np.zeros(len(starts), dtype=np.int64)
        failed = 0
        for first, last in join_ranges(
            one_file, starts, ends, gap=gap, most_bytes=_READ_BYTES, most_ranges=1 << 16
        ):
            start, end = int(starts[first]), int(ends[last - 1])
            try:
                data = self.read(start, end)
            except ReadError:
                for row in range(first, last):
                    part = self._read_alone(row, int(starts[row]), int(ends[row]))
                    failed += part.error is not None
                    if part.error is not None and failed > _MOST_FAILED_READS:
                        raise part.error from None
                    yield part
                continue
            if checksum is not None:
                checksum.take(start, data)
            for row in range(first, last):
                yield Part(row, data, int(starts[row]) - start, int(ends[row]) - start, None)

    def _read_alone(self, row: int, start: int, end: int) -> Part:
        try:
            return Part(row, self.read(start, end), 0, end - start, None)
        except ReadError as error:
            return Part(row, b"", 0, 0, error)

    def finding(
        self,
        kind: FindingKind,
        *,
        minishard: int | None = None,
        chunk_id: int | None = None,
        cell: Triple | None = None,
        byte_range: tuple[int, int] | None = None,
        whole_minishard: bool = False,
        expected: str,
        found: str,
    ) -> Finding:
        """A finding in this file; its voxels are those of the cell, or around the (mini)shard's.

        `whole_minishard`: the latter even though the cell is known, if what names it may be wrong.
        """
        grid = self.scale.grid
        if cell is not None and not whole_minishard:
            box = grid.cell_box(cell)
        else:
            box = voxels_of_cells(grid, shard_cells(self.scale, self.number, minishard))
        return Finding(
            kind,
            self.name,
            self.number,
            minishard,
            chunk_id,
            cell,
            box,
            byte_range,
            expected,
            found,
        )


class _Engine(Protocol):
    def update(self, data: bytes, /) -> Any: ...

    def digest(self) -> bytes: ...


class FileChecksum:
    """The checksum of a whole file, from reads that come in the order of the file."""

    def __init__(self, file: ShardFile, record: FileRecord) -> None:
        self._file = file
        self._position = 0
        self.expected = record.crc32c or record.md5 or ""
        self.name = "crc32c" if record.crc32c else "md5"
        self._engine: _Engine = _crc32c() if record.crc32c else hashlib.md5(usedforsecurity=False)

    def take(self, start: int, data: bytes) -> None:
        """Add a read; what lies between the last one and this is read here."""
        self._read_up_to(start)
        if start + len(data) > self._position:
            self._engine.update(data[self._position - start :])
            self._position = start + len(data)

    def value(self) -> str:
        """The checksum in base64, after reading what is left."""
        self._read_up_to(self._file.size)
        return base64.b64encode(self._engine.digest()).decode()

    def _read_up_to(self, end: int) -> None:
        while self._position < end:
            stop = min(end, self._position + _READ_BYTES)
            self._engine.update(self._file.read(self._position, stop))
            self._position = stop


def _crc32c() -> _Engine:
    import google_crc32c

    engine: _Engine = google_crc32c.Checksum()  # type: ignore[no-untyped-call]
    return engine
