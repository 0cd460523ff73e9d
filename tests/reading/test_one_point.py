"""Points one by one: the short way says what the long one says, and says nothing else."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FIXTURES
from shard_builder import TinyVolume, block_label
from ways import Ways, answers, change_core

from shardreader import NotDownloadedError, PointStatus, open_volume
from shardreader.decoding import libdeflate
from shardreader.reading.direct_read import OnePoint

pytestmark = pytest.mark.skipif(
    not (libdeflate.usable() and libdeflate.reads_files()),
    reason="here compiled code reads no files, and points go the long way",
)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    counted = Ways()
    true_label = OnePoint.label

    def label(self: OnePoint, voxel: Any) -> Any:
        found = true_label(self, voxel)
        counted.short += found is not None
        counted.long += found is None
        return found

    monkeypatch.setattr(OnePoint, "label", label)
    return counted


def check_as_long(path: Path, points: list[Any], **options: Any) -> None:
    """Hold the short way to the long one, on volumes just opened and on ones that keep chunks."""
    with open_volume(path, **options) as short, open_volume(path, **options) as long:
        change_core(long, one_point=None)
        for point in points * 3:
            assert answers(short, point) == answers(long, point)


def test_all_voxels_of_a_volume(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    rng = np.random.default_rng(0)
    points = rng.integers((0, 0, 0), (64, 64, 16), (300, 3))
    with open_volume(tiny_gzip.path) as volume:
        whole = volume[...]
        for x, y, z in points.tolist():
            assert volume.lookup((x, y, z), units="voxel") == whole[x, y, z]
    # A chunk that comes again is read by the long way once, which keeps it.
    assert ways.short == 300 - 32
    assert ways.long == 32


def test_shapes_are_those_of_many(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    at = tiny_gzip.lower(7)
    with open_volume(tiny_gzip.path) as volume:
        for shape in [(), (1,), (1, 1)]:
            label = volume.lookup(np.reshape(at, (*shape, 3)), units="voxel")
            assert label.shape == shape
            assert label.dtype == np.uint64
            assert label.reshape(-1)[0] == block_label(7, 0)
            _, status = volume.lookup(
                np.reshape(at, (*shape, 3)), units="voxel", return_status=True
            )
            assert (status.shape, status.dtype) == (shape, np.uint8)
    assert ways.short > 0


def test_faces_of_the_volume_and_of_chunks(tmp_path: Path, ways: Ways) -> None:
    volume = TinyVolume(
        tmp_path / "t", index_encoding="gzip", data_encoding="gzip", size=(64, 64, 16)
    )
    volume.write()
    edges = [(x, y, z) for x in (0, 15, 16, 63) for y in (0, 63) for z in (0, 7, 8, 15)]
    outside = [(-1, 0, 0), (64, 0, 0), (0, 64, 0), (0, 0, 16), (0, -(1 << 62), 0), (1 << 62, 0, 0)]
    check_as_long(volume.path, [*edges, *outside, (np.nan, 0, 0), (0.5, np.inf, 0)])
    assert ways.short > 0


def test_fixtures(ways: Ways) -> None:
    rng = np.random.default_rng(1)
    for path in sorted(p for p in FIXTURES.iterdir() if (p / "info").is_file()):
        with open_volume(path, missing="zero") as volume:
            lower, upper = np.array(volume.bounds.lower), np.array(volume.bounds.upper)
            points = rng.integers(lower, upper, (5, 3)).tolist()
            points.append(((lower + upper) // 2).tolist())
        check_as_long(path, points)
    assert ways.short > 0


def test_what_is_not_there(tiny_gzip: TinyVolume) -> None:
    del tiny_gzip.shards[0].chunks[3]
    tiny_gzip.write()
    tiny_gzip.shard_path(1).unlink()
    points = [tiny_gzip.lower(at) for at in (3, 20)]
    check_as_long(tiny_gzip.path, points)
    check_as_long(tiny_gzip.path, points, missing="zero")
    with open_volume(tiny_gzip.path) as volume:
        assert volume.lookup(points[0], units="voxel", return_status=True)[1] == PointStatus.EMPTY
        with pytest.raises(NotDownloadedError):
            volume.lookup(points[1], units="voxel")


@pytest.mark.parametrize("part", ["data", "index", "entry", "cut"])
def test_damage_is_told_as_by_the_long_way(tiny_gzip: TinyVolume, part: str, ways: Ways) -> None:
    tiny_gzip.write()
    shard = tiny_gzip.shards[0]
    at = {
        "data": 64 + shard.chunk_offsets()[5] + 12,
        "index": 64 + shard.index_entries()[1][0] + 12,
        "entry": 16 + 3,
        "cut": 64 + shard.chunk_offsets()[6],
    }[part]
    file = bytearray(tiny_gzip.shard_path(0).read_bytes())
    if part == "cut":
        del file[at:]
    else:
        file[at] ^= 0x55
    tiny_gzip.shard_path(0).write_bytes(file)
    points = [tiny_gzip.lower(chunk) for chunk in range(16)]
    check_as_long(tiny_gzip.path, points)
    with open_volume(tiny_gzip.path) as volume:
        status = [volume.lookup(p, units="voxel", return_status=True)[1] for p in points]
    assert PointStatus.CORRUPT in status
    if part != "cut":
        assert ways.short > 0


def test_a_shard_that_is_replaced(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    at = tiny_gzip.lower(4)
    with open_volume(tiny_gzip.path) as volume:
        assert volume.lookup(at, units="voxel") == block_label(4, 0)
        chunks = tiny_gzip.shards[0].chunks
        chunks[4] = chunks[6]
        replaced = tiny_gzip.shard_path(0).with_suffix(".new")
        replaced.write_bytes(tiny_gzip.shards[0].to_bytes())
        replaced.replace(tiny_gzip.shard_path(0))
        assert volume.lookup(at, units="voxel") == block_label(6, 0)
        tiny_gzip.shard_path(0).unlink()
        with pytest.raises(NotDownloadedError):
            volume.lookup(at, units="voxel")
    assert ways.short == 2


def test_from_many_threads_at_once(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    wrong: list[Any] = []
    with open_volume(tiny_gzip.path, cache_bytes=5000) as volume:

        def work(seed: int) -> None:
            for chunk_id in np.random.default_rng(seed).integers(0, 32, 200).tolist():
                label = volume.lookup(tiny_gzip.lower(chunk_id), units="voxel")
                if label != block_label(chunk_id, 0):
                    wrong.append((chunk_id, label))

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(handle.users == 0 for handle in volume._store._handles.values())
    assert not wrong
    assert ways.short > 0


def test_a_closed_volume_refuses(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    volume = open_volume(tiny_gzip.path)
    volume.lookup(tiny_gzip.lower(0), units="voxel")
    volume.close()
    with pytest.raises(ValueError, match="closed"):
        volume.lookup(tiny_gzip.lower(0), units="voxel")
