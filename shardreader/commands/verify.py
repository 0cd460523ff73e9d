"""``shardreader verify``: is this copy whole, and if not, exactly what is wrong."""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from shardreader.commands.common import (
    DONE,
    INCOMPLETE,
    NOT_RUN,
    CommandError,
    add_runner,
    add_scale,
    add_volume,
    numbers,
    opened_runner,
    say,
    shown_progress,
)

if TYPE_CHECKING:
    from shardreader.format.manifest import Manifest
    from shardreader.verification.run import Question, Verification
    from shardreader.verification.state import State

NAME = "verify"
SUMMARY = "is this copy whole, and if not, exactly what is wrong"
DESCRIPTION = """\
Check the copy against its info, its manifest and the rules of the format.
  quick  which shards are here, and all that their indices say
  full   quick, and every chunk inflated, its checksum checked, every voxel followed to its label
  deep   full, and a share of the chunks decoded by another implementation (--cross-check)
A shard that is absent is missing, unless the manifest (shardreader adopt), --listing
or --allow-absent says otherwise.
Exit status 0: whole. 1: something is damaged, missing or unknown. 130: interrupted, or
2: the scheduler of --dask went away; the report so far is printed, and --resume goes on."""
EXAMPLES = """\
  shardreader verify /ssd/fafb-ffn1
  shardreader verify /ssd/fafb-ffn1 --level quick --listing gsutil-ls.txt
  shardreader verify /ssd/fafb-ffn1 --shards 0a3f,0b00-0bff --report report.html
  shardreader verify /ssd/fafb-ffn1 --resume
  shardreader verify /nfs/fafb-ffn1 --dask tcp://node1:8786"""

_INTERRUPTED = 130


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_volume(parser)
    add_scale(parser, "all")
    parser.add_argument(
        "--level", choices=["quick", "full", "deep"], default="full", help="default: full"
    )
    parser.add_argument(
        "--shards", metavar="LIST", help="only these, such as 0a3f,0b00-0bff (hexadecimal)"
    )
    parser.add_argument(
        "--box",
        type=numbers(6),
        metavar="X0,Y0,Z0,X1,Y1,Z1",
        help="only the chunks that a box touches; needs --units",
    )
    parser.add_argument("--units", choices=["voxel", "nm"], help="unit of --box")
    add_runner(parser)
    parser.add_argument(
        "--allow-absent", action="store_true", help="shards that are absent are so on purpose"
    )
    known = parser.add_mutually_exclusive_group()
    known.add_argument(
        "--listing",
        metavar="FILE",
        help="saved output of gsutil ls -l, gsutil ls -L or gcloud storage ls with either",
    )
    known.add_argument(
        "--source",
        metavar="URL",
        help="ask the source what it has: gs://, s3://, https:// or a directory",
    )
    parser.add_argument(
        "--cross-check",
        type=_fraction,
        default=0.0,
        metavar="F",
        help="share of the chunks that another implementation decodes too; with --level deep",
    )
    parser.add_argument("--json", action="store_true", help="print the report as one JSON document")
    parser.add_argument("--report", metavar="FILE", help="write it to a .json, .md or .html file")
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run")
    parser.add_argument(
        "--state",
        metavar="FILE",
        help="where the results of a run are kept until it ends; default: beside the info",
    )


def _fraction(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"expected a number from 0 to 1, found {text!r}")
    return value


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.errors import ClusterError, ReadError, ShardReaderError
    from shardreader.verification.run import Verification

    question = _question(arguments)
    with opened_runner(arguments, question.directory) as runner:
        with shown_progress(arguments.level) as progress:
            try:
                verification = Verification(question, runner, progress)
            except ShardReaderError as error:
                raise CommandError(str(error)) from error
            # Only now: a question that is refused leaves the file as it is, or makes none.
            state = _state(arguments, question)
            failure: BaseException | None = None
            try:
                verification.run(state)
            except (KeyboardInterrupt, ReadError, ClusterError) as error:
                failure = error
    if state is not None:
        state.close()
    status = _publish(verification, arguments)
    if isinstance(failure, KeyboardInterrupt):
        say("interrupted; go on with the same command and --resume")
        return _INTERRUPTED
    if failure is not None:
        # Without its cluster the command could not run; with its drive gone it has no answer.
        status = NOT_RUN if isinstance(failure, ClusterError) else INCOMPLETE
        raise CommandError(str(failure), status)
    if status == DONE and state is not None:
        state.remove()
    return status


def _question(arguments: argparse.Namespace) -> Question:
    from shardreader.errors import ShardReaderError
    from shardreader.verification.report import check_report_path
    from shardreader.verification.verifying import ask

    if arguments.box is not None and arguments.units is None:
        raise CommandError("give the unit of the box: --units voxel or --units nm")
    box = None if arguments.box is None else (arguments.box[:3], arguments.box[3:])
    try:
        if arguments.report is not None:
            check_report_path(arguments.report)
        return ask(
            arguments.volume,
            scale=arguments.scale,
            level=arguments.level,
            shards=arguments.shards,
            box=box,
            units=arguments.units,
            manifest=_listed(arguments),
            allow_absent=arguments.allow_absent,
            cross_check=arguments.cross_check,
        )
    except (ShardReaderError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from error


def _listed(arguments: argparse.Namespace) -> Manifest | None:
    if arguments.listing is None and arguments.source is None:
        return None
    from shardreader.copies.listed_source import manifest_of, read_source
    from shardreader.storage.documents import read_info
    from shardreader.storage.volume_path import directory_of

    volume = read_info(directory_of(arguments.volume))
    if arguments.source is not None:
        from shardreader.fetching.asking import ask_source

        manifest, notes = ask_source(arguments.source, volume, directory_of(arguments.volume))
        for note in notes:
            say(note)
        return manifest
    source = read_source(arguments.listing, volume)
    for note in source.notes:
        say(note)
    return manifest_of(source)


def _state(arguments: argparse.Namespace, question: Question) -> State | None:
    """Where results are kept; a volume that cannot be written is verified without."""
    from shardreader.errors import ReadError
    from shardreader.verification.state import State, default_state_path

    path = arguments.state or default_state_path(question.directory)
    try:
        return State(path, start_anew=not arguments.resume)
    except ReadError as error:
        if arguments.state is not None or arguments.resume:
            raise CommandError(str(error)) from error
        say(f"no --resume after this run: {error}")
        return None


def _publish(verification: Verification, arguments: argparse.Namespace) -> int:
    from shardreader.verification.render_text import render_text
    from shardreader.verification.report import render_json

    report = verification.report()
    if arguments.report is not None and arguments.report.lower().endswith(".json"):
        report = replace(report, saved_as=arguments.report)
    sys.stdout.write(render_json(report) if arguments.json else render_text(report))
    sys.stdout.flush()
    if arguments.report is not None:
        report.write(arguments.report)
    return report.exit_status
