"""The result of one shard, cut to a size that does not grow with its damage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any

from shardreader.checking.findings import Finding, FindingKind, Severity, ShardResult
from shardreader.format.grid import Box

__all__ = ["FINDINGS_KEPT", "ShardSummary", "outermost", "summarize"]

# Of each kind and shard. A shard of FAFB-FFN1 has 32,768 chunks, and a copy 3,689 shards: all the
# findings of a wholly damaged copy would fill the memory.
FINDINGS_KEPT = 50
_BOXES_KEPT = 200


@dataclass(frozen=True)
class ShardSummary:
    """What is kept of a `ShardResult`.

    Parameters
    ----------
    result : ShardResult
        With the first `FINDINGS_KEPT` findings of each kind.
    counts : mapping of str to int
        How many findings of each kind there were.
    untrusted : tuple of Box
        Voxels that cannot be trusted; one box around all of them where there are many.
    """

    result: ShardResult
    counts: Mapping[str, int]
    untrusted: tuple[Box, ...]

    @property
    def damaged(self) -> bool:
        """Whether data was found that cannot be trusted."""
        return any(finding.severity is Severity.DAMAGE for finding in self.result.findings)

    @property
    def partial(self) -> bool:
        """Whether the shard says that it has only some of its source's chunks."""
        return FindingKind.PARTIAL.value in self.counts

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types."""
        return {
            "result": self.result.to_json(),
            "counts": dict(self.counts),
            "untrusted": [[list(box.lower), list(box.upper)] for box in self.untrusted],
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> ShardSummary:
        """The inverse of `to_json`."""
        boxes = tuple(Box(tuple(lower), tuple(upper)) for lower, upper in members["untrusted"])
        return cls(ShardResult.from_json(members["result"]), dict(members["counts"]), boxes)


def summarize(result: ShardResult, shard_box: Box) -> ShardSummary:
    """Cut a result to size.

    Parameters
    ----------
    result : ShardResult
    shard_box : Box
        The voxels of the shard: what is not trusted where a finding does not say.
    """
    counts: Counter[str] = Counter()
    kept: list[Finding] = []
    untrusted: list[Box] = []
    for finding in result.findings:
        counts[finding.kind.value] += 1
        if counts[finding.kind.value] <= FINDINGS_KEPT:
            kept.append(finding)
        if finding.severity is Severity.DAMAGE:
            untrusted.append(finding.voxel_box or shard_box)
    boxes = tuple(dict.fromkeys(untrusted))
    if len(boxes) > _BOXES_KEPT:
        boxes = (reduce(_around, boxes),)
    cut = replace(result, findings=tuple(kept))
    return ShardSummary(cut, dict(counts), outermost(boxes))


def outermost(boxes: Iterable[Box]) -> tuple[Box, ...]:
    """The boxes that lie in no other one, largest first.

    Examples
    --------
    >>> outermost([Box((0, 0, 0), (1, 1, 1)), Box((0, 0, 0), (2, 2, 2))])
    (Box(lower=(0, 0, 0), upper=(2, 2, 2)),)
    """
    kept: list[Box] = []
    for box in sorted(set(boxes), key=lambda box: (-box.voxels, box.lower)):
        if not any(other.contains(box) for other in kept):
            kept.append(box)
    return tuple(kept)


def _around(a: Box, b: Box) -> Box:
    lower, upper = map(min, a.lower, b.lower), map(max, a.upper, b.upper)
    return Box(tuple(lower), tuple(upper))  # type: ignore[arg-type]
