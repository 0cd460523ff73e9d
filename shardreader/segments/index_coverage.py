"""How far an answer of an index can be relied on: the shards it knows, and the others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shardreader.format.shard_ranges import ShardRanges

__all__ = ["IndexCoverage"]

_LONGEST_LIST = 60
_NONE = ShardRanges()


@dataclass(frozen=True)
class IndexCoverage:
    """The shards that an answer rests on, and those for want of which it may be incomplete.

    Attributes
    ----------
    indexed : int
        How many shards are indexed and have not changed since.
    changed : ShardRanges
        The file is another one than when it was indexed, or is gone.
    not_indexed : ShardRanges
        The file is here, but the index does not cover it.
    damaged : ShardRanges
        Damage was found when it was indexed: what it hid is not in the index.
    partial : ShardRanges
        The copy has only some of the shard's chunks.
    missing : ShardRanges
        Absent, and it is not known that the source has none.
    missing_count : int
        How many are missing; more than `missing` has where there are too many to list.
    digits : int
        Of a shard number in the name of its file.

    Examples
    --------
    >>> coverage = IndexCoverage(7, changed=ShardRanges.of([0x2FA]), digits=4)
    >>> coverage.is_complete
    False
    >>> print(coverage)
    may be incomplete: 1 shard has changed since it was indexed (02fa)
    """

    indexed: int
    changed: ShardRanges = _NONE
    not_indexed: ShardRanges = _NONE
    damaged: ShardRanges = _NONE
    partial: ShardRanges = _NONE
    missing: ShardRanges = _NONE
    missing_count: int = 0
    digits: int = 1

    @property
    def is_complete(self) -> bool:
        """Whether nothing is in the way of a complete answer."""
        return not self.reasons()

    def reasons(self) -> list[str]:
        """Why an answer may be incomplete, one phrase for each kind of reason."""
        kinds = (
            (self.changed, len(self.changed), "changed since {} indexed"),
            (self.not_indexed, len(self.not_indexed), "here but not in the index"),
            (self.damaged, len(self.damaged), "damaged"),
            (self.partial, len(self.partial), "here only in part"),
            (self.missing, self.missing_count, "missing from the copy"),
        )
        return [self._phrase(shards, count, what) for shards, count, what in kinds if count]

    def names(self, shards: ShardRanges) -> str:
        """Shards as ``--shards`` takes them."""
        return shards.text(lambda number: f"{number:0{self.digits}x}")

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types; shards as ``--shards`` takes them."""
        return {
            "is_complete": self.is_complete,
            "indexed": self.indexed,
            "changed": self.names(self.changed),
            "not_indexed": self.names(self.not_indexed),
            "damaged": self.names(self.damaged),
            "partial": self.names(self.partial),
            "missing": self.names(self.missing),
            "missing_count": self.missing_count,
        }

    def __str__(self) -> str:
        reasons = self.reasons()
        return "may be incomplete: " + "; ".join(reasons) if reasons else "complete"

    def _phrase(self, shards: ShardRanges, count: int, what: str) -> str:
        names = self.names(shards)
        if len(names) > _LONGEST_LIST:
            names = names[:_LONGEST_LIST].rpartition(",")[0] + ",..."
        one = count == 1
        verb = ("has" if one else "have") if "{}" in what else ("is" if one else "are")
        what = what.format("it was" if one else "they were")
        return f"{count:,} shard{'' if one else 's'} {verb} {what}" + (
            f" ({names})" if names else ""
        )
