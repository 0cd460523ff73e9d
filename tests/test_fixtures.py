"""Every fixture, read through the public interface, against its truth and against tensorstore."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tensorstore
from fixture_truth import (
    FAFB_MINI,
    FIXTURES,
    ExpectedPoint,
    Truth,
    load_fafb_patches,
    load_truth,
    read_expected_points,
    read_info,
    scale_keys,
    small_volume_names,
)

import shardreader
from shardreader.errors import PointStatus

if TYPE_CHECKING:
    from pathlib import Path

BUDGET = 5_000_000
COMPRESSO = (*("compresso", "compresso-uint8", "unsharded-compresso", "unsharded-compresso-gzip"),)
CRACKLE = ("crackle", "crackle-uint16", "unsharded-crackle", "unsharded-crackle-gzip")
STORES_BACKGROUND = {
    *("cloud-volume", "cloud-volume-uint32", "neuroglancer-scripts"),
    *("unsharded-cloud-volume", "unsharded-cloud-volume-gzip", "unsharded-cloud-volume-gzip-raw"),
    *COMPRESSO,
    *CRACKLE,
}

# tensorstore does not look for `.gz`: it reads them as background. It does not know the others.
NOT_BY_TENSORSTORE = {
    *("unsharded-cloud-volume-gzip", "unsharded-cloud-volume-gzip-raw"),
    *COMPRESSO,
    *CRACKLE,
}
SMALL = [(name, key) for name in small_volume_names() for key in scale_keys(name)]
small = pytest.mark.parametrize(("name", "key"), SMALL)


def random_box(truth: Truth, rng: np.random.Generator) -> tuple[slice, ...]:
    """Draw a box inside a truth, in global voxels."""
    box = []
    for start, length in zip(truth.origin, truth.labels.shape[:3], strict=True):
        low = int(rng.integers(0, length))
        box.append(slice(start + low, start + int(rng.integers(low + 1, length + 1))))
    return tuple(box)


def expected_box(truth: Truth, box: tuple[slice, ...]) -> np.ndarray:
    """Give the source labels of a box in global voxels."""
    return truth.labels[
        tuple(slice(s.start - o, s.stop - o) for s, o in zip(box, truth.origin, strict=True))
    ]


def random_points(truth: Truth, rng: np.random.Generator, count: int) -> np.ndarray:
    """Draw points inside a truth, in global voxels."""
    return rng.integers(truth.origin, truth.upper, size=(count, 3))


def expected_labels(truth: Truth, points: np.ndarray) -> np.ndarray:
    """Give the source labels at points in global voxels."""
    return truth.labels[tuple((points - truth.origin).T)]


def chunk_status(truth: Truth, chunk_size: tuple[int, ...], stores_background: bool) -> np.ndarray:
    """Give the status of each chunk of a whole volume: EMPTY is one that is all 0."""
    counts = [-(-n // c) for n, c in zip(truth.labels.shape[:3], chunk_size, strict=True)]
    statuses = np.full(counts, PointStatus.OK, np.uint8)
    for cell in np.ndindex(*counts):
        box = tuple(slice(i * c, (i + 1) * c) for i, c in zip(cell, chunk_size, strict=True))
        if not truth.labels[box].any() and not stores_background:
            statuses[cell] = PointStatus.EMPTY
    return statuses


def open_with_tensorstore(path: Path, scale_index: int) -> tensorstore.TensorStore:
    """Open a scale with the reader that people would use without this package."""
    opened = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{path}/"},
            "scale_index": scale_index,
        },
        open=True,
        read=True,
    ).result()
    return opened[..., 0] if opened.shape[-1] == 1 else opened


@small
def test_whole_volume_equals_truth_and_tensorstore(name: str, key: str) -> None:
    truth = load_truth(name, key)
    with shardreader.open_volume(truth.path, scale=key) as volume:
        found = volume[...]
        assert volume.shape == truth.labels.shape
        assert tuple(volume.voxel_offset) == truth.origin
    assert found.dtype == truth.labels.dtype
    assert found.flags.f_contiguous
    np.testing.assert_array_equal(found, truth.labels)
    if name in NOT_BY_TENSORSTORE:
        return
    theirs = open_with_tensorstore(truth.path, scale_keys(name).index(key))
    assert theirs.domain.inclusive_min[:3] == truth.origin
    np.testing.assert_array_equal(found, theirs.read().result())


@small
def test_random_boxes_equal_truth(name: str, key: str) -> None:
    truth = load_truth(name, key)
    rng = np.random.default_rng(1)
    with shardreader.open_volume(truth.path, scale=key) as volume:
        for _ in range(25):
            box = random_box(truth, rng)
            np.testing.assert_array_equal(volume[box], expected_box(truth, box), str(box))


@small
def test_points_equal_truth_with_their_status(name: str, key: str) -> None:
    truth = load_truth(name, key)
    points = random_points(truth, np.random.default_rng(2), 500)
    with shardreader.open_volume(truth.path, scale=key) as volume:
        labels, statuses = volume.lookup(points, units="voxel", return_status=True)
        chunk_size = tuple(volume.chunk_size)
    assert labels.dtype == truth.labels.dtype
    np.testing.assert_array_equal(labels, expected_labels(truth, points))
    of_chunks = chunk_status(truth, chunk_size, name in STORES_BACKGROUND)
    cells = (points - truth.origin) // chunk_size
    np.testing.assert_array_equal(statuses, of_chunks[tuple(cells.T)])


@small
def test_stored_chunks_are_those_that_hold_labels(name: str, key: str) -> None:
    truth = load_truth(name, key)
    with shardreader.open_volume(truth.path, scale=key) as volume:
        cells, statuses = volume.stored_chunks(volume.bounds)
        expected = chunk_status(truth, tuple(volume.chunk_size), name in STORES_BACKGROUND)
    assert cells == shardreader.Box((0, 0, 0), expected.shape)
    np.testing.assert_array_equal(statuses, expected)


def test_scale_is_found_by_index_key_and_resolution() -> None:
    path = FIXTURES / "two-scales"
    for index, key in enumerate(scale_keys("two-scales")):
        resolution = read_info(path)["scales"][index]["resolution"]
        truth = load_truth("two-scales", key)
        for scale in (index, key, tuple(resolution)):
            with shardreader.open_volume(path, scale=scale) as volume:
                np.testing.assert_array_equal(volume[...], truth.labels)


@pytest.mark.parametrize("patch", [0, 1], ids=["corner", "far"])
def test_fafb_patch_equals_truth_and_tensorstore(patch: int) -> None:
    truth = load_fafb_patches()[patch]
    whole = tuple(slice(a, b) for a, b in zip(truth.origin, truth.upper, strict=True))
    with shardreader.open_volume(truth.path) as volume:
        found = volume[whole]
    np.testing.assert_array_equal(found, truth.labels)
    theirs = open_with_tensorstore(truth.path, 0)[whole].read().result()
    np.testing.assert_array_equal(found, theirs)


@pytest.mark.parametrize("patch", [0, 1], ids=["corner", "far"])
def test_fafb_boxes_and_points_equal_truth(patch: int) -> None:
    truth = load_fafb_patches()[patch]
    rng = np.random.default_rng(3 + patch)
    points = random_points(truth, rng, 5000)
    with shardreader.open_volume(truth.path) as volume:
        for _ in range(10):
            box = random_box(truth, rng)
            np.testing.assert_array_equal(volume[box], expected_box(truth, box), str(box))
        labels = volume.lookup(points, units="voxel")
    np.testing.assert_array_equal(labels, expected_labels(truth, points))


def test_fafb_info_is_that_of_the_real_volume() -> None:
    (scale,) = read_info(FAFB_MINI)["scales"]
    assert scale["size"] == [124416, 67072, 7063]
    assert scale["chunk_sizes"] == [[128, 128, 32]]
    assert scale["compressed_segmentation_block_size"] == [16, 16, 2]
    assert [scale["sharding"][f"{n}_bits"] for n in ("preshift", "minishard", "shard")] == [
        *(9, 6, 13)
    ]
    with shardreader.open_volume(FAFB_MINI) as volume:
        assert volume.shape == (124416, 67072, 7063)
        assert tuple(volume.voxel_offset) == (0, 0, 0)
        assert volume.info["mesh"] == "mesh"


def as_number(field: str) -> float:
    """Read a coordinate as a points file's reader has to: what is no number is NaN."""
    try:
        return float(field)
    except ValueError:
        return float("nan")


def as_points(expected: list[ExpectedPoint]) -> np.ndarray:
    return np.array([[as_number(field) for field in point.fields] for point in expected])


def test_fafb_points_give_their_segment_and_status() -> None:
    expected = read_expected_points("points")
    with shardreader.open_volume(FAFB_MINI) as volume:
        labels, statuses = volume.lookup(as_points(expected), units="voxel", return_status=True)
        plain = volume.lookup(as_points(expected), units="voxel")
    assert {point.status for point in expected} == {"OK", "EMPTY"}
    assert labels.tolist() == [point.segment for point in expected]
    assert [PointStatus(s).name for s in statuses] == [point.status for point in expected]
    np.testing.assert_array_equal(plain, labels)


def test_fafb_points_with_problems_give_their_status() -> None:
    expected = read_expected_points("points-with-problems")
    points = as_points(expected)
    with shardreader.open_volume(FAFB_MINI) as volume:
        labels, statuses = volume.lookup(points, units="voxel", return_status=True)
        with pytest.raises(shardreader.NotDownloadedError):
            volume.lookup(points, units="voxel")
    assert labels.tolist() == [point.segment for point in expected]
    assert [PointStatus(s).name for s in statuses] == [point.status for point in expected]


@pytest.mark.parametrize("stem", ["points", "points-with-problems"])
def test_points_file_and_its_truth_have_the_same_rows(stem: str) -> None:
    rows = (FAFB_MINI / f"{stem}.csv").read_text().splitlines()
    truth_rows = (FAFB_MINI / f"{stem}-truth.csv").read_text().splitlines()
    assert rows == [row.rsplit(",", 2)[0] for row in truth_rows]


@pytest.mark.parametrize("path", sorted(FIXTURES.glob("*/shardreader-manifest.json")), ids=str)
def test_manifest_lists_exactly_the_shards_that_are_there(path: Path) -> None:
    for key, scale in json.loads(path.read_text())["scales"].items():
        listed = {n: f["size"] for n, f in scale["files"].items() if f["state"] == "whole"}
        present = {p.name: p.stat().st_size for p in (path.parent / key).glob("*.shard")}
        assert listed == present


def test_fixtures_stay_within_their_budget() -> None:
    sizes = [path.stat().st_size for path in FIXTURES.rglob("*") if path.is_file()]
    assert sum(sizes) < BUDGET


def test_every_fixture_is_in_the_readme() -> None:
    readme = (FIXTURES / "README.md").read_text()
    unnamed = [n for n in (*small_volume_names(), FAFB_MINI.name) if f"`{n}`" not in readme]
    assert unnamed == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["uint32", "two-scales", "every-width", "mostly-background"])
def test_script_makes_the_same_voxels_again(name: str, tmp_path: Path) -> None:
    command = [sys.executable, FIXTURES / "make_fixtures.py", "--into", tmp_path, name]
    subprocess.run(command, check=True, capture_output=True)
    for index, key in enumerate(scale_keys(name)):
        again = open_with_tensorstore(tmp_path / name, index).read().result()
        np.testing.assert_array_equal(again, load_truth(name, key).labels)
