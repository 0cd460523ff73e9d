from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from shardreader import InfoError
from shardreader.storage.volume_path import directory_of


@pytest.mark.parametrize(
    ("path", "directory"),
    [
        ("/data/seg", "/data/seg"),
        ("/data/seg/", "/data/seg"),
        ("/data//x/../seg", "/data/seg"),
        (Path("/data/seg"), "/data/seg"),
        ("file:///data/seg", "/data/seg"),
        ("FILE:///data/seg", "/data/seg"),
        ("file://localhost/data/seg", "/data/seg"),
        ("file:///data/my%20seg", "/data/my seg"),
        ("precomputed:///data/seg", "/data/seg"),
        ("precomputed://file:///data/seg/", "/data/seg"),
        ("/data/100%25", "/data/100%25"),
        ("/data/my seg", "/data/my seg"),
        ("/data/ä", "/data/ä"),
    ],
)
@pytest.mark.skipif(os.name == "nt", reason="paths of POSIX")
def test_directory(path: Any, directory: str) -> None:
    assert directory_of(path) == directory


def test_relative_paths_are_made_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    here = os.getcwd()
    assert directory_of("seg") == os.path.join(here, "seg")
    assert directory_of(".") == here
    assert directory_of(Path("seg") / "a") == os.path.join(here, "seg", "a")
    assert directory_of("precomputed://seg") == os.path.join(here, "seg")


@pytest.mark.parametrize("scheme", ["gs", "s3", "http", "https", "GS"])
@pytest.mark.parametrize("prefix", ["", "precomputed://"])
def test_object_stores_are_refused_by_name(scheme: str, prefix: str) -> None:
    with pytest.raises(InfoError, match=f"{scheme}://.*local directory"):
        directory_of(f"{prefix}{scheme}://fafb-ffn1/segmentation")


@pytest.mark.parametrize("url", ["ftp://a/b", "n5:///data", "zarr://file:///data"])
def test_unknown_schemes(url: str) -> None:
    with pytest.raises(InfoError, match="unknown scheme"):
        directory_of(url)


def test_a_file_url_of_another_host() -> None:
    with pytest.raises(InfoError, match="host"):
        directory_of("file://server/share/seg")


@pytest.mark.parametrize("path", [b"/data/seg", 5, None, ["/data"]])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(TypeError):
        directory_of(path)
