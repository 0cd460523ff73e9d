"""`adopt --source` and `verify --source`: the same listing that `fetch` takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cli import assert_refused, run_here
from fault_server import Fault
from fetching_cases import KEY, manifest_of, served
from fixture_truth import FAFB_MINI

import shardreader
from shardreader.format.manifest import MANIFEST_NAME

Writable = Callable[[str], Path]


@pytest.mark.parametrize("kind", ["gs", "s3", "file"])
def test_adopt_by_a_listing_of_the_source(
    kind: str, writable: Writable, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = writable("fafb-mini")
    (copy / KEY / "02fa.shard").unlink()
    (copy / KEY / "02fb.shard").write_bytes(b"cut")
    with served("fafb-mini", monkeypatch) as server:
        source = {"gs": "gs://bucket", "s3": "s3://bucket", "file": str(server.root)}[kind]
        done = run_here("adopt", copy, "--source", source)
        assert done.returncode == 1
        assert "7           here, of the size of the source" in done.stdout
        assert "missing: 02fa.shard" in done.stdout
        assert "of wrong size: 02fb.shard (3 bytes" in done.stdout
        assert server.kinds() == ({} if kind == "file" else {"info": 1, "list": 1})
    manifest = manifest_of(copy)
    assert (manifest.basis, manifest.scales[KEY].unlisted) == ("listing", "none")
    assert (manifest.scales[KEY].files["02fa.shard"].crc32c is None) == (kind != "gs")


def test_adopt_by_one_request_a_shard(writable: Writable, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = writable("mostly-background")
    (copy / MANIFEST_NAME).unlink()
    (copy / "8_8_40/3.shard").unlink()
    with served("mostly-background", monkeypatch) as server:
        server.faults = [Fault("1.shard", "403", times=-1)]
        done = run_here("adopt", copy, "--source", server.plain)
        assert server.kinds() == {"info": 1, "shard": 4}
    assert done.returncode == 1
    for line in (
        "1           here, of the size of the source",
        "1           that the source does not have either",
        "1           of which nothing is known",
        "1           missing: 3.shard",
    ):
        assert line in done.stdout
    assert "refused to say whether it has 1 of the shards" in done.stderr
    manifest = manifest_of(copy)
    assert manifest.basis == "requests"
    assert manifest.source_has_none("8_8_40", "2.shard")
    assert not manifest.source_has_none("8_8_40", "1.shard")


def test_verify_against_the_source(writable: Writable, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = writable("fafb-mini")
    before = (copy / MANIFEST_NAME).read_bytes()
    with served("fafb-mini", monkeypatch) as server:
        done = run_here("verify", copy, "--source", "gs://bucket")
        assert done.returncode == 0
        assert "9 files compared with the manifest" in done.stdout
        assert (copy / MANIFEST_NAME).read_bytes() == before
        server.faults = [Fault("/o[?]", "503", times=-1)]
        done = run_here("verify", copy, "--source", "gs://bucket")
        assert_refused(done, "check the network")


def test_a_source_without_the_data(writable: Writable, tmp_path: Path) -> None:
    (tmp_path / "info").write_bytes((FAFB_MINI / "info").read_bytes())
    with pytest.raises(shardreader.InfoError, match="lists no shard"):
        shardreader.adopt(writable("fafb-mini"), source=str(tmp_path))
