"""PNG images, built by hand; those of other writers are in test_codecs."""

from __future__ import annotations

import sys
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from png_builder import SIGNATURE, chunk, filtered, header, png_of

from shardreader.errors import FormatFault
from shardreader.png import decode_png, read_png_header

IEND = chunk(b"IEND", b"")
PIXELS = np.random.default_rng(0).integers(0, 256, (6, 5, 3)).astype(np.uint8)
DATA = zlib.compress(filtered(PIXELS, (4,)))
GOOD = png_of(PIXELS)


def image(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks)


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 4)),
    st.sampled_from([np.uint8, np.uint16]),
    st.lists(st.integers(0, 4), min_size=1, max_size=9),
    st.integers(1, 3),
    st.integers(0, 2**32),
)
def test_any_filters_of_any_pixels(
    shape: tuple[int, int, int], dtype: type, filters: list[int], pieces: int, seed: int
) -> None:
    top = np.iinfo(dtype).max
    pixels = np.random.default_rng(seed).integers(0, top, shape, dtype=dtype, endpoint=True)
    found = decode_png(png_of(pixels, filters, pieces))
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, pixels)


def test_the_header() -> None:
    assert read_png_header(GOOD) == (5, 6, 8, 3)
    assert read_png_header(png_of(PIXELS[..., :2].astype(np.uint16))) == (5, 6, 16, 2)


def test_chunks_that_can_be_left_out_are() -> None:
    note = chunk(b"tEXt", b"Title\0x")
    palette = chunk(b"PLTE", bytes(6))
    idat = chunk(b"IDAT", DATA)
    head = header(5, 6, 8, 2)
    found = decode_png(image(head, note, palette, idat, note, IEND))
    np.testing.assert_array_equal(found, PIXELS)


@pytest.mark.parametrize("length", range(len(GOOD)))
def test_every_cut_is_a_fault(length: int) -> None:
    with pytest.raises(FormatFault):
        decode_png(GOOD[:length])


HEAD = header(5, 6, 8, 2)
IDAT = chunk(b"IDAT", DATA)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "signature"),
        (b"GIF89a" * 9, "signature"),
        (image(IDAT, HEAD, IEND), "signature"),
        (image(header(5, 6, 4, 0), IDAT, IEND), "form"),
        (image(header(5, 6, 8, 3), IDAT, IEND), "form"),
        (image(header(5, 6, 8, 2, b"\0\0\1"), IDAT, IEND), "interlacing"),
        (image(header(5, 6, 8, 2, b"\1\0\0"), IDAT, IEND), "form"),
        (image(HEAD, IEND), "cut after 0"),
        (image(HEAD, IDAT), "its end"),
        (image(HEAD, IDAT, IEND, b"x"), "after the png"),
        (image(HEAD, chunk(b"fdAT", DATA), IEND), "cut"),
        (image(HEAD, chunk(b"CRIT", b""), IDAT, IEND), "CRIT"),
        (image(HEAD, IDAT[:-1] + b"x", IEND), "checksum"),
        (image(HEAD, chunk(b"IDAT", DATA[:-4] + b"junk"), IEND), "says zlib"),
        (image(HEAD, chunk(b"IDAT", DATA[:-4]), IEND), "whole stream"),
        (image(HEAD, chunk(b"IDAT", DATA + b"x"), IEND), "whole stream"),
        (image(HEAD, chunk(b"IDAT", zlib.compress(bytes(95))), IEND), "found 95"),
        (image(HEAD, chunk(b"IDAT", zlib.compress(bytes(1 << 20))), IEND), "found 97"),
        (image(HEAD, chunk(b"IDAT", zlib.compress(bytes(80) + b"\5" + bytes(15))), IEND), "row 5"),
        (image(header(0, 6, 8, 2), IDAT, IEND), "0 x 6"),
        (image(header(5, 0, 8, 2), chunk(b"IDAT", zlib.compress(b"")), IEND), "5 x 0"),
    ],
)
def test_what_is_no_image_of_ours(encoded: bytes, message: str) -> None:
    with pytest.raises(FormatFault, match=message):
        decode_png(encoded)


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_damage_is_a_fault_or_harmless(data: st.DataObject) -> None:
    damaged = bytearray(GOOD)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = decode_png(bytes(damaged))
    except FormatFault:
        return
    np.testing.assert_array_equal(found, PIXELS)


def test_faults_cost_no_references() -> None:
    before = sys.getrefcount(None)
    for at in range(len(GOOD)):
        with pytest.raises(FormatFault):
            decode_png(GOOD[:at])
    assert abs(sys.getrefcount(None) - before) < len(GOOD) // 2
