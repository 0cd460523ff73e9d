"""PNG chunks: what Pillow is not asked, what it must not be trusted with, and damage."""

from __future__ import annotations

import contextlib
import io
import random
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from shardreader.decoding.whole_chunk_codecs import CODECS, require
from shardreader.errors import FormatFault, InfoError

SHAPE = (5, 3, 2, 3)
VOXELS = np.asfortranarray(np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8))
SIGNATURE = b"\x89PNG\r\n\x1a\n"


def chunk(name: bytes, data: bytes) -> bytes:
    checksum = zlib.crc32(name + data).to_bytes(4, "big")
    return len(data).to_bytes(4, "big") + name + data + checksum


def header(width: int, height: int, bits: int = 8, color: int = 2, interlaced: int = 0) -> bytes:
    sizes = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return chunk(b"IHDR", sizes + bytes([bits, color, 0, 0, interlaced]))


def image(*chunks: bytes) -> bytes:
    return SIGNATURE + b"".join(chunks)


def written_by_pillow(pixels: np.ndarray, **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png", **options)
    return file.getvalue()


PIXELS = VOXELS.reshape(-1, 3, order="F").reshape(6, 5, 3)
ROWS = b"".join(b"\0" + row.tobytes() for row in PIXELS)
DATA = zlib.compress(ROWS)
HEAD, IDAT, IEND = header(5, 6), chunk(b"IDAT", DATA), chunk(b"IEND", b"")
GOOD = image(HEAD, IDAT, IEND)


def decode(encoded: bytes) -> np.ndarray:
    return CODECS["png"].decode(encoded, SHAPE, np.dtype("u1"))


def harmless(encoded: bytes) -> bool:
    """Say whether an image gives the true voxels; else it has to be a fault."""
    try:
        found = decode(encoded)
    except FormatFault as fault:
        assert fault.what
        assert fault.expected
        assert fault.found
        return False
    np.testing.assert_array_equal(found, VOXELS)
    return True


@pytest.mark.parametrize("shape", [(5, 6, 2), (1, 1, 1), (7, 1, 3)])
@pytest.mark.parametrize(
    ("channels", "dtype"), [(1, "u1"), (2, "u1"), (3, "u1"), (4, "u1"), (1, "<u2")]
)
def test_every_form_that_pillow_writes(
    shape: tuple[int, int, int], channels: int, dtype: str
) -> None:
    top = np.iinfo(dtype).max
    voxels = np.random.default_rng(1).integers(
        0, top, (*shape, channels), dtype=dtype, endpoint=True
    )
    pixels = voxels.reshape(-1, channels, order="F").reshape(shape[1] * shape[2], -1, channels)
    encoded = written_by_pillow(pixels[..., 0] if channels == 1 else pixels)
    found = CODECS["png"].decode(encoded, voxels.shape, np.dtype(dtype))
    np.testing.assert_array_equal(found, voxels)
    assert found.dtype == np.dtype(dtype)
    assert found.flags.f_contiguous


@pytest.mark.parametrize("channels", [2, 3, 4])
def test_colors_of_16_bits_are_refused_when_a_volume_is_opened(channels: int) -> None:
    expected = rf"uint16 of 1 channels, found uint16 of {channels} \(Pillow.*16-bit colors to 8"
    with pytest.raises(InfoError, match=expected):
        require("png", "uint16", channels, "vol/info")


@pytest.mark.parametrize(("color", "step"), [(2, 6), (6, 8), (4, 4)])
def test_an_image_of_16_bit_colors_is_not_cut_to_8(color: int, step: int) -> None:
    rows = b"".join(b"\0" + bytes(range(5 * step)) for _ in range(6))
    encoded = image(header(5, 6, 16, color), chunk(b"IDAT", zlib.compress(rows)), IEND)
    channels = step // 2
    with pytest.raises(FormatFault, match=r"expected 8 bits.*found 16 bits"):
        CODECS["png"].decode(encoded, (5, 3, 2, channels), np.dtype("u1"))


@pytest.mark.parametrize("bits", [1, 2, 4])
def test_gray_of_fewer_bits_is_not_stretched_to_8(bits: int) -> None:
    rows = (b"\0" + b"\x1b" * 8) * 6
    encoded = image(header(5, 6, bits, 0), chunk(b"IDAT", zlib.compress(rows)), IEND)
    with pytest.raises(FormatFault, match=f"found {bits} bits"):
        CODECS["png"].decode(encoded, (5, 3, 2, 1), np.dtype("u1"))


def test_a_palette_is_refused() -> None:
    palette = chunk(b"PLTE", bytes(768))
    rows = zlib.compress((b"\0" + bytes(5)) * 6)
    encoded = image(header(5, 6, 8, 3), palette, chunk(b"IDAT", rows), IEND)
    with pytest.raises(FormatFault, match="mode P"):
        CODECS["png"].decode(encoded, (5, 3, 2, 1), np.dtype("u1"))


def test_the_good_image_is_read() -> None:
    assert harmless(GOOD)


def test_interlacing_is_read() -> None:
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2)]
    rows = b""
    for x, y, dx, dy in [*passes, (0, 1, 1, 2)]:
        part = PIXELS[y::dy, x::dx]
        rows += b"".join(b"\0" + row.tobytes() for row in part if row.size)
    assert harmless(image(header(5, 6, interlaced=1), chunk(b"IDAT", zlib.compress(rows)), IEND))


def test_the_data_may_be_in_pieces_and_among_notes() -> None:
    pieces = [chunk(b"IDAT", DATA[at : at + 7]) for at in range(0, len(DATA), 7)]
    note = chunk(b"tEXt", b"Title\0x")
    colors = chunk(b"PLTE", bytes(6)) + chunk(b"tRNS", bytes(6)) + chunk(b"gAMA", bytes(4))
    assert harmless(image(HEAD, note, colors, chunk(b"IDAT", b""), *pieces, note, IEND))


def test_what_pillow_would_warn_of_or_inflate_it_does_not_see() -> None:
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(1 << 22)))
    animation = chunk(b"acTL", bytes(8)) + chunk(b"fcTL", bytes(26))
    junk = chunk(b"iCCP", b"\xff" * 40) + chunk(b"cHRM", b"abc") + chunk(b"pHYs", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert harmless(image(HEAD, bomb, animation, junk, IDAT, bomb, animation, junk, IEND))


def test_a_large_image_is_no_bomb_if_the_chunk_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert harmless(GOOD)


@pytest.mark.parametrize(
    ("encoded", "message"),
    [
        (b"", "signature"),
        (b"GIF89a" * 9, "signature"),
        (SIGNATURE, "its end"),
        (image(IEND), "one header"),
        (image(IDAT, HEAD, IEND), "one header"),
        (image(HEAD, HEAD, IDAT, IEND), "one header"),
        (image(chunk(b"IHDR", b"short"), IDAT, IEND), "one header"),
        (image(header(5, 6, 8, 7), IDAT, IEND), "says Pillow"),
        (image(header(0, 6), IDAT, IEND), "says Pillow"),
        (image(header(5, 5), IDAT, IEND), "found 5 x 5 pixels"),
        (image(header(1 << 30, 1 << 30), IDAT, IEND), "30 pixels"),
        (image(HEAD, IEND), "says Pillow"),
        (image(HEAD, IDAT), "its end"),
        (image(HEAD, IDAT, IEND, b"x"), "after the png"),
        (image(HEAD, IDAT[:-1] + b"x", IEND), "checksum of the b'IDAT'"),
        (image(HEAD, IDAT, IEND[:-1] + b"x"), "checksum of the b'IEND'"),
        (image(HEAD[:-1] + b"x", IDAT, IEND), "checksum of the b'IHDR'"),
        (image(HEAD, chunk(b"IDAT", DATA[:-30]), IEND), "says Pillow"),
        (image(HEAD, chunk(b"IDAT", b"junk"), IEND), "says Pillow"),
        (image(HEAD, chunk(b"IDAT", zlib.compress(ROWS[:-1])), IEND), "says Pillow"),
        (image(HEAD, chunk(b"IDAT", zlib.compress(b"\7" + ROWS[1:])), IEND), "says Pillow"),
    ],
)
def test_what_breaks_the_format(encoded: bytes, message: str) -> None:
    with pytest.raises(FormatFault, match=message):
        decode(encoded)


@pytest.mark.parametrize("make_up", [False, True])
def test_every_cut_is_a_fault(monkeypatch: pytest.MonkeyPatch, make_up: bool) -> None:
    """Also where a program has told Pillow to make up the rest of cut images."""
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", make_up)
    assert not any(harmless(GOOD[:length]) for length in range(len(GOOD)))


def test_every_flipped_bit_is_a_fault() -> None:
    for at in range(8 * len(GOOD)):
        damaged = bytearray(GOOD)
        damaged[at // 8] ^= 1 << at % 8
        assert not harmless(bytes(damaged)), f"bit {at}"


def test_thousands_of_damaged_images() -> None:
    rng = random.Random(0)
    for _ in range(3000):
        damaged = bytearray(GOOD)
        for _ in range(rng.randrange(1, 6)):
            at = rng.randrange(len(damaged))
            kind = rng.randrange(3)
            if kind == 0:
                damaged[at] = rng.randrange(256)
            elif kind == 1:
                del damaged[at : at + rng.randrange(1, 30)]
            else:
                damaged[at:at] = rng.randbytes(rng.randrange(1, 30))
        harmless(bytes(damaged))


def with_sound_checksums(names: list[bytes], contents: list[bytes]) -> bytes:
    return image(*(chunk(name, data) for name, data in zip(names, contents, strict=True)), IEND)


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_any_content_with_sound_checksums_gives_an_array_or_a_fault(data: st.DataObject) -> None:
    head = bytearray(HEAD[8:21])
    for at in data.draw(st.sets(st.integers(8, 12), max_size=2)):
        head[at] = data.draw(st.integers(0, 17))
    body = bytearray(DATA)
    for _ in range(data.draw(st.integers(0, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    rest = data.draw(
        st.lists(
            st.tuples(
                st.sampled_from([b"tRNS", b"PLTE", b"eXIf", b"iTXt", b"acTL", b"fdAT", b"XXXX"]),
                st.binary(max_size=40),
            ),
            max_size=3,
        )
    )
    names = [b"IHDR", *(name for name, _ in rest), b"IDAT"]
    encoded = with_sound_checksums(names, [bytes(head), *(d for _, d in rest), bytes(body)])
    with contextlib.suppress(FormatFault):
        assert decode(encoded).shape == SHAPE
