"""`verify` as a whole: absence, selection, totals, notes and what cannot be checked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fixture_truth import FIXTURES, copy_of_fafb_mini

import shardreader
from shardreader.checking.findings import FindingKind, Severity
from shardreader.format.manifest import MANIFEST_NAME, FileRecord, Manifest, ScaleManifest
from shardreader.format.shard_ranges import ShardRanges
from shardreader.verification.run import Progress

FAFB_MINI = copy_of_fafb_mini()

KEY = "8.0x8.0x40.0"
Writable = Callable[[str], Path]


def verify(path: Path, **options: Any) -> shardreader.Report:
    return shardreader.verify(path, **options)


def kinds(report: shardreader.Report) -> dict[str, int]:
    return {str(group.kind): group.count for group in report.groups}


def manifest_of(path: Path, *, unlisted: str = "none", **more: FileRecord) -> Manifest:
    files = {
        p.name: FileRecord("whole", size=p.stat().st_size) for p in (path / KEY).glob("*.shard")
    }
    files.update({f"{name[1:]}.shard": record for name, record in more.items()})
    scales = {KEY: ScaleManifest(unlisted, files)}
    return Manifest("2026-11-22T00:00:00Z", "gs://bucket/ffn1", "listing", scales)


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_every_fixture_of_another_writer_is_whole(level: str) -> None:
    for info in sorted(FIXTURES.glob("*/info")):
        if not all(scale.get("sharding") for scale in json.loads(info.read_text())["scales"]):
            with pytest.raises(shardreader.InfoError, match="sharded"):
                verify(info.parent, level=level)
            continue
        report = verify(info.parent, level=level, allow_absent=True)
        assert report.ok, (info.parent, report.groups)
        assert report.totals.chunks > 0


def test_fafb_mini_with_what_is_known_of_its_source() -> None:
    report = verify(FAFB_MINI)
    assert (report.ok, report.exit_status) == (False, 1)
    (scale,) = report.scales
    assert scale.possible == 3689
    counts = {state: scale.count(state) for state in scale.shards}
    assert counts == {
        "partial": 0,
        "whole": 9,
        "damaged": 0,
        "not_checked": 0,
        "not_downloaded": 0,
        "unknown": 3677,
        "source_has_none": 3,
    }
    assert scale.names("source_has_none") == "0b68,1120,1b48"
    assert kinds(report) == {"ABSENT_UNKNOWN": 3677}
    advice = " ".join(report.to_json()["what_to_do"]["advice"])
    for way in ("adopt", "--listing", "--allow-absent"):
        assert way in advice
    assert verify(FAFB_MINI, allow_absent=True).exit_status == 0
    assert verify(FAFB_MINI, manifest=manifest_of(FAFB_MINI)).exit_status == 0


def test_without_a_manifest_absence_is_unknown(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / MANIFEST_NAME).unlink()
    report = verify(path, level="quick")
    assert report.exit_status == 1
    assert report.known is None
    assert report.scales[0].count("unknown") == 3680


def test_what_the_source_has_and_the_copy_lacks(writable: Writable) -> None:
    path = writable("fafb-mini")
    known = manifest_of(path, _0000=FileRecord("not_fetched", size=77))
    (path / KEY / "02fa.shard").unlink()
    report = verify(path, manifest=known)
    assert kinds(report) == {"NOT_DOWNLOADED": 2}
    assert [f.file for f in report.findings] == [f"{KEY}/0000.shard", f"{KEY}/02fa.shard"]
    assert report.findings[0].expected == "a file of 77 bytes"
    assert report.scales[0].names("not_downloaded") == "0000,02fa"
    what_to_do = report.to_json()["what_to_do"]
    assert what_to_do["copy_again"] == [f"{KEY}/0000.shard", f"{KEY}/02fa.shard"]
    (command,) = what_to_do["commands"]
    assert command == (
        f"shardreader fetch gs://bucket/ffn1 {path} --scale {KEY} --repair report.json"
    )
    assert "verify again with --report report.json" in what_to_do["advice"][0]
    assert verify(path, manifest=known, allow_absent=True).ok


def test_what_the_copy_has_and_the_source_lacks() -> None:
    report = verify(FAFB_MINI, manifest=manifest_of(FAFB_MINI, _02fa=FileRecord("none")))
    assert kinds(report) == {"SIZE_MISMATCH": 1}
    assert report.scales[0].names("damaged") == "02fa"
    assert report.to_json()["what_to_do"]["copy_again"] == []


def test_size_and_checksum_are_held_against_the_manifest(writable: Writable) -> None:
    path = writable("fafb-mini")
    document = json.loads((path / MANIFEST_NAME).read_text())
    files = document["scales"][KEY]["files"]
    files["02fa.shard"]["crc32c"] = "AAAAAA=="
    files["02fb.shard"]["size"] += 1
    (path / MANIFEST_NAME).write_text(json.dumps(document))
    report = verify(path, allow_absent=True)
    assert kinds(report)["CHECKSUM_MISMATCH"] == kinds(report)["SIZE_MISMATCH"] == 1
    assert report.scales[0].names("damaged") == "02fa-02fb"


def test_a_damaged_chunk_is_named_and_the_rest_is_whole(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / MANIFEST_NAME).unlink()
    file = path / KEY / "02fb.shard"
    data = bytearray(file.read_bytes())
    data[20000] ^= 4
    file.write_bytes(data)
    report = verify(path, allow_absent=True)
    (finding,) = (f for f in report.findings if f.severity is Severity.DAMAGE)
    assert finding.kind is FindingKind.CHUNK_DECODE
    assert finding.file == f"{KEY}/02fb.shard"
    assert report.scales[0].untrusted == (finding.voxel_box,)
    assert report.scales[0].count("whole") == 8
    assert report.to_json()["what_to_do"]["copy_again"] == [f"{KEY}/02fb.shard"]
    box = finding.voxel_box
    with shardreader.open_volume(path) as vol, pytest.raises(shardreader.ChunkError):
        vol.cutout(box)


def test_litter_and_impossible_names_are_notes(writable: Writable) -> None:
    path = writable("fafb-mini")
    for name in ("._02fa.shard", ".DS_Store", "1fff.shard", "02FA.shard", "notes.txt"):
        (path / KEY / name).write_bytes(b"x")
    report = verify(path, allow_absent=True)
    assert report.ok
    assert report.count(Severity.NOTE) == 5


def test_a_key_that_contradicts_the_resolution_warns(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / "info").write_text(
        (path / "info").read_text().replace('"resolution": [\n    8,', '"resolution": [\n    4,')
    )
    report = verify(path, level="quick", allow_absent=True)
    assert report.ok
    assert "INFO_KEY" in kinds(report)


def test_a_wrong_block_size_of_the_same_volume(writable: Writable) -> None:
    path = writable("fafb-mini")
    document = json.loads((path / "info").read_text())
    document["scales"][0]["compressed_segmentation_block_size"] = [8, 8, 8]
    (path / "info").write_text(json.dumps(document))
    report = verify(path, allow_absent=True)
    assert kinds(report)["BLOCK_SIZE_IMPLAUSIBLE"] == 1
    assert report.scales[0].untrusted == (report.scales[0].scale.grid.bounds,)
    assert "compressed_segmentation_block_size" in " ".join(
        report.to_json()["what_to_do"]["advice"]
    )


def test_selections() -> None:
    report = verify(FAFB_MINI, shards="02fa,0668-066d", allow_absent=True)
    assert report.totals.shards == 5
    assert report.scales[0].names("whole") == "02fa,0668-0669,066c-066d"
    assert not report.asked.is_whole
    assert verify(FAFB_MINI, shards=[0x2FA]).exit_status == 0
    inside = ((61440, 32768, 3072), (61441, 32769, 3073))
    report = verify(FAFB_MINI, box=inside, units="voxel")
    assert report.ok
    assert report.totals.shards == 1
    assert report.totals.inflated_chunks <= 1
    nm = ((491520, 262144, 122880), (491521, 262145, 122881))
    assert verify(FAFB_MINI, box=nm, units="nm").scales[0].shards == report.scales[0].shards
    assert verify(FAFB_MINI, box=shardreader.Box(*inside)).ok


def test_a_selection_with_a_box_of_the_whole_volume_is_the_volume() -> None:
    bounds = ((0, 0, 0), (124416, 67072, 7063))
    report = verify(FAFB_MINI, box=bounds, units="voxel", level="quick", allow_absent=True)
    assert report.totals.shards == 9
    assert report.scales[0].count("unknown") == 3677


def test_all_scales_or_one(writable: Writable) -> None:
    path = writable("two-scales")
    assert len(verify(path, allow_absent=True).scales) == 2
    (only,) = verify(path, scale="16_16_80", allow_absent=True).scales
    assert only.key == "16_16_80"
    with pytest.raises(ValueError, match="name the scale"):
        verify(path, box=shardreader.Box((0, 0, 0), (1, 1, 1)))


def test_a_scale_that_cannot_be_read_is_not_passed_over(writable: Writable) -> None:
    path = writable("two-scales")
    document = json.loads((path / "info").read_text())
    document["scales"][1]["encoding"] = "jpeg"
    document["scales"][1].pop("compressed_segmentation_block_size", None)
    document["data_type"] = "uint64"
    (path / "info").write_text(json.dumps(document))
    report = verify(path, allow_absent=True)
    assert not report.ok
    assert report.scales[1].not_supported
    assert verify(path, scale=0, allow_absent=True).ok
    with pytest.raises(shardreader.InfoError):
        verify(path, scale=1)


def test_a_copy_without_a_shard_is_never_whole(writable: Writable) -> None:
    path = writable("fafb-mini")
    for shard in (path / KEY).iterdir():
        shard.unlink()
    assert not verify(path, allow_absent=True).ok
    (path / KEY).rmdir()
    assert not verify(path, allow_absent=True).ok


def test_progress_counts_bytes_and_findings(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / KEY / "02fb.shard").write_bytes(b"")
    seen: list[Progress] = []
    report = verify(path, progress=seen.append, threads=1)
    assert seen[0].bytes_done == 0
    assert seen[-1].bytes_done == seen[-1].bytes_total == report.totals.file_bytes
    assert seen[-1].shards_done == seen[-1].shards_total == 9
    assert seen[-1].findings == report.count(Severity.DAMAGE) + 3677
    assert [p.bytes_done for p in seen] == sorted(p.bytes_done for p in seen)


@pytest.mark.parametrize("threads", [1, 3])
def test_the_report_does_not_depend_on_the_threads(writable: Writable, threads: int) -> None:
    path = writable("fafb-mini")
    for name in ("02fb.shard", "1b68.shard", "0669.shard"):
        file = path / KEY / name
        file.write_bytes(file.read_bytes()[:9000])
    once = verify(path, threads=2).to_json()
    again = verify(path, threads=threads).to_json()
    for changing in ("seconds", "megabytes_per_second", "created"):
        del once[changing], again[changing]
    assert once == again


def test_findings_are_bounded(writable: Writable) -> None:
    from shardreader.checking.findings import Finding, ShardResult, ShardTotals
    from shardreader.format.grid import Box
    from shardreader.verification.shard_summary import FINDINGS_KEPT, ShardSummary, summarize

    def found(i: int) -> Finding:
        box = Box((i, 0, 0), (i + 1, 1, 1))
        return Finding(FindingKind.CHUNK_DECODE, "s0/0.shard", 0, voxel_box=box)

    findings = (*map(found, range(5000)), Finding(FindingKind.EMPTY_FILE, "s0/0.shard", 0))
    result = ShardResult(0, "s0/0.shard", "full", None, findings, ShardTotals())
    summary = summarize(result, Box((0, 0, 0), (1, 1, 1)))
    assert len(summary.result.findings) == FINDINGS_KEPT + 1
    assert summary.counts == {"CHUNK_DECODE": 5000, "EMPTY_FILE": 1}
    assert summary.untrusted == (Box((0, 0, 0), (5000, 1, 1)),)
    assert ShardSummary.from_json(json.loads(json.dumps(summary.to_json()))) == summary


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"level": "deeper"}, ValueError, "quick, full, deep"),
        ({"cross_check": 2, "level": "deep"}, ValueError, "from 0 to 1"),
        ({"cross_check": 0.5}, ValueError, "needs the level deep"),
        ({"threads": 0}, ValueError, "threads"),
        ({"shards": "xyz"}, ValueError, "'xyz'"),
        ({"shards": "2-1"}, ValueError, "backwards"),
        ({"shards": ""}, ValueError, "no shard number"),
        ({"shards": [1.5]}, TypeError, "1.5"),
        ({"shards": [-1]}, TypeError, "-1"),
        ({"shards": "1fff"}, shardreader.OutOfBoundsError, "none of these shards"),
        ({"units": "nm"}, TypeError, "units"),
        ({"box": ((0, 0, 0), (1, 1, 1))}, TypeError, "unit"),
        ({"box": ((-9, 0, 0), (0, 1, 1)), "units": "voxel"}, IndexError, "no voxel"),
        ({"scale": 7}, shardreader.InfoError, "no scale"),
        ({"manifest": "/nowhere.json"}, shardreader.ReadError, "no such manifest"),
    ],
)
def test_wrong_arguments(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        verify(FAFB_MINI, **options)


def test_shard_ranges() -> None:
    ranges = ShardRanges.parse("3-5, 0a3f.shard,4,6")
    assert ranges.runs == ((3, 6), (0xA3F, 0xA3F))
    assert list(ShardRanges.of([5, 1, 2, 1])) == [1, 2, 5]
    assert [n for n in range(10) if n in ranges] == [3, 4, 5, 6]
    assert "3" not in ranges
    assert len(ShardRanges()) == 0
    assert ShardRanges.parse(ranges.text("{:04x}".format)) == ranges


def test_shards_of_the_first_version_are_neither_absent_nor_whole(writable: Writable) -> None:
    path = writable("fafb-mini")
    (path / MANIFEST_NAME).unlink()
    data = (path / KEY / "02fa.shard").read_bytes()
    (path / KEY / "02fa.shard").unlink()
    (path / KEY / "02fa.index").write_bytes(data[:1024])
    (path / KEY / "02fa.data").write_bytes(data[1024:])
    report = verify(path, allow_absent=True)
    assert not report.ok
    assert report.scales[0].names("not_checked") == "02fa"
    assert report.scales[0].count("unknown") == 3680
    assert "LITTER" not in kinds(report)
    assert "N.index" in " ".join(report.to_json()["what_to_do"]["advice"])
