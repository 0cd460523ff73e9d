"""Label queries: equal to numpy on decoded voxels, for every fixture and random boxes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, load_fafb_patches
from hypothesis import given, settings
from hypothesis import strategies as st
from labelled_fixtures import LABELLED, opened, voxels_of

import shardreader
from shardreader import Box, LabelMap, OutOfBoundsError, Volume, open_volume


def truth_of(voxels: Any, lower: Any) -> tuple[Any, Any, Any]:
    """Labels, counts and boxes by numpy."""
    labels, counts = np.unique(voxels, return_counts=True)
    corners = []
    for label in labels:
        at = np.argwhere(voxels == label) + lower
        corners.append([at.min(axis=0), at.max(axis=0) + 1])
    return labels, counts, np.array(corners, np.int64).reshape(-1, 2, 3)


def drawn_box(data: st.DataObject, bounds: Box) -> Box:
    corners = [
        sorted(data.draw(st.lists(st.integers(a, b), min_size=2, max_size=2)))
        for a, b in zip(bounds.lower, bounds.upper, strict=True)
    ]
    lower, upper = zip(*corners, strict=True)
    return Box(lower, upper)


def part_of(volume: Volume, voxels: Any, box: Box) -> Any:
    return voxels[
        tuple(
            slice(a - o, b - o)
            for a, b, o in zip(box.lower, box.upper, volume.voxel_offset, strict=True)
        )
    ]


def check_counts(volume: Volume, box: Box, voxels: Any, channel: int | None) -> None:
    labels, counts, boxes = truth_of(voxels, box.lower)
    found = volume.labels(box, channel=channel)
    assert found.dtype == volume.dtype
    np.testing.assert_array_equal(found, labels)
    found, sizes = volume.label_counts(box, channel=channel)
    assert (found.dtype, sizes.dtype) == (volume.dtype, np.int64)
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(sizes, counts)
    found, corners = volume.bounding_boxes(box, channel=channel)
    assert corners.dtype == np.int64
    np.testing.assert_array_equal(found, labels)
    np.testing.assert_array_equal(corners, boxes)
    wanted = [int(label) for label in labels[::2] if label >= 0]
    found, corners = volume.bounding_boxes(box, [*wanted, 12345], channel=channel)
    keep = np.array([int(label) in {*wanted, 12345} for label in labels], bool)
    np.testing.assert_array_equal(found, labels[keep])
    np.testing.assert_array_equal(corners, boxes[keep])
    mask = volume.mask(box, wanted, channel=channel)
    assert mask.dtype == np.bool_
    assert mask.flags.f_contiguous
    np.testing.assert_array_equal(mask, np.isin(voxels, labels[::2]) & (voxels >= 0))


@pytest.mark.parametrize("name", LABELLED)
@settings(max_examples=8, deadline=None)
@given(data=st.data())
def test_every_fixture(name: str, data: st.DataObject) -> None:
    volume = opened(name)
    box = drawn_box(data, volume.bounds)
    voxels = part_of(volume, voxels_of(name), box)
    if volume.num_channels == 1:
        check_counts(volume, box, voxels, None)
    else:
        channel = data.draw(st.integers(0, volume.num_channels - 1))
        check_counts(volume, box, voxels[..., channel], channel)


@pytest.mark.parametrize("name", LABELLED)
@settings(max_examples=6, deadline=None)
@given(data=st.data())
def test_labels_become_something_else_on_every_fixture(name: str, data: st.DataObject) -> None:
    volume = opened(name)
    box = drawn_box(data, volume.bounds)
    voxels = part_of(volume, voxels_of(name), box)
    if volume.dtype.kind == "i":
        with pytest.raises(TypeError, match="int"):
            volume.cutout(box, renumber=True)
        return
    numbers, table = volume.cutout(box, renumber=True)
    expected, inverse = np.unique(voxels, return_inverse=True)
    assert (numbers.dtype, table.dtype) == (volume.dtype, volume.dtype)
    np.testing.assert_array_equal(table, expected)
    np.testing.assert_array_equal(numbers, inverse.reshape(voxels.shape))
    keys = expected[::2].astype(np.uint64)
    values = (keys * np.uint64(3) + np.uint64(7)) % np.uint64(251)
    mapped = voxels.astype(np.uint64)
    for key, value in zip(keys, values, strict=True):
        mapped[voxels == key] = value
    found = volume.cutout(box, mapping=(keys, values))
    assert found.dtype == volume.dtype
    np.testing.assert_array_equal(found, mapped)
    found = volume.cutout(box, mapping=LabelMap((keys, values), default=9), dtype=np.uint32)
    assert found.dtype == np.uint32
    np.testing.assert_array_equal(found, np.where(np.isin(voxels, expected[::2]), mapped, 9))


@pytest.mark.parametrize("patch", load_fafb_patches(), ids=["corner", "far"])
@settings(max_examples=10, deadline=None)
@given(data=st.data())
def test_boxes_over_shards(patch: Any, data: st.DataObject) -> None:
    upper = tuple(patch.upper)
    with open_volume(FAFB_MINI) as volume:
        box = drawn_box(data, Box(patch.origin, upper))
        voxels = patch.labels[
            tuple(
                slice(a - o, b - o)
                for a, b, o in zip(box.lower, box.upper, patch.origin, strict=True)
            )
        ]
        check_counts(volume, box, voxels, None)


def test_public_name() -> None:
    assert shardreader.LabelMap is LabelMap


def test_outside() -> None:
    volume = opened("one-shard")
    with pytest.raises(OutOfBoundsError):
        volume.labels(Box((-1, 0, 0), (1, 1, 1)))
