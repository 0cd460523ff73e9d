"""``shardreader fetch``: from a bucket to a copy one can trust."""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shardreader.commands.common import (
    INCOMPLETE,
    CommandError,
    add_scale,
    add_units,
    check_units,
    numbers,
    say,
)

if TYPE_CHECKING:
    from shardreader.fetching import FetchProgress, FetchReport

NAME = "fetch"
SUMMARY = "copy a volume, or a part of it, from a bucket; go on with a copy, or repair one"
DESCRIPTION = """\
Copy one scale of a sharded volume from gs://, s3://, https:// or a directory.
With --box or --points: only the chunks that hold them, into shards that say what they have.
All else stays NOT_DOWNLOADED; a later fetch of another part is added to them.
Only the shards that can hold anything are asked for. Each is checked (length, checksum of
the source where it gives one, indices) before it takes its name. Cut off at any moment, the
same command goes on from the byte it had. The info of the copy, with the fetched scales
only, appears at the end; the original is saved as info.bkp.
Needs the extra: pip install 'shardreader[fetch]'
Exit status 0: whole. 1: some shards could not be fetched, or the source or the drive
failed. 2: it could not begin. 130: interrupted."""
EXAMPLES = """\
  shardreader fetch gs://fafb-ffn1-20190805/segmentation ./segmentation --dry-run
  shardreader fetch gs://fafb-ffn1-20190805/segmentation ./segmentation --jobs 16
  shardreader fetch https://host/volume /ssd/volume --scale 16,16,40 --max-rate 50MB/s
  shardreader fetch gs://bucket/volume /ssd/volume --repair report.json
  shardreader fetch gs://bucket/volume part --box 480000,240000,80000,520000,280000,90000 --units nm
  shardreader fetch gs://bucket/volume part --points synapses.csv --resolution 4,4,40 --dry-run"""

_INTERRUPTED = 130
_LINE_SECONDS = 60.0
_SHOWN = 10
_UNITS = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30}
_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?i?)b?(?:/s)?", re.IGNORECASE)
# Where no rate is given, a dry run shows what these would mean: bytes a second.
_USUAL_RATES = (10e6, 50e6, 200e6)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    parser.add_argument("source", metavar="SOURCE", help="URL or directory of the volume")
    parser.add_argument("destination", metavar="DEST", help="directory of the copy")
    add_scale(parser, "the first, which is the finest")
    parser.add_argument(
        "--jobs",
        type=_jobs,
        metavar="N",
        help="shards, or of a part requests, that are under way at a time; default: 8",
    )
    parser.add_argument(
        "--max-rate", type=_rate, metavar="RATE", help="bytes a second, such as 50MB/s"
    )
    parser.add_argument("--dry-run", action="store_true", help="only say what would be done")
    parser.add_argument(
        "--repair",
        metavar="REPORT.json",
        help="fetch exactly what a report of shardreader verify lists as damaged or missing",
    )
    parser.add_argument(
        "--force", action="store_true", help="take the report of a copy under another path"
    )
    parser.add_argument(
        "--auth",
        action="store_true",
        help="use the credentials in the cloud's own variables; default: anonymous",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")
    part = parser.add_argument_group("a part of the volume")
    one_of = part.add_mutually_exclusive_group()
    one_of.add_argument(
        "--box",
        type=numbers(6),
        metavar="X0,Y0,Z0,X1,Y1,Z1",
        help="the chunks that this box touches; the second corner is past the last voxel",
    )
    one_of.add_argument(
        "--points",
        metavar="POINTS",
        help="the chunks that hold these points: CSV, TSV or .parquet with columns x, y, z, "
        ".npy of shape (N, 3), or .swc; of any length; - is standard input (text)",
    )
    part.add_argument(
        "--whole-shards",
        action="store_true",
        help="the shards that the box or the points touch, entire",
    )
    add_units(parser, "box or the points")


def _jobs(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 256:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 256, found {text!r}")
    return int(text)


def _rate(text: str) -> float:
    found = _RATE.fullmatch(text.strip())
    if found is None or found[2].lower() not in _UNITS or not float(found[1]) > 0:
        raise argparse.ArgumentTypeError(f"expected a rate such as 50MB/s, found {text!r}")
    return float(found[1]) * _UNITS[found[2].lower()]


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.errors import InfoError, OutOfBoundsError, ShardReaderError
    from shardreader.fetching import fetch
    from shardreader.fetching.fetching import DEFAULT_JOBS

    _check_part(arguments)
    box = arguments.box
    try:
        with _shown_progress() as progress:
            report = fetch(
                arguments.source,
                arguments.destination,
                scale=arguments.scale,
                box=None if box is None else (box[:3], box[3:]),
                points=arguments.points,
                units=arguments.units,
                resolution=arguments.resolution,
                whole_shards=arguments.whole_shards,
                jobs=arguments.jobs or DEFAULT_JOBS,
                max_rate=arguments.max_rate,
                dry_run=arguments.dry_run,
                repair=arguments.repair,
                force=arguments.force,
                auth=arguments.auth,
                progress=progress,
            )
    except (InfoError, OutOfBoundsError, ValueError) as error:
        raise CommandError(str(error)) from error
    except ShardReaderError as error:
        raise CommandError(str(error), INCOMPLETE) from error
    except KeyboardInterrupt:
        say("interrupted; what came is kept, and the same command goes on from there")
        return _INTERRUPTED
    if arguments.json:
        print(json.dumps({**report.to_json(), "exit_status": report.exit_status}, indent=1))
    else:
        lines = _plan_lines(report, arguments) if report.dry_run else _lines(report)
        print("\n".join(lines))
    return report.exit_status


def _check_part(arguments: argparse.Namespace) -> None:
    if arguments.box is not None or arguments.points is not None:
        if arguments.repair is not None:
            raise CommandError("--repair mends what a report names; it takes no --box, no --points")
        check_units(arguments, "box" if arguments.points is None else "points")
    elif arguments.whole_shards or arguments.units or arguments.resolution:
        raise CommandError(
            "--whole-shards, --units and --resolution belong to --box or --points, which say what "
            "part of the volume to fetch"
        )


def _lines(report: FetchReport) -> Iterator[str]:
    words, what = ("WHOLE", "NOT WHOLE"), ""
    if report.is_part:
        words, what = ("HERE", "NOT ALL HERE"), "a part of "
    yield f"{words[not report.ok]}: {what}{report.source} in {report.destination}"
    yield _scale_line(report)
    now = f"{report.fetched:,} of them fetched now"
    if report.whole or not report.is_part:
        yield _row(report.whole, f"here and checked, {now}")
    if report.partial:
        more = "" if report.whole else f", {now.replace('fetched', 'fetched or added to')}"
        yield _row(report.partial, f"partial, with all that was asked for{more}")
    if report.source_has_none:
        yield _row(report.source_has_none, "that the source does not have")
    left = report.possible - report.whole - report.partial - report.source_has_none
    if left:
        yield _row(left, "not fetched")
    yield (
        f"{report.bytes_fetched:,} bytes in {report.seconds:,.1f} s, "
        f"{report.requests:,} requests, {report.retries:,} of them tried again"
    )
    yield from _problems("started again", [f"{name}: {why}" for name, why in report.restarted])
    yield from _problems("failed", [f"{name}: {why}" for name, why in report.failed])
    yield from (f"note: {note}" for note in report.notes)
    if not report.ok:
        yield "run the same command again to try these again"


def _plan_lines(report: FetchReport, arguments: argparse.Namespace) -> Iterator[str]:
    yield f"would copy {report.source} to {report.destination}"
    yield _scale_line(report)
    if report.whole or not report.is_part:
        yield _row(report.whole, "here already")
    if report.source_has_none:
        yield _row(report.source_has_none, "that the source does not have")
    what = "to ask for, and to fetch if the source has them"
    if report.gap_bytes:
        what = "to look into for chunks that are not here yet"
    elif report.is_listed:
        what = "to fetch"
    yield _row(report.shards_to_fetch, what)
    least = "" if report.bytes_to_fetch is not None else "at least "
    yield f"requests    {least}{report.requests_to_send:,} more ({report.requests:,} to find out)"
    if report.gap_bytes:
        yield (
            f"joined      ranges with at most {report.gap_bytes >> 10} KiB between them, which "
            "costs less than another request"
        )
    yield f"disk        {report.bytes_free:,} bytes free"
    if report.bytes_to_fetch is None:
        yield "bytes       not known before each shard is asked for"
    else:
        yield f"bytes       {report.bytes_to_fetch:,}"
        rates = (arguments.max_rate,) if arguments.max_rate else _USUAL_RATES
        for rate in rates:
            yield f"time        {_duration(report.bytes_to_fetch / rate)} at {rate / 1e6:g} MB/s"
    yield from (f"note: {note}" for note in report.notes)
    if not report.ok:
        yield "DOES NOT FIT on this drive"


def _scale_line(report: FetchReport) -> str:
    if report.is_part:
        return f"scale {report.scale}: shards that the part touches: {report.possible:,}"
    return f"scale {report.scale}: {report.possible:,} possible shards"


def _row(count: int, text: str) -> str:
    return f"  {count:<12,}{text}"


def _problems(what: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"{what}: {len(lines):,}"
    for line in lines[:_SHOWN]:
        yield f"  {line}"
    if len(lines) > _SHOWN:
        yield f"  ... and {len(lines) - _SHOWN:,} more (--json)"


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _progress_line(progress: FetchProgress) -> str:
    rate = progress.bytes_done / max(progress.seconds, 1e-9)
    total = f" of {progress.bytes_total:,}" if progress.bytes_total is not None else ""
    left = ""
    if progress.bytes_total is not None and rate > 0:
        left = f", {_duration((progress.bytes_total - progress.bytes_done) / rate)} left"
    return (
        f"{progress.bytes_done:,}{total} bytes, {progress.shards_done:,} of "
        f"{progress.shards_total:,} shards, {rate / 1e6:.1f} MB/s{left}, "
        f"{progress.retries:,} retries"
    )


@contextmanager
def _shown_progress() -> Iterator[Callable[[FetchProgress], None]]:
    """A bar on a terminal; a line a minute in a log."""
    if not sys.stderr.isatty():
        last = time.monotonic()

        def line(progress: FetchProgress) -> None:
            nonlocal last
            if time.monotonic() - last >= _LINE_SECONDS:
                last = time.monotonic()
                say(_progress_line(progress))

        yield line
        return
    from tqdm import tqdm

    bar: Any = tqdm(unit="B", unit_scale=True, file=sys.stderr, desc="fetch")

    def show(progress: FetchProgress) -> None:
        bar.total = progress.bytes_total
        shards = f"{progress.shards_done:,}/{progress.shards_total:,} shards"
        bar.set_postfix_str(f"{shards}, {progress.retries:,} retries", refresh=False)
        bar.update(progress.bytes_done - bar.n)

    with bar:
        yield show
