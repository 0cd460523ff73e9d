"""``shardreader adopt``: the manifest of a copy that gsutil made."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shardreader.commands.common import DONE, INCOMPLETE, CommandError, add_volume, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from shardreader.fetching.adoption import AdoptedScale, Adoption

NAME = "adopt"
SUMMARY = "write the manifest of a copy that gsutil or another program made"
DESCRIPTION = """\
Write shardreader-manifest.json beside the info: what the source has, so that an absent
shard is known to be background, or known to be missing.
Says what is missing, of wrong size and unexpected. Looks at names and sizes; the data is
checked by shardreader verify, against the checksums of the listing where it has them.
Exit status 0: the copy has all files. 1: something is missing, wrong or unknown."""
EXAMPLES = """\
  shardreader adopt /ssd/fafb-ffn1 --source gs://BUCKET/VOLUME
  gsutil ls -L gs://BUCKET/VOLUME/8.0x8.0x40.0/ > listing.txt
  shardreader adopt /ssd/fafb-ffn1 --listing listing.txt
  shardreader adopt /ssd/fafb-ffn1 --assume-complete"""

_SHOWN = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_volume(parser)
    known = parser.add_mutually_exclusive_group(required=True)
    known.add_argument(
        "--listing",
        metavar="FILE",
        help="saved output of gsutil ls -l, gsutil ls -L or gcloud storage ls with either",
    )
    known.add_argument(
        "--assume-complete",
        action="store_true",
        help="on your word, which is recorded: the source has what is here and no more",
    )
    known.add_argument(
        "--source",
        metavar="URL",
        help="ask the source what it has: gs://, s3://, https:// or a directory",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    from shardreader.errors import ShardReaderError
    from shardreader.fetching.adoption import adopt_copy

    try:
        adoption = adopt_copy(
            arguments.volume,
            source=arguments.source,
            listing=arguments.listing,
            assume_complete=arguments.assume_complete,
        )
    except ShardReaderError as error:
        raise CommandError(str(error)) from error
    for note in adoption.notes:
        say(note)
    print("\n".join(_lines(adoption)))
    return DONE if adoption.ok else INCOMPLETE


def _lines(adoption: Adoption) -> Iterator[str]:
    yield f"wrote {adoption.path}"
    if adoption.manifest.source:
        yield f"  source      {adoption.manifest.source}"
    for scale in adoption.scales:
        yield from _scale_lines(scale)


def _scale_lines(scale: AdoptedScale) -> Iterator[str]:
    yield f"scale {scale.key}: {scale.possible:,} possible shards"
    yield f"  {scale.whole:<12,}here, of the size of the source"
    yield from _some("partial, with the chunks that were fetched", scale.partial)
    if scale.source_has_none:
        yield f"  {scale.source_has_none:<12,}that the source does not have either"
    if scale.unknown:
        yield f"  {scale.unknown:<12,}of which nothing is known"
    yield from _some("missing", scale.missing)
    yield from _some(
        "of wrong size",
        [
            f"{name} ({found:,} bytes, not {expected:,})"
            for name, expected, found in scale.wrong_size
        ],
    )
    yield from _some("unexpected: the source does not have them", scale.unexpected)


def _some(what: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        more = f", and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
        yield f"  {len(names):<12,}{what}: {', '.join(names[:_SHOWN])}{more}"
