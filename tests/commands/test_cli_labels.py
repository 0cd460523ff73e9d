"""`shardreader labels`: the table, the JSON document, what cannot be seen, and refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from cli import assert_refused, run, run_here
from fixture_truth import FAFB_MINI, FIXTURES, load_fafb_patches

from shardreader import open_volume

BOX = (61400, 32730, 3060, 61470, 32790, 3080)
TEXT = ",".join(map(str, BOX))


def truth() -> tuple[list[int], list[int]]:
    (patch, _) = load_fafb_patches()
    part = patch.labels[
        tuple(slice(a - o, b - o) for a, b, o in zip(BOX[:3], BOX[3:], patch.origin, strict=True))
    ]
    labels, counts = np.unique(part, return_counts=True)
    return labels.tolist(), counts.tolist()


def test_table_from_another_process() -> None:
    done = run("labels", FAFB_MINI, "--box", TEXT, "--units", "voxel", "--counts")
    assert (done.returncode, done.stderr) == (0, "")
    labels, counts = truth()
    rows = [f"{label},{count},OK" for label, count in zip(labels, counts, strict=True)]
    assert done.stdout.splitlines() == ["label,voxels,status", *rows]


def test_labels_alone() -> None:
    done = run_here("labels", FAFB_MINI, "--box", TEXT, "--units", "voxel")
    assert done.stdout.splitlines() == ["label,status", *(f"{label},OK" for label in truth()[0])]


def test_top() -> None:
    done = run_here("labels", FAFB_MINI, "--box", TEXT, "--units", "voxel", "--top", "3")
    labels, counts = truth()
    order = sorted(range(len(labels)), key=lambda at: (-counts[at], labels[at]))[:3]
    assert done.stdout.splitlines()[1:] == [f"{labels[at]},{counts[at]},OK" for at in order]


def test_json_has_labels_as_strings() -> None:
    done = run_here("labels", FAFB_MINI, "--box", TEXT, "--units", "voxel", "--top", "2", "--json")
    document = json.loads(done.stdout)
    labels, counts = truth()
    assert document["box"] == [list(BOX[:3]), list(BOX[3:])]
    assert document["distinct_labels"] == len(labels)
    assert document["voxels"] == sum(counts)
    assert document["unseen"] == {}
    assert len(document["labels"]) == 2
    for row in document["labels"]:
        assert row["voxels"] == counts[labels.index(int(row["label"]))]
        assert isinstance(row["label"], str)


def test_file_and_nm(tmp_path: Path) -> None:
    output = tmp_path / "counts.csv"
    nm = ",".join(str(n * size) for n, size in zip(BOX, (8, 8, 40) * 2, strict=True))
    done = run_here("labels", FAFB_MINI, "--box", nm, "--units", "nm", "--counts", "-o", output)
    assert (done.returncode, done.stdout) == (0, "")
    table = np.loadtxt(output, delimiter=",", skiprows=1, dtype=str)
    assert table[:, 0].astype(np.uint64).tolist() == truth()[0]
    assert table[:, 1].astype(int).tolist() == truth()[1]
    assert [path.name for path in tmp_path.iterdir()] == ["counts.csv"]


def test_what_is_not_downloaded_is_a_row_and_exit_status_1() -> None:
    box = "20000,32730,3060,20010,32790,3080"
    done = run("labels", FAFB_MINI, "--box", box, "--units", "voxel", "--counts")
    assert done.returncode == 1
    assert done.stdout.splitlines() == ["label,voxels,status", ",12000,NOT_DOWNLOADED"]
    assert "of 12,000 voxels 12,000 NOT_DOWNLOADED" in done.stderr
    assert "00f2.shard" in done.stderr
    done = run_here("labels", FAFB_MINI, "--box", box, "--units", "voxel", "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["unseen"] == {"NOT_DOWNLOADED": 12000}


def test_what_is_damaged_is_a_row_and_the_rest_is_counted(tmp_path: Path) -> None:
    copy = Path(shutil.copytree(FAFB_MINI, tmp_path / "copy"))
    shard = copy / "8.0x8.0x40.0" / "02fb.shard"
    data = bytearray(shard.read_bytes())
    data[1024 + 5000] ^= 0x10
    shard.write_bytes(data)
    done = run_here("labels", copy, "--box", TEXT, "--units", "voxel", "--counts")
    assert done.returncode == 1
    rows = [line.split(",") for line in done.stdout.splitlines()[1:]]
    (corrupt,) = [
        int(voxels) for label, voxels, status in rows if status == "CORRUPT" and not label
    ]
    counted = sum(int(voxels) for _, voxels, status in rows if status == "OK")
    assert counted > 0
    assert corrupt > 0
    assert counted + corrupt == 70 * 60 * 20
    assert "CORRUPT" in done.stderr
    assert "02fb.shard" in done.stderr


def test_a_signed_volume_has_negative_labels() -> None:
    name = "raw-int16"
    with open_volume(FIXTURES / name, missing="zero") as volume:
        box = ",".join(map(str, (*volume.bounds.lower, *volume.bounds.upper)))
        expected = volume.labels(volume.bounds)
    done = run_here("labels", FIXTURES / name, "--box", box, "--units", "voxel")
    found = {line.split(",")[0] for line in done.stdout.splitlines()[1:]} - {""}
    assert found <= set(map(str, expected.tolist()))
    assert any(label.startswith("-") for label in found)


def test_channels() -> None:
    arguments = ["labels", FIXTURES / "channels", "--box", "0,0,0,4,4,4", "--units", "voxel"]
    with open_volume(FIXTURES / "channels") as volume:
        lower = volume.bounds.lower
    arguments[3] = ",".join(map(str, (*lower, *(n + 4 for n in lower))))
    assert_refused(run_here(*arguments), "--channel 0")
    assert_refused(run_here(*arguments, "--channel", "99"), "channel")
    assert run_here(*arguments, "--channel", "1").stdout.startswith("label,status\n")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--box", TEXT], ["--units"]),
        (["--units", "voxel"], ["--box"]),
        (["--box", "1,2,3", "--units", "voxel"], ["6 numbers"]),
        (["--box", "0,0,0,999999,1,1", "--units", "voxel"], ["not inside the volume"]),
        (["--box", "0,0,0,0,1,1", "--units", "voxel"], ["no voxel"]),
        (["--box", TEXT, "--units", "voxel", "--top", "0"], ["--top"]),
        (["--box", TEXT, "--units", "voxel", "-o", "x.npy"], [".csv"]),
        (["--box", TEXT, "--units", "voxel", "-o", "x.csv", "--json"], ["not allowed with"]),
    ],
)
def test_refusals(arguments: list[str], words: list[str]) -> None:
    assert_refused(run_here("labels", FAFB_MINI, *arguments), *words)


def test_not_a_volume(tmp_path: Path) -> None:
    assert_refused(run_here("labels", tmp_path, "--box", TEXT, "--units", "voxel"), "info")


def test_help_has_examples() -> None:
    done = run("labels", "--help")
    assert done.returncode == 0
    assert "shardreader labels /ssd/fafb-ffn1 --box" in done.stdout
