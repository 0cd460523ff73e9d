"""Making a copy of a volume that is in a bucket, and going on with one."""

from __future__ import annotations

from shardreader.fetching.fetching import fetch
from shardreader.fetching.report import FetchProgress, FetchReport, ShardProblem

__all__ = ["FetchProgress", "FetchReport", "ShardProblem", "fetch"]
