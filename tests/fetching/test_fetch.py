"""`fetch` when nothing goes wrong: what a copy is, what it costs, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli import assert_refused, run_here
from fault_server import FaultServer
from fetching_cases import KEY, assert_right_copy, manifest_of, served, sources
from fixture_truth import FAFB_MINI, FIXTURES

import shardreader
from shardreader.copies.patched_info import patched_info
from shardreader.fetching.state import STATE_NAME, FetchState
from shardreader.format.manifest import MANIFEST_NAME
from shardreader.storage.source_url import parse_source

Writable = Callable[[str], Path]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    with served("fafb-mini", monkeypatch) as server:
        yield server


@pytest.mark.parametrize("kind", ["gs", "s3", "file"])
def test_a_copy_from_each_kind_of_source_and_what_it_costs(
    kind: str, server: FaultServer, tmp_path: Path
) -> None:
    source = sources(server)[kind]
    report = shardreader.fetch(source, tmp_path)
    assert (report.ok, report.possible, report.whole, report.fetched) == (True, 3689, 9, 9)
    assert (report.source_has_none, report.requests, report.retries) == (3680, 11, 0)
    assert_right_copy(tmp_path, FAFB_MINI, KEY)
    assert not list(tmp_path.rglob("*.part"))
    manifest = manifest_of(tmp_path)
    assert (manifest.basis, manifest.scales[KEY].unlisted) == ("listing", "none")
    record = manifest.scales[KEY].files["02fa.shard"]
    assert record.crc32c
    assert record.generation == ("1700000000000001" if kind == "gs" else None)
    with shardreader.open_volume(tmp_path) as vol:
        _, status = vol.lookup([[0, 0, 0]], units="voxel", return_status=True)
    assert status[0] == shardreader.PointStatus.EMPTY
    assert shardreader.verify(tmp_path, level="quick").ok
    if kind != "file":
        assert server.kinds() == {"info": 1, "list": 1, "shard": 9}
        server.requests.clear()
    again = shardreader.fetch(source, tmp_path)
    assert (again.ok, again.fetched, again.whole, again.requests) == (True, 0, 9, 2)
    if kind != "file":
        assert server.kinds() == {"info": 1, "list": 1}


def test_a_web_server_is_asked_for_each_possible_shard(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with served("mostly-background", monkeypatch) as server:
        report = shardreader.fetch(server.plain, tmp_path)
        assert (report.possible, report.whole, report.source_has_none) == (4, 2, 2)
        assert report.requests == server.count() == 1 + 4
        assert not report.is_listed
        assert_right_copy(tmp_path, server.root, "8_8_40")
        manifest = manifest_of(tmp_path)
        assert (manifest.basis, manifest.scales["8_8_40"].unlisted) == ("requests", "unknown")
        assert manifest.source_has_none("8_8_40", "1.shard")
        server.requests.clear()
        assert shardreader.fetch(server.plain, tmp_path).ok
        assert server.kinds() == {"info": 1}


def test_a_bucket_that_forbids_listing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served("mostly-background", monkeypatch) as server:
        server.can_list = False
        for kind, requests in (("gs", 2 + 4 + 2), ("s3", 2 + 4)):
            server.requests.clear()
            # Google's checksums come in a header of their own request.
            report = shardreader.fetch(sources(server)[kind], tmp_path / kind)
            assert (report.ok, report.whole, report.source_has_none) == (True, 2, 2)
            assert server.count() == requests
            assert_right_copy(tmp_path / kind, server.root, "8_8_40")


def test_listings_come_in_pages(server: FaultServer, tmp_path: Path) -> None:
    server.page = 4
    assert shardreader.fetch("gs://bucket", tmp_path / "gs").whole == 9
    assert server.count("list") == 3
    assert shardreader.fetch("s3://bucket", tmp_path / "s3").whole == 9
    assert server.count("list") == 6


def test_two_scales_one_after_the_other(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served("two-scales", monkeypatch) as server:
        shardreader.fetch("gs://bucket", tmp_path, scale="16_16_80")
        info = json.loads((tmp_path / "info").read_text())
        source = json.loads((server.root / "info").read_text())
        assert info == {**source, "scales": source["scales"][1:]}
        assert (tmp_path / "info.bkp").read_bytes() == (server.root / "info").read_bytes()
        assert shardreader.fetch("gs://bucket", tmp_path, scale=0).ok
        assert json.loads((tmp_path / "info").read_text()) == source
        for key in ("8_8_40", "16_16_80"):
            assert_right_copy(tmp_path, server.root, key)


def test_the_published_info_of_fafb(tmp_path: Path) -> None:
    folder = FIXTURES / "fafb-ffn1-info"
    source = json.loads((folder / "source.json").read_text())
    published = json.loads((folder / "published.json").read_text())
    assert len(source["scales"]) == 5
    assert patched_info(source, [KEY]) == published
    assert published["mesh"] == "mesh"
    shared = FIXTURES.parent.parent / "shared/data/pinky40/segmentation/info"
    if shared.exists():
        assert published == json.loads(shared.read_text())
    # And through the front door.
    root = tmp_path / "source"
    shutil.copytree(FAFB_MINI, root)
    (root / "info").write_text(json.dumps(source))
    assert shardreader.fetch(root, tmp_path / "copy").whole == 9
    assert json.loads((tmp_path / "copy/info").read_text()) == published
    assert json.loads((tmp_path / "copy/info.bkp").read_text()) == source


def test_a_dry_run_writes_nothing(server: FaultServer, tmp_path: Path) -> None:
    done = run_here("fetch", "gs://bucket", tmp_path / "copy", "--dry-run", "--max-rate", "1kB/s")
    assert done.returncode == 0
    assert "9           to fetch" in done.stdout
    assert "bytes       254,193\ntime        4 min 14 s at 0.001 MB/s" in done.stdout
    assert not (tmp_path / "copy").exists()
    assert server.count("shard") == 0


def test_the_command_and_its_json(server: FaultServer, tmp_path: Path) -> None:
    done = run_here("fetch", "gs://bucket", tmp_path, "--json", "--jobs", "2")
    report = json.loads(done.stdout)
    assert (done.returncode, report["exit_status"], report["ok"]) == (0, 0, True)
    assert (report["whole"], report["bytes_fetched"]) == (9, 254193)
    done = run_here("fetch", "gs://bucket", tmp_path)
    assert done.stdout.startswith("WHOLE: gs://bucket in ")
    assert "9           here and checked, 0 of them fetched now" in done.stdout


def test_a_rate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served("mostly-background", monkeypatch) as server:
        size = sum(p.stat().st_size for p in (server.root / "8_8_40").iterdir())
        report = shardreader.fetch("gs://bucket", tmp_path, max_rate=size / 0.4)
        assert report.seconds >= 0.4


def test_a_copy_made_by_gsutil_is_compared_and_not_fetched_again(
    server: FaultServer, writable: Writable
) -> None:
    copy = writable("fafb-mini")
    (copy / MANIFEST_NAME).unlink()
    file = copy / KEY / "02fb.shard"
    file.write_bytes(file.read_bytes()[:-1] + b"\xff")
    report = shardreader.fetch("gs://bucket", copy)
    assert (report.ok, report.fetched, report.whole) == (True, 1, 9)
    assert server.count("shard") == 1
    assert_right_copy(copy, FAFB_MINI, KEY)


def test_a_copy_whose_times_changed_is_compared_with_its_own_checksums(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with served("mostly-background", monkeypatch) as server:
        shardreader.fetch(server.plain, tmp_path / "one")
        shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copy)
        file = tmp_path / "two/8_8_40/0.shard"
        file.write_bytes(file.read_bytes()[:-1] + b"\xff")
        server.requests.clear()
        assert shardreader.fetch(server.plain, tmp_path / "two").fetched == 1
        assert server.kinds() == {"info": 1, "shard": 1}
        assert_right_copy(tmp_path / "two", server.root, "8_8_40")


def test_two_fetches_into_one_place(server: FaultServer, tmp_path: Path) -> None:
    state = FetchState(str(tmp_path))
    for more in ([], ["--dry-run"]):
        done = run_here("fetch", "gs://bucket", tmp_path, *more)
        assert_refused(done, "another fetch works in this directory")
    state.close()
    assert shardreader.fetch("gs://bucket", tmp_path).ok


def test_another_volume_is_refused(server: FaultServer, writable: Writable, tmp_path: Path) -> None:
    other = writable("two-scales")
    before = sorted(str(p) for p in other.rglob("*"))
    assert_refused(run_here("fetch", "gs://bucket", other), "holds another volume", "scales")
    assert sorted(str(p) for p in other.rglob("*")) == before
    half = tmp_path / "half"
    half.mkdir()
    state = FetchState(str(half))
    state.set_volume("gs://other/volume", "{}")
    state.close()
    assert_refused(run_here("fetch", "gs://bucket", half), "half-made copy of gs://other/volume")


def test_what_cannot_be_fetched_is_refused_by_name(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    unsharded = FIXTURES / "unsharded"
    assert_refused(run_here("fetch", unsharded, copy), "is not sharded", "gsutil")
    (tmp_path / "file").write_text("x")
    assert_refused(run_here("fetch", FAFB_MINI, tmp_path / "file"), "is not a directory")
    assert_refused(run_here("fetch", FAFB_MINI, copy, "--scale", "3"), "no scale is 3")
    assert_refused(run_here("fetch", tmp_path / "none", copy), "no such directory")
    assert_refused(run_here("fetch", tmp_path, copy), "the source has no such file")
    (tmp_path / "info").write_text('{"type": "picture"}')
    assert_refused(run_here("fetch", tmp_path, copy), "type")
    for wrong in ("ftp://a/b", "gs://", "https://u:secret@h/v", "https://h/v?sig=secret"):
        done = run_here("fetch", wrong, copy)
        assert_refused(done)
        assert "secret" not in done.stderr
    assert_refused(run_here("fetch", "http://example.org/v", copy), "https://")
    assert_refused(run_here("fetch", FAFB_MINI, copy, "--max-rate", "fast"), "50MB/s")
    assert_refused(run_here("fetch", FAFB_MINI, copy, "--jobs", "0"), "1 to 256")
    assert not copy.exists()


def test_a_key_that_leads_out_of_the_copy(writable: Writable, tmp_path: Path) -> None:
    source = writable("mostly-background")
    document = json.loads((source / "info").read_text())
    for key in ("../out", "a/../../out", "info", STATE_NAME):
        document["scales"][0]["key"] = key
        (source / "info").write_text(json.dumps(document))
        done = run_here("fetch", source, tmp_path / "copy")
        assert_refused(done, "cannot be fetched")
    assert not (tmp_path / "copy").exists()


def test_no_room(server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shardreader.fetching.fetching._free_bytes", lambda _: 200_000)
    done = run_here("fetch", "gs://bucket", tmp_path)
    assert_refused(done, "254,193 bytes", "only 200,000 are free", status=1)
    assert server.count("shard") == 0
    done = run_here("fetch", "gs://bucket", tmp_path, "--dry-run")
    assert done.returncode == 1
    assert "DOES NOT FIT" in done.stdout


@pytest.mark.parametrize(
    ("text", "root", "name"),
    [
        ("gs://b/a/v/", "b", "a/v/k/0.shard"),
        ("precomputed://s3://b", "b", "k/0.shard"),
        ("https://host:8/v/", "https://host:8/v", "k/0.shard"),
        ("http://[::1]:8/v", "http://[::1]:8/v", "k/0.shard"),
    ],
)
def test_source_urls(text: str, root: str, name: str) -> None:
    source = parse_source(text)
    assert (source.root, source.name("k/0.shard")) == (root, name)


def test_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "obstore", None)
    assert_refused(run_here("fetch", FAFB_MINI, tmp_path), "shardreader[fetch]")
