"""Compresso streams of the published package: every box and slice equals what was written."""

from __future__ import annotations

import numpy as np
import pytest
from compresso_damage import STEPS, Parts, decode, labels_of, sound_streams, take_apart
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slice_codecs import PINKY, check_boxes, check_slices, real_chunks

from shardreader.decoding import compresso

STREAMS = list(sound_streams())
each_stream = pytest.mark.parametrize("number", range(len(STREAMS)))


def test_the_streams_here_are_of_all_forms() -> None:
    fields = [take_apart(stream).fields for stream, _ in STREAMS]
    # Version and connectivity, bytes of a label, window.
    assert {(f[1], f[12]) for f in fields} == {(0, 4), (0, 6), (1, 4)}
    assert {f[2] for f in fields} == {1, 2, 4, 8}
    assert {f[6:9] for f in fields} >= {(4, 4, 1), (8, 8, 1), (4, 4, 2), (4, 2, 1)}


@each_stream
def test_whole_chunks(number: int) -> None:
    stream, voxels = STREAMS[number]
    for data in (stream, bytearray(stream), memoryview(stream)):
        np.testing.assert_array_equal(decode(data, voxels), voxels)


@each_stream
def test_boxes_into_memory_of_any_strides(number: int) -> None:
    stream, voxels = STREAMS[number]
    check_boxes(compresso, stream, voxels, number)


@each_stream
def test_single_slices(number: int) -> None:
    stream, voxels = STREAMS[number]
    check_slices(compresso, stream, voxels)


@each_stream
def test_labels_without_their_voxels(number: int) -> None:
    stream, voxels = STREAMS[number]
    has_index = take_apart(stream).fields[1] == 1
    depth = voxels.shape[2]
    for first, end in ((0, depth), (depth // 2, depth), (0, 1)):
        found = compresso.labels_of_slices(stream, voxels.shape, (first, end), voxels.dtype)
        assert (found is not None) == (has_index or (first, end) == (0, depth))
        if found is not None:
            assert found.dtype == voxels.dtype
            assert found.tolist() == np.unique(voxels[..., first:end]).tolist()


def test_a_window_that_old_encoders_counted_twice() -> None:
    """compresso before 2.3.2 wrote it behind a run of the greatest length: 127 windows here."""
    voxels = np.repeat(np.arange(200, dtype=np.uint8), 8).reshape(4, 2, 200, order="F")
    run, rest = 127 << 1 | 1, 73 << 1 | 1
    for windows in ([run, rest], [run, 0, rest]):
        parts = Parts(
            (b"cpso", 0, 1, 4, 2, 200, 4, 2, 1, 200, 1, 0, 4),
            bytes(range(200)),
            b"\0",
            b"",
            bytes(windows),
            b"",
        )
        np.testing.assert_array_equal(decode(parts.stream(), voxels), voxels)
    for stream, _ in STREAMS:
        # The encoder of today writes none.
        parts = take_apart(stream)
        bits = int(np.prod(parts.fields[6:9]))
        window = next(n for n in (1, 2, 4, 8) if bits <= 8 * n)
        assert np.frombuffer(parts.windows, f"<u{window}").all()


def test_an_empty_box_is_nothing() -> None:
    stream, voxels = STREAMS[0]
    out = np.full(1, 7, voxels.dtype)
    compresso.decode_box(stream, voxels.shape, (0, 0, 0), (1, 1, 0), out, 0, (1, 1, 1))
    assert out[0] == 7


# --- against the published package; it is never given damaged bytes, which end its process


def check_against(published: object, voxels: np.ndarray, **options: object) -> None:
    """Compare all of a chunk and each of its slices with what was written."""
    stream = published.compress(voxels, **options)  # type: ignore[attr-defined]
    assert len(stream) <= compresso.most_encoded_bytes((*voxels.shape, 1), voxels.dtype)
    np.testing.assert_array_equal(published.decompress(stream), voxels)  # type: ignore[attr-defined]
    np.testing.assert_array_equal(decode(stream, voxels), voxels)
    for z in {0, voxels.shape[2] // 2, voxels.shape[2] - 1}:
        one, faults = compresso.decode_slices(stream, voxels.shape, np.array([z]), voxels.dtype)
        np.testing.assert_array_equal(one[..., 0], voxels[..., z])
        assert not faults


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.permutations([150, 70, 12]).flatmap(
        lambda most: st.tuples(*(st.integers(1, n) for n in most))
    ),
    st.sampled_from(["uint8", "uint16", "uint32", "uint64"]),
    st.integers(0, 1 << 32),
    st.sampled_from(STEPS),
    st.sampled_from([4, 6]),
    st.booleans(),
)
def test_what_the_published_package_writes(
    shape: tuple[int, int, int],
    dtype: str,
    seed: int,
    steps: tuple[int, int, int],
    connectivity: int,
    has_index: bool,
) -> None:
    published = pytest.importorskip("compresso")
    options = {
        "steps": steps,
        "connectivity": connectivity,
        "random_access_z_index": has_index,
    }
    try:
        check_against(published, labels_of(shape, dtype, seed), **options)
    except published.EncodeError as error:
        # So many kinds of window have no code: it writes no such stream, and none is read.
        assert "Too many windows" in str(error)


@pytest.mark.slow
@pytest.mark.skipif(not PINKY.exists(), reason="needs the real data beside the repository")
@pytest.mark.parametrize("connectivity", [4, 6])
@pytest.mark.parametrize("has_index", [True, False])
@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64"])
def test_real_labels(connectivity: int, has_index: bool, dtype: str) -> None:
    published = pytest.importorskip("compresso")
    for chunk in real_chunks():
        check_against(
            published,
            np.asfortranarray(chunk.astype(dtype)),
            connectivity=connectivity,
            random_access_z_index=has_index,
        )
