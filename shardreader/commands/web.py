"""What the commands that serve a copy share. Floor 6."""

from __future__ import annotations

import argparse
import errno
from typing import TYPE_CHECKING

from shardreader.commands.common import CommandError, say

if TYPE_CHECKING:
    from shardreader.serving.server import VolumeServer

__all__ = ["add_port", "listen_error", "start_server"]

_LAST_PORT = 65535


def add_port(parser: argparse.ArgumentParser) -> None:
    """Where the page or the volume is served."""
    parser.add_argument(
        "--port", type=_port, default=0, metavar="N", help="default: one that is free"
    )


def _port(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= _LAST_PORT:
        raise argparse.ArgumentTypeError(f"expected a port from 1 to {_LAST_PORT}, found {text!r}")
    return int(text)


def start_server(path: str, *, host: str, port: int, extra: str) -> VolumeServer:
    """A server of a copy that listens already; whatever keeps it from that is a `CommandError`.

    Parameters
    ----------
    path : str
        The directory of the volume.
    host, port
        As for `VolumeServer`.
    extra : str
        What to install if the web server library is not there.
    """
    from shardreader.errors import ShardReaderError

    try:
        from shardreader.serving.served_volume import ServedVolume
        from shardreader.serving.server import VolumeServer
    except ImportError as error:
        raise CommandError(
            f"the library {error.name} is not installed; run: pip install 'shardreader[{extra}]'"
        ) from None
    try:
        served = ServedVolume(path)
    except ShardReaderError as error:
        raise CommandError(str(error)) from error
    try:
        server = VolumeServer(served, host=host, port=port)
    except OSError as error:
        raise listen_error(error, host, port) from error
    for member in served.left_out:
        say(f"info names {member}, which is not in this copy: left out of what is served")
    return server


def listen_error(error: OSError, host: str, port: int) -> CommandError:
    """Why nothing can be served there, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"port {port} at {host} is in use; choose another, or leave --port out for a free one"
        )
    if error.errno == errno.EACCES:
        return CommandError(f"port {port} at {host} is not allowed; choose one from 1024 up")
    return CommandError(f"cannot listen at {host}: {error.strerror or error}")
