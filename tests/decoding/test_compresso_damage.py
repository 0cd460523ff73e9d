"""Damaged compresso streams: a fault for each rule, and nothing but faults for what is mutated."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import compresso_damage
import numpy as np
import pytest
from compresso_damage import HEADER, Parts, decode, sound_streams
from hypothesis import given, settings
from hypothesis import strategies as st
from slice_codecs import check_damage_in_a_process

from shardreader.decoding import compresso
from shardreader.errors import FormatFault

# 6 x 4 x 2 voxels: label 9 where x > 2, in the second slice only where y > 1 as well.
# The boundary is the last voxel before a change along x, or along y.
CHUNK = np.zeros((6, 4, 2), np.uint16, order="F")
CHUNK[3:, :, 0] = 9
CHUNK[3:, 2:, 1] = 9
# In the first slice column 2; in the second row 1 from x = 3 on and column 2 of rows 2 and 3.
COLUMN, CORNER, ROW = 0x4444, 0x4480, 0x0030
SOUND = Parts(
    fields=(b"cpso", 1, 2, 6, 4, 2, 4, 4, 1, 4, 4, 0, 4),
    ids=np.array([0, 9, 0, 9], "<u2").tobytes(),
    values=np.array([0, ROW, COLUMN, CORNER], "<u2").tobytes(),
    locations=b"",
    # Numbers are doubled; an odd code is a run of the first value.
    windows=np.array([2 << 1, 1 << 1 | 1, 3 << 1, 1 << 1], "<u2").tobytes(),
    tail=bytes([2, 2, 0, 0]),
)


def words(*values: int) -> bytes:
    return np.array(values, "<u2").tobytes()


def test_a_stream_by_hand() -> None:
    np.testing.assert_array_equal(decode(SOUND.stream(), CHUNK), CHUNK)
    version_0 = replace(SOUND, tail=b"").with_fields(version=0)
    np.testing.assert_array_equal(decode(version_0.stream(), CHUNK), CHUNK)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"magic": b"cpsx"}, "first bytes of the compresso stream: expected b'cpso', found b'cpsx"),
        ({"version": 2}, "version of the compresso stream: expected 0 or 1, found 2"),
        ({"width": 4}, "data width of the compresso stream: expected 2 bytes, found 4"),
        ({"x": 7}, r"shape of the compresso stream: expected 6 x 4 x 2, found \(7, 4, 2\)"),
        ({"z": 65535}, "shape of the compresso stream"),
        ({"dx": 0}, "window of the compresso stream: expected from 1 to 64 voxels, found 0 x 4"),
        ({"dx": 255, "dy": 255}, "window of the compresso stream"),
        ({"dx": 5}, "windows of the compresso stream|at least"),
        ({"connectivity": 8}, "connectivity of the compresso stream: expected 4 or 6, found 8"),
        ({"connectivity": 6}, "connectivity of the compresso stream: expected 4 in a stream of"),
        ({"ids": 2**64 - 1}, "number of ids of the compresso stream: expected at most 48"),
        ({"values": 2**32 - 1}, "number of window values .*: expected at most 4, found 4294967295"),
        ({"locations": 2**64 - 1}, "number of locations .*: expected at most 96"),
        ({"locations": 30}, "compresso stream: expected at least .* bytes"),
        ({"version": 0, "connectivity": 6}, "window code|windows"),
    ],
)
def test_a_header_that_cannot_be(changes: dict[str, int], what: str) -> None:
    with pytest.raises(FormatFault, match=what):
        decode(SOUND.with_fields(**changes).stream(), CHUNK)


@pytest.mark.parametrize(
    ("sections", "fields", "what"),
    [
        ({"windows": words(4, 3, 6)}, {}, "windows for the whole chunk, found 3 windows"),
        ({"windows": words(4, 5, 6)}, {}, "ids of slice 1: expected 1, .*, found 2"),
        ({"windows": words(4, 1, 6, 2)}, {}, "window code 1: expected a run of 1 window or more"),
        ({"windows": words(4, 3, 6, 5)}, {}, "window code 3: .* not beyond the chunk"),
        ({"windows": words(4, 0xFFFF, 6, 2)}, {}, "window code 1: .* not beyond the chunk"),
        ({"windows": words(4, 3, 6, 8)}, {}, "window code 3: expected the number of one of"),
        ({"windows": words(4, 5, 6, 2)}, {}, "expected the end at code 3, where the chunk is full"),
        (
            {"windows": words(4, 3, 6, 2, 2)},
            {},
            "number of windows .*: expected at most 4, found 5",
        ),
        ({"windows": SOUND.windows + b"\0"}, {}, "expected a multiple of 2 bytes, found 9 bytes"),
        ({"ids": words(0, 9, 0)}, {"ids": 3}, "z index .*: expected 3 components in all, found 4"),
        ({"tail": bytes([3, 1, 0, 0])}, {}, "ids of slice 0: expected 2, .*, found 3"),
        ({"tail": bytes([2, 2, 1, 0])}, {}, "locations that start at 0 and end at 0"),
        ({"tail": bytes([2, 2, 0, 1])}, {}, "locations that start at 0 and end at 0"),
        ({"tail": bytes([255, 2, 0, 0])}, {}, "z index .*: expected at most 48, found 255"),
        ({"locations": words(8)}, {"locations": 1}, "locations .*: expected to be used up at"),
    ],
)
def test_a_section_that_cannot_be(
    sections: dict[str, bytes], fields: dict[str, int], what: str
) -> None:
    with pytest.raises(FormatFault, match=what):
        decode(replace(SOUND, **sections).with_fields(**fields).stream(), CHUNK)


def test_another_number_of_ids_without_an_index() -> None:
    for count in (3, 5):
        ids = words(*range(count))
        parts = replace(SOUND, ids=ids, tail=b"").with_fields(version=0, ids=count)
        with pytest.raises(FormatFault, match=f"expected 4, one for each .*, found {count}"):
            decode(parts.stream(), CHUNK)


def stream_of_locations(*locations: int, version: int = 0) -> bytes:
    """Give 2 x 2 x 2 voxels, of which the first of each slice needs a location."""
    parts = Parts(
        (b"cpso", version, 2, 2, 2, 2, 4, 4, 1, 2, 1, len(locations), 4),
        words(30, 50),
        words(0b000001),
        words(*locations),
        words(0, 0),
        bytes([1, 1, 0, 1]) if version else b"",
    )
    return parts.stream()


@pytest.mark.parametrize(
    ("locations", "expected"),
    [
        ((1, 3), [30, 50]),
        ((47, 6, 65535), [40, 65535]),
        ((6, 3, 7), [3, 0]),
        ((6, 6, 6, 9), [6, 9]),
        ((13, 6, 6), [6, 6]),
        # No neighbour before the voxel, or one that is a boundary: above and below each other.
        ((0, 1), "location of voxel (0, 0, 0)"),
        ((1, 2), "location of voxel (0, 0, 1)"),
        ((4, 1), "location of voxel (0, 0, 0)"),
        ((5, 1), "location of voxel (0, 0, 0)"),
        ((1, 4), "location of voxel (0, 0, 1)"),
        ((1, 5), "location of voxel (0, 0, 1)"),
        ((1,), "location of voxel (0, 0, 1) of the chunk: expected a code or a label"),
        ((1, 6), "location of voxel (0, 0, 1) of the chunk: expected a code or a label"),
        ((1, 1, 1), "expected to be used up at the end of slice 1"),
    ],
)
def test_locations_by_hand(locations: tuple[int, ...], expected: list[int] | str) -> None:
    chunk = np.zeros((2, 2, 2), np.uint16, order="F")
    if isinstance(expected, str):
        with pytest.raises(FormatFault) as caught:
            decode(stream_of_locations(*locations), chunk)
        assert expected in str(caught.value)
    else:
        found = decode(stream_of_locations(*locations), chunk)
        assert found[0, 0].tolist() == expected
        labels = compresso.labels_of_slices(
            stream_of_locations(*locations), chunk.shape, (0, 2), chunk.dtype
        )
        assert labels is not None
        assert labels.tolist() == sorted({*expected, 30, 50})
        assert (found[1] == [30, 50]).all()
        assert (found[0, 1] == [30, 50]).all()


def test_damage_in_one_slice_is_damage_in_no_other() -> None:
    """With a z index, only the slices that are asked for are decoded."""
    damaged = stream_of_locations(1, 0, version=1)
    every = np.arange(2)
    found, faults = compresso.decode_slices(damaged, (2, 2, 2), every, np.dtype("u2"))
    assert list(faults) == [1]
    assert "voxel (0, 0, 1)" in faults[1].what
    assert (found[..., 0] == 30).all()
    out = np.zeros(4, np.uint16)
    compresso.decode_box(damaged, (2, 2, 2), (0, 0, 0), (2, 2, 1), out, 0, (1, 2, 4))
    assert (out == 30).all()
    with pytest.raises(FormatFault, match=r"voxel \(0, 0, 1\)"):
        compresso.labels_of_slices(damaged, (2, 2, 2), (0, 2), np.dtype("u2"))
    # A code for another slice has no place in such a stream.
    for code in (4, 5):
        with pytest.raises(FormatFault, match="in the slice, with a z index"):
            decode(stream_of_locations(1, code, version=1), np.zeros((2, 2, 2), np.uint16))


@pytest.mark.parametrize("number", range(0, 48, 5))
def test_a_cut_stream_is_a_fault(number: int) -> None:
    stream, voxels = list(sound_streams())[number]
    step = max(1, len(stream) // 300)
    for length in [*range(0, len(stream), step), len(stream) - 1]:
        with pytest.raises(FormatFault):
            decode(stream[:length], voxels)
    with pytest.raises(FormatFault):
        decode(stream + b"\0", voxels)


def test_memory_is_bounded_by_the_shape() -> None:
    stream = SOUND.stream()
    decode(stream, CHUNK)
    fields = HEADER.unpack_from(stream)
    most = (2**64 - 1, 2**32 - 1, 2**64 - 1)
    tracemalloc.start()
    try:
        for field in range(3):
            counts = [*fields[9:12]]
            counts[field] = most[field]
            damaged = HEADER.pack(*fields[:9], *counts, fields[12]) + stream[HEADER.size :]
            with pytest.raises(FormatFault):
                decode(damaged, CHUNK)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 18


def test_a_few_mutated_streams() -> None:
    outcomes = compresso_damage.run(1500, 0)
    assert outcomes["decoded"] < 400
    assert len(outcomes) > 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_mutated_streams(seed: int, tmp_path: Path) -> None:
    check_damage_in_a_process(compresso_damage.__file__, seed, tmp_path)


@settings(deadline=None)
@given(
    st.sampled_from([b"", b"cpso", SOUND.stream()[:36], SOUND.stream()[:50]]),
    st.binary(max_size=300),
)
def test_any_bytes_give_labels_or_a_fault(start: bytes, rest: bytes) -> None:
    try:
        decode(start + rest, CHUNK)
    except FormatFault as fault:
        assert fault.expected
        assert fault.found
