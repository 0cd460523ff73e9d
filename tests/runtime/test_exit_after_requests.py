"""A process that read a URL in vain ends with its own status, not with SIGABRT."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from cli import run


class HasNothing(BaseHTTPRequestHandler):
    """Answers 404 to all."""

    def do_GET(self) -> None:
        self.send_error(404)

    def do_HEAD(self) -> None:
        self.send_error(404)

    def log_message(self, *_arguments: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_urls_that_cannot_be_opened() -> None:
    """Of such processes 15 in 100 aborted on a busy machine."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), HasNothing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        url = f"http://127.0.0.1:{server.server_port}/volume"
        with ThreadPoolExecutor(3) as pool:
            done = list(pool.map(lambda _: run("info", url), range(60)))
    finally:
        for process in busy:
            process.kill()
            process.wait()
        server.shutdown()
        server.server_close()
    assert Counter(each.returncode for each in done) == {2: 60}
