"""What is remembered of reads, and for how long."""

from __future__ import annotations

import numpy as np

from shardreader.chunks.chunk_cache import SeenLately


def ranges(*starts: int, size: int = 100) -> tuple[np.ndarray, ...]:
    return np.zeros(len(starts), int), np.array(starts, int), np.full(len(starts), size)


def test_what_came_before_comes_again() -> None:
    seen = SeenLately(10_000)
    assert seen.again(["a"], *ranges(0, 100, 200)).tolist() == [False] * 3
    assert seen.again(["a"], *ranges(200, 300, 0)).tolist() == [True, False, True]


def test_another_file_or_version_is_another_range() -> None:
    seen = SeenLately(10_000)
    seen.again([("a", 1)], *ranges(0))
    assert not seen.again([("a", 2)], *ranges(0))[0]
    assert seen.again([("a", 1)], *ranges(0))[0]


def test_what_the_cache_would_have_dropped_is_new() -> None:
    seen = SeenLately(1000)
    seen.again(["a"], *ranges(0))
    seen.again(["a"], *ranges(*range(1000, 1800, 100)))
    assert seen.again(["a"], *ranges(0))[0]
    seen.again(["a"], *ranges(*range(5000, 6100, 100)))
    assert not seen.again(["a"], *ranges(0))[0]


def test_no_ranges() -> None:
    assert len(SeenLately(1000).again([], *ranges())) == 0


def test_millions_of_ranges_take_no_more_memory() -> None:
    seen = SeenLately(1 << 40)
    for first in range(0, 1_000_000, 100_000):
        seen.again(["a"], *ranges(*range(first, first + 100_000)))
    again = seen.again(["a"], *ranges(*range(999_000, 1_000_000)))
    assert again.mean() > 0.9
