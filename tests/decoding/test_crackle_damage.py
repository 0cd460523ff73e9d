"""Damaged crackle streams: a fault for each rule, and nothing but faults for what is mutated."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path

import crackle_damage
import numpy as np
import pytest
from crackle_damage import decode, sound_streams
from crackle_streams import Parts, crc8, take_apart
from hypothesis import given, settings
from hypothesis import strategies as st
from slice_codecs import check_damage_in_a_process

from shardreader.decoding import crackle
from shardreader.errors import FormatFault

STREAMS = list(sound_streams())


def stream_of(label_format: int, *, order: int = 0) -> tuple[bytes, np.ndarray]:
    """Give the largest stream of a form."""
    forms = [(int.from_bytes(s[5:7], "little"), s, v) for s, v in STREAMS]
    return max(
        ((s, v) for f, s, v in forms if f >> 5 & 3 == label_format and f >> 9 & 15 == order),
        key=lambda pair: len(pair[0]),
    )


FLAT, VOXELS = stream_of(0)
PARTS = take_apart(FLAT)
PINS, PIN_VOXELS = stream_of(2)
PIN_PARTS = take_apart(PINS)
X, Y, Z = VOXELS.shape


def changed(data: bytes, at: int, value: int, width: int = 1) -> bytes:
    return data[:at] + value.to_bytes(width, "little") + data[at + width :]


def without_checksums(voxels: np.ndarray = VOXELS, parts: Parts = PARTS, **members: bytes) -> None:
    decode(replace(parts, **members).version_0(), voxels)


def test_the_sound_ones_are_sound() -> None:
    without_checksums()
    without_checksums(PIN_VOXELS, PIN_PARTS)


@pytest.mark.parametrize(
    ("at", "what"),
    [
        (0, "crackle stream: expected a header"),
        (4, "format version of crackle: expected 0 or 1, found 254"),
        (5, "CRC-8 of the header"),
        (28, "CRC-8 of the header"),
        (29, r"CRC-32C of the crack index, bytes \[29, "),
        (29 + 4 * Z, "CRC-32C of the crack index"),
        (29 + 4 * Z + 4, "CRC-32C of the labels section"),
        (len(FLAT) - 4 * Z - 1, "CRC-32C of the labels section"),
        (len(FLAT) - 1, f"CRC-32C of the connected components of slice z={Z - 1}: expected 0x"),
    ],
)
def test_every_checksum_is_held(at: int, what: str) -> None:
    with pytest.raises(FormatFault, match=what):
        decode(changed(FLAT, at, FLAT[at] ^ 0xFF), VOXELS)


def test_every_changed_bit_is_a_fault_or_harmless() -> None:
    """Only the version, which has no checksum, could make another stream of it; it does not."""
    for stream, voxels in sorted(STREAMS, key=lambda pair: len(pair[0]))[:3]:
        for bit in range(8 * len(stream)):
            damaged = changed(stream, bit >> 3, stream[bit >> 3] ^ 1 << (bit & 7))
            try:
                np.testing.assert_array_equal(decode(damaged, voxels), voxels)
            except FormatFault:
                continue


@pytest.mark.parametrize("stream", [FLAT, PARTS.version_0(), PINS, PIN_PARTS.version_0()])
def test_a_cut_stream_is_a_fault(stream: bytes) -> None:
    voxels = VOXELS if stream in (FLAT, PARTS.version_0()) else PIN_VOXELS
    for length in range(len(stream)):
        with pytest.raises(FormatFault):
            decode(stream[:length], voxels)
    with pytest.raises(FormatFault):
        decode(stream + b"\0", voxels)


@pytest.mark.parametrize(
    ("at", "value", "what"),
    [
        (2, X + 1, f"size of the crackle stream: expected {X} x {Y} x {Z}, found {X + 1} x"),
        (6, 0, f"found {X} x 0 x {Z}"),
        (0, PARTS.fields[0] | 3, "expected unsigned ones of at most"),
        (0, PARTS.fields[0] | 0b1100, "labels of the crackle stream"),
        (1, 1, "found signed ones"),
        (0, PARTS.fields[0] | 0b1100000, "label format of crackle: expected 0, 1 or 2, found 3"),
        (0, PARTS.fields[0] & 0x9F | 0x20, "expected flat labels or condensed pins"),
        (14, 2, "grid of the crackle stream: .* found cells of 4 voxels"),
        (1, 15 << 1, "length of the encoding"),
    ],
)
def test_a_header_of_something_else_is_refused(at: int, value: int, what: str) -> None:
    voxels = VOXELS if VOXELS.dtype.itemsize < 8 or "at most" not in what else VOXELS.astype("u4")
    with pytest.raises(FormatFault, match=what):
        without_checksums(voxels, fields=changed(PARTS.fields, at, value))


LABELS = int.from_bytes(PARTS.labels[:8], "little")
STORED = 1 << (PARTS.fields[0] >> 2 & 3)
COUNTS_AT = 8 + LABELS * STORED
COUNT_WIDTH = 1 if X * Y < 256 else 2


@pytest.mark.parametrize(
    ("labels", "what"),
    [
        (changed(PARTS.labels, 0, 2**64 - 1, 8), "labels at byte"),
        (changed(PARTS.labels, COUNTS_AT, 0, COUNT_WIDTH), "components of the slices: expected 1"),
        (changed(PARTS.labels, len(PARTS.labels) - 1, 255), "entries of a table of"),
        (PARTS.labels + b"\0", "further bytes"),
        (PARTS.labels[:-1], "labels of the components at byte"),
        (b"", "number of labels at byte"),
    ],
)
def test_a_flat_labels_section_that_cannot_be(labels: bytes, what: str) -> None:
    with pytest.raises(FormatFault, match=what):
        without_checksums(labels=labels)


def test_another_number_of_components_is_a_fault() -> None:
    counts = np.frombuffer(PARTS.labels, f"<u{COUNT_WIDTH}", Z, COUNTS_AT)
    first, second = int(counts[0]), int(counts[1])
    labels = changed(PARTS.labels, COUNTS_AT, first + 1, COUNT_WIDTH)
    labels = changed(labels, COUNTS_AT + COUNT_WIDTH, second - 1, COUNT_WIDTH)
    with pytest.raises(FormatFault, match=f"z=0: expected {first + 1}, .*, found {first}"):
        without_checksums(labels=labels)


SIZES = np.frombuffer(PARTS.index, "<u4")


def with_first_code(code: bytes) -> dict[str, bytes]:
    """Put another crack code in place of that of the first slice."""
    sizes = SIZES.copy()
    sizes[0] = len(code)
    return {"index": sizes.tobytes(), "codes": code + PARTS.codes[SIZES[0] :]}


FIRST = PARTS.codes[: SIZES[0]]


@pytest.mark.parametrize(
    ("code", "what"),
    [
        (changed(FIRST, 0, len(FIRST) - 3, 4), "index of the chains"),
        (changed(FIRST, 0, 2**32 - 1, 4), "index of the chains"),
        (changed(FIRST, 4, 255), "index of the chains"),
        (FIRST[:3], "index of the chains"),
        (changed(FIRST, 5, 255), "start of a chain|index of the chains"),
        (FIRST[:-1], "moves until all chains have ended"),
        (FIRST + b"\0", "crack code of slice z=0: expected no bytes after the last chain, found 1"),
        # One chain at vertex (1, 1): up, up, which leaves the slice.
        (b"\4\0\0\0\1\1\1\1" + b"\0\0", "cracks between two voxels"),
        # Without a crack on its way: left along the upper edge.
        (b"\4\0\0\0\1\0\1\1" + b"\3\0", "cracks between two voxels"),
        # Branches for ever: up down, up down, ...
        (b"\4\0\0\0\1\1\1\1" + b"\xa8" + b"\xaa" * 4000, "no more open branches"),
    ],
)
def test_a_crack_code_that_cannot_be(code: bytes, what: str) -> None:
    with pytest.raises(FormatFault, match=what):
        without_checksums(**with_first_code(code))


def test_an_index_that_does_not_add_up_is_a_fault() -> None:
    for index in (changed(PARTS.index, 0, 2**32 - 1, 4), bytes(4 * Z)):
        with pytest.raises(FormatFault, match=r"crack index: expected .* bytes of crack codes"):
            without_checksums(index=index)


def pin_section_at() -> int:
    labels = int.from_bytes(
        PIN_PARTS.labels[(w := 1 << (PIN_PARTS.fields[0] >> 2 & 3)) : w + 8], "little"
    )
    x, y, z = PIN_VOXELS.shape
    return w + 8 + labels * w + z * (1 if x * y < 256 else 2) + 1


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda data, at: changed(data, at, 255), "pins"),
        (lambda data, at: changed(data, at - 1, 0xFF), "pins"),
        (lambda data, _: data + b"\0", "further bytes"),
        (lambda data, _: data[:-1], "a count that goes beyond it"),
    ],
)
def test_a_pin_section_that_cannot_be(change, what: str) -> None:
    labels = change(PIN_PARTS.labels, pin_section_at())
    with pytest.raises(FormatFault, match=what):
        without_checksums(PIN_VOXELS, PIN_PARTS, labels=labels)


def hand_made_pins(pins: bytes) -> bytes:
    """Give two slices of 2 x 1 voxels that one crack parts; background 5, labels 7 and 8."""
    fields = bytes([0b11000000, 0]) + b"".join(n.to_bytes(4, "little") for n in (2, 2, 2)) + b"\x1f"
    labels = b"\5" + (2).to_bytes(8, "little") + b"\7\x08" + b"\2\2" + b"\0" + pins
    # From vertex (1, 0): down, down, then the end: up after down, as differences 2 0 0 2.
    code = b"\4\0\0\0\1\0\1\1" + bytes([0b10000010])
    index = (len(code).to_bytes(4, "little")) * 2
    return Parts(fields, index, labels, 2 * code, b"").version_0()


@pytest.mark.parametrize(
    ("pins", "expected"),
    [
        # A pin through both slices at x=0 for 7; component 3, that of x=1 and z=1, for 8.
        (b"\1\0\1\0" + b"\0\1\3", [[7, 7], [5, 8]]),
        (b"\0\0" + b"\0\0", [[5, 5], [5, 5]]),
        (b"\0\2\1\2" + b"\0\0", [[5, 5], [7, 7]]),
        (b"\1\0\1\0" + b"\1\0\0\0", "one label for each component"),
        (b"\0\1\3" + b"\0\1\3", "one label for each component"),
        (b"\0\1\4" + b"\0\0", "components that the chunk has"),
        (b"\1\0\2\0" + b"\0\0", "pins inside the chunk"),
        (b"\1\x08\0\0" + b"\0\0", "pins inside the chunk"),
        (b"\1\4\1\0" + b"\0\0", "pins inside the chunk"),
        (b"\1\0\1\0" + b"\0", "pins to the end"),
    ],
)
def test_pins_by_hand(pins: bytes, expected: list[list[int]] | str) -> None:
    chunk = np.zeros((2, 2, 2), np.uint8)
    if isinstance(expected, str):
        with pytest.raises(FormatFault, match=expected):
            decode(hand_made_pins(pins), chunk)
    else:
        found = decode(hand_made_pins(pins), chunk)
        assert (found[:, 0] == found[:, 1]).all()
        assert found[:, 0].tolist() == expected


def test_damage_in_one_slice_is_damage_in_no_other() -> None:
    """Only the slices that are asked for are decoded."""
    ends = np.cumsum(SIZES)
    damaged = replace(PARTS, codes=changed(PARTS.codes, int(ends[0]) - 1, 0x55)).version_1()
    found, faults = crackle.decode_slices(damaged, VOXELS.shape, np.arange(Z), VOXELS.dtype)
    assert list(faults) == [0]
    assert "z=0" in faults[0].what
    np.testing.assert_array_equal(found[..., 1:], VOXELS[..., 1:])
    out = np.zeros((X, Y, Z - 1), VOXELS.dtype, order="F")
    upper = VOXELS.shape
    flat = out.reshape(-1, order="F")
    crackle.decode_box(damaged, upper, (0, 0, 1), upper, flat, 0, (1, X, X * Y))
    np.testing.assert_array_equal(out, VOXELS[..., 1:])


def test_memory_is_bounded_by_the_shape() -> None:
    fields = PARTS.fields[:2] + b"\xff" * 12 + PARTS.fields[14:]
    huge = (2**63).to_bytes(8, "little")
    streams = [
        replace(PARTS, fields=fields).version_0(),
        b"crkl\x01" + (f := PARTS.fields + huge) + bytes([crc8(f)]) + FLAT[29:],
        replace(PARTS, labels=huge + PARTS.labels[8:]).version_1(),
        replace(PIN_PARTS, labels=PIN_PARTS.labels[:1] + b"\xff" * 7 + b"\0").version_0(),
    ]
    decode(FLAT, VOXELS)
    tracemalloc.start()
    try:
        for stream in streams:
            with pytest.raises(FormatFault):
                decode(stream, VOXELS)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


def test_a_few_mutated_streams() -> None:
    outcomes = crackle_damage.run(1500, 0)
    assert outcomes["decoded"] < 400
    assert len(outcomes) > 12


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_many_mutated_streams(seed: int, tmp_path: Path) -> None:
    check_damage_in_a_process(crackle_damage.__file__, seed, tmp_path)


@settings(deadline=None)
@given(st.sampled_from([b"", FLAT[:5], FLAT[:29], PARTS.version_0()[:24]]), st.binary(max_size=300))
def test_any_bytes_give_voxels_or_a_fault(start: bytes, rest: bytes) -> None:
    try:
        decode(start + rest, VOXELS)
    except FormatFault as fault:
        assert fault.expected
        assert fault.found
