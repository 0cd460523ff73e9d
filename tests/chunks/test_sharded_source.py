"""Finding and reading stored chunks: what it costs, and files that change."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from preads import replace_pread, true_pread
from shard_builder import Shard, TinyVolume, block_label
from ways import change_core

from shardreader import Box, Volume, open_volume
from shardreader.chunks import minishard_indices, stored_reader
from shardreader.decoding import libdeflate
from shardreader.errors import (
    NotDownloadedError,
    PointStatus,
    ReadError,
    ShardError,
)

Read = tuple[str, int, int]


class Recorder:
    """The reads of a volume's shards and the lengths of what is inflated, in their order."""

    def __init__(self, vol: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reads: list[Read] = []
        self.inflated: list[int] = []

        def pread(descriptor: int, length: int, position: int) -> bytes:
            names = {handle.descriptor: name for name, handle in vol._store._handles.items()}
            self.reads.append((names[descriptor], position, position + length))
            assert true_pread is not None
            return true_pread(descriptor, length, position)

        replace_pread(monkeypatch, pread)
        true_read_each, true_read_index = libdeflate.read_each, libdeflate.read_minishard_index
        true_read_one = libdeflate.read_one

        def read_each(space: Any, files: Any, numbers: Any, starts: Any, ends: Any, *rest: Any):
            self.inflated += (ends - starts).tolist()
            return true_read_each(space, files, numbers, starts, ends, *rest)

        def read_one(space: Any, descriptor: int, start: int, end: int, most_bytes: int) -> Any:
            self.inflated.append(end - start)
            return true_read_one(space, descriptor, start, end, most_bytes)

        def read_minishard_index(*arguments: Any) -> Any:
            table = true_read_index(*arguments)
            is_gzip = arguments[-1][3]
            if is_gzip and table is not None and table.size:
                self.inflated.append(self.reads[-1][2] - self.reads[-1][1])
            return table

        monkeypatch.setattr(libdeflate, "read_each", read_each)
        monkeypatch.setattr(libdeflate, "read_one", read_one)
        monkeypatch.setattr(libdeflate, "read_minishard_index", read_minishard_index)
        for module in (minishard_indices, stored_reader):
            monkeypatch.setattr(module, "inflate", self._recorded(module.inflate))

    def _recorded(self, true_inflate: Callable[..., bytes]) -> Callable[..., bytes]:
        def recorded(stored: bytes, start: int, end: int, **options: Any) -> bytes:
            self.inflated.append(end - start)
            return true_inflate(stored, start, end, **options)

        return recorded

    def taken(self) -> tuple[int, int]:
        """How many reads and inflates since the last call."""
        counts = len(self.reads), len(self.inflated)
        self.reads.clear()
        self.inflated.clear()
        return counts


# --- what a read costs


@pytest.mark.parametrize("threads", [1, 2])
def test_a_first_lookup_takes_three_reads_a_second_one_and_a_third_none(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    tiny_gzip.write()
    shard = tiny_gzip.shards[0]
    with open_volume(tiny_gzip.path, threads=threads) as vol:
        recorder = Recorder(vol, monkeypatch)
        assert vol.lookup(tiny_gzip.lower(5), units="voxel") == block_label(5, 0)
        start, end = (64 + n for n in shard.index_entries()[1])
        at = 64 + shard.chunk_offsets()[5]
        assert recorder.reads == [
            ("tiny/0.shard", 16, 32),
            ("tiny/0.shard", start, end),
            ("tiny/0.shard", at, at + len(shard.chunks[5])),
        ]
        assert recorder.inflated == [end - start, len(shard.chunks[5])]
        recorder.taken()
        for expected in [(1, 1), (0, 0), (0, 0)]:
            assert vol.lookup(tiny_gzip.lower(5), units="voxel") == block_label(5, 0)
            assert recorder.taken() == expected
        vol.lookup(tiny_gzip.lower(6), units="voxel")  # the same minishard
        assert recorder.taken() == (1, 1)
        vol.lookup(tiny_gzip.lower(9), units="voxel")  # the same shard
        assert recorder.taken() == (3, 2)
        vol.lookup(tiny_gzip.lower(20), units="voxel")  # another shard
        assert recorder.taken() == (3, 2)


def test_many_points_of_a_chunk_inflate_it_once(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    points = rng.integers(0, (64, 64, 16), size=(5000, 3))
    with open_volume(tiny_gzip.write().path, threads=2) as vol:
        change_core(vol, few_chunks=None)  # which reads in compiled code that nothing counts
        recorder = Recorder(vol, monkeypatch)
        labels = vol.lookup(points % (16, 16, 8), units="voxel")
        assert recorder.taken() == (3, 2)
        blocks = points[:, 0] % 16 // 8 + 2 * (points[:, 1] % 16 // 8)
        expected = np.array([block_label(0, i) for i in range(4)], np.uint64)[blocks]
        np.testing.assert_array_equal(labels, expected)
        vol.lookup(points, units="voxel")
        # 31 more chunks, one again, seven more minishard indices.
        assert recorder.taken()[1] == 32 + 7


def test_a_box_joins_neighbouring_chunks(tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_volume(tiny.write().path, threads=1) as vol:
        recorder = Recorder(vol, monkeypatch)
        vol.cutout(vol.bounds)
        chunk_reads = recorder.reads[8 + 8 :]
        assert len(chunk_reads) <= 4  # 32 chunks of two files
        assert sum(end - start for _, start, end in chunk_reads) == 32 * 68
        vol.cutout(vol.bounds)  # what comes again is kept
        recorder.taken()
        vol.cutout(vol.bounds)
        vol.stored_chunks(vol.bounds)
        assert recorder.taken() == (0, 0)


def test_chunks_far_apart_are_not_joined(tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    shard = tiny.shards[0]
    shard.gaps = dict.fromkeys(shard.chunks, bytes(50_000))
    with open_volume(tiny.write().path, threads=1) as vol:
        recorder = Recorder(vol, monkeypatch)
        whole = vol.cutout(vol.bounds)
        assert sum(end - start for _, start, end in recorder.reads) < 50_000
    assert (whole[:16, :16, :8] == tiny.voxels(0)).all()


def test_stored_chunks_reads_indices_only(
    tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_volume(tiny.write().path, threads=1) as vol:
        recorder = Recorder(vol, monkeypatch)
        vol.stored_chunks(vol.bounds)
        assert len(recorder.reads) == 8 + 8


def test_absent_files_cost_no_read(tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny.write()
    for number in range(2):
        tiny.shard_path(number).unlink()
    with open_volume(tiny.path, missing="zero") as vol:
        recorder = Recorder(vol, monkeypatch)
        assert not vol.cutout(vol.bounds).any()
        assert recorder.taken() == (0, 0)


def test_without_a_cache(tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [tiny_gzip.lower(i) for i in range(32)]
    with open_volume(tiny_gzip.write().path, threads=2, cache_bytes=0) as vol:
        recorder = Recorder(vol, monkeypatch)
        for _ in range(2):
            assert vol.lookup(points[5], units="voxel") == block_label(5, 0)
            assert recorder.taken() == (3, 2)
        labels = vol.lookup(points, units="voxel")
        assert labels.tolist() == [block_label(i, 0) for i in range(32)]
        assert vol.cutout(vol.bounds)[0, 0, 0] == block_label(0, 0)
        assert not vol.stored_chunks(vol.bounds)[1].any()
        assert vol._core.source.cache.used_bytes == 0


@pytest.mark.parametrize("cache_bytes", [1, 500, 2000, 5000])
def test_a_small_cache_stays_within_its_budget(tiny_gzip: TinyVolume, cache_bytes: int) -> None:
    rng = np.random.default_rng(0)
    with open_volume(tiny_gzip.write().path, cache_bytes=cache_bytes) as vol:
        for _ in range(20):
            ids = rng.integers(0, 32, size=5).tolist()
            labels = vol.lookup([tiny_gzip.lower(i) for i in ids], units="voxel")
            assert labels.tolist() == [block_label(i, 0) for i in ids]
            assert vol._core.source.cache.used_bytes <= cache_bytes


# --- one file under several names, several entries with the same bytes


@pytest.mark.skipif(not hasattr(os, "link"), reason="needs links")
@pytest.mark.parametrize("link", ["link", "symlink"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_link_to_another_shard(tiny: TinyVolume, link: str, first: int) -> None:
    tiny.write().shard_path(0).unlink()
    getattr(os, link)(tiny.shard_path(1), tiny.shard_path(0))
    points = [tiny.lower(i) for i in range(32)]
    bad = [PointStatus.CORRUPT] * 16
    good = [PointStatus.OK] * 16
    with open_volume(tiny.path, threads=1) as vol:
        for number in (first, 1 - first, 0, 1):
            part = points[16 * number : 16 * number + 16]
            _, status = vol.lookup(part, units="voxel", return_status=True)
            assert status.tolist() == (good if number else bad)
        with pytest.raises(ShardError, match=r"1\.shard"):
            vol.cutout(Box((0, 0, 0), (1, 1, 1)))


def test_the_cache_does_not_change_an_answer(tiny: TinyVolume) -> None:
    # Chunk 4, of the second minishard, is the first 20 bytes of chunk 0.
    shard = tiny.shards[0]
    rows = shard.default_rows(1)
    shard.rows[1] = [(4, shard.chunk_offsets()[0], 20), *rows[1:]]
    tiny.write()
    answers = []
    for before in ([4], [0]):
        with open_volume(tiny.path, threads=1) as vol:
            for chunk_id in before:
                vol.lookup([tiny.lower(chunk_id)], units="voxel", return_status=True)
            _, status = vol.lookup(
                [tiny.lower(0), tiny.lower(4)], units="voxel", return_status=True
            )
            answers.append(status.tolist())
    assert answers == [[PointStatus.OK, PointStatus.CORRUPT]] * 2


# --- files that change


def relabelled(tiny: TinyVolume) -> Shard:
    """Shard 0 with other chunks, in other places: chunk i holds what chunk i ^ 1 had; 2 is gone."""
    old = tiny.shards[0]
    chunks = {i: old.chunks[i ^ 1] for i in reversed(old.chunks) if i != 2}
    return Shard(tiny.spec, chunks, lead=b"\xff" * 100)


def check_relabelled(tiny: TinyVolume, vol: Volume) -> None:
    points = [tiny.lower(i) for i in range(32)]
    labels, status = vol.lookup(points, units="voxel", return_status=True)
    expected = [block_label(i ^ 1 if i < 16 else i, 0) for i in range(32)]
    expected[2] = 0
    assert labels.tolist() == expected
    assert status.tolist() == [int(i == 2) for i in range(32)]
    whole = vol.cutout(vol.bounds)
    assert [int(whole[point]) for point in points] == expected


def replace_shard(tiny: TinyVolume, data: bytes, number: int = 0) -> None:
    new = tiny.path / "new"
    new.write_bytes(data)
    os.replace(new, tiny.shard_path(number))


@pytest.mark.parametrize("threads", [1, 2])
def test_a_shard_replaced_under_an_open_volume(tiny: TinyVolume, threads: int) -> None:
    with open_volume(tiny.write().path, threads=threads) as vol:
        vol.cutout(vol.bounds)
        replace_shard(tiny, relabelled(tiny).to_bytes())
        check_relabelled(tiny, vol)
        replace_shard(tiny, bytes(100))
        _, status = vol.lookup([tiny.lower(2)], units="voxel", return_status=True)
        assert status == PointStatus.CORRUPT


def test_a_shard_written_over_in_place(tiny: TinyVolume) -> None:
    with open_volume(tiny.write().path) as vol:
        vol.cutout(vol.bounds)
        tiny.shard_path(0).write_bytes(relabelled(tiny).to_bytes())
        check_relabelled(tiny, vol)


def test_a_shard_that_comes_and_goes(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    point = tiny.lower(0)
    with open_volume(tiny.path) as vol:
        for _ in range(2):
            with pytest.raises(NotDownloadedError):
                vol.lookup(point, units="voxel")
            replace_shard(tiny, tiny.shards[0].to_bytes())
            assert vol.lookup(point, units="voxel") == block_label(0, 0)
            tiny.shard_path(0).unlink()


class Interrupter:
    """Does something just before the nth read."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, at: set[int], action: Callable[[], None]
    ) -> None:
        self.count = 0

        def pread(descriptor: int, length: int, position: int) -> bytes:
            self.count += 1
            if self.count in at:
                action()
            assert true_pread is not None
            return true_pread(descriptor, length, position)

        replace_pread(monkeypatch, pread)


@pytest.mark.parametrize("keep_handles", [False, True])
@pytest.mark.parametrize("at", range(1, 20))  # 8 + 8 of indices, 4 of chunks
def test_a_shard_replaced_during_a_read(
    tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch, at: int, keep_handles: bool
) -> None:
    """Every chunk is read whole, from the old file or from the new."""
    tiny.write()
    points = [tiny.lower(i) for i in range(32)]
    old = [block_label(i, 0) for i in range(32)]
    new = [block_label(i ^ 1 if i < 16 else i, 0) for i in range(32)]
    new[2] = 0
    for read in ("lookup", "cutout", "cutout into"):
        replace_shard(tiny, tiny.shards[0].to_bytes())
        with open_volume(tiny.path, threads=1) as vol:

            def action(vol: Volume = vol) -> None:
                replace_shard(tiny, relabelled(tiny).to_bytes())
                if not keep_handles:
                    vol._store.close()

            interrupter = Interrupter(monkeypatch, {at}, action)
            if read == "lookup":
                labels = vol.lookup(points, units="voxel", return_status=True)[0].tolist()
            else:
                out = np.full(vol.shape, 7, np.uint64, order="F") if read != "cutout" else None
                whole = vol.cutout(vol.bounds, out=out)
                labels = [int(whole[point]) for point in points]
            assert all(label in pair for label, *pair in zip(labels, old, new, strict=True))
            assert interrupter.count >= at
            monkeypatch.undo()
            check_relabelled(tiny, vol)


def test_a_shard_removed_during_a_read_is_not_downloaded(
    tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny.write()
    with open_volume(tiny.path, threads=1) as vol:

        def action() -> None:
            tiny.shard_path(0).unlink(missing_ok=True)
            vol._store.close()

        Interrupter(monkeypatch, {2}, action)
        _, status = vol.lookup([tiny.lower(0)], units="voxel", return_status=True)
        assert status == PointStatus.NOT_DOWNLOADED


@pytest.mark.parametrize(
    "every", [range(1, 100), range(2, 100, 2)], ids=["always", "before the chunk"]
)
def test_a_shard_that_never_comes_to_rest(
    tiny: TinyVolume, monkeypatch: pytest.MonkeyPatch, every: range
) -> None:
    tiny.write()
    with open_volume(tiny.path, threads=1) as vol:

        def action() -> None:
            tiny.shard_path(0).write_bytes(tiny.shard_path(0).read_bytes() + b"x")
            vol._store.close()

        interrupter = Interrupter(monkeypatch, set(every), action)
        with pytest.raises(ReadError, match="changed 3 times"):
            vol.lookup([tiny.lower(0)], units="voxel", return_status=True)
        assert interrupter.count < 30
