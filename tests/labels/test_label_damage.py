"""Label queries where something is missing or damaged, and that the packed form was asked."""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fixture_truth import FAFB_MINI, FIXTURES
from volumes import Spec, Written, write_volume

from shardreader import (
    Box,
    ChunkError,
    LabelMap,
    NotDownloadedError,
    OutOfBoundsError,
    PointStatus,
    ShardError,
    open_volume,
)
from shardreader.decoding import cseg
from shardreader.decoding.cseg.tally import LabelTally

BITS = {"preshift_bits": 0, "minishard_bits": 0, "shard_bits": 2}
SPEC = Spec(size=(32, 32, 16), chunk_size=(16, 16, 8), **BITS)
WHOLE = Box((0, 0, 0), SPEC.size)


@pytest.fixture
def written(tmp_path: Path) -> Written:
    rng = np.random.default_rng(5)
    labels = rng.integers(1, 5, size=(8, 8, 4)).repeat(4, 0).repeat(4, 1).repeat(4, 2)
    labels[16:, 16:, :8] = 0  # not stored
    return write_volume(tmp_path / "v", SPEC, labels=labels.astype(np.uint64))


def ask_all(volume: Any, box: Box) -> list[Any]:
    return [
        volume.labels(box),
        volume.label_counts(box),
        volume.bounding_boxes(box),
        volume.mask(box, [1, 0]),
        volume.cutout(box, mapping={0: 7, 3: 9}),
        volume.cutout(box, renumber=True),
    ]


def hidden_voxels(written: Written, shard: Path) -> Any:
    """Which voxels lie in a shard."""
    hidden = np.zeros(SPEC.size, bool)
    for cell in SPEC.cells():
        corner = tuple(part.start for part in cell)
        hidden[cell] = written.shard_of(corner) == shard
    return hidden


@pytest.mark.parametrize("cache_bytes", [0, 1 << 20])
@pytest.mark.parametrize("threads", [1, 3])
def test_not_downloaded(written: Written, threads: int, cache_bytes: int) -> None:
    shard = written.shard_of((16, 0, 0))
    shard.unlink()
    hidden = hidden_voxels(written, shard)
    with open_volume(written.path, threads=threads) as volume:
        for ask in (
            volume.labels,
            volume.label_counts,
            volume.bounding_boxes,
            lambda box: volume.mask(box, 1),
            lambda box: volume.cutout(box, mapping={1: 2}),
            lambda box: volume.cutout(box, renumber=True),
        ):
            with pytest.raises(NotDownloadedError, match=shard.name):
                ask(WHOLE)
        near = Box((0, 0, 0), (16, 16, 8))
        assert volume.labels(near, return_unseen=True)[1] == 0

    expected = np.where(hidden, 0, written.labels)
    labels, counts = np.unique(expected, return_counts=True)
    with open_volume(
        written.path, missing="zero", threads=threads, cache_bytes=cache_bytes
    ) as volume:
        for _ in range(2):
            found, sizes, unseen = volume.label_counts(WHOLE, return_unseen=True)
            np.testing.assert_array_equal(found, labels)
            np.testing.assert_array_equal(sizes, counts)
            assert unseen == hidden.sum()
            assert volume.labels(WHOLE, return_unseen=True)[1] == unseen
            found, boxes, again = volume.bounding_boxes(WHOLE, 0, return_unseen=True)
            assert again == unseen
            at = np.argwhere(expected == 0)
            assert found.tolist() == [0]
            assert boxes.tolist() == [[at.min(0).tolist(), (at.max(0) + 1).tolist()]]
            np.testing.assert_array_equal(volume.mask(WHOLE, 0), expected == 0)
            mapped = volume.cutout(WHOLE, mapping={0: 7, 3: 9})
            np.testing.assert_array_equal(
                mapped, np.where(expected == 0, 7, np.where(expected == 3, 9, expected))
            )
            scan = volume.scan(WHOLE)
            assert scan.unseen == {PointStatus.NOT_DOWNLOADED: hidden.sum()}
            assert shard.name in str(scan.problems[PointStatus.NOT_DOWNLOADED])
            seen, seen_counts, _ = scan.tally.result()
            truth = np.unique(written.labels[~hidden], return_counts=True)
            np.testing.assert_array_equal(seen, truth[0])
            np.testing.assert_array_equal(seen_counts, truth[1])


def damaged_chunk(shard: Path) -> None:
    """Break the last bytes of the data of a shard: the checksum of its last chunk."""
    data = bytearray(shard.read_bytes())
    index_end = 16 << SPEC.minishard_bits
    start = int.from_bytes(data[:8], "little")
    data[index_end + start - 6] ^= 0xFF
    shard.write_bytes(data)


@pytest.mark.parametrize("missing", ["error", "zero"])
@pytest.mark.parametrize("threads", [1, 3])
def test_damage_is_never_forgiven(written: Written, threads: int, missing: str) -> None:
    shard = written.shard_of((16, 0, 0))
    damaged_chunk(shard)
    with open_volume(written.path, threads=threads, missing=missing) as volume:
        for number in range(6):
            with pytest.raises(ChunkError, match=shard.name):
                [
                    lambda: volume.labels(WHOLE),
                    lambda: volume.label_counts(WHOLE),
                    lambda: volume.bounding_boxes(WHOLE),
                    lambda: volume.mask(WHOLE, 1),
                    lambda: volume.cutout(WHOLE, mapping={1: 2}),
                    lambda: volume.cutout(WHOLE, renumber=True),
                ][number]()
        scan = volume.scan(WHOLE, boxes=True)
    assert scan.unseen == {PointStatus.CORRUPT: 16 * 16 * 8}
    assert isinstance(scan.problems[PointStatus.CORRUPT], ChunkError)
    assert scan.tally.result()[1].sum() == WHOLE.voxels - 16 * 16 * 8


def test_a_chunk_damaged_in_one_block_leaves_nothing_in_the_counts(written: Written) -> None:
    """The gzip layer is sound, the encoding is not: seen only by who follows the block."""
    with open_volume(written.path, threads=1) as volume:
        before = volume.scan(WHOLE).tally.result()
    original = LabelTally.add_chunks
    calls: list[int] = []

    def faulty(self: LabelTally, *arguments: Any) -> int:
        calls.append(1)
        status = original(self, *arguments)
        # Counted, and then found faulty: many at once, and again one by one.
        return 4 if len(calls) in (1, 2) else status

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LabelTally, "add_chunks", faulty)
        with open_volume(written.path, threads=1) as volume:
            scan = volume.scan(WHOLE)
    corrupt = scan.unseen[PointStatus.CORRUPT]
    assert corrupt == 16 * 16 * 8
    labels, counts, _ = scan.tally.result()
    assert counts.sum() == WHOLE.voxels - corrupt
    assert set(labels.tolist()) <= set(before[0].tolist())


def test_a_shard_index_that_is_damaged(written: Written) -> None:
    shard = written.shard_of((16, 0, 0))
    shard.write_bytes(bytes(len(shard.read_bytes())))
    with open_volume(written.path) as volume:
        with pytest.raises(ShardError, match=shard.name):
            volume.labels(WHOLE)
        scan = volume.scan(WHOLE)
    assert scan.unseen == {PointStatus.CORRUPT: hidden_voxels(written, shard).sum()}


@pytest.mark.parametrize("name", ["one-shard", "raw-uint64"])
def test_the_packed_form_is_asked_where_there_is_one(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No voxel of compressed_segmentation is decoded to count or to find labels."""
    calls: list[str] = []
    original = LabelTally.add_chunks

    def counted(self: LabelTally, *arguments: Any) -> int:
        calls.append("packed")
        return original(self, *arguments)

    def refused(*_: Any, **__: Any) -> Any:
        calls.append("decoded")
        raise AssertionError("decoded")

    monkeypatch.setattr(LabelTally, "add_chunks", counted)
    for function in ("decode_box", "decode_boxes"):
        monkeypatch.setattr(cseg, function, refused)
    monkeypatch.setattr(LabelTally, "add_voxels", refused)
    with open_volume(FIXTURES / name, missing="zero") as volume:
        box = volume.bounds
        if name == "one-shard":
            ask_all(volume, box)
            assert set(calls) == {"packed"}
        else:
            with pytest.raises(AssertionError, match="decoded"):
                volume.labels(box)
            assert "packed" not in calls


def test_empty_boxes_have_empty_answers() -> None:
    with open_volume(FIXTURES / "one-shard") as volume:
        box = Box(volume.bounds.lower, volume.bounds.lower)
        assert volume.labels(box).tolist() == []
        labels, counts = volume.label_counts(box)
        assert (labels.dtype, counts.dtype, len(counts)) == (volume.dtype, np.int64, 0)
        labels, boxes = volume.bounding_boxes(box)
        assert boxes.shape == (0, 2, 3)
        assert volume.mask(box, 1).shape == (0, 0, 0)
        assert volume.cutout(box, dtype="uint32").dtype == np.uint32
        array, table = volume.cutout(box, renumber=True)
        assert (array.shape, table.shape, table.dtype) == ((0, 0, 0), (0,), volume.dtype)


def test_units_are_those_of_cutout(written: Written) -> None:
    with open_volume(written.path) as volume:
        box = ((8, 16, 40), (80, 90, 200))
        voxels = volume.cutout(box, units="nm")
        labels, counts = np.unique(voxels, return_counts=True)
        found = volume.label_counts(box, units="nm")
        np.testing.assert_array_equal(found[0], labels)
        np.testing.assert_array_equal(found[1], counts)
        assert volume.mask(box, labels, units="nm").all()
        fine = ((2, 4, 1), (20, 22, 5))
        np.testing.assert_array_equal(volume.labels(fine, resolution=(4, 4, 40)), labels)
        for ask in (volume.labels, volume.label_counts, volume.bounding_boxes):
            with pytest.raises(TypeError, match="units"):
                ask(box)
        with pytest.raises(OutOfBoundsError):
            volume.mask(Box((0, 0, 0), (33, 1, 1)), 1)


def test_channels() -> None:
    with open_volume(FIXTURES / "channels", missing="zero") as volume:
        box = volume.bounds
        for ask in (volume.labels, volume.label_counts, volume.bounding_boxes):
            with pytest.raises(TypeError, match="channel"):
                ask(box)
            with pytest.raises(ValueError, match="channel"):
                ask(box, channel=volume.num_channels)
        with pytest.raises(TypeError, match="channel"):
            volume.mask(box, 1)
    with open_volume(FIXTURES / "raw-float32", missing="zero") as volume:
        with pytest.raises(TypeError, match="float32 has no labels"):
            volume.labels(volume.bounds)


def test_labels_that_do_not_fit_are_refused_where_a_voxel_has_them(tmp_path: Path) -> None:
    labels = np.full((32, 16, 8), 3, np.uint64)
    labels[20, 3, 3] = 2**32
    spec = Spec(size=(32, 16, 8), chunk_size=(16, 16, 8), **BITS)
    made = write_volume(tmp_path / "v", spec, labels=labels)
    with open_volume(made.path) as volume:
        box, left = Box((0, 0, 0), (32, 16, 8)), Box((0, 0, 0), (20, 16, 8))
        with pytest.raises(ValueError, match="4294967296 of the box does not fit in uint32"):
            volume.cutout(box, dtype="uint32")
        found = volume.cutout(left, dtype=np.uint32)
        assert (found.dtype, np.unique(found).tolist()) == (np.uint32, [3])
        found = volume.cutout(box, dtype="uint32", mapping={2**32: 2**32 - 1})
        assert np.unique(found).tolist() == [3, 2**32 - 1]
        numbers, table = volume.cutout(box, renumber=True, dtype="uint32")
        assert table.tolist() == [3, 2**32]
        np.testing.assert_array_equal(table[numbers], labels)
        numbers, table = volume.cutout(box, renumber=True, mapping={3: 2**64 - 1})
        assert table.tolist() == [2**32, 2**64 - 1]
        assert numbers[20, 3, 3] == 0
        for bad in ("float64", "int64", "uint8", bool):
            with pytest.raises(TypeError, match="dtype must be"):
                volume.cutout(box, dtype=bad)
        with pytest.raises(TypeError, match="out has dtype"):
            volume.cutout(box, dtype="uint32", out=np.zeros(box.shape, np.uint64))
        out = np.zeros(box.shape, np.uint32)[::-1]
        assert volume.cutout(box, mapping={2**32: 5}, dtype="uint32", out=out) is out
        assert np.unique(out).tolist() == [3, 5]
        assert out[20, 3, 3] == 5


def test_background_becomes_something_else_too(written: Written) -> None:
    with open_volume(written.path) as volume:
        found = volume.cutout(WHOLE, mapping=LabelMap({1: 1}, default=2**40))
        expected = np.where(written.labels == 1, 1, 2**40)
        np.testing.assert_array_equal(found, expected)
        out = np.full(WHOLE.shape, 77, np.uint64)
        volume.cutout(WHOLE, mapping=LabelMap({1: 1}, default=2**40), out=out)
        np.testing.assert_array_equal(out, expected)
        with pytest.raises(ValueError, match="does not fit"):
            volume.cutout(WHOLE, mapping=LabelMap({}, default=2**40), dtype="uint32")


def test_a_volume_that_answered_pickles_and_closes(written: Written) -> None:
    volume = open_volume(written.path)
    labels = volume.labels(WHOLE)
    copy = pickle.loads(pickle.dumps(volume))
    volume.close()
    np.testing.assert_array_equal(copy.labels(WHOLE), labels)
    copy.close()
    for ask in (volume.labels, volume.label_counts, volume.bounding_boxes):
        with pytest.raises(ValueError, match="closed"):
            ask(WHOLE)


def test_tiles_and_progress(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than one tile of cells; the bar is shown only on a terminal."""
    spec = Spec(size=(72, 40, 20), chunk_size=(4, 4, 4), block_size=(4, 4, 2))
    made = write_volume(tmp_path / "v", spec, seed=3)
    shown: list[Any] = []

    class Terminal:
        def isatty(self) -> bool:
            return True

        def write(self, text: str) -> int:
            shown.append(text)
            return len(text)

        def flush(self) -> None:
            pass

    with open_volume(made.path) as volume:
        monkeypatch.setattr(sys, "stderr", Terminal())
        labels, counts = volume.label_counts(volume.bounds, progress=True)
        monkeypatch.undo()
        np.testing.assert_array_equal(labels, np.unique(made.labels))
        assert counts.sum() == made.labels.size
        assert "900/900" in "".join(shown)
        shown.clear()
        volume.labels(volume.bounds, progress=True)
        assert not shown


def test_a_box_of_many_chunks_of_which_most_are_absent() -> None:
    """Whole shards of FAFB: 32,768 chunks that are not there, in little time and memory."""
    with open_volume(FAFB_MINI) as volume:
        box = Box((61440, 32768, 3072), (65536, 36864, 4096))
        labels, counts = volume.label_counts(box)
        assert counts.sum() == box.voxels
        assert counts[0] > 0.99 * box.voxels
        np.testing.assert_array_equal(volume.labels(box), labels)
