"""snap: equal to a search of all decoded voxels, and its statuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cseg_oracle import Oracle
from cseg_strategies import label_types, seeds, triples
from cseg_words import encoding, written_by_hand
from fixture_truth import FIXTURES
from hypothesis import given, settings
from labelled_fixtures import LABELLED, opened, voxels_of
from volumes import Spec, Written, write_volume

from shardreader import Box, SnapStatus, Volume, open_volume
from shardreader.decoding import cseg
from shardreader.decoding.cseg.nearest import nearest_voxels

NONE = np.iinfo(np.int64).max
OK, NOT_FOUND, NOT_DOWNLOADED, CORRUPT = (
    SnapStatus.OK,
    SnapStatus.NOT_FOUND,
    SnapStatus.NOT_DOWNLOADED,
    SnapStatus.CORRUPT,
)


def nearest_of(voxels: Any, lower: Any, point: Any, label: Any, sizes: Any) -> tuple[Any, float]:
    """The first of the nearest voxels in the order z, y, x, and its squared distance."""
    at = np.argwhere(label == voxels.T)[:, ::-1] + lower
    if len(at) == 0:
        return None, np.inf
    steps = (at - point) * np.array(sizes, float)
    squares = steps[:, 0] ** 2 + steps[:, 1] ** 2 + steps[:, 2] ** 2
    first = int(np.argmin(squares))
    return at[first].tolist(), float(squares[first])


@given(dtype=label_types, seed=seeds, grid=triples(1, 4), block_size=triples(1, 6))
@settings(max_examples=60, deadline=None)
def test_one_chunk_written_by_hand(dtype: Any, seed: int, grid: Any, block_size: Any) -> None:
    """Every bit width, junk in tables and padding; points inside the chunk and outside."""
    rng = np.random.default_rng(seed)
    cell_shape = tuple(g * b - int(rng.integers(b)) for g, b in zip(grid, block_size, strict=True))
    label_words = np.dtype(dtype).itemsize // 4
    words = encoding(
        written_by_hand(rng, int(np.prod(grid)), int(np.prod(block_size)), label_words)
    )
    chunk = (words, 1, 0, cell_shape, block_size, label_words)
    voxels = Oracle(*chunk).box((0, 0, 0), cell_shape)
    sizes = ((8.0, 8.0, 40.0), (3.7, 11.0, 29.3))[seed % 2]
    points = rng.integers(-10, 30, size=(20, 3))
    labels = rng.choice(np.append(np.unique(voxels), 5), 20).astype(np.uint64)
    best, status = np.full((20, 3), NONE), np.full(20, -1)
    limits = rng.choice([np.inf, 2500.0, 64.0, 0.0], 20)
    squares = limits.copy()
    nearest_voxels(*chunk, (100, 0, -7), sizes, points, labels, best, squares, status)
    assert (status == cseg.OK).all()
    for row in range(20):
        point = points[row] + (100, 0, -7)
        voxel, squared = nearest_of(voxels, (100, 0, -7), point, labels[row], sizes)
        if voxel is None or squared > limits[row]:
            assert best[row, 0] == NONE
            assert squares[row] == limits[row]
        else:
            assert (best[row].tolist(), squares[row]) == (voxel, squared)


@pytest.mark.parametrize("name", LABELLED)
def test_every_fixture(name: str) -> None:
    volume = opened(name)
    voxels = voxels_of(name)
    channel = None if volume.num_channels == 1 else volume.num_channels - 1
    if channel is not None:
        voxels = voxels[..., channel]
    rng = np.random.default_rng(len(name))
    lower, upper = np.array(volume.bounds.lower), np.array(volume.bounds.upper)
    points = rng.integers(lower, upper, size=(12, 3))
    present = np.unique(voxels)
    labels = rng.choice(present[present >= 0], 12).astype(np.uint64)
    radius = float(rng.choice([40, 200, 1000]))
    known = volume.stored_chunks(volume.bounds)[1] != NOT_DOWNLOADED
    found = volume.snap(points, labels, units="voxel", radius_nm=radius, channel=channel)
    for row in range(12):
        voxel, squared = nearest_of(voxels, lower, points[row], labels[row], volume.resolution)
        if not known.all() and found.status[row] == NOT_DOWNLOADED:
            continue
        if squared > radius * radius:
            assert found.status[row] == NOT_FOUND
            assert np.isnan(found.distances[row])
        else:
            assert found.status[row] == OK
            assert (found.voxels[row].tolist(), found.distances[row]) == (voxel, np.sqrt(squared))


SPEC = Spec(size=(50, 40, 30), chunk_size=(16, 16, 8), voxel_offset=(-20, 5, 1000))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_volume(tmp_path_factory.mktemp("snap") / "volume", SPEC, seed=4)


@pytest.fixture
def volume(written: Written) -> Any:
    with open_volume(written.path, missing="zero") as volume:
        yield volume


@settings(max_examples=30, deadline=None)
@given(seed=seeds)
def test_across_chunks(written: Written, seed: int) -> None:
    rng = np.random.default_rng(seed)
    lower = np.array(SPEC.voxel_offset)
    points = rng.integers(lower, SPEC.upper, size=(30, 3))
    labels = rng.choice(np.unique(written.labels), 30)
    radius = float(rng.uniform(0, 900))
    with open_volume(written.path, threads=2) as volume:
        found = volume.snap(points, labels, units="voxel", radius_nm=radius)
        assert found.status.max() <= NOT_FOUND
        for row in range(30):
            voxel, squared = nearest_of(
                written.labels, lower, points[row], labels[row], SPEC.resolution
            )
            if squared > radius**2:
                assert found.status[row] == NOT_FOUND
            else:
                assert found.voxels[row].tolist() == voxel
                assert found.distances[row] == np.sqrt(squared)


def test_a_point_on_its_label_stays(written: Written, volume: Volume) -> None:
    points = np.argwhere(np.ones(SPEC.size, bool))[::501] + SPEC.voxel_offset
    labels = written.at(points)
    found = volume.snap(points, labels, units="voxel", radius_nm=0)
    np.testing.assert_array_equal(found.voxels, points)
    assert not found.distances.any()
    moved = volume.snap(points * [8.0, 8, 40] + 3, labels, units="nm", radius_nm=0)
    np.testing.assert_array_equal(moved.voxels, points)


def test_shapes_and_statuses_of_points(volume: Volume) -> None:
    points = np.array([[[-20.0, 5, 1000], [np.nan, 0, 0]], [[500, 5, 1000], [-20, 5, 1000]]])
    found = volume.snap(points, 12345, units="voxel", radius_nm=10)
    assert found.status.tolist() == [[1, 3], [2, 1]]
    assert found.voxels.shape == (2, 2, 3)
    assert not found.voxels.any()
    assert np.isnan(found.distances).all()
    empty = volume.snap(np.zeros((0, 3)), [], units="voxel", radius_nm=10)
    assert (empty.voxels.shape, empty.status.shape) == ((0, 3), (0,))


def test_what_is_hidden_is_a_status_where_it_is_near_enough(tmp_path: Path) -> None:
    """One label 7 in one chunk; the next chunk is missing, then damaged."""
    labels = np.full((32, 16, 8), 3, np.uint64)
    labels[2, 0, 0] = labels[13, 0, 0] = 7
    bits = {"preshift_bits": 0, "minishard_bits": 0, "shard_bits": 1}
    spec = Spec(size=(32, 16, 8), chunk_size=(16, 16, 8), **bits)
    made = write_volume(tmp_path / "v", spec, labels=labels)
    missing = made.shard_of((16, 0, 0))
    near, far, between = [14, 0, 0], [1, 0, 0], [9, 0, 0]
    stored = missing.read_bytes()
    for damage, code in ((None, NOT_DOWNLOADED), (stored[:-4] + b"????", CORRUPT)):
        missing.unlink(missing_ok=True)
        if damage is not None:
            missing.write_bytes(damage)
        for how in ("error", "zero"):
            with open_volume(made.path, missing=how) as volume:
                found = volume.snap([near, far, between], 7, units="voxel", radius_nm=1000)
                # 14 is one voxel from its label and two from the hidden chunk; 9 is four from it.
                assert found.status.tolist() == [OK, OK, OK]
                assert found.distances.tolist() == [8, 8, 32]
                # From 15 both are as near as voxel 13 and more: the hidden chunk begins at 16.
                found = volume.snap([[15, 0, 0], near], [7, 99], units="voxel", radius_nm=100)
                assert found.status.tolist() == [code, code]
                found = volume.snap([near, far], 99, units="voxel", radius_nm=15)
                assert found.status.tolist() == [NOT_FOUND, NOT_FOUND]


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"labels": 1.5}, TypeError, "float"),
        ({"labels": -1}, ValueError, "-1"),
        ({"labels": [1, 2]}, ValueError, "shape"),
        ({"radius_nm": -1}, ValueError, "radius_nm"),
        ({"radius_nm": float("nan")}, ValueError, "radius_nm"),
        ({"radius_nm": float("inf")}, ValueError, "radius_nm"),
        ({"units": None}, TypeError, "units"),
    ],
)
def test_refusals(volume: Volume, arguments: Any, error: Any, words: str) -> None:
    call = {"labels": 1, "units": "voxel", "radius_nm": 10} | arguments
    with pytest.raises(error, match=words):
        volume.snap([[-20, 5, 1000]], **call)


def test_a_radius_that_reaches_too_many_chunks() -> None:
    with open_volume(FIXTURES / "fafb-mini") as volume:
        with pytest.raises(ValueError, match="100,000"):
            volume.snap([[61430, 32760, 3060]], 1, units="nm", radius_nm=1e6)
        box = Box((61430, 32760, 3060), (61434, 32763, 3062))
        assert volume.label_counts(box)[1].sum() == 24
