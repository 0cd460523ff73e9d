"""What `verify`, `info` and `adopt` say of a copy with partial shards."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli import run_here
from fetching_cases import manifest_of
from part_cases import ids_in, source_with_holes, stored
from shard_builder import TinyVolume

import shardreader
from shardreader import Box
from shardreader.copies.partial_shard import read_partial_shard
from shardreader.format.manifest import MANIFEST_NAME

# Shard 0 only, then a part of both.
BOX = Box((0, 0, 0), (64, 32, 8))


@pytest.fixture
def source(tmp_path: Path) -> TinyVolume:
    return source_with_holes(tmp_path / "source")


@pytest.fixture
def copy(source: TinyVolume, tmp_path: Path) -> Path:
    shardreader.fetch(source.path, tmp_path / "copy", box=BOX)
    return tmp_path / "copy"


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_verify_says_partial_and_not_broken(level: str, source: TinyVolume, copy: Path) -> None:
    report = shardreader.verify(copy, level=level)
    (scale,) = report.scales
    assert (scale.count("partial"), scale.count("damaged"), scale.count("whole")) == (1, 0, 0)
    assert {str(g.kind): g.count for g in report.groups} == {"PARTIAL": 1, "ABSENT_UNKNOWN": 1}
    assert (report.ok, scale.untrusted) == (False, ())
    assert report.totals.chunks == len(ids_in(source, BOX) & stored(source))
    assert shardreader.verify(copy, level=level, allow_absent=True).ok


def test_verify_on_the_command_line(source: TinyVolume, copy: Path, tmp_path: Path) -> None:
    done = run_here("verify", copy, "--report", tmp_path / "report.html")
    assert done.returncode == 1
    assert done.stdout.startswith("NOT WHOLE; 1 shard partial; 1 shard missing or unknown\n")
    assert (
        "what to do: some shards are partial, as they were fetched; if that is all" in done.stdout
    )
    assert "copy 1 file again" not in done.stdout
    assert "partial: what was fetched" in (tmp_path / "report.html").read_text()
    done = run_here("verify", copy, "--allow-absent")
    assert done.returncode == 0
    assert done.stdout.startswith(
        "WHOLE as far as it is here: nothing is damaged; 1 shard partial; 1 shard absent\n"
    )
    shardreader.fetch(source.path, copy, box=Box((0, 0, 0), (64, 64, 16)))
    done = run_here("verify", copy, "--allow-absent", "--level", "quick")
    assert done.stdout.startswith(
        "WHOLE as far as it is here: nothing is damaged; 2 shards partial; by the indices alone, "
        "no chunk was read\n"
    )
    shardreader.fetch(source.path, copy)
    done = run_here("verify", copy)
    assert done.returncode == 0
    assert done.stdout.startswith("WHOLE: nothing is damaged, missing or unknown\n")


def test_a_bit_flipped_in_the_coverage_record(source: TinyVolume, copy: Path) -> None:
    shard = copy / "tiny/0.shard"
    good = shard.read_bytes()
    here = read_partial_shard(str(shard), source.spec, 0)
    assert here is not None
    for at in range(64, int(here.starts.min()), 5):
        shard.write_bytes(good[:at] + bytes([good[at] ^ 16]) + good[at + 1 :])
        report = shardreader.verify(copy, allow_absent=True, level="quick")
        assert not report.ok
        assert "COVERAGE_RECORD" in {str(group.kind) for group in report.groups}
        assert report.scales[0].count("damaged") == 1


def test_info(copy: Path) -> None:
    done = run_here("info", copy)
    assert "partial     1 of them, with the chunks that were fetched" in done.stdout
    done = run_here("info", copy, "--json")
    (scale,) = json.loads(done.stdout)["scales"]
    assert (scale["shards"]["present"], scale["shards"]["partial"]) == (1, 1)
    (copy / MANIFEST_NAME).unlink()
    assert "partial     1 of them" in run_here("info", copy).stdout


def test_adopt(source: TinyVolume, copy: Path) -> None:
    """A lost manifest: the shards still say themselves that they are partial."""
    (copy / MANIFEST_NAME).unlink()
    done = run_here("adopt", copy, "--source", source.path)
    assert done.returncode == 1
    assert "  0           here, of the size of the source" in done.stdout
    assert "  1           partial, with the chunks that were fetched: 0.shard" in done.stdout
    assert "  1           missing: 1.shard" in done.stdout
    files = manifest_of(copy).scales["tiny"].files
    assert (files["0.shard"].state, files["1.shard"].state) == ("partial", "not_fetched")
    done = run_here("adopt", copy, "--assume-complete")
    assert done.returncode == 1
    assert manifest_of(copy).scales["tiny"].files["0.shard"].state == "partial"
    assert run_here("verify", copy).returncode == 1
