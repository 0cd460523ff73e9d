"""Compresso streams of the published package: every box and slice equals what was written."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from compresso_damage import STEPS, decode, labels_of, sound_streams, take_apart
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import shardreader
from shardreader.decoding import compresso
from shardreader.decoding.flat_output import FlatOutput

STREAMS = list(sound_streams())
each_stream = pytest.mark.parametrize("number", range(len(STREAMS)))
PINKY = Path(__file__).parents[2] / "../shared/data/pinky40"


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
    rng = np.random.default_rng(number)
    for _ in range(12):
        lower = tuple(int(rng.integers(n)) for n in voxels.shape)
        upper = tuple(
            int(rng.integers(a + 1, n + 1)) for a, n in zip(lower, voxels.shape, strict=True)
        )
        shape = [b - a for a, b in zip(lower, upper, strict=True)]
        around = np.full([2 * n + 2 for n in shape], 77, voxels.dtype, order=rng.choice(["C", "F"]))
        out = around[tuple(slice(1, 1 + 2 * n, 2) for n in shape)]
        out = out[:: rng.choice([1, -1]), :, :: rng.choice([1, -1])]
        target = FlatOutput(out)
        compresso.decode_box(
            stream, voxels.shape, lower, upper, target.flat, target.start, target.strides
        )
        wanted = voxels[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
        np.testing.assert_array_equal(out, wanted)
        out[...] = 77
        assert (around == 77).all()


@each_stream
def test_single_slices(number: int) -> None:
    stream, voxels = STREAMS[number]
    for chosen in (range(0, voxels.shape[2], 2), [voxels.shape[2] - 1], range(voxels.shape[2])):
        slices = np.array(chosen)
        found, faults = compresso.decode_slices(stream, voxels.shape, slices, voxels.dtype)
        np.testing.assert_array_equal(found, voxels[..., slices])
        assert not faults


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
    origin = json.loads((PINKY / "truth.json").read_text())["origin"]
    rng = np.random.default_rng(0)
    with shardreader.open_volume(PINKY / "segmentation") as volume:
        for shape in [(64, 64, 64), (128, 128, 32), (128, 128, 23), (100, 37, 9)]:
            first = [
                o + int(rng.integers(most - n))
                for o, n, most in zip(origin, shape, (1024, 1024, 256), strict=True)
            ]
            box = tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))
            check_against(
                published,
                np.asfortranarray(volume[box].astype(dtype)),
                connectivity=connectivity,
                random_access_z_index=has_index,
            )
