"""The semantics that peers get wrong of what is not there, through the public API."""

from __future__ import annotations

import shutil

import pytest
from shard_builder import TinyVolume
from tiny_reads import ABSENT, EMPTY, FIRST_SHARD, check

from shardreader import Box, open_volume
from shardreader.errors import (
    NotDownloadedError,
    ReadError,
)
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest


def test_an_absent_chunk_id_is_background(tiny: TinyVolume) -> None:
    for chunk_id in (0, 2, 7):
        del tiny.shards[0].chunks[chunk_id]
    check(tiny.write(), [0, 2, 7], EMPTY)


def test_an_empty_minishard_is_background(tiny: TinyVolume) -> None:
    for chunk_id in range(8, 12):
        del tiny.shards[0].chunks[chunk_id]
    check(tiny.write(), range(8, 12), EMPTY)


def test_an_absent_shard_file_is_not_downloaded(tiny: TinyVolume) -> None:
    path = tiny.write().shard_path(0)
    path.unlink()
    raised = check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)
    assert isinstance(raised[5], FileNotFoundError)
    for part in (str(path), "shard 0x0", "minishard 1", "chunk 5", "(1, 0, 1)", "copy", "missing="):
        assert part in str(raised[5])
    check(tiny, FIRST_SHARD, ABSENT, missing="zero")


def write_manifest(tiny: TinyVolume, unlisted: str, **files: str) -> None:
    records = {f"{name[1:]}.shard": FileRecord(state) for name, state in files.items()}
    scales = {tiny.key: ScaleManifest(unlisted, records)}
    manifest = Manifest("2026-11-22T00:00:00Z", "gs://bucket/vol", "listing", scales)
    (tiny.path / "shardreader-manifest.json").write_bytes(manifest.to_json())


@pytest.mark.parametrize(
    ("unlisted", "files"), [("none", {}), ("unknown", {"_0": "none"}), ("none", {"_0": "none"})]
)
def test_an_absent_shard_that_the_source_has_not_is_background(
    tiny: TinyVolume, unlisted: str, files: dict[str, str]
) -> None:
    tiny.write().shard_path(0).unlink()
    write_manifest(tiny, unlisted, **files)
    check(tiny, FIRST_SHARD, EMPTY)


@pytest.mark.parametrize("state", ["whole", "partial", "not_fetched"])
def test_an_absent_shard_that_the_source_has_is_not_downloaded(
    tiny: TinyVolume, state: str
) -> None:
    tiny.write().shard_path(0).unlink()
    write_manifest(tiny, "none", _0=state)
    raised = check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)
    assert "gsutil cp gs://bucket/vol/tiny/0.shard" in str(raised[0])


def test_a_manifest_does_not_hide_a_file_that_is_there(tiny: TinyVolume) -> None:
    tiny.write()
    write_manifest(tiny, "none", _0="none")
    check(tiny)


def test_an_unlisted_shard_of_an_unknown_rest_is_not_downloaded(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    write_manifest(tiny, "unknown", _1="whole")
    check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)


@pytest.mark.parametrize("gone", ["info", "tiny"])
def test_a_copy_that_goes_away_is_no_status(tiny: TinyVolume, gone: str) -> None:
    tiny.write()
    vol = open_volume(tiny.path)
    if gone == "tiny":
        shutil.rmtree(tiny.path / gone)
    else:
        (tiny.path / gone).unlink()
        tiny.shard_path(0).unlink()
    for read in (
        lambda: vol.lookup([[0, 0, 0]], units="voxel", return_status=True),
        lambda: vol.cutout(Box((0, 0, 0), (1, 1, 1))),
        lambda: vol.stored_chunks(vol.bounds),
    ):
        with pytest.raises(ReadError) as info:
            read()
        assert isinstance(info.value, OSError)
        assert str(tiny.path / gone) in str(info.value)
