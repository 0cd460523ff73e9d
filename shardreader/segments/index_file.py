"""A published segment index, open for look-ups."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import SegmentIndexError
from shardreader.segments.engine import connect, cursor, quoted, told
from shardreader.segments.layout import (
    INDEX_FILE,
    INDEX_VERSION,
    ROWS_DIRECTORY,
    index_folder,
    question_digest,
)
from shardreader.segments.row_check import RowCheck, check_of
from shardreader.segments.standing import IndexedShard
from shardreader.storage.documents import VolumeFiles
from shardreader.storage.local_store import FileIdentity, LocalStore

__all__ = ["IndexFile", "IndexSummary"]

_MEMORY = "1GB"
_BUILD = "build it again with: shardreader index"
# DuckDB's own threads and locks are not there in a forked child, not even to be closed.
_abandoned: list[Any] = []


@dataclass(frozen=True)
class IndexSummary:
    """What an index says of itself.

    Attributes
    ----------
    identity : FileIdentity
        Of its file.
    created : str
        UTC.
    rows : int
        Pairs of a segment and a chunk.
    segments : int
    shards : dict of int to IndexedShard
        By number.
    """

    identity: FileIdentity
    created: str
    rows: int
    segments: int
    shards: dict[int, IndexedShard]


class IndexFile:
    """The index of one scale; opened on first use, and again where it was built anew meanwhile.

    Safe from many threads; a forked child calls `start_anew`.

    Parameters
    ----------
    files : VolumeFiles
        Of a sharded scale.
    named : path-like or None
        The directory that the user named for indices; None for the one beside ``info``.
    """

    def __init__(self, files: VolumeFiles, named: str | os.PathLike[str] | None) -> None:
        self._files = files
        self._named = named
        self.folder = index_folder(files.directory, files.scale, named)
        self.path = os.path.join(self.folder, INDEX_FILE)
        self._store = LocalStore(self.folder)
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._connection: Any = None
        self._summary: IndexSummary | None = None
        self._checked: dict[str, tuple[tuple[int, int, int], RowCheck]] = {}

    def start_anew(self) -> None:
        """Leave what a forked child shares with its parent."""
        _abandoned.append(self._connection)
        self._start()

    def close(self) -> None:
        """Close the file; the next question opens it again."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = self._summary = None

    def summary(self) -> IndexSummary:
        """What the index says of itself, as it is on the disk now.

        Raises
        ------
        SegmentIndexError
            There is none, or it is of another volume, or cannot be read.
        """
        return self._opened()[1]

    def segment(self, label: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """The chunks of a segment, ascending, and how many voxels it has in each."""
        found = self._ask("SELECT chunk, voxels FROM built.rows WHERE label = ?", [label])
        order = np.argsort(found["chunk"])
        chunks: NDArray[np.uint64] = found["chunk"][order]
        return chunks, found["voxels"][order].astype(np.int64)

    def count(self, min_voxels: int) -> int:
        """How many segments have at least so many voxels."""
        found = self._ask("SELECT count(*) n FROM built.segments WHERE voxels >= ?", [min_voxels])
        return int(found["n"][0])

    def segments(self, min_voxels: int) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
        """Labels and voxel counts of all segments of at least so many voxels, largest first."""
        found = self._ask(
            "SELECT label, voxels FROM built.segments WHERE voxels >= ? "
            "ORDER BY voxels DESC, label",
            [min_voxels],
        )
        labels: NDArray[np.uint64] = found["label"]
        return labels, found["voxels"].astype(np.int64)

    def shard_rows(
        self, shard: IndexedShard, first: int, last: int
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64], NDArray[np.int64]]:
        """Chunks, labels and voxel counts of a shard's rows with chunk ids in [first, last]."""
        path = os.path.join(self.folder, ROWS_DIRECTORY, shard.rows_file)
        self._check_rows(path, shard.rows_check)
        with told(path, "read the rows of a shard", _BUILD):
            found = (
                cursor()
                .execute(
                    "SELECT chunk, label, voxels FROM read_parquet(?) WHERE chunk BETWEEN ? AND ?",
                    [path, first, last],
                )
                .fetchnumpy()
            )
        return found["chunk"], found["label"], found["voxels"].astype(np.int64)

    def _check_rows(self, path: str, expected: RowCheck) -> None:
        """Read a row file once, and again where it was written since."""
        try:
            here = os.stat(path)
            version = (here.st_ino, here.st_size, here.st_mtime_ns)
            if self._checked.get(path) == (version, expected):
                return
            found = check_of(path)
        except OSError as error:
            raise SegmentIndexError(
                f"{path}: cannot read the rows of a shard: {error.strerror}; {_BUILD}"
            ) from error
        if found != expected:
            raise SegmentIndexError(
                f"{path}: the rows of a shard are damaged: expected {expected}, found {found}; "
                f"{_BUILD} --resume, which indexes this shard again"
            )
        self._checked[path] = version, expected

    def _ask(self, question: str, parameters: list[int]) -> dict[str, NDArray[Any]]:
        connection, _ = self._opened()
        with told(self.path, "read the segment index", _BUILD):
            answer: dict[str, NDArray[Any]] = (
                connection.cursor().execute(question, parameters).fetchnumpy()
            )
        return answer

    def _opened(self) -> tuple[Any, IndexSummary]:
        identity = self._store.identity(INDEX_FILE)
        if identity is None:
            raise self._no_index()
        with self._lock:
            if self._summary is None or self._summary.identity != identity:
                # A reader of the old one may be at work: it keeps its own cursor.
                self._connection, self._summary = self._open(identity)
            return self._connection, self._summary

    def _open(self, identity: FileIdentity) -> tuple[Any, IndexSummary]:
        connection = connect(memory=_MEMORY, threads=1)
        with told(self.path, "open it as a segment index", _BUILD):
            connection.execute(f"ATTACH {quoted(self.path)} AS built (READ_ONLY)")
            # The file may have come with a drive: it shall not make this process read others.
            connection.execute("SET enable_external_access = false")
            connection.execute("SET lock_configuration = true")
            (about,) = connection.execute(
                "SELECT version, question, created, rows, segments FROM built.about"
            ).fetchall()
            shards = connection.execute(
                "SELECT number, size, mtime_ns, rows_file, rows_size, rows_crc32, rows, "
                "is_partial, damage FROM built.shards"
            ).fetchall()
        version, question, created, rows, segments = about
        self._check_question(version, question)
        known = {
            number: IndexedShard(FileStamp(size, mtime), name, RowCheck(length, crc32), *rest)
            for number, size, mtime, name, length, crc32, *rest in shards
        }
        return connection, IndexSummary(identity, created, rows, segments, known)

    def _check_question(self, version: int, question: str) -> None:
        if version != INDEX_VERSION:
            raise SegmentIndexError(
                f"{self.path}: expected a segment index of version {INDEX_VERSION}, found version "
                f"{version}; {_BUILD}"
            )
        if question != question_digest(self._files):
            raise SegmentIndexError(
                f"{self.path}: is the index of a volume with another info (its size, chunks, "
                f"encoding or sharding); {_BUILD}"
            )

    def _no_index(self) -> SegmentIndexError:
        out = "" if self._named is None else f" --out {self._named}"
        command = f"shardreader index {self._files.directory} --scale {self._files.scale.index}"
        if os.path.isdir(os.path.join(self.folder, ROWS_DIRECTORY)):
            return SegmentIndexError(
                f"{self.path}: not there: the index was begun and not finished; go on with: "
                f"{command}{out} --resume"
            )
        elsewhere = (
            "" if self._named else ", or name the directory that --out named (--index, index=)"
        )
        return SegmentIndexError(
            f"{self.path}: there is no segment index; build it with: {command}{out}{elsewhere}"
        )
