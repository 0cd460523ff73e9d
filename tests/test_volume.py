from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from chunk_status_truth import fafb_status
from fixture_truth import FAFB_MINI, load_fafb_patches, read_info
from preads import replace_pread
from volumes import Spec, Written, morton_codes, random_labels, write_volume

from shardreader import Box, OutOfBoundsError, PointStatus, Volume, open_volume
from shardreader.chunks import stored_reader
from shardreader.decoding import cseg, libdeflate

SPEC = Spec(voxel_offset=(-7, 3, -100), resolution=(8, 8, 40.5))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_volume(
        tmp_path_factory.mktemp("volume"), SPEC, labels=random_labels(SPEC, 3, background=False)
    )


@pytest.fixture
def volume(written: Written) -> Iterator[Volume]:
    with open_volume(written.path) as volume:
        yield volume


# Attributes


def test_attributes(volume: Volume, written: Written) -> None:
    assert volume.path == os.path.abspath(written.path)
    assert volume.shape == (40, 30, 20)
    assert volume.ndim == 3
    assert volume.dtype == np.uint64
    assert volume.resolution == (8, 8, 40.5)
    assert volume.voxel_offset == (-7, 3, -100)
    assert volume.chunk_size == (16, 16, 8)
    assert volume.bounds == Box((-7, 3, -100), (33, 33, -80))
    assert volume.scale.key == "s0"
    assert volume.scale.index == 0


@pytest.mark.parametrize(
    "name",
    [
        "shape",
        "dtype",
        "resolution",
        "voxel_offset",
        "chunk_size",
        "bounds",
        "info",
        "scale",
        "path",
    ],
)
def test_attributes_are_read_only_and_documented(volume: Volume, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(volume, name, None)
    assert getattr(type(volume), name).__doc__


def test_fafb_attributes() -> None:
    with open_volume(FAFB_MINI) as volume:
        assert volume.shape == (124416, 67072, 7063)
        assert volume.dtype == np.uint64
        assert volume.resolution == (8, 8, 40)
        assert volume.chunk_size == (128, 128, 32)
        assert volume.bounds == Box((0, 0, 0), volume.shape)


def test_info_is_a_new_copy(volume: Volume, written: Written) -> None:
    info = volume.info
    assert info == read_info(written.path)
    info["scales"][0]["size"][0] = 1
    info.clear()
    assert volume.info == read_info(written.path)
    assert volume.shape == SPEC.size


def test_repr(volume: Volume) -> None:
    text = repr(volume)
    for word in (volume.path, "s0", "40 x 30 x 20", "8 x 8 x 40.5", "uint64"):
        assert word in text


# What a Volume is not


@pytest.mark.parametrize(
    "use",
    [
        np.asarray,
        np.array,
        lambda volume: np.asarray(volume, dtype=np.int64),
        lambda volume: np.add(volume, 1),
    ],
)
def test_no_array(volume: Volume, use: Callable[[Volume], Any]) -> None:
    with pytest.raises(TypeError, match=r"vol\[\.\.\.\]"):
        use(volume)


def test_no_length(volume: Volume) -> None:
    with pytest.raises(TypeError, match=r"vol\.shape"):
        len(volume)


@pytest.mark.parametrize("use", [iter, list, lambda volume: [*volume]])
def test_no_iteration(volume: Volume, use: Callable[[Volume], Any]) -> None:
    with pytest.raises(TypeError, match=r"vol\.cutout"):
        use(volume)


# Indexing


@pytest.mark.parametrize(
    ("index", "shifted"),
    [
        (np.s_[...], np.s_[...]),
        (np.s_[:], np.s_[:]),
        (np.s_[-7:33, 3:33, -100:-80], np.s_[...]),
        (np.s_[-1:2, 5:20, -99:-90], np.s_[6:9, 2:17, 1:10]),
        (np.s_[:-1, 20:, -85], np.s_[:6, 17:, 15]),
        (np.s_[..., -81], np.s_[..., 19]),
        (np.s_[0, ..., -100], np.s_[7, :, 0]),
        (np.s_[-7], np.s_[0]),
        (np.s_[32, 32, -81], np.s_[39, 29, 19]),
        (np.s_[np.int16(4), np.uint8(9), np.int64(-90)], np.s_[11, 6, 10]),
        (np.s_[4:4], np.s_[4:4]),
        (np.s_[:, 5:5, -90], np.s_[:, 5:5, 10]),
    ],
)
def test_indexing(volume: Volume, written: Written, index: Any, shifted: Any) -> None:
    voxels, truth = volume[index], written.labels[shifted]
    assert np.shape(voxels) == np.shape(truth)
    assert voxels.dtype == truth.dtype
    np.testing.assert_array_equal(voxels, truth)


def test_indexing_refuses_before_it_reads(volume: Volume, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cseg, "decode_box", None)
    monkeypatch.setattr(type(volume._store), "read", None)
    for index in (np.s_[::2], 1.0, True, [1, 2], np.array([1]), None, np.s_[1, 2, 3, 4]):
        with pytest.raises(TypeError):
            volume[index]
    for index in (-8, 33, np.s_[:34], np.s_[..., -79], np.s_[:, 0:5]):
        with pytest.raises(OutOfBoundsError):
            volume[index]


def test_no_assignment(volume: Volume) -> None:
    with pytest.raises(TypeError):
        volume[0, 5, -90] = 3  # type: ignore[index]


# Stored chunks


def test_stored_chunks(tmp_path: Path) -> None:
    spec = Spec(size=(70, 40, 20), voxel_offset=(-7, 3, -100), shard_bits=2)
    labels = random_labels(spec, 3, background=False)
    labels[16:32, :16, 8:16] = 0
    written = write_volume(tmp_path, spec, labels=labels)
    gone, damaged = written.shards()[0], written.shards()[-1]
    gone.unlink()
    damaged.write_bytes(bytes(damaged.stat().st_size))
    with open_volume(tmp_path) as volume:
        cells, status = volume.stored_chunks(volume.bounds)
        part, part_status = volume.stored_chunks(((9, 20, -92), (10, 21, -84)), units="voxel")
    assert cells == Box((0, 0, 0), (5, 3, 3))
    assert (status.dtype, status.shape) == (np.uint8, cells.shape)
    for cell, found in np.ndenumerate(status):
        corner = np.multiply(cell, spec.chunk_size) + np.array(spec.voxel_offset)
        shard = written.shard_of(tuple(corner.tolist()))
        expected = (
            PointStatus.NOT_DOWNLOADED
            if shard == gone
            else PointStatus.CORRUPT
            if shard == damaged
            else PointStatus.EMPTY
            if cell == (1, 0, 1)
            else PointStatus.OK
        )
        assert found == expected, cell
    assert part == Box((1, 1, 1), (2, 2, 2))
    assert part_status[0, 0, 0] == status[1, 1, 1]


def test_stored_chunks_of_a_fafb_sized_grid() -> None:
    # Whole shards are 32 x 32 x 32 cells; eight of them meet in the patch. Some more around it.
    cells = Box((447, 224, 64), (513, 289, 128))
    box = Box((447 * 128 + 1, 224 * 128, 64 * 32 + 31), (513 * 128 - 127, 289 * 128, 128 * 32))
    with open_volume(FAFB_MINI) as volume:
        found_cells, status = volume.stored_chunks(box)
        far_cells, far = volume.stored_chunks(Box((124415, 67071, 7040), (124416, 67072, 7063)))
        assert volume._files.manifest is not None
        expected = fafb_status(FAFB_MINI, cells, PointStatus.NOT_DOWNLOADED)
        for cell in np.argwhere(status != expected):  # the manifest knows of files never there
            voxel = (cell + cells.lower) * volume.chunk_size
            assert status[tuple(cell)] == PointStatus.EMPTY
            _, of_point = volume.lookup(voxel, units="voxel", return_status=True)
            assert of_point == PointStatus.EMPTY
            assert volume._files.source_has_none(Path(name_of(volume, voxel)).name)
    assert found_cells == cells
    assert status.shape == cells.shape
    assert status.dtype == np.uint8
    assert np.count_nonzero(status == PointStatus.OK) > 8
    assert np.count_nonzero(status == PointStatus.NOT_DOWNLOADED) > 0
    assert far_cells == Box((971, 523, 220), (972, 524, 221))
    assert far.tolist() == [[[PointStatus.OK]]]


def name_of(volume: Volume, voxel: Any) -> str:
    grid = tuple(-(-s // c) for s, c in zip(volume.shape, volume.chunk_size, strict=True))
    (code,) = morton_codes(np.array([voxel // volume.chunk_size]), grid).tolist()
    return f"{code >> 15:04x}.shard"


def test_stored_chunks_reads_no_chunk(written: Written, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_volume(written.path) as volume:
        monkeypatch.setattr(type(volume._core.source), "read", None)
        assert not volume.stored_chunks(volume.bounds)[1].any()


def test_fafb_patches() -> None:
    with open_volume(FAFB_MINI) as volume:
        for patch in load_fafb_patches():
            box = Box(patch.origin, patch.upper)
            np.testing.assert_array_equal(volume.cutout(box), patch.labels)


# A volume over time


def test_closed(written: Written) -> None:
    volume = open_volume(written.path)
    first = volume[...]
    volume.close()
    volume.close()
    for read in (
        lambda: volume[...],
        lambda: volume[0, 5, -90],
        lambda: volume.cutout(volume.bounds),
        lambda: volume.cutout(Box((0, 5, -90), (0, 5, -90))),
        lambda: volume.lookup([[0, 5, -90]], units="voxel"),
        lambda: volume.lookup([], units="voxel"),
        lambda: volume.stored_chunks(volume.bounds),
    ):
        with pytest.raises(ValueError, match="closed"):
            read()
    assert volume.shape == first.shape
    assert volume.info
    assert repr(volume)


def test_context_manager(written: Written) -> None:
    with pytest.raises(KeyError), open_volume(written.path) as volume:
        assert volume[...].shape == SPEC.size
        raise KeyError
    with pytest.raises(ValueError, match="closed"):
        volume[...]


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_close_gives_the_descriptors_back(written: Written) -> None:
    with open_volume(written.path) as first:
        first[...]  # what is opened once, for good, is open now
    before = sorted(os.listdir("/proc/self/fd"))
    volume = open_volume(written.path)
    volume[...]
    assert len(os.listdir("/proc/self/fd")) > len(before)
    volume.close()
    assert len(os.listdir("/proc/self/fd")) == len(before)


@pytest.mark.parametrize("cache_bytes", [0, 512 << 20])
def test_a_shard_replaced_under_an_open_volume(tmp_path: Path, cache_bytes: int) -> None:
    old = write_volume(tmp_path / "old", SPEC, labels=random_labels(SPEC, 1, background=False))
    new = write_volume(tmp_path / "new", SPEC, labels=random_labels(SPEC, 2, background=False))
    points = np.argwhere(np.ones(SPEC.size, bool))[::97] + np.array(SPEC.voxel_offset)
    with open_volume(old.path, cache_bytes=cache_bytes) as volume:
        np.testing.assert_array_equal(volume[...], old.labels)
        for shard in new.shards():
            os.replace(shard, old.path / "s0" / shard.name)
        np.testing.assert_array_equal(volume.lookup(points, units="voxel"), new.at(points))
        np.testing.assert_array_equal(volume[...], new.labels)


def test_a_shard_that_arrives_under_an_open_volume(tmp_path: Path) -> None:
    written = write_volume(tmp_path, SPEC, labels=random_labels(SPEC, 1, background=False))
    shard = written.shards()[0]
    aside = tmp_path / "aside"
    shard.rename(aside)
    with open_volume(tmp_path, missing="zero") as volume:
        assert (volume[...] != written.labels).any()
        aside.rename(shard)
        np.testing.assert_array_equal(volume[...], written.labels)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize(
    "step", ["decode_box", "read_voxels", "decode_boxes", "read_voxels_of_chunks"]
)
def test_an_interrupted_read_leaves_the_volume_usable(
    written: Written, monkeypatch: pytest.MonkeyPatch, step: str, threads: int
) -> None:
    points = np.argwhere(np.ones(SPEC.size, bool))[::31] + np.array(SPEC.voxel_offset)
    original = getattr(cseg, step)
    calls: list[int] = []

    def interrupted(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return original(*args, **options)

    with open_volume(written.path, threads=threads) as volume:
        with monkeypatch.context() as patch:
            patch.setattr(cseg, step, interrupted)
            patch.setattr(volume, "_core", replace(volume._core, few_chunks=None))
            if step in ("decode_box", "read_voxels"):  # where libdeflate does not show itself
                patch.setattr(stored_reader, "loaded_file_reader", lambda: None)
            elif not libdeflate.usable():
                pytest.skip("libdeflate does not show itself")
            with pytest.raises(KeyboardInterrupt):
                volume.cutout(volume.bounds) if "decode" in step else volume.lookup(
                    points, units="voxel"
                )
        np.testing.assert_array_equal(volume[...], written.labels)
        np.testing.assert_array_equal(volume.lookup(points, units="voxel"), written.at(points))


def test_an_interrupted_file_read_leaves_no_descriptor_in_use(
    written: Written, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []

    def interrupted(read: Any) -> Any:
        def wrapper(*args: Any) -> Any:
            calls.append(1)
            if len(calls) % 5 in (2, 3):  # compiled code, and what asks again after it
                raise KeyboardInterrupt
            return read(*args)

        return wrapper

    volume = open_volume(written.path, threads=1, cache_bytes=0)
    with monkeypatch.context() as patch:
        replace_pread(patch, interrupted(os.pread))
        for _ in range(5):
            with pytest.raises(KeyboardInterrupt):
                volume[...]
    np.testing.assert_array_equal(volume[...], written.labels)
    volume.close()
    if Path("/proc/self/fd").exists():
        assert not any(
            os.path.realpath(f"/proc/self/fd/{fd}").endswith(".shard")
            and str(written.path) in os.path.realpath(f"/proc/self/fd/{fd}")
            for fd in os.listdir("/proc/self/fd")
        )
