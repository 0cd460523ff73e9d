"""Reads the two documents of a volume: ``info`` and the manifest. Floor 3."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shardreader.codecs import require
from shardreader.errors import InfoError, ReadError
from shardreader.info import (
    COMPRESSED_SEGMENTATION,
    ScaleInfo,
    VolumeInfo,
    parse_info,
    select_scale,
)
from shardreader.manifest import (
    MANIFEST_BYTES_LIMIT,
    MANIFEST_NAME,
    Manifest,
    parse_manifest,
)
from shardreader.store import LocalStore, StaleFileError
from shardreader.volume_path import directory_of

__all__ = ["VolumeFiles", "check_supported", "read_info", "read_manifest", "read_volume_files"]

# An info with thousands of scales would still be below this.
_INFO_BYTES_LIMIT = 16 << 20


@dataclass(frozen=True)
class VolumeFiles:
    """What is known of a volume before any of its chunks is read.

    ``manifest_path`` is set only where the user named one; the other is found beside ``info``.
    """

    directory: str
    volume: VolumeInfo
    scale: ScaleInfo
    manifest: Manifest | None
    manifest_path: str | None

    @property
    def source_url(self) -> str | None:
        """Where the copy came from, if the manifest says so."""
        return None if self.manifest is None else self.manifest.source

    def source_has_none(self, *file_names: str) -> bool:
        """As `Manifest.source_has_none`, for the scale; False without a manifest."""
        return self.manifest is not None and self.manifest.source_has_none(
            self.scale.key, *file_names
        )

    def calls_partial(self, file_name: str) -> bool:
        """Whether the manifest, as it is now, calls a shard partial.

        A fetch may have made the shard whole since the volume was opened.
        """
        if self.manifest is None or not self._says_partial(self.manifest, file_name):
            return False
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
    directory = directory_of(path)
    volume = read_info(directory)
    where = os.path.join(directory, "info")
    chosen = select_scale(volume, scale, where)
    check_supported(volume, chosen, where)
    manifest_path = None if manifest is None else os.path.abspath(os.fspath(manifest))
    return VolumeFiles(
        directory, volume, chosen, read_manifest(directory, manifest_path), manifest_path
    )


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
    if not os.path.isdir(directory):
        there = "a file, not a directory" if os.path.exists(directory) else "no such directory"
        raise ReadError(f"{directory}: {there}; give the directory that holds the file `info`")
    data = _read_document(directory, "info", _INFO_BYTES_LIMIT)
    if data is None:
        raise InfoError(
            f"{directory}: has no file `info`, so it is not a precomputed volume; give the "
            "directory that holds it (of the volume, not of one of its scales)"
        )
    return parse_info(data, os.path.join(directory, "info"))


def read_manifest(directory: str, path: str | None) -> Manifest | None:
    """The manifest at `path`, or the one beside ``info``; None where that does not exist."""
    folder, name = os.path.split(path) if path else (directory, MANIFEST_NAME)
    data = _read_document(folder, name, MANIFEST_BYTES_LIMIT)
    if data is not None:
        return parse_manifest(data, os.path.join(folder, name))
    if path is not None:
        raise ReadError(f"{path}: no such manifest")
    return None


def _read_document(directory: str, name: str, most_bytes: int) -> bytes | None:
    store = LocalStore(directory)
    try:
        identity = store.identity(name)
        if identity is None:
            return None
        if identity.size > most_bytes:
            raise InfoError(
                f"{store.path(name)}: expected at most {most_bytes} bytes, found {identity.size}; "
                "compare the file with the volume's source"
            )
        return store.read(name, start=0, end=identity.size, identity=identity)
    except StaleFileError:
        raise ReadError(
            f"{store.path(name)}: changed while it was read; try again when it is written"
        ) from None
    finally:
        store.close()
