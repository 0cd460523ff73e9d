"""What a build of a segment index came to."""

from __future__ import annotations

from dataclasses import dataclass

from shardreader.checking.findings import Finding, ShardTotals
from shardreader.segments import IndexCoverage

__all__ = ["IndexReport"]


@dataclass(frozen=True)
class IndexReport:
    """What is in a new index, and what is not.

    Attributes
    ----------
    path : str
        The file of the index.
    shards : int
        How many it covers.
    resumed_shards : int
        How many of them were not read now, because an earlier run had.
    totals : ShardTotals
        What was read of all of them.
    rows : int
        Pairs of a segment and a chunk.
    segments : int
    voxels : int
        Of all segments.
    findings : tuple of Finding
        Damage, at most 50 of a kind and shard; what it hides is not in the index.
    coverage : IndexCoverage
        Shards that are not here, not read, or damaged.
    seconds : float
        For all, and `sort_seconds` of them for the sort at the end.
    index_bytes : int
        Of all its files.

    Examples
    --------
    >>> import shutil, tempfile, shardreader
    >>> copy = shutil.copytree("fixtures/fafb-mini", tempfile.mkdtemp() + "/fafb-mini")
    >>> report = shardreader.build_index(copy)
    >>> report.shards, report.segments, report.ok, report.coverage.missing_count
    (9, 172, False, 3677)
    """

    path: str
    shards: int
    resumed_shards: int
    totals: ShardTotals
    rows: int
    segments: int
    voxels: int
    findings: tuple[Finding, ...]
    coverage: IndexCoverage
    seconds: float
    sort_seconds: float
    index_bytes: int

    @property
    def ok(self) -> bool:
        """Whether the index covers the whole volume."""
        return self.coverage.is_complete
