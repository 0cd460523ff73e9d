"""``shardreader segment``: where is a segment, how large is it, its mask."""

from __future__ import annotations

import argparse
import json
import os
import shutil
from typing import TYPE_CHECKING, Any

from shardreader.commands.common import (
    DONE,
    INCOMPLETE,
    CommandError,
    add_scale,
    add_threads,
    add_volume,
    progress,
    say,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from shardreader.format.grid import Box
    from shardreader.segments import Segment
    from shardreader.volume import Volume

NAME = "segment"
SUMMARY = "where is a segment, and how large is it"
DESCRIPTION = """\
Look a segment up in the index that `shardreader index` built: its voxels and volume, the chunks
that it is in, a voxel inside it. With -o its mask (1 inside, 0 outside) in its bounding box goes
to a .npy, .tif or .nrrd file, as a cutout does; only its own chunks are read.
Exit status 0: the index covers the whole volume. 1: the answer may be incomplete, because shards
are missing, damaged or have changed, or there is no such segment in what is indexed."""
EXAMPLES = """\
  shardreader segment /ssd/fafb-ffn1 2142873971
  shardreader segment /ssd/fafb-ffn1 2142873971 --json
  shardreader segment /ssd/fafb-ffn1 2142873971 -o mask.tif"""

# A plane of the mask is in memory whole.
_MOST_PLANE_BYTES = 1 << 30


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_volume(parser)
    parser.add_argument("label", metavar="LABEL", type=_label, help="the segment, above 0")
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    parser.add_argument(
        "-o", "--output", metavar="FILE", help="write its mask to a .npy, .tif, .tiff or .nrrd file"
    )
    parser.add_argument(
        "--index", metavar="DIR", help="the directory that --out of shardreader index named"
    )
    add_scale(parser, "the first")
    add_threads(parser)


def _label(text: str) -> int:
    # int() would take 1_000, and spaces.
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 1 << 64):
        raise argparse.ArgumentTypeError(f"expected a label, an integer above 0, found {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    with _opened(arguments) as volume:
        segment = _segment(volume, arguments.label)
        if arguments.output is not None:
            _write(volume, segment, arguments.output)
        if arguments.json:
            print(json.dumps(segment.to_json(), indent=1))
        elif arguments.output is None:
            _tell(volume, segment)
        if segment.coverage.is_complete:
            return DONE
        if arguments.json or arguments.output is not None:
            say(f"segment {segment.label} {segment.coverage}")
        return INCOMPLETE


def _opened(arguments: argparse.Namespace) -> Volume:
    import shardreader

    try:
        return shardreader.open_volume(
            arguments.volume, arguments.scale, threads=arguments.threads, index=arguments.index
        )
    except shardreader.ShardReaderError as error:
        raise CommandError(str(error)) from error


def _segment(volume: Volume, label: int) -> Segment:
    from shardreader.errors import SegmentIndexError, ShardReaderError, UnknownSegmentError

    try:
        return volume.segment(label)
    except UnknownSegmentError as error:
        raise CommandError(str(error), INCOMPLETE) from error
    except (SegmentIndexError, ValueError) as error:
        raise CommandError(str(error)) from error
    except ShardReaderError as error:
        raise CommandError(str(error), INCOMPLETE) from error


def _tell(volume: Volume, segment: Segment) -> None:
    bounds = segment.chunk_bounds
    print(f"segment {segment.label} of {volume.path}, scale {volume.scale.key}")
    print(f"  voxels      {segment.voxel_count:,}, which is {segment.volume_nm3 / 1e9:,.6g} um3")
    print(f"  chunks      {len(segment.chunk_ids):,}, all in voxels {bounds}")
    print("  inside      voxel {}, {}, {}".format(*segment.representative_voxel))
    print(f"  index       {segment.coverage}")


def _write(volume: Volume, segment: Segment, path: str) -> None:
    import numpy as np

    from shardreader.pictures.image_files import (
        Image,
        ImageFileError,
        image_format,
        write_image,
        z_slabs,
    )
    from shardreader.runtime.output_file import replacing

    try:
        format_name = image_format(path)
        box = segment.bounding_box()
        image = Image(box, np.dtype(np.uint8), volume.resolution)
        _refuse_too_large(image.bytes, box, path)
        slabs = z_slabs(
            box,
            first_chunk_z=volume.voxel_offset[2],
            chunk_depth=volume.chunk_size[2],
            bytes_per_voxel=1,
        )
        with (
            progress(box.shape[2], " planes", shares_terminal=False) as show,
            replacing(path) as file,
        ):
            write_image(file, format_name, image, _masks(segment, slabs, show))
    except ImageFileError as error:
        raise CommandError(str(error)) from error


def _refuse_too_large(image_bytes: int, box: Box, path: str) -> None:
    x, y, _ = box.shape
    if x * y > _MOST_PLANE_BYTES:
        raise CommandError(
            f"the bounding box {box} has planes of {x} x {y} voxels, more than "
            f"{_MOST_PLANE_BYTES:,}; write parts of it with segment.mask(box) from Python"
        )
    folder = os.path.dirname(os.path.abspath(path))
    free = shutil.disk_usage(folder).free if os.path.isdir(folder) else image_bytes
    if not path.lower().endswith(".nrrd") and image_bytes > free:
        raise CommandError(
            f"{path}: a mask of {image_bytes:,} bytes, for the bounding box {box}, does not fit: "
            f"{free:,} bytes are free",
            INCOMPLETE,
        )


def _masks(
    segment: Segment, slabs: list[Box], show: Callable[[int], None]
) -> Iterator[NDArray[Any]]:
    import numpy as np

    from shardreader.errors import SegmentIndexError

    found = 0
    for slab in slabs:
        mask = segment.mask(slab)
        found += int(np.count_nonzero(mask))
        yield mask.view(np.uint8)
        show(slab.upper[2] - slabs[0].lower[2])
    if found != segment.voxel_count:
        raise SegmentIndexError(
            f"segment {segment.label}: expected {segment.voxel_count} voxels, as the index says, "
            f"found {found}: the volume has changed since; build the index again with: "
            "shardreader index --resume"
        )
