"""`shardreader verify` through the front door: its output, its exit status, wrong input."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import REPOSITORY, assert_refused, run, run_here
from fixture_truth import copy_of_fafb_mini

from shardreader.verification.state import STATE_NAME

FAFB_MINI = copy_of_fafb_mini()

KEY = "8.0x8.0x40.0"
Writable = Callable[[str], Path]


@pytest.fixture
def damaged(writable: Writable) -> Path:
    path = writable("fafb-mini")
    file = path / KEY / "02fb.shard"
    data = bytearray(file.read_bytes())
    data[20000] ^= 4
    file.write_bytes(data)
    return path


def test_a_whole_copy_exits_0() -> None:
    done = run("verify", FAFB_MINI, "--allow-absent")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("WHOLE as far as it is here")
    assert "3,689 shards by the geometry" in done.stdout
    assert "9 files compared with the manifest" in done.stdout
    assert not (FAFB_MINI / STATE_NAME).exists()


def test_unknown_absence_exits_1_and_says_how_to_settle_it(writable: Writable) -> None:
    path = writable("fafb-mini")
    done = run("verify", path, "--level", "quick")
    assert done.returncode == 1
    assert done.stdout.startswith("NOT WHOLE; 3,677 shards missing or unknown")
    for way in ("shardreader adopt PATH --listing FILE", "--assume-complete", "--allow-absent"):
        assert way in done.stdout


def test_a_damaged_copy_exits_1_and_names_the_damage(damaged: Path) -> None:
    done = run("verify", damaged, "--allow-absent")
    assert done.returncode == 1
    assert done.stdout.startswith("DAMAGED; 2 findings of damage, in 1 shard")
    assert f"{KEY}/02fb.shard, shard 0x2fb, minishard 54, chunk 25030070" in done.stdout
    assert "CHECKSUM_MISMATCH" in done.stdout
    assert "copy 1 file again from the source:" in done.stdout


def test_json_is_one_document_with_the_exit_status(damaged: Path) -> None:
    done = run("verify", damaged, "--json", "--allow-absent")
    document = json.loads(done.stdout)
    assert done.returncode == document["exit_status"] == 1
    assert document["counts"]["damage"] == 2


@pytest.mark.parametrize(
    ("name", "start"),
    [("r.json", "{"), ("r.md", "# shardreader verify"), ("R.HTML", "<!DOCTYPE html>")],
)
def test_a_report_by_its_ending(damaged: Path, tmp_path: Path, name: str, start: str) -> None:
    done = run_here("verify", damaged, "--report", tmp_path / name)
    assert done.returncode == 1
    text = (tmp_path / name).read_text(encoding="utf-8")
    assert text.startswith(start)
    assert "CHUNK_DECODE" in text


def test_a_listing_settles_absence(damaged: Path, tmp_path: Path) -> None:
    sizes = {p.name: p.stat().st_size for p in (damaged / KEY).glob("*.shard")}
    lines = [f"{n} 2020-04-12T10:00:00Z  gs://b/v/{KEY}/{name}" for name, n in sizes.items()]
    lines.append(f"TOTAL: {len(sizes)} objects, {sum(sizes.values())} bytes (1 B)")
    listing = tmp_path / "listing.txt"
    listing.write_text("\n".join(lines))
    done = run_here("verify", damaged, "--listing", listing, "--shards", "02fa")
    assert (done.returncode, done.stderr) == (0, "")
    done = run_here("verify", damaged, "--listing", listing)
    assert done.returncode == 1
    assert "3,680       absent, and the source has none either" in done.stdout
    command = f"shardreader fetch gs://b/v {damaged} --scale {KEY} --repair report.json"
    assert f"  {command}\n" in done.stdout
    assert json.loads((damaged / "shardreader-manifest.json").read_text())["basis"] == "user"


def test_a_selection(damaged: Path) -> None:
    assert run_here("verify", damaged, "--shards", "02fa,0668-066d").returncode == 1
    done = run_here("verify", damaged, "--shards", "02fa,0668-0669")
    assert done.returncode == 0
    assert "3 checked" in done.stdout
    box = ("--box", "61440,32768,3072,61441,32769,3073", "--units", "voxel")
    assert run_here("verify", damaged, *box).returncode == 0
    assert run_here("verify", damaged, "--scale", KEY, *box).returncode == 0


def test_deep_with_a_cross_check() -> None:
    done = run(
        "verify", FAFB_MINI, "--allow-absent", "--level", "deep", "--cross-check", "1", "--json"
    )
    totals = json.loads(done.stdout)["totals"]
    assert done.returncode == 0
    assert totals["cross_checked_chunks"] == totals["inflated_chunks"] > 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["/nowhere"], ["/nowhere", "no such directory"]),
        ([FAFB_MINI / KEY], ["no file `info`"]),
        ([FAFB_MINI / "info"], ["not a directory"]),
        (["gs://bucket/volume"], ["works on a local directory", "shardreader fetch"]),
        ([], ["PATH"]),
        ([FAFB_MINI, "--scale", "7"], ["no scale is 7"]),
        ([FAFB_MINI, "--scale", "4_4_40"], ["no scale"]),
        ([FAFB_MINI, "--level", "slow"], ["invalid choice"]),
        ([FAFB_MINI, "--shards", "xyz"], ["'xyz'", "0a3f"]),
        ([FAFB_MINI, "--shards", "5-4"], ["backwards"]),
        ([FAFB_MINI, "--shards", "1fff"], ["none of these shards"]),
        ([FAFB_MINI, "--shards", ""], ["no shard number"]),
        ([FAFB_MINI, "--box", "0,0,0,1,1,1"], ["--units voxel or --units nm"]),
        ([FAFB_MINI, "--box", "0,0,0,1,1", "--units", "nm"], ["6 numbers"]),
        ([FAFB_MINI, "--box", "9,0,0,1,1,1", "--units", "voxel"], ["above"]),
        ([FAFB_MINI, "--box", "-9,0,0,-1,1,1", "--units", "voxel"], ["no voxel of scale"]),
        ([FAFB_MINI, "--units", "nm"], ["there is none"]),
        ([FAFB_MINI, "--box", "0,0,0,1,1,1", "--units", "um"], ["invalid choice"]),
        ([FAFB_MINI, "--threads", "0"], ["1 to 1024"]),
        ([FAFB_MINI, "--cross-check", "2"], ["from 0 to 1"]),
        ([FAFB_MINI, "--cross-check", "nan"], ["from 0 to 1"]),
        ([FAFB_MINI, "--cross-check", "0.5"], ["needs the level deep"]),
        ([FAFB_MINI, "--listing", "/nowhere.txt"], ["/nowhere.txt"]),
        ([FAFB_MINI, "--listing", FAFB_MINI / "info"], ["lists no files"]),
        ([FAFB_MINI, "--source", "ftp://b/v"], ["unknown scheme"]),
        ([FAFB_MINI, "--source", "gs://b/v", "--listing", "x"], ["not allowed with"]),
        ([FAFB_MINI, "--report", "r.pdf"], [".json, .md, .html"]),
        ([FAFB_MINI, "--report", "/nowhere/r.html"], ["no directory /nowhere"]),
        ([FAFB_MINI, "--state", "/nowhere/state"], ["/nowhere/state", "--state"]),
        ([FAFB_MINI, "--state", FAFB_MINI / "info"], ["--state"]),
        ([FAFB_MINI, "--resumed"], ["unrecognized"]),
    ],
)
def test_wrong_input(arguments: list[object], words: list[str]) -> None:
    assert_refused(run_here("verify", *arguments), *words)


def test_wrong_input_from_another_process(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / "info").write_text("{")
    assert_refused(run("verify", path), "expected JSON")
    assert_refused(run("verify", path, "--json"), "expected JSON")


def test_a_volume_that_cannot_be_written_is_verified_without_a_state(
    writable: Writable, tmp_path: Path
) -> None:
    path = writable("fafb-mini")
    (path / STATE_NAME).mkdir()  # as good as no permission, also for root
    done = run_here("verify", path, "--allow-absent")
    assert done.returncode == 0
    assert "no --resume after this run" in done.stderr
    assert_refused(run_here("verify", path, "--resume"), "--state")
    state = tmp_path / "state"
    assert run_here("verify", path, "--allow-absent", "--state", state).returncode == 0


def test_quick_does_without_numba() -> None:
    code = (
        "import sys\nfrom shardreader.cli import main\n"
        f"assert main(['verify', {str(FAFB_MINI)!r}, '--allow-absent', '--level', 'quick']) == 0\n"
        "assert 'numba' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, timeout=60, check=False)
    assert done.returncode == 0


def test_help_names_every_option() -> None:
    done = run("verify", "--help")
    for option in (
        *("--scale", "--level", "--shards", "--box", "--units", "--threads", "--allow-absent"),
        *("--listing", "--source", "--json", "--report", "--resume", "--state", "--cross-check"),
        "--dask",
    ):
        assert option in done.stdout
