"""Joining byte ranges into reads."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.format.byterange import ByteRange, join_ranges


def join(ranges, gap=0, most_bytes=1 << 40, most_ranges=1 << 20):
    """`ranges` are (file, start, end)."""
    files, starts, ends = np.array(ranges, dtype=np.int64).reshape(-1, 3).T
    return join_ranges(files, starts, ends, gap=gap, most_bytes=most_bytes, most_ranges=most_ranges)


def test_prints_half_open():
    assert str(ByteRange(3, 10)) == "[3, 10)"


def test_nothing_to_read():
    assert join([]) == []


def test_one_range():
    assert join([(0, 5, 9)]) == [(0, 1)]


def test_adjacent_ranges_join_without_a_gap():
    assert join([(0, 0, 10), (0, 10, 20)]) == [(0, 2)]


def test_gap_is_inclusive():
    assert join([(0, 0, 10), (0, 14, 20)], gap=4) == [(0, 2)]
    assert join([(0, 0, 10), (0, 15, 20)], gap=4) == [(0, 1), (1, 2)]


def test_files_never_join():
    assert join([(0, 0, 10), (1, 10, 20)], gap=100) == [(0, 1), (1, 2)]


def test_overlapping_ranges_stay_apart():
    assert join([(0, 0, 10), (0, 9, 20)], gap=100) == [(0, 1), (1, 2)]
    assert join([(0, 0, 10), (0, 0, 10)], gap=100) == [(0, 1), (1, 2)]


def test_a_read_spans_at_most_so_many_bytes():
    ranges = [(0, 0, 10), (0, 10, 20), (0, 20, 31)]
    assert join(ranges, most_bytes=20) == [(0, 2), (2, 3)]
    assert join(ranges, most_bytes=30) == [(0, 2), (2, 3)]
    assert join(ranges, most_bytes=31) == [(0, 3)]


def test_a_single_range_may_be_larger():
    assert join([(0, 0, 100), (0, 100, 101)], most_bytes=10) == [(0, 1), (1, 2)]


def test_a_read_has_at_most_so_many_ranges():
    ranges = [(0, i, i + 1) for i in range(5)]
    assert join(ranges, most_ranges=2) == [(0, 2), (2, 4), (4, 5)]


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 60), st.integers(0, 12)), max_size=25),
    st.integers(0, 10),
    st.integers(1, 40),
    st.integers(1, 5),
)
def test_reads_cover_all_ranges_once_and_break_only_where_they_must(
    spans, gap, most_bytes, most_ranges
):
    ranges = sorted((file, start, start + length) for file, start, length in spans)
    reads = join(ranges, gap, most_bytes, most_ranges)
    assert [i for first, last in reads for i in range(first, last)] == list(range(len(ranges)))
    for first, last in reads:
        read = ranges[first:last]
        assert read
        assert len({file for file, _, _ in read}) == 1
        assert all(0 <= b[1] - a[2] <= gap for a, b in itertools.pairwise(read))
        assert len(read) <= most_ranges
        assert len(read) == 1 or read[-1][2] - read[0][1] <= most_bytes
    for (first, last), _ in itertools.pairwise(reads):
        before, after = ranges[last - 1], ranges[last]
        assert (
            before[0] != after[0]
            or not 0 <= after[1] - before[2] <= gap
            or after[2] - ranges[first][1] > most_bytes
            or last - first == most_ranges
        )
