"""Reads the two documents of a volume: ``info`` and the manifest."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from shardreader.decoding.inflate import GZIP_OR_RAW, inflate
from shardreader.decoding.whole_chunk_codecs import require
from shardreader.errors import FormatFault, InfoError, ReadError
from shardreader.format.info import (
    COMPRESSED_SEGMENTATION,
    ScaleInfo,
    VolumeInfo,
    parse_info,
    select_scale,
)
from shardreader.format.manifest import (
    MANIFEST_BYTES_LIMIT,
    MANIFEST_NAME,
    Manifest,
    parse_manifest,
)
from shardreader.format.redirect import redirect_of
from shardreader.storage.local_store import StaleFileError, TooLargeError, read_whole
from shardreader.storage.volume_path import directory_of, is_remote

if TYPE_CHECKING:
    from shardreader.storage.remote_files import RemoteFiles

__all__ = [
    "INFO_BYTES_LIMIT",
    "VolumeFiles",
    "check_supported",
    "open_remote",
    "plain_document",
    "read_info",
    "read_manifest",
    "read_volume_files",
]

# An info with thousands of scales would still be below this.
INFO_BYTES_LIMIT = 16 << 20
# What is asked for of a remote document before its size is known: most are smaller.
_DOCUMENT_BYTES = 1 << 20


class VolumeFiles(NamedTuple):
    """What is known of a volume before any of its chunks is read.

    ``directory`` is the URL of a remote volume, and ``remote`` its store. ``manifest_path`` is set
    only where the user named one; the other is found beside ``info``.
    """

    directory: str
    volume: VolumeInfo
    scale: ScaleInfo
    manifest: Manifest | None
    manifest_path: str | None
    remote: RemoteFiles | None = None

    @property
    def source_url(self) -> str | None:
        """Where the copy came from, if the manifest says so."""
        return None if self.manifest is None else self.manifest.source

    def source_has_none(self, *file_names: str) -> bool:
        """As `Manifest.source_has_none`, for the scale.

        Without a manifest: the word of a remote volume itself counts, once it has shown that it
        has the scale; that of a directory does not.
        """
        if self.manifest is None:
            return self.remote is not None and self.remote.has_shown(self.scale)
        return self.manifest.source_has_none(self.scale.key, *file_names)

    def calls_partial(self, file_name: str) -> bool:
        """Whether the manifest, as it is now, calls a shard partial.

        A fetch may have made the shard whole since the volume was opened.
        """
        if self.manifest is None or not self._says_partial(self.manifest, file_name):
            return False
        if self.remote is not None:
            return True
        now = read_manifest(self.directory, self.manifest_path)
        return now is None or self._says_partial(now, file_name)

    def _says_partial(self, manifest: Manifest, file_name: str) -> bool:
        scale = manifest.scales.get(self.scale.key)
        record = None if scale is None else scale.files.get(file_name)
        return record is not None and record.state == "partial"


def read_volume_files(
    path: str | os.PathLike[str], scale: object, manifest: str | os.PathLike[str] | None
) -> VolumeFiles:
    """Read and check ``info`` and, if there is one, the manifest.

    Raises
    ------
    InfoError, ReadError
        As `open_volume`.
    """
    manifest_path = None if manifest is None else os.path.abspath(os.fspath(manifest))
    if is_remote(path):
        return _read_remote(path, scale, manifest_path)
    directory = directory_of(path)
    volume = read_info(directory)
    where = _info_path(directory)
    chosen = select_scale(volume, scale, where)
    check_supported(volume, chosen, where)
    return VolumeFiles(
        directory, volume, chosen, read_manifest(directory, manifest_path), manifest_path
    )


def open_remote(
    path: str | os.PathLike[str], *, with_manifest: bool = True
) -> tuple[RemoteFiles, VolumeInfo, Manifest | None]:
    """The store of the volume at a URL, its ``info`` and, where it is itself a copy, its manifest.

    An ``info`` that says that the volume has moved (``redirect``) is followed.

    Raises
    ------
    InfoError
        The URL makes no sense, or the extra ``[fetch]`` is not installed; a redirect in a circle.
    InfoError, ReadError
        As `open_volume`.
    """
    from shardreader.storage.remote_files import RemoteFiles
    from shardreader.storage.source_url import follow_redirect, parse_source

    hops = [parse_source(path)]
    while True:
        remote = RemoteFiles(hops[-1])
        try:
            found = _remote_documents(remote, with_manifest=with_manifest)
        except BaseException:
            remote.close()
            raise
        if not isinstance(found, str):
            return remote, *found
        remote.close()
        hops.append(follow_redirect(hops, found))


def _remote_documents(
    remote: RemoteFiles, *, with_manifest: bool
) -> tuple[VolumeInfo, Manifest | None] | str:
    """The documents, or where the info redirects to."""
    from shardreader.storage.remote_ranges import Wanted

    names = ["info", MANIFEST_NAME] if with_manifest else ["info"]
    with remote.ahead([Wanted(name, 0, _DOCUMENT_BYTES, None) for name in names]):
        data = _document(remote, "info", INFO_BYTES_LIMIT)
        if data is None:
            raise InfoError(
                f"{remote.root}: has no file info, so it is not a precomputed volume; give the "
                "URL of the volume, not of one of its scales"
            )
        target = redirect_of(data, remote.path("info"))
        if target is not None:
            return target
        volume = parse_info(data, remote.path("info"))
        manifest = None
        if with_manifest:
            text = _document(remote, MANIFEST_NAME, MANIFEST_BYTES_LIMIT, may_be_refused=True)
            manifest = None if text is None else parse_manifest(text, remote.path(MANIFEST_NAME))
    return volume, manifest


def _read_remote(
    path: str | os.PathLike[str], scale: object, manifest_path: str | None
) -> VolumeFiles:
    remote, volume, manifest = open_remote(path, with_manifest=manifest_path is None)
    try:
        chosen = select_scale(volume, scale, remote.path("info"))
        check_supported(volume, chosen, remote.path("info"))
        if manifest_path is not None:
            manifest = read_manifest("", manifest_path)
    except BaseException:
        remote.close()
        raise
    return VolumeFiles(remote.root, volume, chosen, manifest, manifest_path, remote)


def check_supported(volume: VolumeInfo, scale: ScaleInfo, where: str) -> None:
    """Refuse, by name, an encoding that is not read or whose extra is not installed.

    Raises
    ------
    InfoError
    """
    if scale.encoding != COMPRESSED_SEGMENTATION:
        require(scale.encoding, volume.data_type, volume.num_channels, where)


def read_info(directory: str) -> VolumeInfo:
    """The parsed ``info`` of a local volume."""
    where = _info_path(directory)
    data = _read_document(where, INFO_BYTES_LIMIT)
    if data is None:
        if not os.path.isdir(directory):
            there = "a file, not a directory" if os.path.exists(directory) else "no such directory"
            raise ReadError(f"{directory}: {there}; give the directory that holds the file `info`")
        raise InfoError(
            f"{directory}: has no file `info`, so it is not a precomputed volume; give the "
            "directory that holds it (of the volume, not of one of its scales)"
        )
    return parse_info(data, where)


def _info_path(directory: str) -> str:
    # Each opening of a volume passes here twice; os.path.join takes some microseconds.
    return f"{directory}{os.sep}info"


def read_manifest(directory: str, path: str | None) -> Manifest | None:
    """The manifest at `path`, or the one beside ``info``; None where that does not exist."""
    where = path or f"{directory}{os.sep}{MANIFEST_NAME}"
    data = _read_document(where, MANIFEST_BYTES_LIMIT)
    if data is not None:
        return parse_manifest(data, where)
    if path is not None:
        raise ReadError(f"{path}: no such manifest")
    return None


def _read_document(path: str, most_bytes: int) -> bytes | None:
    try:
        data = read_whole(path, most_bytes)
    except TooLargeError as error:
        raise _too_large(path, most_bytes, error.size) from None
    except StaleFileError:
        raise _unsteady(path) from None
    return None if data is None else plain_document(data, path, most_bytes)


def plain_document(data: bytes, path: str, most_bytes: int) -> bytes:
    """The text of a document, which a bucket may keep as gzip (Content-Encoding: gzip).

    Raises
    ------
    InfoError
        The gzip bytes are damaged, or inflate to more than `most_bytes`.
    """
    try:
        return bytes(inflate(data, 0, len(data), encoding=GZIP_OR_RAW, most_bytes=most_bytes))
    except FormatFault as fault:
        raise InfoError(f"{path}: {fault}; compare the file with the volume's source") from None


def _too_large(path: str, most_bytes: int, size: int) -> InfoError:
    return InfoError(
        f"{path}: expected at most {most_bytes} bytes, found {size}; "
        "compare the file with the volume's source"
    )


def _unsteady(path: str) -> ReadError:
    return ReadError(f"{path}: changed while it was read; try again when it is written")


def _document(
    remote: RemoteFiles, name: str, most_bytes: int, *, may_be_refused: bool = False
) -> bytes | None:
    """The whole of a small remote file; None where there is none.

    A bucket that may not be listed refuses what it does not have: `may_be_refused` takes that
    for none.
    """
    try:
        identity = remote.identity(name)
        if identity is None:
            return None
        if identity.size > most_bytes:
            raise _too_large(remote.path(name), most_bytes, identity.size)
        data = remote.read(name, start=0, end=identity.size, identity=identity)
        return plain_document(data, remote.path(name), most_bytes)
    except StaleFileError:
        raise _unsteady(remote.path(name)) from None
    except ReadError as error:
        from shardreader.storage.plain_http import RefusedError

        if may_be_refused and isinstance(error.__cause__, RefusedError):
            return None
        raise
