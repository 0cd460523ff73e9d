"""`shardreader index` and `shardreader segment`, as a user runs them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import nrrd
import numpy as np
import tifffile
from cli import assert_refused, run, run_here
from fixture_truth import FIXTURES, load_truth
from shard_builder import TinyVolume, block_label

import shardreader

LABEL = 2142873971


def test_from_index_to_mask(writable: Callable[[str], Path], tmp_path: Path) -> None:
    path = writable("fafb-mini")
    done = run("index", path, "--threads", 2)
    assert (done.returncode, done.stderr) == (1, ""), done
    assert f"wrote {path / 'shardreader-index' / '8.0x8.0x40.0' / 'segments.duckdb'}" in done.stdout
    assert "9 indexed, 0 of them earlier" in done.stdout
    assert "3,677 shards are missing from the copy (0000-0123," in done.stdout
    done = run("segment", path, LABEL)
    assert (done.returncode, done.stderr) == (1, ""), done
    lines = done.stdout.splitlines()
    assert lines[0] == f"segment {LABEL} of {path}, scale 8.0x8.0x40.0"
    assert lines[1] == "  voxels      14,706, which is 0.0376474 um3"
    with shardreader.open_volume(path) as volume:
        segment = volume.segment(LABEL)
        box = segment.bounding_box()
        expected = volume.cutout(box) == LABEL
        x, y, z = segment.representative_voxel
        assert lines[3] == f"  inside      voxel {x}, {y}, {z}"
    done = run("segment", path, LABEL, "--json", "-o", tmp_path / "mask.tif")
    assert done.returncode == 1
    document = json.loads(done.stdout)
    assert document["label"] == str(LABEL)
    assert document["chunks"] == [{"chunk_id": "53762925", "cell": [479, 256, 95], "voxels": 14706}]
    assert document["coverage"]["missing_count"] == 3677
    assert f"segment {LABEL} may be incomplete" in done.stderr
    pages = tifffile.imread(tmp_path / "mask.tif")
    assert np.array_equal(pages, expected.T.astype(np.uint8))
    for name in ("mask.npy", "mask.nrrd"):
        assert run_here("segment", path, LABEL, "-o", tmp_path / name).returncode == 1
    assert np.array_equal(np.load(tmp_path / "mask.npy"), expected.astype(np.uint8))
    voxels, header = nrrd.read(str(tmp_path / "mask.nrrd"))
    assert np.array_equal(voxels, expected.astype(np.uint8))
    origin = (np.array(box.lower) + 0.5) * (8, 8, 40)
    assert header["space origin"].tolist() == origin.tolist()
    if os.name == "posix":
        assert "9 of them earlier" in run_here("index", path, "--resume").stdout


def test_a_damaged_row_file_is_indexed_again(tiny: TinyVolume) -> None:
    path = tiny.write().path
    label = block_label(0, 0)
    assert run("index", path).returncode == 0
    before = run("segment", path, label)
    assert before.returncode == 0
    [rows] = (path / "shardreader-index/tiny/rows").glob("0-*.parquet")
    content = bytearray(rows.read_bytes())
    content[len(content) // 4] ^= 1
    rows.write_bytes(content)
    done = run("index", path, "--resume")
    assert done.returncode == 0
    assert "2 indexed, 1 of them earlier" in done.stdout
    assert run("segment", path, label).stdout == before.stdout


def test_a_whole_volume_exits_0(tmp_path: Path) -> None:
    truth = load_truth("two-scales", "16_16_80")
    where = ("--scale", "16_16_80", "--index", tmp_path)
    done = run_here("index", truth.path, "--scale", "16_16_80", "--out", tmp_path)
    assert done.returncode == 0, done
    assert "incomplete" not in done.stdout
    labels, counts = np.unique(truth.labels[truth.labels != 0], return_counts=True)
    label, count = int(labels[counts.argmax()]), int(counts.max())
    done = run_here("segment", truth.path, label, *where)
    assert done.returncode == 0, done
    assert f"voxels      {count:,}," in done.stdout
    assert "index       complete" in done.stdout
    done = run_here("segment", truth.path, label, *where, "-o", tmp_path / "mask.npy")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert int(np.load(tmp_path / "mask.npy").sum()) == count
    unknown = next(n for n in range(1, 1 << 20) if n not in labels)
    done = run_here("segment", truth.path, unknown, *where)
    assert_refused(done, f"segment {unknown}", "no such segment", status=1)


def test_what_cannot_run(tmp_path: Path) -> None:
    path = FIXTURES / "one-shard"
    assert_refused(run_here("segment", path, 5), "there is no segment index", "shardreader index")
    for label in ("0", "-1", "1_0", "1.5", str(1 << 64), "a"):
        assert run_here("segment", path, f"{label}").returncode == 2
    assert_refused(run_here("index", FIXTURES / "unsharded"), "not sharded")
    assert_refused(run_here("index", FIXTURES / "channels"), "3 channels")
    assert_refused(run_here("index", tmp_path), "no file `info`")
    assert_refused(run_here("index", path, "--shards", "xyz", "--out", tmp_path), "'xyz'")
    assert_refused(run_here("index", path, "--shards", "77", "--out", tmp_path), "77")
    (tmp_path / "file").write_text("")
    done = run_here("index", path, "--out", tmp_path / "file")
    assert_refused(done, "--out", status=1)
    assert run_here("index", path, "--out", tmp_path).returncode == 0
    with shardreader.open_volume(path, index=tmp_path) as volume:
        label = int(volume.segments(min_voxels=1).labels[0])
    done = run_here("segment", path, label, "--index", tmp_path, "-o", tmp_path / "mask.bmp")
    assert_refused(done, "mask.bmp")


def test_a_mask_of_a_segment_that_has_changed(tiny: TinyVolume, tmp_path: Path) -> None:
    path = tiny.write().path
    assert run_here("index", path).returncode == 0
    chunks = tiny.shards[0].chunks
    chunks[0], chunks[1] = chunks[1], chunks[0]
    tiny.shard_path(0).write_bytes(tiny.shards[0].to_bytes())
    done = run_here("segment", path, block_label(0, 0), "-o", tmp_path / "mask.npy")
    assert_refused(done, "has changed since", "--resume", status=1)
    assert not list(tmp_path.glob("*mask*"))


def test_damage_is_printed(tiny: TinyVolume) -> None:
    tiny.write().shard_path(1).write_bytes(b"")
    done = run_here("index", tiny.path)
    assert done.returncode == 1
    assert "damage      EMPTY_FILE: tiny/1.shard" in done.stdout
    assert "1 shard is damaged (1)" in done.stdout
