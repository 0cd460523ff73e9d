"""CloudVolumeLike against the truth of the fixtures, and what it refuses."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, FIXTURES, load_truth, scale_keys

import shardreader
from shardreader.compat import Bbox, CloudVolumeLike, UnsupportedError, Vec
from shardreader.pictures import image_files


def opened(name: str, scale: int = 0) -> CloudVolumeLike:
    return CloudVolumeLike(shardreader.open_volume(FIXTURES / name, scale))


@pytest.fixture(scope="module")
def vol() -> CloudVolumeLike:
    """Voxels (6, 4, 2) to (46, 34, 22) of 8 x 8 x 40 nm, all stored."""
    return opened("two-scales")


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return load_truth("two-scales", "8_8_40").labels


# --- the right voxels


@pytest.mark.parametrize(
    ("index", "part"),
    [
        (np.s_[:], np.s_[:, :, :]),
        (np.s_[...], np.s_[:, :, :]),
        (np.s_[6:10, 4:9, 2:5], np.s_[0:4, 0:5, 0:3]),
        (np.s_[..., 0], np.s_[:, :, :]),
        (np.s_[7], np.s_[1:2]),
        (np.s_[7, 9, 5], np.s_[1:2, 5:6, 3:4]),
        (np.s_[7, 9, 5, 0:1], np.s_[1:2, 5:6, 3:4]),
        (np.s_[6:20:3, 4:14:2, ...], np.s_[0:14:3, 0:10:2]),
        (np.s_[np.int64(7), :, 2.0:4.0], np.s_[1:2, :, 0:2]),
        (Bbox((6, 4, 2), (9, 9, 9)), np.s_[0:3, 0:5, 0:7]),
        (shardreader.Box((6, 4, 2), (9, 9, 9)), np.s_[0:3, 0:5, 0:7]),
    ],
)
def test_indexing_keeps_four_axes(
    vol: CloudVolumeLike, labels: np.ndarray, index: Any, part: Any
) -> None:
    voxels = vol[index]
    assert type(voxels) is np.ndarray
    assert voxels.dtype == labels.dtype
    assert np.array_equal(voxels, labels[part][..., np.newaxis])


@pytest.mark.parametrize(
    "box",
    [
        np.s_[10:14, 8:12, 4:6],
        [10, 8, 4, 14, 12, 6],
        (14, 12, 6, 10, 8, 4),
        Bbox((10, 8, 4), (14, 12, 6)),
        shardreader.Box((10, 8, 4), (14, 12, 6)),
    ],
)
def test_boxes_in_each_form(vol: CloudVolumeLike, labels: np.ndarray, box: Any) -> None:
    voxels = vol.download(box)
    assert voxels.flags.f_contiguous
    assert np.array_equal(voxels[..., 0], labels[4:8, 4:8, 2:4])
    assert vol.unique(box) == set(labels[4:8, 4:8, 2:4].flat)


def test_a_bbox_in_nm_is_floored(vol: CloudVolumeLike, labels: np.ndarray) -> None:
    box = Bbox((80, 64, 160), (115, 103, 259))
    box.unit = "nm"
    assert np.array_equal(vol.download(box)[..., 0], labels[4:8, 4:8, 2:4])


def test_coordinates_of_another_resolution(vol: CloudVolumeLike, labels: np.ndarray) -> None:
    fine = vol.download([20, 16, 4, 28, 24, 6], coord_resolution=(4, 4, 40))
    assert np.array_equal(fine[..., 0], labels[4:8, 4:8, 2:4])
    assert vol.unique([20, 16, 4, 28, 24, 6], coord_resolution=(4, 4, 40)) == set(fine.flat)


def test_masks(vol: CloudVolumeLike, labels: np.ndarray) -> None:
    first, second = np.unique(labels)[[2, 4]].tolist()
    assert np.array_equal(vol.download(vol.bounds, label=first)[..., 0], labels == first)
    kept = vol.download(vol.bounds, segids=[first, second])[..., 0]
    assert np.array_equal(kept, np.where((labels == first) | (labels == second), labels, 0))
    kept = vol.download(vol.bounds, segids=[first], preserve_zeros=True)[..., 0]
    most = np.iinfo(labels.dtype).max
    assert np.array_equal(kept, np.where((labels == first) | (labels == 0), labels, most))


def test_points(vol: CloudVolumeLike, labels: np.ndarray) -> None:
    points = [(7, 5, 3), (20, 30, 20), (7, 5, 3)]
    expected = {(7, 5, 3): labels[1, 1, 1], (20, 30, 20): labels[14, 26, 18]}
    assert vol.scattered_points(points) == expected
    assert vol.scattered_points(np.array(points)) == expected
    fine = [(14.5, 11, 3), (41, 60, 20.9)]
    assert vol.scattered_points(fine, coord_resolution=(4, 4, 40)) == expected
    assert vol.scattered_points((7, 5, 3)) == {(7, 5, 3): labels[1, 1, 1]}
    assert vol.scattered_points([]) == {}
    assert all(type(n) is int for key in vol.scattered_points(points) for n in key)
    xs, ys, zs = np.array(points).T
    assert np.array_equal(vol[xs, ys, zs], labels[xs - 6, ys - 4, zs - 2])
    assert np.array_equal(vol[list(xs), list(ys), list(zs)], labels[xs - 6, ys - 4, zs - 2])


def test_around_a_point(vol: CloudVolumeLike, labels: np.ndarray) -> None:
    around = vol.download_point((20, 20, 10), size=(8, 6, 1))
    assert np.array_equal(around[..., 0], labels[10:18, 13:19, 8:9])
    around = vol.download_point((40, 40, 10), size=np.int64(4), coord_resolution=(4, 4, 40))
    assert np.array_equal(around[..., 0], labels[12:16, 14:18, 6:10])


def test_points_are_of_scale_0(labels: np.ndarray) -> None:
    coarse = opened("two-scales", 1)
    assert coarse.mip == 1
    truth = load_truth("two-scales", scale_keys("two-scales")[1])
    x, y, z = truth.origin
    points = [(2 * x + 5, 2 * y + 7, 2 * z + 9)]
    assert coarse.scattered_points(points) == {(x + 2, y + 3, z + 4): truth.labels[2, 3, 4]}


def test_a_chunk_that_the_shard_does_not_have_is_background() -> None:
    vol = opened("mostly-background")
    truth = load_truth("mostly-background", "8_8_40").labels
    assert np.array_equal(vol[:][..., 0], truth)
    stored = vol.exists(vol.bounds)
    assert sorted(stored.values()) == [False] * 16 + [True] * 2


def test_channels() -> None:
    vol = opened("channels")
    truth = load_truth("channels", "8_8_40").labels
    assert vol.shape == truth.shape
    assert np.array_equal(vol[:], truth)
    assert np.array_equal(vol[..., 1], truth[..., 1:2])
    assert np.array_equal(vol[2:5, :, :, 1:3], truth[2:5, :, :, 1:3])
    assert vol.unique(vol.bounds) == set(truth.flat)
    with pytest.raises(UnsupportedError, match="3 channels"):
        vol.scattered_points([(1, 2, 3)])


def test_unique_holds_a_slab_at_a_time(
    vol: CloudVolumeLike, labels: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_files, "SLAB_BYTES", 40 * 30 * 8 * 9)
    read = []
    whole = shardreader.Volume.cutout

    def cutout(self: shardreader.Volume, box: shardreader.Box) -> Any:
        read.append((box.lower[2], box.upper[2]))
        return whole(self, box)

    monkeypatch.setattr(shardreader.Volume, "cutout", cutout)
    assert vol.unique(vol.bounds) == set(labels.flat)
    assert read == [(2, 10), (10, 18), (18, 22)]
    assert vol.unique([6, 4, 2, 6, 9, 9]) == set()


def test_what_the_volume_is(vol: CloudVolumeLike) -> None:
    assert vol.resolution.z == 40
    assert vol.bounds == Bbox((6, 4, 2), (46, 34, 22))
    assert vol.bounds.size3().tolist() == vol.volume_size.tolist() == [40, 30, 20]
    assert vol.scale["key"] == vol.key == "8_8_40"
    assert vol[vol.bounds.to_slices()].shape == vol.shape
    assert "CloudVolumeLike(<Volume" in repr(vol)


# --- not downloaded, damaged, outside


def test_what_is_not_downloaded_raises() -> None:
    vol = opened("fafb-mini")
    absent = np.s_[20000:20004, 20000:20004, 2000:2002]
    for ask in (
        lambda: vol[absent],
        lambda: vol.download(absent),
        lambda: vol.unique(absent),
        lambda: vol.download_point((20000, 20000, 2000), size=4),
        lambda: vol.scattered_points([(20000, 20000, 2000)]),
        lambda: vol[[20000], [20000], [2000]],
    ):
        with pytest.raises(shardreader.NotDownloadedError):
            ask()
    assert set(vol.exists(absent).values()) == {False}


def test_zeros_where_the_volume_was_opened_for_them() -> None:
    vol = CloudVolumeLike(shardreader.open_volume(FAFB_MINI, missing="zero"))
    assert not vol[20000:20004, 20000:20004, 2000:2002].any()
    assert vol.scattered_points([(20000, 20000, 2000)]) == {(20000, 20000, 2000): 0}


def test_exists_does_not_take_damage_for_an_answer(writable: Callable[[str], Path]) -> None:
    path = writable("one-shard")
    (shard,) = path.glob("*/0.shard")
    shard.write_bytes(bytes(shard.stat().st_size))
    vol = CloudVolumeLike(shardreader.open_volume(path))
    with pytest.raises(shardreader.ShardError, match="shardreader verify"):
        vol.exists(vol.bounds)


@pytest.mark.parametrize(
    "ask",
    [
        lambda vol: vol[5:10, 4:5, 2:3],
        lambda vol: vol[..., 1],
        lambda vol: vol[..., 0:2],
        lambda vol: vol.download([0, 0, 0, 4, 4, 4]),
        lambda vol: vol.download_point((0, 0, 0)),
        lambda vol: vol.scattered_points([(-1, 0, 0)]),
        lambda vol: vol.exists([0, 0, 0, 4, 4, 4]),
        lambda vol: vol.unique(Bbox((6, 4, 2), (47, 5, 3))),
    ],
)
def test_outside(vol: CloudVolumeLike, ask: Callable[[CloudVolumeLike], Any]) -> None:
    with pytest.raises(shardreader.OutOfBoundsError):
        ask(vol)


# --- what it does not do


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda vol: vol.mesh, "no 'mesh'"),
        (lambda vol: vol.download_to_file("x", vol.bounds), "no 'download_to_file'"),
        (lambda vol: vol.download(vol.bounds, mip=1), r"open_volume\(path, 1\)"),
        (lambda vol: vol.unique(vol.bounds, mip=(16, 16, 80)), r"open_volume\(path, \(16"),
        (lambda vol: vol.download(vol.bounds, renumber=True), "renumber=True"),
        (lambda vol: vol.download(vol.bounds, agglomerate=True), "agglomerate=True"),
        (lambda vol: vol.unique(vol.bounds, timestamp=1), "timestamp=1"),
        (lambda vol: setattr(vol, "mip", 1), "scale 0 is open"),
        (lambda vol: vol.__setitem__(0, 1), "only reads"),
    ],
)
def test_unsupported_says_so(
    vol: CloudVolumeLike, ask: Callable[[CloudVolumeLike], Any], words: str
) -> None:
    with pytest.raises(UnsupportedError, match=words) as caught:
        ask(vol)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("ask", "error", "words"),
    [
        (lambda vol: vol[6:6, 4:5, 2:3], ValueError, "no voxel"),
        (lambda vol: vol[9:6, 4:5, 2:3], ValueError, "no voxel"),
        (lambda vol: vol[6:8:0], ValueError, "step of x"),
        (lambda vol: vol[::-1], ValueError, "step of x"),
        (lambda vol: vol[6.5, 4, 2], TypeError, "x must be a whole number"),
        (lambda vol: vol[True, 4, 2], TypeError, "x must be a whole number"),
        (lambda vol: vol[:, :, :, :, :], TypeError, "four axes"),
        (lambda vol: vol[..., ...], TypeError, "four axes"),
        (lambda vol: vol.download(np.s_[6:9:2, :, :]), ValueError, "no steps"),
        (lambda vol: vol.download("6-9_4-9_2-5"), TypeError, "six integers"),
        (lambda vol: vol.download([6, 4, 2]), TypeError, "six integers"),
        (lambda vol: vol.download(Bbox((6.5, 4, 2), (9, 9, 9))), TypeError, "whole number"),
        (lambda vol: vol.download(Bbox((6, 4), (9, 9))), TypeError, "three axes"),
        (lambda vol: vol.download(np.s_[:, :, :], coord_resolution=(4, 4, 40)), ValueError, "both"),
        (lambda vol: vol.download(vol.bounds, coord_resolution=(4, 0, 40)), ValueError, "above 0"),
        (lambda vol: vol.download(vol.bounds, label=-1), ValueError, "labels of uint64"),
        (lambda vol: vol.download(vol.bounds, label=2**64), ValueError, "labels of uint64"),
        (lambda vol: vol.download(vol.bounds, label=1.0), TypeError, "integer"),
        (lambda vol: vol.scattered_points([(np.nan, 5, 5)]), ValueError, "not finite"),
        (lambda vol: list(vol), TypeError, "not iterated"),
        (lambda vol: np.asarray(vol), TypeError, "by accident"),
        (lambda vol: vol.download_point((20, 20, 10), size=2.5), TypeError, "integer"),
        (lambda vol: CloudVolumeLike("path"), TypeError, r"shardreader.open_volume\(path\)"),
    ],
)
def test_refusals(
    vol: CloudVolumeLike,
    ask: Callable[[CloudVolumeLike], Any],
    error: type[Exception],
    words: str,
) -> None:
    with pytest.raises(error, match=words):
        ask(vol)


def test_a_bbox_in_another_unit(vol: CloudVolumeLike) -> None:
    box = Bbox((6, 4, 2), (9, 9, 9))
    box.unit = "um"
    with pytest.raises(UnsupportedError, match="'um'"):
        vol.download(box)


def test_names_of_too_many_chunks() -> None:
    vol = CloudVolumeLike(shardreader.open_volume(FAFB_MINI, missing="zero"))
    with pytest.raises(ValueError, match="112,561,488 chunks"):
        vol.exists(vol.bounds)


def test_copies_and_pickles(vol: CloudVolumeLike) -> None:
    for other in (copy.deepcopy(vol), pickle.loads(pickle.dumps(vol))):
        other.mip = 0
        assert np.array_equal(other[:], vol[:])
    assert not hasattr(vol, "mesh")


def test_vec_and_bbox() -> None:
    assert (Vec(8, 8, 40) * 2).tolist() == [16, 16, 80]
    assert Vec(1, 2.5, 3).dtype == np.float64
    box = Bbox((0, 0, 0), (4, 6, 2))
    assert (box.volume(), box.to_list(), box.ndim) == (48, [0, 0, 0, 4, 6, 2], 3)
    assert box.center().tolist() == [2, 3, 1]
    assert box.contains((4, 6, 2))
    assert not box.contains((5, 6, 2))
    assert box.clone() == box
    assert len({box, box.clone()}) == 1
    assert box != (0, 0, 0)
