"""Reads of few chunks: the short way says what the long one says, and says nothing else."""

from __future__ import annotations

import gzip
import os
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FIXTURES
from hypothesis import given, settings
from hypothesis import strategies as st
from shard_builder import TinyVolume, block_label
from volume_strategies import boxes, layouts, specs
from volumes import Layout, Spec, random_labels, write_volume
from ways import Ways, answers, change_core

from shardreader import (
    Box,
    ChunkError,
    NotDownloadedError,
    PointStatus,
    ShardReaderError,
    Volume,
    open_volume,
)
from shardreader.chunks.chunk_cache import Places, SeenLately
from shardreader.decoding import libdeflate
from shardreader.format.grid import ChunkGrid
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.sharding import ShardingSpec
from shardreader.reading import direct_read as few_chunks
from shardreader.reading.direct_read import FewChunks
from shardreader.reading.point_read import PointRead

pytestmark = pytest.mark.skipif(
    not (libdeflate.usable() and libdeflate.reads_files()),
    reason="here compiled code reads no files, and boxes go the long way",
)


@pytest.fixture
def ways(monkeypatch: pytest.MonkeyPatch) -> Ways:
    counted = Ways()
    read_box, read_points = FewChunks.read_box, FewChunks.read_points

    def count(found: Any, is_short: bool) -> Any:
        counted.short += is_short
        counted.long += not is_short
        return found

    def count_box(self: FewChunks, box: Box, out: Any) -> Any:
        found = read_box(self, box, out)
        return count(found, found is not None)

    def count_points(self: FewChunks, read: PointRead) -> bool:
        found = read_points(self, read)
        return count(found, found)

    monkeypatch.setattr(FewChunks, "read_box", count_box)
    monkeypatch.setattr(FewChunks, "read_points", count_points)
    return counted


def answer(volume: Volume, box: Box) -> Any:
    """What a volume says of a box; exceptions by their words."""
    try:
        voxels = volume.cutout(box)
    except ShardReaderError as error:
        return type(error), str(error)
    return voxels.tolist(), voxels.dtype, voxels.strides


def check_as_long(path: Path, some: list[Box], **options: Any) -> None:
    """Hold the short way to the long one, on volumes just opened and on ones that keep chunks."""
    with open_volume(path, **options) as short, open_volume(path, **options) as long:
        change_core(long, few_chunks=None)
        for box in some * 3:
            assert answer(short, box) == answer(long, box)
    with open_volume(path, **options) as short, open_volume(path, **options) as long:
        change_core(long, few_chunks=None)
        for box in some * 2:
            corners = np.array([box.lower, np.subtract(box.upper, 1)])
            points = np.random.default_rng(3).integers(corners[0], box.upper, (40, 3))
            points = np.concatenate([points, corners])
            assert answers(short, points) == answers(long, points)


def boxes_in_tiny(count: int, seed: int = 0) -> list[Box]:
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, (65, 65, 17), (count, 2, 3)), axis=1)
    return [Box(tuple(a), tuple(b)) for a, b in corners.tolist() if all(np.less(a, b))]


# What is read


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.data())
def test_any_volume_box_and_output(data: st.DataObject) -> None:
    drawn = data.draw(specs())
    values = {name: getattr(drawn, name) for name in drawn.__dataclass_fields__}
    spec = Spec(**{**values, "preshift_bits": drawn.preshift_bits % 64, "data_encoding": "gzip"})
    labels = random_labels(spec, data.draw(st.integers(0, 99)), background=False)
    labels[labels == 0] = 5  # a chunk that is all 0 is not stored
    options = data.draw(
        st.sampled_from([{"threads": 1, "cache_bytes": 0}, {"threads": 3}, {"cache_bytes": 5000}])
    )
    with tempfile.TemporaryDirectory() as directory:
        written = write_volume(Path(directory), spec, labels=labels)
        with open_volume(directory, **options) as volume:
            assert volume._core.few_chunks is not None
            seen_before = False
            rng = np.random.default_rng(data.draw(st.integers(0, 99)))
            for _ in range(4):
                box = data.draw(boxes(spec).filter(lambda box: not box.is_empty))
                layout = data.draw(st.one_of(st.just(Layout()), layouts))
                out = layout.array(box.shape, volume.dtype)
                memory = out if out.base is None else out.base
                between = memory.copy()
                found = volume._core.few_chunks.read_box(box, out)
                # A chunk that comes again is left to the long way, which keeps it, as are boxes in
                # many files; and kernels write to aligned memory alone.
                is_short = len(written.shards()) <= few_chunks._MOST_FILES
                assert (
                    found is out
                    or seen_before
                    or not (is_short and few_chunks.FlatOutput.fits(out))
                )
                truth = written.box(box.lower, box.upper)
                if found is not None:
                    np.testing.assert_array_equal(out, truth)
                    out[...] = 77
                    assert memory.tobytes() == between.tobytes()
                np.testing.assert_array_equal(volume.cutout(box), truth)
                points = rng.integers(spec.voxel_offset, spec.upper, (30, 3))
                labels = volume.lookup(points, units="voxel")
                np.testing.assert_array_equal(labels, written.at(points))
                seen_before = options.get("cache_bytes") != 0


def test_all_of_a_volume_by_parts(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    with open_volume(tiny_gzip.path) as volume, open_volume(tiny_gzip.path) as other:
        change_core(other, few_chunks=None)
        whole = other[...]
        for box in boxes_in_tiny(100):
            part = tuple(slice(a, b) for a, b in zip(box.lower, box.upper, strict=True))
            np.testing.assert_array_equal(volume.cutout(box), whole[part])
            np.testing.assert_array_equal(volume[part], whole[part])
    assert ways.short > 100


def test_a_result_is_new_memory_in_fortran_order(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    with open_volume(tiny_gzip.path) as volume:
        first, second = (volume.cutout(Box((3, 4, 2), (20, 5, 9))) for _ in range(2))
        assert first.flags.f_contiguous
        assert first.flags.owndata
        assert first.flags.writeable
        assert (first.shape, first.dtype) == ((17, 1, 7), np.uint64)
        assert not np.shares_memory(first, second)
    assert ways.short == 1


def test_fixtures(ways: Ways) -> None:
    rng = np.random.default_rng(1)
    for path in sorted(p for p in FIXTURES.iterdir() if (p / "info").is_file()):
        with open_volume(path, missing="zero") as volume:
            lower, upper = np.array(volume.bounds.lower), np.array(volume.bounds.upper)
        some = []
        for shape in ((1, 1, 1), (9, 40, 5), (64, 3, 2)):
            fitting = np.minimum(shape, upper - lower)
            corner = rng.integers(lower, upper - fitting + 1)
            some.append(Box(tuple(corner.tolist()), tuple((corner + fitting).tolist())))
        if path.name == "fafb-mini":
            some.append(Box((61435, 32763, 3067), (61445, 32773, 3077)))
        check_as_long(path, some)
        check_as_long(path, some, missing="zero")
    assert ways.short > 0


def test_what_is_too_large_goes_the_long_way(
    tiny_gzip: TinyVolume, ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_gzip.write()
    with open_volume(tiny_gzip.path, cache_bytes=0) as volume:
        whole = volume[...]
        assert (ways.short, ways.long) == (1, 0)
        monkeypatch.setattr(few_chunks, "_MOST_CHUNKS_OF_BOX", 31)
        np.testing.assert_array_equal(volume[...], whole)
        monkeypatch.setattr(few_chunks, "_MOST_CHUNKS_OF_BOX", 32)
        monkeypatch.setattr(few_chunks, "MOST_CACHED_BYTES", whole.nbytes - 1)
        np.testing.assert_array_equal(volume[...], whole)
        assert (ways.short, ways.long) == (1, 2)


def test_points_in_any_order_and_of_any_shape(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    rng = np.random.default_rng(2)
    with open_volume(tiny_gzip.path, cache_bytes=0) as volume:
        whole = volume[...]
        for count in (2, 3, 40, 5000):
            points = rng.integers((0, 0, 0), (64, 64, 16), (count, 3))
            labels = volume.lookup(points, units="voxel")
            np.testing.assert_array_equal(labels, whole[tuple(points.T)])
        grid = volume.lookup(points[:4000].reshape(40, 100, 3), units="voxel")
        np.testing.assert_array_equal(grid.ravel(), labels[:4000])
        with_bad = np.concatenate([[[-1, 0, 0], [np.nan, 0, 0]], points])
        found, status = volume.lookup(with_bad, units="voxel", return_status=True)
        np.testing.assert_array_equal(found[2:], labels)
        assert (found[:2].tolist(), status[:3].tolist()) == (
            [0, 0],
            [PointStatus.OUT_OF_BOUNDS, PointStatus.INVALID, PointStatus.OK],
        )
        outside = volume.lookup([[-1, 0, 0]] * 3, units="voxel", return_status=True)
        assert (outside[1] == PointStatus.OUT_OF_BOUNDS).all()
    assert (ways.short, ways.long) == (1 + 6, 1)


def test_more_files_than_may_be_open_at_once(
    tiny_gzip: TinyVolume, ways: Ways, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_gzip.write()
    points = [tiny_gzip.lower(chunk_id) for chunk_id in range(32)]
    monkeypatch.setattr(few_chunks, "_MOST_FILES", 1)
    with open_volume(tiny_gzip.path) as volume:
        labels = volume.lookup(points, units="voxel")
        assert labels.tolist() == [block_label(chunk_id, 0) for chunk_id in range(32)]
        assert (volume[...] > 0).all()
    assert (ways.short, ways.long) == (0, 2)


# What is kept


def test_chunks_that_come_again_are_kept_and_served_from_memory(
    tiny_gzip: TinyVolume, ways: Ways
) -> None:
    tiny_gzip.write()
    with open_volume(tiny_gzip.path) as volume:
        truth = volume[...]
        np.testing.assert_array_equal(volume[...], truth)  # the long way, which keeps them
        assert (ways.short, ways.long) == (1, 1)
        # Neither file nor index is looked at but for whether they are the same.
        for number in range(2):
            path = tiny_gzip.shard_path(number)
            before = path.stat()
            path.write_bytes(bytes(before.st_size))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        np.testing.assert_array_equal(volume[...], truth)
        np.testing.assert_array_equal(volume[5:40, 3:60, 1:9], truth[5:40, 3:60, 1:9])
        assert (ways.short, ways.long) == (3, 1)


def test_a_box_of_kept_and_new_chunks(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    with open_volume(tiny_gzip.path) as volume:
        for _ in range(3):
            volume[:16, :16, :8]
        assert (ways.short, ways.long) == (2, 1)
        voxels = volume[...]
        assert (ways.short, ways.long) == (3, 1)
        for chunk_id in range(32):
            assert voxels[tiny_gzip.lower(chunk_id)] == block_label(chunk_id, 0)


# What is not as it should be


def test_chunks_too_large_for_the_workspace_go_the_long_way(tmp_path: Path, ways: Ways) -> None:
    spec = Spec(size=(64, 64, 70), chunk_size=(64, 64, 64), block_size=(8, 8, 8))
    labels = np.random.default_rng(0).integers(1, 1 << 63, spec.size, dtype=np.uint64)
    written = write_volume(tmp_path, spec, labels=labels)
    points = np.random.default_rng(1).integers(0, spec.size, (50, 3))
    with open_volume(tmp_path) as volume:
        for _ in range(3):
            np.testing.assert_array_equal(volume[...], labels)
            np.testing.assert_array_equal(volume.lookup(points, units="voxel"), written.at(points))
        # What is kept lies in the cache, whatever its size.
        assert ways.short > 0
        assert ways.long > 1


def test_what_is_not_there(tiny_gzip: TinyVolume) -> None:
    del tiny_gzip.shards[0].chunks[3]
    tiny_gzip.write()
    tiny_gzip.shard_path(1).unlink()
    some = boxes_in_tiny(20)
    check_as_long(tiny_gzip.path, some)
    check_as_long(tiny_gzip.path, some, missing="zero")
    with open_volume(tiny_gzip.path) as volume, pytest.raises(NotDownloadedError):
        volume.cutout(volume.bounds)


@pytest.mark.parametrize("part", ["data", "index", "entry", "cut", "encoding"])
def test_damage_is_told_as_by_the_long_way(tiny_gzip: TinyVolume, part: str, ways: Ways) -> None:
    if part == "encoding":  # whole words, but no encoding
        tiny_gzip.shards[0].chunks[5] = gzip.compress(b"\x07\x00\x00\x00" * 30, mtime=0)
    tiny_gzip.write()
    shard = tiny_gzip.shards[0]
    at = {
        "data": 64 + shard.chunk_offsets()[5] + 12,
        "index": 64 + shard.index_entries()[1][0] + 12,
        "entry": 16 + 3,
        "cut": 64 + shard.chunk_offsets()[6],
    }
    file = bytearray(tiny_gzip.shard_path(0).read_bytes())
    if part == "cut":
        del file[at[part] :]
    elif part != "encoding":
        file[at[part]] ^= 0x55
    tiny_gzip.shard_path(0).write_bytes(file)
    some = [
        Box(lower, tuple(np.add(lower, (16, 16, 8)).tolist()))
        for lower in map(tiny_gzip.lower, range(32))
    ]
    check_as_long(tiny_gzip.path, [*some, *boxes_in_tiny(10)])
    assert ways.short > 0
    with open_volume(tiny_gzip.path) as volume:
        with pytest.raises(ShardReaderError):
            volume.cutout(volume.bounds)
        assert all(handle.users == 0 for handle in volume._store._handles.values())


def test_the_callers_array_after_damage_is_an_error_all_the_same(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.shards[0].chunks[5] = tiny_gzip.shards[0].chunks[5][:-4] + b"\x01\x00\x00\x00"
    tiny_gzip.write()
    with open_volume(tiny_gzip.path) as volume:
        out = np.zeros(volume.shape, np.uint64, order="F")
        with pytest.raises(ChunkError, match=r"0\.shard"):
            volume.cutout(volume.bounds, out=out)


def test_a_shard_that_is_replaced(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    x, y, z = tiny_gzip.lower(4)
    with open_volume(tiny_gzip.path) as volume:
        assert volume[x : x + 2, y, z].tolist() == [block_label(4, 0)] * 2
        chunks = tiny_gzip.shards[0].chunks
        chunks[4] = chunks[6]
        replaced = tiny_gzip.shard_path(0).with_suffix(".new")
        replaced.write_bytes(tiny_gzip.shards[0].to_bytes())
        replaced.replace(tiny_gzip.shard_path(0))
        assert volume[x : x + 2, y, z].tolist() == [block_label(6, 0)] * 2
        tiny_gzip.shard_path(0).unlink()
        with pytest.raises(NotDownloadedError):
            volume[x : x + 2, y, z]
    assert ways.short == 2


def test_from_many_threads_at_once(tiny_gzip: TinyVolume, ways: Ways) -> None:
    tiny_gzip.write()
    wrong: list[Any] = []
    # Room for some chunks, so that kept ones are dropped while others read them.
    with open_volume(tiny_gzip.path, cache_bytes=2000, threads=3) as volume:
        truth = volume[...]

        def work(seed: int) -> None:
            for box in boxes_in_tiny(60, seed):
                part = tuple(slice(a, b) for a, b in zip(box.lower, box.upper, strict=True))
                if (volume.cutout(box) != truth[part]).any():
                    wrong.append(box)

        threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(handle.users == 0 for handle in volume._store._handles.values())
    assert not wrong
    assert ways.short > 50


@pytest.mark.parametrize("threads", [1, 3])
def test_an_interrupted_read_leaves_the_volume_usable(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch, threads: int
) -> None:
    tiny_gzip.write()

    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    with open_volume(tiny_gzip.path, threads=threads) as volume:
        truth = volume[...]
        points = np.argwhere(truth > 0)[::31]
        with monkeypatch.context() as patch:
            for name in ("read_boxes", "read_points"):
                patch.setitem(few_chunks._loaded, (name, 8), interrupted)
            with open_volume(tiny_gzip.path, threads=threads, cache_bytes=0) as other:
                with pytest.raises(KeyboardInterrupt):
                    other[...]
                with pytest.raises(KeyboardInterrupt):
                    other.lookup(points, units="voxel")
                assert all(handle.users == 0 for handle in other._store._handles.values())
        np.testing.assert_array_equal(volume[...], truth)
        np.testing.assert_array_equal(volume.lookup(points, units="voxel"), truth[truth > 0][::31])


def test_a_closed_volume_refuses(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    volume = open_volume(tiny_gzip.path)
    volume[...]
    volume.close()
    with pytest.raises(ValueError, match="closed"):
        volume[...]


# The kernels


edges = st.one_of(st.sampled_from([1, 2, 64, 128]), st.integers(1, 200))


@settings(max_examples=300, deadline=None, derandomize=True)
@given(st.data())
def test_plan_box(data: st.DataObject) -> None:
    """The chunks of a box in any grid, by the specification's words in numpy."""
    cells = data.draw(st.tuples(*[st.sampled_from([1, 2, 3, 5, 8, 972, 1 << 20])] * 3))
    chunk = data.draw(st.tuples(edges, edges, edges))
    size = tuple(
        n * c - data.draw(st.integers(0, c - 1)) for n, c in zip(cells, chunk, strict=True)
    )
    offset = data.draw(st.tuples(*[st.sampled_from([0, -7, 1 << 40, -(1 << 40)])] * 3))
    grid = ChunkGrid(size, offset, chunk)
    lower, upper = [], []
    for o, s, c in zip(offset, size, chunk, strict=True):
        a = data.draw(st.integers(0, s - 1))
        lower.append(o + a)
        upper.append(o + min(s, a + data.draw(st.integers(1, 4 * c))))
    box = Box(tuple(lower), tuple(upper))
    minishard_bits = data.draw(st.integers(0, 32))
    spec = ShardingSpec(
        preshift_bits=data.draw(st.integers(0, 63)),
        minishard_bits=minishard_bits,
        shard_bits=data.draw(st.integers(0, 64 - minishard_bits)),
    )
    strides = data.draw(st.tuples(*[st.integers(-1000, 1000)] * 3))
    start = data.draw(st.integers(0, 1 << 40))
    form = np.array((0, 0, 0, 0, spec.preshift_bits, spec.minishard_bits, spec.shard_bits))
    touched = grid.cells_touching(box)
    count = touched.voxels
    parts, keys = np.empty((3, count, 3), np.int64), np.empty(count, np.uint64)
    firsts, order = np.zeros((2, count), np.int64)
    runs = np.empty((count, 3), np.uint64)
    filled = few_chunks._kernel("plan_box")(
        grid.table, grid.grid_size, form, touched.lower, touched.shape, box.lower, box.upper,
        start, strides, parts, firsts, keys, order, runs,
    )  # fmt: skip
    x, y, z = (np.arange(a, b) for a, b in zip(touched.lower, touched.upper, strict=True))
    all_cells = np.array([(a, b, c) for c in z for b in y for a in x])
    corners, shapes = grid.cell_extents(all_cells)
    low, high = np.maximum(corners, lower), np.minimum(corners + shapes, upper)
    np.testing.assert_array_equal(parts, [shapes, low - corners, high - corners])
    np.testing.assert_array_equal(firsts, start + (low - lower) @ np.array(strides))
    np.testing.assert_array_equal(keys, chunk_ids_of_cells(all_cells, grid.grid_size))
    slots = spec.slots(keys)
    np.testing.assert_array_equal(order, np.lexsort((keys, slots)))
    shards, minishards = spec.locate(keys[order])
    found = []
    begin = 0
    for shard, minishard, end in runs[:filled].tolist():
        found += [(shard, minishard)] * (end - begin)
        begin = end
    assert found == list(zip(shards.tolist(), minishards.tolist(), strict=True))
    assert len({tuple(run[:2]) for run in runs[:filled].tolist()}) == filled


def places_of(starts: Any, sizes: Any) -> Places:
    places = Places(*np.zeros((5, len(starts)), np.int64))
    places.starts[:] = starts
    places.ends[:] = np.add(starts, sizes)
    return places


def looked(seen: SeenLately, starts: list[int], *, come_now: bool) -> tuple[int, list[int]]:
    """How many of some ranges of 20 bytes, that count as 100, have come before, and which."""
    places = places_of(starts, np.full(len(starts), 20))
    before = seen.look(few_chunks._kernel("look"), ["a"], places, 5, come_now=come_now)
    return before, (-places.lengths).tolist()


def test_to_look_is_not_to_come() -> None:
    seen = SeenLately(10_000)
    for _ in range(2):
        assert looked(seen, [0, 100, 200], come_now=False) == (0, [0, 0, 0])
    assert looked(seen, [0, 100], come_now=True)[0] == 0
    assert looked(seen, [200, 100, 0], come_now=False) == (2, [0, 1, 1])
    assert looked(seen, [200, 100, 0], come_now=True)[0] == 2
    assert looked(seen, [200], come_now=False) == (1, [1])


@settings(max_examples=50, deadline=None, derandomize=True)
@given(st.lists(st.lists(st.integers(0, 30), max_size=12, unique=True), max_size=30))
def test_look_and_again_see_the_same(calls: list[list[int]]) -> None:
    compiled, plain = SeenLately(1500), SeenLately(1500)
    for starts in calls:
        _, first = looked(compiled, starts, come_now=False)
        before, _ = looked(compiled, starts, come_now=True)
        places = places_of(np.array(starts, np.int64), np.full(len(starts), 20))
        again = plain.again(["a"], places.files, places.starts, np.full(len(starts), 100))
        assert first == again.tolist()
        assert before == np.count_nonzero(again)
    assert compiled._passed == plain._passed
