"""A real segmentation with known truth; skipped where it is absent."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from chunk_status_truth import fafb_status
from pinky40 import BOXES, PINKY, TRUTH, box_of

from shardreader import Box, NotDownloadedError, PointStatus, Volume, open_volume

pytestmark = pytest.mark.skipif(
    not (PINKY / "truth.json").exists(), reason=f"no real data at {PINKY}"
)


@pytest.fixture(scope="module")
def volume() -> Iterator[Volume]:
    with open_volume(PINKY / "segmentation", missing="zero") as volume:
        yield volume


@pytest.fixture(scope="module")
def strict() -> Iterator[Volume]:
    with open_volume(PINKY / "segmentation") as volume:
        yield volume


SHA256 = "sha256_of_F_order_little_endian_uint64"
SLAB = 32  # planes of z; the patch as a whole would take 2 GiB
LARGE = 10_000_000  # voxels


def digest(voxels: Any) -> str:
    return hashlib.sha256(voxels.astype("<u8", copy=False).tobytes(order="F")).hexdigest()


def z_slabs(box: Box) -> Iterator[Box]:
    (x0, y0, z0), (x1, y1, z1) = box.lower, box.upper
    for z in range(z0, z1, SLAB):
        yield Box((x0, y0, z), (x1, y1, min(z + SLAB, z1)))


@pytest.mark.parametrize("entry", BOXES, ids=lambda entry: str(box_of(entry)))
def test_box(volume: Volume, entry: dict[str, Any]) -> None:
    box = box_of(entry)
    if box.voxels > LARGE:
        check_in_slabs(volume, box, entry)
        return
    voxels = volume.cutout(box)
    assert digest(voxels) == entry[SHA256]
    labels, counts = np.unique(voxels, return_counts=True)
    found = dict(zip(labels.tolist(), counts.tolist(), strict=True))
    assert len(found) == entry["distinct_labels"]
    assert found.get(0, 0) == entry["zero_voxels"]
    assert found[entry["largest_label"]] == entry["largest_label_voxels"]


def check_in_slabs(volume: Volume, box: Box, entry: dict[str, Any]) -> None:
    # The digest implies the counts.
    sha256 = hashlib.sha256()
    for slab in z_slabs(box):
        sha256.update(volume.cutout(slab).T.reshape(-1).data)
    assert sha256.hexdigest() == entry[SHA256]


@pytest.mark.parametrize("entry", BOXES, ids=lambda entry: str(box_of(entry)))
def test_box_in_c_order_and_reversed(volume: Volume, entry: dict[str, Any]) -> None:
    box = box_of(entry)
    if box.voxels > LARGE:
        pytest.skip("the small ones will do")
    out = np.zeros(box.shape, np.uint64)[::-1, :, ::-1]
    assert digest(volume.cutout(box, out=out)) == entry[SHA256]


@pytest.mark.parametrize("entry", BOXES, ids=lambda entry: str(box_of(entry)))
def test_without_leave_absent_shards_are_no_zeros(strict: Volume, entry: dict[str, Any]) -> None:
    """A box is read if all its shards are there, and never gives zeros for one that is not."""
    box = box_of(entry)
    _, status = strict.stored_chunks(box)
    if (status == PointStatus.NOT_DOWNLOADED).any():
        with pytest.raises(NotDownloadedError, match=r"\.shard"):
            strict.cutout(box)
    elif box.voxels < LARGE:
        digest_here = digest(strict.cutout(box))
        assert digest_here == entry[SHA256]


def test_some_boxes_reach_past_the_patch(strict: Volume) -> None:
    absent = [
        (strict.stored_chunks(box_of(e))[1] == PointStatus.NOT_DOWNLOADED).any() for e in BOXES
    ]
    assert any(absent)
    assert not all(absent)


def test_points(strict: Volume) -> None:
    table = np.loadtxt(PINKY / "points.csv", delimiter=",", skiprows=1, dtype=np.uint64)
    points, segments = table[:, :3].astype(np.int64), table[:, 3]
    np.testing.assert_array_equal(strict.lookup(points, units="voxel"), segments)
    np.testing.assert_array_equal(strict.lookup(table[:, :3], units="voxel"), segments)
    np.testing.assert_array_equal(strict.lookup(points * [8.0, 8, 40] + 3, units="nm"), segments)
    catmaid = points * [2, 2, 1]
    np.testing.assert_array_equal(strict.lookup(catmaid, resolution=(4, 4, 40)), segments)
    for point in points[::500]:
        label = strict.lookup(point, units="voxel")
        assert strict[tuple(point.tolist())] == label


def test_points_agree_with_a_cutout(volume: Volume) -> None:
    origin = np.array(TRUTH["origin"])
    lower, upper = origin + [100, 200, 50], origin + [500, 400, 150]
    voxels = volume.cutout((lower, upper), units="voxel")
    points = np.random.default_rng(0).integers(lower, upper, size=(200_000, 3))
    labels = volume.lookup(points, units="voxel")
    np.testing.assert_array_equal(labels, voxels[tuple((points - lower).T)])


def test_stored_chunks_around_the_shard_corner(strict: Volume) -> None:
    lower = np.array(TRUTH["origin"]) // [128, 128, 32] - [40, 40, 30]
    cells = Box(tuple(lower.tolist()), tuple((lower + [90, 90, 70]).tolist()))
    box = Box(
        tuple(int(c * n) for c, n in zip(cells.lower, strict.chunk_size, strict=True)),
        tuple(int(c * n) for c, n in zip(cells.upper, strict.chunk_size, strict=True)),
    )
    found, status = strict.stored_chunks(box)
    assert found == cells
    expected = fafb_status(PINKY / "segmentation", cells, PointStatus.NOT_DOWNLOADED)
    np.testing.assert_array_equal(status, expected)
    counts = np.bincount(status.ravel(), minlength=6)
    assert counts[PointStatus.OK] == 8 * 8 * 8
    assert counts[PointStatus.EMPTY]
    assert counts[PointStatus.NOT_DOWNLOADED]
