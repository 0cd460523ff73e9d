"""Every chunk of a `TinyVolume`, read in three ways."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from shard_builder import TinyVolume, block_label

from shardreader import Box, open_volume
from shardreader.errors import (
    PointStatus,
    ShardError,
    ShardReaderError,
)

EMPTY, ABSENT, CORRUPT = PointStatus.EMPTY, PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT


def chunk_box(tiny: TinyVolume, chunk_id: int) -> Box:
    lower = tiny.lower(chunk_id)
    x, y, z = (a + n for a, n in zip(lower, tiny.chunk_shape, strict=True))
    return Box(lower, (x, y, z))


def check(
    tiny: TinyVolume,
    bad: Iterable[int] = (),
    status: PointStatus = CORRUPT,
    error: type[ShardReaderError] = ShardError,
    *,
    in_index: bool = True,
    missing: str = "error",
) -> dict[int, ShardReaderError]:
    """Read every chunk in three ways: right outside `bad`; with this status, 0 and error in it.

    `in_index`: whether `stored_chunks`, which reads no chunk, already says so.
    Returns what the cutouts raised, by chunk id.
    """
    bad = set(bad)
    good_labels = np.array([0 if i in bad else block_label(i, 0) for i in range(32)], np.uint64)
    good_status = np.array([status if i in bad else PointStatus.OK for i in range(32)], np.uint8)
    points = [tiny.lower(i) for i in range(32)]
    with open_volume(tiny.path, threads=1, missing=missing) as vol:
        labels, found = vol.lookup(points, units="voxel", return_status=True)
        np.testing.assert_array_equal(found, good_status)
        np.testing.assert_array_equal(labels, good_labels)
        _, stored = vol.stored_chunks(vol.bounds)
        by_id = [int(stored[tiny.cell(i)]) for i in range(32)]
        assert by_id == (list(good_status) if in_index else [PointStatus.OK] * 32)
    with open_volume(tiny.path, threads=1) as vol:
        if not bad or status == EMPTY or (status == ABSENT and missing == "zero"):
            return _check_cutouts(tiny, bad, missing)
        raised = {}
        for chunk_id in range(32):
            box = chunk_box(tiny, chunk_id)
            if chunk_id not in bad:
                np.testing.assert_array_equal(vol.cutout(box), tiny.voxels(chunk_id))
                continue
            with pytest.raises(error) as info:
                vol.cutout(box)
            assert type(info.value) is error
            raised[chunk_id] = info.value
        with pytest.raises(error) as info:
            vol.lookup(points, units="voxel")
        np.testing.assert_array_equal(info.value.labels, good_labels)
        np.testing.assert_array_equal(info.value.status, good_status)
    if status == CORRUPT:
        with open_volume(tiny.path, threads=1, missing="zero") as vol, pytest.raises(error):
            vol.cutout(vol.bounds)  # "zero" forgives no damage
    return raised


def _check_cutouts(tiny: TinyVolume, zeros: set[int], missing: str) -> dict[int, ShardReaderError]:
    with open_volume(tiny.path, missing=missing) as vol:
        whole = vol.cutout(vol.bounds)
        labels = vol.lookup([tiny.lower(i) for i in range(32)], units="voxel")
    for chunk_id in range(32):
        part = tuple(map(slice, *(vars(chunk_box(tiny, chunk_id))[k] for k in ("lower", "upper"))))
        expected = tiny.voxels(chunk_id) * np.uint64(chunk_id not in zeros)
        np.testing.assert_array_equal(whole[part], expected)
        assert labels[chunk_id] == expected[0, 0, 0]
    return {}


FIRST_MINISHARD = range(4)


FIRST_SHARD = range(16)


def assert_says(error: ShardReaderError, *parts: str) -> None:
    """A message has all that the contract asks for, and these parts."""
    for part in (*parts, "expected", "found", "copy"):
        assert part in str(error)
