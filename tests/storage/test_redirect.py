"""``"redirect"`` in an info: the volume is elsewhere."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from cli import assert_refused, run
from fault_server import FaultServer
from fetching_cases import KEY, manifest_of, served
from fixture_truth import FAFB_MINI
from remote_cases import BOX

from shardreader import InfoError, open_volume
from shardreader.storage.source_url import follow_redirect, parse_source


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultServer]:
    """A server with the volume in ``new``, and in ``old`` what a test puts there."""
    shutil.copytree(FAFB_MINI, tmp_path / "root/new")
    (tmp_path / "root/old").mkdir()
    with served("", monkeypatch, tmp_path / "root") as found:
        yield found


def redirect(server: FaultServer, target: str, name: str = "old", **members: object) -> str:
    folder = server.root / name
    folder.mkdir(exist_ok=True)
    (folder / "info").write_text(json.dumps({**members, "redirect": target}))
    return f"{server.plain}/{name}"


def info_of_volume(server: FaultServer) -> dict[str, object]:
    document: dict[str, object] = json.loads((server.root / "new/info").read_text())
    return document


@pytest.mark.parametrize("beside", [False, True])
def test_it_is_followed_from_a_url(server: FaultServer, tmp_path: Path, beside: bool) -> None:
    target = f"precomputed://{server.plain}/new"
    url = redirect(server, target, **(info_of_volume(server) if beside else {}))
    with open_volume(url) as vol, open_volume(FAFB_MINI) as truth:
        assert vol.path == f"{server.plain}/new"
        np.testing.assert_array_equal(
            vol[BOX.lower[0] : BOX.upper[0], BOX.lower[1], 3060],
            truth[BOX.lower[0] : BOX.upper[0], BOX.lower[1], 3060],
        )
    done = run("info", url)
    assert done.returncode == 0
    assert f"{server.plain}/new" in done.stdout
    copy = tmp_path / "copy"
    point = ("--box", "61347,32796,3045,61348,32797,3046", "--units", "voxel")
    assert run("fetch", url, copy, *point).returncode == 0
    assert manifest_of(copy).source == f"{server.plain}/new"
    assert not [
        r
        for r in server.requests
        if "/old/" in r.path and not r.path.endswith("info") and "manifest" not in r.path
    ]
    adopted = run("adopt", server.root / "new", "--source", url)
    assert adopted.returncode == 0, adopted
    assert manifest_of(server.root / "new").source == f"{server.plain}/new"
    assert manifest_of(server.root / "new").scales[KEY].files["02fa.shard"].state == "whole"


def test_a_circle_ends(server: FaultServer, tmp_path: Path) -> None:
    redirect(server, f"{server.plain}/old", "other")
    url = redirect(server, f"{server.plain}/other")
    assert_refused(run("info", url), "circle")
    assert_refused(run("fetch", url, tmp_path / "copy"), "circle", status=2)
    assert server.count("info") == 4


def test_a_long_chain_ends(server: FaultServer) -> None:
    for number in range(12):
        redirect(server, f"{server.plain}/hop{number + 1}", f"hop{number}")
    with pytest.raises(InfoError, match="followed 8 redirects"):
        open_volume(f"{server.plain}/hop0")
    assert server.count("info") == 9


@pytest.mark.parametrize("target", ["file:///data", "/data", "../new", "http://example.org/x"])
def test_where_it_may_not_lead(server: FaultServer, target: str) -> None:
    with pytest.raises(InfoError, match=r"gs://, s3:// or https://|only supported for"):
        open_volume(redirect(server, target))


def test_not_from_a_protected_connection_to_another() -> None:
    with pytest.raises(InfoError, match="not protected"):
        follow_redirect([parse_source("https://example.org/a")], "http://127.0.0.1:1/b")
    with pytest.raises(InfoError, match="user, a password"):
        follow_redirect([parse_source("https://example.org/a")], "https://me:secret@host/b")


def test_alone_in_a_directory_it_is_an_error(server: FaultServer) -> None:
    redirect(server, "gs://bucket/volume")
    for command in ("info", "verify"):
        done = run(command, server.root / "old")
        assert_refused(done, "only a redirect to 'gs://bucket/volume'")


def test_with_data_in_a_directory_it_is_a_note(server: FaultServer) -> None:
    redirect(server, "gs://bucket/volume", "new", **info_of_volume(server))
    done = run("info", server.root / "new")
    assert done.returncode == 0
    assert "also redirects to 'gs://bucket/volume'" in done.stderr
