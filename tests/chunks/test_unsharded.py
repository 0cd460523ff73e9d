"""Volumes with one file a chunk: names, compression, and what an absent file means."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zstandard
from cli import assert_refused, run
from fault_server import BUCKET, serving

from shardreader import ChunkError, InfoError, PointStatus, open_volume
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest

SIZE = (13, 11, 7)
CHUNK_SIZE = (8, 8, 4)
KEY = "k"


def write(
    path: Path, *, offset: tuple[int, int, int] = (0, 0, 0), encoding: str = "raw"
) -> np.ndarray:
    """Write a volume by tensorstore, without any 0."""
    labels = np.random.default_rng(0).integers(1, 1 << 32, SIZE, dtype=np.uint32)
    scale: dict[str, Any] = {
        "size": SIZE,
        "chunk_size": CHUNK_SIZE,
        "voxel_offset": offset,
        "resolution": [8, 8, 40],
        "encoding": encoding,
        "key": KEY,
    }
    if encoding == "compressed_segmentation":
        scale["compressed_segmentation_block_size"] = [4, 4, 2]
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{path}/"},
            "multiscale_metadata": {
                "type": "segmentation",
                "data_type": "uint32",
                "num_channels": 1,
            },
            "scale_metadata": scale,
        },
        create=True,
    ).result()
    store[..., 0] = labels
    return labels


def compress(path: Path, suffix: str) -> None:
    compressors = {
        ".gz": gzip.compress,
        ".zstd": zstandard.ZstdCompressor().compress,
        ".br": lambda data: data,
    }
    for file in [*(path / KEY).iterdir()]:
        file.with_name(file.name + suffix).write_bytes(compressors[suffix](file.read_bytes()))
        file.unlink()


def change_info(path: Path, **members: Any) -> None:
    info = json.loads((path / "info").read_text())
    info["scales"][0].update(members)
    (path / "info").write_text(json.dumps(info))


def write_manifest(path: Path, files: dict[str, FileRecord], unlisted: str) -> None:
    scales = {KEY: ScaleManifest(unlisted, files)}
    manifest = Manifest("2026-11-22T00:00:00Z", None, "listing", scales)
    (path / "shardreader-manifest.json").write_bytes(manifest.to_json())


FIRST, LAST = "0-8_0-8_0-4", "8-13_8-11_4-7"


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
@pytest.mark.parametrize("suffix", ["", ".gz", ".zstd"])
def test_plain_gzip_and_zstd_files(tmp_path: Path, suffix: str, encoding: str) -> None:
    labels = write(tmp_path, encoding=encoding)
    if suffix:
        compress(tmp_path, suffix)
    points = np.argwhere(labels)
    with open_volume(tmp_path) as vol:
        np.testing.assert_array_equal(vol[...], labels)
        np.testing.assert_array_equal(vol.lookup(points, units="voxel"), labels[tuple(points.T)])
        np.testing.assert_array_equal(vol[3:9, 7:10, 2:7], labels[3:9, 7:10, 2:7])


def compress_in_place(path: Path) -> None:
    """Leave gzip bytes under the plain names, as copy tools do with Content-Encoding: gzip."""
    for file in [path / "info", *(path / KEY).iterdir()]:
        file.write_bytes(gzip.compress(file.read_bytes()))


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_gzip_under_the_plain_name_is_read(tmp_path: Path, encoding: str) -> None:
    labels = write(tmp_path, encoding=encoding)
    compress_in_place(tmp_path)
    points = np.argwhere(labels)
    with open_volume(tmp_path) as vol:
        np.testing.assert_array_equal(vol[...], labels)
        np.testing.assert_array_equal(vol.lookup(points, units="voxel"), labels[tuple(points.T)])
        np.testing.assert_array_equal(vol.labels(vol.bounds, units="voxel"), np.unique(labels))
    done = run("lookup", tmp_path, "-", "--units", "voxel", stdin=b"x,y,z\n12,10,6\n")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[1] == f"12,10,6,{labels[12, 10, 6]},OK"


def test_raw_voxels_that_begin_as_gzip_does_are_voxels(tmp_path: Path) -> None:
    labels = write(tmp_path)
    member = gzip.compress(labels[:8, :8, :4].tobytes(order="F"))
    voxels = (member + bytes(1024))[:1024]
    (tmp_path / KEY / FIRST).write_bytes(voxels)
    with open_volume(tmp_path) as vol:
        found = vol[0:8, 0:8, 0:4]
    assert found.tobytes(order="F") == voxels


@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_damaged_gzip_under_the_plain_name_is_corrupt(tmp_path: Path, encoding: str) -> None:
    write(tmp_path, encoding=encoding)
    compress_in_place(tmp_path)
    file = tmp_path / KEY / FIRST
    file.write_bytes(file.read_bytes()[:-1])
    done = run("lookup", tmp_path, "-", "--units", "voxel", stdin=b"x,y,z\n0,0,0\n")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1] == "0,0,0,0,CORRUPT"
    with open_volume(tmp_path) as vol, pytest.raises(ChunkError, match=rf"{FIRST}.*gzip stream"):
        vol[0, 0, 0]


@pytest.mark.parametrize("kind", ["http", "gs", "s3"])
@pytest.mark.parametrize("encoding", ["raw", "compressed_segmentation"])
def test_objects_with_content_encoding_gzip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, kind: str
) -> None:
    labels = write(tmp_path / "v", encoding=encoding)
    compress_in_place(tmp_path / "v")
    points = np.argwhere(labels)
    with serving(tmp_path) as server:
        server.gzip_objects = "transcoded" if kind == "gs" else "as they are"
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        url = f"{server.plain}/v" if kind == "http" else f"{kind}://{BUCKET}/v"
        with open_volume(url) as vol:
            np.testing.assert_array_equal(vol[...], labels)
            found = vol.lookup(points, units="voxel")
            np.testing.assert_array_equal(found, labels[tuple(points.T)])


def test_a_damaged_gzip_info_is_named(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "info").write_bytes(gzip.compress((tmp_path / "info").read_bytes())[:-2])
    assert_refused(run("info", tmp_path), "info: gzip stream: expected its end")


def test_forms_may_be_mixed(tmp_path: Path) -> None:
    labels = write(tmp_path)
    for name, suffix, compressor in (
        (FIRST, ".gz", gzip.compress),
        (LAST, ".zstd", zstandard.ZstdCompressor(write_content_size=False).compress),
    ):
        file = tmp_path / KEY / name
        file.with_name(name + suffix).write_bytes(compressor(file.read_bytes()))
        file.unlink()
    with open_volume(tmp_path) as vol:
        np.testing.assert_array_equal(vol[...], labels)


def test_of_two_forms_of_a_chunk_the_plain_one_is_read_whatever_came_before(tmp_path: Path) -> None:
    labels = write(tmp_path)
    compress(tmp_path, ".gz")
    other = np.full(CHUNK_SIZE, 9, np.uint32)
    (tmp_path / KEY / FIRST).write_bytes(other.tobytes())
    with open_volume(tmp_path) as vol:
        assert vol[12, 10, 6] == labels[12, 10, 6]  # from a .gz
        assert vol[0, 0, 0] == 9


def test_brotli_is_refused_by_name(tmp_path: Path) -> None:
    write(tmp_path)
    compress(tmp_path, ".br")
    with open_volume(tmp_path, missing="zero") as vol:
        for read in (
            lambda: vol[...],
            lambda: vol.lookup([[0, 0, 0]], units="voxel", return_status=True),
            lambda: vol.stored_chunks(vol.bounds),
        ):
            with pytest.raises(InfoError, match=r"\.br: .*brotli are not supported"):
                read()


@pytest.mark.parametrize("offset", [(-9, -100, 3), (-8, -8, -4), (1 << 40, 0, -1)])
def test_names_have_the_offset_and_are_clipped_at_the_far_edge(
    tmp_path: Path, offset: tuple[int, int, int]
) -> None:
    labels = write(tmp_path, offset=offset)
    x, y, z = offset
    last = f"{x + 8}-{x + 13}_{y + 8}-{y + 11}_{z + 4}-{z + 7}"
    assert (tmp_path / KEY / last).is_file()
    with open_volume(tmp_path) as vol:
        np.testing.assert_array_equal(vol[...], labels)
        assert vol[x + 12, y + 10, z + 6] == labels[12, 10, 6]
        (tmp_path / KEY / last).unlink()
        _, status = vol.stored_chunks(vol.bounds)
        expected = np.zeros((2, 2, 2), np.uint8)
        expected[1, 1, 1] = PointStatus.NOT_DOWNLOADED
        np.testing.assert_array_equal(status, expected)


def test_of_several_chunk_sizes_the_first_is_read(tmp_path: Path) -> None:
    labels = write(tmp_path)
    (tmp_path / KEY / "0-4_0-4_0-4").write_bytes(bytes(4 * 64))
    change_info(tmp_path, chunk_sizes=[list(CHUNK_SIZE), [4, 4, 4]])
    with open_volume(tmp_path) as vol:
        assert vol.chunk_size == CHUNK_SIZE
        np.testing.assert_array_equal(vol[...], labels)
    change_info(tmp_path, chunk_sizes=[[4, 4, 4], list(CHUNK_SIZE)])
    with open_volume(tmp_path) as vol:
        points = [[0, 0, 0], [4, 0, 0]]
        _, status = vol.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [PointStatus.OK, PointStatus.NOT_DOWNLOADED]


@pytest.mark.parametrize(
    ("files", "unlisted", "status"),
    [
        (None, None, PointStatus.NOT_DOWNLOADED),
        ({}, "unknown", PointStatus.NOT_DOWNLOADED),
        ({}, "none", PointStatus.EMPTY),
        ({FIRST: "none"}, "unknown", PointStatus.EMPTY),
        ({FIRST: "whole"}, "none", PointStatus.NOT_DOWNLOADED),
        ({FIRST + ".gz": "whole"}, "none", PointStatus.NOT_DOWNLOADED),
        ({FIRST: "none", FIRST + ".gz": "whole"}, "none", PointStatus.NOT_DOWNLOADED),
        ({FIRST + ".zstd": "not_fetched"}, "none", PointStatus.NOT_DOWNLOADED),
        ({LAST: "none"}, "unknown", PointStatus.NOT_DOWNLOADED),
    ],
)
def test_an_absent_file_is_background_only_by_a_manifest(
    tmp_path: Path, files: dict[str, str] | None, unlisted: str | None, status: PointStatus
) -> None:
    labels = write(tmp_path)
    (tmp_path / KEY / FIRST).unlink()
    if files is not None and unlisted is not None:
        write_manifest(tmp_path, {n: FileRecord(state) for n, state in files.items()}, unlisted)
    with open_volume(tmp_path) as vol:
        found, statuses = vol.lookup([[0, 0, 0], [8, 8, 4]], units="voxel", return_status=True)
    assert found.tolist() == [0, labels[8, 8, 4]]
    assert statuses.tolist() == [status, PointStatus.OK]


@pytest.mark.parametrize("length", [1, 4 * 8 * 8 * 4 - 1, 4 * 8 * 8 * 4 + 1, 1 << 33])
def test_a_file_of_another_length_is_a_chunk_error(tmp_path: Path, length: int) -> None:
    labels = write(tmp_path)
    with (tmp_path / KEY / FIRST).open("r+b") as file:
        file.truncate(length)  # 8 GiB of nothing: no memory may be taken for it
    with open_volume(tmp_path) as vol:
        with pytest.raises(
            ChunkError, match=rf"{FIRST}, cell \(0, 0, 0\).*expected .*(1024|66576)"
        ):
            vol[0:8, 0:8, 0:4]
        np.testing.assert_array_equal(vol[8:13, :, :], labels[8:13])


@pytest.mark.parametrize("suffix", [".gz", ".zstd"])
def test_a_damaged_compression_is_a_chunk_error(tmp_path: Path, suffix: str) -> None:
    write(tmp_path)
    compress(tmp_path, suffix)
    file = tmp_path / KEY / (FIRST + suffix)
    good = file.read_bytes()
    for damaged in (good[: len(good) // 2], good[:-1], b"x" + good[1:], b"junk"):
        file.write_bytes(damaged)
        with open_volume(tmp_path) as vol:
            with pytest.raises(ChunkError, match=rf"{FIRST}{suffix}.*cell \(0, 0, 0\)"):
                vol[0, 0, 0]
            _, status = vol.lookup([[7, 7, 3], [8, 0, 0]], units="voxel", return_status=True)
            assert status.tolist() == [PointStatus.CORRUPT, PointStatus.OK]


def test_litter_is_not_looked_at(tmp_path: Path) -> None:
    labels = write(tmp_path)
    for name in (f"._{FIRST}", f"{FIRST}.part", ".DS_Store", "0-8_0-8"):
        (tmp_path / KEY / name).write_bytes(b"x")
    with open_volume(tmp_path) as vol:
        np.testing.assert_array_equal(vol[...], labels)
