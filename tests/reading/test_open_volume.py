from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, FIXTURES, load_truth, scale_keys
from volumes import Spec, Written, random_labels, write_volume

from shardreader import InfoError, PointStatus, ReadError, ShardReaderError, Volume, open_volume

TWO = FIXTURES / "two-scales"
BACKGROUND = FIXTURES / "mostly-background"
MANIFEST = "shardreader-manifest.json"


# Paths


@pytest.mark.parametrize(
    "spell",
    [
        str,
        Path,
        lambda path: f"{path}/",
        lambda path: path.as_uri(),
        lambda path: f"precomputed://{path}",
        lambda path: f"precomputed://{path.as_uri()}",
    ],
)
def test_spellings_of_a_path(spell: Callable[[Path], Any]) -> None:
    with open_volume(spell(TWO)) as volume:
        assert volume.path == str(TWO)


def test_a_relative_path_is_fixed_at_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    truth = load_truth("primes", scale_keys("primes")[0])
    monkeypatch.chdir(FIXTURES)
    with open_volume("primes") as volume:
        monkeypatch.chdir(tmp_path)
        np.testing.assert_array_equal(volume[...], truth.labels)


def test_a_path_with_a_space_as_url(tmp_path: Path) -> None:
    path = Path(shutil.copytree(TWO, tmp_path / "my volume"))
    with open_volume(path.as_uri()) as volume:
        assert volume.path == str(path)


def test_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such directory") as error:
        open_volume(tmp_path / "nothing")
    assert isinstance(error.value, OSError)
    with pytest.raises(ReadError, match="not a directory"):
        open_volume(TWO / "info")


def test_no_info(tmp_path: Path) -> None:
    with pytest.raises(InfoError, match="no file `info`") as error:
        open_volume(tmp_path)
    assert isinstance(error.value, ValueError)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"type": "image"}', "\0", "\ufeff"])
def test_damaged_info(tmp_path: Path, text: str) -> None:
    (tmp_path / "info").write_text(text, encoding="utf-8")
    with pytest.raises(InfoError, match="info"):
        open_volume(tmp_path)


def test_info_that_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "info").mkdir()
    with pytest.raises(ShardReaderError, match="info"):
        open_volume(tmp_path)


@pytest.mark.parametrize("url", ["ftp://a/b", "gs://", "https://user@a/b", "http://a.org/b"])
def test_a_url_that_is_not_read(url: str) -> None:
    for spelled in (url, f"precomputed://{url}"):
        with pytest.raises(InfoError, match=url.split(":", maxsplit=1)[0]):
            open_volume(spelled)


@pytest.mark.parametrize("path", [None, 5, b"/data", ["/data"]])
def test_what_is_no_path(path: Any) -> None:
    with pytest.raises(TypeError):
        open_volume(path)


@pytest.mark.parametrize(
    ("member", "value"),
    [
        ("encoding", "jpeg"),
        ("encoding", "jxl"),
        ("chunk_sizes", [[16, 16, 8], [8, 8, 8]]),
    ],
)
def test_forms_that_are_not_read_are_named(tmp_path: Path, member: str, value: Any) -> None:
    write_volume(tmp_path, Spec())
    info = json.loads((tmp_path / "info").read_text())
    info["scales"][0][member] = value
    (tmp_path / "info").write_text(json.dumps(info))
    with pytest.raises(InfoError, match="info"):
        open_volume(tmp_path)


# Scales


@pytest.mark.parametrize(
    ("scale", "index"),
    [
        (None, 0),
        (0, 0),
        (1, 1),
        ("8_8_40", 0),
        ("16_16_80", 1),
        ((8, 8, 40), 0),
        ([16, 16, 80], 1),
        ((16.0, 16.0, 80.0), 1),
        (np.array([16, 16, 80]), 1),
        (np.int64(1), 1),
    ],
    ids=repr,
)
def test_scale(scale: Any, index: int) -> None:
    truth = load_truth("two-scales", scale_keys("two-scales")[index])
    with open_volume(TWO, scale) as volume:
        assert volume.scale.index == index
        assert volume.voxel_offset == truth.origin
        np.testing.assert_array_equal(volume[...], truth.labels)


@pytest.mark.parametrize("scale", [2, -1, "8_8_41", "", (8, 8, 41), 10**30])
def test_no_such_scale(scale: Any) -> None:
    with pytest.raises(InfoError, match="16_16_80"):
        open_volume(TWO, scale)


@pytest.mark.parametrize("scale", [True, 1.0, b"8_8_40", (8, 8), ("8", "8", "40"), {}])
def test_what_is_no_scale(scale: Any) -> None:
    with pytest.raises((TypeError, InfoError)):
        open_volume(TWO, scale)


# Options


@pytest.mark.parametrize(
    "options",
    [
        {"missing": "ignore"},
        {"missing": None},
        {"missing": True},
        {"threads": 0},
        {"threads": -1},
        {"threads": 1.5},
        {"threads": True},
        {"threads": "2"},
        {"cache_bytes": -1},
        {"cache_bytes": 1e6},
        {"cache_bytes": None},
        {"cache_bytes": True},
    ],
    ids=repr,
)
def test_refused_options(options: Any) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(options))):
        open_volume(TWO, **options)


def test_options_are_by_keyword() -> None:
    with pytest.raises(TypeError):
        open_volume(TWO, 0, "zero")  # type: ignore[misc]


@pytest.mark.parametrize("threads", [1, 2, 7, None])
@pytest.mark.parametrize("cache_bytes", [0, 1000, 1 << 20])
def test_options_do_not_change_the_answer(threads: int | None, cache_bytes: int) -> None:
    truth = load_truth("two-scales", scale_keys("two-scales")[0])
    with open_volume(TWO, 0, threads=threads, cache_bytes=cache_bytes) as volume:
        for _ in range(2):
            np.testing.assert_array_equal(volume[...], truth.labels)


def test_opening_starts_no_thread_and_holds_no_file() -> None:
    threads = threading.active_count()
    volume = open_volume(FAFB_MINI)
    assert threading.active_count() == threads
    assert not volume._store._handles
    volume.close()


# The manifest


def status_at(path: Path, voxel: Any, **options: Any) -> PointStatus:
    with open_volume(path, **options) as volume:
        _, status = volume.lookup(voxel, units="voxel", return_status=True)
    return PointStatus(int(status))


@pytest.fixture
def without_a_shard(tmp_path: Path) -> Written:
    written = write_volume(
        tmp_path / "v", Spec(), labels=random_labels(Spec(), 3, background=False)
    )
    written.shard_of((0, 0, 0)).unlink()
    return written


def manifest_for(written: Written, state: dict[str, Any]) -> str:
    document = json.loads((BACKGROUND / MANIFEST).read_text())
    document["scales"] = {"s0": {"unlisted": "unknown", "files": {}, **state}}
    return json.dumps(document)


def test_the_manifest_tells_empty_from_not_downloaded(without_a_shard: Written) -> None:
    path, voxel = without_a_shard.path, (0, 0, 0)
    assert status_at(path, voxel) == PointStatus.NOT_DOWNLOADED
    (path / MANIFEST).write_text(manifest_for(without_a_shard, {}))
    assert status_at(path, voxel) == PointStatus.NOT_DOWNLOADED
    (path / MANIFEST).write_text(manifest_for(without_a_shard, {"unlisted": "none"}))
    assert status_at(path, voxel) == PointStatus.EMPTY


def test_a_manifest_elsewhere(without_a_shard: Written, tmp_path: Path) -> None:
    path, elsewhere = without_a_shard.path, tmp_path / "manifest of the volume.json"
    elsewhere.write_text(manifest_for(without_a_shard, {"unlisted": "none"}))
    for spelled in (elsewhere, str(elsewhere)):
        assert status_at(path, (0, 0, 0), manifest=spelled) == PointStatus.EMPTY
    # It goes before the one beside info.
    (path / MANIFEST).write_text(manifest_for(without_a_shard, {}))
    assert status_at(path, (0, 0, 0), manifest=elsewhere) == PointStatus.EMPTY


def test_a_manifest_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(ReadError, match="no such manifest"):
        open_volume(TWO, manifest=tmp_path / "nothing.json")


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"@type": "something else"}'])
def test_a_damaged_manifest(without_a_shard: Written, text: str) -> None:
    (without_a_shard.path / MANIFEST).write_text(text)
    with pytest.raises(InfoError, match=MANIFEST):
        open_volume(without_a_shard.path)


def test_mostly_background() -> None:
    truth = load_truth("mostly-background", scale_keys("mostly-background")[0])
    with open_volume(BACKGROUND) as volume:
        np.testing.assert_array_equal(volume[...], truth.labels)


# When the copy itself goes away


@pytest.mark.parametrize("gone", ["info", "s0", "."])
@pytest.mark.parametrize("missing", ["error", "zero"])
def test_a_copy_that_goes_away_is_no_status(tmp_path: Path, gone: str, missing: str) -> None:
    path = tmp_path / "v"
    written = write_volume(path, Spec(), labels=random_labels(Spec(), 3, background=False))
    with open_volume(path, missing=missing) as volume:
        for shard in written.shards():
            shard.unlink()
        os.rename(path / gone, tmp_path / "aside")
        for read in reads(volume):
            with pytest.raises(ReadError, match="drive"):
                read()


def reads(volume: Volume) -> list[Callable[[], Any]]:
    return [
        lambda: volume[...],
        lambda: volume.lookup([[0, 0, 0]], units="voxel", return_status=True),
        lambda: volume.stored_chunks(volume.bounds),
    ]


# Closing while others read


def test_close_while_threads_read(tmp_path: Path) -> None:
    written = write_volume(tmp_path, Spec(), labels=random_labels(Spec(), 3, background=False))
    wrong: list[object] = []
    for _ in range(15):
        volume = open_volume(tmp_path, threads=3, cache_bytes=0)
        started = threading.Barrier(4)

        def read(volume: Volume = volume, started: threading.Barrier = started) -> None:
            started.wait(20)
            for _ in range(1000):
                try:
                    voxels = volume[...]
                except ValueError as error:
                    if "closed" not in str(error):
                        wrong.append(error)
                    return
                except BaseException as error:
                    wrong.append(error)
                    return
                if (voxels != written.labels).any():
                    wrong.append("another array")
            wrong.append("never closed")

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        started.wait(20)
        assert volume.shape == (40, 30, 20)
        volume.close()
        for thread in threads:
            thread.join(30)
        assert not wrong
