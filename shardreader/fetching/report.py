"""What a fetch did, and how far it is."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

__all__ = ["FetchProgress", "FetchReport", "ShardProblem"]


class ShardProblem(NamedTuple):
    """A shard and a sentence about it."""

    name: str
    reason: str


class FetchProgress(NamedTuple):
    """How far a fetch is.

    Attributes
    ----------
    bytes_done : int
        Of the shards that were not whole at the start.
    bytes_total : int or None
        None where the source does not say before it is asked for each.
    shards_done, shards_total : int
    retries : int
        Requests that were sent again.
    seconds : float
    """

    bytes_done: int
    bytes_total: int | None
    shards_done: int
    shards_total: int
    retries: int
    seconds: float


@dataclass(frozen=True)
class FetchReport:
    """What a fetch did, or would do.

    Parameters
    ----------
    source, destination, scale : str
        URL, directory and key.
    dry_run : bool
        Nothing was written; `fetched` and `bytes_fetched` are 0.
    is_part : bool
        A box or points were asked for, not the scale.
    is_listed : bool
        The source was listed; otherwise it was asked for each possible shard.
    possible : int
        How many shards can hold a chunk, by the geometry; of a part, how many it touches.
    whole : int
        Shards that are whole now.
    partial : int
        Shards that are partial, and have all that was asked for.
    fetched : int
        Shards that this run fetched, or fetched chunks of.
    source_has_none : int
        Shards that the source does not have.
    failed : tuple of ShardProblem
        Shards that are not here, and why.
    restarted : tuple of ShardProblem
        Shards that were started again, and why.
    notes : tuple of str
    shards_to_fetch, requests_to_send : int
        As planned; the requests are the least that it takes.
    bytes_to_fetch : int or None
        As planned; None where the source does not say.
    gap_bytes : int
        Of a part: what lies between two ranges is fetched too where it is no more than this.
    bytes_free : int
        On the drive, before the fetch.
    requests, retries, bytes_fetched : int
        Sent, sent again, come.
    seconds : float
    """

    source: str
    destination: str
    scale: str
    dry_run: bool
    is_part: bool
    is_listed: bool
    possible: int
    whole: int
    partial: int
    fetched: int
    source_has_none: int
    failed: tuple[ShardProblem, ...]
    restarted: tuple[ShardProblem, ...]
    notes: tuple[str, ...]
    shards_to_fetch: int
    requests_to_send: int
    bytes_to_fetch: int | None
    gap_bytes: int
    bytes_free: int
    requests: int
    retries: int
    bytes_fetched: int
    seconds: float

    @property
    def ok(self) -> bool:
        """Whether all that was to be fetched is here; of a dry run, whether it fits."""
        if self.dry_run:
            return self.bytes_to_fetch is None or self.bytes_to_fetch <= self.bytes_free
        return not self.failed

    @property
    def exit_status(self) -> int:
        """0 or 1, as the command ends with."""
        return 0 if self.ok else 1

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types."""
        members = asdict(self)
        for name in ("failed", "restarted"):
            members[name] = [problem._asdict() for problem in getattr(self, name)]
        members["notes"] = list(self.notes)
        return {"@type": "shardreader_fetch_report_v1", "ok": self.ok, **members}
