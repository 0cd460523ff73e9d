"""A copy on a server of its own thread, and requests to it as a browser makes them."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from shardreader.viewing.served_volume import ServedVolume
from shardreader.viewing.server import VolumeServer


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes


@contextmanager
def serving(path: Path | str) -> Iterator[VolumeServer]:
    server = VolumeServer(ServedVolume(path))
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(server.run(stop),))
    thread.start()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


def ask(url: str, path: str, method: str = "GET", **headers: str) -> Answer:
    """Ask for a path below a URL, sent exactly as given: no client cleans it up."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, f"{parts.path}/{path}", headers=named)
        response = connection.getresponse()
        lowercase = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, lowercase, response.read())
    finally:
        connection.close()
