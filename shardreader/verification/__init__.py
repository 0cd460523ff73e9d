"""Is this copy whole, and if not, exactly what is wrong."""

from shardreader.verification.report import Report
from shardreader.verification.verifying import verify

__all__ = ["Report", "verify"]
