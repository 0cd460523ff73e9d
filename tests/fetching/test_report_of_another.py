"""A report of `verify` is taken for the copy that it is about, and for no other."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import assert_refused, run
from fixture_truth import copy_of_fafb_mini

import shardreader

FAFB_MINI = copy_of_fafb_mini()
KEY = "8.0x8.0x40.0"
Writable = Callable[[str], Path]


@pytest.fixture
def damaged(writable: Writable) -> Path:
    path = writable("fafb-mini")
    (path / KEY / "02fb.shard").write_bytes(b"")
    return path


@pytest.fixture
def report(damaged: Path, tmp_path: Path) -> Path:
    saved = tmp_path / "report.json"
    done = run("verify", damaged, "--level", "quick", "--allow-absent", "--report", saved)
    assert done.returncode == 1
    return saved


def test_fetch_repairs_no_other_copy(damaged: Path, report: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(damaged, tmp_path / "other"))
    before = (other / KEY / "02fb.shard").read_bytes()
    given = ("fetch", FAFB_MINI, other, "--repair", report)
    assert_refused(run(*given), "report of another copy", str(damaged), str(other), "--force")
    assert (other / KEY / "02fb.shard").read_bytes() == before
    with pytest.raises(shardreader.InfoError, match="force=True"):
        shardreader.fetch(FAFB_MINI, other, repair=report)
    assert run(*given, "--force").returncode == 0
    assert (other / KEY / "02fb.shard").stat().st_size > 0
    assert (damaged / KEY / "02fb.shard").stat().st_size == 0


def test_fetch_repairs_the_copy_by_any_name_of_its_directory(
    damaged: Path, report: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    try:
        link.symlink_to(damaged, target_is_directory=True)
    except OSError:
        pytest.skip("this system makes no links")
    assert run("fetch", FAFB_MINI, link, "--repair", report).returncode == 0
    assert (damaged / KEY / "02fb.shard").stat().st_size > 0


@pytest.mark.parametrize(
    ("member", "value"), [("size", [1, 2, 3]), ("resolution_nm", [4, 4, 40]), ("encoding", "raw")]
)
def test_no_force_makes_it_a_report_of_another_volume(
    damaged: Path, report: Path, member: str, value: object
) -> None:
    document = json.loads(report.read_text())
    document["scales"][0][member] = value
    report.write_text(json.dumps(document))
    done = run("fetch", FAFB_MINI, damaged, "--repair", report, "--force")
    assert_refused(done, "another volume", KEY)
    assert (damaged / KEY / "02fb.shard").stat().st_size == 0


def test_what_is_no_report(damaged: Path, report: Path) -> None:
    for text in ("", "[]", "{}", '{"what_to_do": {"copy_again": []}}', "[" * 100_000):
        report.write_text(text)
        done = run("fetch", FAFB_MINI, damaged, "--repair", report, "--force")
        assert_refused(done, "is no report")


def test_view_shows_the_damage_of_no_other_copy(damaged: Path, report: Path) -> None:
    pytest.importorskip("neuroglancer")
    done = run("view", FAFB_MINI, "--report", report, "--no-browser")
    assert_refused(done, "report of another copy", str(damaged), str(FAFB_MINI), "--force")
