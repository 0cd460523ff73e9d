"""What the viewer is told to show; the page itself is tested in a browser (test_view_browser)."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import REPOSITORY, assert_refused, run, run_here
from fixture_truth import FAFB_MINI, FIXTURES
from shard_builder import TinyVolume

import shardreader
from shardreader import Box, InfoError, OutOfBoundsError, PointStatus, open_volume
from shardreader.checking.findings import FindingKind
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.viewing.scene import Scene, make_scene, viewer_state

URL = "http://127.0.0.1:9/token"


def scene(path: Path, **options: Any) -> Scene:
    with open_volume(path) as vol:
        return make_scene(vol, **options)


def layer(found: Scene, name: str) -> dict[str, Any]:
    (wanted,) = (item.to_json() for item in found.layers if item.name == name)
    return dict(wanted)


def test_the_volume_in_the_state() -> None:
    found = scene(FAFB_MINI, at=(61440, 32768, 3072), units="voxel")
    state = viewer_state(found, URL, segments=[2**64 - 1, 7])
    assert state["dimensions"] == {"x": [8e-9, "m"], "y": [8e-9, "m"], "z": [40e-9, "m"]}
    assert state["position"] == [61440.5, 32768.5, 3072.5]
    volume = state["layers"][0]
    assert volume["source"] == f"precomputed://{URL}"
    assert volume["type"] == "segmentation"
    assert volume["segments"] == ["18446744073709551615", "7"]
    assert json.loads(json.dumps(state)) == state
    assert viewer_state(found, URL)["layers"][0]["segments"] == []


@pytest.mark.parametrize(
    "options",
    [
        {"at": (491524, 262147, 122900), "units": "nm"},
        {"at": (122881, 65536.75, 3072), "resolution": (4, 4, 40)},
        {"at": (61440, 32768, 3072), "units": "voxel"},
    ],
)
def test_units_of_the_place(options: dict[str, Any]) -> None:
    assert scene(FAFB_MINI, **options).position == (61440.5, 32768.5, 3072.5)


def test_without_a_place_it_opens_where_data_is() -> None:
    for path in (FAFB_MINI, FIXTURES / "primes", FIXTURES / "negative-offset"):
        place = scene(path).position
        with open_volume(path) as vol:
            _, status = vol.lookup([place], units="voxel", return_status=True)
        assert status.tolist() == [PointStatus.OK]


def boxes(found: dict[str, Any]) -> list[Box]:
    return [Box(item["pointA"], item["pointB"]) for item in found["annotations"]]


def test_what_is_not_downloaded_is_covered_with_boxes() -> None:
    """Each place that lookup calls NOT_DOWNLOADED is in a box, and no other."""
    found = boxes(layer(scene(FAFB_MINI), "not downloaded"))
    rng = np.random.default_rng(1)
    with open_volume(FAFB_MINI) as vol:
        points = rng.integers(0, vol.bounds.upper, (500, 3))
        near = rng.integers((57000, 28000, 2000), (66000, 37000, 4200), (500, 3))
        points = np.concatenate([points, near, [[0, 0, 0], [124415, 67071, 7062]]])
        _, status = vol.lookup(points, units="voxel", return_status=True)
    inside = [
        sum(box.contains(Box(p, (p[0] + 1, p[1] + 1, p[2] + 1))) for box in found)
        for p in points.tolist()
    ]
    expected = (status == PointStatus.NOT_DOWNLOADED).astype(int)
    assert set(expected.tolist()) == {0, 1}
    assert inside == expected.tolist()


def test_chunks_that_a_partial_shard_has_not(tiny: TinyVolume) -> None:
    ids = np.array([0, 1, 2, 3], np.uint64)
    chunks = tiny.shards[0].chunks
    tiny.shards[0].chunks = {i: chunks[i] for i in (0, 1)}
    tiny.shards[0].lead = encode_coverage(Coverage.of_ids(ids, generation=None))
    tiny.write()
    absent = layer(scene(tiny.path), "not downloaded")
    with open_volume(tiny.path) as vol:
        _, status = vol.stored_chunks(vol.bounds)
    expected = int(np.count_nonzero(status == PointStatus.NOT_DOWNLOADED)) * 16 * 16 * 8
    assert sum(box.voxels for box in boxes(absent)) == expected == 12 * 16 * 16 * 8
    assert {item["description"] for item in absent["annotations"]} == {
        "0.shard: chunks not downloaded"
    }


def test_where_shards_are_no_boxes(writable: Callable[[str], Path]) -> None:
    copy = writable("murmurhash")
    next((copy / "8_8_40").glob("*.shard")).unlink()
    with open_volume(copy) as vol:
        absent = boxes(layer(scene(copy), "not downloaded"))
        for box in absent:
            _, inside = vol.stored_chunks(box)
            assert (inside == PointStatus.NOT_DOWNLOADED).all()
    assert absent
    assert not scene(FIXTURES / "murmurhash").layers


def test_points_have_their_segment_and_status() -> None:
    path = str(FAFB_MINI / "points-with-problems.csv")
    found = scene(FAFB_MINI, points=path, units="voxel")
    points = layer(found, "points")
    shown = [
        (item["description"], item["props"], item["segments"]) for item in points["annotations"]
    ]
    assert shown == [
        ("row 1: 0", [0], [[]]),
        ("row 2: NOT_DOWNLOADED", [4], [[]]),
        ("row 3: NOT_DOWNLOADED", [4], [[]]),
        ("row 4: OUT_OF_BOUNDS", [2], [[]]),
        ("row 5: OUT_OF_BOUNDS", [2], [[]]),
        ("row 9: 0", [0], [[]]),
    ]
    assert points["annotations"][0]["point"] == [61339.5, 32715.5, 3099.5]
    assert found.position == (61339.5, 32715.5, 3099.5)
    assert found.notes == (f"{path}: 3 points are INVALID (no position) and not shown",)
    (status,) = points["annotationProperties"]
    assert dict(zip(status["enum_values"], status["enum_labels"], strict=True))[4] == (
        "NOT_DOWNLOADED"
    )
    labelled = layer(
        scene(FAFB_MINI, points=str(FAFB_MINI / "points.csv"), units="voxel"), "points"
    )
    assert labelled["annotations"][2]["segments"] == [["2142873971"]]
    assert labelled["linkedSegmentationLayer"] == {"segment": "segments"}


def test_points_of_a_skeleton(tmp_path: Path) -> None:
    path = tmp_path / "neuron.swc"
    path.write_text("1 1 490776 262368 121800 10 -1\n2 3 490776 262368 121840 10 1\n")
    points = layer(scene(FAFB_MINI, points=str(path), units="nm"), "points")["annotations"]
    with open_volume(FAFB_MINI) as vol:
        expected = vol.lookup([[61347, 32796, 3045], [61347, 32796, 3046]], units="voxel").tolist()
    assert [item["segments"] for item in points] == [[[str(label)]] for label in expected]


def test_of_many_points_the_nearest_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shardreader.viewing.near_points.MOST_POINTS", 100)
    rng = np.random.default_rng(0)
    table = rng.integers((61300, 32600, 3000), (61700, 32900, 3140), (250_000, 3)).astype(float)
    table[7] = np.nan
    np.save(tmp_path / "points.npy", table)
    at = (61440, 32768, 3072)
    path = str(tmp_path / "points.npy")
    found = scene(FAFB_MINI, points=path, units="voxel", at=at)
    points = layer(found, "points")["annotations"]
    assert len(points) == 100
    distances = np.square((table - at) * (8, 8, 40)).sum(axis=1)
    rows = [int(item["id"].removeprefix("row-")) - 1 for item in points]
    assert rows == sorted(rows)
    np.testing.assert_array_equal([item["point"] for item in points], table[rows] + 0.5)
    assert distances[rows].max() <= np.nanquantile(distances, 101 / 250_000)
    assert found.position == (61440.5, 32768.5, 3072.5)
    assert found.notes == (
        f"{path}: the 100 of 249,999 points that are nearest to where it opens",
        f"{path}: 1 points are INVALID (no position) and not shown",
    )
    # Without a place it opens at the first that is in the volume.
    table[0] = -1
    np.save(tmp_path / "points.npy", table)
    assert scene(FAFB_MINI, points=path, units="voxel").position == tuple(table[1] + 0.5)


def test_a_report_becomes_boxes(
    writable: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = writable("fafb-mini")
    (copy / "8.0x8.0x40.0" / "1b68.shard").write_bytes(b"")
    report = shardreader.verify(copy, level="quick", allow_absent=True)
    report.write(tmp_path / "report.json")
    found = scene(copy, report=tmp_path / "report.json")
    damaged = layer(found, "damaged")
    assert boxes(damaged)[0] == Box((122880, 65536, 6144), (124416, 67072, 7063))
    assert damaged["annotations"][0]["description"] == (
        f"{FindingKind.EMPTY_FILE.text} (8.0x8.0x40.0/1b68.shard)"
    )
    assert found.position == (123648.5, 66304.5, 6603.5)
    assert viewer_state(found, URL)["selectedLayer"] == {"layer": "damaged", "visible": True}
    count = len(boxes(damaged))
    assert found.notes == (f"the report lists {count} places with damage",)
    monkeypatch.setattr("shardreader.viewing.scene._MOST_DAMAGE", 1)
    found = scene(copy, report=tmp_path / "report.json")
    assert boxes(layer(found, "damaged")) == boxes(damaged)[:1]
    assert found.notes == (f"the report lists {count} places with damage, the first 1 are shown",)
    with pytest.raises(InfoError, match="another volume"):
        scene(FIXTURES / "primes", report=tmp_path / "report.json")
    whole = shardreader.verify(FAFB_MINI, level="quick", allow_absent=True)
    whole.write(tmp_path / "whole.json")
    assert scene(FAFB_MINI, report=tmp_path / "whole.json").notes == (
        "the report lists 0 places with damage",
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"scales": 1, "findings": 1}', "no json"])
def test_what_is_no_report(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(InfoError, match="is no report"):
        scene(FAFB_MINI, report=tmp_path / "report.json")


def test_a_place_outside() -> None:
    with pytest.raises(OutOfBoundsError, match="is the unit right"):
        scene(FAFB_MINI, at=(124416, 0, 0), units="voxel")
    with pytest.raises(TypeError, match="units"):
        scene(FAFB_MINI, at=(1, 2, 3))


def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert_refused(run_here("view", tmp_path), "has no file `info`")
    assert_refused(run_here("view", FAFB_MINI, "--at", "1,2,3"), "--units voxel")
    assert_refused(run_here("view", FAFB_MINI, "--at", "-1,2,x"), "expected 3 numbers")
    assert_refused(run_here("view", FAFB_MINI, "--points", "p.csv"), "--units voxel")
    assert_refused(run_here("view", FAFB_MINI, "--segments", "1.5"), "segment ids")
    assert_refused(run_here("view", FAFB_MINI, "--port", "http"), "from 1 to 65535")
    monkeypatch.setitem(sys.modules, "neuroglancer", None)
    assert_refused(run_here("view", FAFB_MINI), "pip install 'shardreader[view]'")


@pytest.mark.slow
def test_a_port_in_use() -> None:
    pytest.importorskip("neuroglancer")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = run("view", FAFB_MINI, "--port", port, "--no-browser")
    assert_refused(done, f"port {port}", "in use")


@pytest.mark.slow
def test_the_command_without_a_display_and_without_a_browser(tmp_path: Path) -> None:
    pytest.importorskip("neuroglancer")
    clean = {k: v for k, v in os.environ.items() if k not in ("DISPLAY", "WAYLAND_DISPLAY")}
    for settings, advice in (
        ({}, "there is no display here: open the address in a browser"),
        ({"DISPLAY": ":99", "PATH": str(tmp_path)}, "found no browser: open the address in one"),
    ):
        process = subprocess.Popen(
            [sys.executable, "-m", "shardreader", "view", str(FAFB_MINI)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**clean, "PYTHONPATH": str(REPOSITORY), **settings},
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline().startswith("http://127.0.0.1:")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        lines = errors.splitlines()
        assert sum(advice in line for line in lines) == 1
        assert lines[-1] == "shardreader: ended"
        assert "Traceback" not in errors
