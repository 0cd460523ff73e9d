"""What a saved listing says of the shards of a volume, as a manifest."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from shardreader.copies.gsutil_listing import ListedObject, Listing, ListingError
from shardreader.errors import InfoError
from shardreader.format.info import VolumeInfo
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest, now
from shardreader.format.shard_lattice import ShardLattice

__all__ = ["ListedSource", "manifest_of", "now", "read_source"]

_SIZE_LIMIT = (1 << 53) - 1


@dataclass(frozen=True)
class ListedSource:
    """The shard files that a listing names.

    Parameters
    ----------
    where : str
        Path of the listing.
    url : str
        Of the volume that was listed.
    complete : bool
        What the listing does not name, the source does not have.
    scales : mapping of str to mapping of str to ListedObject
        By the key of the scale and the name of the file; scales without a file are left out.
    notes : tuple of str
        What was odd about the listing.
    """

    where: str
    url: str
    complete: bool
    scales: Mapping[str, Mapping[str, ListedObject]]
    notes: tuple[str, ...]


class _Place(NamedTuple):
    """A folder of a bucket, taken for the directory of a scale."""

    root: str
    key: str


@dataclass
class _Found:
    """What has been met while a listing is read."""

    where: str
    files: dict[_Place, dict[str, ListedObject]] = field(default_factory=dict)
    impossible: dict[_Place, list[str]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)

    def add(self, place: _Place, name: str, found: ListedObject) -> None:
        """Note a shard file; one that is listed twice must be the same twice."""
        files = self.files.setdefault(place, {})
        before = files.setdefault(name, found)
        if (before.size, before.crc32c) != (found.size, found.crc32c):
            raise InfoError(
                f"{self.where}: lists {found.url} twice, of {before.size} and of {found.size} "
                "bytes; if these are old versions of it, save the listing again without -a"
            )


def read_source(path: str, volume: VolumeInfo) -> ListedSource:
    """Read the saved output of ``gsutil ls -l`` or ``-L``, or of ``gcloud storage ls`` with these.

    A name that the geometry does not allow becomes no path, whatever the listing says.

    Raises
    ------
    InfoError
        It is no such listing, or lists no shard of this volume, or those of two volumes.
    OSError
        The file cannot be read.
    """
    lattices = {s.key: ShardLattice(s) for s in volume.scales if s.sharding is not None}
    found = _Found(path)
    try:
        with open(path, "rb") as file:
            listing = Listing(file)
            for listed in listing:
                _sort_in(found, lattices, listed)
    except ListingError as error:
        raise InfoError(f"{path}: {error}") from None
    roots = {place.root for place in found.files}
    if not roots:
        raise _no_shards(found, listing, list(lattices))
    if len(roots) > 1:
        raise InfoError(
            f"{path}: lists the shards of {len(roots)} volumes, {', '.join(sorted(roots)[:3])}; "
            "save a listing of the one that this is a copy of"
        )
    scales = {place.key: files for place, files in found.files.items()}
    return ListedSource(path, roots.pop(), listing.complete, scales, _notes(found, listing))


def _sort_in(found: _Found, lattices: Mapping[str, ShardLattice], listed: ListedObject) -> None:
    folder, _, name = listed.url.rpartition("/")
    for key, lattice in lattices.items():
        root = _root_of(folder, key)
        if root is None or listed.size > _SIZE_LIMIT:
            continue
        if lattice.number_of_name(name) is not None:
            found.add(_Place(root, key), name, listed)
        elif name.endswith(".shard"):
            found.impossible.setdefault(_Place(root, key), []).append(name)
    if name.endswith(".shard") and len(found.folders) < 3:
        found.folders.add(folder)


def _root_of(folder: str, key: str) -> str | None:
    """The URL of the volume, if `folder` can be the directory of the scale `key`."""
    key = posixpath.normpath(key)
    if key == ".":
        return folder
    if key.startswith(".."):
        return None
    return folder[: -len(key) - 1] if folder.endswith(f"/{key}") else None


def _no_shards(found: _Found, listing: Listing, keys: list[str]) -> InfoError:
    if listing.objects == 0:
        lines = f"; its first line is {listing.first_foreign[0]!r}" if listing.foreign else ""
        return InfoError(
            f"{found.where}: lists no files{lines}; expected the output of `gsutil ls -l`, "
            "`gsutil ls -L`, `gcloud storage ls -l` or `gcloud storage ls -L`"
        )
    there = f"; it has shards in {', '.join(sorted(found.folders))}" if found.folders else ""
    return InfoError(
        f"{found.where}: none of its {listing.objects} files is a shard of this volume, in a "
        f"folder called {' or '.join(keys) or 'as a sharded scale'}{there}"
    )


def _notes(found: _Found, listing: Listing) -> tuple[str, ...]:
    notes = []
    if not listing.complete:
        notes.append(
            "the listing does not end with a TOTAL that fits, so it may be cut off: absent shards "
            "that it does not name stay unknown"
        )
    if listing.foreign:
        notes.append(
            f"{listing.foreign} lines of the listing were not understood and left out, "
            f"such as {listing.first_foreign[0]!r}"
        )
    for place, names in found.impossible.items():
        if place in found.files:
            notes.append(
                f"the source has {len(names)} shard files in {place.key} that no chunk of this "
                f"volume belongs to, such as {names[0]}: is this its info?"
            )
    return tuple(notes)


def manifest_of(source: ListedSource) -> Manifest:
    """The manifest of a source, before a copy is compared with it: nothing is fetched.

    A generation, an ETag and the checksums are kept where the listing has them; md5 only where it
    has no crc32c.
    """
    unlisted = "none" if source.complete else "unknown"
    scales = {
        key: ScaleManifest(unlisted, {name: _record(listed) for name, listed in files.items()})
        for key, files in source.scales.items()
    }
    return Manifest(now(), source.url, "listing", scales)


def _record(listed: ListedObject) -> FileRecord:
    return FileRecord(
        "not_fetched",
        size=listed.size,
        generation=listed.generation,
        etag=listed.etag,
        crc32c=listed.crc32c,
        md5=None if listed.crc32c else listed.md5,
    )
