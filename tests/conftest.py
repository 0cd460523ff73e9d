"""Volumes that a test may damage."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_truth import FIXTURES
from shard_builder import TinyVolume

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    # As a shell starts what it puts in the background; the commands under test would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def writable(tmp_path: Path) -> Callable[[str], Path]:
    """Copies a volume of `fixtures/` by its name."""

    def copy(name: str) -> Path:
        return Path(shutil.copytree(FIXTURES / name, tmp_path / name))

    return copy


@pytest.fixture
def tiny(tmp_path: Path) -> TinyVolume:
    """A raw `TinyVolume`, not yet written."""
    return TinyVolume(tmp_path / "tiny")


@pytest.fixture
def tiny_gzip(tmp_path: Path) -> TinyVolume:
    """A `TinyVolume` with gzip indices and data, not yet written."""
    return TinyVolume(tmp_path / "tiny", index_encoding="gzip", data_encoding="gzip")
