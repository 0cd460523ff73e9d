"""Look-ups in a segment index: where is a segment, how large is it."""

from shardreader.segments.index_coverage import IndexCoverage
from shardreader.segments.questions import SegmentRole, SegmentTable
from shardreader.segments.segment import Segment

__all__ = ["IndexCoverage", "Segment", "SegmentRole", "SegmentTable"]
