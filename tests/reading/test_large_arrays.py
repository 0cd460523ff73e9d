"""Memory of dropped results is used again; nobody's array ever changes under them."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from shard_builder import TinyVolume

from shardreader import open_volume
from shardreader.reading import box_read, large_arrays
from shardreader.reading import direct_read as few_chunks
from shardreader.reading.large_arrays import drop_kept, large_array

keeps_memory = pytest.mark.skipif(
    large_arrays._FREE is None, reason="here each result gets new memory"
)
WORD = np.dtype(np.uint64)
SHAPE = (64, 32, 8)


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    drop_kept()
    yield
    drop_kept()


def address(array: np.ndarray) -> int:
    return array.ctypes.data


def filled(value: int, shape: tuple[int, ...] = SHAPE, *, zeroed: bool = False) -> np.ndarray:
    array = large_array(shape, WORD, zeroed=zeroed)
    array.fill(value)
    return array


@keeps_memory
def test_memory_of_a_dropped_array_is_used_again() -> None:
    first = filled(1)
    at = address(first)
    assert large_arrays._kept == []
    del first
    assert len(large_arrays._kept) == 1
    second = large_array((32, 32, 16), WORD, zeroed=False)
    assert address(second) == at
    assert second.flags.f_contiguous
    assert second.flags.writeable
    assert large_arrays._kept == []


@keeps_memory
@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[3:5, 1],
        lambda a: a.T.reshape(-1)[7:],
        lambda a: a.T.view(np.uint8)[..., 1],
        lambda a: memoryview(a),
        lambda a: np.frombuffer(memoryview(a.reshape(-1, order="F")), np.uint32),
        lambda a: np.lib.stride_tricks.as_strided(a, (2, 2), (8, 16)),
        lambda a: np.ma.masked_equal(a, 0, copy=False),
    ],
)
def test_memory_is_not_used_again_while_there_is_a_view_of_it(view: Any) -> None:
    first = filled(1)
    at = address(first)
    seen = view(first)
    before = np.array(seen).tobytes()
    del first
    gc.collect()
    others = [filled(2) for _ in range(3)]
    assert at not in map(address, others)
    assert np.array(seen).tobytes() == before
    del seen
    gc.collect()
    assert address(filled(3)) == at


@keeps_memory
def test_zeroed_arrays_are_zero_whatever_was_there_before() -> None:
    del_me = filled(7)
    del del_me
    assert not large_array(SHAPE, WORD, zeroed=True).any()


@keeps_memory
def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    one = np.prod(SHAPE) * 8 + (2 << 20)
    monkeypatch.setattr(large_arrays, "MOST_KEPT_BYTES", 2 * one + 1000)
    arrays = [filled(n) for n in range(5)]
    too_large = filled(9, (64, 64, 512))
    del arrays, too_large
    gc.collect()
    assert [len(mapping) for mapping in large_arrays._kept] == [one] * 2


@keeps_memory
def test_memory_that_is_much_too_long_is_left_for_others() -> None:
    at = address(filled(1, (256, 256, 64)))
    assert address(filled(2)) != at
    assert address(filled(2, (256, 256, 64))) == at


@keeps_memory
def test_results_of_many_threads_are_apart() -> None:
    wrong: list[int] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        mine: list[np.ndarray] = []
        for _ in range(150):
            value = int(rng.integers(1, 1 << 60))
            mine.append(filled(value)[: int(rng.integers(1, 64))])
            if len(mine) > 3:
                gone = mine.pop(int(rng.integers(0, 4)))
                if gone.min() != gone.max():
                    wrong.append(value)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@keeps_memory
def test_a_forked_child_has_memory_of_its_own() -> None:
    code = """
import os
import numpy as np
from shardreader.reading import large_arrays
array = large_arrays.large_array((64, 64, 64), np.dtype(np.uint64), zeroed=False)
array.fill(5)
held = large_arrays.large_array((64, 64, 64), np.dtype(np.uint64), zeroed=False)
held.fill(6)
del array
child = os.fork()
if child == 0:
    os._exit(len(large_arrays._kept) + 2 * bool((held != 6).any()))
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), len(large_arrays._kept), bool((held == 6).all()))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("0 1 True", "")


@keeps_memory
def test_what_ends_with_the_process_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """The names of the module may be gone by then."""
    array = filled(1)
    memory = array
    while isinstance(memory, np.ndarray):
        memory = memory.base
    monkeypatch.setattr(large_arrays, "_advise", None)
    memory.__del__(lambda: True)
    monkeypatch.undo()
    assert large_arrays._kept == []
    monkeypatch.setattr(type(memory), "__del__", lambda _: None)
    del memory, array


@pytest.mark.parametrize("way", ["kept", "new"])
def test_cutouts_into_used_memory_are_the_data(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """Also where chunks are background, few or many of them."""
    for module in (box_read, few_chunks, large_arrays):
        monkeypatch.setattr(module, "MOST_CACHED_BYTES", 0)
    if way == "new":
        monkeypatch.setattr(large_arrays, "_FREE", None)
    for chunk_id in (3, *range(20, 29)):
        del tiny_gzip.shards[chunk_id // 16].chunks[chunk_id]
    tiny_gzip.write()
    truth = np.zeros((64, 64, 16), np.uint64)
    for chunk_id in set(range(32)) - {3, *range(20, 29)}:
        x, y, z = tiny_gzip.lower(chunk_id)
        truth[x : x + 16, y : y + 16, z : z + 8] = tiny_gzip.voxels(chunk_id)
    rng = np.random.default_rng(0)
    held: list[tuple[Any, np.ndarray]] = []
    used_before: set[int] = set()
    used_again = 0
    with open_volume(tiny_gzip.path) as volume:
        for _ in range(80):
            corners = np.sort(rng.integers((0, 0, 0), (65, 65, 17), (2, 3)), axis=0)
            part = tuple(slice(a, b) for a, b in corners.T.tolist())
            if truth[part].size == 0:
                continue
            result = volume[part]
            np.testing.assert_array_equal(result, truth[part])
            used_again += address(result) in used_before
            used_before.add(address(result))
            held.append((part, result))
            if len(held) > 3:
                part, result = held.pop(int(rng.integers(0, 3)))
                np.testing.assert_array_equal(result, truth[part])
            del result
    assert used_again > 5 or way == "new"


@keeps_memory
def test_a_loop_over_boxes_takes_memory_once(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (box_read, few_chunks, large_arrays):
        monkeypatch.setattr(module, "MOST_CACHED_BYTES", 0)
    tiny_gzip.write()
    places = set()
    with open_volume(tiny_gzip.path) as volume:
        for n in range(20):
            result = volume[:, :, n % 16 : n % 16 + 1]
            places.add(address(result))
    assert len(places) == 2  # the last result is still there while the next one is made
