"""What is to be checked: which shards there can be, which are here, which are absent.

Lists each directory once and opens no shard.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from shardreader.checking.findings import Finding, FindingKind
from shardreader.copies.shard_listing import list_shards, scale_folder, summarize_copy
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo
from shardreader.format.manifest import FileRecord, Manifest
from shardreader.format.shard_lattice import COUNTABLE_SHARDS, ShardLattice
from shardreader.format.shard_ranges import ShardRanges
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.local_store import read_error

__all__ = ["Absent", "PlannedShard", "ScalePlan", "Selection", "check_key", "plan_scale"]

_FIRST_VERSION = (".index", ".data")
_NUMBERS_IN_KEY = re.compile(r"(\d+(?:\.\d+)?)[_x](\d+(?:\.\d+)?)[_x](\d+(?:\.\d+)?)")


@dataclass(frozen=True)
class Selection:
    """Which shards the user wants checked.

    Parameters
    ----------
    shards : ShardRanges or None
        All of them if None.
    cells : Box or None
        Those that hold one of these chunks; all of them if None.
    """

    shards: ShardRanges | None = None
    cells: Box | None = None

    @property
    def is_whole(self) -> bool:
        """Whether nothing is left out."""
        return self.shards is None and self.cells is None


class PlannedShard(NamedTuple):
    """One shard file to check."""

    number: int
    size: int
    mtime_ns: int
    record: FileRecord | None
    at_source: bool
    """False where the manifest says that the source has no such file."""


class Absent(NamedTuple):
    """Selected shards without a file."""

    source_has_none: ShardRanges
    not_downloaded: ShardRanges
    unknown: ShardRanges
    uncounted: int
    """Unknown ones of a scale that has too many shards to list."""


@dataclass(frozen=True)
class ScalePlan:
    """One scale.

    Attributes
    ----------
    scale : ScaleInfo
    lattice : ShardLattice
    planned : tuple of PlannedShard
        In the order of their numbers.
    absent : Absent
    first_version : ShardRanges
        Selected shards that are pairs of files in the form of the format's first version.
    findings : tuple of Finding
        What the list of files shows: notes, and shards that are not here.
    """

    scale: ScaleInfo
    lattice: ShardLattice
    planned: tuple[PlannedShard, ...]
    absent: Absent
    first_version: ShardRanges
    findings: tuple[Finding, ...]


def plan_scale(
    directory: str,
    scale: ScaleInfo,
    sharding: ShardingSpec,
    manifest: Manifest | None,
    selection: Selection,
) -> ScalePlan:
    """Compare the files of a scale with the geometry and the manifest.

    Raises
    ------
    ReadError
        The directory cannot be listed.
    """
    lattice = ShardLattice(scale)
    folder = scale_folder(directory, scale)
    try:
        summary = summarize_copy(directory, scale, sharding, manifest)
        here, pairs = list_shards(folder, lattice)
    except OSError as error:
        raise read_error(folder, "list it", error) from error
    wanted = _Wanted(lattice, selection)
    planned = tuple(
        _planned(number, here[number], scale.key, sharding.file_name(number), manifest)
        for number in sorted(here)
        if wanted.takes(number)
    )
    absent = _absent(wanted, scale, sharding, manifest, {*here, *pairs}, lattice.count)
    notes = [
        _note(FindingKind.UNEXPECTED_FILE, scale, name, "the name of a possible shard")
        for name in summary.impossible
    ]
    shard_names = {sharding.file_name(number) for number in here}
    for number in pairs:
        stem = sharding.file_name(number).removesuffix(".shard")
        shard_names |= {stem + ending for ending in _FIRST_VERSION}
    notes += [
        _note(FindingKind.LITTER, scale, name, "shards and nothing else")
        for name in (*summary.litter, *summary.other)
        if name not in shard_names
    ]
    return ScalePlan(
        scale,
        lattice,
        planned,
        absent,
        ShardRanges.of(filter(wanted.takes, pairs)),
        (
            *_absence_findings(scale, sharding, lattice, absent, manifest),
            *(notes if selection.is_whole else ()),
        ),
    )


def _planned(
    number: int, size_and_time: tuple[int, int], key: str, name: str, manifest: Manifest | None
) -> PlannedShard:
    known = manifest.scales.get(key) if manifest else None
    record = known.files.get(name) if known else None
    at_source = manifest is None or not manifest.source_has_none(key, name)
    return PlannedShard(number, *size_and_time, record if at_source else None, at_source)


class _Wanted:
    """The selected shards, listed only where that is possible."""

    def __init__(self, lattice: ShardLattice, selection: Selection) -> None:
        self._lattice = lattice
        self._shards = selection.shards
        self._in_box = None
        if selection.cells is not None:
            self._in_box = frozenset(lattice.numbers(selection.cells))

    def takes(self, number: int) -> bool:
        """Whether a shard that has chunks is selected."""
        named = self._shards is None or number in self._shards
        return named and (self._in_box is None or number in self._in_box)

    def all(self) -> Iterable[int]:
        """All selected shards; none where `are_countless`."""
        if self._in_box is not None:
            return filter(self.takes, self._in_box)
        return () if self.are_countless else filter(self.takes, self._lattice.numbers())

    @property
    def are_countless(self) -> bool:
        """Whether these are too many to list."""
        return self._in_box is None and self._lattice.count > COUNTABLE_SHARDS


def _absent(
    wanted: _Wanted,
    scale: ScaleInfo,
    sharding: ShardingSpec,
    manifest: Manifest | None,
    here: Iterable[int],
    count: int,
) -> Absent:
    known = manifest.scales.get(scale.key) if manifest else None
    records = known.files if known else {}
    present = frozenset(here)
    none, not_downloaded, unknown = [], [], []
    for number in wanted.all():
        if number in present:
            continue
        name = sharding.file_name(number)
        if manifest is not None and manifest.source_has_none(scale.key, name):
            none.append(number)
        elif name in records:
            not_downloaded.append(number)
        else:
            unknown.append(number)
    uncounted = count - len(present) if wanted.are_countless else 0
    if known is not None and known.unlisted == "none":
        uncounted = 0
    return Absent(
        ShardRanges.of(none), ShardRanges.of(not_downloaded), ShardRanges.of(unknown), uncounted
    )


def _absence_findings(
    scale: ScaleInfo,
    sharding: ShardingSpec,
    lattice: ShardLattice,
    absent: Absent,
    manifest: Manifest | None,
) -> list[Finding]:
    known = manifest.scales.get(scale.key) if manifest else None
    records = known.files if known else {}
    findings = []
    for number in absent.not_downloaded:
        name = sharding.file_name(number)
        size = records[name].size
        findings.append(
            Finding(
                FindingKind.NOT_DOWNLOADED,
                f"{scale.key}/{name}",
                shard_number=number,
                voxel_box=lattice.voxel_box(number),
                expected="a file" if size is None else f"a file of {size} bytes",
                found="nothing",
            )
        )
    count = len(absent.unknown) + absent.uncounted
    if count:
        # One for all of them: without a manifest they are thousands, and each says the same.
        findings.append(
            Finding(
                FindingKind.ABSENT_UNKNOWN,
                scale.key,
                expected="a file, or the word that the source has none",
                found=f"{count:,} of {lattice.count:,} possible shards absent",
            )
        )
    return findings


def _note(kind: FindingKind, scale: ScaleInfo, name: str, expected: str) -> Finding:
    return Finding(kind, f"{scale.key}/{name}", expected=expected, found=name)


def check_key(scales: Iterable[ScaleInfo]) -> list[Finding]:
    """Warn of a key such as 8.0x8.0x40.0 that says another voxel size than `resolution`."""
    findings = []
    for scale in scales:
        found = _NUMBERS_IN_KEY.fullmatch(scale.key.rsplit("/", 1)[-1])
        if found and tuple(map(float, found.groups())) != tuple(map(float, scale.resolution)):
            findings.append(
                Finding(
                    FindingKind.INFO_KEY,
                    "info",
                    expected=f"the resolution {list(scale.resolution)} nm in the key",
                    found=f"key {scale.key!r}",
                )
            )
    return findings
