from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from volumes import Layout, Spec, Triple, Written, random_labels, write_volume

from shardreader import (
    Box,
    ChunkError,
    NotDownloadedError,
    OutOfBoundsError,
    ShardError,
    Volume,
    open_volume,
)
from shardreader.decoding import cseg
from shardreader.reading.box_read import no_overlap

SPEC = Spec(voxel_offset=(-7, 3, -100))
WHOLE = Box(SPEC.voxel_offset, SPEC.upper)
INNER = Box((-3, 5, -97), (20, 31, -84))


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    labels = random_labels(SPEC, 5)
    labels[:16, :16, :8] = 0  # at least one chunk is not stored
    return write_volume(tmp_path_factory.mktemp("cutout"), SPEC, labels=labels)


@pytest.fixture(scope="module")
def volume(written: Written) -> Iterator[Volume]:
    assert len(written.shards()) == 4
    with open_volume(written.path) as volume:
        yield volume


@pytest.fixture
def flats(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    return flats_of(monkeypatch)


def flats_of(patch: pytest.MonkeyPatch) -> list[Any]:
    """The memory that the kernels are given to write to from now on."""
    given: list[Any] = []
    decode_box, decode_boxes = cseg.decode_box, cseg.decode_boxes

    def spy(*args: Any) -> int:
        given.append(args[7])
        return decode_box(*args)

    def spy_on_many(*args: Any, **options: Any) -> Any:
        given.append(args[8])
        return decode_boxes(*args, **options)

    patch.setattr(cseg, "decode_box", spy)
    patch.setattr(cseg, "decode_boxes", spy_on_many)
    return given


# Boxes


def test_box_is_voxels(volume: Volume, written: Written) -> None:
    voxels = volume.cutout(INNER)
    assert voxels.shape == INNER.shape
    assert voxels.dtype == np.uint64
    assert voxels.flags.f_contiguous
    assert voxels.flags.owndata
    assert voxels.flags.writeable
    np.testing.assert_array_equal(voxels, written.box(INNER.lower, INNER.upper))
    np.testing.assert_array_equal(volume.cutout(INNER, units="voxel"), voxels)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(data=st.data())
def test_any_box(volume: Volume, written: Written, data: st.DataObject) -> None:
    corners = [
        sorted(data.draw(st.tuples(st.integers(o, e), st.integers(o, e))))
        for o, e in zip(WHOLE.lower, WHOLE.upper, strict=True)
    ]
    box = Box(tuple(c[0] for c in corners), tuple(c[1] for c in corners))
    np.testing.assert_array_equal(volume.cutout(box), written.box(box.lower, box.upper))


@pytest.mark.parametrize("kind", [tuple, list, np.array])
def test_pair_with_units(volume: Volume, written: Written, kind: Any) -> None:
    truth = written.box((0, 5, -99), (4, 9, -90))
    pair = kind([(0, 5, -99), (4, 9, -90)])
    np.testing.assert_array_equal(volume.cutout(pair, units="voxel"), truth)
    nm = kind([(7, 41, -3960), (25, 71, -3601)])
    np.testing.assert_array_equal(volume.cutout(nm, units="nm"), truth)
    fine = kind([(1, 10, -99), (7, 18, -90)])
    np.testing.assert_array_equal(volume.cutout(fine, resolution=(4, 4, 40)), truth)


def test_refused_boxes(volume: Volume) -> None:
    pair = ((0, 5, -99), (4, 9, -90))
    for box, unit in [
        (pair, {}),
        (pair, {"units": "nm", "resolution": (4, 4, 40)}),
        (INNER, {"units": "nm"}),
        (INNER, {"resolution": (8, 8, 40)}),
        ((0, 5, -99, 4, 9, -90), {"units": "voxel"}),
        (((0, 4), (5, 9), (-99, -90)), {"units": "voxel"}),
    ]:
        for read in (volume.cutout, volume.stored_chunks):
            with pytest.raises(TypeError):
                read(box, **unit)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ["lower", "upper"])
def test_outside(volume: Volume, axis: int, end: str) -> None:
    corner = list(getattr(WHOLE, end))
    corner[axis] += -1 if end == "lower" else 1
    box = Box(tuple(corner), WHOLE.upper) if end == "lower" else Box(WHOLE.lower, tuple(corner))
    for read in (volume.cutout, volume.stored_chunks):
        with pytest.raises(OutOfBoundsError, match="intersection") as error:
            read(box)
        assert isinstance(error.value, IndexError)


@pytest.mark.parametrize("shape", [(0, 22, 7), (3, 0, 7), (3, 22, 0), (0, 0, 0)])
@pytest.mark.parametrize("at", [(-7, 3, -100), (0, 5, -99), (33, 33, -80), (10**9, 0, 0)])
def test_empty_boxes(volume: Volume, shape: Triple, at: Triple) -> None:
    box = Box(at, tuple(a + n for a, n in zip(at, shape, strict=True)))
    voxels = volume.cutout(box)
    assert voxels.shape == shape
    assert voxels.dtype == np.uint64
    out = np.zeros(shape, np.uint64)
    assert volume.cutout(box, out=out) is out
    cells, status = volume.stored_chunks(box)
    assert cells.is_empty
    assert status.size == 0
    assert status.dtype == np.uint8


# out=


@settings(max_examples=50, deadline=None, derandomize=True)
@given(
    layout=st.builds(
        Layout,
        axes=st.permutations((0, 1, 2)).map(tuple),
        steps=st.tuples(*[st.integers(1, 3)] * 3),
        reversed=st.tuples(*[st.booleans()] * 3),
        gap_bytes=st.sampled_from([0, 8, 24]),
    )
)
def test_any_strides_are_written_directly(volume: Volume, written: Written, layout: Layout) -> None:
    out = layout.array(INNER.shape, volume.dtype)
    with pytest.MonkeyPatch.context() as patch:
        flats = flats_of(patch)
        assert volume.cutout(INNER, out=out) is out
    np.testing.assert_array_equal(out, written.box(INNER.lower, INNER.upper))
    assert flats
    assert all(np.shares_memory(flat, out) for flat in flats), "the direct path did not run"


@pytest.mark.parametrize("gap_bytes", [1, 3, 4, 9])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_unaligned(
    volume: Volume, written: Written, flats: list[Any], gap_bytes: int, axes: Triple
) -> None:
    out = Layout(axes=axes, gap_bytes=gap_bytes, reversed=(True, False, True)).array(
        INNER.shape, volume.dtype
    )
    assert volume.cutout(INNER, out=out) is out
    np.testing.assert_array_equal(out, written.box(INNER.lower, INNER.upper))
    assert flats
    assert not any(np.shares_memory(flat, out) for flat in flats)


def test_aligned_steps_from_an_unaligned_start(volume: Volume, written: Written) -> None:
    memory = np.zeros(INNER.voxels * 8 + 1, np.uint8)
    out = memory[1:].view(np.uint64).reshape(INNER.shape)
    assert not out.flags.aligned
    volume.cutout(INNER, out=out)
    np.testing.assert_array_equal(out, written.box(INNER.lower, INNER.upper))
    assert memory[0] == 0


def test_background_is_written_to_out(volume: Volume, written: Written) -> None:
    box = Box(SPEC.voxel_offset, tuple(o + 20 for o in SPEC.voxel_offset))
    assert not written.labels[:16, :16, :8].any()
    for layout in (Layout(), Layout(axes=(2, 1, 0)), Layout(gap_bytes=3)):
        out = layout.array(box.shape, volume.dtype)
        volume.cutout(box, out=out)
        np.testing.assert_array_equal(out, written.box(box.lower, box.upper))


def test_nothing_beside_out_is_touched(volume: Volume, written: Written) -> None:
    whole = np.full([n + 10 for n in INNER.shape], 77, np.uint64)
    inner = (slice(5, -5),) * 3
    volume.cutout(INNER, out=whole[inner])
    np.testing.assert_array_equal(whole[inner], written.box(INNER.lower, INNER.upper))
    whole[inner] = 77
    assert (whole == 77).all()


@pytest.mark.parametrize(
    "dtype", [np.int64, np.uint32, np.float64, ">u8", object, bool, np.dtype("V8")]
)
def test_out_of_another_type_is_refused(volume: Volume, dtype: Any) -> None:
    with pytest.raises(TypeError, match="dtype"):
        volume.cutout(INNER, out=np.zeros(INNER.shape, dtype))


@pytest.mark.parametrize(
    "out",
    [[[[0]]], bytearray(8), memoryview(bytearray(8)), 0],
    ids=["list", "bytearray", "memoryview", "int"],
)
def test_out_that_is_no_array_is_refused(volume: Volume, out: Any) -> None:
    with pytest.raises(TypeError, match="numpy array"):
        volume.cutout(Box((0, 5, -99), (1, 6, -98)), out=out)


@pytest.mark.parametrize("shape", [INNER.shape[::-1], INNER.shape[:2], (*INNER.shape, 1), (0,)])
def test_out_of_another_shape_is_refused(volume: Volume, shape: Any) -> None:
    with pytest.raises(ValueError, match="shape"):
        volume.cutout(INNER, out=np.zeros(shape, np.uint64))


def test_out_that_is_read_only_is_refused(volume: Volume) -> None:
    out = np.zeros(INNER.shape, np.uint64)
    out.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        volume.cutout(INNER, out=out)
    with pytest.raises(ValueError, match="read-only"):
        volume.cutout(INNER, out=np.broadcast_to(np.uint64(0), INNER.shape))


@pytest.mark.parametrize(
    "strides", [(0, 8, 8 * 26), (8, 0, 0), (8, 8, 8), (8, 16, 64), (4, 8 * 26, 8 * 26 * 30)]
)
def test_out_that_overlaps_itself_is_refused(volume: Volume, strides: Triple) -> None:
    memory = np.zeros(10**6, np.uint64)
    out = np.lib.stride_tricks.as_strided(memory, INNER.shape, strides)
    with pytest.raises(ValueError, match="share memory"):
        volume.cutout(INNER, out=out)
    assert not memory.any()


def test_no_overlap() -> None:
    assert no_overlap(np.zeros((3, 4, 5))[::-1, ::2].transpose(2, 0, 1))
    assert no_overlap(np.zeros((3, 0, 5)))
    assert no_overlap(np.broadcast_to(np.zeros(1), (1, 1, 1)))
    assert not no_overlap(np.broadcast_to(np.zeros(1), (1, 2, 1)))
    windows = np.lib.stride_tricks.sliding_window_view(np.zeros(10), 3)
    assert not no_overlap(windows)


# What is missing or damaged


def corner_of(cell: tuple[slice, ...]) -> Triple:
    x, y, z = (s.start + o for s, o in zip(cell, SPEC.voxel_offset, strict=True))
    return x, y, z


def test_missing_shards(tmp_path: Path) -> None:
    written = write_volume(tmp_path, SPEC, labels=random_labels(SPEC, 5, background=False))
    gone = written.shards()[1]
    gone.unlink()
    cells = list(SPEC.cells())
    lost = [cell for cell in cells if written.shard_of(corner_of(cell)) == gone]
    truth = written.labels.copy()
    for cell in lost:
        truth[cell] = 0
    with open_volume(tmp_path) as volume:
        with pytest.raises(NotDownloadedError) as error:
            volume.cutout(WHOLE)
        for word in (gone.name, f"{len(lost)} of {len(cells)} chunks", 'missing="zero"'):
            assert word in str(error.value)
        kept = next(corner_of(cell) for cell in cells if cell not in lost)
        assert volume[kept] == written.at(kept)
    with open_volume(tmp_path, missing="zero") as volume:
        np.testing.assert_array_equal(volume.cutout(WHOLE), truth)
        out = Layout(axes=(1, 0, 2)).array(WHOLE.shape, volume.dtype)
        np.testing.assert_array_equal(volume.cutout(WHOLE, out=out), truth)


@pytest.mark.parametrize("missing", ["error", "zero"])
def test_damage_is_never_forgiven(tmp_path: Path, missing: str) -> None:
    written = write_volume(tmp_path, SPEC, labels=random_labels(SPEC, 5, background=False))
    absent, damaged, *_ = written.shards()
    absent.unlink()
    data = bytearray(damaged.read_bytes())
    data[32:200] = bytes(168)  # after the shard index of two minishards: stored chunks
    damaged.write_bytes(data)
    with open_volume(tmp_path, missing=missing) as volume:
        # What is absent is known before the first chunk is read.
        with pytest.raises(ChunkError if missing == "zero" else NotDownloadedError):
            volume.cutout(WHOLE)
    damaged.write_bytes(bytes(len(data)))
    with open_volume(tmp_path, missing=missing) as volume:
        with pytest.raises(ShardError, match=damaged.name):
            volume.cutout(WHOLE)
