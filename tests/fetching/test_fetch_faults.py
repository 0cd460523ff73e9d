"""Each fault of a source: the copy is right in the end, or the command fails and says why.

Whatever happens, nothing wrong has a final name.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli import assert_refused, run_here
from fault_server import Fault, FaultServer
from fetching_cases import (
    assert_nothing_wrong,
    assert_right_copy,
    manifest_of,
    served,
    shard_bytes,
    sources,
)
from fixture_truth import FIXTURES

import shardreader
from shardreader.copies.patched_info import BACKUP_NAME

ROOT = FIXTURES / "mostly-background"
KEY = "8_8_40"
SHARD = "0.shard"
SIZE = 180
KINDS = ("gs", "s3")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    # Ranges so small that a shard takes several.
    for module in ("plan", "shard_download"):
        monkeypatch.setattr(f"shardreader.fetching.{module}.RANGE_BYTES", 80)
    monkeypatch.setattr("shardreader.storage.remote_store._STREAM_BYTES", 1)
    monkeypatch.setattr(
        "shardreader.storage.remote_store._CLIENT", {"timeout": "5s", "read_timeout": "300ms"}
    )
    with served("mostly-background", monkeypatch) as server:
        yield server


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "fault",
    [
        Fault(SHARD, "503"),
        Fault(SHARD, "503", times=4),
        Fault(SHARD, "429", skip=1),
        Fault(SHARD, "cut", at=50),
        Fault(SHARD, "cut", at=1, times=3, skip=1),
        Fault(SHARD, "short"),
        Fault(SHARD, "stalled"),
        Fault(SHARD, "stalls", at=30),
        Fault(SHARD, "redirect"),
        Fault("info", "503", times=2),
        Fault("list-type|/o[?]", "503", times=2),
    ],
    ids=lambda fault: f"{fault.kind}-{fault.path[:4]}-{fault.times}-{fault.skip}",
)
def test_faults_that_pass(kind: str, fault: Fault, server: FaultServer, tmp_path: Path) -> None:
    fault.event = threading.Event()
    server.faults = [Fault(fault.path, fault.kind, fault.times, fault.at, fault.skip)]
    report = shardreader.fetch(sources(server)[kind], tmp_path)
    assert server.faults[0].event.is_set()
    assert (report.ok, report.failed) == (True, ())
    assert report.retries == (0 if fault.kind == "redirect" else fault.times)
    assert_right_copy(tmp_path, ROOT, KEY)


def test_a_cut_body_goes_on_from_the_exact_byte(server: FaultServer, tmp_path: Path) -> None:
    server.faults = [Fault(SHARD, "cut", at=50)]
    report = shardreader.fetch("s3://bucket", tmp_path)
    ranges = [r.range for r in server.requests if r.path.endswith(SHARD)]
    assert ranges[:2] == ["bytes=0-79", "bytes=50-129"]
    assert report.bytes_fetched == SIZE + 143
    assert all(
        r.if_match for r in server.requests if r.path.endswith(SHARD) and "0-" not in r.range
    )  # type: ignore[operator]


def test_a_flipped_byte_that_the_checksum_shows(server: FaultServer, tmp_path: Path) -> None:
    server.faults = [Fault(SHARD, "flipped", at=120)]
    report = shardreader.fetch("gs://bucket", tmp_path)
    assert report.ok
    ((name, reason),) = report.restarted
    assert name == SHARD
    assert "checksum" in reason
    assert_right_copy(tmp_path, ROOT, KEY)


def test_a_flipped_byte_that_the_indices_show(server: FaultServer, tmp_path: Path) -> None:
    # No checksum here: a byte of the shard index.
    server.faults = [Fault(SHARD, "flipped", at=5)]
    report = shardreader.fetch("s3://bucket", tmp_path)
    assert report.ok
    assert "damaged" in report.restarted[0].reason
    assert_right_copy(tmp_path, ROOT, KEY)


def test_a_byte_that_is_flipped_each_time(server: FaultServer, tmp_path: Path) -> None:
    server.faults = [Fault(SHARD, "flipped", times=-1, at=120)]
    done = run_here("fetch", "gs://bucket", tmp_path)
    assert done.returncode == 1
    assert done.stdout.startswith("NOT WHOLE")
    assert f"{SHARD}: the checksum of the source is crc32c" in done.stdout
    assert "downloaded 3 times" in done.stdout
    assert {*shard_bytes(tmp_path)} == {*shard_bytes(ROOT)} - {f"{KEY}/{SHARD}"}
    assert_nothing_wrong(tmp_path, ROOT)
    # The others are there, and what is missing is known to be.
    assert manifest_of(tmp_path).scales[KEY].files[SHARD].state == "not_fetched"
    server.faults = []
    assert run_here("fetch", "gs://bucket", tmp_path).returncode == 0
    assert_right_copy(tmp_path, ROOT, KEY)


@pytest.mark.parametrize("kind", ["gs"])
@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("403", "refuses: 403"),
        ("whole", "answers a request for a range with the whole object"),
        ("404", "listed it, but does not have it any more"),
        ("400", "refuses: 400"),
        ("503", "does not give it"),
        ("short", "does not give it: 1 bytes less came"),
        ("stalled", "does not give it"),
    ],
)
def test_faults_that_stay(
    kind: str, fault: str, words: str, server: FaultServer, tmp_path: Path
) -> None:
    server.faults = [Fault(SHARD, fault, times=-1)]
    done = run_here("fetch", sources(server)[kind], tmp_path)
    assert done.returncode == 1
    assert words in done.stdout
    assert_nothing_wrong(tmp_path, ROOT)
    assert f"{KEY}/{SHARD}" not in shard_bytes(tmp_path)
    # An info says that all have been tried; a source that did not answer has not been.
    assert (tmp_path / "info").exists() == ("does not give it" not in words)
    if (tmp_path / "info").exists():
        with shardreader.open_volume(tmp_path) as vol:
            _, status = vol.lookup([[0, 0, 0]], units="voxel", return_status=True)
        assert status[0] == shardreader.PointStatus.NOT_DOWNLOADED


@pytest.mark.parametrize("kind", ["gs", "s3"])
def test_an_object_that_changes_while_it_is_fetched(
    kind: str, server: FaultServer, tmp_path: Path
) -> None:
    server.root = Path(shutil.copytree(ROOT, tmp_path / "source"))
    server.faults = [Fault(SHARD, "changed", skip=1)]
    report = shardreader.fetch(sources(server)[kind], tmp_path / "copy")
    assert report.ok
    assert {problem.name for problem in report.restarted} == {SHARD}
    assert "changed at the source" in report.restarted[0].reason
    assert_right_copy(tmp_path / "copy", server.root, KEY)


def test_an_object_that_changes_after_the_fetch(server: FaultServer, tmp_path: Path) -> None:
    server.root = Path(shutil.copytree(ROOT, tmp_path / "source"))
    shardreader.fetch("gs://bucket", tmp_path / "copy")
    data = (server.root / KEY / "3.shard").read_bytes()
    (server.root / KEY / SHARD).write_bytes(data)  # now one with foreign chunks in it
    server.versions[f"{KEY}/{SHARD}"] = 1700000000000009
    report = shardreader.fetch("gs://bucket", tmp_path / "copy")
    assert not report.ok
    assert "damaged at the source" in report.failed[0].reason
    # What was whole stays, until there is something better.
    assert (tmp_path / "copy" / KEY / SHARD).read_bytes() == (ROOT / KEY / SHARD).read_bytes()


def test_hostile_names_become_no_paths(server: FaultServer, tmp_path: Path) -> None:
    server.extra_names = [
        (f"{KEY}/{name}", 100)
        for name in ("../../x", "/etc/x", "sub/1.shard", "1fff.shard", "1.shard\n", "..")
    ] + [("../1.shard", 9), (f"{KEY}/../{KEY}/1.shard", 9), (f"{KEY}1.shard", 9)]
    report = shardreader.fetch("gs://bucket", tmp_path / "a/copy")
    assert (report.ok, report.whole) == (True, 2)
    assert "1 shard files" in report.notes[0]
    assert {p.name for p in tmp_path.iterdir()} == {"a"}
    assert {p.name for p in (tmp_path / "a").iterdir()} == {"copy"}
    assert {p.name for p in (tmp_path / "a/copy").iterdir() if p.is_dir()} == {KEY}
    assert_right_copy(tmp_path / "a/copy", ROOT, KEY)


@pytest.mark.parametrize("kind", KINDS)
def test_a_listing_that_lies_about_sizes(kind: str, server: FaultServer, tmp_path: Path) -> None:
    server.lies = {SHARD: 17}
    done = run_here("fetch", sources(server)[kind], tmp_path)
    assert done.returncode == 1
    assert f"{SHARD}: the source lists 17 bytes, but its object has {SIZE}" in done.stdout
    assert_nothing_wrong(tmp_path, ROOT)


def test_a_listing_of_an_empty_object(server: FaultServer, tmp_path: Path) -> None:
    server.root = Path(shutil.copytree(ROOT, tmp_path / "source"))
    (server.root / KEY / SHARD).write_bytes(b"")
    done = run_here("fetch", "gs://bucket", tmp_path / "copy")
    assert done.returncode == 1
    assert "the object at the source has no bytes" in done.stdout


def test_403_is_not_absence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with served("mostly-background", monkeypatch) as server:
        server.faults = [Fault("1.shard", "403", times=-1)]
        done = run_here("fetch", server.plain, tmp_path)
        assert done.returncode == 1
        assert "1.shard: the source refuses: 403" in done.stdout
        manifest = manifest_of(tmp_path)
        assert not manifest.source_has_none("8_8_40", "1.shard")
        assert manifest.source_has_none("8_8_40", "2.shard")


def test_no_etags(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, server: FaultServer) -> None:
    monkeypatch.setattr("shardreader.fetching.shard_download.RANGE_BYTES", 100)
    with served("mostly-background", monkeypatch) as plain:
        plain.etags = False
        plain.faults = [Fault("0.shard", "cut", at=50), Fault("3.shard", "short")]
        assert shardreader.fetch(plain.plain, tmp_path).ok
        assert_right_copy(tmp_path, plain.root, "8_8_40")


def test_no_network(tmp_path: Path, server: FaultServer) -> None:
    # Nothing listens there.
    done = run_here("fetch", "http://127.0.0.1:9/volume", tmp_path / "copy")
    assert_refused(done, "check the network", status=1)
    assert not (tmp_path / "copy").exists()


def test_a_network_that_goes_away(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.faults = [Fault("[.]shard", "503", times=-1, skip=4)]
    monkeypatch.setattr("shardreader.fetching.run._MOST_UNREACHABLE", 1)
    done = run_here("fetch", "gs://bucket", tmp_path, "--jobs", "1")
    assert_refused(done, "check the network", "goes on from where it was", status=1)
    assert not (tmp_path / "info").exists()
    assert not (tmp_path / BACKUP_NAME).exists()
    assert_nothing_wrong(tmp_path, ROOT)
    before = len(shard_bytes(tmp_path))
    server.faults = []
    report = shardreader.fetch("gs://bucket", tmp_path)
    assert report.whole == 2
    assert report.fetched < 2 or before == 0
    assert_right_copy(tmp_path, ROOT, KEY)


def test_a_wrong_bucket_and_a_forbidden_one(server: FaultServer, tmp_path: Path) -> None:
    for url in ("gs://other", "s3://other", f"{server.url}/other"):
        assert_refused(run_here("fetch", url, tmp_path / "copy"), "name of the bucket")
    server.faults = [Fault("info", "403", times=-1)]
    done = run_here("fetch", "gs://bucket", tmp_path / "copy")
    assert_refused(done, "403", "--auth", status=1)
    assert not (tmp_path / "copy").exists()


def test_a_scale_without_data(server: FaultServer, tmp_path: Path) -> None:
    server.root = tmp_path
    (tmp_path / "info").write_bytes((ROOT / "info").read_bytes())
    done = run_here("fetch", "gs://bucket", tmp_path / "copy")
    assert_refused(done, "lists no shard of this scale")


def test_no_secret_is_written(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-nobody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-secret-of-nobody")
    monkeypatch.setenv("AWS_SESSION_TOKEN", "the-secret-token")
    server.faults = [Fault(SHARD, "403", times=-1)]
    for more in ([], ["--auth"]):
        done = run_here("fetch", "s3://bucket", tmp_path, "--json", *more)
        assert done.returncode == 1
        texts = [p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()]
        for text in [*texts, done.stdout.encode(), done.stderr.encode()]:
            assert b"of-nobody" not in text
            assert b"the-secret" not in text


def test_stopping_does_not_wait_for_a_stalled_source(
    server: FaultServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "shardreader.storage.remote_store._CLIENT", {"timeout": "9s", "read_timeout": "9s"}
    )
    server.faults = [Fault("[.]shard", "stalled", times=-1)]

    def interrupt(_: object) -> None:
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        shardreader.fetch("gs://bucket", tmp_path, progress=interrupt)
    assert time.monotonic() - start < 2
