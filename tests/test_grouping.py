from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from shardreader.grouping import sort_by_key

highest = st.sampled_from([0, 1, 2047, 2048, 2**22, 2**33, 2**62, 2**63 - 1])


def check(keys: np.ndarray) -> None:
    order, distinct, firsts = sort_by_key(keys.copy())
    assert (order.dtype, distinct.dtype, firsts.dtype) == (np.int64,) * 3
    np.testing.assert_array_equal(order, np.argsort(keys, kind="stable"))
    expected, counts = np.unique(keys, return_counts=True)
    np.testing.assert_array_equal(distinct, expected)
    np.testing.assert_array_equal(firsts, np.concatenate([[0], np.cumsum(counts)]))


@settings(max_examples=80, deadline=None, derandomize=True)
@given(st.data(), highest, highest)
def test_as_a_stable_sort(data: st.DataObject, low: int, high: int) -> None:
    low, high = sorted((low, high))
    values = st.integers(low, high)
    keys = data.draw(arrays(np.int64, st.integers(0, 60), elements=values))
    check(keys)


@pytest.mark.parametrize(
    "keys",
    [
        [],
        [0],
        [5],
        [2**63 - 1],
        [2**63 - 1, 0],
        [0, 2**63 - 1, 0, 2**62],
        [7] * 1000,
        list(range(5000)),
        list(range(5000))[::-1],
        [2047, 2048, 0, 2047, 4096],
    ],
    ids=lambda keys: f"{len(keys)} keys",
)
def test_corners(keys: list[int]) -> None:
    check(np.array(keys, dtype=np.int64))


def test_many() -> None:
    check(np.random.default_rng(0).integers(0, 2**27, size=300_000))
    check(np.random.default_rng(0).integers(0, 300, size=300_000))
