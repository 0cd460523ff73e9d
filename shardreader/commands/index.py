"""``shardreader index``: where every segment is, found once for all later questions."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shardreader.commands.common import (
    DONE,
    INCOMPLETE,
    NOT_RUN,
    CommandError,
    add_runner,
    add_scale,
    add_volume,
    opened_runner,
    say,
    shown_progress,
)

if TYPE_CHECKING:
    from shardreader.segment_index import IndexReport

NAME = "index"
SUMMARY = "find out where every segment is, once for all later questions"
DESCRIPTION = """\
Go over every shard once and write down which segments are in which chunks, and with how many
voxels; `shardreader segment` and vol.segment(label) then answer in milliseconds. The index lies
in shardreader-index beside the info, or in the directory that --out names. It takes its name only
when it is whole, and it knows which version of each shard it was made from.
Sharded segmentations of one channel. Needs: pip install 'shardreader[index]'
Exit status 0: the whole volume is indexed. 1: shards are missing, damaged or were left out; the
rest is indexed. 130: interrupted; --resume goes on."""
EXAMPLES = """\
  shardreader index /ssd/fafb-ffn1
  shardreader index /ssd/fafb-ffn1 --resume          go on, or take in shards that have changed
  shardreader index /ssd/fafb-ffn1 --shards 0a3f,0b00-0bff
  shardreader index /mnt/read-only --out ~/indices
  shardreader index /nfs/fafb-ffn1 --dask tcp://node1:8786"""

_INTERRUPTED = 130
_FINDINGS_TOLD = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_volume(parser)
    add_scale(parser, "the first")
    parser.add_argument(
        "--shards", metavar="LIST", help="read only these, such as 0a3f,0b00-0bff (hexadecimal)"
    )
    add_runner(parser)
    parser.add_argument(
        "--resume",
        action="store_true",
        help="keep what earlier runs found in shards that have not changed since",
    )
    parser.add_argument(
        "--out",
        metavar="DIR",
        help="a directory for the index; default: shardreader-index beside the info",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.errors import ClusterError, ReadError, ShardReaderError
    from shardreader.runtime.workers import cores
    from shardreader.segment_index.build_lock import IndexLockedError
    from shardreader.segment_index.building import Build
    from shardreader.storage.documents import read_volume_files

    try:
        files = read_volume_files(arguments.volume, arguments.scale, None)
    except ShardReaderError as error:
        raise CommandError(str(error)) from error
    with opened_runner(arguments, files.directory) as runner:
        with shown_progress(NAME) as progress:
            try:
                build = Build(
                    files,
                    runner,
                    shards=arguments.shards,
                    out=arguments.out,
                    resume=arguments.resume,
                    progress=progress,
                )
            except (ShardReaderError, ValueError) as error:
                raise CommandError(str(error)) from error
            try:
                report = build.run(sort_threads=arguments.threads or cores())
            except KeyboardInterrupt:
                say("interrupted; go on with the same command and --resume")
                return _INTERRUPTED
            except (ClusterError, IndexLockedError) as error:
                raise CommandError(str(error), NOT_RUN) from error
            except ReadError as error:
                raise CommandError(str(error), INCOMPLETE) from error
    _tell(report)
    return DONE if report.ok else INCOMPLETE


def _tell(report: IndexReport) -> None:
    from shardreader.verification.wording import finding_text

    print(f"wrote {report.path}")
    print(f"  shards      {report.shards:,} indexed, {report.resumed_shards:,} of them earlier")
    print(
        f"  segments    {report.segments:,} of {report.voxels:,} voxels, in {report.rows:,} rows "
        "of a segment in a chunk"
    )
    print(
        f"  size        {report.index_bytes:,} bytes, of {report.totals.file_bytes:,} bytes of "
        "shards"
    )
    print(f"  time        {report.seconds:.1f} s, {report.sort_seconds:.1f} s of it to sort")
    for reason in report.coverage.reasons():
        print(f"  incomplete  {reason}")
    for finding in report.findings[:_FINDINGS_TOLD]:
        print(f"  damage      {finding.kind}: {finding_text(finding)}")
    if report.findings:
        print("              what is damaged has no rows; shardreader verify says all about it")
