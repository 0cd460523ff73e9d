"""Whole-chunk encodings: what foreign writers store, and what damaged bytes give."""

from __future__ import annotations

import io
import random
import subprocess
import sys
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from shardreader.decoding import whole_chunk_codecs as codecs
from shardreader.decoding.whole_chunk_codecs import CODECS, require
from shardreader.errors import FormatFault, InfoError

DATA_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
SHAPES = [(5, 4, 3), (1, 1, 1), (1, 7, 5), (64, 64, 2), (3, 1, 1)]
IMAGE_FORMS = [
    (encoding, data_type, channels)
    for encoding, codec in CODECS.items()
    if encoding in ("jpeg", "png")
    for data_type, counts in codec.forms.items()
    for channels in counts or ()
]


def numbers(shape: tuple[int, ...], data_type: str) -> np.ndarray:
    """Give noise over the whole range of a type."""
    bytes_ = np.random.default_rng(0).integers(0, 256, (*shape, 8), dtype=np.uint8)
    values = np.ascontiguousarray(bytes_).view("<u8")[..., 0]
    if data_type == "float32":
        return (values >> np.uint64(40)).astype("<f4")
    return np.asfortranarray(values.astype(np.dtype(data_type).newbyteorder("<")))


def written_by_tensorstore(
    path: Path, encoding: str, voxels: np.ndarray
) -> tuple[bytes, np.ndarray]:
    """Give the one chunk of a volume as tensorstore stores it and as it reads it back."""
    x, y, z, channels = voxels.shape
    store = tensorstore.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{path}/"},
            "multiscale_metadata": {
                "type": "image",
                "data_type": voxels.dtype.name,
                "num_channels": channels,
            },
            "scale_metadata": {
                "size": [x, y, z],
                "chunk_size": [x, y, z],
                "encoding": encoding,
                "resolution": [1, 1, 1],
                "voxel_offset": [0, 0, 0],
                "key": "k",
            },
        },
        create=True,
    ).result()
    store[...] = voxels
    (chunk,) = (path / "k").iterdir()
    return chunk.read_bytes(), store.read().result()


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("data_type", DATA_TYPES)
def test_raw_by_tensorstore(
    tmp_path: Path, data_type: str, channels: int, size: tuple[int, int, int]
) -> None:
    voxels = numbers((*size, channels), data_type)
    encoded, _ = written_by_tensorstore(tmp_path, "raw", voxels)
    found = CODECS["raw"].decode(encoded, voxels.shape, voxels.dtype)
    np.testing.assert_array_equal(found, voxels)
    assert found.dtype == voxels.dtype
    assert found.flags.f_contiguous
    assert len(encoded) == CODECS["raw"].most_encoded_bytes(voxels.shape, voxels.dtype)


def test_raw_is_not_copied() -> None:
    encoded = bytes(range(24))
    found = CODECS["raw"].decode(encoded, (2, 3, 2, 1), np.dtype("<u2"))
    assert np.shares_memory(found, np.frombuffer(encoded, np.uint8))


@pytest.mark.parametrize("length", [0, 1, 23, 25, 48])
def test_raw_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(FormatFault, match=f"expected 24 bytes, found {length}"):
        CODECS["raw"].decode(bytes(length), (2, 3, 2, 1), np.dtype("<u2"))


@pytest.mark.parametrize("size", SHAPES)
@pytest.mark.parametrize(("encoding", "data_type", "channels"), IMAGE_FORMS)
def test_images_by_tensorstore(
    tmp_path: Path, encoding: str, data_type: str, channels: int, size: tuple[int, int, int]
) -> None:
    voxels = numbers((*size, channels), data_type)
    encoded, theirs = written_by_tensorstore(tmp_path, encoding, voxels)
    codec = require(encoding, data_type, channels, "info")
    found = codec.decode(encoded, voxels.shape, voxels.dtype)
    np.testing.assert_array_equal(found, theirs)
    assert found.dtype == voxels.dtype
    assert found.flags.f_contiguous
    assert len(encoded) <= codec.most_encoded_bytes(voxels.shape, voxels.dtype)
    if encoding == "png":
        np.testing.assert_array_equal(found, voxels)


def jpeg_of(width: int, height: int, *, gray: bool = True) -> bytes:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 1 if gray else 3))
    colors = "GRAY" if gray else "RGB"
    return simplejpeg.encode_jpeg(pixels.astype(np.uint8), quality=95, colorspace=colors)


def png_of(width: int, height: int, channels: int = 1, dtype: str = "uint8") -> bytes:
    shape = (height, width) if channels == 1 else (height, width, channels)
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(dtype)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "png")
    return file.getvalue()


@pytest.mark.parametrize("size", [(24, 1), (1, 24), (4, 6), (2, 12), (8, 3)])
def test_an_image_may_be_folded_in_any_way(size: tuple[int, int]) -> None:
    for encoding, encoded in (("jpeg", jpeg_of(*size)), ("png", png_of(*size))):
        assert CODECS[encoding].decode(encoded, (2, 3, 4, 1), np.dtype("u1")).shape == (2, 3, 4, 1)


@pytest.mark.parametrize("size", [(24, 2), (5, 5), (1, 23)])
def test_an_image_of_another_size_is_refused(size: tuple[int, int]) -> None:
    for encoding, encoded in (("jpeg", jpeg_of(*size)), ("png", png_of(*size))):
        with pytest.raises(FormatFault, match=f"24 pixels.*found {size[0]} x {size[1]}"):
            CODECS[encoding].decode(encoded, (2, 3, 4, 1), np.dtype("u1"))


@pytest.mark.parametrize(
    ("encoding", "encoded", "channels", "data_type"),
    [
        ("jpeg", jpeg_of(4, 6, gray=False), 1, "uint8"),
        ("jpeg", jpeg_of(4, 6), 3, "uint8"),
        ("jpeg", png_of(4, 6), 1, "uint8"),
        ("png", jpeg_of(4, 6), 1, "uint8"),
        ("png", png_of(4, 6, 3), 1, "uint8"),
        ("png", png_of(4, 6, 3), 4, "uint8"),
        ("png", png_of(4, 6), 1, "uint16"),
        ("png", png_of(4, 6, 1, "uint16"), 1, "uint8"),
    ],
)
def test_an_image_of_another_kind_is_refused(
    encoding: str, encoded: bytes, channels: int, data_type: str
) -> None:
    with pytest.raises(FormatFault):
        CODECS[encoding].decode(encoded, (2, 3, 4, channels), np.dtype(data_type))


PNG_FORMS = [(1, "uint8"), (2, "uint8"), (3, "uint8"), (4, "uint8"), (1, "uint16")]
IMAGES = {
    "jpeg": [jpeg_of(24, 40), jpeg_of(24, 40, gray=False)],
    "png": [png_of(24, 40, c, t) for c, t in PNG_FORMS],
}
IMAGE_SHAPES = {
    "jpeg": [((24, 10, 4, c), "uint8") for c in (1, 3)],
    "png": [((24, 10, 4, c), t) for c, t in PNG_FORMS],
}
CASES = [
    (name, encoded, *form)
    for name in IMAGES
    for encoded, form in zip(IMAGES[name], IMAGE_SHAPES[name], strict=True)
]


@pytest.mark.parametrize(("encoding", "encoded", "shape", "data_type"), CASES)
def test_what_inflate_returns_may_be_a_bytearray(
    encoding: str, encoded: bytes, shape: tuple[int, int, int, int], data_type: str
) -> None:
    decode, dtype = CODECS[encoding].decode, np.dtype(data_type)
    np.testing.assert_array_equal(
        decode(bytearray(encoded), shape, dtype), decode(encoded, shape, dtype)
    )


@pytest.mark.parametrize(("encoding", "encoded", "shape", "data_type"), CASES)
def test_a_cut_image_is_a_fault(
    encoding: str, encoded: bytes, shape: tuple[int, int, int, int], data_type: str
) -> None:
    assert CODECS[encoding].decode(encoded, shape, np.dtype(data_type)).shape == shape
    # The last bytes only say that the image ends here.
    for length in range(0, len(encoded) - 12, 7):
        with pytest.raises(FormatFault):
            CODECS[encoding].decode(encoded[:length], shape, np.dtype(data_type))


@pytest.mark.parametrize(("encoding", "encoded", "shape", "data_type"), CASES)
def test_damage_is_a_fault_or_an_image_of_the_shape(
    encoding: str, encoded: bytes, shape: tuple[int, int, int, int], data_type: str
) -> None:
    rng = random.Random(0)
    dtype = np.dtype(data_type)
    whole = CODECS[encoding].decode(encoded, shape, dtype)
    for _ in range(150):
        damaged = bytearray(encoded)
        for _ in range(rng.randrange(1, 5)):
            within = rng.choice([min(64, len(encoded)), len(encoded)])
            damaged[rng.randrange(within)] = rng.randrange(256)
        try:
            found = CODECS[encoding].decode(bytes(damaged), shape, dtype)
        except FormatFault:
            continue
        assert found.shape == shape
        # png has checksums; in a jpeg, a changed bit may well be another picture.
        assert encoding == "jpeg" or (found == whole).all()


@settings(deadline=None)
@given(
    st.sampled_from(sorted(CODECS)),
    st.sampled_from([b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"]),
    st.binary(max_size=200),
)
def test_any_bytes_give_an_array_or_a_fault(encoding: str, start: bytes, rest: bytes) -> None:
    try:
        found = CODECS[encoding].decode(start + rest, (4, 3, 2, 1), np.dtype("u1"))
    except FormatFault as fault:
        assert fault.expected
        assert fault.found
    else:
        assert found.shape == (4, 3, 2, 1)


def test_a_huge_image_is_refused_by_its_header() -> None:
    png = png_of(4, 6)
    jpeg = jpeg_of(4, 6)
    sizes_at = jpeg.index(b"\xff\xc0") + 5
    tracemalloc.start()
    try:
        with pytest.raises(FormatFault, match="24 pixels"):
            big = jpeg[:sizes_at] + b"\xf0\0\xf0\0" + jpeg[sizes_at + 4 :]
            CODECS["jpeg"].decode(big, (2, 3, 4, 1), np.dtype("u1"))
        with pytest.raises(FormatFault, match="24 pixels"):
            fields = b"IHDR" + (9**5).to_bytes(4, "big") * 2 + png[24:29]
            big = png[:12] + fields + zlib.crc32(fields).to_bytes(4, "big") + png[33:]
            CODECS["png"].decode(big, (2, 3, 4, 1), np.dtype("u1"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20


@pytest.mark.parametrize("encoding", ["jxl", "fpzip", "zfpc"])
def test_an_encoding_without_a_codec_is_refused_by_name(encoding: str) -> None:
    with pytest.raises(
        InfoError, match=f"vol/info: .*'{encoding}' is not supported.*raw, jpeg, png"
    ):
        require(encoding, "uint8", 1, "vol/info")


@pytest.mark.parametrize(
    ("encoding", "data_type", "channels", "expected"),
    [
        ("jpeg", "uint16", 1, "uint8 of 1 or 3 channels, found uint16 of 1"),
        ("jpeg", "uint8", 2, "uint8 of 1 or 3 channels, found uint8 of 2"),
        ("png", "uint32", 1, "uint16 of 1 channels, found uint32 of 1"),
        ("png", "uint8", 5, "found uint8 of 5"),
        ("raw", "complex64", 1, "float32 of any number of channels, found complex64"),
    ],
)
def test_a_form_that_an_encoding_does_not_have_is_refused(
    encoding: str, data_type: str, channels: int, expected: str
) -> None:
    with pytest.raises(InfoError, match=expected):
        require(encoding, data_type, channels, "vol/info")


def test_the_error_without_an_extra_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs.importlib.util, "find_spec", lambda _: None)
    for name in ("jpeg", "png"):
        with pytest.raises(InfoError, match=rf"pip install 'shardreader\[{name}\]'"):
            require(name, "uint8", 1, "vol/info")
    assert require("raw", "uint8", 1, "vol/info").extra is None


def test_the_extras_are_those_of_the_package() -> None:
    project = (Path(__file__).parents[2] / "pyproject.toml").read_text()
    packages = {"simplejpeg": "simplejpeg", "PIL": "pillow"}
    for codec in CODECS.values():
        if codec.module is not None:
            assert f'\n{codec.extra} = ["{packages[codec.module]}' in project


def test_importing_the_registry_loads_no_codec() -> None:
    code = (
        "import sys, shardreader.decoding.whole_chunk_codecs; "
        "sys.exit(any(m in sys.modules for m in ('simplejpeg', 'PIL', 'numba')))"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
