"""Slices as pictures: which voxel a pixel shows, its colour, and what is not there."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli import assert_refused, run, run_here
from fixture_truth import FAFB_MINI, FIXTURES
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from shard_builder import TinyVolume
from volumes import Spec, write_volume

from shardreader import Box, OutOfBoundsError, PointStatus, open_volume
from shardreader.copies.state_colors import DAMAGED
from shardreader.pictures.canvas import add_legend, length_text, scale_bar_nm
from shardreader.pictures.label_colors import OTHERS, STRIPES, hatched, label_colors
from shardreader.pictures.slice_plan import LONGEST_SIDE, plan_slice

AXES = "xyz"
sizes = st.integers(1, 200_000)
resolutions = st.sampled_from([1, 4, 8, 8.5, 16, 40, 1000])


@given(
    st.sampled_from(AXES),
    st.tuples(sizes, sizes, sizes),
    st.tuples(resolutions, resolutions, resolutions),
    st.tuples(*[st.integers(-10_000, 10_000)] * 3),
)
def test_each_pixel_shows_the_voxel_under_its_middle(
    axis: str,
    shape: tuple[int, int, int],
    voxel_size: tuple[float, float, float],
    lower: tuple[int, int, int],
) -> None:
    at = AXES.index(axis)
    thin = tuple(1 if i == at else n for i, n in enumerate(shape))
    box = Box(lower, tuple(a + n for a, n in zip(lower, thin, strict=True)))  # type: ignore[arg-type]
    plan = plan_slice(box, axis, voxel_size)
    assert plan.position == lower[at]
    assert max(len(plan.columns), len(plan.rows)) <= LONGEST_SIDE
    for name, coordinates in ((plan.across, plan.columns), (plan.down, plan.rows)):
        dim = AXES.index(name)
        extent = thin[dim] * voxel_size[dim]
        assert (len(coordinates) - 1) * plan.pixel_nm < extent * (1 + 1e-6)
        assert len(coordinates) * plan.pixel_nm >= extent * (1 - 1e-6)
        middles = (np.arange(len(coordinates)) + 0.5) * plan.pixel_nm / voxel_size[dim]
        inside = np.minimum(middles, thin[dim] - 0.5)
        off = (coordinates - lower[dim]) - inside
        assert (off <= 1e-6).all()
        assert (off > -1 - 1e-6).all()


def test_a_small_slice_is_enlarged_by_a_whole_number() -> None:
    plan = plan_slice(Box((0, 0, 5), (300, 200, 6)), "z", (8, 8, 40))
    assert np.bincount(plan.columns).tolist() == [3] * 300
    assert np.bincount(plan.rows).tolist() == [3] * 200
    plan = plan_slice(Box((0, 3, 0), (100, 4, 20)), "y", (8, 8, 40))
    assert np.bincount(plan.columns).tolist() == [10] * 100
    assert np.bincount(plan.rows).tolist() == [50] * 20  # a voxel is five times as deep


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> int:
    """Pictures of 256 pixels: as good as larger ones, and sooner done."""
    monkeypatch.setattr("shardreader.pictures.slice_plan.LONGEST_SIDE", 256)
    return 256


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("axis", AXES)
def test_labels_are_those_of_the_source(tmp_path: Path, axis: str) -> None:
    spec = Spec(size=(70, 50, 33), voxel_offset=(-20, 7, -3))
    written = write_volume(tmp_path, spec, seed=3)
    at = AXES.index(axis)
    with open_volume(tmp_path) as vol:
        for position in (spec.voxel_offset[at], spec.voxel_offset[at] + 17):
            picture = vol.picture(**{axis: position})
            voxels = picture.plan.voxels(picture.plan.columns, picture.plan.rows)
            np.testing.assert_array_equal(picture.labels, written.at(voxels))
            np.testing.assert_array_equal(
                picture.pixels, label_colors(np.asarray(written.at(voxels)))
            )
            assert set(np.unique(picture.status)) <= {PointStatus.OK, PointStatus.EMPTY}


@pytest.mark.usefixtures("small")
def test_a_box_and_units(tmp_path: Path) -> None:
    write_volume(tmp_path, Spec(size=(70, 50, 33)), seed=3)
    with open_volume(tmp_path) as vol:
        part = vol.picture(z=10, box=Box((10, 20, 0), (30, 40, 33)))
        np.testing.assert_array_equal(part.labels[::12, ::12], vol[10:30, 20:40, 10].T)
        corners = ((80, 160, 0), (240, 320, 1320))
        same = vol.picture(z=400, box=corners, units="nm")
        np.testing.assert_array_equal(same.labels, part.labels)
        corners = ((20, 40, 0), (60, 80, 33))
        same = vol.picture(z=10, box=corners, resolution=(4, 4, 40))
        np.testing.assert_array_equal(same.labels, part.labels)


def test_a_huge_slice_is_sampled(tmp_path: Path) -> None:
    """Many voxels of one chunk are skipped, and chunks fall into several bands."""
    spec = Spec(size=(40, 3000, 8), chunk_size=(16, 128, 8), shard_bits=0, minishard_bits=0)
    written = write_volume(tmp_path, spec, seed=5)
    seen: list[float] = []
    with open_volume(tmp_path) as vol:
        picture = vol.picture(z=2, progress=seen.append)
    assert picture.labels.shape == (1024, 14)
    voxels = picture.plan.voxels(picture.plan.columns, picture.plan.rows)
    np.testing.assert_array_equal(picture.labels, written.at(voxels))
    assert len(seen) == 3
    assert seen == sorted(seen)
    assert seen[-1] == 1


def damaged(tiny: TinyVolume) -> TinyVolume:
    """Chunk 0 is damaged, shard 1 (the second half in y) is not here."""
    tiny.shards[0].chunks[0] = b"\xff" * 64
    tiny.write()
    tiny.shard_path(1).unlink()
    return tiny


def test_what_is_not_there_looks_different_from_background(tiny: TinyVolume, small: int) -> None:
    with open_volume(damaged(tiny).path) as vol:
        picture = vol.picture(z=0)
    side = small // 64
    assert picture.pixels.shape == (small, small, 3)
    chunk = np.s_[: 16 * side, : 16 * side]
    assert (picture.status[chunk] == PointStatus.CORRUPT).all()
    assert (picture.pixels[chunk] == DAMAGED).all()
    below = np.s_[32 * side :]
    assert (picture.status[below] == PointStatus.NOT_DOWNLOADED).all()
    assert {tuple(color) for color in picture.pixels[below].reshape(-1, 3).tolist()} == {*STRIPES}
    np.testing.assert_array_equal(picture.pixels[below], hatched(small, small)[below])
    assert picture.count(PointStatus.NOT_DOWNLOADED) == small * small // 2
    assert picture.count(PointStatus.CORRUPT) == (16 * side) ** 2


def test_colours() -> None:
    labels = np.arange(1, 20_000, dtype=np.uint64)
    colors = label_colors(labels)
    # Black is background and red damage; the two stripes and the grey are taken too.
    assert colors.max(axis=1).min() >= 178
    assert (np.abs(colors.astype(int) - DAMAGED).max(axis=1) > 30).all()
    assert len(np.unique(colors, axis=0)) > 19_000
    assert (label_colors(np.zeros(3, np.uint64)) == 0).all()
    # The same whatever stands around it, and in every integer type.
    np.testing.assert_array_equal(label_colors(labels.reshape(-1, 7, 1))[5, 3, 0], colors[38])
    np.testing.assert_array_equal(label_colors(labels.astype(np.uint32)), colors)
    # Fixed: pictures of last year must go on meaning the same.
    fixed = label_colors(np.array([1, 2142873971, 2**64 - 1], np.uint64))
    assert fixed.tolist() == [[115, 2, 189], [71, 253, 147], [210, 174, 81]]


@pytest.mark.usefixtures("small")
def test_chosen_segments(tiny: TinyVolume) -> None:
    tiny.write()
    with open_volume(tiny.path) as vol:
        everything = vol.picture(z=0)
        chosen = np.unique(everything.labels)[[1, 5]]
        picture = vol.picture(z=0, segments=chosen.tolist())
        in_colour = np.isin(everything.labels, chosen)
        np.testing.assert_array_equal(picture.pixels[in_colour], everything.pixels[in_colour])
        assert (picture.pixels[~in_colour & (picture.labels != 0)] == OTHERS).all()
        with pytest.raises(ValueError, match="from 0 to 18446744073709551615"):
            vol.picture(z=0, segments=[2**64])
        with pytest.raises(TypeError):
            vol.picture(z=0, segments=[1.0])  # type: ignore[list-item]


def test_the_file(tmp_path: Path) -> None:
    box = Box((61300, 32600, 3000), (61700, 32900, 3140))
    with open_volume(FAFB_MINI) as vol:
        picture = vol.picture(z=3080, box=box)
    path = tmp_path / "slice.png"
    picture.save(path)
    image = np.array(Image.open(path))
    height, width = picture.labels.shape
    np.testing.assert_array_equal(image[:height, :width], picture.pixels)
    assert image.shape[0] > height
    np.testing.assert_array_equal(
        np.array(Image.open(io.BytesIO(picture._repr_png_()))),  # what a notebook shows
        image,
    )


@pytest.mark.parametrize(("width", "pixel_nm"), [(1024, 32.0), (1000, 4.0), (640, 0.5), (900, 972)])
def test_the_scale_bar_is_as_long_as_it_says(width: int, pixel_nm: float) -> None:
    image = add_legend(np.zeros((10, width, 3), np.uint8), "", pixel_nm=pixel_nm, swatches=[])
    white = (image[10:] == 255).all(axis=2)
    rows = white.any(axis=1)
    assert rows.any()
    longest = max(
        len(list(run)) for row in white[rows] for value, run in itertools.groupby(row) if value
    )
    expected = scale_bar_nm(width * pixel_nm)
    assert abs(longest * pixel_nm - expected) <= pixel_nm
    assert width * pixel_nm / 10.01 <= expected <= width * pixel_nm / 4


def test_lengths() -> None:
    assert [length_text(nm) for nm in (0.5, 200, 1000, 5000, 200_000, 2.66667)] == [
        *("0.5 nm", "200 nm", "1 um", "5 um", "200 um", "2.67 nm")
    ]


def test_refusals(tmp_path: Path) -> None:
    with open_volume(FAFB_MINI) as vol:
        with pytest.raises(TypeError, match="exactly one of x, y and z"):
            vol.picture(x=1, z=2)
        with pytest.raises(TypeError, match="exactly one of x, y and z"):
            vol.picture()
        with pytest.raises(OutOfBoundsError, match="0 to 7063"):
            vol.picture(z=7063)
        with pytest.raises(OutOfBoundsError, match="outside the volume"):
            vol.picture(z=float("nan"))
        with pytest.raises(OutOfBoundsError, match="reaches outside"):
            vol.picture(z=0, box=Box((0, 0, 0), (1, 1, 7064)))
        with pytest.raises(ValueError, match="does not meet"):
            vol.picture(z=5, box=Box((0, 0, 0), (1, 1, 5)))
        with pytest.raises(TypeError, match="units"):
            vol.picture(z=5, box=((0, 0, 0), (1, 1, 9)))
    for name in ("jpeg", "channels"):
        with open_volume(FIXTURES / name) as vol:
            with pytest.raises(ValueError, match="needs a segmentation with one channel"):
                vol.picture(z=0)


def test_the_command(tiny: TinyVolume, tmp_path: Path) -> None:
    damaged(tiny)
    output = tmp_path / "slice.png"
    done = run("picture", tiny.path, "--slice", "z=3", "-o", output)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr == (
        "shardreader: of 1,048,576 pixels 65,536 CORRUPT, 524,288 NOT_DOWNLOADED\n"
    )
    with open_volume(tiny.path) as vol:
        expected = vol.picture(z=3).pixels
    np.testing.assert_array_equal(np.array(Image.open(output))[:1024, :1024], expected)
    box = ("--box", "16,0,0,32,16,16", "--units", "voxel")
    done = run_here("picture", tiny.path, "--slice", "x=16", *box, "-o", output)
    assert (done.returncode, done.stderr) == (0, "")
    nm = ("--box", "128,0,0,256,128,640", "--units", "nm")
    again = tmp_path / "again.png"
    assert run_here("picture", tiny.path, "--slice", "x=128", *nm, "-o", again).returncode == 0
    assert again.read_bytes() == output.read_bytes()
    one = ("--segments", str(2 << 32 | 1))
    assert run_here("picture", tiny.path, "--slice", "x=128", *nm, *one, "-o", again).stderr == ""
    assert again.read_bytes() != output.read_bytes()


def test_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writable: Callable[[str], Path]
) -> None:
    output = tmp_path / "slice.png"

    def refused(*words: str, arguments: tuple[object, ...], path: Path = FAFB_MINI) -> None:
        assert_refused(run_here("picture", path, *arguments), *words)

    out = ("-o", output)
    refused("required", arguments=out)
    refused("such as z=4068", arguments=("--slice", "4068", *out))
    refused("found 'q'", arguments=("--slice", "z=q", *out))
    refused("0 to 7063", "is the unit right?", arguments=("--slice", "z=7063", *out))
    refused("must end in .png", arguments=("--slice", "z=1", "-o", "slice.jpg"))
    refused("--units", arguments=("--slice", "z=1", "--box", "0,0,0,9,9,9", *out))
    refused("does not meet", arguments=("--slice=z=9", "--box=0,0,0,9,9,9", "--units=voxel", *out))
    refused("segment ids", arguments=("--slice", "z=1", "--segments", "1,-2", *out))
    refused("takes no --box", arguments=("--map", "--segments", "1", *out))
    refused("no such directory", arguments=("--slice", "z=1", *out), path=tmp_path / "no")
    refused("No such file", arguments=("--slice", "z=1", "-o", tmp_path / "no" / "s.png"))
    refused("has no map", arguments=("--map", *out), path=FIXTURES / "murmurhash")
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused("pip install 'shardreader[png]'", arguments=("--map", *out))
    assert not output.exists()
