"""Is this copy whole, and if not, exactly what is wrong. Floor 5."""

from shardreader.verification.report import Report
from shardreader.verification.verifying import verify

__all__ = ["Report", "verify"]
