"""Cutouts as image files, written a slab of z planes at a time.

TIFF and NRRD need the libraries of the extra ``[images]``, imported on use.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box
from shardreader.runtime.output_file import npy_header

__all__ = [
    "IMAGE_ENDINGS",
    "NRRD_BYTES_LIMIT",
    "SLAB_BYTES",
    "Image",
    "ImageFileError",
    "image_format",
    "write_image",
    "z_slabs",
]

SLAB_BYTES = 256 << 20
"""Voxels that are in memory at a time, in bytes; one plane may take more."""

NRRD_BYTES_LIMIT = 2 << 30
"""Largest NRRD in bytes of voxels: pynrrd wants the array whole, and copies it."""

IMAGE_ENDINGS = {".npy": "npy", ".tif": "tif", ".tiff": "tif", ".nrrd": "nrrd"}
# A classic TIFF counts its bytes in 32 bits; leave room for its directories.
_CLASSIC_TIFF_BYTES = (1 << 32) - (1 << 26)
_NM_PER_CM = 1e7


class ImageFileError(Exception):
    """An image that cannot be written as asked, with what to do about it."""


@dataclass(frozen=True)
class Image:
    """What an image file says of its voxels.

    Parameters
    ----------
    box : Box
        The voxels, in global coordinates.
    dtype : numpy.dtype
        Of a voxel.
    voxel_size : (float, float, float)
        In nm, x y z.
    """

    box: Box
    dtype: np.dtype[Any]
    voxel_size: tuple[float, float, float]

    @property
    def bytes(self) -> int:
        """Of all voxels."""
        return self.box.voxels * self.dtype.itemsize


def z_slabs(box: Box, *, first_chunk_z: int, chunk_depth: int, bytes_per_voxel: int) -> list[Box]:
    """Cut a box into slabs of z planes that fit into `SLAB_BYTES`.

    The cuts lie between chunks where a layer of chunks fits, so that none is read twice.

    Parameters
    ----------
    box : Box
        Not empty.
    first_chunk_z : int
        A z coordinate at which a chunk begins.
    chunk_depth : int
        Planes in a chunk.
    bytes_per_voxel : int
        Size of a voxel.

    Examples
    --------
    >>> box = Box((0, 0, 5), (2000, 2000, 27))
    >>> slabs = z_slabs(box, first_chunk_z=0, chunk_depth=4, bytes_per_voxel=8)
    >>> [(slab.lower[2], slab.upper[2]) for slab in slabs]
    [(5, 8), (8, 16), (16, 24), (24, 27)]
    """
    (x0, y0, z0), (x1, y1, z1) = box.lower, box.upper
    planes = max(1, SLAB_BYTES // ((x1 - x0) * (y1 - y0) * bytes_per_voxel))
    if planes >= chunk_depth:
        planes -= planes % chunk_depth
        start = first_chunk_z + (z0 - first_chunk_z) // planes * planes
    else:
        start = z0
    cuts = [z0, *range(start + planes, z1, planes), z1]
    return [Box((x0, y0, a), (x1, y1, b)) for a, b in pairwise(cuts)]


def image_format(path: str) -> str:
    """The format that the ending of a file name stands for: npy, tif or nrrd.

    Raises
    ------
    ImageFileError
        Another ending.
    """
    for ending, name in IMAGE_ENDINGS.items():
        if path.lower().endswith(ending):
            return name
    raise ImageFileError(f"{path} must end in one of {', '.join(IMAGE_ENDINGS)}")


def write_image(
    file: BinaryIO, format_name: str, image: Image, slabs: Iterator[NDArray[Any]]
) -> None:
    """Write an image from its slabs.

    Parameters
    ----------
    file : binary file
        Empty, seekable, readable.
    format_name : {"npy", "tif", "nrrd"}
        What to write.
    image : Image
        Shape, type and place of the voxels.
    slabs : iterator of ndarray, shape (x, y, planes)
        In the order of z. Not asked for before the format is known to be possible.

    Raises
    ------
    ImageFileError
        A library is not installed, or the image is too large for the format.
    """
    _WRITERS[format_name](file, image, slabs)


def _write_npy(file: BinaryIO, image: Image, slabs: Iterator[NDArray[Any]]) -> None:
    """A Fortran-order array (x, y, z): its slabs of z lie one after the other."""
    file.write(npy_header(image.dtype, image.box.shape, fortran_order=True))
    for slab in slabs:
        # The transpose of a Fortran-order slab is its memory as it lies: no copy.
        file.write(np.ascontiguousarray(slab.T).data)


def _write_tif(file: BinaryIO, image: Image, slabs: Iterator[NDArray[Any]]) -> None:
    """One page a z plane; rows are y and columns x."""
    tifffile = _import("tifffile")
    x, y, z = image.box.shape
    nm_x, nm_y, nm_z = image.voxel_size
    pages = (page for slab in slabs for page in np.ascontiguousarray(slab.T))
    with tifffile.TiffWriter(file, bigtiff=image.bytes > _CLASSIC_TIFF_BYTES) as writer:
        writer.write(
            pages,
            shape=(z, y, x),
            dtype=image.dtype,
            photometric="minisblack",
            resolution=(_NM_PER_CM / nm_x, _NM_PER_CM / nm_y),
            resolutionunit="CENTIMETER",
            metadata={
                "axes": "ZYX",
                "spacing": nm_z,
                "unit": "nm",
                "voxel_size_nm": list(image.voxel_size),
                "voxel_offset": list(image.box.lower),
            },
        )


def _write_nrrd(file: BinaryIO, image: Image, slabs: Iterator[NDArray[Any]]) -> None:
    if image.bytes > NRRD_BYTES_LIMIT:
        raise ImageFileError(
            f"a .nrrd of {image.bytes:,} bytes is above the limit of {NRRD_BYTES_LIMIT:,} (it is "
            "made in memory); cut a smaller box, or write .npy or .tif"
        )
    nrrd = _import("nrrd")
    array = np.empty(image.box.shape, dtype=image.dtype, order="F")
    done = 0
    for slab in slabs:
        array[:, :, done : done + slab.shape[2]] = slab
        done += slab.shape[2]
    header = {
        "space dimension": 3,
        "space directions": np.diag(image.voxel_size),
        # NRRD places the centres of voxels.
        "space origin": [
            (corner + 0.5) * size
            for corner, size in zip(image.box.lower, image.voxel_size, strict=True)
        ],
        "space units": ["nm", "nm", "nm"],
        "kinds": ["domain", "domain", "domain"],
        "encoding": "gzip",
    }
    nrrd.write(file, array, header, compression_level=1, index_order="F")


_WRITERS = {"npy": _write_npy, "tif": _write_tif, "nrrd": _write_nrrd}
_PACKAGES = {"tifffile": "tifffile", "nrrd": "pynrrd"}


def _import(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise ImageFileError(
            f"the library {_PACKAGES[module]} is not installed; run: "
            "pip install 'shardreader[images]'"
        ) from None
