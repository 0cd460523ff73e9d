"""Random volumes under random specs: all ways of reading give the source array."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest
from cseg_oracle import Oracle
from hypothesis import given, settings
from hypothesis import strategies as st
from volume_strategies import (
    QUICK,
    boxes,
    layouts,
    specs,
)
from volumes import Labels, Layout, Triple, Written, read_with_tensorstore, write_volume
from ways import change_core

from shardreader import Box, PointStatus, Volume, open_volume

LARGE = settings(QUICK, max_examples=250)


def oracle_label(volume: Volume, voxel: Triple) -> int:
    """The label that the slow oracle reads in the bytes of the voxel's chunk; 0 without a chunk."""
    scale = volume.scale
    relative = [v - o for v, o in zip(voxel, scale.voxel_offset, strict=True)]
    cell = tuple(r // c for r, c in zip(relative, scale.chunk_size, strict=True))
    core = volume._core
    found = core.source.find(np.array([cell]), core.workers)
    encodings: list[bytes] = []
    core.source.read(found, lambda _, data: encodings.append(data), fail, core.workers)
    if not encodings:
        return 0
    words = np.frombuffer(encodings[0], "<u4")
    shape = scale.grid.cell_shape(cell)
    label_words = volume.dtype.itemsize // 4
    oracle = Oracle(words, 1, 0, shape, scale.block_size, label_words)
    return oracle.label(*(r % c for r, c in zip(relative, scale.chunk_size, strict=True)))


def fail(row: int, fault: Exception) -> None:
    raise fault


def check_whole(volume: Volume, written: Written) -> None:
    voxels = volume[...]
    assert voxels.dtype == written.labels.dtype
    assert voxels.flags.f_contiguous
    np.testing.assert_array_equal(voxels, written.labels)
    np.testing.assert_array_equal(voxels, read_with_tensorstore(written))


def check_box(volume: Volume, written: Written, box: Box, layout: Layout) -> None:
    truth = written.box(box.lower, box.upper)
    np.testing.assert_array_equal(volume.cutout(box), truth)
    out = layout.array(box.shape, volume.dtype)
    owner = out if out.base is None else out.base
    before = owner.tobytes()
    assert volume.cutout(box, out=out) is out
    np.testing.assert_array_equal(out, truth)
    out[...] = 77
    assert owner.tobytes() == before, "bytes between the voxels of out= were changed"


def check_points(volume: Volume, written: Written, points: Labels) -> None:
    labels, status = volume.lookup(points, units="voxel", return_status=True)
    truth = written.at(points)
    assert labels.dtype == volume.dtype
    np.testing.assert_array_equal(labels, truth)
    # What is not stored is EMPTY or in a shard that was never written, and 0.
    assert not truth[status != PointStatus.OK].any()
    assert set(np.unique(status)) <= {0, int(PointStatus.EMPTY), int(PointStatus.NOT_DOWNLOADED)}
    for voxel, at_many in zip(points[:12].tolist(), status[:12].tolist(), strict=True):
        label, at_one = volume.lookup(voxel, units="voxel", return_status=True)
        assert (label, at_one) == (written.at(voxel), at_many)
        assert oracle_label(volume, tuple(voxel)) == written.at(voxel)
        assert volume[tuple(voxel)] == written.at(voxel)


def check_volume(data: st.DataObject) -> None:
    spec = data.draw(specs())
    with tempfile.TemporaryDirectory() as directory:
        seed = data.draw(st.integers(0, 2**31))
        written = write_volume(Path(directory), spec, seed=seed)
        threads, cache_bytes = data.draw(st.sampled_from([(1, 0), (2, 1 << 20), (3, 5000)]))
        with open_volume(
            directory, missing="zero", threads=threads, cache_bytes=cache_bytes
        ) as volume:
            check_whole(volume, written)
            few_chunks = volume._core.few_chunks
            for way in (few_chunks, None, few_chunks):  # boxes by the short way and the long one
                change_core(volume, few_chunks=way)
                check_box(volume, written, data.draw(boxes(spec)), data.draw(layouts))
            rng = np.random.default_rng(seed)
            points = rng.integers(spec.voxel_offset, spec.upper, size=(60, 3))
            for way in (None, few_chunks):
                change_core(volume, few_chunks=way)
                check_points(volume, written, np.concatenate([points, points[::-3]]))


@QUICK
@given(st.data())
def test_random_volumes_read_back(data: st.DataObject) -> None:
    check_volume(data)


@pytest.mark.slow
@LARGE
@given(st.data())
def test_many_random_volumes_read_back(data: st.DataObject) -> None:
    check_volume(data)
