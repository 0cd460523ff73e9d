"""``shardreader labels``: the segments in a box."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import contextmanager
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
    say,
    voxel_box_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

    from numpy.typing import NDArray

    from shardreader.format.grid import Box
    from shardreader.labels.label_scan import LabelScan
    from shardreader.volume import Volume

NAME = "labels"
SUMMARY = "the segments in a box, and how many voxels each has"
DESCRIPTION = """\
Print the segments in a box of any size as a table: label, voxels (with --counts), status. The
labels are counted in their packed form; no voxel is decoded. 0 is a label like any other; a
chunk that is not stored is background, 0. What cannot be seen is a row of its own, without a
label: NOT_DOWNLOADED (the shard file is not in this copy) or CORRUPT (damaged)."""
EXAMPLES = """\
  shardreader labels /ssd/fafb-ffn1 --box 4096,4096,1024,4608,4608,1088 --units voxel
  shardreader labels /ssd/fafb-ffn1 --box 400000,150000,90000,404000,154000,92000 --units nm \\
      --top 20
  shardreader labels /ssd/fafb-ffn1 --box 4096,4096,1024,8192,8192,2048 --units voxel --counts \\
      -o counts.csv"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_any_volume(parser)
    add_box(parser)
    add_units(parser, "box")
    parser.add_argument("--counts", action="store_true", help="also how many voxels each has")
    parser.add_argument(
        "--top",
        type=_positive,
        metavar="N",
        help="only the N with most voxels, those first; with their counts",
    )
    output = parser.add_mutually_exclusive_group()
    output.add_argument("--json", action="store_true", help="print one JSON document")
    output.add_argument("-o", "--output", metavar="FILE", help="write the table to a .csv file")
    parser.add_argument(
        "--channel", type=int, metavar="C", help="required where the volume has more than one"
    )
    add_scale(parser, "the first")
    add_cache_dir(parser)
    add_threads(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    check_units(arguments, "box")
    if arguments.output is not None and not arguments.output.lower().endswith(".csv"):
        raise CommandError(f"{arguments.output} must end in .csv")
    with opened_volume(arguments) as volume:
        box = voxel_box_of(volume, arguments)
        scan = _scanned(volume, box, arguments)
        labels, counts, total = _chosen(scan, arguments.top)
        signed = volume.dtype.kind == "i"
        texts = [str(label) for label in (labels.view("i8") if signed else labels).tolist()]
        with_counts = arguments.counts or arguments.top is not None
        if arguments.json:
            _print_json(volume, box, scan, texts, counts, total)
        else:
            with _opened_table(arguments.output) as file:
                _write_table(file, scan, texts, counts, with_counts=with_counts)
    return _report(scan, box)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number above 0, found {text!r}")
    return int(text)


def _scanned(volume: Volume, box: Box, arguments: argparse.Namespace) -> LabelScan:
    # A bar would be mixed into a table on the same terminal.
    on_terminal = arguments.output is None and sys.stdout.isatty()
    try:
        return volume.scan(box, channel=arguments.channel, progress=not on_terminal)
    except (TypeError, ValueError) as error:
        # No channel, a wrong one, or a volume of floats.
        raise CommandError(str(error).replace("channel=0", "--channel 0")) from error


def _chosen(scan: LabelScan, top: int | None) -> tuple[NDArray[Any], NDArray[Any], int]:
    """The labels to be shown, their counts, and how many labels there are."""
    import numpy as np

    labels, counts, _ = scan.tally.result()
    if top is None:
        return labels, counts, len(labels)
    order = np.lexsort((labels, -counts))[:top]
    return labels[order], counts[order], len(labels)


def _print_json(
    volume: Volume,
    box: Box,
    scan: LabelScan,
    labels: list[str],
    counts: NDArray[Any],
    total: int,
) -> None:
    document = {
        "path": volume.path,
        "scale": volume.scale.key,
        "box": [list(box.lower), list(box.upper)],
        "voxels": box.voxels,
        "distinct_labels": total,
        "labels": [
            {"label": label, "voxels": count}
            for label, count in zip(labels, counts.tolist(), strict=True)
        ],
        "unseen": {status.name: voxels for status, voxels in sorted(scan.unseen.items())},
    }
    print(json.dumps(document, indent=1))


@contextmanager
def _opened_table(output: str | None) -> Iterator[TextIO]:
    import io

    from shardreader.runtime.output_file import replacing

    if output is None:
        yield sys.stdout
        return
    with replacing(output) as file:
        text = io.TextIOWrapper(file, encoding="ascii", newline="")
        yield text
        text.flush()
        text.detach()


def _write_table(
    file: TextIO,
    scan: LabelScan,
    labels: list[str],
    counts: NDArray[Any],
    *,
    with_counts: bool,
) -> None:
    file.write("label,voxels,status\n" if with_counts else "label,status\n")
    rows = [(label, count, "OK") for label, count in zip(labels, counts.tolist(), strict=True)]
    rows += [("", voxels, status.name) for status, voxels in sorted(scan.unseen.items())]
    for label, voxels, status in rows:
        file.write(f"{label},{voxels},{status}\n" if with_counts else f"{label},{status}\n")


def _report(scan: LabelScan, box: Box) -> int:
    """Say what could not be seen; returns the exit status."""
    if not scan.unseen:
        return DONE
    parts = ", ".join(f"{voxels:,} {status.name}" for status, voxels in sorted(scan.unseen.items()))
    say(f"of {box.voxels:,} voxels {parts}: these have no label in the table")
    for status, error in sorted(scan.problems.items()):
        say(f"{status.name}: {error}")
    return INCOMPLETE
