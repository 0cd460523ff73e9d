"""The block size in info against the labels: no sound volume is called wrong, wrong sizes are."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import run, run_here
from numpy.typing import NDArray
from volumes import Spec, write_volume

from shardreader.checking.block_faces import BlockReading, block_sizes_of_volume
from shardreader.checking.block_size_check import (
    BlockSizeQuestion,
    WrongBlockSize,
    check_block_size,
)
from shardreader.checking.shard_job import ShardJob
from shardreader.format.info import parse_info

PINKY = Path(__file__).resolve().parents[3] / "shared/data/pinky40/segmentation"
Labels = NDArray[np.uint64]
Triple = tuple[int, int, int]
EDGE = 96
# All chunks lie in one shard, and no chunk is all background.
ONE_SHARD = Spec(
    size=(EDGE,) * 3,
    chunk_size=(32, 32, 32),
    preshift_bits=9,
    minishard_bits=0,
    shard_bits=0,
)


def cells(size: Triple, seed: int, count: int = 60, flat: int = 2) -> Labels:
    """Voronoi cells."""
    rng = np.random.default_rng(seed)
    x, y, z = np.ogrid[: size[0], : size[1], : size[2]]
    nearest, labels = np.full(size, np.inf), np.zeros(size, np.uint64)
    for label in range(1, count + 1):
        a, b, c = rng.uniform(0, size)
        distance = (x - a) ** 2 + (y - b) ** 2 + (flat * (z - c)) ** 2
        labels[distance < nearest] = label
        nearest = np.minimum(nearest, distance)
    return labels


def enlarged(factors: Triple, seed: int) -> Labels:
    labels = cells(tuple(-(-EDGE // factor) for factor in factors), seed)
    for axis, factor in enumerate(factors):
        labels = labels.repeat(factor, axis)
    return labels[:EDGE, :EDGE, :EDGE]


def two_halves(size: Triple, axis: int, at: int) -> Labels:
    labels = np.ones(size, np.uint64)
    np.moveaxis(labels, axis, 0)[at:] = 2
    return labels


def declare(path: Path, block_size: Triple) -> None:
    document = json.loads((path / "info").read_text())
    document["scales"][0]["compressed_segmentation_block_size"] = list(block_size)
    (path / "info").write_text(json.dumps(document))


def verify(path: Path, *options: object) -> subprocess.CompletedProcess[str]:
    return run_here("verify", path, "--allow-absent", *options)


def assert_sound(done: subprocess.CompletedProcess[str]) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    assert "BLOCK_SIZE" not in done.stdout


def write(path: Path, labels: Labels, block_size: Triple, **members: Any) -> Path:
    spec = replace(ONE_SHARD, size=labels.shape, block_size=block_size, **members)
    return write_volume(path, spec, labels=labels).path


STRAIGHT = [
    ((40, 40, 20), (8, 8, 8), (32, 32, 32)),
    ((40, 40, 20), (8, 8, 8), (40, 40, 20)),
    ((71, 37, 23), (4, 8, 3), (71, 37, 23)),
    ((71, 37, 23), (4, 8, 3), (32, 32, 9)),
    ((256, 256, 260), (64, 64, 64), (256, 256, 260)),
]


@pytest.mark.parametrize(("size", "block_size", "chunk_size"), STRAIGHT)
def test_a_straight_boundary_at_a_block_face_is_sound(
    tmp_path: Path, size: Triple, block_size: Triple, chunk_size: Triple
) -> None:
    axis = 1
    at = size[axis] // 2 // block_size[axis] * block_size[axis]
    path = write(tmp_path / "v", two_halves(size, axis, at), block_size, chunk_size=chunk_size)
    assert_sound(run("verify", path))


FACTORS = [(1, 1, 1), (2, 2, 1), (1, 1, 2), (2, 2, 2), (4, 4, 1), (4, 4, 4), (8, 8, 8)]


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("block_size", [(4, 4, 4), (8, 8, 8), (16, 16, 2)])
def test_enlarged_labels_are_sound(tmp_path: Path, factors: Triple, block_size: Triple) -> None:
    assert_sound(verify(write(tmp_path / "v", enlarged(factors, 1), block_size)))


def block_by_block(block_size: Triple) -> Labels:
    """A label of its own for each block."""
    position = [np.arange(EDGE) // length for length in block_size]
    x, y, z = np.ix_(*position)
    return (1 + x + 1000 * y + 1000_000 * z).astype(np.uint64)


def slabs(thickness: int, axis: int, count: int) -> Labels:
    at = np.arange(EDGE, dtype=np.uint64) // np.uint64(thickness) % np.uint64(count) + np.uint64(1)
    shape = [1, 1, 1]
    shape[axis] = EDGE
    return np.broadcast_to(at.reshape(shape), (EDGE,) * 3).copy()


MADE_BY_PROGRAMS = {
    "8 8 8 block by block": (block_by_block((8, 8, 8)), (8, 8, 8)),
    "16 16 2 block by block": (block_by_block((16, 16, 2)), (16, 16, 2)),
    "every section": (slabs(1, 2, 1000), (8, 8, 8)),
    "pairs of sections": (slabs(2, 2, 1000), (16, 16, 2)),
    "two labels in turn": (slabs(2, 2, 2), (16, 16, 2)),
    "rows": (slabs(8, 1, 1000), (8, 8, 8)),
    "a label a voxel": (np.arange(1, EDGE**3 + 1, dtype=np.uint64).reshape((EDGE,) * 3), (8, 8, 8)),
}


@pytest.mark.parametrize("name", MADE_BY_PROGRAMS)
def test_labels_that_programs_make_are_sound(tmp_path: Path, name: str) -> None:
    assert_sound(verify(write(tmp_path / "v", *MADE_BY_PROGRAMS[name])))


@pytest.mark.parametrize("factors", FACTORS)
def test_the_wrong_size_is_found_and_the_right_one_named(tmp_path: Path, factors: Triple) -> None:
    path = write(tmp_path / "v", enlarged(factors, 2), (16, 16, 2))
    declare(path, (8, 8, 8))
    done = verify(path, "--report", tmp_path / "report.json")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BLOCK_SIZE_IMPLAUSIBLE" in done.stdout
    report = json.loads((tmp_path / "report.json").read_text())
    (finding,) = findings_of(report)
    assert finding["severity"] == "damage"
    assert "probably 16 x 16 x 2 for scale s0" in finding["expected"]
    assert finding["found"].startswith("8 x 8 x 8: ")
    assert finding["voxel_box"] == [[0, 0, 0], [EDGE] * 3]


def findings_of(report: dict[str, Any]) -> list[dict[str, Any]]:
    text = json.dumps(report)
    assert "BLOCK_SIZE_IMPLAUSIBLE" in text
    found = []

    def walk(value: object) -> None:
        if isinstance(value, dict):
            if value.get("kind") == "BLOCK_SIZE_IMPLAUSIBLE" and "found" in value:
                found.append(value)
            for member in value.values():
                walk(member)
        elif isinstance(value, list):
            for member in value:
                walk(member)

    walk(report)
    return found


def test_wrong_and_right_through_the_command(tmp_path: Path) -> None:
    path = write(tmp_path / "v", enlarged((2, 2, 1), 2), (16, 16, 2))
    done = run("verify", path)
    assert_sound(done)
    declare(path, (8, 8, 8))
    done = run("verify", path)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BLOCK_SIZE_IMPLAUSIBLE" in done.stdout
    assert "probably 16 x 16 x 2 for scale s0" in " ".join(done.stdout.split())


def test_quick_does_not_look_at_labels(tmp_path: Path) -> None:
    path = write(tmp_path / "v", enlarged((1, 1, 1), 2), (16, 16, 2))
    declare(path, (8, 8, 8))
    assert_sound(verify(path, "--level", "quick"))


def test_chunks_that_the_edge_cuts_off_may_have_more_blocks(tmp_path: Path) -> None:
    """20 sections hold 4 x 4 x 3 blocks of 8 8 8 in a chunk, and 2 x 2 x 10 of 16 16 2."""
    path = write(tmp_path / "v", cells((96, 96, 20), 4), (8, 8, 8))
    declare(path, (16, 16, 2))
    done = verify(path)
    assert done.returncode == 1
    assert "8 x 8 x 8" in done.stdout


def test_a_few_chunks_of_a_few_shards_are_read(tmp_path: Path) -> None:
    spec = replace(ONE_SHARD, preshift_bits=0, shard_bits=5, block_size=(16, 16, 2))
    path = write_volume(tmp_path / "v", spec, labels=enlarged((1, 1, 1), 3)).path
    declare(path, (8, 8, 8))
    shards = [int(file.stem, 16) for file in (path / "s0").glob("*.shard")]
    assert len(shards) > 16
    assert_wrong(question(path, shards, (8, 8, 8)), (16, 16, 2), most_chunks=64)
    done = verify(path)
    assert done.returncode == 1
    (chunks,) = re.findall(r"(\d+) chunks differ", done.stdout)
    assert 16 <= int(chunks) < 27  # those of 16 shards


def question(path: Path, shards: list[int], block_size: Triple) -> BlockSizeQuestion:
    volume = parse_info((path / "info").read_bytes(), "info")
    scale = replace(volume.scales[0], block_size=block_size)
    jobs = (ShardJob(str(path), scale, 1, volume.data_type, shard) for shard in shards)
    return BlockSizeQuestion(3, tuple(islice(jobs, 16)))


def assert_wrong(asked: BlockSizeQuestion, right: Triple, most_chunks: int) -> WrongBlockSize:
    number, wrong = check_block_size(asked)
    assert number == 3
    assert wrong is not None
    assert wrong.better == right
    assert wrong.better_changes < wrong.changes
    assert 0 < wrong.chunks <= most_chunks
    return wrong


def test_files_that_cannot_be_read_say_nothing(tmp_path: Path) -> None:
    path = write(tmp_path / "v", enlarged((1, 1, 1), 2), (16, 16, 2))
    (path / "s0/0.shard").unlink()
    assert check_block_size(question(path, [0], (8, 8, 8))) == (3, None)
    (path / "s0/0.shard").mkdir()
    assert check_block_size(question(path, [0], (8, 8, 8))) == (3, None)
    assert check_block_size(BlockSizeQuestion(3, ())) == (3, None)


def test_changes_by_hand() -> None:
    labels = np.zeros((6, 5, 4), np.uint64)
    labels[2:] += np.uint64(1)  # across the face of blocks of 2
    labels[:, 1:] += np.uint64(10)  # inside a block of 3
    reading = BlockReading((2, 3, 8), (8, 8, 8))
    reading.add(labels)
    assert reading.along_each == (20, 24, 0)
    assert reading.across(0, 2) == 20
    assert reading.across(1, 3) == 0
    assert reading.rates(0, 1) == (20 / 40, 0)
    assert reading.rates(1, 1) == (0, 24 / 72)
    assert reading.rates(0, 2) is None  # every multiple of 2 is a face
    assert reading.rates(2, 1) is None  # no face


@pytest.mark.parametrize("block_size", [(8, 8, 8), (16, 16, 2), (4, 8, 3), (30, 30, 30), (7, 1, 1)])
def test_sizes_of_a_volume(block_size: Triple) -> None:
    sizes = block_sizes_of_volume(block_size, (64, 64, 32))
    assert block_size not in sizes
    assert len(set(sizes)) == len(sizes) <= 128
    for x, y, z in sizes:
        assert x * y * z == np.prod(block_size)
        assert max(x, y) <= 64
        assert z <= 32


WRONG_BLOCK_SIZES = [(8, 8, 8), (4, 4, 32), (32, 8, 2), (8, 32, 2), (16, 32, 1), (128, 4, 1)]


@pytest.mark.skipif(not PINKY.exists(), reason="the shared data is not here")
def test_wrong_block_sizes_of_real_data() -> None:
    volume = parse_info((PINKY / "info").read_bytes(), "info")
    key = volume.scales[0].key
    shards = sorted(int(file.stem, 16) for file in (PINKY / key).glob("*.shard"))
    assert check_block_size(question(PINKY, shards, (16, 16, 2))) == (3, None)
    for block_size in WRONG_BLOCK_SIZES:
        assert_wrong(question(PINKY, shards, block_size), (16, 16, 2), most_chunks=64)


@pytest.mark.slow
def test_both_error_rates() -> None:
    """`python -m bench.block_faces` at a small scale."""
    from bench.block_faces import measure

    rates = measure(rounds=1, wrong_sizes=1, seed=7)
    assert rates.false_alarms == []
    assert rates.counts["sound"] > 100
    assert len(rates.missed) <= 0.03 * rates.counts["wrong"]
    assert rates.counts["8 8 8 for 16 16 2 found"] == rates.counts["8 8 8 for 16 16 2"] > 0
