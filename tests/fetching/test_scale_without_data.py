"""A scale whose data the source does not have: its 404 is not background.

An info may list scales that were never written. Half of what is asked here is answered by servers
that cannot be listed.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cli import assert_refused, run
from fault_server import FaultServer
from fetching_cases import served, sources
from fixture_truth import FIXTURES

from shardreader import Box, NotDownloadedError, PointStatus, open_volume
from shardreader.format.manifest import MANIFEST_NAME

EMPTY_SCALE, FULL_SCALE = "16_16_80", "8_8_40"
# A page of a listing, and the 8 shards, in either form of the format and each once.
MOST_REQUESTS = 1 + 2 * 8 + 2
KINDS = ("gs", "s3", "http")


@pytest.fixture
def placeholder(tmp_path: Path) -> Path:
    """A volume of two scales, the second of which has no data."""
    path = tmp_path / "placeholder"
    shutil.copytree(FIXTURES / "two-scales", path)
    shutil.rmtree(path / EMPTY_SCALE)
    return path


@pytest.fixture(params=KINDS)
def source(
    request: pytest.FixtureRequest, placeholder: Path, monkeypatch: pytest.MonkeyPatch
) -> object:
    with served("", monkeypatch, placeholder) as server:
        yield server, sources(server)[request.param]


Source = tuple[FaultServer, str]


def test_a_lookup_by_url_does_not_say_empty(source: Source) -> None:
    server, url = source
    with open_volume(url, EMPTY_SCALE) as vol:
        server.requests.clear()
        lower, upper = vol.bounds.lower, vol.bounds.upper
        points = [lower, tuple(n - 1 for n in upper), lower]
        labels, status = vol.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [PointStatus.NOT_DOWNLOADED] * 3
        assert not labels.any()
        count = server.count()
        assert count <= MOST_REQUESTS
        with pytest.raises(NotDownloadedError, match="has shown no file of scale"):
            vol.cutout(Box(lower, upper))
        assert server.count() - count <= MOST_REQUESTS


def test_lookup_ends_with_1(source: Source, tmp_path: Path) -> None:
    _, url = source
    table = tmp_path / "points.csv"
    table.write_text("x,y,z\n3,2,1\n")
    done = run("lookup", url, table, "--scale", EMPTY_SCALE, "--units", "voxel")
    assert done.returncode == 1, done
    assert "NOT_DOWNLOADED" in done.stdout
    assert "EMPTY" not in done.stdout


def test_an_absent_shard_of_a_scale_with_data_is_background(
    placeholder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = placeholder.parent / "mostly"
    shutil.copytree(FIXTURES / "mostly-background", root)
    (root / MANIFEST_NAME).unlink()
    with served("", monkeypatch, root) as server:
        for url in (server.plain, "gs://bucket"):
            server.requests.clear()
            with open_volume(url) as vol:
                cells = np.argwhere(vol.stored_chunks(vol.bounds)[1] == PointStatus.EMPTY)
                assert len(cells)
                assert not (vol.stored_chunks(vol.bounds)[1] == PointStatus.NOT_DOWNLOADED).any()
            assert server.count() <= 4 + 2 + 4 * 5


def test_fetch_refuses_it(source: Source, tmp_path: Path) -> None:
    server, url = source
    copy = tmp_path / "copy"
    for part in ((), ("--box", "3,2,1,11,10,9", "--units", "voxel")):
        done = run("fetch", url, copy, "--scale", EMPTY_SCALE, *part)
        assert_refused(done, EMPTY_SCALE, f"it has data of '{FULL_SCALE}'")
        assert not (copy / "info").exists()
    if (copy / MANIFEST_NAME).exists():
        document = json.loads((copy / MANIFEST_NAME).read_bytes())
        assert document["scales"][EMPTY_SCALE] == {"files": {}, "unlisted": "unknown"}
    assert server.count() < 60


def test_adopt_and_verify_by_the_source_refuse_it(source: Source, placeholder: Path) -> None:
    _, url = source
    for command in ("adopt", "verify"):
        done = run(command, placeholder, "--source", url)
        assert_refused(done, EMPTY_SCALE, f"it has data of '{FULL_SCALE}'")


@pytest.mark.parametrize("makes", [None, lambda path: path.mkdir()])
def test_no_word_completes_a_scale_without_data(
    placeholder: Path, makes: Callable[[Path], None] | None
) -> None:
    if makes is not None:
        makes(placeholder / EMPTY_SCALE)
    done = run("adopt", placeholder, "--assume-complete")
    assert_refused(done, f"no shard of scale '{EMPTY_SCALE}'", f"data of '{FULL_SCALE}'")
    assert not (placeholder / MANIFEST_NAME).exists()
