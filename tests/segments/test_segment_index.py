"""The segment index says what numpy says of the decoded voxels, for every segment."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, FIXTURES, load_fafb_patches, load_truth, read_info
from hypothesis import given, settings
from hypothesis import strategies as st
from preads import replace_pread, true_pread
from segment_truth import (
    built,
    check_segments,
    check_totals,
    check_voxels,
    copied,
    counts_by_cell,
)
from volume_strategies import QUICK, specs
from volumes import Spec, random_labels, write_volume

import shardreader
from shardreader import Box, InfoError
from shardreader.checking.checked_file import ShardFile
from shardreader.checking.shard_index_check import check_indices
from shardreader.decoding.cseg.chunk_rows import ChunkRows
from shardreader.storage.documents import read_volume_files
from shardreader.storage.local_store import LocalStore

PINKY40 = Path(__file__).resolve().parents[3] / "shared" / "data" / "pinky40"


def indexed_scales() -> list[tuple[str, str]]:
    """All scales of the fixtures that can have an index, and that are known whole."""
    found = []
    for path in sorted(FIXTURES.glob("*/info")):
        info = read_info(path.parent)
        labels = info["data_type"].startswith("uint") and info["num_channels"] == 1
        if path.parent != FAFB_MINI and info["type"] == "segmentation" and labels:
            sharded = (scale["key"] for scale in info["scales"] if "sharding" in scale)
            found += [(path.parent.name, key) for key in sharded]
    return found


@pytest.mark.parametrize(("name", "key"), indexed_scales())
def test_every_segment_of_a_fixture(tmp_path: Path, name: str, key: str) -> None:
    truth = load_truth(name, key)
    report = built(truth.path, scale=key, out=tmp_path)
    assert not report.findings
    with shardreader.open_volume(truth.path, key, index=tmp_path) as volume:
        cells = counts_by_cell(volume, truth.labels, truth.origin)
        assert report.rows == sum(map(len, cells.values()))
        check_totals(volume, cells)
        some = list(cells)[:: max(1, len(cells) // 60)]
        check_segments(volume, {label: cells[label] for label in some})
        check_voxels(volume, truth.labels, truth.origin, some[:6])


@pytest.mark.slow
@pytest.mark.parametrize(("name", "key"), indexed_scales())
def test_every_segment_of_a_fixture_to_the_voxel(tmp_path: Path, name: str, key: str) -> None:
    truth = load_truth(name, key)
    built(truth.path, scale=key, out=tmp_path)
    with shardreader.open_volume(truth.path, key, index=tmp_path) as volume:
        cells = counts_by_cell(volume, truth.labels, truth.origin)
        check_segments(volume, cells)
        check_voxels(volume, truth.labels, truth.origin, list(cells)[:: max(1, len(cells) // 300)])


def test_every_segment_of_fafb_mini(tmp_path: Path) -> None:
    built(FAFB_MINI, out=tmp_path)
    cells, owner = {}, {}
    with shardreader.open_volume(FAFB_MINI, index=tmp_path) as volume:
        for patch in load_fafb_patches():
            for label, counts in counts_by_cell(volume, patch.labels, patch.origin).items():
                assert label not in cells
                cells[label], owner[label] = counts, patch
        check_totals(volume, cells)
        check_segments(volume, cells)
        for label, patch in list(owner.items())[::40]:
            check_voxels(volume, patch.labels, patch.origin, [label])


class ChunkReads:
    """Which chunks of a sharded scale have bytes that are read, one entry each time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
        self.chunk_ids: list[int] = []
        (scale,) = read_volume_files(path, None, None).volume.scales
        store = LocalStore(str(path))
        self._chunks: dict[int, tuple[list[int], list[int], list[int]]] = {}
        for file in (path / scale.key).glob("*.shard"):
            identity = store.identity(f"{scale.key}/{file.name}")
            shard = ShardFile(store, scale, scale.sharding, int(file.stem, 16), identity)
            chunks = check_indices(shard).chunks
            ranges = chunks.chunk_ids.tolist(), chunks.starts.tolist(), chunks.ends.tolist()
            self._chunks[file.stat().st_ino] = ranges
        store.close()
        replace_pread(monkeypatch, self._pread)

    def _pread(self, descriptor: int, length: int, position: int) -> bytes:
        ranges = self._chunks.get(os.fstat(descriptor).st_ino, ([], [], []))
        for chunk_id, start, end in zip(*ranges, strict=True):
            if start < position + length and end > position:
                self.chunk_ids.append(chunk_id)
        return true_pread(descriptor, length, position)

    def taken(self) -> list[int]:
        """Those since the last call, ascending."""
        found = sorted(self.chunk_ids)
        self.chunk_ids.clear()
        return found


@pytest.mark.skipif(true_pread is None, reason="no pread here")
def test_only_the_chunks_of_a_segment_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    built(FAFB_MINI, out=tmp_path)
    reads = ChunkReads(monkeypatch, FAFB_MINI)
    with shardreader.open_volume(FAFB_MINI, index=tmp_path, cache_bytes=0) as volume:
        labels = volume.segments(min_voxels=1).labels.tolist()
        segments = [volume.segment(label) for label in labels]
        several = [segment for segment in segments if len(segment.chunk_ids) > 2]
        assert len(several) > 10
        for segment in {*several[:8], *segments[::40]}:
            own = segment.chunk_ids.tolist()
            assert reads.taken() == []  # the index alone says this much
            assert len(list(segment.cutouts())) == len(own)
            assert reads.taken() == own
            assert sum(map(len, segment.voxels())) == segment.voxel_count
            assert reads.taken() == own
            box = segment.bounding_box()
            read = reads.taken()
            assert len(set(read)) == len(read)
            assert set(read) <= set(own)
            segment.mask(box)
            assert reads.taken() == own
            assert segment.representative_voxel
            assert reads.taken() == [own[int(np.argmax(segment.chunk_voxels))]]


@given(specs(), st.integers(0, 2**32))
@settings(QUICK, max_examples=12)
def test_random_volumes(spec: Spec, seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "volume"
        written = write_volume(path, spec, labels=random_labels(spec, seed))
        built(path)
        with shardreader.open_volume(path, missing="zero") as volume:
            cells = counts_by_cell(volume, written.labels, spec.voxel_offset)
            check_totals(volume, cells)
            check_segments(volume, dict(list(cells.items())[:20]))
            check_voxels(volume, written.labels, spec.voxel_offset, list(cells)[:5])
            rng = np.random.default_rng(seed)
            corners = [sorted(rng.integers(0, n + 1, 2).tolist()) for n in spec.size]
            lower, upper = ([c[i] for c in corners] for i in (0, 1))
            part = written.labels[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
            offset = np.array(spec.voxel_offset)
            box = Box(tuple((offset + lower).tolist()), tuple((offset + upper).tolist()))
            table = volume.segments_in(box)
            labels, counts = np.unique(part[part != 0], return_counts=True)
            order = np.lexsort((labels, -counts))
            assert table.labels.tolist() == labels[order].tolist()
            assert table.voxel_counts.tolist() == counts[order].tolist()


@pytest.mark.slow
@pytest.mark.skipif(not PINKY40.is_dir(), reason="needs ../shared/data/pinky40")
def test_every_segment_of_pinky40(tmp_path: Path) -> None:
    path = PINKY40 / "segmentation"
    report = built(path, out=tmp_path)
    assert not report.findings
    with shardreader.open_volume(path, index=tmp_path, missing="zero") as volume:
        cells = {}
        lower, shape = (19968, 11776, 1920), np.array([1024, 1024, 256])
        voxels = volume.cutout(Box(lower, tuple((lower + shape).tolist())))
        size, offset = volume.chunk_size, np.array(lower)
        for z in range(0, shape[2], size[2]):
            layer = voxels[:, :, z : z + size[2]]
            part = counts_by_cell(volume, layer, tuple((offset + (0, 0, z)).tolist()))
            for label, counts in part.items():
                cells.setdefault(label, {}).update(counts)
        far = Box((124160, 66816, 7008), volume.bounds.upper)
        for label, counts in counts_by_cell(volume, volume.cutout(far), far.lower).items():
            cells.setdefault(label, {}).update(counts)
        check_totals(volume, cells)
        check_segments(volume, cells)
        ranks = sorted(cells, key=lambda label: len(cells[label]))
        inside = [n for n in ranks if max(x for x, _, _ in cells[n]) < 900]
        check_voxels(volume, voxels, lower, [*inside[::1000], inside[-1]])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unsharded", "not sharded"),
        ("channels", "3 channels"),
        ("raw-uint16", "of type image"),
        ("raw-int16", "of type image"),
    ],
)
def test_forms_that_have_no_index(tmp_path: Path, name: str, words: str) -> None:
    with pytest.raises(InfoError, match=words):
        shardreader.build_index(FIXTURES / name, out=tmp_path)
    with shardreader.open_volume(FIXTURES / name) as volume:
        with pytest.raises(InfoError, match=words):
            volume.segment(1)


def test_scales_have_an_index_each(tmp_path: Path) -> None:
    path = copied(FIXTURES / "two-scales", tmp_path)
    for key in ("8_8_40", "16_16_80"):
        built(path, scale=key)
    for key in ("8_8_40", "16_16_80"):
        truth = load_truth("two-scales", key)
        with shardreader.open_volume(path, key) as volume:
            check_totals(volume, counts_by_cell(volume, truth.labels, truth.origin))


def test_the_tables_of_chunk_rows_grow() -> None:
    """A chunk of more labels than fit at first, and more rows than fit at first."""
    labels = np.arange(0, 40_000, dtype="<u4")
    # One block of 16 bits a voxel: header, table, values.
    codes = np.arange(40_000, dtype="<u2").view("<u4")
    header = np.array([1, 16 << 24 | 2, 2 + 40_000], "<u4")
    words = np.concatenate([header, labels, codes])
    rows = ChunkRows()
    first = np.zeros(2, np.int64)
    lengths = np.array([len(words), len(words)])
    shapes = np.array([[200, 200, 1]] * 2)
    for _ in range(2):  # what a call leaves is no part of the next one
        done = rows.add_chunks(words, first, lengths, np.arange(2), shapes, (200, 200, 1), 1)
        assert done.all()
        numbers, found, counts = rows.take()
        for chunk in range(2):
            assert sorted(found[numbers == chunk].tolist()) == labels[1:].tolist()
        assert (counts == 1).all()
    words[1] = 5 << 24 | 2  # no such number of bits
    assert not rows.add_chunks(words, first, lengths, np.arange(2), shapes, (200, 200, 1), 1).any()
    assert len(rows.take()[0]) == 0
