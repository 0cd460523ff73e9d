"""`adopt`: what a listing or the user's word makes of a copy, through Python and the command."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import assert_refused, run, run_here
from fixture_truth import FAFB_MINI, FIXTURES

import shardreader
from shardreader.fetching.adoption import adopt_copy
from shardreader.format.manifest import MANIFEST_NAME, parse_manifest

KEY = "8.0x8.0x40.0"
ROOT = "gs://bucket/ffn1"
Writable = Callable[[str], Path]


@pytest.fixture
def copy(writable: Writable) -> Path:
    """A copy of fafb-mini without its manifest."""
    path = writable("fafb-mini")
    (path / MANIFEST_NAME).unlink()
    return path


def shards(path: Path) -> dict[str, int]:
    return {p.name: p.stat().st_size for p in sorted((path / KEY).glob("*.shard"))}


def listing(folder: Path, sizes: dict[str, int], *, key: str = KEY, total: bool = True) -> Path:
    lines = [f"{size:>10}  2020-04-12T10:00:00Z  {ROOT}/{key}/{n}" for n, size in sizes.items()]
    if total:
        lines.append(f"TOTAL: {len(sizes)} objects, {sum(sizes.values())} bytes (1 B)")
    path = folder / "listing.txt"
    path.write_text("\n".join(lines) + "\n")
    return path


def written(path: Path) -> shardreader.fetching.adoption.Manifest:  # type: ignore[name-defined]
    return parse_manifest((path / MANIFEST_NAME).read_bytes(), "manifest")


def test_a_whole_copy(copy: Path, tmp_path: Path) -> None:
    done = run("adopt", copy, "--listing", listing(tmp_path, shards(copy)))
    assert (done.returncode, done.stderr) == (0, "")
    assert "9           here, of the size of the source" in done.stdout
    assert "3,680       that the source does not have either" in done.stdout
    manifest = written(copy)
    assert (manifest.source, manifest.basis) == (ROOT, "listing")
    assert manifest.scales[KEY].unlisted == "none"
    assert {name: record.size for name, record in manifest.scales[KEY].files.items()} == shards(
        copy
    )
    assert {record.state for record in manifest.scales[KEY].files.values()} == {"whole"}
    with shardreader.open_volume(copy) as vol:
        labels, status = vol.lookup([[0, 0, 0]], units="voxel", return_status=True)
    assert (labels[0], status[0]) == (0, shardreader.PointStatus.EMPTY)
    assert run("verify", copy, "--level", "quick").returncode == 0


def test_all_3689_shards_of_fafb(copy: Path, tmp_path: Path) -> None:
    from shardreader.format.shard_lattice import ShardLattice
    from shardreader.storage.documents import read_info

    scale = read_info(str(copy)).scales[0]
    names = [scale.sharding.file_name(n) for n in ShardLattice(scale).numbers()]  # type: ignore[union-attr]
    assert len(set(names)) == 3689
    sizes = {name: shards(copy).get(name, 230_000_000) for name in names}
    adoption = adopt_copy(copy, listing=listing(tmp_path, sizes))
    (state,) = adoption.scales
    assert (state.possible, state.whole, len(state.missing)) == (3689, 9, 3680)
    assert (state.source_has_none, state.unknown, state.ok) == (0, 0, False)
    done = run("adopt", copy, "--listing", tmp_path / "listing.txt")
    assert done.returncode == 1
    assert "3,680       missing: 0000.shard, 0001.shard," in done.stdout


def test_missing_and_wrong_and_unexpected(copy: Path, tmp_path: Path) -> None:
    sizes = shards(copy)
    sizes["0000.shard"] = 5
    sizes["02fa.shard"] += 1
    del sizes["1b68.shard"]
    done = run("adopt", copy, "--listing", listing(tmp_path, sizes))
    assert done.returncode == 1
    assert "1           missing: 0000.shard" in done.stdout
    assert "1           of wrong size: 02fa.shard (18,195 bytes, not 18,196)" in done.stdout
    assert "1           unexpected: the source does not have them: 1b68.shard" in done.stdout
    files = written(copy).scales[KEY].files
    assert files["0000.shard"].state == files["02fa.shard"].state == "not_fetched"
    # A listing that lacks what the copy has cannot be whole.
    assert written(copy).scales[KEY].unlisted == "unknown"
    assert "is not taken to be whole" in done.stderr


def test_a_listing_that_was_cut_proves_no_absence(copy: Path, tmp_path: Path) -> None:
    done = run("adopt", copy, "--listing", listing(tmp_path, shards(copy), total=False))
    assert done.returncode == 1
    assert "it may be cut off" in done.stderr
    assert "3,680       of which nothing is known" in done.stdout
    assert not written(copy).source_has_none(KEY, "0000.shard")


def test_names_that_the_geometry_does_not_allow_become_no_paths(copy: Path, tmp_path: Path) -> None:
    sizes = {
        **shards(copy),
        **dict.fromkeys(("1fff.shard", "FFFF.shard", "2fa.shard", "info", "x y", ".."), 7),
        "sub/../../../02fb.shard": 7,
        "sub/02fb.shard": 7,
    }
    done = run("adopt", copy, "--listing", listing(tmp_path, sizes))
    assert done.returncode == 0
    assert {*written(copy).scales[KEY].files} == {*shards(copy)}
    assert "3 shard files" in done.stderr


def test_checksums_and_generations_are_kept(copy: Path, tmp_path: Path) -> None:
    sizes = shards(copy)
    blocks = [
        f"{ROOT}/{KEY}/{name}:\n    Content-Length:         {size}\n"
        + ("    Hash (crc32c):          D6zk5A==\n" if name == "02fa.shard" else "")
        + "    Hash (md5):             ms+qSYvgI9SjXn8tW/5UpQ==\n"
        "    ETag:                   CP=\n    Generation:             17\n"
        for name, size in sizes.items()
    ]
    text = "".join(blocks) + f"TOTAL: {len(sizes)} objects, {sum(sizes.values())} bytes (1 B)\n"
    (tmp_path / "listing.txt").write_text(text)
    manifest = shardreader.adopt(copy, listing=tmp_path / "listing.txt")
    record = manifest.scales[KEY].files["02fa.shard"]
    assert (record.crc32c, record.md5, record.generation) == ("D6zk5A==", None, "17")
    assert manifest.scales[KEY].files["02fb.shard"].md5 == "ms+qSYvgI9SjXn8tW/5UpQ=="
    assert written(copy) == manifest


def test_on_the_users_word(copy: Path) -> None:
    done = run("adopt", copy, "--assume-complete")
    assert done.returncode == 0
    manifest = written(copy)
    assert (manifest.basis, manifest.source) == ("user", None)
    assert manifest.source_has_none(KEY, "0000.shard")
    assert run("verify", copy).returncode == 0


@pytest.mark.parametrize("left", ["0000.shard_.gstmp", "0000.shard.part", ".0000.shard.a1B2c3"])
def test_no_word_makes_an_unfinished_download_whole(copy: Path, left: str) -> None:
    (copy / KEY / left).write_bytes(b"part")
    (copy / KEY / "0001.shard").write_bytes(b"")
    done = run("adopt", copy, "--assume-complete")
    assert done.returncode == 1
    assert "2 shards that are empty or were left unfinished" in done.stderr
    for name in ("0000.shard", "0001.shard"):
        assert written(copy).scales[KEY].files[name].state == "not_fetched"
    with shardreader.open_volume(copy) as vol:
        _, status = vol.lookup([[0, 0, 0]], units="voxel", return_status=True)
    assert status[0] == shardreader.PointStatus.NOT_DOWNLOADED


def test_two_scales_from_two_listings(writable: Writable, tmp_path: Path) -> None:
    path = writable("two-scales")
    text = ""
    for key in ("8_8_40", "16_16_80"):
        sizes = {p.name: p.stat().st_size for p in (path / key).glob("*.shard")}
        text += listing(tmp_path, sizes, key=key).read_text()
    (tmp_path / "both.txt").write_text(text)
    assert adopt_copy(path, listing=tmp_path / "both.txt").ok
    one = adopt_copy(path, listing=tmp_path / "listing.txt")
    assert [scale.key for scale in one.scales] == ["16_16_80"]
    assert one.notes == ("the listing has no file of scale 8_8_40: it is left out",)


def test_wrong_listings_are_refused(copy: Path, tmp_path: Path) -> None:
    def refused(text: str, *words: str) -> None:
        (tmp_path / "wrong.txt").write_text(text)
        assert_refused(run_here("adopt", copy, "--listing", tmp_path / "wrong.txt"), *words)
        assert not (copy / MANIFEST_NAME).exists()

    good = listing(tmp_path, shards(copy)).read_text()
    refused("", "lists no files")
    refused("CommandException: One or more URLs matched no objects.\n", "CommandException")
    refused(good.replace(KEY, "4_4_40"), "a folder called 8.0x8.0x40.0", f"{ROOT}/4_4_40")
    refused(good + good.replace("ffn1", "ffn2"), "2 volumes", "gs://bucket/ffn2")
    twice = good.splitlines()[0].replace("18195", "18196")
    refused(f"{good}{twice}\n", "twice", "without -a")
    assert_refused(run_here("adopt", copy, "--listing", tmp_path / "none.txt"), "none.txt")
    assert_refused(run_here("adopt", copy, "--listing", copy / KEY / "02fa.shard"), "no listing")


def test_wrong_arguments(copy: Path, tmp_path: Path) -> None:
    assert_refused(run("adopt", copy), "--listing", "--assume-complete")
    assert_refused(run_here("adopt", copy, "--source", "ftp://b/v"), "unknown scheme")
    assert_refused(
        run_here("adopt", copy, "--assume-complete", "--listing", "x"), "not allowed with"
    )
    assert_refused(run_here("adopt", tmp_path / "nowhere", "--assume-complete"), "nowhere")
    assert_refused(run_here("adopt", tmp_path, "--assume-complete"), "no file `info`")
    assert_refused(run_here("adopt"), "PATH")
    for wrong in ({}, {"listing": "x", "assume_complete": True}, {"source": "x", "listing": "y"}):
        with pytest.raises(TypeError, match="one of source, listing and assume_complete"):
            shardreader.adopt(copy, **wrong)  # type: ignore[arg-type]
    with pytest.raises(shardreader.InfoError, match="unknown scheme"):
        shardreader.adopt(copy, source="ftp://b/v")


def test_an_unsharded_volume(writable: Writable) -> None:
    path = writable("uint32")
    document = json.loads((path / "info").read_text())
    del document["scales"][0]["sharding"]
    (path / "info").write_text(json.dumps(document))
    assert_refused(run_here("adopt", path, "--assume-complete"), "none of its scales is sharded")


def test_the_manifest_is_replaced_and_never_half_written(
    copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (copy / MANIFEST_NAME).write_text("damaged")
    shardreader.adopt(copy, assume_complete=True)
    before = (copy / MANIFEST_NAME).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="No space"):
        shardreader.adopt(copy, assume_complete=True)
    assert (copy / MANIFEST_NAME).read_bytes() == before
    assert [p.name for p in copy.iterdir() if p.name.endswith(".part")] == []


def test_the_fixture_itself_is_not_touched() -> None:
    assert json.loads((FAFB_MINI / MANIFEST_NAME).read_text())["basis"] == "user"
    assert FIXTURES.is_dir()
