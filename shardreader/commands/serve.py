"""``shardreader serve``: a local copy for Neuroglancer, over HTTP."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from shardreader.commands.common import DONE, add_volume, say
from shardreader.commands.web import (
    add_port,
    listen_error,
    not_installed,
    say_left_out,
    served_volume,
)

if TYPE_CHECKING:
    from shardreader.viewing.served_volume import ServedVolume

NAME = "serve"
SUMMARY = "serve a local copy to Neuroglancer and other readers"
DESCRIPTION = """\
Serve the copy over HTTP until Ctrl-C, and print the address to paste as a source into
Neuroglancer (the hosted one asks your permission to reach this machine: allow it; Safari
does not). Only this machine can reach it, only with the whole address, and only the files
of the volume.
A chunk that is not downloaded is an error (410), not background (404): Neuroglancer leaves
its place empty. shardreader view marks such places."""
EXAMPLES = """\
  shardreader serve /ssd/fafb-ffn1
  shardreader serve /ssd/fafb-ffn1 --port 8000
  shardreader serve /ssd/fafb-ffn1 --host 0.0.0.0     (everybody in this network)"""

_LOOPBACK = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_volume(parser)
    add_port(parser)
    parser.add_argument(
        "--host",
        default=_LOOPBACK,
        metavar="ADDRESS",
        help=f"the address to listen at; default: {_LOOPBACK}, this machine alone",
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    try:
        from shardreader.viewing.server import VolumeServer
    except ImportError as error:
        raise not_installed(error, "serve") from None
    served = served_volume(arguments.volume)
    try:
        server = VolumeServer(served, host=arguments.host, port=arguments.port)
    except OSError as error:
        raise listen_error(error, arguments.host, arguments.port) from error
    say_left_out(served)
    _say_partial(served)

    def announce() -> None:
        print(f"precomputed://{server.url}", flush=True)
        say("serving; Ctrl-C stops it")

    server.run_until_interrupted(announce)
    say("stopped")
    return DONE


def _say_partial(served: ServedVolume) -> None:
    """Warn of what only this package can tell from background."""
    from shardreader.copies.copy_map import ShardState, read_copy_map
    from shardreader.storage.documents import read_volume_files

    for scale in served.scales:
        found = read_copy_map(read_volume_files(served.directory, scale.index, None))
        count = 0 if found is None else found.count(ShardState.PARTIAL)
        if count:
            say(
                f"partial shards in scale {scale.key}: {count:,}; other readers take the chunks "
                "that these lack for background (shardreader view marks them)"
            )
