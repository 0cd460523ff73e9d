"""A Volume in many threads and in other processes."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from volumes import Spec, Written, random_labels, write_volume

from shardreader import Box, Volume, open_volume
from shardreader.storage import local_store as store

SPEC = Spec(size=(70, 50, 40), voxel_offset=(-7, 3, -100), shard_bits=3)
WAIT = 60  # far longer than anything here takes: a deadlock, not a slow machine
METHODS = multiprocessing.get_all_start_methods()
needs_fork = pytest.mark.skipif("fork" not in METHODS, reason="no fork here")
needs_proc = pytest.mark.skipif(
    not Path("/proc/self/fd").exists(), reason="looks at descriptors in /proc"
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    labels = random_labels(SPEC, 3, background=False)
    return write_volume(tmp_path_factory.mktemp("processes"), SPEC, labels=labels)


@pytest.fixture
def volume(written: Written) -> Iterator[Volume]:
    with open_volume(written.path, threads=2) as volume:
        yield volume


def random_box(rng: np.random.Generator) -> Box:
    a, b = np.sort(rng.integers(SPEC.voxel_offset, np.add(SPEC.upper, 1), size=(2, 3)), axis=0)
    return Box(tuple(a.tolist()), tuple(b.tolist()))


def read_at_random(volume: Volume, written: Written, seed: int, times: int) -> None:
    """Cutouts and lookups, held to the truth."""
    rng = np.random.default_rng(seed)
    for _ in range(times):
        box = random_box(rng)
        np.testing.assert_array_equal(volume.cutout(box), written.box(box.lower, box.upper))
        points = rng.integers(SPEC.voxel_offset, SPEC.upper, size=(40, 3))
        np.testing.assert_array_equal(volume.lookup(points, units="voxel"), written.at(points))


def shard_descriptors(written: Written) -> list[str]:
    """The shards of the volume that this process has open."""
    paths = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [path for path in paths if path.startswith(str(written.path))]


# Pickling


def test_a_pickle_is_path_and_options(volume: Volume, written: Written) -> None:
    empty = len(pickle.dumps(volume))
    volume[...]
    data = pickle.dumps(volume)
    assert len(data) == empty, "what was read is in the pickle"
    assert len(data) < 2048
    again = pickle.loads(data)
    np.testing.assert_array_equal(again[...], written.labels)
    again.close()
    volume[...]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_options_survive(written: Written, tmp_path: Path, protocol: int) -> None:
    manifest = tmp_path / "manifest.json"
    manifest.write_bytes(
        (Path(__file__).parents[2] / "fixtures/fafb-mini/shardreader-manifest.json").read_bytes()
    )
    options: dict[str, Any] = {"missing": "zero", "threads": 3, "cache_bytes": 12345}
    with open_volume(written.path, "s0", **options, manifest=manifest) as volume:
        again = pickle.loads(pickle.dumps(volume, protocol))
    for name in ("path", "scale", "shape", "dtype", "resolution", "bounds", "info"):
        assert getattr(again, name) == getattr(volume, name)
    assert again.__reduce__() == volume.__reduce__()
    assert again._core.source.cache.most_bytes == 12345
    assert again._core.workers.threads == 3
    again.close()


def test_the_second_scale_survives() -> None:
    with open_volume(Path(__file__).parents[2] / "fixtures/two-scales", 1) as volume:
        again = pickle.loads(pickle.dumps(volume))
        assert again.scale == volume.scale
        np.testing.assert_array_equal(again[...], volume[...])
        again.close()


# Threads


@pytest.mark.parametrize("cache_bytes", [0, 20_000, 512 << 20])
def test_sixteen_threads_on_one_volume(written: Written, cache_bytes: int) -> None:
    wrong: list[BaseException] = []
    start = threading.Barrier(16)

    def work(seed: int) -> None:
        try:
            start.wait(WAIT)
            read_at_random(volume, written, seed, 3)
        except BaseException as error:
            wrong.append(error)

    with open_volume(written.path, threads=3, cache_bytes=cache_bytes) as volume:
        threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert not any(thread.is_alive() for thread in threads)
    assert not wrong


def test_more_shards_than_descriptors(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "MOST_HANDLES", 2)
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            read_at_random(volume, written, seed, 4)
        except BaseException as error:
            wrong.append(error)

    assert len(written.shards()) > 4
    with open_volume(written.path, threads=2, cache_bytes=0) as volume:
        threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert not wrong
        assert len(volume._store._handles) <= 2 + 1


# Other processes


def child_reads(volume: Volume, written: Written, seed: int) -> None:
    """Runs in a child: any failure is an exit status."""
    if sys.platform == "linux":
        # Whatever the parent had open, a child of any kind has not.
        assert not shard_descriptors(written), shard_descriptors(written)
    assert volume._core.workers._pool is None
    assert volume._core.source.cache.used_bytes == 0
    read_at_random(volume, written, seed, 3)
    volume.close()


def run_children(method: str, volume: Volume, written: Written, count: int) -> None:
    context = multiprocessing.get_context(method)
    children = [
        context.Process(target=child_reads, args=(volume, written, seed), daemon=True)
        for seed in range(count)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(WAIT)
    codes = [child.exitcode for child in children]
    for child in children:
        if child.exitcode is None:
            child.kill()
    assert codes == [0] * count  # None is a deadlock


@pytest.mark.parametrize("method", METHODS)
def test_children_read_right(volume: Volume, written: Written, method: str) -> None:
    volume[...]
    run_children(method, volume, written, 2 if method == "fork" else 1)
    read_at_random(volume, written, 99, 2)


@needs_fork
def test_a_volume_that_was_never_read_survives_a_fork(volume: Volume, written: Written) -> None:
    run_children("fork", volume, written, 1)


@needs_fork
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_fork_while_eight_threads_read(volume: Volume, written: Written) -> None:
    stop = threading.Event()
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        try:
            while not stop.is_set():
                read_at_random(volume, written, seed, 1)
        except BaseException as error:
            wrong.append(error)

    volume[...]
    threads = [threading.Thread(target=work, args=(seed,), daemon=True) for seed in range(8)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(4):
            run_children("fork", volume, written, 2)
    finally:
        stop.set()
        for thread in threads:
            thread.join(WAIT)
    assert not wrong
    read_at_random(volume, written, 99, 2)


@needs_fork
@needs_proc
def test_the_child_shares_no_descriptor(volume: Volume, written: Written) -> None:
    volume[...]
    assert shard_descriptors(written)
    before = {h.descriptor: os.fstat(h.descriptor).st_ino for h in volume._store._handles.values()}
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write_end, f"{len(shard_descriptors(written))}".encode())
        finally:
            os._exit(0)
    os.close(write_end)
    os.waitpid(child, 0)
    with os.fdopen(read_end) as pipe:
        assert pipe.read() == "0"
    # And those of the parent are still its own.
    for descriptor, inode in before.items():
        assert os.fstat(descriptor).st_ino == inode
    read_at_random(volume, written, 1, 2)


@needs_fork
@needs_proc
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_no_descriptor_leaks_into_a_child_while_threads_open_files(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "MOST_HANDLES", 1)  # so that each read opens and closes files
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            volume[...]

    with open_volume(written.path, threads=2, cache_bytes=0) as volume:
        threads = [threading.Thread(target=work, daemon=True) for _ in range(4)]
        for thread in threads:
            thread.start()
        leaked = []
        for _ in range(15):
            child = os.fork()
            if child == 0:
                status = 100
                try:
                    status = len(shard_descriptors(written))
                finally:
                    os._exit(status)
            leaked.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
        stop.set()
        for thread in threads:
            thread.join(WAIT)
    assert leaked == [0] * 15


OUTLIVE = """
import sys, threading
import shardreader

volume = shardreader.open_volume(sys.argv[1], threads=3, missing="zero")

def read():
    threading.main_thread().join()
    print(volume[...].shape, volume.lookup(volume.voxel_offset, units="voxel").shape)

threading.Thread(target=read).start()
"""


def test_a_thread_that_outlives_the_main_thread(written: Written) -> None:
    done = subprocess.run(
        [sys.executable, "-c", OUTLIVE, str(written.path)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.stdout.strip() == f"{SPEC.size} ()", done.stderr


@needs_fork
def test_a_closed_volume_stays_closed_in_the_child(volume: Volume) -> None:
    volume[...]
    volume.close()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            volume[...]
        except ValueError:
            status = 0
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


FORK_AND_LOG = """
import os, threading, time
import shardreader.volume
from shardreader.runtime.compile_lock import compiling
import logging

def compile():
    with compiling:
        started.set()
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            logging.getLogger("numba")  # as its import does

started = threading.Event()
threading.Thread(target=compile).start()
started.wait()
child = os.fork()
if child == 0:
    os._exit(0)
print(os.waitpid(child, 0)[1])
"""


@needs_fork
def test_a_fork_that_waits_for_a_compilation_holds_no_lock_that_it_needs() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK_AND_LOG],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.strip() == "0", done.stderr


COMPILE_AND_FORK = """
import os, signal, sys, threading
import numpy as np
import shardreader

if __name__ == "__main__":
    volume = shardreader.open_volume(sys.argv[1], missing="zero")
    corner = volume.voxel_offset
    reader = threading.Thread(target=lambda: (volume.lookup(corner, units="voxel"), volume[...]))
    reader.start()
    statuses = []
    for _ in range(4):
        before = len(sys.modules)
        while reader.is_alive() and len(sys.modules) < before + 40:
            reader.join(0.01)
        child = os.fork()
        if child == 0:
            signal.alarm(240)  # ends a child that waits for ever; compiling alone is slow
            label = volume.lookup(corner, units="voxel")
            os._exit(0 if label == volume[corner] else 3)
        statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    reader.join()
    print(statuses)
"""


@needs_fork
@pytest.mark.slow
def test_fork_while_another_thread_compiles(written: Written, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", COMPILE_AND_FORK, str(written.path)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "numba")},
        capture_output=True,
        text=True,
        timeout=1000,
        check=False,
    )
    assert done.stdout.strip() == str([0] * 4), done.stderr
