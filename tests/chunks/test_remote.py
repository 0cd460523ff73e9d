"""Volumes on a server: the answers of the local files, and none that the server did not give."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import REPOSITORY, assert_refused, run, run_here
from fault_server import Fault, FaultServer, Request, serving
from fixture_truth import FAFB_MINI, FIXTURES
from partial_shards import ASKED, EXPECTED, STORED, partial, record, write
from remote_cases import BOX, NEW, OLD, POINTS, all_points, relabelled
from rounds import counted_rounds
from shard_builder import Shard, TinyVolume, block_label, gzipped, tiny_chunk

import shardreader
from shardreader import Box, open_volume
from shardreader.chunks.located import ReadLimits
from shardreader.errors import InfoError, NotDownloadedError, PointStatus, ReadError, ShardError
from shardreader.format.sharding import ShardingSpec

OK, EMPTY = PointStatus.OK, PointStatus.EMPTY
ABSENT, CORRUPT = PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT


@pytest.fixture(autouse=True)
def _no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardreader.storage.remote_files.RETRY_SECONDS", (0.001, 0.001, 0.001))


@pytest.fixture
def tiny_served(tiny_gzip: TinyVolume) -> Iterator[tuple[TinyVolume, FaultServer]]:
    with serving(tiny_gzip.write().path) as server:
        yield tiny_gzip, server


def urls(server: FaultServer, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
    monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
    return {"gs": "gs://bucket", "s3": "s3://bucket/", "http": server.plain}


# --- the same answers


@pytest.mark.parametrize("prefix", ["", "precomputed://"])
@pytest.mark.parametrize("kind", ["gs", "s3", "http"])
def test_every_kind_of_url(kind: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(FAFB_MINI) as server, open_volume(FAFB_MINI) as local:
        url = urls(server, monkeypatch)[kind]
        with open_volume(prefix + url) as vol:
            assert vol.path == url.rstrip("/")
            assert vol.shape == local.shape
            assert vol.info == local.info
            labels, status = vol.lookup(POINTS, units="voxel", return_status=True)
            same, its_status = local.lookup(POINTS, units="voxel", return_status=True)
            np.testing.assert_array_equal(labels, same)
            np.testing.assert_array_equal(status, its_status)
            np.testing.assert_array_equal(vol.cutout(BOX), local.cutout(BOX))
            np.testing.assert_array_equal(vol.stored_chunks(BOX)[1], local.stored_chunks(BOX)[1])
            again = pickle.loads(pickle.dumps(vol))
        with again:
            np.testing.assert_array_equal(again.cutout(BOX), local.cutout(BOX))
        count = server.count()
        with pytest.raises(ValueError, match="closed"):
            vol.cutout(BOX)
        assert server.count() == count


@pytest.mark.parametrize("name", ["unsharded-cloud-volume", "unsharded-cloud-volume-gzip"])
def test_unsharded_volumes(name: str) -> None:
    with serving(FIXTURES / name) as server, open_volume(FIXTURES / name, missing="zero") as local:
        with open_volume(server.plain) as vol:
            for _ in range(2):
                count = server.count()
                np.testing.assert_array_equal(vol[...], local[...])
            assert server.count() == count


@pytest.mark.parametrize("with_manifest", [False, True])
def test_an_absent_shard_is_background_unless_the_source_is_a_copy(
    writable: Callable[[str], Path], with_manifest: bool
) -> None:
    source = writable("fafb-mini")
    if not with_manifest:
        (source / "shardreader-manifest.json").unlink()
    with serving(source) as server, open_volume(server.plain) as vol:
        answer = vol.lookup([20000, 20000, 2000], units="voxel", return_status=True)
        assert [int(part) for part in answer] == [0, ABSENT if with_manifest else EMPTY]
        if with_manifest:
            with pytest.raises(NotDownloadedError, match=server.plain):
                vol.lookup([20000, 20000, 2000], units="voxel")


def test_partial_shards(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    write(tiny_gzip, partial(tiny_gzip, STORED, ASKED).to_bytes())
    points = all_points(tiny_gzip)[:16]
    with serving(tiny_gzip.path) as server:
        with open_volume(server.plain) as vol:
            _, status = vol.lookup(points, units="voxel", return_status=True)
            assert status.tolist() == EXPECTED
            with pytest.raises(NotDownloadedError, match="partial"):
                vol.lookup(points[EXPECTED.index(ABSENT)], units="voxel")
        damaged = bytearray(partial(tiny_gzip, STORED, ASKED).to_bytes())
        damaged[64 + len(record(ASKED)) - 1] ^= 1
        write(tiny_gzip, bytes(damaged))
        with open_volume(server.plain) as vol:
            _, status = vol.lookup(points, units="voxel", return_status=True)
            assert status.tolist() == [OK if i in STORED else CORRUPT for i in range(16)]


def test_a_swapped_shard_and_a_damaged_chunk(
    tiny_served: tuple[TinyVolume, FaultServer],
) -> None:
    tiny, server = tiny_served
    tiny.shard_path(1).write_bytes(tiny.shards[0].to_bytes())
    shard = tiny.shards[0]
    shard.chunks[5] = shard.chunks[5][:-1]
    tiny.shard_path(0).write_bytes(shard.to_bytes())
    with open_volume(server.plain) as vol:
        _, status = vol.lookup(all_points(tiny), units="voxel", return_status=True)
        assert status.tolist() == [CORRUPT if i == 5 or i > 15 else OK for i in range(32)]
        with pytest.raises(ShardError, match=rf"{server.plain}/tiny/1\.shard.*hash to 1.shard"):
            vol.lookup(tiny.lower(20), units="voxel")


def test_a_small_budget_and_many_threads(
    tiny_served: tuple[TinyVolume, FaultServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reads that cannot all be ahead wait for those that are taken, and for no others."""
    tiny, server = tiny_served
    monkeypatch.setattr("shardreader.storage.remote_ranges._MOST_AHEAD_BYTES", 100)
    monkeypatch.setattr("shardreader.storage.remote_files._MOST_IN_FLIGHT", 3)
    monkeypatch.setattr("shardreader.chunks.remote_source._LIMITS", ReadLimits(-1, 1, 1))
    monkeypatch.setattr("shardreader.chunks.remote_source._MOST_MINISHARDS", 3)
    expected = [block_label(i, 0) for i in range(32)]
    wrong: list[object] = []
    with open_volume(server.plain, threads=3, cache_bytes=0) as vol:

        def work() -> None:
            for _ in range(3):
                labels = vol.lookup(all_points(tiny), units="voxel")
                if labels.tolist() != expected or vol[0, 0, 0] != expected[0]:
                    wrong.append(labels)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()
    assert not wrong


# --- a server that misbehaves


@pytest.mark.parametrize("status", ["401", "403", "400"])
def test_a_refusal_is_no_background(
    tiny_served: tuple[TinyVolume, FaultServer], status: str
) -> None:
    tiny, server = tiny_served
    server.faults.append(Fault("1.shard", status, -1))
    with open_volume(server.plain, missing="zero") as vol:
        for read in (
            lambda: vol.lookup(all_points(tiny), units="voxel", return_status=True),
            lambda: vol[...],
            lambda: vol.stored_chunks(vol.bounds),
        ):
            with pytest.raises(ReadError, match=f"{server.plain}/tiny/1.shard.*{status}"):
                read()
        assert vol.lookup(tiny.lower(3), units="voxel") == block_label(3, 0)


@pytest.mark.parametrize("kind", ["503", "429", "short", "cut"])
def test_what_passes_is_tried_again(tiny_served: tuple[TinyVolume, FaultServer], kind: str) -> None:
    tiny, server = tiny_served
    server.faults.append(Fault(r"\.shard|info", kind, 3))
    with open_volume(server.plain) as vol:
        server.faults.append(Fault(r"\.shard", kind, 2, skip=2))
        labels = vol.lookup(all_points(tiny), units="voxel")
    assert labels.tolist() == [block_label(i, 0) for i in range(32)]
    assert all(fault.times == 0 for fault in server.faults)


@pytest.mark.parametrize(
    ("kind", "words"),
    [("503", "503"), ("short", "bytes came"), ("whole", "whole object"), ("500", "500")],
)
@pytest.mark.parametrize("skip", [0, 2])
def test_what_does_not_pass_is_an_error(
    tiny_served: tuple[TinyVolume, FaultServer], kind: str, words: str, skip: int
) -> None:
    tiny, server = tiny_served
    server.faults.append(Fault(r"\.shard", kind, -1, skip=skip))
    with open_volume(server.plain, missing="zero") as vol:
        with pytest.raises(ReadError, match=f"{server.plain}/tiny/.*{words}.*nothing about"):
            vol.lookup(all_points(tiny), units="voxel", return_status=True)
        server.faults.clear()
        assert vol.lookup(tiny.lower(3), units="voxel") == block_label(3, 0)


def test_an_object_of_0_bytes_is_corrupt(tiny_served: tuple[TinyVolume, FaultServer]) -> None:
    tiny, server = tiny_served
    tiny.shard_path(1).write_bytes(b"")
    with open_volume(server.plain) as vol:
        _, status = vol.lookup(all_points(tiny), units="voxel", return_status=True)
        assert status.tolist() == [OK] * 16 + [CORRUPT] * 16
        with pytest.raises(ShardError, match="found 0"):
            vol.lookup(tiny.lower(20), units="voxel")


def test_flipped_bytes_are_corrupt(tiny_served: tuple[TinyVolume, FaultServer]) -> None:
    tiny, server = tiny_served
    with open_volume(server.plain) as vol:
        vol.stored_chunks(vol.bounds)
        server.faults.append(Fault("0.shard", "flipped", 1, at=40))
        _, status = vol.lookup(all_points(tiny), units="voxel", return_status=True)
        assert status.tolist().count(CORRUPT) == 1


@pytest.mark.parametrize(
    ("at", "joined", "etags"),
    [
        *((at, True, True) for at in range(1, 5)),
        *((at, False, True) for at in (2, 3, 5, 6, 9, 12, 20)),
        *((at, False, False) for at in (3, 6, 9)),
    ],
)
def test_a_shard_that_is_replaced_under_a_read_is_no_mixture(
    tiny_gzip: TinyVolume, at: int, joined: bool, etags: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the old one, all of the new one, or an error."""
    if not joined:
        monkeypatch.setattr("shardreader.chunks.remote_source._LIMITS", ReadLimits(-1, 1, 1))
    monkeypatch.setattr("shardreader.chunks.remote_source._SPARE_BYTES", 0)
    tiny_gzip.write()
    count = 0

    def before(_: Request) -> None:
        nonlocal count
        with server.lock:
            count += 1
            if count == at:
                server.replace("tiny/0.shard", relabelled(tiny_gzip))

    with serving(tiny_gzip.path) as server:
        server.etags = etags
        with open_volume(server.plain, threads=2) as vol:
            server.before = before
            try:
                got = vol.lookup(all_points(tiny_gzip)[:16], units="voxel").tolist()
            except ReadError as error:
                assert "replaced at the source" in str(error)
            else:
                assert got in (OLD, NEW)
            server.before = lambda _: None
            whole = [int(vol[point]) for point in all_points(tiny_gzip)[:16]]
            if count >= at:
                assert whole == NEW


def test_a_shard_that_was_replaced_since_the_last_read(
    tiny_served: tuple[TinyVolume, FaultServer],
) -> None:
    """What is in the cache is of one version; with something to read, it is of the present one."""
    tiny, server = tiny_served
    points = all_points(tiny)[:16]
    with open_volume(server.plain) as vol:
        vol.stored_chunks(vol.bounds)
        assert vol.lookup(points[:4], units="voxel").tolist() == OLD[:4]
        server.replace("tiny/0.shard", relabelled(tiny))
        assert vol.lookup(points[:4], units="voxel").tolist() == OLD[:4]
        with pytest.raises(ReadError, match="replaced at the source while it was read"):
            vol.lookup(points[:6], units="voxel")
        assert vol.lookup(points, units="voxel").tolist() == NEW
    with open_volume(server.plain) as vol:
        vol.stored_chunks(vol.bounds)
        server.replace("tiny/0.shard", tiny.shards[0].to_bytes())
        assert vol.lookup(points[1], units="voxel") == OLD[1]  # nothing of it was read: anew


def test_a_shard_that_never_comes_to_rest(tiny_served: tuple[TinyVolume, FaultServer]) -> None:
    tiny, server = tiny_served
    server.faults.append(Fault("0.shard", "changed", -1))
    with open_volume(server.plain) as vol, pytest.raises(ReadError, match="changed 3 times"):
        vol.lookup(tiny.lower(0), units="voxel")


def test_every_range_of_a_shard_names_its_version(
    tiny_served: tuple[TinyVolume, FaultServer],
) -> None:
    tiny, server = tiny_served
    with open_volume(server.plain) as vol:
        vol[...]
        vol.lookup(all_points(tiny), units="voxel")
    ranges = [r for r in server.requests if r.kind == "shard" and r.range != "bytes=0-4159"]
    assert ranges
    for request in ranges:
        assert request.if_match == server.etag(request.path.removeprefix("/plain/"))


@pytest.mark.parametrize(
    ("faults", "words"),
    [
        ([Fault("info", "403", -1)], "403"),
        ([Fault("info", "503", -1)], "503"),
        ([Fault("manifest", "503", -1)], "503"),
        ([Fault("info", "whole", -1)], "whole object"),
    ],
)
def test_a_volume_that_cannot_be_opened(
    tiny_served: tuple[TinyVolume, FaultServer], faults: list[Fault], words: str
) -> None:
    _, server = tiny_served
    server.faults += faults
    with pytest.raises(ReadError, match=words):
        open_volume(server.plain)


def test_no_volume_there(tiny_served: tuple[TinyVolume, FaultServer]) -> None:
    _, server = tiny_served
    with pytest.raises(InfoError, match=f"{server.plain}/tiny: has no file info"):
        open_volume(f"{server.plain}/tiny")
    server.faults.append(Fault("manifest", "403", -1))  # as S3 where it may not be listed
    with open_volume(server.plain) as vol:
        assert vol.dtype == np.uint64


# --- what it costs


def big_volume(path: Path) -> Any:
    """A volume of 2,048 chunks in 8 shards of 64 minishards; gives the first voxel of each."""
    spec = ShardingSpec(2, 6, 3, minishard_index_encoding="gzip", data_encoding="gzip")
    tiny = TinyVolume(path, index_encoding="gzip", data_encoding="gzip", size=(256, 256, 64))
    sharding = tiny.info["scales"][0]["sharding"]
    sharding.update(preshift_bits=2, minishard_bits=6, shard_bits=3)
    tiny.write()
    for number in range(8):
        ids = range(256 * number, 256 * number + 256)
        shard = Shard(spec, {i: gzipped(tiny_chunk(i)) for i in ids})
        tiny.shard_path(number).write_bytes(shard.to_bytes())
    # 16 x 16 x 8 cells: bits y3 x3 z2 y2 x2 z1 ... from the top.
    ids = np.arange(2048)
    bit = [ids >> i & 1 for i in range(11)]
    x = bit[0] | bit[3] << 1 | bit[6] << 2 | bit[9] << 3
    y = bit[1] | bit[4] << 1 | bit[7] << 2 | bit[10] << 3
    z = bit[2] | bit[5] << 1 | bit[8] << 2
    return np.stack([16 * x, 16 * y, 8 * z], axis=1)


@pytest.fixture(scope="module")
def big(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    path = tmp_path_factory.mktemp("big") / "volume"
    return path, big_volume(path)


def test_a_thousand_scattered_points_wait_at_most_six_times(
    big: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though no two of their ranges are joined, as in shards of 230 MB."""
    path, lowers = big
    monkeypatch.setattr("shardreader.chunks.remote_source._LIMITS", ReadLimits(-1, 1, 1))
    monkeypatch.setattr("shardreader.chunks.remote_source._SPARE_BYTES", 0)
    ids = np.random.default_rng(0).choice(2048, 1000, replace=False)
    with serving(path) as server, open_volume(server.plain) as vol:
        server.requests.clear()
        with counted_rounds(server, vol) as rounds:
            labels = vol.lookup(lowers[ids], units="voxel")
        assert labels.tolist() == [block_label(i, 0) for i in ids.tolist()]
        minishards = len(np.unique(ids // 4))
        assert server.count("shard") == 8 + minishards + 1000
        assert len(rounds.sizes) <= 6
        assert rounds.sizes[0] == 8


def test_a_box_over_eight_shards_waits_three_times(big: tuple[Path, Any]) -> None:
    path, lowers = big
    with serving(path) as server, open_volume(server.plain) as vol:
        server.requests.clear()
        with counted_rounds(server, vol) as rounds:
            voxels = vol.cutout(Box((112, 112, 24), (144, 144, 40)))
        assert len(rounds.sizes) <= 3  # at most four are allowed
        assert server.count() <= 8 * 3
        inside = ((lowers >= (112, 112, 24)) & (lowers < (144, 144, 40))).all(axis=1)
        for chunk_id in np.flatnonzero(inside).tolist():
            x, y, z = lowers[chunk_id] - (112, 112, 24)
            assert voxels[x, y, z] == block_label(chunk_id, 0)
        with counted_rounds(server, vol) as rounds:
            vol.cutout(Box((112, 112, 24), (144, 144, 40)))
        assert rounds.sizes == []


def test_absent_shards_wait_for_no_more(tmp_path: Path) -> None:
    tiny = TinyVolume(tmp_path / "tiny", index_encoding="gzip", data_encoding="gzip").write()
    tiny.shard_path(1).unlink()
    with serving(tiny.path) as server, open_volume(server.plain) as vol:
        server.requests.clear()
        with counted_rounds(server, vol) as rounds:
            assert not vol.cutout(Box((0, 32, 0), (64, 64, 16))).any()
        # The last: whether the source has any other shard of this scale.
        assert rounds.sizes == [1, 2, 2]


def test_an_empty_minishard_waits_for_no_more(tmp_path: Path) -> None:
    """That the shard is the one of its name is seen in the same round as the other indices."""
    tiny = TinyVolume(tmp_path / "tiny", index_encoding="gzip", data_encoding="gzip")
    shard = tiny.shards[0]
    shard.chunks = {i: shard.chunks[i] for i in (0, 1, 14)}
    shard.gaps = {14: bytes(200_000)}
    tiny.write()
    with serving(tiny.path) as server, open_volume(server.plain) as vol:
        server.requests.clear()
        with counted_rounds(server, vol) as rounds:
            _, status = vol.lookup([tiny.lower(5)], units="voxel", return_status=True)
        assert status.tolist() == [EMPTY]
        assert len(rounds.sizes) == 2


# --- processes

FORK = """
import multiprocessing, os, sys
import shardreader

if __name__ == "__main__":
    url, method = sys.argv[1:]
    vol = shardreader.open_volume(url)
    label = int(vol[3, 3, 3])
    if method == "spawn":
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            print(int(pool.apply(vol.__getitem__, ((3, 3, 3),))) == label)
    else:
        child = os.fork()
        if child == 0:
            for read in (lambda: vol[3, 3, 3], lambda: shardreader.open_volume(url)):
                try:
                    read()
                except shardreader.ReadError as error:
                    print("spawn" in str(error), flush=True)
            os._exit(0)
        print(os.waitpid(child, 0)[1] == 0 and int(vol[3, 3, 3]) == label)
    vol.close()
"""


@pytest.mark.parametrize("method", ["fork", pytest.param("spawn", marks=pytest.mark.slow)])
def test_processes(tiny_served: tuple[TinyVolume, FaultServer], method: str) -> None:
    if method == "fork" and not hasattr(os, "fork"):
        pytest.skip("cannot fork")
    _, server = tiny_served
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORK, server.plain, method],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    expected = ["True"] if method == "spawn" else ["True"] * 3
    assert done.stdout.split() == expected, done.stderr


# --- the command line


def test_the_commands_take_urls(tmp_path: Path) -> None:
    with serving(FAFB_MINI) as server:
        here = run_here("lookup", FAFB_MINI, FAFB_MINI / "points.csv", "--units", "voxel")
        there = run("lookup", server.plain, FAFB_MINI / "points.csv", "--units", "voxel")
        assert (there.returncode, there.stdout) == (here.returncode, here.stdout)
        box = ",".join(map(str, (*BOX.lower, *BOX.upper)))
        out = tmp_path / "box.npy"
        done = run_here("cutout", server.plain, "--box", box, "--units", "voxel", "-o", out)
        assert done.returncode == 0, done.stderr
        with open_volume(FAFB_MINI) as vol:
            np.testing.assert_array_equal(np.load(out), vol.cutout(BOX))
        done = run_here("info", server.plain)
        assert done.returncode == 0
        assert "124416 x 67072 x 7063 voxels" in done.stdout
        assert "possible ones are here" not in done.stdout


@pytest.mark.parametrize("command", [["verify"], ["adopt", "--assume-complete"]])
def test_what_needs_a_directory_says_so(command: list[str]) -> None:
    done = run_here(*command, "gs://bucket/volume")
    assert_refused(done, "gs://bucket/volume", "local directory", "shardreader fetch")


def test_without_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(InfoError, match=r"pip install 'shardreader\[fetch\]'"):
        shardreader.open_volume("gs://bucket/volume")
    assert_refused(run_here("info", "gs://bucket/volume"), "shardreader[fetch]")
