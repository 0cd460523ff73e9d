"""Chunks of one shard that have come, on the disk until all have.

A file beside the shard, of records: chunk id, length and CRC-32, then the stored bytes; the first
record has the version of the object in their place. What a killed fetch left is gone on with; a
record that is cut or damaged ends it.
"""

from __future__ import annotations

import contextlib
import os
import struct
import threading
import zlib
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from shardreader.runtime.output_file import open_part, write_all
from shardreader.storage.retrying import StoppedError

__all__ = ["ChunkSpool", "discard_spool", "spool_path"]

_RECORD = struct.Struct("<QQI")


def spool_path(shard_path: str) -> str:
    """Where the chunks of a shard are kept until all have come."""
    return f"{shard_path}.chunks.part"


def discard_spool(shard_path: str) -> None:
    """Delete the spool of a shard that has all its chunks, if one was left."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(spool_path(shard_path))


class ChunkSpool:
    """The chunks of one shard; chunks are added from many threads, and read again at the end.

    Parameters
    ----------
    shard_path : str
        Of the shard; what is in its spool is kept if it is of the same version.
    token : str
        Which version of the object at the source the chunks are from.
    """

    def __init__(self, shard_path: str, token: str) -> None:
        self._path = spool_path(shard_path)
        self._lock = threading.Lock()
        self._places: dict[int, tuple[int, int]] = {}
        self._file = open_part(self._path)
        try:
            self._end = self._read_records(token.encode("utf-8"))
            os.ftruncate(self._file, self._end)
            os.lseek(self._file, self._end, os.SEEK_SET)
            if self._end == 0:
                self._append(0, token.encode("utf-8"))
        except BaseException:
            self.close()
            raise

    def __len__(self) -> int:
        return len(self._places)

    @property
    def chunk_ids(self) -> NDArray[np.uint64]:
        """What is here."""
        return np.array(list(self._places), dtype=np.uint64)

    def sizes(self, chunk_ids: NDArray[np.uint64]) -> NDArray[np.int64]:
        """Stored bytes of chunks that are here."""
        return np.array([self._places[i][1] for i in chunk_ids.tolist()], dtype=np.int64)

    def add(self, chunk_id: int, stored: bytes) -> None:
        """Keep a chunk.

        Raises
        ------
        StoppedError
            The spool is closed: the fetch ends early.
        OSError
            The drive refuses.
        """
        with self._lock:
            if self._file < 0:
                raise StoppedError
            if chunk_id not in self._places:
                self._places[chunk_id] = (self._append(chunk_id, stored), len(stored))

    def chunks(self, chunk_ids: NDArray[np.uint64]) -> Iterator[bytes]:
        """The stored bytes of chunks that are here, one after the other.

        Raises
        ------
        OSError
            The file has become shorter.
        """
        for chunk_id in chunk_ids.tolist():
            position, size = self._places[chunk_id]
            os.lseek(self._file, position, os.SEEK_SET)
            yield self._read(size)

    def close(self) -> None:
        """Leave the file for a later fetch."""
        with self._lock:
            if self._file >= 0:
                os.close(self._file)
            self._file = -1

    def _append(self, chunk_id: int, data: bytes) -> int:
        header = _RECORD.pack(chunk_id, len(data), zlib.crc32(data))
        write_all(self._file, header + data)
        position = self._end + len(header)
        self._end = position + len(data)
        return position

    def _read_records(self, token: bytes) -> int:
        """Take what can be trusted; where that ends."""
        size = os.fstat(self._file).st_size
        end = 0
        while end + _RECORD.size <= size:
            chunk_id, length, crc32 = _RECORD.unpack(self._read(_RECORD.size))
            position = end + _RECORD.size
            if length > size - position:
                break
            data = self._read(length)
            if zlib.crc32(data) != crc32 or (end == 0 and data != token):
                break
            if end:
                self._places[chunk_id] = (position, length)
            end = position + length
        return end

    def _read(self, length: int) -> bytes:
        pieces = []
        while length:
            piece = os.read(self._file, min(length, 1 << 30))
            if not piece:
                raise OSError(f"{self._path}: became shorter while it was read")
            pieces.append(piece)
            length -= len(piece)
        return b"".join(pieces)
