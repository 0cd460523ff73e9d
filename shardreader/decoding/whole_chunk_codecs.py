"""The encodings that are decoded a whole chunk at a time, one row each.

Specification: volume.md, "Chunk encoding". compressed_segmentation has kernels of its own
(`shardreader.decoding.cseg`), because it can be decoded in blocks; what is here cannot, though
of compresso and crackle single slices along z can.
"""

from __future__ import annotations

import importlib.util
import io
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding import compresso, crackle
from shardreader.decoding.slice_decoder import SliceCodec
from shardreader.errors import FormatFault, InfoError

__all__ = ["CODECS", "Codec", "require"]

Shape: TypeAlias = tuple[int, int, int, int]
"""Voxels along x, y, z, and channels."""

_ANY_CHANNELS = None
# Room for what an image file may hold beside its pixels.
_IMAGE_SLACK_BYTES = 1 << 20
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CHUNK_OVERHEAD = 12  # length, name, checksum
# All that the pixels of an image without a palette need.
_PNG_CHUNKS = (b"IHDR", b"IDAT", b"IEND")
# What Pillow calls the forms that it reads as they are, by bits and channels.
_PNG_MODES = {(8, 1): "L", (8, 2): "LA", (8, 3): "RGB", (8, 4): "RGBA", (16, 1): "I;16"}


@dataclass(frozen=True)
class Codec:
    """One encoding.

    Parameters
    ----------
    decode : callable
        From encoded bytes, a shape (x, y, z, channels) and a data type to an array of them in
        Fortran order, perhaps read-only. It raises FormatFault, and nothing else, for bytes that
        break the format, and takes no more memory than the shape needs.
    most_encoded_bytes : callable
        From a shape and a data type to an upper limit of the encoded length.
    forms : mapping
        Data types to the numbers of channels that go with them; None for any number.
    module, extra : str or None
        The module that it needs, and the extra of this package that brings it.
    limit : str or None
        Why `forms` lacks some that the encoding has.
    slices : SliceCodec or None
        What decodes single slices, where the encoding allows that.
    """

    decode: Callable[[bytes, Shape, np.dtype[Any]], NDArray[Any]]
    most_encoded_bytes: Callable[[Shape, np.dtype[Any]], int]
    forms: Mapping[str, tuple[int, ...] | None]
    module: str | None = None
    extra: str | None = None
    limit: str | None = None
    slices: SliceCodec | None = None


def require(encoding: str, data_type: str, num_channels: int, where: str) -> Codec:
    """The codec of a volume that is being opened.

    Parameters
    ----------
    encoding, data_type, num_channels
        As in the info.
    where : str
        Path of the info, for messages.

    Raises
    ------
    InfoError
        The encoding is not known here or does not have this form, or the extra that decodes it is
        not installed; the message names it.

    Examples
    --------
    >>> require("raw", "uint8", 1, "vol/info").extra is None
    True
    """
    codec = CODECS.get(encoding)
    if codec is None:
        known = ", ".join(["compressed_segmentation", *CODECS])
        raise InfoError(
            f"{where}: encoding {encoding!r} is not supported by this version; it reads {known}"
        )
    channels = codec.forms.get(data_type, ())
    if channels is not None and num_channels not in channels:
        allowed = "; ".join(
            f"{name} of {' or '.join(map(str, counts or ('any number of',)))} channels"
            for name, counts in codec.forms.items()
        )
        raise InfoError(
            f"{where}: encoding {encoding!r}: expected {allowed}, "
            f"found {data_type} of {num_channels}{f' ({codec.limit})' if codec.limit else ''}"
        )
    if codec.module is not None and importlib.util.find_spec(codec.module) is None:
        raise InfoError(
            f"{where}: encoding {encoding!r} needs the module {codec.module}; "
            f"install it: pip install 'shardreader[{codec.extra}]'"
        )
    return codec


def _decode_raw(encoded: bytes, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
    expected = prod(shape) * dtype.itemsize
    if len(encoded) != expected:
        raise FormatFault(
            "length of the encoding", expected=f"{expected} bytes", found=f"{len(encoded)}"
        )
    return np.frombuffer(encoded, dtype=dtype.newbyteorder("<")).reshape(shape, order="F")


def _most_raw(shape: Shape, dtype: np.dtype[Any]) -> int:
    return prod(shape) * dtype.itemsize


def _decode_jpeg(encoded: bytes, shape: Shape, _: np.dtype[Any]) -> NDArray[Any]:
    import simplejpeg

    gray = shape[3] == 1
    try:
        height, width, colors, _ = simplejpeg.decode_jpeg_header(encoded)
        _check_pixels(width, height, shape)
        if (colors == "Gray") != gray or colors in ("CMYK", "YCCK"):
            raise FormatFault(
                "colors of the jpeg", expected="gray" if gray else "YCbCr or RGB", found=colors
            )
        # Strict: else a cut image would be filled up with gray.
        pixels = simplejpeg.decode_jpeg(encoded, "GRAY" if gray else "RGB", strict=True)
    except FormatFault:
        raise
    except ValueError as error:
        raise FormatFault(
            "jpeg image", expected="a valid one", found=f"{error} (says libjpeg)"
        ) from None
    return _voxels_of_pixels(pixels, shape)


def _most_jpeg(shape: Shape, _: np.dtype[Any]) -> int:
    # What libjpeg reckons with is 6 bytes a pixel. The width is free: in an image one pixel wide,
    # each block holds only one of eight columns, but those that are made up cost next to nothing.
    return 8 * prod(shape) + _IMAGE_SLACK_BYTES


def _decode_png(encoded: bytes, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
    from PIL.PngImagePlugin import PngImageFile

    chunks = _png_chunks(encoded)
    bits, channels = 8 * dtype.itemsize, shape[3]
    try:
        # Not `Image.open`: it limits the pixels by a constant, here the shape limits them.
        image = PngImageFile(io.BytesIO(b"".join(chunks)))
        _check_pixels(*image.size, shape)
        found_bits = chunks[1][16]
        if (found_bits, image.mode) != (bits, _PNG_MODES[bits, channels]):
            raise FormatFault(
                "pixels of the png",
                expected=f"{bits} bits, mode {_PNG_MODES[bits, channels]}",
                found=f"{found_bits} bits, mode {image.mode}",
            )
        image.load()
    except FormatFault:
        raise
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise FormatFault(
            "png image", expected="a valid one", found=f"{error} (says Pillow)"
        ) from None
    return _voxels_of_pixels(np.asarray(image), shape)


def _png_chunks(encoded: bytes) -> list[bytes]:
    """The parts of an image that hold its pixels, with all checksums held.

    Pillow does not look at the checksums of pixels, nor for the end of the image if it has all
    pixels (and may be told to make up those of a cut one). What else an image holds, such as text
    to inflate or an animation, it does not get to see.
    """
    parts = [bytes(encoded[: len(_PNG_SIGNATURE)])]
    if parts[0] != _PNG_SIGNATURE:
        found = parts[0].hex(" ") or "nothing"
        raise FormatFault(
            "png image", expected=f"its signature {_PNG_SIGNATURE.hex(' ')}", found=found
        )
    position = len(_PNG_SIGNATURE)
    name = b""
    while name != b"IEND":
        length = int.from_bytes(encoded[position : position + 4], "big")
        end = position + _PNG_CHUNK_OVERHEAD + length
        if end > len(encoded):
            raise FormatFault("png image", expected="its end", found=f"{len(encoded)} bytes")
        chunk = bytes(encoded[position:end])
        name = chunk[4:8]
        if zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big"):
            raise FormatFault(
                f"checksum of the {name!r} chunk of the png image",
                expected="that of its bytes",
                found="another",
            )
        if (name == b"IHDR") != (len(parts) == 1) or (name == b"IHDR" and length != 13):
            expected = "one header of 13 bytes, before anything else"
            raise FormatFault("png image", expected=expected, found=f"{name!r} of {length} bytes")
        if name in _PNG_CHUNKS:
            parts.append(chunk)
        position = end
    if position != len(encoded):
        found = f"{len(encoded) - position} bytes"
        raise FormatFault("bytes after the png image", expected="none", found=found)
    return parts


def _most_png(shape: Shape, dtype: np.dtype[Any]) -> int:
    # Each row has a byte more, and there may be as many rows as pixels; deflate adds little.
    rows = prod(shape[:3])
    filtered = rows + prod(shape) * dtype.itemsize
    return filtered + filtered // 8 + _IMAGE_SLACK_BYTES


def _check_pixels(width: int, height: int, shape: Shape) -> None:
    """Only the product counts: writers fold three dimensions into two in their own ways."""
    voxels = prod(shape[:3])
    if width * height != voxels:
        x, y, z = shape[:3]
        raise FormatFault(
            "size of the image",
            expected=f"{voxels} pixels, for {x} x {y} x {z} voxels",
            found=f"{width} x {height} pixels",
        )


def _voxels_of_pixels(pixels: NDArray[Any], shape: Shape) -> NDArray[Any]:
    """Row after row the pixels are the voxels, x fastest; a pixel has all channels of a voxel."""
    if pixels.size != prod(shape):
        raise FormatFault("decoded image", expected=f"{prod(shape)} values", found=f"{pixels.size}")
    return np.asfortranarray(pixels.reshape(-1, shape[3])).reshape(shape, order="F")


_COMPRESSO = SliceCodec(compresso.decode_box, compresso.decode_slices, compresso.labels_of_slices)
_CRACKLE = SliceCodec(crackle.decode_box, crackle.decode_slices, crackle.labels_of_slices)
_LABEL_TYPES = ("uint8", "uint16", "uint32", "uint64")
_DATA_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
CODECS: dict[str, Codec] = {
    "raw": Codec(_decode_raw, _most_raw, dict.fromkeys(_DATA_TYPES, _ANY_CHANNELS)),
    "jpeg": Codec(_decode_jpeg, _most_jpeg, {"uint8": (1, 3)}, "simplejpeg", "jpeg"),
    "png": Codec(
        _decode_png,
        _most_png,
        {"uint8": (1, 2, 3, 4), "uint16": (1,)},
        *("PIL", "png"),
        limit="Pillow, which decodes it, cuts 16-bit colors to 8 bits",
    ),
    "compresso": Codec(
        _COMPRESSO.decode_chunk,
        compresso.most_encoded_bytes,
        dict.fromkeys(_LABEL_TYPES, (1,)),
        slices=_COMPRESSO,
    ),
    "crackle": Codec(
        _CRACKLE.decode_chunk,
        crackle.most_encoded_bytes,
        dict.fromkeys(_LABEL_TYPES, (1,)),
        slices=_CRACKLE,
    ),
}
