"""Volumes with zstd indices and data: no other program writes them, so they are built by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from shard_builder import TinyVolume

import shardreader
from shardreader.errors import PointStatus

ENCODINGS = ("raw", "gzip", "zstd")


@pytest.mark.parametrize("index_encoding", ENCODINGS)
@pytest.mark.parametrize("data_encoding", ENCODINGS)
def test_every_chunk_is_read(tmp_path: Path, index_encoding: str, data_encoding: str) -> None:
    tiny = TinyVolume(tmp_path, index_encoding=index_encoding, data_encoding=data_encoding).write()
    with shardreader.open_volume(tmp_path) as volume:
        whole = volume[...]
        for chunk_id in range(32):
            lower = tiny.lower(chunk_id)
            upper = [a + n for a, n in zip(lower, tiny.chunk_shape, strict=True)]
            box = tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))
            np.testing.assert_array_equal(whole[box], tiny.voxels(chunk_id))
            assert volume.lookup([lower], units="voxel").tolist() == [int(whole[lower])]


def test_a_damaged_frame_is_a_chunk_error(tmp_path: Path) -> None:
    tiny = TinyVolume(tmp_path, data_encoding="zstd")
    tiny.shards[0].chunks[5] = tiny.shards[0].chunks[5][:-1]
    tiny.write()
    with shardreader.open_volume(tmp_path) as volume:
        with pytest.raises(shardreader.ChunkError, match=r"0\.shard.*chunk 5.*zstd stream"):
            volume[...]
        _, status = volume.lookup([tiny.lower(5)], units="voxel", return_status=True)
    assert status.tolist() == [PointStatus.CORRUPT]


def test_a_damaged_index_is_a_shard_error(tmp_path: Path) -> None:
    tiny = TinyVolume(tmp_path, index_encoding="zstd")
    tiny.shards[1].stored_indices[2] = b"not zstd"
    tiny.write()
    with shardreader.open_volume(tmp_path) as volume:
        with pytest.raises(shardreader.ShardError, match=r"1\.shard.*minishard 2.*zstd stream"):
            volume[...]
