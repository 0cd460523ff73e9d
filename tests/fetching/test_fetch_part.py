"""`fetch --box` and `--points`: what is asked for comes, and all else stays NOT_DOWNLOADED."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import assert_refused, run, run_here
from fetching_cases import KEY, assert_right_copy, manifest_of, served, sources
from fixture_truth import FAFB_MINI, FIXTURES
from part_cases import (
    ALL,
    PINKY,
    PINKY_VOLUME,
    assert_voxels,
    expected,
    ids_in,
    source_with_holes,
    statuses,
    stored,
)

import shardreader
from shardreader import Box, PointStatus
from shardreader.fetching.partial_download import PartialDownload
from shardreader.fetching.request_pool import RequestPool
from shardreader.fetching.shard_download import Outcome
from shardreader.fetching.source_shard import GAP_BYTES
from shardreader.fetching.structure import PARTIAL

# In shard 0 of a tiny volume, one chunk wide in z.
CORNER = Box((3, 3, 0), (20, 20, 3))
needs_pinky = pytest.mark.skipif(not PINKY.exists(), reason="no ../shared/data")


class _Count(threading.local):
    count = 0


@pytest.fixture
def waves(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """For each shard, how many times it waited for requests."""
    counts: list[int] = []
    here = _Count()
    run_pool, run_shard = RequestPool.run, PartialDownload.run

    def counted(pool: RequestPool, action: Callable[[Any], Any], items: Any) -> list[Any]:
        here.count += bool(items)
        return run_pool(pool, action, items)

    def counting(download: PartialDownload) -> Outcome:
        here.count = 0
        outcome = run_shard(download)
        counts.append(here.count)
        return outcome

    monkeypatch.setattr(RequestPool, "run", counted)
    monkeypatch.setattr(PartialDownload, "run", counting)
    return counts


def assert_same(copy: Path, source: Path, box: Box) -> None:
    with shardreader.open_volume(copy) as here, shardreader.open_volume(source) as there:
        np.testing.assert_array_equal(here.cutout(box), there.cutout(box))


@pytest.mark.parametrize("encoding", ["raw", "gzip", "zstd"])
def test_boxes_one_after_the_other(tmp_path: Path, encoding: str) -> None:
    tiny = source_with_holes(tmp_path / "source", encoding=encoding)
    copy = tmp_path / "copy"
    report = shardreader.fetch(tiny.path, copy, box=CORNER)
    assert (report.ok, report.is_part, report.possible, report.partial) == (True, True, 1, 1)
    assert report.fetched == 1
    asked = ids_in(tiny, CORNER)
    with shardreader.open_volume(copy) as vol:
        assert statuses(vol, tiny) == expected(tiny, asked)
        assert_voxels(vol, tiny, asked)
        # Under the open volume.
        second = ((0, 128, 320), (512, 512, 640))
        report = shardreader.fetch(tiny.path, copy, box=second, units="nm")
        assert (report.possible, report.partial) == (2, 2)
        asked |= ids_in(tiny, Box((0, 16, 8), (64, 64, 16)))
        assert statuses(vol, tiny) == expected(tiny, asked)
        assert_voxels(vol, tiny, asked)
        report = shardreader.fetch(tiny.path, copy, box=second, resolution=(1, 1, 1))
        assert (report.partial, report.fetched, report.requests) == (2, 0, 1)
        shardreader.fetch(tiny.path, copy, box=vol.bounds)
        assert statuses(vol, tiny) == expected(tiny, {*ALL})
    files = manifest_of(copy).scales["tiny"].files
    assert {name: record.state for name, record in files.items()} == {
        "0.shard": "partial",
        "1.shard": "partial",
    }
    assert files["0.shard"].size == tiny.shard_path(0).stat().st_size
    assert not list(copy.rglob("*.part"))
    info = json.loads((copy / "info").read_text())
    assert info == tiny.info


def test_points_in_every_form(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    points = [[1, 1, 1], [40, 3, 9], [40, 4, 9], [63, 63, 15]]
    boxes = [Box((x, y, z), (x + 1, y + 1, z + 1)) for x, y, z in points]
    asked = set().union(*(ids_in(tiny, box) for box in boxes))
    table = tmp_path / "points.csv"
    table.write_text("name,z,y,x\n" + "".join(f"a,{z},{y},{x}\n" for x, y, z in points))
    np.save(tmp_path / "points.npy", np.array(points))
    frame = dict(zip("xyz", np.array(points).T, strict=True))

    class Frame(dict[str, Any]):
        columns = ("x", "y", "z")

    for number, form in enumerate(
        [points, np.array(points, float) + 0.5, Frame(frame), table, str(tmp_path / "points.npy")]
    ):
        copy = tmp_path / f"copy{number}"
        report = shardreader.fetch(tiny.path, copy, points=form, units="voxel")
        assert (report.ok, report.partial) == (True, 2)
        with shardreader.open_volume(copy) as vol:
            assert statuses(vol, tiny) == expected(tiny, asked)


def test_points_are_read_a_block_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are given up before the next is read; ids stay unique."""
    tiny = source_with_holes(tmp_path / "source")
    table = tmp_path / "points.csv"
    rows = [(x, y, z) for x in range(0, 64, 4) for y in range(0, 64, 4) for z in (0, 9)]
    table.write_text("x,y,z\n" + "".join(f"{x},{y},{z}\n" for x, y, z in rows * 3))
    monkeypatch.setattr("shardreader.tables.text_tables.TextTable.blocks.__defaults__", (100,))
    report = shardreader.fetch(tiny.path, tmp_path / "copy", points=table, units="voxel")
    assert report.partial == 2
    with shardreader.open_volume(tmp_path / "copy") as vol:
        assert statuses(vol, tiny) == expected(tiny, {*ALL})


def test_points_that_are_none(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    copy = tmp_path / "copy"
    table = tmp_path / "points.csv"
    table.write_text("x,y,z\n1,1,1\n1,1,word\n1,1,100\n")
    done = run("fetch", tiny.path, copy, "--points", table, "--units", "voxel")
    assert done.returncode == 0
    assert "note: of 3 points 1 lie outside the volume" in done.stdout
    assert "and 1 are no numbers: they are left out" in done.stdout
    table.write_text("x,y,z\n1,1,100\n")
    done = run_here("fetch", tiny.path, copy, "--points", table, "--units", "voxel")
    assert_refused(done, "nothing to fetch; is the unit right?")


def test_whole_shards_and_a_whole_copy(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    copy = tmp_path / "copy"
    with_both = Box((0, 0, 0), (64, 64, 4))
    shardreader.fetch(tiny.path, copy, box=with_both)
    with shardreader.open_volume(copy) as vol:
        report = shardreader.fetch(tiny.path, copy, box=CORNER, whole_shards=True)
        assert (report.ok, report.possible, report.whole, report.fetched) == (True, 1, 1, 1)
        first = (copy / "tiny/0.shard").read_bytes()
        assert first == tiny.shard_path(0).read_bytes()
        asked = {*range(16)} | ids_in(tiny, with_both)
        assert statuses(vol, tiny) == expected(tiny, asked)
        # A whole shard is left as it is, and the other is not forgotten.
        report = shardreader.fetch(tiny.path, copy, box=with_both)
        assert (report.whole, report.partial, report.requests) == (1, 1, 1)
        states = manifest_of(copy).scales["tiny"].files
        assert [states[f"{i}.shard"].state for i in (0, 1)] == ["whole", "partial"]
        report = shardreader.fetch(tiny.path, copy, box=CORNER, whole_shards=True)
        assert (report.whole, report.fetched, report.requests) == (1, 0, 1)
        report = shardreader.fetch(tiny.path, copy)
        assert (report.ok, report.is_part, report.whole, report.fetched) == (True, False, 2, 1)
        assert statuses(vol, tiny) == expected(tiny, {*ALL})
    assert_right_copy(copy, tiny.path, "tiny")


def test_a_whole_copy_is_never_made_less(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    gsutil = Path(shutil.copytree(tiny.path, tmp_path / "copy"))
    report = shardreader.fetch(tiny.path, gsutil, box=CORNER)
    assert (report.ok, report.whole, report.fetched, report.requests) == (True, 1, 0, 1)
    assert (gsutil / "tiny/0.shard").read_bytes() == tiny.shard_path(0).read_bytes()


def test_shards_that_the_source_does_not_have(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    tiny = source_with_holes(tmp_path / "source")
    tiny.shard_path(1).unlink()
    with served("", monkeypatch, tiny.path) as server:
        for source in ("gs://bucket", "s3://bucket", server.plain):
            copy = tmp_path / source.replace("/", "_")
            server.requests.clear()
            report = shardreader.fetch(source, copy, box=Box((0, 0, 0), (64, 64, 16)))
            assert (report.ok, report.partial, report.source_has_none) == (True, 1, 1)
            assert manifest_of(copy).scales["tiny"].files["1.shard"].state == "none"
            # Asked for once: the index of the first version too.
            assert [r.path for r in server.requests if "/1." in r.path][1:] == [
                server.requests[-1].path.rsplit("/", 1)[0] + "/1.index"
            ]
            with shardreader.open_volume(copy) as vol:
                assert statuses(vol, tiny) == expected(tiny, {*ALL}) | dict.fromkeys(
                    range(16, 32), int(PointStatus.EMPTY)
                )
            again = shardreader.fetch(source, copy, box=Box((0, 0, 0), (64, 64, 16)))
            assert (again.ok, again.source_has_none, again.requests) == (True, 1, 1)


def test_what_one_source_does_not_have_another_may(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    less = Path(shutil.copytree(tiny.path, tmp_path / "less"))
    (less / "tiny/1.shard").unlink()
    copy, everything = tmp_path / "copy", Box((0, 0, 0), (64, 64, 16))
    assert shardreader.fetch(less, copy, box=everything).source_has_none == 1
    report = shardreader.fetch(tiny.path, copy, box=CORNER)
    assert report.ok
    with shardreader.open_volume(copy) as vol:
        # The new source was not asked for the other shard, and is not said to have none.
        assert statuses(vol, tiny) == expected(tiny, {*range(16)})
        assert shardreader.fetch(tiny.path, copy, box=everything).source_has_none == 0
        assert statuses(vol, tiny) == expected(tiny, {*ALL})
    # By a listing, that word holds for every shard that it does not name.
    shutil.rmtree(copy)
    assert shardreader.fetch(less, copy).source_has_none == 1
    shardreader.fetch(less, copy, box=CORNER)
    assert manifest_of(copy).source_has_none("tiny", "1.shard")
    shardreader.fetch(tiny.path, copy, box=CORNER)
    assert not manifest_of(copy).source_has_none("tiny", "1.shard")


def test_pairs_of_files_are_refused(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    for number in (0, 1):
        path = tiny.shard_path(number)
        data = path.read_bytes()
        path.with_suffix(".index").write_bytes(data[:64])
        path.with_suffix(".data").write_bytes(data[64:])
        path.unlink()
    box = ["--box", "0,0,0,9,9,9", "--units", "voxel"]
    done = run_here("fetch", tiny.path, tmp_path / "copy", *box)
    assert_refused(done, "pairs of files", "gsutil")
    # A copy made of such files is whole, and stays so.
    copy = Path(shutil.copytree(tiny.path, tmp_path / "other"))
    source = source_with_holes(tmp_path / "sharded").path
    assert shardreader.fetch(source, copy, box=CORNER).whole == 1
    assert not (copy / "tiny/0.shard").exists()


@needs_pinky
def test_the_requests_of_a_box_in_one_minishard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waves: list[int]
) -> None:
    x, y, z = json.loads((PINKY / "truth.json").read_text())["origin"]
    box = Box((x + 5, y + 5, z + 5), (x + 200, y + 200, z + 50))
    with served("", monkeypatch, PINKY_VOLUME) as server:
        report = shardreader.fetch("gs://bucket", tmp_path, box=box)
        assert (report.ok, report.partial) == (True, 1)
        # The info; the shard index; the minishard index; the chunks.
        assert server.kinds() == {"info": 1, "shard": 3}
        assert waves == [3]
        shard = [r for r in server.requests if r.kind == "shard"]
        assert [r.if_match is not None for r in shard] == [False, True, True]
    assert_same(tmp_path, PINKY_VOLUME, box)


@needs_pinky
def test_the_requests_of_a_box_over_eight_shards(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waves: list[int]
) -> None:
    box = Box((20300, 12100, 2000), (20700, 12500, 2100))
    with served("", monkeypatch, PINKY_VOLUME) as server:
        plan = shardreader.fetch("gs://bucket", tmp_path, box=box, dry_run=True)
        assert not os.listdir(tmp_path)
        server.requests.clear()
        report = shardreader.fetch("gs://bucket", tmp_path, box=box)
        assert (report.ok, report.partial, report.fetched) == (True, 8, 8)
        assert server.count("shard") == 8 * 3
        assert waves == [3] * 8
        # The dry run said so before.
        assert plan.requests_to_send == server.count("shard")
        assert plan.bytes_to_fetch == report.bytes_fetched
        assert plan.gap_bytes == GAP_BYTES
    assert_same(tmp_path, PINKY_VOLUME, box)


@needs_pinky
@pytest.mark.parametrize("gap", [0, GAP_BYTES])
def test_the_requests_of_a_thousand_points(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, waves: list[int], gap: int
) -> None:
    monkeypatch.setattr("shardreader.fetching.source_shard.GAP_BYTES", gap)
    rng = np.random.default_rng(7)
    origin = json.loads((PINKY / "truth.json").read_text())["origin"]
    points = rng.integers((0, 0, 0), (1024, 1024, 256), (1000, 3)) + origin
    with served("", monkeypatch, PINKY_VOLUME) as server:
        report = shardreader.fetch("gs://bucket", tmp_path, points=points, units="voxel")
        assert (report.ok, report.partial) == (True, 8)
        chunks = len(np.unique(points // (128, 128, 32), axis=0))
        most = 8 * 3 if gap else 8 * (1 + 64) + chunks
        assert 8 * 3 <= server.count("shard") <= most
        assert set(waves) == {3}
    with shardreader.open_volume(tmp_path) as here, shardreader.open_volume(PINKY_VOLUME) as there:
        np.testing.assert_array_equal(
            here.lookup(points, units="voxel"), there.lookup(points, units="voxel")
        )


@needs_pinky
def test_the_points_of_pinky40_from_the_command_line(tmp_path: Path) -> None:
    table = PINKY / "points.csv"
    done = run("fetch", PINKY_VOLUME, tmp_path, "--points", table, "--units", "voxel")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("HERE: a part of file:///")
    assert "8           partial, with all that was asked for" in done.stdout
    done = run("lookup", tmp_path, table, "--units", "voxel", "--column", "found")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 6000
    assert all(row["found"] == row["segment"] and row["status"] == "OK" for row in rows)


@needs_pinky
def test_a_tenth_of_the_bytes(tmp_path: Path) -> None:
    """A box in the middle of a shard does not bring the shard."""
    x, y, z = json.loads((PINKY / "truth.json").read_text())["origin"]
    box = Box((x, y, z), (x + 64, y + 64, z + 32))
    report = shardreader.fetch(PINKY_VOLUME, tmp_path, box=box)
    (shard,) = tmp_path.glob(f"{KEY}/*.shard")
    assert shard.stat().st_size < 30_000
    assert report.bytes_fetched < 100_000


def test_from_every_kind_of_source(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served("fafb-mini", monkeypatch) as server:
        box = Box((61430, 32760, 3060), (61450, 32780, 3080))
        for kind, url in sources(server).items():
            copy = tmp_path / kind
            report = shardreader.fetch(url, copy, box=box)
            assert (report.ok, report.partial) == (True, report.possible)
            assert_same(copy, FAFB_MINI, box)


def test_a_dry_run_says_what_it_joins(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    box = ["--box", "0,0,0,64,64,16", "--units", "voxel"]
    done = run_here("fetch", tiny.path, tmp_path / "copy", *box, "--dry-run")
    assert done.returncode == 0
    assert "shards that the part touches: 2" in done.stdout
    assert "2           to look into for chunks that are not here yet" in done.stdout
    assert "joined      ranges with at most 256 KiB between them" in done.stdout
    assert "requests    6 more (5 to find out)" in done.stdout
    assert not (tmp_path / "copy").exists()
    report = shardreader.fetch(tiny.path, tmp_path / "copy", box=Box((0, 0, 0), (64, 64, 16)))
    assert f"bytes       {report.bytes_fetched:,}\n" in done.stdout


def test_json_and_progress(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    box = ["--box", "0,0,0,64,64,16", "--units", "voxel"]
    done = run_here("fetch", tiny.path, tmp_path / "copy", *box, "--json")
    report = json.loads(done.stdout)
    assert (report["ok"], report["is_part"], report["partial"]) == (True, True, 2)
    assert report["exit_status"] == done.returncode == 0
    seen = []
    shardreader.fetch(
        tiny.path, tmp_path / "two", box=Box((0, 0, 0), (64, 64, 16)), progress=seen.append
    )
    assert (seen[-1].shards_done, seen[-1].shards_total) == (2, 2)
    assert seen[-1].bytes_done > 0


def test_what_makes_no_sense(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    copy = tmp_path / "copy"
    for words, arguments in [
        ("give the unit of the box", ["--box", "0,0,0,1,1,1"]),
        ("give the unit of the points", ["--points", "x.csv"]),
        ("belong to --box or --points", ["--whole-shards"]),
        ("belong to --box or --points", ["--units", "nm"]),
        ("not allowed with", ["--box", "0,0,0,1,1,1", "--points", "x", "--units", "nm"]),
        ("no --box", ["--box", "0,0,0,1,1,1", "--units", "nm", "--repair", "r.json"]),
        ("is not inside the volume", ["--box", "0,0,0,1,1,100", "--units", "voxel"]),
        ("holds no voxel", ["--box", "0,0,0,1,1,0", "--units", "voxel"]),
        ("above", ["--box", "5,0,0,1,1,1", "--units", "voxel"]),
        ("whole numbers", ["--box", "0,0,0,1,1,1.5", "--units", "voxel"]),
        ("No such file", ["--points", str(tmp_path / "none.csv"), "--units", "voxel"]),
        ("columns", ["--points", str(tiny.path / "info"), "--units", "voxel"]),
    ]:
        done = run_here("fetch", tiny.path, copy, *arguments)
        assert done.returncode == 2, arguments
        assert words in done.stderr, done.stderr
    for keywords, message in [
        ({"box": CORNER, "points": [[1, 1, 1]]}, "not both"),
        ({"units": "nm"}, "belong to a box"),
        ({"whole_shards": True}, "belong to a box"),
        ({"box": ((0, 0, 0), (1, 1, 1))}, "give one of units"),
        ({"points": [[1, 1, 1]]}, "give one of units"),
        ({"box": CORNER, "repair": "report.json"}, "takes no box"),
    ]:
        with pytest.raises(TypeError, match=message):
            shardreader.fetch(tiny.path, copy, **keywords)  # type: ignore[arg-type]
    assert not copy.exists()
    unsharded = FIXTURES / "unsharded"
    done = run_here("fetch", unsharded, copy, "--box", "0,0,0,1,1,1", "--units", "voxel")
    assert_refused(done, "is not sharded")


def test_a_minus_in_front_of_a_box(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    done = run("fetch", tiny.path, tmp_path / "c", "--box", "-1,0,0,1,1,1", "--units", "voxel")
    assert_refused(done, "(-1, 0, 0) to (1, 1, 1) is not inside")


def test_a_source_that_is_a_part_itself(tmp_path: Path) -> None:
    tiny = source_with_holes(tmp_path / "source")
    part, copy = tmp_path / "part", tmp_path / "copy"
    shardreader.fetch(tiny.path, part, box=CORNER)
    asked = ids_in(tiny, CORNER)
    assert shardreader.fetch(part, copy, box=CORNER).ok
    wider = Box((3, 3, 0), (40, 20, 3))
    report = shardreader.fetch(part, copy, box=wider)
    (problem,) = report.failed
    assert "itself a copy of a part" in problem.reason
    assert (report.ok, report.partial) == (False, 0)
    with shardreader.open_volume(copy) as vol:
        assert statuses(vol, tiny) == expected(tiny, asked)
    report = shardreader.fetch(part, tmp_path / "whole")
    assert [(p.name, p.reason) for p in report.failed] == [("0.shard", PARTIAL)]


def test_it_is_the_file_of_one_fetch(tmp_path: Path) -> None:
    """However a part came together, it is the same bytes."""
    tiny = source_with_holes(tmp_path / "source")
    one, two = tmp_path / "one", tmp_path / "two"
    shardreader.fetch(tiny.path, one, box=Box((0, 0, 0), (64, 32, 16)))
    for box in (CORNER, Box((40, 0, 0), (64, 32, 16)), Box((0, 0, 0), (64, 32, 16))):
        shardreader.fetch(tiny.path, two, box=box)
    assert (one / "tiny/0.shard").read_bytes() == (two / "tiny/0.shard").read_bytes()
    assert len(stored(tiny)) < 32


@needs_pinky
@pytest.mark.slow
def test_other_programs_read_a_partial_copy(tmp_path: Path) -> None:
    """After two merges, inside of what was asked for."""
    cloudvolume = pytest.importorskip("cloudvolume")
    tensorstore = pytest.importorskip("tensorstore")
    x, y, z = json.loads((PINKY / "truth.json").read_text())["origin"]
    parts = [
        Box((x + 300, y + 300, z + 60), (x + 500, y + 480, z + 140)),
        Box((x + 10, y + 20, z + 30), (x + 330, y + 350, z + 70)),
        Box((x + 490, y + 400, z + 100), (x + 700, y + 600, z + 180)),
    ]
    for part in parts:
        assert shardreader.fetch(PINKY_VOLUME, tmp_path, box=part).ok
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{tmp_path}/"}
    array = tensorstore.open(spec, read=True).result()[..., 0]
    volume = cloudvolume.CloudVolume(f"file://{tmp_path}", progress=False, fill_missing=True)
    with shardreader.open_volume(PINKY_VOLUME) as truth:
        for part in parts:
            place = tuple(slice(a, b) for a, b in zip(part.lower, part.upper, strict=True))
            want = truth.cutout(part)
            assert np.array_equal(array[place].read().result(), want)
            assert np.array_equal(np.asarray(volume[place])[..., 0], want)


# One for each way in which a volume can put its chunks into shards.
WAYS = [
    *("murmurhash", "murmurhash-no-preshift", "murmurhash-one-shard", "murmurhash-preshift-64"),
    *("murmurhash-only-shard-bits", "negative-offset", "primes", "no-minishard-bits", "flat-axis"),
    *("no-preshift", "only-shard-bits", "preshift-64", "more-bits-than-grid", "one-shard"),
    *("raw-channels", "neuroglancer-scripts", "cloud-volume", "gzip-index-raw-data", "crackle"),
]


@pytest.mark.parametrize("name", WAYS)
def test_every_way_to_shard(name: str, tmp_path: Path) -> None:
    source = FIXTURES / name
    with shardreader.open_volume(source) as there:
        lower, upper = there.bounds.lower, there.bounds.upper
        corner = Box(lower, [min(a + 1, b) for a, b in zip(lower, upper, strict=True)])
        assert shardreader.fetch(source, tmp_path, box=corner).ok
        known = there.stored_chunks(there.bounds)[1]
        with shardreader.open_volume(tmp_path) as here:
            status = here.stored_chunks(here.bounds)[1]
            # The rest of the shards that were touched is not background.
            assert status[0, 0, 0] == known[0, 0, 0]
            absent = status == PointStatus.NOT_DOWNLOADED
            absent[0, 0, 0] = True
            assert absent.all()
            assert shardreader.fetch(source, tmp_path, box=there.bounds).ok
            np.testing.assert_array_equal(here.stored_chunks(here.bounds)[1], known)
            np.testing.assert_array_equal(here.cutout(here.bounds), there.cutout(there.bounds))
    assert shardreader.verify(tmp_path, allow_absent=True).ok
