"""An HTTP server on 127.0.0.1 that serves a directory as the clouds do, and misbehaves on request.

``/plain/...`` is a plain file server, ``/BUCKET/...`` the XML interface that GCS and S3 share (with
the listing of S3, version 2), ``/storage/v1/b/BUCKET/o`` the JSON listing of GCS. Every request is
noted.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import md5
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit
from xml.sax.saxutils import escape

import google_crc32c

BUCKET = "bucket"


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    if_match: str | None
    query: dict[str, list[str]]

    @property
    def kind(self) -> str:
        """Say what was asked for: info, list, shard or other."""
        if "/storage/v1/b/" in self.path or "list-type" in self.query:
            return "list"
        if self.path.endswith("/info"):
            return "info"
        return "shard" if self.path.endswith(".shard") else "other"


@dataclass
class Fault:
    """What goes wrong with requests whose path matches, `times` times (for ever: -1)."""

    path: str
    kind: str
    times: int = 1
    at: int = 0  # byte of the answer, where it matters
    skip: int = 0  # requests that go well first
    event: threading.Event = field(default_factory=threading.Event)  # set when it happened


@dataclass
class FaultServer:
    """Serves `root`; what it does wrong is in `faults`."""

    root: Path
    page: int = 1000
    etags: bool = True
    can_list: bool = True
    rate: float = 0.0  # bytes a second; 0: as fast as it goes
    faults: list[Fault] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    extra_names: list[tuple[str, int]] = field(default_factory=list)
    lies: dict[str, int] = field(default_factory=dict)  # sizes in listings
    wrong_hashes: set[str] = field(default_factory=set)
    no_hashes: bool = False
    gzip_objects: str = ""
    """Objects of gzip bytes have Content-Encoding: gzip; "transcoded": as by Google, which inflates
    them for a client that does not take gzip."""
    versions: dict[str, int] = field(default_factory=dict)
    url: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopping: threading.Event = field(default_factory=threading.Event)
    before: Callable[[Request], None] = lambda _: None
    """Called with each request before it is answered, in the thread that answers it."""

    @property
    def plain(self) -> str:
        return f"{self.url}/plain"

    def count(self, kind: str = "") -> int:
        return sum(not kind or request.kind == kind for request in self.requests)

    def kinds(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for request in self.requests:
            found[request.kind] = found.get(request.kind, 0) + 1
        return found

    def replace(self, name: str, data: bytes) -> None:
        """Put another version of an object in place of one."""
        (self.root / name).write_bytes(data)
        self.versions[name] = self.generation(name) + 1

    def generation(self, name: str) -> int:
        return self.versions.get(name, 1700000000000001)

    def etag(self, name: str) -> str:
        data = (self.root / name).read_bytes()
        return f'"{md5(data + str(self.generation(name)).encode()).hexdigest()}"'

    def names(self) -> list[str]:
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()
        )

    def facts(self, name: str) -> tuple[int, str]:
        """Give size and crc32c, as a listing has them."""
        data = (self.root / name).read_bytes()
        digest = google_crc32c.value(data) ^ (name.rsplit("/", 1)[-1] in self.wrong_hashes)
        crc = base64.b64encode(digest.to_bytes(4, "big")).decode()
        return self.lies.get(name.rsplit("/", 1)[-1], len(data)), crc

    def fault(self, path: str) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.times != 0 and re.search(fault.path, path):
                    if fault.skip:
                        fault.skip -= 1
                        continue
                    fault.times -= 1
                    fault.event.set()
                    return fault
        return None

    def listed(self, prefix: str) -> list[tuple[str, int, str, int, str]]:
        """Name, size, crc32c, generation and ETag of the objects below a prefix."""
        rows = [
            (name, *self.facts(name), self.generation(name), self.etag(name))
            for name in self.names()
            if name.startswith(prefix)
        ]
        rows += [(name, size, "AAAAAA==", 1, '"x"') for name, size in self.extra_names]
        return sorted(rows)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    faults: FaultServer

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(head=True)

    def do_GET(self) -> None:
        self._answer(head=False)

    def _answer(self, *, head: bool) -> None:
        server = self.faults
        parts = urlsplit(self.path)
        path, query = unquote(parts.path), parse_qs(parts.query)
        request = Request(
            self.command, path, self.headers.get("Range"), self.headers.get("If-Match"), query
        )
        with server.lock:
            server.requests.append(request)
        server.before(request)
        fault = server.fault(f"{path}?{parts.query}" if request.kind == "list" else path)
        if fault and fault.kind.isdecimal():
            return self._send(int(fault.kind), b"trouble on request", head=head)
        if fault and fault.kind == "stalled":
            server.stopping.wait(60)
            self.close_connection = True
            return None
        if fault and fault.kind == "redirect":
            return self._send(307, b"", {"Location": f"{server.url}{self.path}"}, head=head)
        if request.kind == "list":
            return self._list(path, query, head=head)
        prefix = "/plain/" if path.startswith("/plain/") else f"/{BUCKET}/"
        name = path.removeprefix(prefix)
        if not path.startswith(prefix) or not (server.root / name).is_file():
            return self._send(404, b"no such object", head=head)
        return self._object(name, fault, head=head, plain=prefix == "/plain/")

    def _object(self, name: str, fault: Fault | None, *, head: bool, plain: bool) -> None:
        server = self.faults
        if fault and fault.kind == "changed":
            server.replace(name, (server.root / name).read_bytes())
        data = (server.root / name).read_bytes()
        headers = {"Last-Modified": "Sun, 12 Apr 2020 10:00:00 GMT", "Accept-Ranges": "bytes"}
        if server.etags:
            headers["ETag"] = server.etag(name)
        if not plain:
            headers["x-goog-generation"] = str(server.generation(name))
            if not server.no_hashes:
                headers["x-goog-hash"] = f"crc32c={server.facts(name)[1]}"
        if self.headers.get("If-Match") not in (None, headers.get("ETag")):
            return self._send(412, b"it has changed", head=head)
        status, body = 200, data
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range") or "")
        if server.gzip_objects and data.startswith(b"\x1f\x8b"):
            if server.gzip_objects != "transcoded" or "gzip" in self.headers.get(
                "Accept-Encoding", ""
            ):
                headers["Content-Encoding"] = "gzip"
            else:  # ranges are not known then
                found, body = None, gzip.decompress(data)
        if found and not (fault and fault.kind == "whole"):
            start = int(found[1])
            end = min(int(found[2] or len(data)) + 1, len(data))
            if start >= len(data):
                return self._send(416, b"", {"Content-Range": f"bytes */{len(data)}"}, head=head)
            status, body = 206, data[start:end]
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        return self._send(status, body, headers, head=head, fault=fault)

    def _list(self, path: str, query: dict[str, list[str]], *, head: bool) -> None:
        server = self.faults
        if not server.can_list:
            return self._send(403, b"no listing for you", head=head)
        prefix = query.get("prefix", [""])[0]
        rows = server.listed(prefix)
        is_json = "/storage/v1/" in path
        first = int(query.get("pageToken" if is_json else "continuation-token", ["0"])[0])
        page, more = rows[first : first + server.page], first + server.page < len(rows)
        if is_json:
            items = [
                {
                    "name": name,
                    "size": str(size),
                    "crc32c": crc,
                    "generation": str(generation),
                    "etag": "CPia=",
                }
                for name, size, crc, generation, _ in page
            ]
            if server.no_hashes:
                items = [{k: v for k, v in i.items() if k != "crc32c"} for i in items]
            document: dict[str, Any] = {"kind": "storage#objects", "items": items}
            if more:
                document["nextPageToken"] = str(first + server.page)
            body = json.dumps(document).encode()
            return self._send(200, body, {"Content-Type": "application/json"}, head=head)
        contents = "".join(
            f"<Contents><Key>{escape(name)}</Key><Size>{size}</Size>"
            f"<LastModified>2020-04-12T10:00:00.000Z</LastModified>"
            f"<ETag>{escape(etag, {chr(34): '&quot;'})}</ETag></Contents>"
            for name, size, _, _, etag in page
        )
        token = f"<NextContinuationToken>{first + server.page}</NextContinuationToken>"
        text = (
            '<?xml version="1.0"?><ListBucketResult>'
            f"<IsTruncated>{str(more).lower()}</IsTruncated>{token if more else ''}"
            f"{contents}</ListBucketResult>"
        )
        return self._send(200, text.encode(), {"Content-Type": "application/xml"}, head=head)

    def _send(
        self,
        status: int,
        body: bytes,
        headers: dict[str, str] | None = None,
        *,
        head: bool = False,
        fault: Fault | None = None,
    ) -> None:
        kind = fault.kind if fault else ""
        at = min(fault.at if fault else 0, max(len(body) - 1, 0))
        if kind == "flipped":
            body = body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :]
        if kind == "short":  # a self-consistent answer with less in it
            body = body[: len(body) // 2]
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if head:
            return
        try:
            if kind in ("cut", "stalls"):
                self.wfile.write(body[: at or len(body) // 2])
                self.wfile.flush()
                if kind == "stalls":
                    self.faults.stopping.wait(60)
                self.close_connection = True
                return
            self._write(body)
        except OSError:
            self.close_connection = True

    def _write(self, body: bytes) -> None:
        rate = self.faults.rate
        step = max(int(rate / 20), 1) if rate else len(body) or 1
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if rate:
                self.wfile.flush()
                time.sleep(0.05)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 1024

    def handle_error(self, *_: object) -> None:
        """A client that goes away is part of the tests."""


@contextmanager
def serving(
    root: Path, change: Callable[[FaultServer], None] | None = None
) -> Iterator[FaultServer]:
    """Serve a directory until the block ends."""
    state = FaultServer(root)
    if change:
        change(state)
    handler = type("Handler", (_Handler,), {"faults": state})
    server = _Server(("127.0.0.1", 0), handler)
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        server.server_close()
