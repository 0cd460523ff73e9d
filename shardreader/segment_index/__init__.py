"""Builds the segment index of a volume."""

from shardreader.segment_index.building import build_index
from shardreader.segment_index.report import IndexReport

__all__ = ["IndexReport", "build_index"]
