"""Arguments, errors and progress that the commands share."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardreader.format.grid import Box
    from shardreader.runtime.runner import Runner
    from shardreader.verification.run import Progress
    from shardreader.volume import Volume

__all__ = [
    "DONE",
    "INCOMPLETE",
    "NOT_RUN",
    "CommandError",
    "add_any_volume",
    "add_box",
    "add_cache_dir",
    "add_runner",
    "add_scale",
    "add_threads",
    "add_units",
    "add_volume",
    "check_units",
    "numbers",
    "opened_runner",
    "opened_volume",
    "progress",
    "say",
    "segments",
    "shown_progress",
    "voxel_box_of",
]

DONE = 0
"""Exit status: done and whole."""
INCOMPLETE = 1
"""Exit status: it ran, and something is wrong, missing or unknown."""
NOT_RUN = 2
"""Exit status: it could not run."""

_LARGEST_SEGMENT = (1 << 64) - 1


class CommandError(Exception):
    """A command cannot go on; the message is for the user."""

    def __init__(self, message: str, exit_status: int = NOT_RUN) -> None:
        super().__init__(message)
        self.exit_status = exit_status


def say(message: str) -> None:
    """Tell the user something that is not the answer, on standard error."""
    print(f"shardreader: {message}", file=sys.stderr)


def numbers(count: int) -> Callable[[str], tuple[float, ...]]:
    """An argument type: `count` finite numbers with commas between them.

    Whole numbers are ints, so that they stay exact.
    """

    def parse(text: str) -> tuple[float, ...]:
        parts = text.split(",")
        try:
            values = tuple(_number(part) for part in parts)
        except ValueError:
            values = ()
        if len(parts) != count or len(values) != count:
            raise argparse.ArgumentTypeError(
                f"expected {count} numbers with commas between them, found {text!r}"
            )
        return values

    return parse


def _number(text: str) -> float:
    if "_" in text:
        raise ValueError(text)
    try:
        return int(text)
    except ValueError:
        value = float(text)
        if not math.isfinite(value):
            raise ValueError(text) from None
        return value


def _resolution(text: str) -> tuple[float, ...]:
    values = numbers(3)(text)
    if min(values) <= 0:
        raise argparse.ArgumentTypeError(f"expected three numbers above 0 (nm), found {text!r}")
    return values


def _threads(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"expected a number from 1 to 1024, found {text!r}")
    return int(text)


def _scale(text: str) -> object:
    if text.isdecimal():
        return int(text)
    try:
        return numbers(3)(text)
    except argparse.ArgumentTypeError:
        return text


def segments(text: str) -> tuple[int, ...]:
    """An argument type: segment ids with commas between them, exact."""
    parts = text.split(",")
    if not all(part.isdecimal() and int(part) <= _LARGEST_SEGMENT for part in parts):
        raise argparse.ArgumentTypeError(
            f"expected segment ids with commas between them, found {text!r}"
        )
    return tuple(map(int, parts))


def add_volume(parser: argparse.ArgumentParser) -> None:
    """The volume that a command works on."""
    parser.add_argument(
        "volume", metavar="PATH", help="directory of the volume, the one with the info file"
    )


def add_any_volume(parser: argparse.ArgumentParser) -> None:
    """The volume that a command reads, here or elsewhere."""
    parser.add_argument(
        "volume",
        metavar="PATH",
        help="directory of the volume, the one with the info file, or its URL: gs://, s3://, "
        "https:// (pip install 'shardreader[fetch]')",
    )


def add_cache_dir(parser: argparse.ArgumentParser) -> None:
    """Where what is read of a URL is kept."""
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="of a URL, keep what is read in this directory, as a copy of its own, and look there "
        "first the next time",
    )


def add_box(parser: argparse.ArgumentParser) -> None:
    """The box that a command works on."""
    parser.add_argument(
        "--box",
        type=numbers(6),
        required=True,
        metavar="X0,Y0,Z0,X1,Y1,Z1",
        help="the first corner, and the one just past the last voxel",
    )


def add_scale(parser: argparse.ArgumentParser, default: str) -> None:
    """Which scale of the volume; `default` says what is done without it."""
    parser.add_argument(
        "--scale",
        type=_scale,
        metavar="S",
        help=f"index (0), key (8.0x8.0x40.0) or voxel size in nm (8,8,40); default: {default}",
    )


def add_threads(parser: argparse._ActionsContainer) -> None:
    """How many threads read."""
    parser.add_argument(
        "--threads", type=_threads, metavar="N", help="threads that read; default: one per core"
    )


def add_runner(parser: argparse.ArgumentParser) -> None:
    """What does the work: threads here, or a cluster."""
    group = parser.add_mutually_exclusive_group()
    add_threads(group)
    group.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="let the workers of this dask scheduler (tcp://node1:8786) do the work; all see the "
        "volume under the same path. Needs pip install 'shardreader[dask]'",
    )


def add_units(
    parser: argparse.ArgumentParser, what: str, *, needed: str = "one is required"
) -> None:
    """The unit of coordinates: one of the two must be given."""
    group = parser.add_argument_group(
        f"unit of the {what} ({needed})",
        "There is no default: a coordinate in the wrong unit lands on another segment without\n"
        "any error. The voxels of FAFB-FFN1 are 8 x 8 x 40 nm, but fafbseg and CATMAID users\n"
        "count voxels of 4 x 4 x 40 nm (--resolution 4,4,40).",
    ).add_mutually_exclusive_group()
    group.add_argument(
        "--units", choices=["voxel", "nm"], help="voxels of the scale that is read, or nanometres"
    )
    group.add_argument(
        "--resolution", type=_resolution, metavar="X,Y,Z", help="voxels of this size in nm"
    )


def check_units(arguments: argparse.Namespace, what: str) -> None:
    """Refuse to guess a unit."""
    if arguments.units is None and arguments.resolution is None:
        raise CommandError(
            f"give the unit of the {what}: --units voxel, --units nm or --resolution X,Y,Z (nm)\n"
            "there is no default: FAFB-FFN1 has voxels of 8 x 8 x 40 nm, but fafbseg and CATMAID "
            "users count in 4 x 4 x 40 (--resolution 4,4,40)"
        )


def voxel_box_of(volume: Volume, arguments: argparse.Namespace) -> Box:
    """The voxels that ``--box`` means; a `CommandError` where it has none in the volume."""
    from shardreader.reading.points import voxel_box

    corners = (arguments.box[:3], arguments.box[3:])
    try:
        box = voxel_box(
            corners,
            units=arguments.units,
            resolution=arguments.resolution,
            voxel_size=volume.resolution,
        )
    except ValueError as error:
        raise CommandError(f"--box: {error}") from error
    if box.is_empty:
        raise CommandError(f"--box holds no voxel: {box}; its second corner is past the last voxel")
    if not volume.bounds.contains(box):
        raise CommandError(
            f"--box is not inside the volume: voxels {box}, the volume is {volume.bounds}; "
            "is the unit right?"
        )
    return box


@contextmanager
def opened_runner(arguments: argparse.Namespace, directory: str) -> Iterator[Runner]:
    """What the arguments of `add_runner` name; a cluster that cannot be used is a `CommandError`.

    Raises
    ------
    CommandError
    """
    from shardreader.cluster.dask_runner import connect, disconnect, make_runner
    from shardreader.errors import ShardReaderError

    if arguments.dask is None:
        yield make_runner(directory, threads=arguments.threads, client=None)
        return
    try:
        client = connect(arguments.dask)
    except ShardReaderError as error:
        raise CommandError(str(error)) from error
    with _quiet_dask():
        try:
            yield make_runner(directory, threads=None, client=client, tell=say)
        finally:
            disconnect(client)


@contextmanager
def _quiet_dask() -> Iterator[None]:
    """Keep dask from logging with a traceback what the command says in a line."""
    import logging

    handlers = logging.getLogger("distributed").handlers
    levels = [handler.level for handler in handlers]
    try:
        for handler in handlers:
            handler.setLevel(logging.CRITICAL)
        yield
    finally:
        for handler, level in zip(handlers, levels, strict=True):
            handler.setLevel(level)


@contextmanager
def opened_volume(
    arguments: argparse.Namespace, *, missing: str = "error", index: str | None = None
) -> Iterator[Volume]:
    """The volume that the arguments name; whatever keeps it from opening is a `CommandError`."""
    import shardreader

    try:
        volume = shardreader.open_volume(
            arguments.volume,
            arguments.scale,
            missing=missing,
            threads=arguments.threads,
            cache_dir=getattr(arguments, "cache_dir", None),  # not all have it
            index=index,
        )
    except (shardreader.ShardReaderError, ValueError) as error:
        raise CommandError(str(error)) from error
    with volume:
        yield volume


@contextmanager
def progress(
    total: int | None, unit: str, *, shares_terminal: bool
) -> Iterator[Callable[[int], None]]:
    """A progress bar on standard error, if that is a terminal; takes how much is done so far.

    Parameters
    ----------
    total : int or None
        None where the end is not known.
    unit : str
        What is counted.
    shares_terminal : bool
        Whether the answer goes to standard output; a bar would be mixed into it on a terminal.
    """
    from shardreader.runtime.progress_bar import progress_bar

    mixed = shares_terminal and sys.stdout.isatty()
    with progress_bar(total, unit, wanted=not mixed) as show:
        yield show


@contextmanager
def shown_progress(what: str) -> Iterator[Callable[[Progress], None] | None]:
    """A bar with bytes done and to do, rate, time left and findings, if there is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from tqdm import tqdm

    bar: Any = tqdm(unit="B", unit_scale=True, file=sys.stderr, desc=what)

    def show(progress: Progress) -> None:
        if bar.total is None:
            # What an earlier run did says nothing about the rate of this one.
            bar.reset(total=progress.bytes_total)
            bar.initial = bar.n = progress.bytes_done
        told = f"{progress.findings:,} findings"
        if progress.workers is not None:
            told += f", {progress.workers:,} workers"
        bar.set_postfix_str(told, refresh=False)
        bar.update(progress.bytes_done - bar.n)

    with bar:
        yield show
