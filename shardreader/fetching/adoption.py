"""Writes the manifest of a copy that another program made.

What the source has comes from a saved listing, or from the user's word, which is recorded as such.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

from shardreader.copies.listed_source import manifest_of, now, read_source
from shardreader.copies.shard_listing import files_in, partial_shards, scale_folder
from shardreader.errors import InfoError
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest
from shardreader.format.shard_lattice import ShardLattice
from shardreader.runtime.output_file import replacing
from shardreader.storage.documents import read_info
from shardreader.storage.local_store import read_error
from shardreader.storage.shard_pairs import shard_name
from shardreader.storage.volume_path import directory_of

__all__ = ["AdoptedScale", "Adoption", "WrongSize", "adopt", "adopt_copy"]

# What gsutil, gcloud, rsync and browsers call a file that they have not finished.
_UNFINISHED = re.compile(
    r"([0-9a-f]+\.shard)[._].*(?:gstmp|part|partial|crdownload)"
    r"|\.([0-9a-f]+\.shard)\.[0-9A-Za-z]{6}"
)


class WrongSize(NamedTuple):
    """A file whose size is not that of its source."""

    name: str
    expected: int
    found: int


@dataclass(frozen=True)
class AdoptedScale:
    """What a copy has of one scale.

    Attributes
    ----------
    key : str
    possible : int
        How many shards can hold a chunk, by the geometry.
    whole : int
        Shards here that are of the size of the source.
    partial : tuple of str
        Shards here that say themselves that they have only some of the source's chunks.
    source_has_none : int
        Shards that the source has not.
    missing, unexpected : tuple of str
        Files that only the source has, and that only the copy has.
    wrong_size : tuple of WrongSize
    """

    key: str
    possible: int
    whole: int
    partial: tuple[str, ...]
    source_has_none: int
    missing: tuple[str, ...]
    wrong_size: tuple[WrongSize, ...]
    unexpected: tuple[str, ...]

    @property
    def unknown(self) -> int:
        """Shards of which nothing is known."""
        wrong = len(self.missing) + len(self.wrong_size) + len(self.unexpected)
        return self.possible - self.whole - len(self.partial) - self.source_has_none - wrong

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, partial, wrong or unknown."""
        return self.possible == self.whole + self.source_has_none


@dataclass(frozen=True)
class Adoption:
    """The manifest that was written, and how the copy compares with it.

    Attributes
    ----------
    path : str
        Of the manifest.
    manifest : Manifest
    scales : tuple of AdoptedScale
    notes : tuple of str
    """

    path: str
    manifest: Manifest
    scales: tuple[AdoptedScale, ...]
    notes: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Whether the copy is whole as far as names and sizes tell."""
        return all(scale.ok for scale in self.scales)


def adopt(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    listing: str | os.PathLike[str] | None = None,
    assume_complete: bool = False,
) -> Manifest:
    """Write the manifest of a copy that gsutil or another program made.

    With a manifest, a shard that the source does not have reads as background, one that was not
    downloaded does not, and `verify` knows sizes and checksums.

    Parameters
    ----------
    path : str or path-like
        Directory of the volume.
    source : str
        URL or directory of the volume, which is asked what it has; needs the extra ``[fetch]``.
    listing : str or path-like
        Saved output of ``gsutil ls -l``, ``gsutil ls -L`` or ``gcloud storage ls`` with either.
    assume_complete : bool
        The source has what is here and no more, on your word.

    Returns
    -------
    Manifest
        As written to ``shardreader-manifest.json`` beside the info.

    Raises
    ------
    TypeError
        Not exactly one of the three is given.
    InfoError
        No volume, or a listing that does not fit it.
    ReadError, OSError
        The operating system refuses.

    Examples
    --------
    >>> import shutil, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     copy = shutil.copytree("fixtures/mostly-background", folder + "/copy")
    ...     manifest = adopt(copy, assume_complete=True)
    >>> manifest.basis, sorted(manifest.scales["8_8_40"].files)
    ('user', ['0.shard', '3.shard'])
    """
    return adopt_copy(
        path, source=source, listing=listing, assume_complete=assume_complete
    ).manifest


def adopt_copy(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    listing: str | os.PathLike[str] | None = None,
    assume_complete: bool = False,
) -> Adoption:
    """As `adopt`, but says what is missing, of wrong size and unexpected."""
    if (source is not None) + (listing is not None) + bool(assume_complete) != 1:
        raise TypeError("give one of source, listing and assume_complete")
    directory = directory_of(path)
    volume = read_info(directory)
    scales = [scale for scale in volume.scales if scale.sharding is not None]
    if not scales:
        raise InfoError(f"{directory}: none of its scales is sharded, so there is nothing to adopt")
    if source is not None:
        from shardreader.fetching.asking import ask_source

        manifest, notes = ask_source(source, volume, directory)
        adoption = _by_source(directory, scales, manifest, list(notes), "source")
    elif listing is not None:
        found = read_source(os.path.abspath(os.fspath(listing)), volume)
        adoption = _by_source(directory, scales, manifest_of(found), list(found.notes), "listing")
    else:
        adoption = _by_word(directory, scales)
    with replacing(adoption.path) as file:
        file.write(adoption.manifest.to_json())
    return adoption


def _by_source(
    directory: str, scales: list[ScaleInfo], manifest: Manifest, notes: list[str], word: str
) -> Adoption:
    adopted, manifests = [], {}
    for scale in scales:
        known = manifest.scales.get(scale.key)
        if known is None:
            notes.append(f"the {word} has no file of scale {scale.key}: it is left out")
            continue
        state = _compare(directory, scale, known)
        if state.unexpected:
            notes.append(
                f"the copy has {len(state.unexpected)} shards of {scale.key} that the {word} "
                f"lacks, so the {word} is not taken to be whole: absent shards that it does not "
                "name stay unknown"
            )
            files = {n: r for n, r in known.files.items() if n not in state.unexpected}
            known = ScaleManifest("unknown", files)
            state = _compare(directory, scale, known)
        wrong = {*state.missing, *(file.name for file in state.wrong_size)}
        files = {
            name: record
            if name in wrong or record.state == "none"
            else replace(record, state="partial" if name in state.partial else "whole")
            for name, record in known.files.items()
        }
        manifests[scale.key] = ScaleManifest(known.unlisted, files)
        adopted.append(state)
    return Adoption(
        os.path.join(directory, MANIFEST_NAME),
        replace(manifest, scales=manifests),
        tuple(adopted),
        tuple(notes),
    )


def _compare(directory: str, scale: ScaleInfo, known: ScaleManifest) -> AdoptedScale:
    lattice = ShardLattice(scale)
    here = {
        name: size
        for name, size in _sizes(directory, scale).items()
        if lattice.number_of_name(name) is not None
    }
    at_source = {n: record for n, record in known.files.items() if record.state != "none"}
    partial = _partial(directory, scale, [name for name in here if name in at_source])
    wrong = tuple(
        WrongSize(name, int(record.size or 0), here[name])
        for name, record in sorted(at_source.items())
        if name in here and here[name] != record.size and name not in partial
    )
    missing = tuple(sorted(name for name in at_source if name not in here))
    unexpected = tuple(sorted(name for name in here if name not in at_source))
    none = len(known.files) - len(at_source)
    if known.unlisted == "none":
        none = lattice.count - len(at_source) - len(unexpected)
    return AdoptedScale(
        key=scale.key,
        possible=lattice.count,
        whole=len(here) - len(wrong) - len(unexpected) - len(partial),
        partial=partial,
        source_has_none=none,
        missing=missing,
        wrong_size=wrong,
        unexpected=unexpected,
    )


def _by_word(directory: str, scales: list[ScaleInfo]) -> Adoption:
    adopted, manifests, notes = [], {}, []
    _refuse_without_data(directory, scales)
    for scale in scales:
        lattice = ShardLattice(scale)
        sizes = _sizes(directory, scale)
        here = {n: size for n, size in sizes.items() if lattice.number_of_name(n) is not None}
        files = {name: FileRecord("whole", size=size) for name, size in here.items() if size}
        # What these have of the source is in their coverage record; how large it is, is not.
        partial = _partial(directory, scale, here)
        files.update({name: FileRecord("partial") for name in partial})
        # No word can make these whole: they are downloads that ended before their end.
        empty = tuple(WrongSize(name, 1, 0) for name, size in sorted(here.items()) if size == 0)
        begun = _unfinished(sizes, lattice)
        files.update({name: FileRecord("not_fetched") for name in begun})
        files.update({file.name: FileRecord("not_fetched") for file in empty})
        if begun or empty:
            notes.append(
                f"{scale.key} has {len(begun) + len(empty)} shards that are empty or were left "
                "unfinished by a download: these are recorded as not downloaded"
            )
        manifests[scale.key] = ScaleManifest("none", files)
        adopted.append(
            AdoptedScale(
                key=scale.key,
                possible=lattice.count,
                whole=len(here) - len(empty) - len(partial),
                partial=partial,
                source_has_none=lattice.count - len(here) - len(begun),
                missing=begun,
                wrong_size=empty,
                unexpected=(),
            )
        )
    return Adoption(
        os.path.join(directory, MANIFEST_NAME),
        Manifest(now(), None, "user", manifests),
        tuple(adopted),
        tuple(notes),
    )


def _refuse_without_data(directory: str, scales: list[ScaleInfo]) -> None:
    """No word makes background of a scale of which there is nothing.

    Raises
    ------
    InfoError
    """
    empty: list[str] = []
    full: list[str] = []
    for scale in scales:
        lattice = ShardLattice(scale)
        sizes = _sizes(directory, scale)
        is_there = any(lattice.number_of_name(shard_name(name)) is not None for name in sizes)
        (full if is_there or _unfinished(sizes, lattice) else empty).append(repr(scale.key))
    if empty:
        raise InfoError(
            f"{directory}: has no shard of scale {', '.join(empty)}; there is data of "
            f"{', '.join(full) or 'no scale'}; take the scales without data out of info, or use "
            "--listing or --source"
        )


def _unfinished(sizes: Mapping[str, int], lattice: ShardLattice) -> tuple[str, ...]:
    """Shards that are not here, but a file that a download of them left behind is."""
    begun = {found[1] or found[2] for name in sizes if (found := _UNFINISHED.fullmatch(name))}
    return tuple(
        sorted(n for n in begun if n not in sizes and lattice.number_of_name(n) is not None)
    )


def _partial(directory: str, scale: ScaleInfo, names: Iterable[str]) -> tuple[str, ...]:
    if scale.sharding is None:
        return ()
    folder = scale_folder(directory, scale)
    found = partial_shards(folder, names, scale.sharding)
    for error in found.unreadable.values():
        raise error  # it may be partial, and a manifest must not call it whole
    return tuple(sorted(found.names))


def _sizes(directory: str, scale: ScaleInfo) -> dict[str, int]:
    """The regular files in the directory of a scale."""
    folder = scale_folder(directory, scale)
    try:
        return {name: stamp.size for name, stamp in files_in(folder).items()}
    except OSError as error:
        raise read_error(folder, "list it", error) from error
