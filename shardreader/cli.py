"""The command line: arguments, errors, exit status."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from types import ModuleType
from typing import NoReturn

from shardreader.commands import (
    adopt,
    cutout,
    fetch,
    index,
    info,
    labels,
    lookup,
    picture,
    segment,
    serve,
    verify,
    view,
)
from shardreader.commands.common import INCOMPLETE, NOT_RUN, CommandError

__all__ = ["main"]

_COMMANDS: tuple[ModuleType, ...] = (
    info,
    lookup,
    cutout,
    labels,
    fetch,
    adopt,
    verify,
    index,
    segment,
    picture,
    view,
    serve,
)
_INTERRUPTED = 130
_COORDINATES = ("--at", "--box")
_NOT_OPENED = (FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)

_EPILOG = """\
exit status:
  0    done and whole
  1    it ran, and something is wrong, missing or unknown
  2    it could not run: usage, no such path, not a volume
  130  interrupted

examples:
  shardreader info /ssd/fafb-ffn1
  shardreader lookup /ssd/fafb-ffn1 synapses.csv --units nm -o segments.csv
  shardreader verify /ssd/fafb-ffn1
  shardreader COMMAND --help
"""


class _Parser(argparse.ArgumentParser):
    """A parser that reports a wrong argument as the commands report theirs."""

    def error(self, message: str) -> NoReturn:
        raise CommandError(f"{message}\nsee: {self.prog} --help")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        The arguments; those of the process by default.

    Returns
    -------
    int
        The exit status.
    """
    try:
        arguments = _parser().parse_args(_joined(sys.argv[1:] if argv is None else argv))
        status = int(arguments.run(arguments))
        sys.stdout.flush()
    except CommandError as error:
        return _failed(str(error), error.exit_status)
    except BrokenPipeError:
        # The reader of the answer (head) has gone. Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return INCOMPLETE
    except KeyboardInterrupt:
        return _failed("interrupted", _INTERRUPTED)
    except MemoryError:
        return _failed("out of memory; ask for less at a time", INCOMPLETE)
    except Exception as error:
        failure = _status_of(error)
        if failure is None:
            raise
        return _failed(_text_of(error), failure)
    return status


def _status_of(error: Exception) -> int | None:
    """The exit status for an error that users cause or meet; None for a bug."""
    from shardreader.errors import (
        ClusterError,
        InfoError,
        OutOfBoundsError,
        ShardReaderError,
    )

    if isinstance(error, (ClusterError, InfoError, OutOfBoundsError)):
        return NOT_RUN
    if isinstance(error, ShardReaderError):
        return INCOMPLETE
    # A table or an output that cannot be opened; anything else happened on the way.
    if isinstance(error, _NOT_OPENED):
        return NOT_RUN
    return INCOMPLETE if isinstance(error, OSError) else None


def _text_of(error: Exception) -> str:
    if isinstance(error, OSError) and error.filename is not None and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def _failed(message: str, status: int) -> int:
    first, *more = message.splitlines() or [""]
    print("\n".join([f"shardreader: error: {first}", *more]), file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="shardreader",
        description="Ask a local copy of a sharded segmentation volume: what is in it, which\n"
        "segment is at these points, give me this box.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for module in _COMMANDS:
        command = commands.add_parser(
            module.NAME,
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            epilog=f"examples:\n{module.EXAMPLES}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        module.add_arguments(command)
        command.set_defaults(run=module.run)
    return parser


class _Version(argparse.Action):
    def __call__(self, *_: object) -> None:
        import shardreader

        print(f"shardreader {shardreader.__version__}")
        raise SystemExit(0)


def _joined(argv: Sequence[str]) -> list[str]:
    """Make ``--box -1,2,...`` one word: argparse takes a leading minus for an option."""
    joined: list[str] = []
    for word in argv:
        if joined and joined[-1] in _COORDINATES and re.match(r"-[\d.]", word):
            joined[-1] = f"{joined[-1]}={word}"
        else:
            joined.append(word)
    return joined
