"""``shardreader view``: a local copy in Neuroglancer, offline."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from shardreader.commands.common import (
    DONE,
    CommandError,
    add_scale,
    add_threads,
    add_units,
    add_volume,
    check_units,
    numbers,
    opened_volume,
    say,
    segments,
)
from shardreader.commands.web import (
    add_port,
    listen_error,
    not_installed,
    say_left_out,
    served_volume,
)

if TYPE_CHECKING:
    from shardreader.viewing.page import ViewerPage
    from shardreader.viewing.scene import Scene
    from shardreader.viewing.served_volume import ServedVolume
    from shardreader.volume import Volume

NAME = "view"
SUMMARY = "look at a local copy in Neuroglancer, without the internet"
DESCRIPTION = """\
Open Neuroglancer in the browser, on this copy, until Ctrl-C. Nothing is fetched from the
internet (pip install 'shardreader[view]').
  black    background
  orange   not downloaded: nothing is known there
  red      what a report of verify lists as damaged
Boxes and points are listed beside the view; a right click on one goes there."""
EXAMPLES = """\
  shardreader view /ssd/fafb-ffn1
  shardreader view /ssd/fafb-ffn1 --at 498000,260000,122800 --units nm --segments 2142873971
  shardreader view /ssd/fafb-ffn1 --points synapses.csv --units nm
  shardreader view /ssd/fafb-ffn1 --report report.json"""

_LOOPBACK = "127.0.0.1"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of the command."""
    add_volume(parser)
    parser.add_argument("--at", type=numbers(3), metavar="X,Y,Z", help="where to look at first")
    parser.add_argument(
        "--segments", type=segments, default=(), metavar="ID,...", help="selected from the start"
    )
    parser.add_argument(
        "--points", metavar="FILE", help="a table, as for lookup: its points with their status"
    )
    add_units(parser, "place of --at and of the points", needed="one is required with them")
    parser.add_argument(
        "--report", metavar="FILE", help="a report of verify (.json): its damage as boxes"
    )
    parser.add_argument(
        "--force", action="store_true", help="take the report of a copy under another path"
    )
    add_scale(parser, "the first")
    add_threads(parser)
    add_port(parser)
    parser.add_argument(
        "--no-browser", action="store_true", help="print the address and open nothing"
    )


def run(arguments: argparse.Namespace) -> int:
    """Run the command; returns the exit status."""
    if arguments.at is not None or arguments.points is not None:
        check_units(arguments, "place")
    served = served_volume(arguments.volume)
    page = _page(served, arguments.port)
    try:
        _show(page, arguments)
        say_left_out(served)
        ended = _on_interrupt()
        print(page.url, flush=True)
        if not arguments.no_browser:
            _open_browser(page.url)
        say("Ctrl-C ends it")
        # Windows does not interrupt a wait without an end.
        while not ended.wait(timeout=1.0):
            pass
    finally:
        page.close()
    say("ended")
    return DONE


def _page(served: ServedVolume, port: int) -> ViewerPage:
    try:
        from shardreader.viewing.page import ViewerPage

        return ViewerPage(served, port=port)
    except ImportError as error:
        raise not_installed(error, "view") from None
    except OSError as error:
        raise listen_error(error, _LOOPBACK, port) from error


def _show(page: ViewerPage, arguments: argparse.Namespace) -> None:
    from shardreader.viewing.scene import viewer_state

    with opened_volume(arguments) as volume:
        scene = _scene(volume, arguments)
    for note in scene.notes:
        say(note)
    page.show(viewer_state(scene, page.volume_url, segments=arguments.segments))


def _scene(volume: Volume, arguments: argparse.Namespace) -> Scene:
    from shardreader.errors import ShardReaderError
    from shardreader.tables.text_tables import PointFileError
    from shardreader.viewing.scene import make_scene

    try:
        return make_scene(
            volume,
            at=arguments.at,
            points=arguments.points,
            units=arguments.units,
            resolution=arguments.resolution,
            report=arguments.report,
            force=arguments.force,
        )
    except (PointFileError, ShardReaderError) as error:
        raise CommandError(str(error)) from error


def _open_browser(url: str) -> None:
    """Open the page; where that cannot be done, say so: the address is on the screen already."""
    on_desktop = sys.platform in ("win32", "darwin")
    if not (on_desktop or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        # Else a text browser would take the terminal.
        port = urlsplit(url).port
        say(
            "there is no display here: open the address in a browser; from another machine "
            f"after: ssh -L {port}:{_LOOPBACK}:{port} THIS_MACHINE"
        )
        return
    import webbrowser

    if not webbrowser.open(url):
        say("found no browser: open the address in one")


def _on_interrupt() -> threading.Event:
    """From here on Ctrl-C is the way to end it, and no failure."""
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    return ended
