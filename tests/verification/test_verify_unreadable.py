"""A shard that cannot be read hides no other: every command that looks at all of them."""

from __future__ import annotations

import html
import json
import re
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli import assert_refused, run
from unreadable import run_on_bad_sectors, run_without_rights, started_without_rights

from shardreader.format.manifest import MANIFEST_NAME
from shardreader.verification.state import STATE_NAME

KEY = "8.0x8.0x40.0"
Writable = Callable[[str], Path]


@pytest.fixture
def closed(writable: Writable) -> Iterator[Path]:
    """A copy without a manifest, one shard of which nobody may read."""
    path = writable("fafb-mini")
    (path / MANIFEST_NAME).unlink()
    (path / KEY / "02fb.shard").chmod(0)
    yield path
    (path / KEY / "02fb.shard").chmod(0o600)


@pytest.mark.parametrize("level", ["quick", "full"])
def test_verify_names_it_and_checks_all_others(closed: Path, tmp_path: Path, level: str) -> None:
    given = ("verify", closed, "--level", level, "--allow-absent")
    for name in ("report.html", "report.md"):
        done = run_without_rights(*given, "--report", tmp_path / name)
        assert (done.returncode, done.stderr) == (1, "")
        text = html.unescape(re.sub(r"\\(.)", r"\1", (tmp_path / name).read_text("utf-8")))
        for form in (done.stdout, text):
            assert "DAMAGED; 1 finding of damage, in 1 shard" in form
            assert "UNREADABLE" in form
            assert f"{KEY}/02fb.shard" in form
            assert "EACCES" in form
            assert "check the drive and the permissions" in form
    document = json.loads(run_without_rights(*given, "--json").stdout)
    assert document["exit_status"] == 1
    shards = document["scales"][0]["shards"]
    assert (shards["damaged"]["shards"], shards["whole"]["count"]) == ("02fb", 8)
    assert document["what_to_do"]["copy_again"] == []


def test_verify_goes_on_after_bad_sectors_in_the_shard_index(
    writable: Writable,
) -> None:
    path = writable("fafb-mini")
    (path / MANIFEST_NAME).unlink()
    bad = path / KEY / "02fb.shard"
    for level in ("quick", "full"):
        given = ("verify", path, "--level", level, "--allow-absent", "--json")
        # Of the index alone, and so far that the bytes behind it cannot be read either.
        for end in (16, 4096):
            done = run_on_bad_sectors(bad, end, *given)
            assert (done.returncode, done.stderr) == (1, "")
            document = json.loads(done.stdout)
            assert document["findings"][0]["kind"] == "UNREADABLE"
            assert "EIO" in document["findings"][0]["listed"][0]["found"]
            assert document["scales"][0]["shards"]["whole"]["count"] == 8


def test_info_names_it(closed: Path) -> None:
    done = run_without_rights("info", closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert "unreadable  1 of them: 02fb.shard" in done.stdout
    (scale,) = json.loads(run_without_rights("info", closed, "--json").stdout)["scales"]
    assert scale["shards"]["unreadable"] == ["02fb.shard"]
    assert scale["shards"]["present"] == 9
    assert json.loads(run("info", closed, "--json").stdout)["scales"][0]["shards"]["partial"] == 0


def test_index_indexes_all_others(closed: Path) -> None:
    done = run_without_rights("index", closed)
    assert done.returncode == 1
    assert "8 indexed" in done.stdout
    assert "UNREADABLE" in done.stdout
    assert "02fb" in done.stdout


def test_a_map_shows_it(closed: Path, tmp_path: Path) -> None:
    done = run_without_rights("picture", closed, "--map", "-o", tmp_path / "map.png")
    assert (done.returncode, done.stderr) == (0, "")
    readable, closed_map = tmp_path / "readable.png", tmp_path / "map.png"
    (closed / KEY / "02fb.shard").chmod(0o600)
    assert run("picture", closed, "--map", "-o", readable).returncode == 0
    assert readable.read_bytes() != closed_map.read_bytes()


def test_serve_serves_all_others(closed: Path) -> None:
    with started_without_rights("serve", closed) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip().removeprefix("precomputed://")
            assert url.startswith("http://127.0.0.1:")
            with urllib.request.urlopen(f"{url}/{KEY}/02fa.shard", timeout=60) as answer:
                assert answer.read() == (closed / KEY / "02fa.shard").read_bytes()
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"{url}/{KEY}/02fb.shard", timeout=60)
            assert refused.value.code == 500
        finally:
            server.terminate()


def test_adopt_does_not_call_it_whole(closed: Path) -> None:
    done = run_without_rights("adopt", closed, "--assume-complete")
    assert_refused(done, "02fb.shard", "EACCES")
    assert not (closed / MANIFEST_NAME).exists()


def test_a_refused_verify_leaves_no_state_behind(writable: Writable) -> None:
    path = writable("unsharded")
    assert_refused(run("verify", path), "not sharded")
    assert not (path / STATE_NAME).exists()


def test_a_refused_verify_keeps_the_state_of_an_earlier_run(writable: Writable) -> None:
    path = writable("two-scales")
    (next(path.glob("*/*.shard"))).write_bytes(b"")
    assert run("verify", path, "--allow-absent").returncode == 1
    kept = (path / STATE_NAME).read_bytes()
    document = json.loads((path / "info").read_text())
    for scale in document["scales"]:
        del scale["sharding"]
    (path / "info").write_text(json.dumps(document))
    assert_refused(run("verify", path), "not sharded")
    assert (path / STATE_NAME).read_bytes() == kept
