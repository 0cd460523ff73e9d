from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from cli import REPOSITORY, assert_refused, run, run_here
from fixture_truth import FAFB_MINI, FIXTURES
from shard_builder import TinyVolume

import shardreader
from shardreader.decoding import whole_chunk_codecs as codecs

KEY = "8.0x8.0x40.0"


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FAFB_MINI, tmp_path / "volume"))


def shards_of(path: Path) -> dict:
    done = run_here("info", path, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["scales"][0]["shards"]


# --- the program as such


@pytest.mark.parametrize("command", [[], ["info"], ["lookup"], ["cutout"]])
def test_help_has_examples_and_does_not_load_the_kernels(command: list[str]) -> None:
    code = (
        "import sys; from shardreader.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert not {'numba', 'tqdm', 'tifffile', 'nrrd'} & set(sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *command, "--help"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "examples:\n  shardreader " in done.stdout


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"shardreader {shardreader.__version__}\n")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([], "COMMAND"),
        (["frobnicate"], "frobnicate"),
        (["--frob"], "COMMAND"),
        (["info"], "PATH"),
        (["info", FAFB_MINI, "more"], "more"),
        (["info", FAFB_MINI, "--js"], "--js"),
    ],
)
def test_wrong_usage(arguments: list[object], word: str) -> None:
    assert_refused(run_here(*arguments), word, "--help")


def test_an_error_in_another_process_has_no_traceback() -> None:
    assert_refused(run("info", "no-such-place"), "no such directory")


# --- info


def test_info_describes_the_volume() -> None:
    done = run("info", FAFB_MINI)
    assert (done.returncode, done.stderr) == (0, "")
    for text in (
        "segmentation, uint64",
        "124416 x 67072 x 7063 voxels",
        "8 x 8 x 40 nm",
        "compressed_segmentation",
        "972 x 524 x 221 = 112,561,488 chunks",
        "9 of 3,689 possible ones are here",
    ):
        assert text in done.stdout


def test_info_as_json() -> None:
    done = run("info", FAFB_MINI, "--json")
    document = json.loads(done.stdout)
    (scale,) = document["scales"]
    assert document["data_type"] == "uint64"
    assert document["manifest"]["basis"] == "user"
    assert scale["size"] == [124416, 67072, 7063]
    assert scale["grid_size"] == [972, 524, 221]
    assert scale["sharding"]["preshift_bits"] == 9
    assert scale["shards"]["possible"] == 3689
    assert scale["shards"]["present"] == 9
    assert scale["shards"]["present_bytes"] == sum(
        path.stat().st_size for path in (FAFB_MINI / KEY).iterdir()
    )
    assert scale["shards"]["absent"] == {
        "total": 3680,
        "source_has_none": 3,
        "not_downloaded": 0,
        "unknown": 3677,
    }


def test_info_does_not_load_the_kernels() -> None:
    code = (
        "import sys; from shardreader.cli import main\n"
        "assert main(sys.argv[1:]) == 0\n"
        "assert 'numba' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", code, "info", str(FAFB_MINI)],
        cwd=REPOSITORY,
        check=True,
        capture_output=True,
    )


def test_one_scale_of_several() -> None:
    document = json.loads(run_here("info", FIXTURES / "two-scales", "--json").stdout)
    keys = [scale["key"] for scale in document["scales"]]
    assert len(keys) == 2
    for name in ("1", keys[1], ",".join(map(str, document["scales"][1]["resolution_nm"]))):
        done = run_here("info", FIXTURES / "two-scales", "--json", "--scale", name)
        assert [scale["key"] for scale in json.loads(done.stdout)["scales"]] == [keys[1]]


@pytest.mark.parametrize("name", sorted(path.parent.name for path in FIXTURES.glob("*/info")))
def test_info_reads_every_fixture(name: str) -> None:
    text = run_here("info", FIXTURES / name).stdout
    assert "note" not in text
    (*_, scale) = json.loads(run_here("info", FIXTURES / name, "--json").stdout)["scales"]
    assert scale["not_supported"] is None
    assert scale["extensions"] == []
    assert scale["directory_exists"]
    shards = scale["shards"]
    if scale["sharding"] is None:
        assert shards is None
        assert "a file for each chunk; how many are in this copy is not counted" in text
        return
    assert shards["impossible"] == shards["litter"] == shards["other"] == []
    assert 0 < shards["present"] <= shards["possible"]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("channels", "image, uint64, 3 channels"),
        ("raw-float32", "float32"),
        ("raw-float32", "  encoding    raw\n"),
        ("jpeg-channels", "  encoding    jpeg\n"),
        ("murmurhash", "murmurhash3_x86_128 hash"),
    ],
)
def test_info_names_the_form(name: str, words: str) -> None:
    assert words in run_here("info", FIXTURES / name).stdout


@pytest.mark.parametrize(
    ("index", "data", "extensions"),
    [("zstd", "gzip", ["zstd"]), ("raw", "zstd", ["zstd"]), ("gzip", "raw", [])],
)
def test_zstd_is_named_as_an_extension(
    tmp_path: Path, index: str, data: str, extensions: list[str]
) -> None:
    TinyVolume(tmp_path, index_encoding=index, data_encoding=data).write()
    (scale,) = json.loads(run_here("info", tmp_path, "--json").stdout)["scales"]
    assert scale["extensions"] == extensions
    text = run_here("info", tmp_path).stdout
    assert f"index {index}, data {data}" in text
    note = "zstd is an extension of shardreader; other programs may not be able to read this scale"
    assert (note in text) == bool(extensions)


def test_an_encoding_without_its_extra_is_a_note(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs.importlib.util, "find_spec", lambda _: None)
    done = run_here("info", FIXTURES / "png")
    assert done.returncode == 0
    assert "pip install 'shardreader[png]'" in done.stdout


def test_pairs_of_the_first_version_are_shards(copy: Path) -> None:
    before = shards_of(copy)
    for shard in sorted((copy / KEY).glob("*.shard"))[:3]:
        data = shard.read_bytes()
        shard.with_suffix(".index").write_bytes(data[:1024])
        shard.with_suffix(".data").write_bytes(data[1024:])
        shard.unlink()
    assert shards_of(copy) == before
    halves = sorted((copy / KEY).glob("*.data"))[:2]
    for half in halves:
        half.unlink()
    shards = shards_of(copy)
    assert shards["present"] == 7
    assert shards["other"] == [half.with_suffix(".index").name for half in halves]
    assert shards["absent"]["not_downloaded"] == 2


def test_an_absent_shard_that_the_source_has(copy: Path) -> None:
    (copy / KEY / "02fa.shard").unlink()
    shards = shards_of(copy)
    assert shards["present"] == 8
    assert shards["absent"]["not_downloaded"] == 1
    assert "1 not downloaded" in run_here("info", copy).stdout


def test_without_a_manifest_nothing_is_known(copy: Path) -> None:
    (copy / "shardreader-manifest.json").unlink()
    assert shards_of(copy)["absent"]["unknown"] == 3680
    assert "unknown" in run_here("info", copy).stdout


def test_a_listing_tells_what_the_source_has_not() -> None:
    shards = shards_of(FIXTURES / "mostly-background")
    assert shards["absent"] == {
        "total": 2,
        "source_has_none": 2,
        "not_downloaded": 0,
        "unknown": 0,
    }


def test_other_files_are_notes(copy: Path) -> None:
    for name in ("._02fa.shard", ".DS_Store", "02fa.shard_.gstmp", "notes.txt", "1fff.shard"):
        (copy / KEY / name).write_bytes(b"")
    (copy / KEY / "0000.shard").mkdir()
    shards = shards_of(copy)
    assert shards["present"] == 9
    assert shards["litter"] == [".DS_Store", "._02fa.shard", "02fa.shard_.gstmp"]
    assert shards["other"] == ["0000.shard", "notes.txt"]
    assert shards["impossible"] == ["1fff.shard"]
    text = run_here("info", copy).stdout
    assert "no chunk of this volume belongs to: 1fff.shard" in text


def test_a_scale_without_its_directory(copy: Path) -> None:
    shutil.rmtree(copy / KEY)
    assert shards_of(copy)["present"] == 0
    assert "directory of this scale does not exist" in run_here("info", copy).stdout


def test_an_unsharded_scale_without_its_directory(tmp_path: Path) -> None:
    shutil.copy(FIXTURES / "unsharded" / "info", tmp_path)
    assert "directory of this scale does not exist" in run_here("info", tmp_path).stdout
    (scale,) = json.loads(run_here("info", tmp_path, "--json").stdout)["scales"]
    assert scale["directory_exists"] is False


def test_a_form_that_is_not_read_yet_is_named(tmp_path: Path) -> None:
    info = json.loads((FIXTURES / "raw-uint32" / "info").read_text())
    info["scales"][0]["encoding"] = "jpegxl"
    (tmp_path / "info").write_text(json.dumps(info))
    done = run_here("info", tmp_path)
    assert done.returncode == 0
    assert "encoding 'jpegxl' is not supported by this version" in done.stdout


@pytest.mark.parametrize(
    ("info", "word"),
    [
        (None, "info"),
        (b"", "JSON"),
        (b"[]", "JSON object"),
        (b"\xff\xfe", "UTF-8"),
        (b'{"@type": "neuroglancer_legacy_mesh"}', "@type"),
        (b'{"type": "segmentation", "data_type": "uint64", "num_channels": 1}', "scales"),
    ],
)
@pytest.mark.parametrize("command", ["info", "lookup", "cutout"])
def test_what_is_not_a_volume(tmp_path: Path, info: bytes | None, word: str, command: str) -> None:
    if info is not None:
        (tmp_path / "info").write_bytes(info)
    arguments = {
        "info": [],
        "lookup": [FAFB_MINI / "points.csv", "--units", "voxel"],
        "cutout": ["--box", "0,0,0,1,1,1", "--units", "voxel", "-o", tmp_path / "b.npy"],
    }[command]
    assert_refused(run_here(command, tmp_path, *arguments), word, str(tmp_path))


def test_no_such_scale_names_those_there_are() -> None:
    assert_refused(run_here("info", FAFB_MINI, "--scale", "7"), KEY)


def test_a_damaged_manifest(copy: Path) -> None:
    (copy / "shardreader-manifest.json").write_text("{")
    assert_refused(run_here("info", copy), "shardreader-manifest.json")
