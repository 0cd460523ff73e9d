"""What is read of a URL and kept: a copy of its own, never a mixture of two versions."""

from __future__ import annotations

import gc
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import REPOSITORY, assert_refused, run_here
from fault_server import Fault, FaultServer, serving
from fixture_truth import FAFB_MINI, FIXTURES
from hypothesis import given, settings
from hypothesis import strategies as st
from remote_cases import NEW, OLD, POINTS, all_points, relabelled
from shard_builder import TinyVolume, block_label

from shardreader import Volume, open_volume, verify
from shardreader.errors import InfoError, PointStatus, ReadError, ShardError

OK, EMPTY = PointStatus.OK, PointStatus.EMPTY
ABSENT, CORRUPT = PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT


@pytest.fixture
def tiny(tiny_gzip: TinyVolume) -> TinyVolume:
    """Chunk 3 and 17 are background; written."""
    for number, chunk_id in ((0, 3), (1, 17)):
        del tiny_gzip.shards[number].chunks[chunk_id]
    return tiny_gzip.write()


@pytest.fixture
def server(tiny: TinyVolume) -> Iterator[FaultServer]:
    with serving(tiny.path) as served:
        yield served


def statuses(vol: Volume, tiny: TinyVolume, ids: Any = range(32)) -> list[int]:
    """The status of chunks; labels are as they must be."""
    labels, status = vol.lookup([tiny.lower(i) for i in ids], units="voxel", return_status=True)
    expected = [block_label(i, 0) if s == OK else 0 for i, s in zip(ids, status, strict=True)]
    assert labels.tolist() == expected
    found: list[int] = status.tolist()
    return found


def assert_kept(kept: Path, tiny: TinyVolume, read: set[int]) -> None:
    """Hold the directory to having what was read, and to saying so."""
    with open_volume(kept) as vol:
        expected = [EMPTY if i in (3, 17) else OK for i in range(32)]
        assert statuses(vol, tiny) == [expected[i] if i in read else ABSENT for i in range(32)]
    if read:
        report = verify(kept, level="deep", allow_absent=True)
        assert report.ok
        assert report.totals.chunks == len(read - {3, 17})


def test_the_next_run_reads_from_disk(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path
) -> None:
    kept = tmp_path / "a" / "kept"
    read: set[int] = set()
    for ids in ([0, 3, 5], [3, 5, 20], [1, 2]):
        with open_volume(server.plain, cache_dir=kept) as vol:
            statuses(vol, tiny, ids)
        read |= {*ids}
        assert_kept(kept, tiny, read)
    with open_volume(server.plain, cache_dir=kept) as vol:
        count = server.count()
        assert statuses(vol, tiny, sorted(read)) == [EMPTY if i == 3 else OK for i in sorted(read)]
        assert server.count() == count
        whole = vol[...]
    with open_volume(tiny.path) as local:
        np.testing.assert_array_equal(whole, local[...])
    assert_kept(kept, tiny, {*range(32)})
    assert not [path for path in kept.rglob("*") if ".part" in path.name]


@settings(max_examples=5, deadline=None)
@given(st.lists(st.sets(st.integers(0, 31), max_size=8), min_size=1, max_size=4), st.booleans())
def test_any_sequence_of_reads(reads: list[set[int]], small: bool) -> None:
    with pytest.MonkeyPatch.context() as patch:
        import tempfile

        if small:
            patch.setattr("shardreader.copies.cache_dir._MOST_PENDING_BYTES", 200)
        with tempfile.TemporaryDirectory() as folder:
            tiny = TinyVolume(Path(folder) / "tiny", index_encoding="gzip", data_encoding="gzip")
            del tiny.shards[0].chunks[3], tiny.shards[1].chunks[17]
            kept = Path(folder) / "kept"
            with serving(tiny.write().path) as server:
                for ids in reads:
                    with open_volume(server.plain, cache_dir=kept, cache_bytes=2000) as vol:
                        statuses(vol, tiny, sorted(ids))
            assert_kept(kept, tiny, set().union(*reads))


def test_what_the_source_does_not_have_is_kept_too(tmp_path: Path) -> None:
    source, kept = tmp_path / "source", tmp_path / "kept"
    shutil.copytree(FAFB_MINI, source)
    (source / "shardreader-manifest.json").unlink()
    with serving(source) as server:
        with open_volume(server.plain, cache_dir=kept) as vol:
            labels, status = vol.lookup(POINTS, units="voxel", return_status=True)
        assert set(status.tolist()) == {OK, EMPTY}
    with open_volume(kept) as vol:
        again, its_status = vol.lookup(POINTS, units="voxel", return_status=True)
        np.testing.assert_array_equal(again, labels)
        np.testing.assert_array_equal(its_status, status)
        _, status = vol.lookup([[20000, 20000, 2000]], units="voxel", return_status=True)
        assert status.tolist() == [ABSENT]
    assert verify(kept, allow_absent=True).ok


def test_a_shard_that_was_replaced_at_the_source(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path
) -> None:
    """What is kept of the old one is not mixed with the new one, and goes."""
    kept = tmp_path / "kept"
    points = all_points(tiny)[:16]
    with open_volume(server.plain, cache_dir=kept) as vol:
        vol.lookup(points[:3], units="voxel")
    tiny.shards[0] = TinyVolume(tmp_path, index_encoding="gzip", data_encoding="gzip").shards[0]
    server.replace("tiny/0.shard", relabelled(tiny))
    with open_volume(server.plain, cache_dir=kept) as vol:
        # Nothing is asked of the source: what is kept is as the source was.
        assert vol.lookup(points[:3], units="voxel").tolist() == OLD[:3]
        assert vol.lookup(points[:6], units="voxel").tolist() == NEW[:6]
    with open_volume(kept) as vol:
        labels, status = vol.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [OK, OK, EMPTY, OK, OK, OK, *[ABSENT] * 10]
        assert labels.tolist()[:6] == NEW[:6]
    assert verify(kept, level="deep", allow_absent=True).ok
    (tiny.path / "tiny" / "0.shard").unlink()
    with open_volume(server.plain, cache_dir=kept) as vol:
        labels, status = vol.lookup(points[:8], units="voxel", return_status=True)
        assert status.tolist() == [EMPTY] * 8


@pytest.mark.parametrize("at", range(1, 5))
def test_a_shard_that_is_replaced_meanwhile(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path, at: int
) -> None:
    kept = tmp_path / "kept"
    points = all_points(tiny)[:16]
    tiny.shards[0] = TinyVolume(tmp_path, index_encoding="gzip", data_encoding="gzip").shards[0]
    server.replace("tiny/0.shard", tiny.shards[0].to_bytes())
    with open_volume(server.plain, cache_dir=kept) as vol:
        vol.lookup(points[:3], units="voxel")
    count = 0

    def before(_: Any) -> None:
        nonlocal count
        count += 1
        if count == at:
            server.replace("tiny/0.shard", relabelled(tiny))

    with open_volume(server.plain, cache_dir=kept) as vol:
        server.before = before
        try:
            assert vol.lookup(points, units="voxel").tolist() in (OLD, NEW)
        except ReadError as error:
            assert "replaced at the source" in str(error)
        server.before = lambda _: None
    with open_volume(kept) as vol:
        labels, status = vol.lookup(points, units="voxel", return_status=True)
        known = (status == OK) | (status == EMPTY)
        assert any((labels == version)[known].all() for version in (OLD, NEW))


def test_two_that_keep_in_one_directory(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path
) -> None:
    """The later may lose what the other kept, but no more."""
    kept = tmp_path / "kept"
    wrong: list[BaseException] = []

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        try:
            for _ in range(8):
                with open_volume(server.plain, cache_dir=kept, threads=1) as vol:
                    statuses(vol, tiny, sorted(rng.choice(32, 4, replace=False).tolist()))
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert not wrong
    with open_volume(kept) as vol:
        for i, status in enumerate(statuses(vol, tiny)):
            assert status in (ABSENT, EMPTY if i in (3, 17) else OK)
    assert verify(kept, level="deep", allow_absent=True).ok


KEEP = """
import sys
import numpy as np
import shardreader

url, kept, seed = sys.argv[1:]
rng = np.random.default_rng(int(seed))
for _ in range(20):
    with shardreader.open_volume(url, cache_dir=kept) as vol:
        vol.lookup(rng.integers(0, (64, 64, 16), (5, 3)), units="voxel")
"""


@pytest.mark.slow
@pytest.mark.parametrize("killed", [False, True])
def test_processes_that_keep_in_one_directory(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path, killed: bool
) -> None:
    kept = tmp_path / "kept"
    command = [sys.executable, "-c", KEEP, server.plain, str(kept)]
    started = [subprocess.Popen([*command, str(seed)], cwd=REPOSITORY) for seed in range(3)]
    if killed:
        while not list(kept.rglob("*.shard")):
            assert started[0].poll() is None or list(kept.rglob("*.shard"))
        for process in started:
            process.kill()
    codes = [process.wait(120) for process in started]
    assert killed or codes == [0, 0, 0]
    with open_volume(kept) as vol:
        for i, status in enumerate(statuses(vol, tiny)):
            assert status in (ABSENT, EMPTY if i in (3, 17) else OK)
    assert verify(kept, level="deep", allow_absent=True).ok


def test_a_chunk_that_came_damaged_is_not_kept(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = tmp_path / "kept"
    with open_volume(server.plain, cache_dir=kept) as vol:
        vol.stored_chunks(vol.bounds)
        server.faults.append(Fault("0.shard", "flipped", 1, at=40))
        found = statuses(vol, tiny)
        assert found.count(CORRUPT) == 1
    assert_kept(kept, tiny, {i for i in range(32) if found[i] != CORRUPT})


def test_damage_in_the_directory_is_no_background(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    with open_volume(server.plain, cache_dir=kept) as vol:
        statuses(vol, tiny, [0, 3, 5])
    file = kept / "tiny" / "0.shard"
    data = bytearray(file.read_bytes())
    data[70] ^= 1  # in the coverage record
    file.write_bytes(data)
    with open_volume(server.plain, cache_dir=kept) as vol:
        assert statuses(vol, tiny, [0, 3, 5, 6]) == [OK, CORRUPT, OK, CORRUPT]
        with pytest.raises(ShardError, match=f"coverage.*delete {file}"):
            vol.lookup(tiny.lower(6), units="voxel")


def test_what_was_read_is_kept_without_close(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path
) -> None:
    vol = open_volume(server.plain, cache_dir=tmp_path / "kept")
    statuses(vol, tiny, [4])
    del vol
    gc.collect()
    assert_kept(tmp_path / "kept", tiny, {4})


def test_a_pickle_keeps_there_too(tiny: TinyVolume, server: FaultServer, tmp_path: Path) -> None:
    with open_volume(server.plain, cache_dir=tmp_path / "kept") as vol:
        again = pickle.loads(pickle.dumps(vol))
    with again:
        statuses(again, tiny, [4])
    assert_kept(tmp_path / "kept", tiny, {4})


def test_a_whole_shard_stays(tiny: TinyVolume, server: FaultServer, tmp_path: Path) -> None:
    """A directory may be a copy with some shards already."""
    kept = tmp_path / "kept"
    shutil.copytree(tiny.path, kept)
    (kept / "tiny" / "1.shard").unlink()
    whole = (kept / "tiny" / "0.shard").read_bytes()
    with open_volume(server.plain, cache_dir=kept) as vol:
        count = server.count()
        statuses(vol, tiny, range(16))
        assert server.count() == count
        statuses(vol, tiny, [16, 17])
    assert (kept / "tiny" / "0.shard").read_bytes() == whole
    assert_kept(kept, tiny, {*range(18)})


def test_a_directory_that_cannot_be_used(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path
) -> None:
    with pytest.raises(InfoError, match="holds another volume"):
        open_volume(server.plain, cache_dir=shutil.copytree(FAFB_MINI, tmp_path / "other"))
    with pytest.raises(ValueError, match="cache_dir is for URLs"):
        open_volume(tiny.path, cache_dir=tmp_path / "kept")
    with serving(FIXTURES / "unsharded") as unsharded:
        with pytest.raises(InfoError, match="not sharded"):
            open_volume(unsharded.plain, cache_dir=tmp_path / "kept")
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        open_volume(server.plain, cache_dir=tmp_path / "file")


def test_a_full_drive_is_said(
    tiny: TinyVolume, server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    vol = open_volume(server.plain, cache_dir=tmp_path / "kept")
    statuses(vol, tiny, [4])
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(ReadError, match="cannot keep what was read: No space left"):
            vol.close()
    with open_volume(tmp_path / "kept") as local:
        assert statuses(local, tiny) == [ABSENT] * 32


def test_the_commands(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    points = FAFB_MINI / "points.csv"
    with serving(FAFB_MINI) as server:
        done = run_here("lookup", server.plain, points, "--units", "voxel", "--cache-dir", kept)
        assert done.returncode == 0, done.stderr
        count = server.count("shard")
        again = run_here("lookup", server.plain, points, "--units", "voxel", "--cache-dir", kept)
        assert again.stdout == done.stdout
        assert server.count("shard") == count
    here = run_here("lookup", kept, points, "--units", "voxel")
    assert here.stdout == done.stdout
    refused = run_here("lookup", kept, points, "--units", "voxel", "--cache-dir", tmp_path / "x")
    assert_refused(refused, "cache_dir is for URLs")
