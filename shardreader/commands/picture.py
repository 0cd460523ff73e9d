"""``shardreader picture``: a slice, or which shards are here, as a PNG file."""

from __future__ import annotations

import argparse
import re
from typing import TYPE_CHECKING

from shardreader.commands.common import (
    DONE,
    INCOMPLETE,
    CommandError,
    add_any_volume,
    add_cache_dir,
    add_scale,
    add_threads,
    add_units,
    check_units,
    numbers,
    opened_volume,
    progress,
    say,
    segments,
)
from shardreader.storage.volume_path import is_remote

if TYPE_CHECKING:
    from shardreader.pictures.picture import Picture
    from shardreader.volume import Volume

NAME = "picture"
SUMMARY = "a slice coloured by segment, or a map of the shards that are here, as .png"
DESCRIPTION = """\
Write a slice as a PNG file: XY (--slice z=...), XZ (y=...) or YZ (x=...), with a scale bar.
The same segment has the same colour in every picture.
  black     background
  hatched   not downloaded
  red       damaged
At most 1024 pixels along its longer side, and no other voxels are decoded: an overview of a
slice is quick, but a whole slice of FAFB-FFN1 reads half a million chunks; give a --box.
--map shows which shards are in this copy. Needs: pip install 'shardreader[png]'
Exit status 1 if something in the picture is not downloaded or damaged."""
EXAMPLES = """\
  shardreader picture /ssd/fafb-ffn1 --slice z=4068 --box 60000,30000,0,64096,34096,7063 \\
      --units voxel -o slice.png
  shardreader picture /ssd/fafb-ffn1 --slice y=260000 --units nm -o xz.png
  shardreader picture /ssd/fafb-ffn1 --map -o shards.png"""

_PERCENT = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_any_volume(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--slice",
        type=_slice,
        metavar="AXIS=POSITION",
        help="such as z=4068: in voxels, or in the unit that is given",
    )
    what.add_argument("--map", action="store_true", help="which shards are here, layer by layer")
    parser.add_argument(
        "--box",
        type=numbers(6),
        metavar="X0,Y0,Z0,X1,Y1,Z1",
        help="only the part of the slice that is in it; default: all of it",
    )
    add_units(parser, "box and of the slice", needed="one is required with --box")
    parser.add_argument(
        "--segments", type=segments, metavar="ID,...", help="only these in colour, others grey"
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="a .png file")
    add_scale(parser, "the first")
    add_cache_dir(parser)
    add_threads(parser)


def _slice(text: str) -> dict[str, float]:
    axis, equals, position = text.partition("=")
    if not equals or not re.fullmatch("[xyz]", axis):
        raise argparse.ArgumentTypeError(f"expected such as z=4068, found {text!r}")
    return {axis: numbers(1)(position)[0]}


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if not arguments.output.lower().endswith(".png"):
        raise CommandError(f"{arguments.output} must end in .png")
    if arguments.map and is_remote(arguments.volume):
        raise CommandError("--map shows which shards a copy on this machine has; a URL is none")
    if arguments.box is not None:
        check_units(arguments, "box")
    try:
        with opened_volume(arguments) as volume:
            if arguments.map:
                return _write_map(volume, arguments)
            picture = _take(volume, arguments)
        picture.save(arguments.output)
    except ImportError as error:
        if error.name != "PIL":
            raise
        raise CommandError(str(error)) from error
    return _report(picture)


def _take(volume: Volume, arguments: argparse.Namespace) -> Picture:
    box = None if arguments.box is None else (arguments.box[:3], arguments.box[3:])
    with progress(_PERCENT, "%", shares_terminal=False) as show:
        try:
            return volume.picture(
                **arguments.slice,
                box=box,
                units=arguments.units,
                resolution=arguments.resolution,
                segments=arguments.segments,
                progress=lambda part: show(round(part * _PERCENT)),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error


def _write_map(volume: Volume, arguments: argparse.Namespace) -> int:
    from shardreader.copies.copy_map import read_copy_map
    from shardreader.pictures.canvas import png_bytes
    from shardreader.pictures.copy_picture import draw_copy
    from shardreader.runtime.output_file import replacing
    from shardreader.storage.documents import read_volume_files

    if arguments.box is not None or arguments.segments is not None:
        raise CommandError("--map takes no --box and no --segments: it shows the whole copy")
    found = read_copy_map(read_volume_files(volume.path, volume.scale.index, None))
    if found is None:
        raise CommandError(
            f"{volume.path}: scale {volume.scale.key} has no map: its shards are no boxes side by "
            "side (or it is not sharded)"
        )
    data = png_bytes(draw_copy(found))
    with replacing(arguments.output) as file:
        file.write(data)
    return DONE


def _report(picture: Picture) -> int:
    from shardreader.errors import PointStatus

    wrong = [
        f"{picture.count(status):,} {status.name}"
        for status in (PointStatus.CORRUPT, PointStatus.NOT_DOWNLOADED)
        if picture.count(status)
    ]
    if not wrong:
        return DONE
    say(f"of {picture.status.size:,} pixels {', '.join(wrong)}")
    return INCOMPLETE
