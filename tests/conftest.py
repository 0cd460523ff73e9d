"""Volumes that a test may damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from fixture_truth import FIXTURES
from shard_builder import TinyVolume


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
