from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from cli import assert_refused, run, run_here
from fixture_truth import FAFB_MINI, FIXTURES, load_fafb_patches, load_truth

from shardreader.pictures import image_files

KEY = "8.0x8.0x40.0"
CORNER = load_fafb_patches()[0]
LOWER = (61430, 32760, 3060)
UPPER = (61455, 32775, 3083)


def expected(lower: tuple[int, ...] = LOWER, upper: tuple[int, ...] = UPPER) -> np.ndarray:
    return CORNER.labels[
        tuple(slice(a - o, b - o) for a, b, o in zip(lower, upper, CORNER.origin, strict=True))
    ]


def box(lower: tuple[float, ...] = LOWER, upper: tuple[float, ...] = UPPER) -> str:
    return ",".join(map(str, (*lower, *upper)))


def test_npy(tmp_path: Path) -> None:
    output = tmp_path / "box.npy"
    done = run("cutout", FAFB_MINI, "--box", box(), "--units", "voxel", "-o", output)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = np.load(output)
    assert found.dtype == np.uint64
    assert np.array_equal(found, expected())
    assert [path.name for path in tmp_path.iterdir()] == ["box.npy"]


def test_tif_and_nrrd(tmp_path: Path) -> None:
    tifffile, nrrd = pytest.importorskip("tifffile"), pytest.importorskip("nrrd")
    for name in ("box.tif", "box.TIFF", "box.nrrd"):
        output = tmp_path / name
        done = run_here("cutout", FAFB_MINI, "--box", box(), "--units", "voxel", "-o", output)
        assert done.returncode == 0, done.stderr
    assert np.array_equal(tifffile.imread(tmp_path / "box.tif").transpose(2, 1, 0), expected())
    assert np.array_equal(tifffile.imread(tmp_path / "box.TIFF").transpose(2, 1, 0), expected())
    found, header = nrrd.read(str(tmp_path / "box.nrrd"))
    assert np.array_equal(found, expected())
    assert header["space origin"].tolist() == [61430.5 * 8, 32760.5 * 8, 3060.5 * 40]


def test_slabs_join(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from shardreader.volume import Volume

    shapes = []
    cutout = Volume.cutout

    def counted(self: Volume, box: object, **options: object) -> np.ndarray:
        shapes.append(box.shape)  # type: ignore[attr-defined]
        return cutout(self, box, **options)

    monkeypatch.setattr(Volume, "cutout", counted)
    monkeypatch.setattr(image_files, "SLAB_BYTES", 25 * 15 * 8 * 6)
    output = tmp_path / "box.npy"
    assert run_here("cutout", FAFB_MINI, "--box", box(), "--units", "voxel", "-o", output
                    ).returncode == 0  # fmt: skip
    assert [shape[2] for shape in shapes] == [6, 6, 6, 5]
    assert np.array_equal(np.load(output), expected())


@pytest.mark.parametrize(
    ("unit", "factor"), [(["--units", "nm"], (8, 8, 40)), (["--resolution", "4,4,40"], (2, 2, 1))]
)
def test_other_units_widen_to_whole_voxels(
    tmp_path: Path, unit: list[str], factor: tuple[int, int, int]
) -> None:
    lower = tuple(v * f + 0.5 for v, f in zip(LOWER, factor, strict=True))
    upper = tuple(v * f - 0.5 for v, f in zip(UPPER, factor, strict=True))
    output = tmp_path / "box.npy"
    done = run_here("cutout", FAFB_MINI, "--box", box(lower, upper), *unit, "-o", output)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(output), expected())


@pytest.mark.parametrize("spelling", ["apart", "joined"])
def test_negative_coordinates(tmp_path: Path, spelling: str) -> None:
    from fixture_truth import scale_keys

    truth = load_truth("negative-offset", scale_keys("negative-offset")[0])
    assert truth.origin[0] < 0
    corners = box(truth.origin, truth.upper)
    words = ["--box", corners] if spelling == "apart" else [f"--box={corners}"]
    output = tmp_path / "box.npy"
    done = run_here("cutout", truth.path, *words, "--units", "voxel", "-o", output)
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(output), truth.labels)


def test_another_scale(tmp_path: Path) -> None:
    from fixture_truth import scale_keys

    key = scale_keys("two-scales")[1]
    truth = load_truth("two-scales", key)
    output = tmp_path / "box.npy"
    done = run_here("cutout", FIXTURES / "two-scales", "--box", box(truth.origin, truth.upper),
                    "--units", "voxel", "--scale", key, "-o", output)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert np.array_equal(np.load(output), truth.labels)


# --- what is missing or damaged


def test_what_is_not_downloaded_is_an_error(tmp_path: Path) -> None:
    done = run("cutout", FAFB_MINI, "--box", "0,0,0,9,9,9", "--units", "voxel", "-o",
               tmp_path / "box.npy")  # fmt: skip
    assert_refused(done, "NOT_DOWNLOADED", "0000.shard", "--missing zero", status=1)
    assert list(tmp_path.iterdir()) == []


def test_missing_zero_writes_zeros_and_says_so(tmp_path: Path) -> None:
    output = tmp_path / "box.npy"
    done = run_here("cutout", FAFB_MINI, "--box", "0,0,0,200,9,9", "--units", "voxel",
                    "--missing", "zero", "-o", output)  # fmt: skip
    assert done.returncode == 1
    assert "2 of 2 chunks are not downloaded" in done.stderr
    assert np.array_equal(np.load(output), np.zeros((200, 9, 9)))


def test_missing_zero_with_nothing_missing(tmp_path: Path) -> None:
    done = run_here("cutout", FAFB_MINI, "--box", box(), "--units", "voxel", "--missing", "zero",
                    "-o", tmp_path / "box.npy")  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("missing", ["error", "zero"])
def test_damage_is_never_forgiven(tmp_path: Path, missing: str) -> None:
    volume = tmp_path / "volume"
    shutil.copytree(FAFB_MINI, volume)
    for path in (volume / KEY).iterdir():
        path.write_bytes(bytes(path.stat().st_size))
    output = tmp_path / "box.npy"
    output.write_bytes(b"before")
    done = run_here("cutout", volume, "--box", box(), "--units", "voxel", "--missing", missing,
                    "-o", output)  # fmt: skip
    assert_refused(done, ".shard", status=1)
    assert output.read_bytes() == b"before"


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--units", "voxel", "-o", "b.npy"], ["--box"]),
        (["--box", "1,2,3", "--units", "voxel", "-o", "b.npy"], ["6 numbers", "'1,2,3'"]),
        (["--box", "a,2,3,4,5,6", "--units", "voxel", "-o", "b.npy"], ["6 numbers"]),
        (["--box", "1_0,2,3,40,5,6", "--units", "voxel", "-o", "b.npy"], ["6 numbers"]),
        (["--box", "nan,2,3,4,5,6", "--units", "nm", "-o", "b.npy"], ["6 numbers"]),
        (["--box", "-5,0,0,5,5,5", "--units", "voxel", "-o", "b.npy"], ["not inside", "124416"]),
        (["--box", "0,0,0,9e9,5,5", "--units", "nm", "-o", "b.npy"], ["not inside", "unit"]),
        (["--box", "5,5,5,5,6,6", "--units", "voxel", "-o", "b.npy"], ["no voxel"]),
        (["--box", "5,5,5,4,6,6", "--units", "voxel", "-o", "b.npy"], ["--box", "above"]),
        (["--box", "0.5,0,0,5,6,6", "--units", "voxel", "-o", "b.npy"], ["whole numbers"]),
        (["--box", "0,0,0,5,5,5", "-o", "b.npy"], ["--units voxel", "no default"]),
        (["--box", "0,0,0,5,5,5", "--units", "um", "-o", "b.npy"], ["um"]),
        (["--box", "0,0,0,5,5,5", "--resolution", "0,4,4", "-o", "b.npy"], ["above 0"]),
        (["--box", "0,0,0,5,5,5", "--units", "voxel"], ["-o"]),
        (["--box", "0,0,0,5,5,5", "--units", "voxel", "-o", "b.png"], [".npy, .tif"]),
        (["--box", "0,0,0,5,5,5", "--units", "voxel", "-o", "no/b.npy"], ["no/b.npy: No such"]),
        (["--box", "0,0,0,999,999,999", "--units", "voxel", "-o", "b.nrrd"], ["limit"]),
        (["--box", "0,0,0,5,5,5", "--units", "voxel", "-o", "b.npy", "--missing", "x"], ["'x'"]),
        (
            ["--box", "0,0,0,5,5,5", "--units", "voxel", "-o", "b.npy", "--scale", "9"],
            ["there are"],
        ),
        (["--box", "0,0,0,5,5,5", "--units", "voxel", "-o", "b.npy", "--threads", "-1"], ["--thr"]),
    ],
)
def test_wrong_arguments(
    arguments: list[str], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert_refused(run_here("cutout", FAFB_MINI, *arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("module", "name"), [("tifffile", "b.tif"), ("nrrd", "b.nrrd")])
def test_a_library_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    done = run_here("cutout", FAFB_MINI, "--box", box(), "--units", "voxel", "-o", tmp_path / name)
    assert_refused(done, "pip install 'shardreader[images]'")
    assert list(tmp_path.iterdir()) == []
