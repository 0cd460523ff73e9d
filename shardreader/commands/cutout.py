"""``shardreader cutout``: a box of voxels as an image file."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from shardreader.commands.common import (
    DONE,
    INCOMPLETE,
    CommandError,
    add_any_volume,
    add_box,
    add_cache_dir,
    add_scale,
    add_threads,
    add_units,
    check_units,
    opened_volume,
    progress,
    say,
    voxel_box_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from shardreader.format.grid import Box
    from shardreader.volume import Volume

NAME = "cutout"
SUMMARY = "a box of voxels as .npy, .tif or .nrrd"
DESCRIPTION = """\
Write the segments in a box to a file, by its ending:
  .npy          array in the order x, y, z (Fortran order)
  .tif, .tiff   a page for each z; rows are y, columns x   (pip install 'shardreader[images]')
  .nrrd         x, y, z with voxel size and origin in nm   (pip install 'shardreader[images]')
A box in nm, or in voxels of another size, is widened to whole voxels. The file appears under
its name only when it is whole."""
EXAMPLES = """\
  shardreader cutout /ssd/fafb-ffn1 --box 4096,4096,1024,4608,4608,1088 --units voxel -o box.npy
  shardreader cutout /ssd/fafb-ffn1 --box 400000,150000,90000,404000,154000,92000 --units nm \\
      -o box.tif
  shardreader cutout gs://fafb-ffn1-20190805/segmentation --box 4096,4096,1024,4608,4608,1088 \\
      --units voxel -o box.npy --cache-dir part"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_any_volume(parser)
    add_box(parser)
    add_units(parser, "box")
    parser.add_argument(
        "-o", "--output", required=True, metavar="FILE", help="a .npy, .tif, .tiff or .nrrd file"
    )
    add_scale(parser, "the first")
    parser.add_argument(
        "--missing",
        choices=["error", "zero"],
        default="error",
        help="where a shard file is not in this copy: stop, or write 0, say so and exit with 1; "
        "default: error",
    )
    add_cache_dir(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.errors import NotDownloadedError
    from shardreader.pictures.image_files import (
        Image,
        ImageFileError,
        image_format,
        write_image,
        z_slabs,
    )
    from shardreader.runtime.output_file import replacing

    check_units(arguments, "box")
    try:
        format_name = image_format(arguments.output)
        with opened_volume(arguments, missing=arguments.missing) as volume:
            box = voxel_box_of(volume, arguments)
            slabs = z_slabs(
                box,
                first_chunk_z=volume.voxel_offset[2],
                chunk_depth=volume.chunk_size[2],
                bytes_per_voxel=volume.dtype.itemsize,
            )
            image = Image(box, volume.dtype, volume.resolution)
            with (
                progress(box.shape[2], " planes", shares_terminal=False) as show,
                replacing(arguments.output) as file,
            ):
                write_image(file, format_name, image, _read(volume, slabs, show))
            return DONE if arguments.missing == "error" else _report_missing(volume, slabs)
    except ImageFileError as error:
        raise CommandError(str(error)) from error
    except NotDownloadedError as error:
        raise CommandError(f"{error}\non this command line: --missing zero", INCOMPLETE) from error


def _read(volume: Volume, slabs: list[Box], show: Callable[[int], None]) -> Iterator[NDArray[Any]]:
    for slab in slabs:
        yield volume.cutout(slab)
        show(slab.upper[2] - slabs[0].lower[2])


def _report_missing(volume: Volume, slabs: list[Box]) -> int:
    import numpy as np

    from shardreader.errors import PointStatus

    missing = chunks = 0
    for slab in slabs:
        _, status = volume.stored_chunks(slab)
        missing += int(np.count_nonzero(status == PointStatus.NOT_DOWNLOADED))
        chunks += status.size
    if not missing:
        return DONE
    say(f"{missing:,} of {chunks:,} chunks are not downloaded; their voxels are written as 0")
    return INCOMPLETE
