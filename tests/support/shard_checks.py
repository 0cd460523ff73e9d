"""Calls of `check_shard` on the volumes of the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from shardreader.checking.findings import Finding, FindingKind, Severity, ShardResult
from shardreader.checking.shard_check import ShardJob, check_shard
from shardreader.format.info import parse_info


def job_for(path: Path, shard_number: int, **options: Any) -> ShardJob:
    """Give the job of one shard of a volume's first scale."""
    volume = parse_info((path / "info").read_bytes(), "info")
    return ShardJob(
        str(path),
        volume.scales[0],
        volume.num_channels,
        volume.data_type,
        shard_number,
        **options,
    )


def check_one(path: Path, shard_number: int, **options: Any) -> ShardResult:
    """Check one shard; hold its result to what every result has to be."""
    result = check_shard(job_for(path, shard_number, **options))
    assert ShardResult.from_json(result.to_json()) == result
    return result


def kinds(result: ShardResult) -> list[FindingKind]:
    """Give the kinds of the findings."""
    return [finding.kind for finding in result.findings]


def damage(result: ShardResult) -> list[Finding]:
    """Give the findings that are more than notes."""
    return [finding for finding in result.findings if finding.severity != Severity.NOTE]
