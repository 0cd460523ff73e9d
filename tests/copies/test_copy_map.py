"""Which shards are here, by place; joining places to boxes; the map as a picture."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli import run_here
from fixture_truth import FAFB_MINI, FIXTURES
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image
from shard_builder import TinyVolume

from shardreader import Box, ReadError
from shardreader.copies.copy_map import CopyMap, ShardState, read_copy_map
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.format.grid import merged_boxes
from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest
from shardreader.pictures.copy_picture import copy_pixels
from shardreader.storage.documents import read_volume_files

masks = hnp.arrays(np.bool_, hnp.array_shapes(min_dims=3, max_dims=3, min_side=0, max_side=7))


@settings(max_examples=50)
@given(masks)
def test_merged_boxes_hold_each_cell_once(mask: NDArray[np.bool_]) -> None:
    times = np.zeros(mask.shape, np.int64)
    for box in merged_boxes(mask):
        assert not box.is_empty
        times[tuple(slice(a, b) for a, b in zip(box.lower, box.upper, strict=True))] += 1
    np.testing.assert_array_equal(times, mask)


@settings(max_examples=20)
@given(st.tuples(*[st.integers(1, 9)] * 6))
def test_a_box_of_cells_is_one_box(numbers: tuple[int, ...]) -> None:
    lower, shape = numbers[:3], numbers[3:]
    upper = tuple(a + n for a, n in zip(lower, shape, strict=True))
    mask = np.zeros([b + 2 for b in upper], np.bool_)
    mask[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))] = True
    assert merged_boxes(mask) == [Box(lower, upper)]  # type: ignore[arg-type]


def found_in(path: Path) -> CopyMap:
    found = read_copy_map(read_volume_files(path, None, None))
    assert found is not None
    return found


def test_states_of_a_copy() -> None:
    found = found_in(FAFB_MINI)
    assert {state: found.count(state) for state in ShardState} == {
        ShardState.HERE: 9,
        ShardState.SOURCE_HAS_NONE: 3,
        ShardState.NOT_DOWNLOADED: 0,
        ShardState.UNKNOWN: 3677,
        ShardState.PARTIAL: 0,
        ShardState.UNREADABLE: 0,
    }
    here = dict(found.shards(ShardState.HERE))
    assert here["02fa.shard"] == Box((57344, 28672, 2048), (61440, 32768, 3072))
    assert here["1b68.shard"] == Box((122880, 65536, 6144), (124416, 67072, 7063))
    # 2 x 2 x 2 around a corner, and the last of all.
    assert found.boxes(ShardState.HERE) == [
        Box((57344, 28672, 2048), (65536, 36864, 4096)),
        here["1b68.shard"],
    ]
    unknown = found.boxes(ShardState.UNKNOWN)
    assert sum(box.voxels for box in unknown) == found.files.scale.grid.bounds.voxels - sum(
        box.voxels
        for state in (ShardState.HERE, ShardState.SOURCE_HAS_NONE)
        for _, box in found.shards(state)
    )
    assert len(unknown) < 30


def test_what_the_manifest_says(tiny: TinyVolume) -> None:
    tiny.write()
    tiny.shard_path(1).unlink()
    for files, unlisted, expected in (
        ({"1.shard": FileRecord("not_fetched")}, "none", ShardState.NOT_DOWNLOADED),
        ({}, "none", ShardState.SOURCE_HAS_NONE),
        ({}, "unknown", ShardState.UNKNOWN),
        ({"1.shard": FileRecord("none")}, "unknown", ShardState.SOURCE_HAS_NONE),
    ):
        scale = ScaleManifest(unlisted, files)
        manifest = Manifest("2026-11-22T00:00:00Z", None, "listing", {tiny.key: scale})
        (tiny.path / MANIFEST_NAME).write_bytes(manifest.to_json())
        found = found_in(tiny.path)
        assert found.states.ravel().tolist() == [ShardState.HERE, expected]


def test_partial_shards_and_pairs(tiny: TinyVolume) -> None:
    ids = np.array([0, 1], np.uint64)
    tiny.shards[0].lead = encode_coverage(Coverage.of_ids(ids, generation=None))
    tiny.write()
    whole = tiny.shard_path(1)
    data = whole.read_bytes()
    whole.with_suffix(".index").write_bytes(data[:64])
    whole.with_suffix(".data").write_bytes(data[64:])
    whole.unlink()
    assert found_in(tiny.path).states.ravel().tolist() == [ShardState.PARTIAL, ShardState.HERE]
    whole.with_suffix(".data").unlink()
    assert found_in(tiny.path).states.ravel().tolist() == [ShardState.PARTIAL, ShardState.UNKNOWN]


def test_what_has_no_map() -> None:
    for name in ("murmurhash", "unsharded-channels"):
        assert read_copy_map(read_volume_files(FIXTURES / name, None, None)) is None


def test_a_directory_that_cannot_be_listed(tiny: TinyVolume) -> None:
    tiny.write()
    files = read_volume_files(tiny.path, None, None)
    for path in (tiny.shard_path(0), tiny.shard_path(1)):
        path.unlink()
    (tiny.path / tiny.key).rmdir()
    found = read_copy_map(files)
    assert found is not None
    assert found.count(ShardState.UNKNOWN) == 2
    (tiny.path / tiny.key).write_text("no directory")
    with pytest.raises(ReadError, match="cannot list it"):
        read_copy_map(files)
    (tiny.path / tiny.key).unlink()
    (tiny.path / "info").unlink()
    # A drive that is gone is not a copy without shards.
    with pytest.raises(ReadError, match="not there"):
        read_copy_map(files)


def test_the_picture(writable: Callable[[str], Path], tmp_path: Path) -> None:
    found = found_in(FAFB_MINI)
    pixels = copy_pixels(found)
    colors, counts = np.unique(pixels.reshape(-1, 3), axis=0, return_counts=True)
    green = {tuple(color): count for color, count in zip(colors.tolist(), counts, strict=True)}
    side = 7
    assert green[(47, 160, 110)] == 9 * (side - 1) ** 2
    output = tmp_path / "map.png"
    done = run_here("picture", FAFB_MINI, "--map", "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    image = np.array(Image.open(output))
    np.testing.assert_array_equal(image[: len(pixels), : pixels.shape[1]], pixels)
    copy = writable("fafb-mini")
    (copy / "8.0x8.0x40.0" / "02fa.shard").unlink()
    run_here("picture", copy, "--map", "-o", output)
    assert (np.array(Image.open(output))[: len(pixels), : pixels.shape[1]] != pixels).any()
