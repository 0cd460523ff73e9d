"""Which file of a copy a request means, and whether it may be had.

A reader takes "404 not found" for background. So inside a scale 404 is said only where the manifest
says that the source has no such file; what was not downloaded is "410 gone", an error everywhere.
"""

from __future__ import annotations

import json
import os
import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass

from shardreader.errors import ReadError, ShardReaderError
from shardreader.format.info import ScaleInfo, VolumeInfo
from shardreader.format.manifest import Manifest
from shardreader.storage.documents import read_info, read_manifest
from shardreader.storage.local_store import FileVersion, LocalStore, StaleFileError
from shardreader.storage.shard_pairs import PairIdentity, ShardFiles, parts_of
from shardreader.storage.volume_path import directory_of

__all__ = ["NOT_FOUND", "NOT_HERE", "UNREADABLE", "Refusal", "ServedFile", "ServedVolume"]

NOT_FOUND = 404
"""The source has no such file either, or it is none of the volume's."""
NOT_HERE = 410
"""The source may have it, this copy has not."""
UNREADABLE = 500
"""It is here, and cannot be read or must not be sent."""

# Directories of the info that are not scales.
_DIRECTORIES = ("mesh", "skeletons", "segment_properties")
_DOCUMENTS = ("info", "provenance")
# One-file chunks that other tools compress whole; the client inflates these by their header.
_CODINGS = {"": None, ".gz": "gzip", ".zstd": "zstd"}
_SHARD_NAME = re.compile(r"[0-9a-f]{1,16}\.shard")
_CHUNK_NAME = re.compile(r"(-?\d+-+\d+)(_-?\d+-+\d+){2}")
# A megabyte in memory for each connection.
_PIECE_BYTES = 1 << 20


class Refusal(Exception):
    """A request that is not answered with a file.

    Parameters
    ----------
    status : int
        Of HTTP.
    text : str
        Why, for the reader of a log.
    """

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True)
class ServedFile:
    """A file to send.

    Parameters
    ----------
    name : str
        In the store.
    identity : FileIdentity, PairIdentity or None
        A pair is sent as the shard that it stands for; None where `data` is sent instead.
    data : bytes
    coding : str or None
        The ``Content-Encoding``.
    """

    name: str
    identity: FileVersion | None
    data: bytes = b""
    coding: str | None = None

    @property
    def size(self) -> int:
        """In bytes."""
        return len(self.data) if self.identity is None else self.identity.size


class ServedVolume:
    """The files of one copy that may be asked for.

    Parameters
    ----------
    path : str or path object
        The directory that holds ``info``.

    Attributes
    ----------
    directory : str
    left_out : tuple of str
        Members of the info whose directory is not in this copy, and which the served info has not.

    Raises
    ------
    InfoError
        ``info`` or the manifest breaks its schema.
    ReadError
        No such directory, no scale of it is here, or one is a link that leads out of it.

    Examples
    --------
    >>> served = ServedVolume("fixtures/fafb-mini")
    >>> served.find("8.0x8.0x40.0/02fa.shard").size
    18195
    >>> served.find("8.0x8.0x40.0/0000.shard")
    Traceback (most recent call last):
        ...
    shardreader.viewing.served_volume.Refusal: 8.0x8.0x40.0/0000.shard: not downloaded
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.directory = directory_of(path)
        self.volume: VolumeInfo = read_info(self.directory)
        self._manifest: Manifest | None = read_manifest(self.directory, None)
        self._store = LocalStore(self.directory)
        self._files = ShardFiles(self._store)
        self._root = os.path.realpath(self.directory)
        self._scales = {
            _parts(scale.key): scale
            for scale in self.volume.scales
            if self._store.is_directory(scale.key)
        }
        self._check_scales()
        present = {
            name: value
            for name in _DIRECTORIES
            if (value := getattr(self.volume, name)) is not None and self._store.is_directory(value)
        }
        self._others = {_parts(value) for value in present.values()}
        self.left_out = self._absent_members(present)
        self._info = self._served_info()

    @property
    def scales(self) -> tuple[ScaleInfo, ...]:
        """Those whose directory is here, finest first as in the info."""
        return tuple(self._scales.values())

    def find(self, path: str) -> ServedFile:
        """The file that a path relative to the ``info`` means.

        Raises
        ------
        Refusal
            It is not here, it is none of the volume's, or a link leads out of the volume.
        """
        if path == "info":
            return ServedFile(path, None, self._info)
        parts = tuple(path.split("/"))
        if any(part in ("", ".", "..") or "\\" in part for part in parts):
            raise Refusal(NOT_FOUND, f"{path}: no file of the volume")
        for scale_parts, scale in self._scales.items():
            if parts[:-1] == scale_parts:
                return self._chunk_file(scale, path)
        if path in _DOCUMENTS or any(parts[: len(other)] == other for other in self._others):
            identity = self._identity(path)
            if identity is not None:
                return ServedFile(path, identity)
        raise Refusal(NOT_FOUND, f"{path}: no file of the volume")

    def read(self, file: ServedFile, start: int, end: int) -> Iterator[bytes]:
        """The bytes ``[start, end)`` of a file, piece by piece.

        Raises
        ------
        Refusal
            It was replaced, or cannot be read.
        """
        if file.identity is None:
            yield file.data[start:end]
            return
        for first in range(start, end, _PIECE_BYTES):
            last = min(first + _PIECE_BYTES, end)
            try:
                yield self._files.read(file.name, start=first, end=last, identity=file.identity)
            except StaleFileError:
                raise Refusal(UNREADABLE, f"{file.name}: was replaced; ask again") from None
            except ReadError as error:
                raise Refusal(UNREADABLE, str(error)) from error

    def close(self) -> None:
        """Close the files that are open."""
        self._store.close()

    def _chunk_file(self, scale: ScaleInfo, path: str) -> ServedFile:
        is_sharded = scale.sharding is not None
        name = path.rsplit("/", 1)[-1]
        if not (_SHARD_NAME if is_sharded else _CHUNK_NAME).fullmatch(name):
            raise Refusal(NOT_FOUND, f"{path}: no file of the volume")
        codings = {"": None} if is_sharded else _CODINGS
        for suffix, coding in codings.items():
            identity = self._identity(path + suffix)
            if identity is not None:
                return ServedFile(path + suffix, identity, coding=coding)
        if not self._store.is_file("info"):
            raise Refusal(UNREADABLE, f"{self.directory}: not there any more")
        names = [name + suffix for suffix in codings]
        if self._manifest is not None and self._manifest.source_has_none(scale.key, *names):
            raise Refusal(NOT_FOUND, f"{path}: the source has none either")
        raise Refusal(NOT_HERE, f"{path}: not downloaded")

    def _identity(self, name: str) -> FileVersion | None:
        try:
            is_shard = name.endswith(".shard")
            identity = (self._files if is_shard else self._store).identity(name)
        except ShardReaderError as error:
            raise Refusal(UNREADABLE, str(error)) from error
        is_pair = isinstance(identity, PairIdentity)
        for part in parts_of(name) if is_pair else [name]:
            real = os.path.realpath(self._store.path(part))
            if identity is not None and not _is_inside(real, self._root):
                raise Refusal(UNREADABLE, f"{part}: a link out of the volume is not served")
        return identity

    def _check_scales(self) -> None:
        if not self._scales:
            keys = ", ".join(scale.key for scale in self.volume.scales)
            raise ReadError(
                f"{self.directory}: holds no directory of a scale ({keys}); was one downloaded?"
            )
        for scale in self._scales.values():
            real = os.path.realpath(self._store.path(scale.key))
            if not _is_inside(real, self._root):
                raise ReadError(
                    f"{self._store.path(scale.key)}: leads out of the volume, to {real}, and "
                    "nothing outside of the volume is served; put the info beside the files"
                )

    def _absent_members(self, present: dict[str, str]) -> tuple[str, ...]:
        members = [
            name
            for name in _DIRECTORIES
            if getattr(self.volume, name) is not None and name not in present
        ]
        here = {scale.index for scale in self._scales.values()}
        absent = [scale.key for scale in self.volume.scales if scale.index not in here]
        return (*members, *(f"scale {key}" for key in absent))

    def _served_info(self) -> bytes:
        """The info without what would only lead to errors, because it is not here."""
        document = self.volume.document
        for name in _DIRECTORIES:
            if name in self.left_out:
                del document[name]
        here = {scale.index for scale in self._scales.values()}
        document["scales"] = [
            scale for index, scale in enumerate(document["scales"]) if index in here
        ]
        return json.dumps(document).encode()


def _parts(directory: str) -> tuple[str, ...]:
    """The parts of a directory as a client asks for it: without ``.`` and ``..``."""
    path = posixpath.normpath(directory)
    return () if path == "." else tuple(path.split("/"))


def _is_inside(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip(os.sep) + os.sep)
