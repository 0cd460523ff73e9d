from __future__ import annotations

import threading

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.storage.cache import ByteCache

OVERHEAD = 400  # at least this much is counted for an entry


def test_get_and_put() -> None:
    cache = ByteCache(10_000)
    assert cache.get("a") is None
    cache.put("a", b"1", 1)
    assert cache.get("a") == b"1"
    cache.put("a", b"22", 2)
    assert cache.get("a") == b"22"
    assert cache.get(("a", 1)) is None


def test_the_least_recently_used_goes_first() -> None:
    cache = ByteCache(3 * (OVERHEAD + 100))
    for key in "abc":
        cache.put(key, key, 100)
    assert cache.get("a") == "a"
    cache.put("d", "d", 100)
    assert [cache.get(key) for key in "abcd"] == ["a", None, "c", "d"]


def test_a_large_entry_takes_the_place_of_several() -> None:
    cache = ByteCache(5000)
    for key in range(10):
        cache.put(key, key, 50)
    cache.put("large", 1, 4000)
    assert cache.get("large") == 1
    assert cache.used_bytes <= 5000


def test_what_exceeds_the_budget_is_not_kept_and_displaces_nothing() -> None:
    cache = ByteCache(1000)
    cache.put("a", "a", 100)
    cache.put("b", "b", 1001)
    assert cache.get("b") is None
    assert cache.get("a") == "a"


def test_no_budget() -> None:
    cache = ByteCache(0)
    cache.put("a", "a", 0)
    assert cache.get("a") is None
    assert cache.used_bytes == 0


def test_small_entries_cost_what_python_needs_for_them() -> None:
    cache = ByteCache(100 * OVERHEAD)
    for key in range(10_000):
        cache.put(key, b"", 0)
    assert sum(cache.get(key) is not None for key in range(10_000)) <= 100


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 2000), st.booleans()), max_size=40))
def test_the_budget_holds_and_the_latest_value_is_given(
    steps: list[tuple[int, int, bool]],
) -> None:
    cache, latest = ByteCache(4000), {}
    for number, (key, size, is_put) in enumerate(steps):
        if is_put:
            cache.put(key, number, size)
            latest[key] = number
            assert cache.get(key) == number  # every size drawn fits the budget
        elif (value := cache.get(key)) is not None:
            assert value == latest[key]
        assert 0 <= cache.used_bytes <= 4000


def test_many_threads() -> None:
    cache = ByteCache(20_000)
    wrong: list[object] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for key, size in rng.integers([0, 0], [50, 3000], size=(2000, 2)).tolist():
            cache.put(key, key * 7, size)
            value = cache.get(key)
            if value not in (None, key * 7) or cache.used_bytes > 20_000 + 4000:
                wrong.append((key, value))

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not wrong
    assert cache.used_bytes <= 20_000
