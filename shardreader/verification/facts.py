"""What a verification found, as plain values, of which the renderings are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

from shardreader.checking.findings import Finding, FindingKind, Severity, ShardTotals
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo
from shardreader.format.shard_ranges import ShardRanges

__all__ = ["SHARD_STATES", "Asked", "FindingGroup", "ReportFacts", "ScaleReport", "SourceKnown"]

# The states of a shard, in the order in which they are told.
SHARD_STATES = (
    "whole",
    "partial",
    "damaged",
    "not_checked",
    "not_downloaded",
    "unknown",
    "source_has_none",
)


@dataclass(frozen=True)
class Asked:
    """What was to be looked at.

    Parameters
    ----------
    shards, possible_shards : int
        Selected, and all that can hold a chunk of these scales by the geometry.
    scales, scales_of_volume : int
    in_box : bool
        Of the shards, only the chunks that a box touches are looked into.
    """

    shards: int
    possible_shards: int
    scales: int
    scales_of_volume: int
    in_box: bool

    @property
    def is_whole(self) -> bool:
        """Whether it is all of the volume."""
        everything = (self.possible_shards, self.scales_of_volume)
        return not self.in_box and (self.shards, self.scales) == everything


@dataclass(frozen=True)
class SourceKnown:
    """Who says what the source has.

    Parameters
    ----------
    basis : {"listing", "requests", "user"}
    source : str or None
    created : str
    """

    basis: str
    source: str | None
    created: str


@dataclass(frozen=True)
class ScaleReport:
    """One scale.

    Parameters
    ----------
    scale : ScaleInfo
        As in the info.
    possible : int
        How many shards can hold a chunk, by the geometry.
    shards : mapping of str to ShardRanges
        Which of the selected shards are "whole", "partial" (only some of the source's chunks were
        fetched), "damaged", "not_checked" (the run ended before,
        or the form is not supported),
        "not_downloaded", "unknown" (absent, and nothing says whether the source has them), and
        "source_has_none". Not even counted are unknown ones of more than a million.
    totals : ShardTotals
    untrusted : tuple of Box
        Voxels that cannot be trusted.
    findings_left_out : int
        Findings that are counted and not listed: a shard lists the first 50 of each kind.
    first_version : int
        Shards that are not checked because they are pairs of files in an old form.
    not_supported : str or None
        Why this scale was not checked at all.
    """

    scale: ScaleInfo
    possible: int
    shards: Mapping[str, ShardRanges]
    totals: ShardTotals
    untrusted: tuple[Box, ...]
    findings_left_out: int
    first_version: int
    not_supported: str | None

    @property
    def key(self) -> str:
        """That of the scale."""
        return self.scale.key

    def count(self, state: str) -> int:
        """How many shards are in a state."""
        return len(self.shards.get(state, ShardRanges()))

    def names(self, state: str) -> str:
        """The shards of a state, as ``--shards`` takes them."""
        sharding = self.scale.sharding
        if sharding is None:
            return ""
        return self.shards.get(state, ShardRanges()).text(
            lambda number: sharding.file_name(number).removesuffix(".shard")
        )

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types."""
        return {
            "index": self.scale.index,
            "key": self.key,
            "size": list(self.scale.size),
            "voxel_offset": list(self.scale.voxel_offset),
            "resolution_nm": list(self.scale.resolution),
            "encoding": self.scale.encoding,
            "possible_shards": self.possible,
            "shards": {
                state: {"count": self.count(state), "shards": self.names(state)}
                for state in SHARD_STATES
            },
            "totals": asdict(self.totals),
            "untrusted_boxes": [[list(box.lower), list(box.upper)] for box in self.untrusted],
            "findings_left_out": self.findings_left_out,
            "not_supported": self.not_supported,
        }


@dataclass(frozen=True)
class FindingGroup:
    """All findings of one kind; `count` may be larger than what is listed."""

    kind: FindingKind
    count: int
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ReportFacts:
    """What a run of `verify` found, as plain values.

    Parameters
    ----------
    path : str
        Directory of the volume.
    level : {"quick", "full", "deep"}
    version, created : str
        Of shardreader; when the run began, UTC.
    finished : bool
        False if the run was interrupted or a drive went away.
    allow_absent : bool
    known : SourceKnown or None
        None without a manifest.
    scales : tuple of ScaleReport
    groups : tuple of FindingGroup
        Damage first, then what is missing, then notes.
    seconds : float
    resumed_shards, resumed_bytes : int
        Taken from the state of an earlier run.
    cross_check : float
        Share of the chunks that were also decoded by another implementation.
    asked : Asked
    saved_as : str or None
        The JSON file that the report goes to, from which `fetch` can repair the copy.
    """

    path: str
    level: str
    version: str
    created: str
    finished: bool
    allow_absent: bool
    known: SourceKnown | None
    scales: tuple[ScaleReport, ...]
    groups: tuple[FindingGroup, ...]
    seconds: float
    resumed_shards: int
    resumed_bytes: int
    cross_check: float
    asked: Asked
    saved_as: str | None = None

    @property
    def ok(self) -> bool:
        """Whether everything was checked, and nothing is damaged, missing or unknown.

        With `allow_absent` shards may be partial, missing or unknown, but not all missing.
        """
        settled = all(
            scale.not_supported is None and not scale.count("not_checked") for scale in self.scales
        )
        missing = 0 if self.allow_absent else self.count(Severity.MISSING)
        found = self.totals.shards or not self.count(Severity.MISSING)
        clean = self.count(Severity.DAMAGE) == missing == 0
        return self.finished and settled and clean and bool(found)

    @property
    def exit_status(self) -> int:
        """0 if `ok`, else 1."""
        return 0 if self.ok else 1

    @cached_property
    def totals(self) -> ShardTotals:
        """Sums over the scales."""
        return sum((scale.totals for scale in self.scales), ShardTotals())

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings that are listed."""
        return tuple(finding for group in self.groups for finding in group.findings)

    @property
    def bytes_per_second(self) -> float:
        """File bytes of the shards that this run checked, over its seconds."""
        return max(0, self.totals.file_bytes - self.resumed_bytes) / max(self.seconds, 1e-9)

    def count(self, severity: Severity) -> int:
        """How many findings of a severity there are, those that are not listed included."""
        return sum(group.count for group in self.groups if group.kind.severity is severity)

    def count_of(self, kind: FindingKind) -> int:
        """How many findings of a kind there are, those that are not listed included."""
        return sum(group.count for group in self.groups if group.kind is kind)
