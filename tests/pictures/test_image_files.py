from __future__ import annotations

import io
import sys
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardreader.format.grid import Box
from shardreader.pictures import image_files
from shardreader.pictures.image_files import (
    NRRD_BYTES_LIMIT,
    Image,
    ImageFileError,
    image_format,
    write_image,
    z_slabs,
)

VOXELS = np.asfortranarray(np.random.default_rng(0).integers(0, 2**64, (7, 5, 6), dtype=np.uint64))
IMAGE = Image(Box((10, -20, 30), (17, -15, 36)), np.dtype("<u8"), (8, 8, 40))


def written(format_name: str, *, cuts: tuple[int, ...] = (2, 5)) -> io.BytesIO:
    file = io.BytesIO()
    ends = [0, *cuts, VOXELS.shape[2]]
    slabs = (VOXELS[:, :, a:b] for a, b in pairwise(ends))
    write_image(file, format_name, IMAGE, slabs)
    file.seek(0)
    return file


def test_npy() -> None:
    found = np.load(written("npy"))
    assert found.dtype == np.uint64
    assert found.flags.f_contiguous
    assert np.array_equal(found, VOXELS)


def test_tif() -> None:
    tifffile = pytest.importorskip("tifffile")
    with tifffile.TiffFile(written("tif")) as tiff:
        pages = tiff.asarray()
        (series,) = tiff.series
        metadata = tiff.shaped_metadata[0]
        tags = tiff.pages[0].tags
        assert (len(tiff.pages), series.axes, pages.dtype) == (6, "ZYX", np.uint64)
        assert np.array_equal(pages.transpose(2, 1, 0), VOXELS)
        assert (metadata["spacing"], metadata["unit"]) == (40, "nm")
        assert metadata["voxel_offset"] == [10, -20, 30]
        numerator, denominator = tags["XResolution"].value
        assert numerator / denominator == 1e7 / 8
        assert int(tags["ResolutionUnit"].value) == 3  # centimetres


def test_a_large_tif_is_a_bigtiff(monkeypatch: pytest.MonkeyPatch) -> None:
    tifffile = pytest.importorskip("tifffile")
    monkeypatch.setattr(image_files, "_CLASSIC_TIFF_BYTES", 1000)
    with tifffile.TiffFile(written("tif")) as tiff:
        assert tiff.is_bigtiff


def test_nrrd(tmp_path) -> None:
    nrrd = pytest.importorskip("nrrd")
    (tmp_path / "a.nrrd").write_bytes(written("nrrd").getvalue())
    found, header = nrrd.read(str(tmp_path / "a.nrrd"))
    assert np.array_equal(found, VOXELS)
    assert np.array_equal(header["space directions"], np.diag([8, 8, 40]))
    assert header["space origin"].tolist() == [84, -156, 1220]  # centre of the first voxel
    assert list(header["space units"]) == ["nm", "nm", "nm"]


def test_a_nrrd_above_the_limit_is_refused_before_anything_is_read() -> None:
    edge = NRRD_BYTES_LIMIT // 8
    image = Image(Box((0, 0, 0), (edge, 1, 2)), np.dtype("<u8"), (8, 8, 40))
    with pytest.raises(ImageFileError, match="limit"):
        write_image(io.BytesIO(), "nrrd", image, iter(()))


@pytest.mark.parametrize(("module", "ending"), [("tifffile", "tif"), ("nrrd", "nrrd")])
def test_a_library_that_is_not_there(
    monkeypatch: pytest.MonkeyPatch, module: str, ending: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImageFileError, match=r"pip install 'shardreader\[images\]'"):
        written(ending)


@pytest.mark.parametrize(
    ("path", "name"), [("a.npy", "npy"), ("A.TIF", "tif"), ("a.b.tiff", "tif"), ("a.nrrd", "nrrd")]
)
def test_endings(path: str, name: str) -> None:
    assert image_format(path) == name


@pytest.mark.parametrize("path", ["a", "npy", "a.png", "a.npy.gz", "a.nhdr"])
def test_other_endings(path: str) -> None:
    with pytest.raises(ImageFileError, match=r"\.npy, \.tif, \.tiff, \.nrrd"):
        image_format(path)


@given(
    lower=st.integers(-100, 100),
    planes=st.integers(1, 200),
    first_chunk_z=st.integers(-50, 50),
    chunk_depth=st.integers(1, 40),
    planes_at_a_time=st.integers(1, 60),
)
def test_slabs(
    lower: int, planes: int, first_chunk_z: int, chunk_depth: int, planes_at_a_time: int
) -> None:
    plane = image_files.SLAB_BYTES // planes_at_a_time
    box = Box((3, 4, lower), (3 + plane, 5, lower + planes))
    slabs = z_slabs(box, first_chunk_z=first_chunk_z, chunk_depth=chunk_depth, bytes_per_voxel=1)
    assert (slabs[0].lower, slabs[-1].upper) == (box.lower, box.upper)
    for before, after in pairwise(slabs):
        assert before.upper[2] == after.lower[2]
        if planes_at_a_time >= chunk_depth:
            assert (before.upper[2] - first_chunk_z) % chunk_depth == 0
    assert all(slab.voxels <= image_files.SLAB_BYTES and not slab.is_empty for slab in slabs)
