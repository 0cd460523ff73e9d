"""Random volumes under random specs: all ways of reading give the source array."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cseg_oracle import Oracle
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from volumes import Labels, Layout, Spec, Triple, Written, read_with_tensorstore, write_volume

from shardreader import Box, PointStatus, Volume, open_volume

QUICK = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    # A failing example is small enough to read, and shrinking it takes minutes.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    report_multiple_bugs=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
LARGE = settings(QUICK, max_examples=250)
MOST_CHUNKS = 250

extents = st.one_of(st.sampled_from([1, 2, 3, 7, 13, 31, 37]), st.integers(1, 45))
offsets = st.one_of(st.just(0), st.integers(-1000, 1000), st.sampled_from([-(2**40), 2**40]))
encodings = st.sampled_from(["raw", "gzip"])


def triples(values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any, Any]]:
    return st.tuples(values, values, values)


@st.composite
def specs(draw: st.DrawFn) -> Spec:
    size, chunk_size = draw(triples(extents)), draw(triples(st.integers(1, 24)))
    chunks = [-(-s // c) for s, c in zip(size, chunk_size, strict=True)]
    while np.prod(chunks) > MOST_CHUNKS:  # wider chunks along the axis that has most
        axis = int(np.argmax(chunks))
        chunk_size = tuple(2 * c if i == axis else c for i, c in enumerate(chunk_size))
        chunks = [-(-s // c) for s, c in zip(size, chunk_size, strict=True)]
    return Spec(
        size=size,
        chunk_size=chunk_size,
        block_size=draw(triples(st.integers(1, 17))),
        voxel_offset=draw(triples(offsets)),
        dtype=draw(st.sampled_from(["uint32", "uint64"])),
        preshift_bits=draw(st.one_of(st.integers(0, 9), st.just(64))),
        minishard_bits=draw(st.integers(0, 7)),
        shard_bits=draw(st.one_of(st.integers(0, 7), st.integers(8, 30))),
        index_encoding=draw(encodings),
        data_encoding=draw(encodings),
    )


layouts = st.builds(
    Layout,
    axes=st.permutations((0, 1, 2)).map(tuple),
    steps=triples(st.integers(1, 3)),
    reversed=triples(st.booleans()),
    gap_bytes=st.sampled_from([0, 0, 8, 16, 1, 4, 9]),
)


@st.composite
def boxes(draw: st.DrawFn, spec: Spec) -> Box:
    corners = [
        sorted((draw(st.integers(o, e)), draw(st.integers(o, e))))
        for o, e in zip(spec.voxel_offset, spec.upper, strict=True)
    ]
    return Box(tuple(low for low, _ in corners), tuple(high for _, high in corners))


def oracle_label(volume: Volume, voxel: Triple) -> int:
    """The label that the slow oracle reads in the bytes of the voxel's chunk; 0 without a chunk."""
    scale = volume.scale
    relative = [v - o for v, o in zip(voxel, scale.voxel_offset, strict=True)]
    cell = tuple(r // c for r, c in zip(relative, scale.chunk_size, strict=True))
    found = volume._source.find(np.array([cell]), volume._workers)
    encodings: list[bytes] = []
    volume._source.read(found, lambda _, data: encodings.append(data), fail, volume._workers)
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
            few_chunks = volume._few_chunks
            for way in (few_chunks, None, few_chunks):  # boxes by the short way and the long one
                volume._few_chunks = way
                check_box(volume, written, data.draw(boxes(spec)), data.draw(layouts))
            rng = np.random.default_rng(seed)
            points = rng.integers(spec.voxel_offset, spec.upper, size=(60, 3))
            for way in (None, few_chunks):
                volume._few_chunks = way
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
