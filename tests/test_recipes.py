"""The recipes of docs/recipes.md run as they stand there, on the fixture in place of the copy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, load_fafb_patches, read_expected_points

import shardreader
from shardreader.compat import CloudVolumeLike

TEXT = Path(__file__).resolve().parent.parent.joinpath("docs", "recipes.md").read_text()
COPY = "/ssd/fafb-ffn1"

TRUTH = read_expected_points("points")
NM = np.array([[int(field) for field in point.fields] for point in TRUTH]) * [8, 8, 40] + 1
SEGMENTS = [point.segment for point in TRUTH]
BOX = shardreader.Box((61400, 32740, 3050), (61480, 32800, 3080))

# Where a library is no extra of the tests.
NEEDS = {
    "A skeleton from CATMAID or navis": ["navis"],
    "Code written for fafbseg": ["fafbseg"],
    "A table of two million synapses": ["pandas"],
    "dask": ["dask.array"],
    "xarray, with coordinates in nm": ["xarray"],
    "A cutout for ITK-SNAP": ["nrrd"],
}


def recipes() -> dict[str, list[str]]:
    """The Python blocks under each heading."""
    head, *parts = re.split(r"^## (.+)\n", TEXT, flags=re.MULTILINE)
    parts = ["Begin", head, *parts]
    blocks = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return {
        title: blocks.findall(text) for title, text in zip(parts[::2], parts[1::2], strict=True)
    }


RECIPES = recipes()


@pytest.fixture(autouse=True)
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def cook(title: str) -> dict[str, Any]:
    """Run a recipe; returns its names."""
    for library in NEEDS.get(title, []):
        pytest.importorskip(library)
    names: dict[str, Any] = {}
    for block in RECIPES["Begin"] + RECIPES[title]:
        exec(compile(block.replace(COPY, str(FAFB_MINI)), title, "exec"), names)
    return names


def truth_of(box: shardreader.Box) -> np.ndarray:
    corner, _ = load_fafb_patches()
    part = tuple(
        slice(a - o, b - o) for a, b, o in zip(box.lower, box.upper, corner.origin, strict=True)
    )
    return corner.labels[part]


def write_swc(path: str) -> None:
    rows = [f"{n} 0 {x} {y} {z} 1 {n - 1 or -1}" for n, (x, y, z) in enumerate(NM.tolist(), 1)]
    Path(path).write_text("# a skeleton\n" + "\n".join(rows) + "\n")


def test_every_recipe_has_a_test() -> None:
    assert set(RECIPES) == {"Begin", *COOKED, *NEEDS}
    assert all(RECIPES.values())
    assert COPY in RECIPES["Begin"][0]


COOKED = ["Code written for cloud-volume", "An SWC file", "A cutout in napari"]


@pytest.mark.slow
def test_skeleton() -> None:
    write_swc("skeleton.swc")
    names = cook("A skeleton from CATMAID or navis")
    assert names["neuron"].nodes["segment"].tolist() == SEGMENTS
    overlap, status = names["overlap"], names["status"]
    counts = {segment: SEGMENTS.count(segment) for segment in set(SEGMENTS) - {0}}
    assert overlap[names["neuron"].id].to_dict() == counts
    assert counts[names["best"].iloc[0]] == max(counts.values())
    assert names["unread"].tolist() == [0]
    assert status.sum().tolist() == [len(NM)]


@pytest.mark.slow
def test_fafbseg() -> None:
    names = cook("Code written for fafbseg")
    assert names["segments"].tolist() == [2142873971]
    assert names["points"].tolist() == [[490776, 262368, 121800]]


def test_cloud_volume() -> None:
    names = cook("Code written for cloud-volume")
    assert isinstance(names["cv"], CloudVolumeLike)
    expected = truth_of(shardreader.Box((61430, 32760, 3060), (61434, 32763, 3062)))
    assert np.array_equal(names["cutout"][..., 0], expected)
    assert names["labels"] == set(expected.flat)
    assert names["voxel_in_um"].tolist() == [0.008, 0.008, 0.04]


def test_swc() -> None:
    write_swc("skeleton.swc")
    assert cook("An SWC file")["segments"].tolist() == SEGMENTS


def write_synapses(rows: int) -> np.ndarray:
    """A table whose pre and post points are those of the fixture, in another order."""
    order = np.random.default_rng(5).integers(0, len(NM), (2, rows))
    cells = [",".join(map(str, point)) for point in NM.tolist()]
    rows_of_text = [f"{cells[pre]},{cells[post]}\n" for pre, post in order.T.tolist()]
    header = "pre_x,pre_y,pre_z,post_x,post_y,post_z\n"
    Path("synapses.csv").write_text(header + "".join(rows_of_text))
    return order


def check_synapses(rows: int) -> None:
    pytest.importorskip("pandas")
    pre, post = write_synapses(rows)
    names = cook("A table of two million synapses")
    synapses = names["synapses"]
    segments = np.array(SEGMENTS, dtype=np.uint64)
    statuses = np.array([point.status for point in TRUTH])
    assert np.array_equal(synapses["pre_segment"], segments[pre])
    assert np.array_equal(synapses["post_segment"], segments[post])
    assert np.array_equal(synapses["pre_status"].astype(str), statuses[pre])
    assert synapses["post_segment"].dtype == np.uint64
    expected: dict[tuple[int, int], int] = {}
    pairs, counts = np.unique(pre * len(segments) + post, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        key = (SEGMENTS[pair // len(segments)], SEGMENTS[pair % len(segments)])
        if all(key):
            expected[key] = expected.get(key, 0) + count
    assert names["connections"].to_dict() == expected


def test_synapses() -> None:
    check_synapses(2_000)


@pytest.mark.slow
def test_two_million_synapses() -> None:
    check_synapses(2_000_000)


def test_napari() -> None:
    data, options, kind = cook("A cutout in napari")["layer"]
    assert kind == "labels"
    assert np.array_equal(data, truth_of(BOX).T)
    assert tuple(options["scale"]) == (40, 8, 8)
    # Voxel (61400, 32740, 3050) reaches from this corner to the next.
    first = [3050 * 40 + 20, 32740 * 8 + 4, 61400 * 8 + 4]
    assert options["translate"] == first


@pytest.mark.slow
def test_napari_shows_each_label_where_it_is() -> None:
    napari = pytest.importorskip("napari")
    names = cook("A cutout in napari")
    layer = napari.layers.Layer.create(*names["layer"])
    viewer = napari.components.ViewerModel()
    viewer.add_layer(layer)
    seen = set()
    for voxel in ((61400, 32740, 3050), (61479, 32799, 3079), (61401, 32799, 3060)):
        nm = ((np.array(voxel) + 0.5) * [8, 8, 40])[::-1]
        viewer.dims.set_point(0, nm[0])
        seen.add(layer.get_value(nm, dims_displayed=[1, 2], world=True))
        assert layer.get_value(nm, dims_displayed=[1, 2], world=True) == names["vol"][voxel]
    assert len(seen) > 1


def test_dask() -> None:
    names = cook("dask")
    assert np.array_equal(names["array"].compute(), truth_of(BOX))
    assert np.array_equal(names["planes_with_labels"], (truth_of(BOX) != 0).any(axis=(0, 1)))


def test_xarray() -> None:
    names = cook("xarray, with coordinates in nm")
    cutout = names["cutout"]
    assert np.array_equal(cutout.values, truth_of(BOX))
    assert cutout.x.values[:2].tolist() == [61400 * 8 + 4, 61401 * 8 + 4]
    assert cutout.z.attrs["units"] == "nm"
    assert np.array_equal(names["plane"].values, truth_of(BOX)[:, :, 123000 // 40 - 3050])
    nm = (61440 * 8 + 1.0, 32768 * 8 + 7.0, 3072 * 40 + 39.0)
    at = cutout.sel(dict(zip("xyz", nm, strict=True)), method="nearest").item()
    assert at == names["vol"].lookup([nm], units="nm")[0]


def test_itk_snap() -> None:
    nrrd = pytest.importorskip("nrrd")
    names = cook("A cutout for ITK-SNAP")
    expected = truth_of(BOX)
    numbers, header = nrrd.read("cutout.nrrd", index_order="F")
    assert numbers.dtype == np.uint16
    assert np.array_equal(header["space directions"], np.diag([0.008, 0.008, 0.04]))
    assert np.allclose(header["space origin"], [491.204, 261.924, 122.02])
    rows = [line.split(maxsplit=7) for line in Path("labels.txt").read_text().splitlines()]
    ids = np.array([int(row[7].strip('"')) for row in rows], dtype=np.uint64)
    assert [int(row[0]) for row in rows] == list(range(len(rows)))
    assert ids[0] == 0
    assert np.array_equal(ids[numbers], expected)
    assert names["labels"].dtype == np.uint64
    assert all(0 <= int(cell) <= 255 for row in rows for cell in row[1:4])
    assert len(names["labels"]) == len(rows)


@pytest.mark.slow
def test_itk_reads_the_cutout() -> None:
    itk = pytest.importorskip("SimpleITK")
    cook("A cutout for ITK-SNAP")
    image = itk.ReadImage("cutout.nrrd")
    assert image.GetSize() == BOX.shape
    assert np.allclose(image.GetSpacing(), [0.008, 0.008, 0.04])
    assert np.allclose(image.GetOrigin(), [491.204, 261.924, 122.02])
