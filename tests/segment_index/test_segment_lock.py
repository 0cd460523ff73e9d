"""One build at a time in a directory, and look-ups that it does not concern."""

from __future__ import annotations

import pytest
from segment_truth import built
from shard_builder import TinyVolume, block_label

import shardreader
from shardreader import SegmentIndexError
from shardreader.segment_index.build_lock import only_build

INDEX = "shardreader-index/tiny"


def test_a_look_up_neither_waits_for_a_build_nor_writes(tiny: TinyVolume) -> None:
    built(tiny.write().path)
    folder = tiny.path / INDEX
    (folder / "building.lock").unlink()
    before = {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    with shardreader.open_volume(tiny.path) as volume:
        assert volume.segment(block_label(3, 1)).voxel_count == 512
        assert len(volume.segments_in(volume.bounds).labels) == 128
    assert before == {path: path.stat().st_mtime_ns for path in [folder, *folder.rglob("*")]}
    with only_build(str(folder)), shardreader.open_volume(tiny.path) as volume:
        assert volume.segment(block_label(3, 1)).voxel_count == 512
        with pytest.raises(SegmentIndexError, match="another build"):
            shardreader.build_index(tiny.path)
    built(tiny.path)


def test_a_drive_that_cannot_lock(tiny: TinyVolume) -> None:
    folder = tiny.write().path / INDEX
    (folder / "building.lock").mkdir(parents=True)
    with pytest.raises(SegmentIndexError, match=r"building.lock: cannot be locked .*--out"):
        shardreader.build_index(tiny.path)
