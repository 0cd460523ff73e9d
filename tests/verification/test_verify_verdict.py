"""What `verify` has not understood it does not call whole: verdicts through the front door."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from cli import REPOSITORY, assert_refused, run
from fixture_truth import copy_of_fafb_mini
from shard_builder import TinyVolume, code_too_far

from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest

FAFB_MINI = copy_of_fafb_mini()
KEY = "8.0x8.0x40.0"

Writable = Callable[[str], Path]


@pytest.mark.parametrize("axis", range(3))
def test_a_scale_without_voxels_is_an_error_of_the_info(writable: Writable, axis: int) -> None:
    path = writable("uint32")
    document = json.loads((path / "info").read_text())
    document["scales"][0]["size"][axis] = 0
    (path / "info").write_text(json.dumps(document))
    words = (f"scales[0].size[{axis}]", "expected an integer from 1", "found 0")
    assert_refused(run("verify", path), *words)
    assert_refused(run("info", path), *words)


FORMS = ("text", "json", "md", "html")


class Told(NamedTuple):
    """One answer in all forms of the report, by the command line."""

    status: int
    document: dict[str, Any]
    texts: dict[str, str]

    def says(self, words: str) -> None:
        """Hold that every form has some words."""
        for form in FORMS:
            assert words in self.texts[form], (form, self.texts[form])

    def says_nowhere(self, words: str) -> None:
        """Hold that no form has some words."""
        for form in FORMS:
            assert words not in self.texts[form], (form, self.texts[form])


def tell(folder: Path, *arguments: object) -> Told:
    """Run ``verify`` for all forms of its report; all exit alike."""
    page, marked = folder / "report.html", folder / "report.md"
    text = run("verify", *arguments, "--report", page)
    as_json = run("verify", *arguments, "--json", "--report", marked)
    document = json.loads(as_json.stdout)
    assert text.returncode == as_json.returncode == document["exit_status"]
    assert text.stderr == as_json.stderr == ""
    texts = {
        "text": text.stdout,
        "json": json.dumps(document),
        "md": re.sub(r"\\(.)", r"\1", marked.read_text("utf-8")),
        "html": html.unescape(page.read_text("utf-8")),
    }
    told = Told(text.returncode, document, texts)
    told.says(document["verdict"])
    return told


INSIDE = "61440,32768,3072,61441,32769,3073"


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (("--shards", "02fb"), "sound as far as asked: 1 of 3,689 shards; nothing"),
        (("--shards", "02fa-02fb,0b68"), "sound as far as asked: 3 of 3,689 shards; nothing"),
        (
            ("--box", INSIDE, "--units", "voxel"),
            "sound as far as asked: 1 of 3,689 shards, in these only the chunks of the box; noth",
        ),
    ],
)
def test_some_shards_are_not_the_whole(
    tmp_path: Path, arguments: tuple[str, ...], asked: str
) -> None:
    told = tell(tmp_path, FAFB_MINI, *arguments)
    assert told.status == 0
    told.says(asked)
    told.says_nowhere("WHOLE")
    assert told.document["asked"]["possible_shards"] == 3689


def test_some_shards_that_are_absent_are_told(tmp_path: Path) -> None:
    told = tell(tmp_path, FAFB_MINI, "--shards", "02fb,0001,0002", "--allow-absent")
    assert told.status == 0
    told.says("sound as far as asked: 3 of 3,689 shards; nothing is damaged; 2 shards absent")
    told.says_nowhere("WHOLE")


def test_one_scale_is_not_the_whole(writable: Writable, tmp_path: Path) -> None:
    path = writable("two-scales")
    told = tell(tmp_path, path, "--scale", "1", "--allow-absent")
    assert told.status == 0
    told.says("sound as far as asked:")
    told.says("1 of 2 scales")
    told.says_nowhere("WHOLE")
    told = tell(tmp_path, path, "--allow-absent")
    assert told.document["asked"]["scales"] == told.document["asked"]["scales_of_volume"] == 2
    told.says("WHOLE")
    told.says_nowhere("as far as asked")


def test_a_box_or_a_list_of_all_is_the_whole(tmp_path: Path) -> None:
    everything = "0,0,0,124416,67072,7063"
    for part in (("--box", everything, "--units", "voxel"), ("--shards", "0000-1fff")):
        told = tell(tmp_path, FAFB_MINI, *part, "--allow-absent")
        assert told.document["asked"]["shards"] == 3689
        told.says("WHOLE as far as it is here: nothing is damaged; 3,677 shards absent")
        told.says_nowhere("as far as asked")
        # A box of all that there is skips no checksum.
        assert told.document["totals"]["checksummed_files"] == 9


def test_damage_in_a_part_says_how_much_was_looked_at(writable: Writable, tmp_path: Path) -> None:
    path = writable("fafb-mini")
    (path / KEY / "02fb.shard").write_bytes(b"")
    told = tell(tmp_path, path, "--shards", "02fa-02fb")
    assert told.status == 1
    told.says("DAMAGED")
    assert told.document["asked"]["shards"] == 2
    for form in ("text", "md", "html"):
        assert "2 of 3,689 shards" in told.texts[form]


def test_the_indices_are_not_the_whole(tmp_path: Path) -> None:
    told = tell(tmp_path, FAFB_MINI, "--level", "quick", "--allow-absent")
    assert told.status == 0
    told.says("by the indices alone, no chunk was read")
    told = tell(tmp_path, FAFB_MINI, "--allow-absent")
    told.says_nowhere("by the indices alone")


@pytest.mark.parametrize("level", ["full", "deep"])
def test_a_code_beyond_its_table_is_found(
    tiny_gzip: TinyVolume, tmp_path: Path, level: str
) -> None:
    code_too_far(tiny_gzip)
    told = tell(tmp_path, tiny_gzip.path, "--level", level)
    assert told.status == 1
    told.says("DAMAGED; 1 finding of damage, in 1 shard")
    told.says("CODE_OUTSIDE_TABLE")
    voxel = ",".join(map(str, tiny_gzip.lower(5)))
    points = f"x,y,z\n{voxel}\n".encode()
    done = run("lookup", tiny_gzip.path, "-", "--units", "voxel", stdin=points)
    assert done.returncode == 1
    assert "CORRUPT" in done.stdout


def test_checksums_are_compared_in_the_base_installation(
    writable: Writable, tmp_path: Path
) -> None:
    project = (REPOSITORY / "pyproject.toml").read_text()
    base = project[project.index("dependencies = [") : project.index("]", project.index("deflate"))]
    assert "google-crc32c" in base
    path = writable("fafb-mini")
    document = json.loads((path / MANIFEST_NAME).read_text())
    document["scales"][KEY]["files"]["02fa.shard"]["crc32c"] = "AAAAAA=="
    (path / MANIFEST_NAME).write_text(json.dumps(document))
    told = tell(tmp_path, path, "--allow-absent")
    assert told.status == 1
    assert told.document["totals"]["checksummed_files"] == 9
    told.says("CHECKSUM_MISMATCH")


def without_checksums(tiny: TinyVolume, folder: Path) -> Told:
    tiny.write()
    return tell(folder, tiny.path)


def test_chunks_without_a_checksum_are_told_once(tiny: TinyVolume, tmp_path: Path) -> None:
    told = without_checksums(tiny, tmp_path)
    assert told.status == 0
    assert told.document["totals"]["unverifiable_chunks"] == 32
    for form in ("text", "md", "html"):
        text = told.texts[form]
        assert text.count("32 chunks stored without a checksum") == 1
        assert "keeps its form gives wrong labels" in text
    quick = tell(tmp_path, tiny.path, "--level", "quick")
    for form in ("text", "md", "html"):
        assert quick.texts[form].count("stored without a checksum") == 1
    text, document = run("info", tiny.path).stdout, run("info", tiny.path, "--json").stdout
    assert "checksums   none of the chunks and minishard indices: damage" in text
    assert json.loads(document)["scales"][0]["without_checksum"] == ["data", "index"]


def test_gzip_has_a_checksum(tiny_gzip: TinyVolume, tmp_path: Path) -> None:
    told = without_checksums(tiny_gzip, tmp_path)
    assert told.document["totals"]["unverifiable_chunks"] == 0
    told.says_nowhere("without a checksum")
    assert "checksums" not in run("info", tiny_gzip.path).stdout


def test_a_checksum_of_the_whole_file_stands_for_those_of_the_chunks(
    tiny: TinyVolume, tmp_path: Path
) -> None:
    tiny.write()
    files = {}
    for path in tiny.shard_path(0).parent.glob("*.shard"):
        digest = base64.b64encode(hashlib.md5(path.read_bytes()).digest()).decode()
        files[path.name] = FileRecord("whole", size=path.stat().st_size, md5=digest)
    key = tiny.shard_path(0).parent.name
    known = Manifest("2026-11-22T00:00:00Z", None, "listing", {key: ScaleManifest("none", files)})
    (tiny.path / MANIFEST_NAME).write_bytes(known.to_json())
    told = tell(tmp_path, tiny.path)
    assert told.status == 0
    assert told.document["totals"]["checksummed_files"] == len(files)
    told.says_nowhere("without a checksum")
