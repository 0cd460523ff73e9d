"""fafbseg's questions: against the truth of the fixture, and its released package (slow)."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, read_expected_points

import shardreader
from shardreader.errors import PointStatus
from shardreader.fafb import locs_to_segments, neuron_to_segments

TRUTH = read_expected_points("points")
VOXELS = np.array([[int(field) for field in point.fields] for point in TRUTH])
SEGMENTS = [point.segment for point in TRUTH]
OUTSIDE = [[-1, 0, 0], [np.nan, 0, 0], [0, 0, 40 * 7063 + 1]]
ABSENT = [160000, 160000, 80000]  # nm


@pytest.fixture(scope="module")
def vol() -> shardreader.Volume:
    return shardreader.open_volume(FAFB_MINI)


# --- locations


def test_voxels_are_those_of_fafbseg(vol: shardreader.Volume) -> None:
    assert locs_to_segments(VOXELS * [2, 2, 1] + 0.9, "voxel", vol=vol).tolist() == SEGMENTS


def test_nm(vol: shardreader.Volume) -> None:
    nm = (VOXELS * [8, 8, 40] + 0.5).tolist()
    assert locs_to_segments(nm, coordinates="nm", vol=vol).tolist() == SEGMENTS


def test_a_frame(vol: shardreader.Volume) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(VOXELS * [8, 8, 40], columns=["x", "y", "z"]).assign(note="a")
    assert locs_to_segments(frame[["note", "z", "y", "x"]], "nm", vol=vol).tolist() == SEGMENTS


def test_places_that_are_none_are_0(vol: shardreader.Volume) -> None:
    nm = np.array([*(VOXELS * [8, 8, 40]).tolist(), *OUTSIDE])
    segments = locs_to_segments(nm, "nm", vol=vol)
    assert segments.dtype == vol.dtype
    assert segments.tolist() == [*SEGMENTS, 0, 0, 0]


def test_what_is_not_downloaded_is_no_0(vol: shardreader.Volume) -> None:
    with pytest.raises(shardreader.NotDownloadedError):
        locs_to_segments([*OUTSIDE, ABSENT], "nm", vol=vol)
    segments, status = locs_to_segments([*OUTSIDE, ABSENT], "nm", vol=vol, return_status=True)
    assert segments.tolist() == [0] * 4
    assert [PointStatus(code).name for code in status] == [
        *("OUT_OF_BOUNDS", "INVALID", "OUT_OF_BOUNDS", "NOT_DOWNLOADED")
    ]
    with shardreader.open_volume(FAFB_MINI, missing="zero") as zeros:
        assert locs_to_segments([*OUTSIDE, ABSENT], "nm", vol=zeros).tolist() == [0] * 4


def test_damage_is_no_0_either(tmp_path: Path) -> None:
    path = Path(shutil.copytree(FAFB_MINI, tmp_path / "volume"))
    for shard in path.glob("*/*.shard"):
        shard.write_bytes(bytes(shard.stat().st_size))
    with shardreader.open_volume(path, missing="zero") as damaged:
        with pytest.raises(shardreader.ShardError):
            locs_to_segments([*OUTSIDE, *(VOXELS * [8, 8, 40]).tolist()], "nm", vol=damaged)


def test_units_are_never_guessed(vol: shardreader.Volume) -> None:
    with pytest.raises(TypeError, match="coordinates"):
        locs_to_segments(VOXELS, vol=vol)  # type: ignore[call-arg]
    with pytest.raises(ValueError, match=r"'voxel'.*or 'nm', not 'voxels'"):
        locs_to_segments(VOXELS, "voxels", vol=vol)


def test_what_a_point_loader_asks_of_a_volume(vol: shardreader.Volume) -> None:
    """fafbseg's GSPointLoader, that is, which the slow tests run."""
    assert np.array(vol.scale["resolution"]).tolist() == [8, 8, 40]
    assert np.array(vol.scale["chunk_sizes"]).tolist() == [[128, 128, 32]]
    with pytest.raises(KeyError, match=r"vol\.info"):
        vol.scale["sharding"]
    with shardreader.open_volume(FAFB_MINI) as other:
        before, other.progress = other.progress, True
        assert (before, other.progress, vol.progress) == (False, True, False)


@pytest.mark.parametrize("x", ["a path", 16, [16], None])
def test_what_is_no_neuron(vol: shardreader.Volume, x: Any) -> None:
    with pytest.raises(TypeError, match="TreeNeuron or a NeuronList"):
        neuron_to_segments(x, vol=vol)


# --- the released fafbseg and navis


@pytest.fixture(scope="module")
def navis() -> Any:
    return pytest.importorskip("navis")


def skeleton(navis: Any, points: Any, name: int, units: Any = "1 nm") -> Any:
    import pandas as pd

    nodes = pd.DataFrame(np.asarray(points, dtype=np.float64), columns=["x", "y", "z"])
    numbers = np.arange(1, len(nodes) + 1)
    parents = np.array([-1, *numbers[:-1]])
    nodes = nodes.assign(node_id=numbers, parent_id=parents, radius=1.0, label=0)
    return navis.TreeNeuron(nodes, units=units, id=name)


NM = VOXELS * np.array([8, 8, 40]) + 1


def expected_overlap(*groups: list[int]) -> dict[int, list[int]]:
    found = sorted({segment for group in groups for segment in group} - {0})
    return {segment: [group.count(segment) for group in groups] for segment in found}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("units", "scale"),
    [
        ("1 nm", (1, 1, 1)),
        ("8 nm", (1 / 8, 1 / 8, 1 / 8)),
        ("1 um", (1e-3, 1e-3, 1e-3)),
        (["4 nm", "4 nm", "40 nm"], (1 / 4, 1 / 4, 1 / 40)),
    ],
)
def test_overlap_of_skeletons(
    vol: shardreader.Volume, navis: Any, units: Any, scale: tuple[float, ...]
) -> None:
    neurons = navis.NeuronList(
        [
            skeleton(navis, NM[:10] * scale, 30, units),
            skeleton(navis, NM[10:], 20),
            skeleton(navis, [[-5, 0, 0], [-5, 0, 1]], 40),
        ]
    )
    overlap, status = neuron_to_segments(neurons, vol=vol, return_status=True)
    expected = expected_overlap(SEGMENTS[:10], SEGMENTS[10:], [])
    assert overlap.columns.tolist() == [30, 20, 40]
    assert (overlap.index.name, overlap.columns.name) == ("seg_id", "skeleton_id")
    assert overlap.index.dtype == np.uint64
    assert dict(zip(overlap.index.tolist(), overlap.to_numpy().tolist(), strict=True)) == expected
    assert status.sum().tolist() == [10, len(NM) - 10, 2]
    assert status.loc["OUT_OF_BOUNDS"].tolist() == [0, 0, 2]
    names = [point.status for point in TRUTH]
    assert status.loc["EMPTY"].tolist() == [names[:10].count("EMPTY"), names[10:].count("EMPTY"), 0]
    assert neuron_to_segments(neurons, vol=vol).equals(overlap)


@pytest.mark.slow
def test_one_skeleton_and_none(vol: shardreader.Volume, navis: Any) -> None:
    one = neuron_to_segments(skeleton(navis, NM, 7), vol=vol)
    expected = {segment: [SEGMENTS.count(segment)] for segment in sorted({*SEGMENTS} - {0})}
    assert dict(zip(one.index.tolist(), one.to_numpy().tolist(), strict=True)) == expected
    assert neuron_to_segments(navis.NeuronList([]), vol=vol).shape == (0, 0)


@pytest.mark.slow
def test_units_of_a_neuron_are_not_guessed(vol: shardreader.Volume, navis: Any) -> None:
    unknown = skeleton(navis, VOXELS * [2, 2, 1], 7, None)
    with pytest.raises(TypeError, match="neuron 7 does not say its units"):
        neuron_to_segments(unknown, vol=vol)
    found = neuron_to_segments(unknown, "voxel", vol=vol)
    assert found.equals(neuron_to_segments(skeleton(navis, NM, 7), "nm", vol=vol))
    with pytest.raises(ValueError, match="8 x 8 x 8 nm, which are not"):
        neuron_to_segments(skeleton(navis, NM / 8, 7, "8 nm"), "nm", vol=vol)


@pytest.mark.slow
def test_two_neurons_of_one_id(vol: shardreader.Volume, navis: Any) -> None:
    with pytest.raises(ValueError, match="two neurons have the id 7"):
        neuron_to_segments([skeleton(navis, NM, 7), skeleton(navis, NM, 7)], vol=vol)


@pytest.mark.slow
def test_a_node_that_is_not_downloaded(vol: shardreader.Volume, navis: Any) -> None:
    neuron = skeleton(navis, [*NM, ABSENT], 7)
    with pytest.raises(shardreader.NotDownloadedError):
        neuron_to_segments(neuron, vol=vol)
    _, status = neuron_to_segments(neuron, vol=vol, return_status=True)
    assert status.loc["NOT_DOWNLOADED", 7] == 1


@pytest.mark.slow
def test_the_same_table_as_fafbseg(
    vol: shardreader.Volume, navis: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own counting, with our lookup in place of its web service."""
    segmentation = pytest.importorskip("fafbseg.google.segmentation")

    def ours(locs: Any, mip: int, coordinates: str) -> Any:
        assert mip == 0
        return locs_to_segments(locs, coordinates, vol=vol)

    monkeypatch.setattr(segmentation, "locs_to_segments", ours)
    neurons = navis.NeuronList([skeleton(navis, NM[:10], 20), skeleton(navis, NM[10:], 30)])
    theirs = segmentation.neuron_to_segments(neurons)
    found = neuron_to_segments(neurons, vol=vol)
    assert theirs.index.tolist() == found.index.tolist()
    assert theirs.columns.tolist() == found.columns.tolist()
    assert np.array_equal(theirs.fillna(0), found)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 3])
def test_their_point_loader_takes_a_volume(vol: shardreader.Volume, workers: int) -> None:
    """With several workers the volume goes to processes that it was opened before."""
    utils = pytest.importorskip("fafbseg.utils")
    loader = utils.GSPointLoader(vol)
    nm = np.concatenate([NM, NM[:3]])
    loader.add_points(nm)
    points, segments = loader.load_all(max_workers=workers, progress=False)
    assert np.array_equal(points, nm)
    assert segments.dtype == np.uint64
    assert segments.tolist() == [*SEGMENTS, *SEGMENTS[:3]]
    assert vol.progress is False


@pytest.mark.slow
@pytest.mark.parametrize("name", ["two-scales", "negative-offset", "primes"])
def test_their_point_loader_gives_what_lookup_gives(name: str) -> None:
    utils = pytest.importorskip("fafbseg.utils")
    with shardreader.open_volume(FAFB_MINI.parent / name) as small:
        span = np.array([small.bounds.lower, small.bounds.upper]) * small.resolution
        random = np.random.default_rng(7)
        nm = random.uniform(span[0], span[1], (300, 3))
        loader = utils.GSPointLoader(small)
        loader.add_points(nm)
        _, segments = loader.load_all(max_workers=1, progress=False)
        assert np.array_equal(segments, small.lookup(nm, units="nm"))


@pytest.mark.slow
def test_their_point_loader_does_not_give_0_for_what_is_not_here(vol: shardreader.Volume) -> None:
    utils = pytest.importorskip("fafbseg.utils")
    loader = utils.GSPointLoader(vol)
    loader.add_points(np.array([ABSENT]))
    with pytest.raises(shardreader.NotDownloadedError):
        loader.load_all(max_workers=1, progress=False)
