"""What the tests of `fetch` share: a served fixture, and what a right copy is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from fault_server import FaultServer, serving
from fixture_truth import FIXTURES

from shardreader.format.manifest import MANIFEST_NAME, Manifest, parse_manifest

SHORT_WAITS = (0.0, 0.001, 0.001, 0.001)
KEY = "8.0x8.0x40.0"


@contextmanager
def served(
    name: str, monkeypatch: pytest.MonkeyPatch, root: Path | None = None
) -> Iterator[FaultServer]:
    """Serve a fixture; gs:// and s3:// lead to it, and no wait is long."""
    monkeypatch.setattr("shardreader.storage.retrying.RETRY_SECONDS", SHORT_WAITS)
    with serving(root or FIXTURES / name) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        yield server


def sources(server: FaultServer) -> dict[str, str]:
    return {
        "gs": "gs://bucket",
        "s3": "s3://bucket",
        "http": server.plain,
        "file": str(server.root),
    }


def shard_bytes(path: Path) -> dict[str, bytes]:
    """All files of the scales of a volume, by name."""
    return {
        str(file.relative_to(path)): file.read_bytes()
        for file in sorted(path.rglob("*.shard*"))
        if file.is_file()
    }


def manifest_of(path: Path) -> Manifest:
    return parse_manifest((path / MANIFEST_NAME).read_bytes(), "manifest")


def assert_right_copy(copy: Path, source: Path, key: str) -> None:
    """Hold a copy to its source, byte by byte, and to a manifest that says so."""
    want = {n: data for n, data in shard_bytes(source).items() if n.startswith(f"{key}/")}
    have = {n: data for n, data in shard_bytes(copy).items() if n.startswith(f"{key}/")}
    assert have == want
    info = json.loads((copy / "info").read_text())
    assert key in [scale["key"] for scale in info["scales"]]
    files = manifest_of(copy).scales[key].files
    whole = {f"{key}/{name}" for name, record in files.items() if record.state == "whole"}
    assert whole == {*want}


def assert_nothing_wrong(copy: Path, source: Path) -> None:
    """Whatever has a final name is the source's."""
    want = shard_bytes(source)
    for name, data in shard_bytes(copy).items():
        assert name.endswith(".part") or data == want[name]


Changing = Callable[[FaultServer], None]
