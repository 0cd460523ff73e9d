"""A copy over HTTP: ranges, other origins, what is not here, and what must not be had."""

from __future__ import annotations

import csv
import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorstore as ts
from cli import REPOSITORY, assert_refused, run_here
from fixture_truth import FAFB_MINI
from served import Answer, ask, serving

from shardreader.errors import ReadError
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.format.manifest import MANIFEST_NAME
from shardreader.viewing.served_volume import ServedVolume

SHARD = "8.0x8.0x40.0/02fa.shard"
DATA = (FAFB_MINI / SHARD).read_bytes()
SIZE = len(DATA)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(FAFB_MINI) as server:
        yield server.url


@pytest.mark.parametrize(
    ("range_header", "start", "end"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-511", 0, 512),
        (f"bytes=1024-{SIZE - 1}", 1024, SIZE),
        ("bytes=1024-", 1024, SIZE),
        ("bytes=-16", SIZE - 16, SIZE),
        (f"bytes={SIZE - 3}-{SIZE + 99}", SIZE - 3, SIZE),
        (f"bytes=-{SIZE - 1}", 1, SIZE),
    ],
)
def test_ranges(url: str, range_header: str, start: int, end: int) -> None:
    for method in ("GET", "HEAD"):
        answer = ask(url, SHARD, method, Range=range_header)
        assert answer.status == 206
        assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{SIZE}"
        assert answer.headers["content-length"] == str(end - start)
        assert answer.body == (DATA[start:end] if method == "GET" else b"")


@pytest.mark.parametrize("range_header", ["bytes=0-1,4-5", "bytes=x-y", "chunks=0-1"])
def test_ranges_that_may_be_ignored_are(url: str, range_header: str) -> None:
    answer = ask(url, SHARD, Range=range_header)
    assert (answer.status, answer.body) == (200, DATA)


@pytest.mark.parametrize("range_header", [f"bytes={SIZE}-", f"bytes={SIZE}-{SIZE + 9}", "bytes=-0"])
def test_range_past_the_end(url: str, range_header: str) -> None:
    answer = ask(url, SHARD, Range=range_header)
    assert (answer.status, answer.body) == (416, b"")
    assert answer.headers["content-range"] == f"bytes */{SIZE}"


def test_whole_files(url: str) -> None:
    for method, body in (("GET", DATA), ("HEAD", b"")):
        answer = ask(url, SHARD, method)
        assert (answer.status, answer.body) == (200, body)
        assert answer.headers["content-length"] == str(SIZE)
        assert answer.headers["accept-ranges"] == "bytes"
        assert answer.headers["content-type"] == "application/octet-stream"
    assert ask(url, "info").headers["content-type"] == "application/json"


def test_pages_of_other_origins_may_read_it(url: str) -> None:
    for path, status in ((SHARD, 206), ("8.0x8.0x40.0/0000.shard", 410), ("nothing", 404)):
        answer = ask(url, path, Range="bytes=0-1", Origin="https://neuroglancer-demo.appspot.com")
        assert answer.status == status
        assert answer.headers["access-control-allow-origin"] == "*"
        exposed = answer.headers["access-control-expose-headers"]
        assert {"Content-Range", "Content-Length", "ETag"} <= set(exposed.split(", "))


def test_preflight(url: str) -> None:
    answer = ask(
        url,
        SHARD,
        "OPTIONS",
        Origin="https://neuroglancer-demo.appspot.com",
        Access_Control_Request_Method="GET",
        Access_Control_Request_Headers="range",
        Access_Control_Request_Private_Network="true",
    )
    assert (answer.status, answer.body) == (204, b"")
    assert "Range" in answer.headers["access-control-allow-headers"]
    assert {"GET", "HEAD"} <= set(answer.headers["access-control-allow-methods"].split(", "))
    assert answer.headers["access-control-allow-private-network"] == "true"
    assert "access-control-allow-private-network" not in ask(url, SHARD, "OPTIONS").headers


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_is_written(url: str, method: str) -> None:
    assert ask(url, SHARD, method).status == 405


def test_etag_follows_the_file(writable: Callable[[str], Path]) -> None:
    copy = writable("fafb-mini")
    with serving(copy) as server:
        first = ask(server.url, SHARD)
        again = ask(server.url, SHARD, If_None_Match=first.headers["etag"])
        assert (again.status, again.body) == (304, b"")
        replacement = copy / "new"
        replacement.write_bytes(DATA[::-1])
        os.replace(replacement, copy / SHARD)
        changed = ask(server.url, SHARD, If_None_Match=first.headers["etag"])
        assert (changed.status, changed.body) == (200, DATA[::-1])


def test_what_is_not_downloaded_is_an_error_and_not_background(url: str) -> None:
    for method in ("GET", "HEAD"):
        absent = ask(url, "8.0x8.0x40.0/0000.shard", method, Range="bytes=0-15")
        assert absent.status == 410
        # The manifest says that the source has none.
        assert ask(url, "8.0x8.0x40.0/0b68.shard", method).status == 404


def test_a_copy_that_goes_away_is_an_error(writable: Callable[[str], Path]) -> None:
    copy = writable("fafb-mini")
    with serving(copy) as server:
        shutil.rmtree(copy)
        assert ask(server.url, SHARD).status == 500
        assert ask(server.url, "8.0x8.0x40.0/0b68.shard").status == 500


def test_another_reader_through_the_server(url: str) -> None:
    """Labels are right, and a shard that is absent raises where it would be 0."""
    store = ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "http", "base_url": f"{url}/"},
        }
    ).result()
    with open(FAFB_MINI / "points-truth.csv", newline="") as file:
        rows = list(csv.DictReader(file))[:20]
    for row in rows:
        x, y, z = (int(row[axis]) for axis in "xyz")
        assert int(store[x, y, z, 0].read().result()) == int(row["segment"])
    assert any(row["segment"] != "0" for row in rows)
    with pytest.raises(Exception, match="410"):
        store[20000, 20000, 2000, 0].read().result()


def test_many_connections_at_once(url: str) -> None:
    def part(start: int) -> Answer:
        return ask(url, SHARD, Range=f"bytes={start}-{start + 99}")

    starts = range(0, SIZE - 100, 100)
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(part, starts))
    assert [a.body for a in answers] == [DATA[start : start + 100] for start in starts]


@pytest.mark.parametrize(
    "path",
    [
        *("../README.md", "%2e%2e/README.md", "8.0x8.0x40.0/../../README.md", "..%2fREADME.md"),
        *("8.0x8.0x40.0/..%5c..%5cREADME.md", "/etc/passwd", "%2fetc%2fpasswd", "//etc/passwd"),
        *("", ".", "8.0x8.0x40.0", "8.0x8.0x40.0/", "8.0x8.0x40.0/./02fa.shard"),
        *("points.csv", MANIFEST_NAME, "%00", "info%00", "8.0x8.0x40.0/info"),
    ],
)
def test_nothing_but_the_files_of_the_volume(url: str, path: str) -> None:
    for method in ("GET", "HEAD"):
        answer = ask(url, path, method)
        assert answer.status == 404
        assert b"segmentation" not in answer.body


def test_nothing_without_the_secret_part_of_the_url(url: str) -> None:
    root, _, token = url.rpartition("/")
    assert len(token) >= 20
    for path in ("info", f"{token[:-1]}/info", f"{token.swapcase()}/info", ""):
        answer = ask(root, path)
        assert (answer.status, answer.body) == (404, b"not found\n")
    with serving(FAFB_MINI) as other:
        assert token not in other.url


def test_links_out_of_the_volume_are_not_followed(
    writable: Callable[[str], Path], tmp_path: Path
) -> None:
    copy = writable("fafb-mini")
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    (copy / "8.0x8.0x40.0" / "0000.shard").symlink_to(secret)
    (copy / "8.0x8.0x40.0" / "0001.shard").symlink_to(copy / SHARD)
    (copy / "provenance").symlink_to(secret)
    with serving(copy) as server:
        # An error and not 404, which would be background.
        assert ask(server.url, "8.0x8.0x40.0/0000.shard").status == 500
        assert ask(server.url, "8.0x8.0x40.0/0001.shard").body == DATA
        assert ask(server.url, "provenance").status == 500
    elsewhere = tmp_path / "elsewhere"
    shutil.move(copy / "8.0x8.0x40.0", elsewhere)
    (copy / "8.0x8.0x40.0").symlink_to(elsewhere)
    with pytest.raises(ReadError, match="leads out of the volume"):
        ServedVolume(copy)


def test_what_is_no_regular_file_is_an_error(writable: Callable[[str], Path]) -> None:
    copy = writable("fafb-mini")
    (copy / "8.0x8.0x40.0" / "0000.shard").mkdir()
    os.mkfifo(copy / "8.0x8.0x40.0" / "0001.shard")
    with serving(copy) as server:
        for name in ("0000", "0001"):
            assert ask(server.url, f"8.0x8.0x40.0/{name}.shard").status == 500


def change_info(copy: Path, **members: object) -> dict[str, object]:
    document = json.loads((copy / "info").read_text())
    document.update(members)
    (copy / "info").write_text(json.dumps(document))
    return dict(document)


def test_info_without_what_is_not_in_the_copy(writable: Callable[[str], Path]) -> None:
    copy = writable("two-scales")
    change_info(copy, mesh="mesh", skeletons="skeletons", segment_properties="props", extra="kept")
    (copy / "skeletons").mkdir()
    (copy / "skeletons" / "info").write_text("{}")
    shutil.rmtree(copy / "16_16_80")
    with serving(copy) as server:
        served = json.loads(ask(server.url, "info").body)
        assert [scale["key"] for scale in served["scales"]] == ["8_8_40"]
        assert "mesh" not in served
        assert "segment_properties" not in served
        assert (served["skeletons"], served["extra"]) == ("skeletons", "kept")
        assert ask(server.url, "skeletons/info").body == b"{}"
        assert ask(server.url, "skeletons/12").status == 404
    left_out = ServedVolume(copy).left_out
    assert left_out == ("mesh", "segment_properties", "scale 16_16_80")


def test_chunk_files_that_were_compressed_whole(writable: Callable[[str], Path]) -> None:
    copy = writable("unsharded-channels")
    chunk = sorted((copy / "8_8_40").iterdir())[0]
    data = chunk.read_bytes()
    chunk.with_name(chunk.name + ".gz").write_bytes(gzip.compress(data))
    chunk.unlink()
    with serving(copy) as server:
        answer = ask(server.url, f"8_8_40/{chunk.name}")
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.body) == data
        assert ask(server.url, "8_8_40/800-808_0-8_0-4").status == 410
        assert ask(server.url, "8_8_40/notes.txt").status == 404


def test_shards_of_the_first_version(writable: Callable[[str], Path]) -> None:
    copy = writable("fafb-mini")
    shard = copy / SHARD
    shard.with_suffix(".index").write_bytes(DATA[:1024])
    shard.with_suffix(".data").write_bytes(DATA[1024:])
    shard.unlink()
    with serving(copy) as server:
        assert ask(server.url, SHARD).body == DATA
        assert ask(server.url, SHARD, Range="bytes=1000-1099").body == DATA[1000:1100]


def test_no_scale_here(writable: Callable[[str], Path]) -> None:
    copy = writable("primes")
    shutil.rmtree(copy / "8_8_40")
    assert_refused(run_here("serve", copy), "holds no directory of a scale (8_8_40)")


def test_bad_input(tmp_path: Path) -> None:
    assert_refused(run_here("serve", tmp_path), "has no file `info`")
    assert_refused(run_here("serve", tmp_path / "no"), "no such directory")
    assert_refused(run_here("serve", FAFB_MINI, "--port", "0"), "from 1 to 65535")
    assert_refused(run_here("serve", FAFB_MINI, "--host", "192.0.2.1"), "cannot listen at")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert_refused(run_here("serve", FAFB_MINI, "--port", port), f"port {port}", "in use")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command(number: signal.Signals, writable: Callable[[str], Path]) -> None:
    copy = writable("fafb-mini")
    record = encode_coverage(Coverage.of_ids(np.array([], np.uint64), generation=None))
    (copy / "8.0x8.0x40.0" / "0000.shard").write_bytes(bytes(1024) + record)
    process = subprocess.Popen(
        [sys.executable, "-m", "shardreader", "serve", str(copy)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline().strip()
    assert line.startswith("precomputed://http://127.0.0.1:")
    url = line.removeprefix("precomputed://")
    assert ask(url, SHARD).body == DATA
    # A client that stays connected must not keep it from ending.
    parts = url.split("/")[2].split(":")
    with socket.create_connection((parts[0], int(parts[1]))):
        time.sleep(0.1)
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert process.returncode == 0
    lines = errors.splitlines()
    assert lines[-1] == "shardreader: stopped"
    assert "mesh, which is not in this copy" in lines[0]
    assert "partial shards in scale 8.0x8.0x40.0: 1; other readers" in lines[1]
    assert "Traceback" not in errors
