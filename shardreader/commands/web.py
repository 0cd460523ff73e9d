"""What the commands that serve a copy share."""

from __future__ import annotations

import argparse
import errno
from typing import TYPE_CHECKING

from shardreader.commands.common import CommandError, say

if TYPE_CHECKING:
    from shardreader.viewing.served_volume import ServedVolume

__all__ = ["add_port", "listen_error", "not_installed", "say_left_out", "served_volume"]

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


def served_volume(path: str) -> ServedVolume:
    """The files of a copy; whatever keeps them from being served is a `CommandError`."""
    from shardreader.errors import ShardReaderError
    from shardreader.viewing.served_volume import ServedVolume

    try:
        return ServedVolume(path)
    except ShardReaderError as error:
        raise CommandError(str(error)) from error


def say_left_out(served: ServedVolume) -> None:
    """What the info names and the copy has not is not shown."""
    for member in served.left_out:
        say(f"info names {member}, which is not in this copy: left out of what is served")


def not_installed(error: ImportError, extra: str) -> CommandError:
    """What to install."""
    return CommandError(
        f"the library {error.name} is not installed; run: pip install 'shardreader[{extra}]'"
    )


def listen_error(error: OSError, host: str, port: int) -> CommandError:
    """Why nothing can be served there, and what to do."""
    if error.errno == errno.EADDRINUSE:
        return CommandError(
            f"port {port} at {host} is in use; choose another, or leave --port out for a free one"
        )
    if error.errno == errno.EACCES:
        return CommandError(f"port {port} at {host} is not allowed; choose one from 1024 up")
    return CommandError(f"cannot listen at {host}: {error.strerror or error}")
