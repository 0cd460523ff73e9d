"""The HTTP server of a copy.

The web server library is tornado, of the extra ``[serve]``; the package ``neuroglancer`` needs it
too.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import signal
import socket
from collections.abc import Callable, Iterator
from datetime import datetime
from http import HTTPStatus
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, StaticFileHandler

from shardreader.viewing.served_volume import NOT_FOUND, Refusal, ServedFile, ServedVolume

__all__ = ["LOOPBACK", "VolumeServer", "new_token", "volume_rule"]

LOOPBACK = "127.0.0.1"
# 128 bits: nobody finds the volume by trying.
_TOKEN_BYTES = 16
_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "Range, If-None-Match, If-Modified-Since, Cache-Control",
    # Else a page of another origin cannot see how long a file is, or which part it got.
    "Access-Control-Expose-Headers": (
        "Accept-Ranges, Content-Encoding, Content-Length, Content-Range, ETag, Last-Modified"
    ),
    # A page that isolates itself from other origins may still load this.
    "Cross-Origin-Resource-Policy": "cross-origin",
    # Files are replaced under the server, and come in: ask each time, by ETag.
    "Cache-Control": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
_PREFLIGHT_SECONDS = 600


def new_token() -> str:
    """A part of a URL that cannot be guessed."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def volume_rule(served: ServedVolume, token: str) -> tuple[str, type[RequestHandler], Any]:
    """What makes a tornado application serve a copy below ``/token/``."""
    return rf"/{token}/(.*)", _FileHandler, {"path": served.directory, "served": served}


class VolumeServer:
    """Serves one copy until it is stopped.

    Parameters
    ----------
    served : ServedVolume
    host : str
        The address to listen at.
    port : int
        0 takes one that is free.

    Attributes
    ----------
    url : str
        Of the directory with the ``info``; ends without a slash, and cannot be guessed.

    Raises
    ------
    OSError
        The port is in use, or no such address.
    """

    def __init__(self, served: ServedVolume, *, host: str = LOOPBACK, port: int = 0) -> None:
        self._served = served
        self._sockets = bind_sockets(port, address=host, reuse_port=False)
        family, address = self._sockets[0].family, self._sockets[0].getsockname()
        name = socket.gethostname() if host in ("0.0.0.0", "::", "") else host  # noqa: S104
        if family == socket.AF_INET6 and ":" in name:
            name = f"[{name}]"
        token = new_token()
        self.url = f"http://{name}:{address[1]}/{token}"
        self._application = Application(
            [volume_rule(served, token)],
            default_handler_class=_NothingHere,
            log_function=_log_nothing,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Answer requests until `stop` is set."""
        server = HTTPServer(self._application)
        server.add_sockets(self._sockets)
        await stop.wait()
        server.stop()
        await server.close_all_connections()
        self._served.close()

    def run_until_interrupted(self, ready: Callable[[], None]) -> None:
        """Answer requests until Ctrl-C or SIGTERM; `ready` is called when these end it cleanly."""
        asyncio.run(self._run_until_interrupted(ready))

    async def _run_until_interrupted(self, ready: Callable[[], None]) -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            # Windows has no handlers in its loop; this one is run between two turns of it.
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
        ready()
        await self.run(stop)


class _FileHandler(StaticFileHandler):
    """Conditional requests and ranges are the library's, files are a `ServedVolume`'s."""

    def initialize(self, path: str, served: ServedVolume) -> None:  # type: ignore[override]
        super().initialize(path)
        self._volume = served
        self._file: ServedFile | None = None

    def set_default_headers(self) -> None:
        for name, value in _HEADERS.items():
            self.set_header(name, value)

    def options(self, _path: str) -> None:
        """Answer a preflight: a page of another origin, of the internet too, may ask."""
        self.set_header("Access-Control-Max-Age", str(_PREFLIGHT_SECONDS))
        for word in ("Private", "Local"):
            if self.request.headers.get(f"Access-Control-Request-{word}-Network") == "true":
                self.set_header(f"Access-Control-Allow-{word}-Network", "true")
        self.set_status(HTTPStatus.NO_CONTENT)

    @classmethod
    def get_absolute_path(cls, root: str, path: str) -> str:  # noqa: ARG003
        return path

    def validate_absolute_path(self, root: str, absolute_path: str) -> str | None:  # noqa: ARG002
        try:
            self._file = self._volume.find(absolute_path)
        except Refusal as refusal:
            self.set_status(refusal.status)
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish(f"{refusal}\n")
            return None
        if self._file.coding is not None:
            self.set_header("Content-Encoding", self._file.coding)
        return absolute_path

    def get_content_size(self) -> int:
        return self._found.size

    def get_modified_time(self) -> datetime | None:
        return None  # the ETag says more

    def compute_etag(self) -> str | None:
        if self._file is None:
            return None
        version = repr((self._file.identity, self._file.data)).encode()
        return f'"{hashlib.sha256(version).hexdigest()[:32]}"'

    def get_content_type(self) -> str:
        is_json = self._found.name.rsplit("/", 1)[-1] in ("info", "provenance")
        return "application/json" if is_json else "application/octet-stream"

    def get_content(  # type: ignore[override]
        self,
        abspath: str,  # noqa: ARG002
        start: int | None = None,
        end: int | None = None,
    ) -> Iterator[bytes]:
        size = self._found.size
        return self._volume.read(self._found, start or 0, size if end is None else end)

    @property
    def _found(self) -> ServedFile:
        if self._file is None:
            raise RuntimeError("validate_absolute_path() comes first")
        return self._file


class _NothingHere(RequestHandler):
    """Whatever has not the part of the URL that cannot be guessed."""

    def prepare(self) -> None:
        self.set_status(NOT_FOUND)
        self.finish("not found\n")


def _log_nothing(_handler: Any) -> None:
    """A viewer asks for thousands of chunks."""
