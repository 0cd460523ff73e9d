"""Adds up the results of shards, scale by scale."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from shardreader.checking.findings import Finding, FindingKind, Severity, ShardTotals
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo
from shardreader.format.shard_ranges import ShardRanges
from shardreader.verification.facts import FindingGroup, ScaleReport
from shardreader.verification.plan import ScalePlan
from shardreader.verification.shard_summary import ShardSummary

__all__ = ["FindingsByKind", "ScaleResults"]

_ORDER = (Severity.DAMAGE, Severity.MISSING, Severity.NOTE)


class FindingsByKind:
    """Findings in groups; a group may count more than it lists."""

    def __init__(self) -> None:
        self._listed: dict[FindingKind, list[Finding]] = {}
        self._counts: Counter[FindingKind] = Counter()

    def add(self, finding: Finding, count: int = 1) -> None:
        """Add a finding that stands for `count`."""
        self._listed.setdefault(finding.kind, []).append(finding)
        self._counts[finding.kind] += count

    def add_shard(self, summary: ShardSummary) -> None:
        """Add what was found in a shard."""
        for finding in summary.result.findings:
            self._listed.setdefault(finding.kind, []).append(finding)
        for kind, count in summary.counts.items():
            self._counts[FindingKind[kind]] += count

    @property
    def wrong(self) -> int:
        """How many there are, notes not counted."""
        return sum(n for kind, n in self._counts.items() if kind.severity is not Severity.NOTE)

    def groups(self) -> tuple[FindingGroup, ...]:
        """The groups: damage first, then in the order of the rules; findings by file and place."""
        rank = {kind: (_ORDER.index(kind.severity), i) for i, kind in enumerate(FindingKind)}
        return tuple(
            FindingGroup(kind, self._counts[kind], tuple(sorted(self._listed[kind], key=_place)))
            for kind in sorted(self._listed, key=rank.__getitem__)
        )


def _place(finding: Finding) -> tuple[str, int, int, int]:
    return (
        finding.file,
        -1 if finding.minishard_number is None else finding.minishard_number,
        finding.byte_range[0] if finding.byte_range else -1,
        -1 if finding.chunk_id is None else finding.chunk_id,
    )


@dataclass
class ScaleResults:
    """What is known of one scale so far.

    Parameters
    ----------
    scale : ScaleInfo
    plan : ScalePlan or None
        None where the scale is of a form that this version does not read.
    not_supported : str or None
        Why.
    asks_all : bool
        Whether none of its shards is left out.
    """

    scale: ScaleInfo
    plan: ScalePlan | None
    not_supported: str | None = None
    asks_all: bool = True
    _whole: list[int] = field(default_factory=list)
    _partial: list[int] = field(default_factory=list)
    _damaged: list[int] = field(default_factory=list)
    _totals: ShardTotals = field(default_factory=ShardTotals)
    _untrusted: list[Box] = field(default_factory=list)
    _left_out: int = 0

    def add(self, summary: ShardSummary) -> None:
        """Add the result of a shard."""
        shards = self._partial if summary.partial else self._whole
        (self._damaged if summary.damaged else shards).append(summary.result.shard_number)
        self._totals += summary.result.totals
        self._untrusted += summary.untrusted
        self._left_out += sum(summary.counts.values()) - len(summary.result.findings)

    @property
    def possible(self) -> int:
        """How many shards can hold a chunk, by the geometry."""
        return 0 if self.plan is None else self.plan.lattice.count

    @property
    def asked(self) -> int:
        """How many of them are selected; of more than can be listed, those that are here."""
        if self.plan is None or self.asks_all:
            return self.possible
        return sum(map(len, self._shards(self.plan).values()))

    def distrust_all(self) -> None:
        """No voxel of the scale can be trusted."""
        self._untrusted = [self.scale.grid.bounds]

    def report(self) -> ScaleReport:
        """What is known so far."""
        scale, plan = self.scale, self.plan
        return ScaleReport(
            scale=scale,
            possible=self.possible,
            shards={} if plan is None else self._shards(plan),
            totals=self._totals,
            untrusted=tuple(sorted(self._untrusted, key=lambda box: box.lower[::-1])),
            findings_left_out=self._left_out,
            first_version=0 if plan is None else len(plan.first_version),
            not_supported=self.not_supported,
        )

    def _shards(self, plan: ScalePlan) -> dict[str, ShardRanges]:
        planned = {*plan.first_version, *(shard.number for shard in plan.planned)}
        checked = {*self._whole, *self._partial, *self._damaged}
        return {
            "whole": ShardRanges.of(self._whole),
            "partial": ShardRanges.of(self._partial),
            "damaged": ShardRanges.of(self._damaged),
            "not_checked": ShardRanges.of(planned - checked),
            "not_downloaded": plan.absent.not_downloaded,
            "unknown": plan.absent.unknown,
            "source_has_none": plan.absent.source_has_none,
        }
