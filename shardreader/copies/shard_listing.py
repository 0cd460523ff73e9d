"""Which shard files of a scale are here, and which version of each, by one listing."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import NamedTuple

from shardreader.errors import FormatFault, ReadError, ShardError
from shardreader.format.coverage import COVERAGE_HEADER_BYTES, coverage_length
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import MANIFEST_NAME, Manifest
from shardreader.format.shard_geometry import possible_shard_count, possible_shards
from shardreader.format.shard_lattice import ShardLattice
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.local_store import LocalStore, StaleFileError
from shardreader.storage.shard_pairs import parts_of, shard_name

__all__ = [
    "CopySummary",
    "FileStamp",
    "PartialShards",
    "ShardListing",
    "files_in",
    "list_shards",
    "partial_shards",
    "scale_folder",
    "summarize_copy",
]

_FIRST_VERSION = (".index", ".data")


class FileStamp(NamedTuple):
    """Which version of a file a result is about: survives a remount, unlike a device number."""

    size: int
    mtime_ns: int


class ShardListing(NamedTuple):
    """The shards of a scale that are here, by number.

    Attributes
    ----------
    stamps : mapping of int to FileStamp
        Whatever lies under the name; (0, 0) for what is no file.
    pairs : frozenset of int
        Those that have only a file in the form of the format's first version.
    """

    stamps: Mapping[int, FileStamp]
    pairs: frozenset[int]


def scale_folder(directory: str, scale: ScaleInfo) -> str:
    """The directory of a scale's files; `directory` is that of ``info``."""
    return os.path.normpath(os.path.join(directory, *scale.key.split("/")))


def files_in(folder: str) -> dict[str, FileStamp]:
    """The regular files of a directory, which need not exist.

    Raises
    ------
    OSError
        The directory cannot be listed.
    """
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat()) for e in entries if e.is_file()]
    except FileNotFoundError:
        return {}
    return {name: FileStamp(status.st_size, status.st_mtime_ns) for name, status in found}


def list_shards(folder: str, lattice: ShardLattice) -> ShardListing:
    """List a scale's directory; one that does not exist has no shards.

    Raises
    ------
    OSError
        The directory cannot be listed.
    """
    stamps: dict[int, FileStamp] = {}
    pairs = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                number = lattice.number_of_name(entry.name)
                if number is not None:
                    stamps[number] = _stamp(entry)
                elif entry.name.endswith(_FIRST_VERSION):
                    stem = os.path.splitext(entry.name)[0]
                    pairs.add(lattice.number_of_name(f"{stem}.shard"))
    except FileNotFoundError:
        pass
    known = frozenset(number for number in pairs if number is not None)
    return ShardListing(stamps, known - stamps.keys())


def _stamp(entry: os.DirEntry[str]) -> FileStamp:
    try:
        status = entry.stat()
    except OSError:  # a link to nothing: the check of the shard says so
        return FileStamp(0, 0)
    return FileStamp(status.st_size, status.st_mtime_ns) if entry.is_file() else FileStamp(0, 0)


_LITTER = ("._*", ".DS_Store", "Thumbs.db", "desktop.ini", "*.gstmp", "*.part", "*.crdownload")
_SUFFIXES = (".shard", ".index", ".data")
# Names are listed up to here (100 MB of them); FAFB-FFN1 has 3,689.
_COUNTABLE = 1 << 20


@dataclass(frozen=True)
class CopySummary:
    """The files of one sharded scale.

    Attributes
    ----------
    possible : int
        How many shards can hold a chunk, by the geometry.
    present, present_bytes : int
        Those whose file is here, or both files of the first version, and the size of these files.
    partial : int
        Those of them that say themselves that they have only some of their source's chunks.
    unreadable : tuple of str
        Those of them that the operating system refuses to read.
    source_has_none, not_downloaded, unknown : int
        The absent ones: the manifest says that the source has no such file; it says that the
        source has one; nothing is known.
    directory_exists : bool
        Whether the directory of the scale is there at all.
    impossible : tuple of str
        Shard files that no chunk of this volume belongs to.
    pairs : tuple of str
        Files of the first version that stand for shards, two for each.
    litter, other : tuple of str
        Files of the operating system or of a download, and whatever else is not a shard.
    """

    possible: int
    present: int
    present_bytes: int
    partial: int
    unreadable: tuple[str, ...]
    source_has_none: int
    not_downloaded: int
    unknown: int
    directory_exists: bool
    impossible: tuple[str, ...]
    pairs: tuple[str, ...]
    litter: tuple[str, ...]
    other: tuple[str, ...]

    @property
    def absent(self) -> int:
        """Possible shards whose file is not here."""
        return self.possible - self.present


def summarize_copy(
    root: str, scale: ScaleInfo, sharding: ShardingSpec, manifest: Manifest | None
) -> CopySummary:
    """Count the shard files of a scale by listing its directory once.

    Parameters
    ----------
    root : str
        The directory of the info.
    scale : ScaleInfo
        Of which the shards are counted.
    sharding : ShardingSpec
        That of the scale.
    manifest : Manifest or None
        What is known of the source.

    Raises
    ------
    OSError
        The directory cannot be listed.
    """
    sizes: dict[str, int] = {}
    unreadable: set[str] = set()
    litter: list[str] = []
    other: list[str] = []
    possible = _possible_names(scale, sharding)
    directory = scale_folder(root, scale)
    exists = os.path.isdir(directory)
    for entry in os.scandir(directory) if exists else ():
        if any(fnmatchcase(entry.name, pattern) for pattern in _LITTER):
            litter.append(entry.name)
        elif entry.name.endswith(_SUFFIXES) and (size := _file_size(entry, unreadable)) is not None:
            sizes[entry.name] = size
        else:
            other.append(entry.name)
    shards, pairs = _shards(sizes)
    impossible = [name for name in shards if not _is_possible(name, possible, sharding)]
    present = {name: shards[name] for name in shards.keys() - set(impossible)}
    own_files = {"info", MANIFEST_NAME} if directory == os.path.normpath(root) else set()
    count = possible_shard_count(scale)
    has_none, not_downloaded = _absent(scale, possible, set(present), count, manifest)
    asked = _may_be_partial(present.keys() - unreadable, present, scale, manifest)
    partial = partial_shards(directory, asked, sharding)
    return CopySummary(
        possible=count,
        present=len(present),
        present_bytes=sum(present.values()),
        partial=len(partial.names),
        unreadable=tuple(sorted((unreadable & present.keys()) | partial.unreadable.keys())),
        source_has_none=has_none,
        not_downloaded=not_downloaded,
        unknown=count - len(present) - has_none - not_downloaded,
        directory_exists=exists,
        impossible=tuple(sorted(impossible)),
        litter=tuple(sorted(litter)),
        pairs=tuple(sorted(pairs)),
        other=tuple(sorted({*other, *sizes} - shards.keys() - pairs - own_files)),
    )


def _file_size(entry: os.DirEntry[str], unreadable: set[str]) -> int | None:
    """The size of a regular file, None for what is none; of what cannot be looked at it is 0."""
    try:
        return entry.stat().st_size if entry.is_file() else None
    except OSError:
        unreadable.add(entry.name)
        return 0


class PartialShards(NamedTuple):
    """What the first bytes behind the shard indices of some files say.

    Attributes
    ----------
    names : frozenset of str
        Files that have a coverage record, sound or not.
    unreadable : mapping of str to ReadError
        Files that the operating system refuses to read, and why.
    """

    names: frozenset[str]
    unreadable: Mapping[str, ReadError]


def partial_shards(folder: str, names: Iterable[str], sharding: ShardingSpec) -> PartialShards:
    """Those of some shard files that have a coverage record, and those that cannot be read."""
    start = sharding.shard_index_end
    found = set()
    unreadable = {}
    store = LocalStore(folder)
    for name in names:
        try:
            identity = store.identity(name)
            if identity is None or identity.size <= start:
                continue
            end = min(start + COVERAGE_HEADER_BYTES, identity.size)
            header = store.read(name, start=start, end=end, identity=identity)
            if coverage_length(header, identity.size - start) is not None:
                found.add(name)
        except FormatFault:
            found.add(name)
        except ReadError as error:
            unreadable[name] = error
        except (ShardError, StaleFileError):
            continue  # no file, or replaced in this moment
    store.close()
    return PartialShards(frozenset(found), unreadable)


def _may_be_partial(
    names: Iterable[str], sizes: Mapping[str, int], scale: ScaleInfo, manifest: Manifest | None
) -> list[str]:
    """The shards that the manifest does not call whole, with their size."""
    known = manifest.scales.get(scale.key) if manifest else None
    records = known.files if known else {}
    return [
        name
        for name in names
        if name not in records
        or (records[name].state, records[name].size) != ("whole", sizes[name])
    ]


def _shards(sizes: dict[str, int]) -> tuple[dict[str, int], set[str]]:
    """The size of each shard by its name, and the files of those that are pairs."""
    shards = {name: size for name, size in sizes.items() if name.endswith(".shard")}
    pairs: set[str] = set()
    for whole in {shard_name(name) for name in sizes} - shards.keys():
        parts = parts_of(whole)
        if sizes.keys() >= set(parts):
            shards[whole] = sum(sizes[part] for part in parts)
            pairs.update(parts)
    return shards, pairs


def _possible_names(scale: ScaleInfo, sharding: ShardingSpec) -> frozenset[str] | None:
    """The names of all possible shard files; None where there are too many to list."""
    if possible_shard_count(scale) > _COUNTABLE:
        return None
    return frozenset(map(sharding.file_name, possible_shards(scale).tolist()))


def _is_possible(name: str, possible: frozenset[str] | None, sharding: ShardingSpec) -> bool:
    if possible is not None:
        return name in possible
    digits = len(sharding.file_name(0)) - len(".shard")
    return re.fullmatch(f"[0-9a-f]{{{digits}}}\\.shard", name) is not None


def _absent(
    scale: ScaleInfo,
    possible: frozenset[str] | None,
    present: set[str],
    count: int,
    manifest: Manifest | None,
) -> tuple[int, int]:
    """How many absent shards the source is known to have not, and to have."""
    known = manifest.scales.get(scale.key) if manifest else None
    if manifest is None or known is None:
        return 0, 0
    listed = {shard_name(name) for name in known.files}
    absent = {name for name in listed if possible is None or name in possible} - present
    has_none = sum(manifest.source_has_none(scale.key, name, *parts_of(name)) for name in absent)
    not_downloaded = len(absent) - has_none
    if known.unlisted == "none":
        has_none = count - len(present) - not_downloaded
    return has_none, not_downloaded
