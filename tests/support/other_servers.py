"""Servers that other people wrote, started for a test."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

import pytest
from fixture_truth import FAFB_MINI

NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(command: list[str], url: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        end = time.monotonic() + 60
        while True:
            try:
                urllib.request.urlopen(url, timeout=5).close()
                break
            except OSError as error:
                if getattr(error, "code", None):
                    break  # it answers, whatever it says
                if process.poll() is not None or time.monotonic() > end:
                    pytest.fail(f"{command[0]} does not start: {error}")
                time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=20)


def upload(url: str, method: str = "PUT", data: bytes = b"") -> None:
    request = urllib.request.Request(url, data=data, method=method)
    # moto takes any signature; without one it would be anonymous, and not allowed to write.
    request.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=x/20200412/us-east-1/s3/x")
    request.add_header("Content-Type", "application/octet-stream")
    request.add_header("x-amz-acl", "public-read")
    urllib.request.urlopen(request, timeout=10).close()


@pytest.fixture(scope="module")
def moto() -> Iterator[str]:
    pytest.importorskip("moto.server")
    url = f"http://127.0.0.1:{free_port()}"
    port = url.rpartition(":")[2]
    with running([sys.executable, "-m", "moto.server", "-p", port], f"{url}/moto-api/data.json"):
        upload(f"{url}/bucket")
        for path in FAFB_MINI.rglob("*"):
            if path.name == "info" or path.suffix == ".shard":
                name = path.relative_to(FAFB_MINI).as_posix()
                upload(f"{url}/bucket/volume/{name}", data=path.read_bytes())
        yield url
