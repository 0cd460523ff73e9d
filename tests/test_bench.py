"""The benchmark suite runs end to end on a small volume, and its numbers add up. No timing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from statistics import median

import numpy as np
import pytest

pytest.importorskip("tensorstore")

from bench import measure
from bench.errors import CannotMeasure, Unequal
from bench.make import make_volume
from bench.measure import Pairs, Side, compare, time_pairs
from bench.neurites import fill_labels
from bench.peers import choose_peers
from bench.wanted import judge

ROOT = Path(__file__).parent.parent
SCENARIOS = "cutout,cutout-out,cutout-64,slice-xz,open-point,points-500-walks,points-cached,verify,"
SCENARIOS += "labels,counts,mask,mapping,open-point-once"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("bench") / "made"
    make_volume(directory, (256, 128, 40), 1, 1, lambda _: None)
    return directory


@pytest.fixture(scope="module")
def results(made: Path, tmp_path_factory) -> dict:
    out = tmp_path_factory.mktemp("out")
    done = run(
        str(made), "--runs", "2", "--threads", "1,2", "--peers", "tensorstore,zlib,libdeflate",
        "--scenarios", f"{SCENARIOS},decode,latency,threads", "--out", str(out),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.index("What was wanted") > done.stdout.index("Rows")
    assert (out / "report.md").read_text().startswith("# Benchmark of shardreader")
    return json.loads((out / "results.json").read_text())


def test_every_row_is_there(results):
    rows = {(row["scenario"], row["kind"]) for row in results["rows"]}
    for name in SCENARIOS.split(","):
        assert (name, "limit") in rows
    assert {name for name, kind in rows if kind == "peer"} == {
        "cutout", "cutout-64", "slice-xz", "open-point", "open-point-once",
        "points-500-walks", "points-cached", "inflate", "labels", "counts",
    }  # fmt: skip


@pytest.mark.slow
def test_encodings_that_the_volume_does_not_have(made, tmp_path):
    peers = {"compresso": "compresso", "crackle-codec": "crackle"}
    for module in peers.values():
        pytest.importorskip(module)
    done = run(
        str(made), "--runs", "1", "--threads", "1", "--peers", ",".join(peers),
        "--scenarios", "decode", "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = json.loads((tmp_path / "results.json").read_text())
    found = {(row["scenario"], row["against"]): row for row in results["rows"]}
    for package, encoding in peers.items():
        row = found[f"decode-{encoding}-128x128x32", package]
        assert row["equal"]
        assert row["work"] == {"chunks": 2, "voxels": 2 * 128 * 128 * 32}


def test_ratios_are_medians_of_pairs(results):
    for row in results["rows"]:
        ratios = [b / a for a, b in zip(row["ours_seconds"], row["other_seconds"], strict=True)]
        assert len(ratios) == 2
        assert row["pair_ratios"] == pytest.approx(ratios)
        assert row["ratio"] == pytest.approx(median(ratios))
        assert row["ours_median"] == pytest.approx(median(row["ours_seconds"]))
        assert row["other_median"] == pytest.approx(median(row["other_seconds"]))


def test_peers_were_compared_before_they_were_timed(results):
    assert all(row["equal"] is True for row in results["rows"] if row["kind"] == "peer")
    assert all(row["equal"] is None for row in results["rows"] if row["kind"] == "limit")
    assert results["failures"] == []


def test_work_is_what_the_volume_holds(results):
    assert results["region"] == [[0, 0, 0], [256, 128, 40]]
    row = next(row for row in results["rows"] if row["scenario"] == "cutout")
    assert row["full_size"] is False
    assert row["work"]["voxels"] == 256 * 128 * 40
    assert row["work"]["result_bytes"] == 8 * 256 * 128 * 40
    assert row["work"]["chunks"] == 4
    assert sum(results["volume"]["share_of_blocks_by_bits"].values()) == pytest.approx(1)


def test_what_was_wanted_repeats_the_rows(results):
    rows = {(row["scenario"], row["against"]): row["ratio"] for row in results["rows"]}
    assert len(results["wanted"]) == 11
    for entry in results["wanted"]:
        assert entry["ratio"] == rows[entry["scenario"], entry["against"]]
        assert (entry["verdict"] == "NOT REACHED") == (entry["ratio"] < entry["least"])


def test_pythons_share_is_what_compiled_code_leaves(results):
    share = results["python_share"]
    if share is None:
        pytest.skip("compiled code does not read files here")
    parts = share["microseconds_per_chunk"]
    compiled = parts["read and inflate"] + parts["decode"]
    assert 0 < compiled < parts["whole"]
    assert share["python_microseconds_per_chunk"] == pytest.approx(parts["whole"] - compiled)


def test_threads_estimate_follows_from_the_serial_part(results):
    for entry in results["scaling"]:
        one, serial = entry["medians"]["1"], entry["serial_seconds"]
        for threads, seconds in entry["estimated"].items():
            expected = serial + max(0.0, one - serial) / int(threads)
            assert seconds == pytest.approx(expected)


def test_cold_rows_are_never_mixed_with_warm_ones(made, tmp_path):
    done = run(
        str(made), "--cold", "--runs", "1", "--scenarios", "cutout-64,points-cached",
        "--peers", "tensorstore", "--out", str(tmp_path),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "results.json").read_text())["rows"]
    assert {row["scenario"] for row in rows} == {"cutout-64"}
    assert {row["state"] for row in rows} == {"fresh open, pages dropped"}


def test_same_seed_same_voxels_piece_by_piece():
    whole = fill_labels(np.empty((64, 64, 4), np.uint64, order="F"), (0, 0, 0), 3)
    part = fill_labels(np.empty((32, 64, 2), np.uint64, order="F"), (32, 0, 2), 3)
    assert np.array_equal(whole[32:, :, 2:], part)
    other = fill_labels(np.empty((64, 64, 4), np.uint64, order="F"), (0, 0, 0), 4)
    assert not np.array_equal(whole, other)


def test_make_refuses_to_write_over_a_volume(made):
    done = run("make", str(made), "--shape", "128,128,32")
    assert done.returncode == 2
    assert "there is a volume already" in done.stderr


def test_unknown_names_are_refused(made):
    with pytest.raises(CannotMeasure, match="no such peer: zarr"):
        choose_peers(["zarr"])
    done = run(str(made), "--scenarios", "cutouts")
    assert done.returncode == 2
    assert "no such scenario: cutouts" in done.stderr


def side(name: str, answer) -> Side:
    return Side(name, lambda number: number, lambda _: answer, lambda result, _: np.array(result))


def test_sides_that_disagree_are_not_timed():
    assert compare(side("a", [1, 2]), side("b", [1, 2]), 1)
    with pytest.raises(Unequal, match="a and b disagree in case 0"):
        compare(side("a", [1, 2]), side("b", [1, 3]), 1)


def test_runs_are_taken_in_turn():
    order = []

    def noting(name):
        return Side(name, lambda number: number, lambda number: order.append((name, number)))

    pairs = time_pairs(noting("a"), noting("b"), 2)
    assert order == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert len(pairs.ratios) == 2


def test_a_run_in_a_row_counts_the_mean(monkeypatch):
    order = []

    clock = iter([0.0, 10.0, 100.0, 130.0])
    monkeypatch.setattr(measure.time, "perf_counter", lambda: next(clock))

    def noting(name):
        return Side(name, lambda number: number, lambda _: order.append(name), times=5)

    pairs = time_pairs(noting("a"), noting("b"), 1)
    assert order == [*"aaaaabbbbb"]
    assert pairs == Pairs((2.0,), (6.0,))


def test_ratio_is_of_pairs_not_of_medians():
    pairs = Pairs((1.0, 2.0, 4.0), (4.0, 4.0, 2.0))
    assert pairs.ratio == 2.0
    row = {"scenario": "cutout", "against": "tensorstore", "title": "", "state": ""}
    entry = judge([{**row, "ratio": 4.5, "full_size": True}])[0]
    assert entry["verdict"] == "reached"
