"""The same calls on cloud-volume and on CloudVolumeLike."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from fixture_truth import FIXTURES

import shardreader
from shardreader.compat import Bbox, CloudVolumeLike

pytestmark = pytest.mark.slow

TWO_SCALES = FIXTURES / "two-scales"


def opened(name: str) -> CloudVolumeLike:
    return CloudVolumeLike(shardreader.open_volume(FIXTURES / name))


VOLUMES = [
    ("two-scales", 0),
    ("two-scales", 1),
    ("negative-offset", 0),
    ("mostly-background", 0),
    ("primes", 0),
    ("raw-channels", 0),
    ("uint32", 0),
    ("unsharded", 0),
    ("unsharded-cloud-volume-gzip", 0),
]

# Where cloud-volume 12.15.2 itself ends in an error that is not about the request.
NOT_THEIRS = {
    ("two-scales", 1, "lists"): "takes the coordinates for those of scale 0",
    ("mostly-background", 0, "unique"): "stumbles over a chunk that is not stored",
    ("raw-channels", 0, "integers"): "gives one voxel of several channels a wrong shape",
    ("raw-channels", 0, "lists"): "gives one voxel of several channels a wrong shape",
}

# Each gives one answer; `at` is the low corner of the volume, `box` makes a Bbox of either library.
CALLS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "all": lambda v, at, box: v[:],
    "ellipsis": lambda v, at, box: v[...],
    "bounds": lambda v, at, box: v[v.bounds],
    "box": lambda v, at, box: v[at[0] : at[0] + 5, at[1] + 1 : at[1] + 4, at[2] : at[2] + 3],
    "integers": lambda v, at, box: v[at[0] + 2, at[1] + 2, at[2] + 2],
    "two axes": lambda v, at, box: v[at[0] + 2, at[1] : at[1] + 2],
    "channel": lambda v, at, box: v[..., 0],
    "steps": lambda v, at, box: v[::2, ::3, at[2] : at[2] + 4 : 3],
    "lists": lambda v, at, box: v[[at[0], at[0] + 3], [at[1], at[1] + 1], [at[2] + 1, at[2]]],
    "download": lambda v, at, box: v.download(box(at, at + 4)),
    "download slices": lambda v, at, box: v.download(box(at, at + 4).to_slices()),
    "download six": lambda v, at, box: v.download([*at.tolist(), *(at + 3).tolist()]),
    "download mip": lambda v, at, box: v.download(box(at, at + 4), mip=v.mip),
    "download resolution": lambda v, at, box: v.download(
        box(at, at + 4), mip=tuple(v.resolution.tolist())
    ),
    "download parallel": lambda v, at, box: v.download(box(at, at + 4), parallel=1),
    "label": lambda v, at, box: v.download(box(at, at + 5), label=first_label(v, box(at, at + 5))),
    "segids": lambda v, at, box: v.download(
        box(at, at + 5), segids=[first_label(v, box(at, at + 5))]
    ),
    "zeros": lambda v, at, box: v.download(box(at, at + 5), segids=[77], preserve_zeros=True),
    "other resolution": lambda v, at, box: v.download(
        box(at * 2, at * 2 + 6), coord_resolution=tuple((v.resolution / 2).tolist())
    ),
    "unique": lambda v, at, box: v.unique(v.bounds),
    "unique part": lambda v, at, box: v.unique(box(at + 1, at + 5)),
    "unique slices": lambda v, at, box: v.unique(box(at + 1, at + 5).to_slices()),
    "shape": lambda v, at, box: v.shape,
    "ndim": lambda v, at, box: v.ndim,
    "volume_size": lambda v, at, box: v.volume_size,
    "resolution": lambda v, at, box: v.resolution,
    "resolution.z": lambda v, at, box: v.resolution.z,
    "voxel_offset": lambda v, at, box: v.voxel_offset,
    "chunk_size": lambda v, at, box: v.chunk_size,
    "underlying": lambda v, at, box: v.underlying,
    "bounds.minpt": lambda v, at, box: v.bounds.minpt,
    "bounds.size3": lambda v, at, box: v.bounds.size3(),
    "bounds.volume": lambda v, at, box: v.bounds.volume(),
    "bounds.center": lambda v, at, box: v.bounds.center(),
    "bounds.list": lambda v, at, box: v.bounds.to_list(),
    "bounds.slices": lambda v, at, box: v.bounds.to_slices(),
    "contains": lambda v, at, box: v.bounds.contains(v.bounds.maxpt),
    "info": lambda v, at, box: v.info,
    "scale": lambda v, at, box: v.scale,
    "mip": lambda v, at, box: v.mip,
    "key": lambda v, at, box: v.key,
    "dtype": lambda v, at, box: v.dtype,
    "data_type": lambda v, at, box: v.data_type,
    "layer_type": lambda v, at, box: v.layer_type,
    "encoding": lambda v, at, box: v.encoding,
    "num_channels": lambda v, at, box: v.num_channels,
    "point": lambda v, at, box: v.download_point(middle(v), size=4, mip=v.mip),
    "flat": lambda v, at, box: v.download_point(middle(v), size=(5, 4, 1), mip=v.mip),
    "fine point": lambda v, at, box: v.download_point(
        middle(v) * 2, size=2, mip=v.mip, coord_resolution=tuple((mip_0(v) / 2).tolist())
    ),
}
SCATTERED: dict[str, Callable[[Any, Any, Any], Any]] = {
    "points": lambda v, at, box: v.scattered_points([middle(v), middle(v) + 1, middle(v)]),
    "one point": lambda v, at, box: v.scattered_points(middle(v).tolist()),
    "fine points": lambda v, at, box: v.scattered_points(
        [middle(v) * 2], coord_resolution=tuple((mip_0(v) / 2).tolist())
    ),
}


def mip_0(v: Any) -> np.ndarray:
    return np.array(v.info["scales"][0]["resolution"])


def first_label(v: Any, where: Any) -> int:
    return int(v[where].flat[0])


def middle(v: Any) -> np.ndarray:
    """The middle of the volume in voxels of scale 0."""
    ratio = np.asarray(v.resolution) / mip_0(v)
    return np.asarray((np.asarray(v.bounds.center()) * ratio) // 1, dtype=np.int64)


@pytest.fixture(scope="module")
def cloudvolume() -> Any:
    return pytest.importorskip("cloudvolume")


@pytest.fixture(scope="module", params=VOLUMES, ids=lambda row: f"{row[0]}-{row[1]}")
def both(request: pytest.FixtureRequest, cloudvolume: Any) -> Iterator[tuple[Any, CloudVolumeLike]]:
    """The same scale of the same volume, opened by cloud-volume and by us."""
    name, scale = request.param
    theirs = cloudvolume.CloudVolume(
        f"precomputed://file://{FIXTURES / name}", mip=scale, progress=False, fill_missing=True
    )
    with shardreader.open_volume(FIXTURES / name, scale) as volume:
        yield theirs, CloudVolumeLike(volume)


def assert_same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, np.ndarray):
        assert isinstance(ours, np.ndarray)
        assert (ours.shape, ours.ndim) == (theirs.shape, theirs.ndim)
        if theirs.ndim == 4:
            assert ours.dtype == theirs.dtype
            assert ours.flags.f_contiguous == theirs.flags.f_contiguous
            assert ours.flags.writeable
        else:
            assert ours.dtype.kind == theirs.dtype.kind
        assert np.array_equal(ours, theirs)
    elif isinstance(theirs, np.generic):
        assert ours == theirs
        assert np.asarray(ours).dtype.kind == theirs.dtype.kind
    else:
        assert type(ours) is type(theirs)
        assert ours == theirs
    if isinstance(theirs, set):
        assert {type(item) for item in ours} == {type(item) for item in theirs}
    if isinstance(theirs, dict):
        assert {type(item) for item in ours.values()} == {type(item) for item in theirs.values()}


@pytest.mark.parametrize("call", CALLS)
def test_the_same_call_gives_the_same(
    both: tuple[Any, CloudVolumeLike], call: str, cloudvolume: Any
) -> None:
    theirs, ours = both
    if reason := NOT_THEIRS.get((theirs.layer, theirs.mip, call)):
        pytest.skip(f"cloud-volume {reason}")
    at = np.asarray(theirs.bounds.minpt, dtype=np.int64)
    expected = CALLS[call](theirs, at, cloudvolume.Bbox)
    assert_same(CALLS[call](ours, at, Bbox), expected)
    assert_same(CALLS[call](ours, at, cloudvolume.Bbox), expected)


@pytest.mark.parametrize("call", SCATTERED)
def test_the_same_points_give_the_same(both: tuple[Any, CloudVolumeLike], call: str) -> None:
    theirs, ours = both
    if ours.num_channels > 1:
        pytest.skip("refused: cloud-volume gives one channel of several")
    at = np.asarray(theirs.bounds.minpt)
    assert_same(SCATTERED[call](ours, at, Bbox), SCATTERED[call](theirs, at, Bbox))


def test_the_same_chunks_exist(both: tuple[Any, CloudVolumeLike]) -> None:
    theirs, ours = both
    expected = theirs.exists(theirs.bounds)
    found = ours.exists(theirs.bounds)
    assert found.keys() == expected.keys()
    if "sharding" not in ours.scale:
        assert found == expected
    assert {type(value) for value in found.values()} == {bool}


def test_their_boxes_and_ours_are_equal(both: tuple[Any, CloudVolumeLike]) -> None:
    theirs, ours = both
    assert ours.bounds == theirs.bounds
    assert theirs.bounds == ours.bounds


def test_a_bbox_in_nm_is_the_same_box(cloudvolume: Any) -> None:
    theirs = cloudvolume.CloudVolume(f"precomputed://file://{TWO_SCALES}", progress=False)
    for upper in ((112, 96, 240), (117, 101, 279)):
        box = cloudvolume.Bbox((80, 64, 160), upper, unit="nm")
        assert_same(opened("two-scales").download(box), theirs.download(box))


@pytest.mark.parametrize("method", ["download", "download_point", "scattered_points", "unique"])
def test_the_arguments_are_those_of_cloud_volume(method: str, cloudvolume: Any) -> None:
    theirs = cloudvolume.CloudVolume(f"precomputed://file://{TWO_SCALES}", progress=False)
    expected = inspect.signature(getattr(theirs, method)).parameters
    found = inspect.signature(getattr(opened("two-scales"), method)).parameters
    assert list(found) == [name for name in expected if name != "kwargs"]
    assert [p.default for p in found.values()] == [expected[name].default for name in found]
