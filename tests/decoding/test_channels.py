"""Volumes of several channels: the last axis of what is read, and damage in one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from shardreader import Box, ChunkError, OutOfBoundsError, PointStatus, Volume, open_volume

SIZE = (13, 11, 7)
OFFSET = (-5, 8, 1 << 20)
UPPER = tuple(o + n for o, n in zip(OFFSET, SIZE, strict=True))
FORMS = [
    ("compressed_segmentation", "uint64", 2, False),
    ("compressed_segmentation", "uint32", 3, True),
    ("compressed_segmentation", "uint64", 4, True),
    ("raw", "uint8", 3, False),
    ("raw", "float32", 2, True),
    ("raw", "uint16", 4, True),
]


def write(path: Path, encoding: str, data_type: str, channels: int, is_sharded: bool) -> np.ndarray:
    rng = np.random.default_rng(0)
    voxels = rng.integers(1, 200, (*SIZE, channels)).astype(data_type)
    # A channel of few labels, one of many.
    voxels[..., 0] = 1 + (np.arange(SIZE[0]) // 4).reshape(-1, 1, 1)
    scale: dict[str, Any] = {
        "size": SIZE,
        "chunk_size": [8, 8, 4],
        "voxel_offset": OFFSET,
        "resolution": [8, 8, 40],
        "encoding": encoding,
        "key": "k",
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [4, 4, 2]
    if is_sharded:
        scale["sharding"] = {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "identity",
            "preshift_bits": 0,
            "minishard_bits": 1,
            "shard_bits": 1,
            "minishard_index_encoding": "gzip",
            "data_encoding": "gzip",
        }
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{path}/"},
            "multiscale_metadata": {
                "type": "image",
                "data_type": data_type,
                "num_channels": channels,
            },
            "scale_metadata": scale,
        },
        create=True,
    ).result()
    store[...] = voxels
    np.testing.assert_array_equal(store.read().result(), voxels)
    return voxels


@pytest.fixture(params=FORMS, ids=lambda form: f"{form[0][:4]}-{form[1]}-{form[2]}")
def written(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    return tmp_path, write(tmp_path, *request.param)


@pytest.fixture
def vol(written: tuple[Path, np.ndarray]) -> Any:
    with open_volume(written[0]) as volume:
        yield volume


@pytest.fixture
def voxels(written: tuple[Path, np.ndarray]) -> np.ndarray:
    return written[1]


def test_the_last_axis_is_that_of_the_channels(vol: Volume, voxels: np.ndarray) -> None:
    assert vol.shape == voxels.shape
    whole = vol[...]
    assert whole.dtype == voxels.dtype
    assert whole.flags.f_contiguous
    np.testing.assert_array_equal(whole, voxels)


def test_indexing(vol: Volume, voxels: np.ndarray) -> None:
    x, y, z = OFFSET
    for c in range(voxels.shape[3]):
        np.testing.assert_array_equal(vol[..., c], voxels[..., c])
        np.testing.assert_array_equal(vol[:, :, :, c], voxels[..., c])
        assert vol[x + 3, y + 9, z + 6, c] == voxels[3, 9, 6, c]
    np.testing.assert_array_equal(vol[x + 3, y + 9, z + 6], voxels[3, 9, 6])
    np.testing.assert_array_equal(vol[x + 3 : x + 10, :, z], voxels[3:10, :, 0])
    np.testing.assert_array_equal(vol[..., 0:2], voxels[..., :2])
    np.testing.assert_array_equal(vol[x + 3, ..., 1], voxels[3, ..., 1])
    for bad in (voxels.shape[3], -1):
        with pytest.raises(OutOfBoundsError):
            vol[..., bad]
    with pytest.raises((TypeError, IndexError)):
        vol[x, y, z, 0, 0]


def test_random_boxes(vol: Volume, voxels: np.ndarray) -> None:
    rng = np.random.default_rng(1)
    for _ in range(15):
        corners = np.sort(rng.integers(OFFSET, np.add(UPPER, 1), (2, 3)), axis=0)
        part = tuple(map(slice, *(corners - OFFSET).tolist()))
        box = Box(*map(tuple, corners.tolist()))
        np.testing.assert_array_equal(vol.cutout(box), voxels[part])


@pytest.mark.parametrize("order", ["C", "F", "channels first", "every second", "backwards"])
def test_out(vol: Volume, voxels: np.ndarray, order: str) -> None:
    shape = voxels.shape
    out = {
        "C": lambda: np.zeros(shape, vol.dtype),
        "F": lambda: np.zeros(shape, vol.dtype, order="F"),
        "channels first": lambda: np.moveaxis(np.zeros((shape[3], *shape[:3]), vol.dtype), 0, 3),
        "every second": lambda: np.zeros((*shape[:3], 2 * shape[3]), vol.dtype)[..., ::2],
        "backwards": lambda: np.zeros(shape, vol.dtype)[::-1, :, ::-1, ::-1],
    }[order]()
    assert vol.cutout(vol.bounds, out=out) is out
    np.testing.assert_array_equal(out, voxels)
    with pytest.raises(ValueError, match="shape"):
        vol.cutout(vol.bounds, out=np.zeros(SIZE, vol.dtype))


def test_lookup_gives_all_channels_of_a_point(vol: Volume, voxels: np.ndarray) -> None:
    rng = np.random.default_rng(2)
    points = rng.integers(OFFSET, UPPER, (50, 3))
    expected = voxels[tuple((points - OFFSET).T)]
    labels, status = vol.lookup(points.reshape(5, 10, 3), units="voxel", return_status=True)
    assert labels.dtype == vol.dtype
    np.testing.assert_array_equal(labels, expected.reshape(5, 10, -1))
    assert status.shape == (5, 10)
    np.testing.assert_array_equal(vol.lookup(points[0], units="voxel"), expected[0])
    outside = vol.lookup([points[0], [0, 0, 0]], units="voxel", return_status=True)
    np.testing.assert_array_equal(outside[0][1], np.zeros(voxels.shape[3]))
    assert outside[1].tolist() == [PointStatus.OK, PointStatus.OUT_OF_BOUNDS]
    assert vol.lookup(np.zeros((0, 3)), units="voxel").shape == (0, voxels.shape[3])


@pytest.mark.parametrize("channel", [0, 1, 2])
def test_damage_in_one_channel_fails_its_points_in_all(tmp_path: Path, channel: int) -> None:
    voxels = write(tmp_path, "compressed_segmentation", "uint32", 3, False)
    x, y, z = OFFSET
    first = f"{x}-{x + 8}_{y}-{y + 8}_{z}-{z + 4}"
    words = np.fromfile(tmp_path / "k" / first, "<u4")
    words[words[channel]] |= 0xFFFFFF  # the table of the channel's first block, 4 x 4 x 2 voxels
    words.tofile(tmp_path / "k" / first)
    points = np.array([[x, y, z], [x + 3, y + 3, z + 1], [x + 4, y, z], [x + 8, y, z]])
    with open_volume(tmp_path) as vol:
        labels, status = vol.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [PointStatus.CORRUPT] * 2 + [PointStatus.OK] * 2
        assert not labels[:2].any()
        np.testing.assert_array_equal(labels[2:], voxels[[4, 8], 0, 0])
        for read in (lambda: vol[...], lambda: vol.lookup(points, units="voxel")):
            with pytest.raises(ChunkError, match=rf"{first}.*cell \(0, 0, 0\)"):
                read()
        np.testing.assert_array_equal(vol[x + 4 : x + 13], voxels[4:])


@pytest.mark.parametrize("offset", [0, 2, 1 << 31, 0xFFFFFFFF])
def test_an_offset_of_a_channel_that_leads_nowhere(tmp_path: Path, offset: int) -> None:
    voxels = write(tmp_path, "compressed_segmentation", "uint32", 3, False)
    x, y, z = OFFSET
    file = tmp_path / "k" / f"{x}-{x + 8}_{y}-{y + 8}_{z}-{z + 4}"
    words = np.fromfile(file, "<u4")
    words[1] = offset
    words.tofile(file)
    with open_volume(tmp_path) as vol:
        points = [[x, y, z], [x + 7, y + 7, z + 3], [x + 8, y, z]]
        labels, status = vol.lookup(points, units="voxel", return_status=True)
        assert status[2] == PointStatus.OK
        np.testing.assert_array_equal(labels[2], voxels[8, 0, 0])
        assert status[:2].tolist() == [PointStatus.CORRUPT] * 2
        assert not labels[:2].any()
        with pytest.raises(ChunkError):
            vol[...]
