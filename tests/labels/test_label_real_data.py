"""Label queries on a real segmentation, against its truth; skipped where it is absent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from pinky40 import BOXES, PINKY, TRUTH, box_of

from shardreader import Box, SnapStatus, Volume, open_volume
from shardreader.decoding.cseg.tally import LabelTally

pytestmark = pytest.mark.skipif(
    not (PINKY / "truth.json").exists(), reason=f"no real data at {PINKY}"
)


@pytest.fixture(scope="module")
def volume() -> Iterator[Volume]:
    with open_volume(PINKY / "segmentation", missing="zero") as volume:
        yield volume


@pytest.mark.parametrize("entry", BOXES, ids=lambda entry: str(box_of(entry)))
def test_counts(volume: Volume, entry: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def decoded(*_: Any) -> None:
        raise AssertionError("a voxel was decoded")

    monkeypatch.setattr(LabelTally, "add_voxels", decoded)
    box = box_of(entry)
    labels, counts = volume.label_counts(box)
    found = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert len(labels) == entry["distinct_labels"]
    assert found.get(0, 0) == entry["zero_voxels"]
    assert found[entry["largest_label"]] == max(counts) == entry["largest_label_voxels"]
    assert sum(counts) == box.voxels
    np.testing.assert_array_equal(volume.labels(box), labels)
    corners = volume.bounding_boxes(box)[1]
    assert (corners[:, 0] >= box.lower).all()
    assert (corners[:, 1] <= box.upper).all()
    assert ((corners[:, 1] - corners[:, 0]).prod(axis=1) >= counts).all()


@pytest.mark.parametrize("entry", BOXES, ids=lambda entry: str(box_of(entry)))
def test_against_numpy(volume: Volume, entry: dict[str, Any]) -> None:
    """A part of each box, off the grid of chunks and blocks."""
    whole = box_of(entry)
    rng = np.random.default_rng(whole.voxels)
    shape = np.minimum(whole.shape, (150, 90, 45))
    lower = rng.integers(whole.lower, np.array(whole.upper) - shape + 1)
    box = Box(lower.tolist(), (lower + shape).tolist())
    voxels = volume.cutout(box)
    labels, inverse, counts = np.unique(voxels, return_inverse=True, return_counts=True)
    found = volume.label_counts(box)
    np.testing.assert_array_equal(found[0], labels)
    np.testing.assert_array_equal(found[1], counts)
    found, boxes = volume.bounding_boxes(box)
    for row in range(0, len(found), max(1, len(found) // 8)):
        at = np.argwhere(voxels == found[row]) + lower
        assert boxes[row].tolist() == [at.min(axis=0).tolist(), (at.max(axis=0) + 1).tolist()]
    np.testing.assert_array_equal(volume.mask(box, labels[::2]), inverse.reshape(shape) % 2 == 0)
    numbers, table = volume.cutout(box, renumber=True, dtype="uint32")
    np.testing.assert_array_equal(numbers, inverse.reshape(shape))
    np.testing.assert_array_equal(table, labels)
    values = rng.integers(1 << 60, size=len(labels)).astype(np.uint64)
    mapped = volume.cutout(box, mapping=(labels, values))
    np.testing.assert_array_equal(mapped, values[inverse].reshape(shape))


def test_snap_brings_moved_points_back(volume: Volume) -> None:
    """Points of neurites, moved by some voxels, find a voxel of their segment as near or nearer."""
    table = np.loadtxt(PINKY / "points.csv", delimiter=",", skiprows=1, dtype=np.uint64)[::60]
    points, segments = table[:, :3].astype(np.int64), table[:, 3]
    origin, shape = np.array(TRUTH["origin"]), np.array(TRUTH["shape"])
    rng = np.random.default_rng(1)
    moved = np.clip(points + rng.integers(-6, 7, points.shape), origin, origin + shape - 1)
    away = np.sqrt((((moved - points) * (8, 8, 40)) ** 2).sum(axis=1))
    found = volume.snap(moved, segments, units="voxel", radius_nm=400)
    assert (found.status == SnapStatus.OK).all()
    np.testing.assert_array_equal(volume.lookup(found.voxels, units="voxel"), segments)
    assert (found.distances <= away + 1e-9).all()
    distances = np.sqrt((((found.voxels - moved) * (8, 8, 40)) ** 2).sum(axis=1))
    np.testing.assert_allclose(found.distances, distances)
    same = volume.lookup(moved, units="voxel") == segments
    np.testing.assert_array_equal(found.voxels[same], moved[same])
    far = volume.snap(moved, segments, units="voxel", radius_nm=20)
    np.testing.assert_array_equal(far.status == SnapStatus.OK, found.distances <= 20)
