"""The check of one good shard, its counts and costs, and extents."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path

import numpy as np
import pytest
from cseg_words import written_by_hand
from fixture_truth import FIXTURES
from shard_builder import TinyVolume
from shard_checks import check_one, damage, job_for
from volumes import Spec, write_volume

from shardreader.checking.findings import (
    Finding,
    FindingKind,
    Severity,
    ShardResult,
    ShardTotals,
)
from shardreader.checking.shard_check import ShardJob, check_shard
from shardreader.decoding import cseg
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo, parse_info
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.shard_lattice import shard_cells, voxels_of_cells
from shardreader.storage.local_store import LocalStore

PINKY = Path(__file__).resolve().parents[3] / "shared/data/pinky40/segmentation"
PATHS = sorted(path.parent for path in FIXTURES.glob("*/info"))


def jobs_of(path: Path, **options: object) -> list[ShardJob]:
    """Give a job for each shard file of a volume, in all its sharded scales."""
    volume = parse_info((path / "info").read_bytes(), "info")
    jobs = []
    for scale in volume.scales:
        if scale.sharding is None:
            continue
        for file in sorted((path / scale.key).glob("*.shard")):
            number = int(file.stem, 16)
            job = ShardJob(str(path), scale, volume.num_channels, volume.data_type, number)
            jobs.append(replace(job, **options))
    return jobs


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.name)
def test_every_fixture_is_whole(path: Path) -> None:
    for job in jobs_of(path, level="deep", cross_check=1.0):
        result = check_shard(job)
        assert damage(result) == []
        assert {finding.severity for finding in result.findings} <= {Severity.NOTE}
        totals = result.totals
        assert totals.chunks == totals.inflated_chunks > 0
        if job.scale.block_size is not None and job.num_channels == 1:
            assert totals.cross_checked_chunks == totals.chunks
        assert totals.file_bytes == Path(path, job.file).stat().st_size


@pytest.mark.parametrize("level", ["quick", "full", "deep"])
def test_a_good_shard(tiny_gzip: TinyVolume, level: str) -> None:
    tiny_gzip.write()
    result = check_one(tiny_gzip.path, 0, level=level)
    assert result.findings == ()
    looked_into = 0 if level == "quick" else 16
    stored = sum(map(len, tiny_gzip.shards[0].chunks.values()))
    assert result.totals.chunks == 16
    assert result.totals.stored_bytes == stored
    assert result.totals.inflated_chunks == looked_into
    assert result.totals.unverifiable_chunks == 0
    stat = tiny_gzip.shard_path(0).stat()
    assert result.stamp == (stat.st_size, stat.st_mtime_ns)


def test_jobs_and_results_pickle(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.shards[0].chunks[5] = b"x"
    tiny_gzip.write()
    job = job_for(tiny_gzip.path, 0)
    assert pickle.loads(pickle.dumps(job)) == job
    result = check_shard(job)
    assert pickle.loads(pickle.dumps(result)) == result
    assert ShardResult.from_json(json.loads(json.dumps(result.to_json()))) == result
    assert check_shard(job) == result


def test_totals_add_up() -> None:
    assert ShardTotals(shards=1, chunks=2) + ShardTotals(chunks=3) == ShardTotals(1, chunks=5)


def test_every_kind_has_a_text_of_its_own() -> None:
    assert len({kind.text for kind in FindingKind}) == len(FindingKind)
    for kind in FindingKind:
        assert FindingKind(kind.value) is kind
        finding = Finding(kind, "a", 1, 2, 1 << 60, (1, 2, 3), Box((0,) * 3, (1,) * 3), (3, 4))
        assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_a_box_leaves_out_other_chunks(tiny_gzip: TinyVolume) -> None:
    for chunk_id in (0, 5):
        tiny_gzip.shards[0].chunks[chunk_id] = b"x"
    tiny_gzip.write()
    cell = tiny_gzip.cell(5)
    box = Box(cell, tuple(n + 1 for n in cell))
    result = check_one(tiny_gzip.path, 0, box=box)
    assert [finding.chunk_id for finding in result.findings] == [5]


@pytest.mark.parametrize("options", [{"level": "half"}, {"level": ""}])
def test_jobs_that_cannot_be(tiny_gzip: TinyVolume, options: dict[str, str]) -> None:
    tiny_gzip.write()
    with pytest.raises(ValueError, match="level"):
        job_for(tiny_gzip.path, 0, **options)


def test_quick_does_not_import_numba(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    code = (
        "import sys; from shard_checks import check_one; from pathlib import Path\n"
        f"result = check_one(Path({str(tiny_gzip.path)!r}), 0, level='quick')\n"
        "assert result.findings == () and 'numba' not in sys.modules"
    )
    paths = [str(FIXTURES.parent), str(FIXTURES.parent / "tests/support")]
    code = f"import sys; sys.path[:0] = {paths!r}\n{code}"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Records the byte ranges that are read."""
    recorded: list[tuple[int, int]] = []
    read = LocalStore.read

    def record(self: LocalStore, name: str, *, start: int, end: int, identity: object) -> bytes:
        recorded.append((start, end))
        return read(self, name, start=start, end=end, identity=identity)

    monkeypatch.setattr(LocalStore, "read", record)
    return recorded


@pytest.mark.parametrize("writable_name", ["fafb-mini"])
def test_each_byte_is_read_once_in_file_order(
    writable_name: str, writable: Callable[[str], Path], reads: list[tuple[int, int]]
) -> None:
    path = writable(writable_name)
    job = jobs_of(path)[0]
    quick = check_shard(replace(job, level="quick"))
    of_indices = list(reads)
    reads.clear()
    # What is compared with another implementation is read by the store, not by compiled code.
    full = check_shard(replace(job, level="deep", cross_check=1.0))
    of_chunks = reads[len(of_indices) :]
    assert reads[: len(of_indices)] == of_indices
    assert of_chunks == sorted(of_chunks)
    assert all(end <= start for (_, end), (start, _) in pairwise(of_chunks))
    assert len(of_chunks) == 1
    assert full.totals.read_bytes - quick.totals.read_bytes == full.totals.stored_bytes
    assert quick.totals.read_bytes < 4096


@pytest.mark.parametrize("label_words", [1, 2])
def test_the_kernel_agrees_with_the_decoder(label_words: int) -> None:
    """It finds a fault exactly where the whole chunk cannot be decoded."""
    rng = np.random.default_rng(label_words)
    shape, block = (7, 6, 5), (4, 3, 2)
    grid = cseg.block_grid(shape, block)
    dtype = np.uint64 if label_words == 2 else np.uint32
    outcomes = set()
    for _ in range(400):
        channel = written_by_hand(rng, int(np.prod(grid)), int(np.prod(block)), label_words)
        words = np.concatenate([np.array([1], "<u4"), channel])
        for _ in range(int(rng.integers(3))):
            words[rng.integers(len(words))] ^= np.uint32(1 << int(rng.integers(32)))
        words = words[: len(words) - int(rng.integers(0, 2)) * int(rng.integers(0, 4))]
        out = np.zeros(int(np.prod(shape)), dtype)
        decoded = cseg.decode_box(words, 1, 0, shape, block, (0, 0, 0), shape, out, 0, (1, 7, 42))
        found = cseg.check_blocks(words, 1, 0, shape, block, label_words)
        assert (decoded == 0) == (found == 0)
        if found:
            cseg.explain(found, words, 1, 0, shape, block, label_words)
        outcomes.add(found % 16)
    assert {0, 4, 5, 6, 7} <= outcomes


@pytest.mark.skipif(not PINKY.exists(), reason="the shared data is not here")
def test_real_data_is_whole() -> None:
    for job in jobs_of(PINKY, level="deep"):
        assert check_shard(job).findings == ()


GEOMETRIES = [
    Spec(),
    Spec(size=(70, 20, 33), preshift_bits=0, minishard_bits=2, shard_bits=1),
    Spec(size=(5, 90, 17), voxel_offset=(-3, 8, 100), preshift_bits=2, shard_bits=1),
    Spec(preshift_bits=20, minishard_bits=0, shard_bits=0),
]


@pytest.mark.parametrize("spec", GEOMETRIES, ids=range(len(GEOMETRIES)))
def test_extents_are_the_smallest_boxes_around_the_cells(spec: Spec, tmp_path: Path) -> None:
    written = write_volume(tmp_path / "v", spec)
    scale: ScaleInfo = parse_info((written.path / "info").read_bytes(), "info").scales[0]
    cells = np.array(list(product(*map(range, scale.grid.grid_size))))
    assert scale.sharding is not None
    shards, minishards = scale.sharding.locate(chunk_ids_of_cells(cells, scale.grid.grid_size))
    for number in range(1 << spec.shard_bits):
        for minishard in [None, *range(1 << spec.minishard_bits)]:
            mine = shards == number
            if minishard is not None:
                mine &= minishards == minishard
            box = shard_cells(scale, number, minishard)
            if mine.any():
                lower, upper = np.array(box.lower), np.array(box.upper)
                assert (lower <= cells[mine]).all()
                assert (cells[mine] < upper).all()
                assert (cells[mine].min(axis=0) == lower).all()
                voxels = voxels_of_cells(scale.grid, box)
                assert scale.grid.bounds.contains(voxels)
