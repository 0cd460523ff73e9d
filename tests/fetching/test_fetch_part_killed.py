"""Partial fetches and merges that are killed: what is here is right, a later fetch goes on."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli import REPOSITORY
from fault_server import FaultServer
from fetching_cases import served
from part_cases import (
    PINKY_VOLUME,
)

import shardreader
from shardreader import Box
from shardreader.copies.shard_writer import NewChunks, merge_shard
from shardreader.errors import PointStatus
from shardreader.format.coverage import Coverage
from shardreader.format.sharding import ShardingSpec

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
needs_kill = pytest.mark.skipif(os.name == "nt", reason="no SIGKILL")


def in_a_child_that_dies(work: Callable[[], object], at: int) -> bool:
    """Run `work` in a fork that is killed at its `at`-th step; whether it came that far."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    steps = 0

    def dying(name: str) -> None:
        real = getattr(os, name)

        def call(*arguments: object) -> object:
            nonlocal steps
            if steps == at:
                os.kill(os.getpid(), signal.SIGKILL)
            steps += 1
            return real(*arguments)

        setattr(os, name, call)

    for name in ("fsync", "replace", "open", "pread"):
        dying(name)
    try:
        work()
    finally:
        os._exit(0)


@needs_fork
@needs_kill
def test_killed_at_every_step_of_a_merge(tmp_path: Path) -> None:
    spec = ShardingSpec(2, 2, 1, "identity", "gzip", "raw")
    path = tmp_path / "0.shard"
    part = str(tmp_path / "0.shard.merge.part")

    def ids(*numbers: int) -> Coverage:
        return Coverage.of_ids(np.array(numbers, np.uint64), generation="1")

    chunks = [{1: b"one", 4: b"four"}, {2: b"two", 9: b"nine"}]

    def merge(number: int) -> None:
        new = NewChunks.of(chunks[number], spec)
        merge_shard(str(path), spec, 0, new, ids(*chunks[number], 3 + number), part=part)

    merge(0)
    before = path.read_bytes()
    step = 0
    while in_a_child_that_dies(lambda: merge(1), step):
        here = path.read_bytes()
        # The old file or the new one, and never another.
        if here != before:
            path.write_bytes(before)
        step += 1
    assert step >= 5
    after = path.read_bytes()
    assert after != before
    assert [p.name for p in tmp_path.iterdir()] == ["0.shard"]
    path.write_bytes(before)
    merge(1)
    assert path.read_bytes() == after


def kill_fetches(tmp_path: Path, server: FaultServer, times: int) -> None:
    """Fetch boxes one after the other, each killed in the middle and begun again."""
    rng = random.Random(times)
    copy = tmp_path / "copy"
    x, y, z = 19968, 11776, 1920
    boxes = [Box((x + 256 * i, y, z), (x + 256 * i + 256, y + 1024, z + 48)) for i in range(4)]
    server.rate = 2_000_000
    with shardreader.open_volume(PINKY_VOLUME) as truth:
        for i in range(times):
            box = boxes[i % 4]
            numbers = ",".join(map(str, (*box.lower, *box.upper)))
            server.requests.clear()
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "shardreader", "fetch", "gs://bucket", str(copy)),
                    *("--box", numbers, "--units", "voxel"),
                ],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
            )
            end, wanted = time.monotonic() + 30, rng.randrange(1, 20)
            while server.count("shard") < wanted and time.monotonic() < end:
                if process.poll() is not None:
                    break
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.05))
            process.send_signal(signal.SIGKILL)
            process.communicate()
            if not (copy / "info").exists():
                continue
            with shardreader.open_volume(copy, missing="zero") as vol:
                _, status = vol.stored_chunks(span(boxes))
                assert not (status == PointStatus.CORRUPT).any()
                _, want = truth.stored_chunks(span(boxes))
                known = status != PointStatus.NOT_DOWNLOADED
                np.testing.assert_array_equal(status[known], want[known])
    server.rate = 0
    for box in boxes:
        assert shardreader.fetch("gs://bucket", copy, box=box).ok
    with shardreader.open_volume(copy) as vol, shardreader.open_volume(PINKY_VOLUME) as truth:
        for box in boxes:
            assert np.array_equal(vol.cutout(box), truth.cutout(box))
    assert not list(copy.rglob("*.part"))


def span(boxes: list[Box]) -> Box:
    return Box(boxes[0].lower, boxes[-1].upper)


@needs_kill
@pytest.mark.skipif(not PINKY_VOLUME.exists(), reason="no ../shared/data")
@pytest.mark.slow
@pytest.mark.parametrize("times", [8])
def test_killed_fetches(times: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with served("", monkeypatch, PINKY_VOLUME) as server:
        kill_fetches(tmp_path, server, times)
