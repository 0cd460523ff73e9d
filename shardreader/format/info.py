"""The ``info`` of a volume, parsed once into frozen, range-checked values.

Specification: volume.md, "info JSON file specification".
"""

from __future__ import annotations

import json
import operator
import re
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from shardreader.errors import FormatFault, InfoError, Location
from shardreader.format.grid import ChunkGrid, Triple
from shardreader.format.json_members import (
    choice,
    decode_text,
    integer,
    lowercase,
    parse_object,
    shorten,
    shown,
    three,
    triple,
)
from shardreader.format.morton import MORTON_BITS_LIMIT, morton_bits
from shardreader.format.redirect import redirect_of
from shardreader.format.sharding import ShardingSpec

if TYPE_CHECKING:
    from collections.abc import Callable


__all__ = [
    "COMPRESSED_SEGMENTATION",
    "ScaleInfo",
    "VolumeInfo",
    "parse_info",
    "select_scale",
]

VOLUME_TYPE = "neuroglancer_multiscale_volume"
_VOLUME_TYPES = ("image", "segmentation")
_DATA_TYPES = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "float32")
COMPRESSED_SEGMENTATION = "compressed_segmentation"
# Neuroglancer's encodings, then those that only cloud-volume knows: a scale in one of them must
# not keep the other scales of its volume from being read.
_ENCODINGS = (
    *("raw", "jpeg", "png", "jxl", COMPRESSED_SEGMENTATION, "compresso"),
    *("jpegxl", "crackle", "fpzip", "kempressed", "zfpc"),
)
# Points arrive as float64: up to here each voxel coordinate is exact in it, and sums and products
# of a coordinate with a cell stay inside int64.
_COORDINATE_LIMIT = 1 << 53
# Voxels of one chunk as stored, all channels, padded to whole blocks. Some eight times the largest
# chunks in use; numbers its voxels in 31 bits and caps what one chunk can ask for at 8 GiB.
_CHUNK_VOXELS_LIMIT = 1 << 30
# Nanometres. Keeps a coordinate times or over a resolution finite and normal.
_RESOLUTION_RANGE = (1e-6, 1e12)
# Members that a ScaleInfo has under the names of the info.
_GEOMETRY = ("key", "size", "resolution", "voxel_offset", "chunk_sizes", "encoding")
# Pipelines open the same volume for each of their tasks. Few and short ones, to hold on to little.
_REMEMBERED, _REMEMBERED_BYTES = 16, 1 << 16
_ADVICE = "compare the file with the info of the volume's source"


@dataclass(frozen=True)
class ScaleInfo:
    """One resolution of a volume.

    Parameters
    ----------
    index : int
        Position in the ``scales`` of the info.
    key : str
        Directory of the chunks, relative to that of the info; ``..`` is legal in it.
    size, voxel_offset : (int, int, int)
        Extent and first voxel, x y z, in voxels; an extent may be 0.
    resolution : (int or float, ...)
        Size of a voxel in nm, x y z.
    chunk_sizes : tuple of (int, int, int)
        Nominal chunk extents; exactly one if the scale is sharded.
    encoding : str
        In lower case.
    block_size : (int, int, int) or None
        The ``compressed_segmentation_block_size``; None for other encodings.
    sharding : ShardingSpec or None
        None where each chunk is a file.
    hidden : bool
        Whether a viewer should leave the scale out.
    """

    index: int
    key: str
    size: Triple
    resolution: tuple[float, float, float]
    voxel_offset: Triple
    chunk_sizes: tuple[Triple, ...]
    encoding: str
    block_size: Triple | None
    sharding: ShardingSpec | None
    hidden: bool

    @property
    def chunk_size(self) -> Triple:
        """The first of the nominal chunk extents."""
        return self.chunk_sizes[0]

    @cached_property
    def grid(self) -> ChunkGrid:
        """The grid of the chunks of `chunk_size`."""
        return ChunkGrid(self.size, self.voxel_offset, self.chunk_size)

    def __getitem__(self, member: str) -> Any:
        """A member by its name in the info: code made for cloud-volume has a scale as a dict."""
        if member not in _GEOMETRY:
            raise KeyError(f"{member!r} (of a scale: {', '.join(_GEOMETRY)}; all else in vol.info)")
        return getattr(self, member)


@dataclass(frozen=True)
class VolumeInfo:
    """What an ``info`` says of a volume.

    Parameters
    ----------
    volume_type : {"image", "segmentation"}
    data_type : str
        In lower case.
    num_channels : int
    scales : tuple of ScaleInfo
        At least one.
    mesh, skeletons, segment_properties : str or None
        Directories relative to that of the info.
    text : str
        The JSON text of the info.
    """

    volume_type: str
    data_type: str
    num_channels: int
    scales: tuple[ScaleInfo, ...]
    mesh: str | None
    skeletons: str | None
    segment_properties: str | None
    text: str = field(repr=False)

    @cached_property
    def dtype(self) -> np.dtype[Any]:
        """The numpy type of a voxel, little-endian."""
        dtype: np.dtype[Any] = np.dtype(self.data_type).newbyteorder("<")
        return dtype

    @property
    def document(self) -> dict[str, Any]:
        """All members of the info, unknown ones included: a new copy at each call."""
        document: dict[str, Any] = json.loads(self.text)
        return document


def parse_info(data: bytes, where: str) -> VolumeInfo:
    """Parse and check an ``info``.

    A member that is null counts as missing, as tensorstore and cloud-volume have it for
    ``sharding``. Integers may be spelled 128.0: JSON has one type of number, and some writers go
    through floats. The rules of the specification that only concern a viewer (resolutions do not
    decrease, one channel in a segmentation) are not enforced.

    Parameters
    ----------
    data : bytes
        The file.
    where : str
        Its path, for messages.

    Raises
    ------
    InfoError
        The message names the file, the JSON path, what was expected and what was found.

    Examples
    --------
    >>> parse_info(b'{"type": "image", "data_type": "int64"}', "vol/info")
    Traceback (most recent call last):
        ...
    shardreader.errors.InfoError: vol/info: data_type: expected one of 'uint8', 'uint16', \
'uint32', 'uint64', 'int8', 'int16', 'int32', 'float32', found 'int64'; compare the file with the \
info of the volume's source
    """
    target = redirect_of(data, where)
    if target is not None and b'"scales"' not in data:
        raise InfoError(
            f"{where}: has no volume, only a redirect to {target!r}; give that URL, or fetch it"
        )
    try:
        return (_parse_again if len(data) <= _REMEMBERED_BYTES else _parse)(data)
    except FormatFault as fault:
        raise InfoError.from_fault(fault, Location(file=where), _ADVICE) from None


def _parse(data: bytes) -> VolumeInfo:
    text = decode_text(data)
    return _parse_volume(parse_object(text), text)


_parse_again = lru_cache(maxsize=_REMEMBERED)(_parse)


def _parse_volume(document: dict[str, Any], text: str) -> VolumeInfo:
    if document.get("@type") not in (None, VOLUME_TYPE):
        found = shown(document["@type"])
        raise FormatFault('["@type"]', expected=f"{VOLUME_TYPE!r} or no such member", found=found)
    volume_type = choice(document.get("type"), "type", _VOLUME_TYPES)
    data_type = choice(lowercase(document.get("data_type")), "data_type", _DATA_TYPES)
    num_channels = integer(document.get("num_channels"), "num_channels", 1, _CHUNK_VOXELS_LIMIT)
    scales = document.get("scales")
    if not isinstance(scales, list) or not scales:
        raise FormatFault("scales", expected="a list of one or more scales", found=shown(scales))
    parsed = tuple(_parse_scale(scale, i) for i, scale in enumerate(scales))
    for scale in parsed:
        _check_encoding(scale, data_type)
        _check_extents(scale, num_channels)
    return VolumeInfo(
        volume_type=volume_type,
        data_type=data_type,
        num_channels=num_channels,
        scales=parsed,
        mesh=_optional_text(document, "mesh"),
        skeletons=_optional_text(document, "skeletons"),
        segment_properties=_optional_text(document, "segment_properties"),
        text=text,
    )


def _parse_scale(scale: object, index: int) -> ScaleInfo:
    path = f"scales[{index}]"
    if not isinstance(scale, dict):
        raise FormatFault(path, expected="a JSON object", found=shown(scale))
    hidden = scale.get("hidden")
    if hidden is not None and not isinstance(hidden, bool):
        raise FormatFault(f"{path}.hidden", expected="true or false", found=shown(hidden))
    for name, most in (("jpeg_quality", 100), ("jpegxl_quality", 100), ("png_level", 9)):
        if scale.get(name) is not None:
            integer(scale[name], f"{path}.{name}", 0, most)
    offset, sharding = scale.get("voxel_offset"), scale.get("sharding")
    block_size = scale.get("compressed_segmentation_block_size")
    limit = _COORDINATE_LIMIT
    return ScaleInfo(
        index=index,
        key=_key(scale.get("key"), f"{path}.key"),
        size=triple(scale.get("size"), f"{path}.size", 1, limit),
        resolution=_resolution(scale.get("resolution"), f"{path}.resolution"),
        voxel_offset=(0, 0, 0)
        if offset is None
        else triple(offset, f"{path}.voxel_offset", -limit, limit),
        chunk_sizes=_chunk_sizes(scale.get("chunk_sizes"), f"{path}.chunk_sizes"),
        encoding=choice(lowercase(scale.get("encoding")), f"{path}.encoding", _ENCODINGS),
        block_size=None
        if block_size is None
        else triple(block_size, f"{path}.compressed_segmentation_block_size", 1, limit),
        sharding=None if sharding is None else ShardingSpec.from_json(sharding, f"{path}.sharding"),
        hidden=bool(hidden),
    )


def _optional_text(document: dict[str, Any], name: str) -> str | None:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise FormatFault(name, expected="a string", found=shown(value))
    return value


def _resolution(value: object, path: str) -> tuple[float, float, float]:
    items = three(value, path, "numbers")
    least, most = _RESOLUTION_RANGE
    for i, item in enumerate(items):
        number = isinstance(item, (int, float)) and not isinstance(item, bool)
        if not number or not least <= item <= most:
            expected = f"a number of nm from {least:g} to {most:g}"
            raise FormatFault(f"{path}[{i}]", expected=expected, found=shown(item))
    return items[0], items[1], items[2]


def _chunk_sizes(value: object, path: str) -> tuple[Triple, ...]:
    if not isinstance(value, list) or not value:
        raise FormatFault(path, expected="a list of one or more sizes", found=shown(value))
    most = _COORDINATE_LIMIT
    return tuple(triple(size, f"{path}[{i}]", 1, most) for i, size in enumerate(value))


def _key(value: object, path: str) -> str:
    expected = "a relative path with / between its parts"
    # What a drive letter, a backslash or a lone surrogate means depends on the platform.
    if (
        not isinstance(value, str)
        or not value
        or value.startswith("/")
        or re.match("[A-Za-z]:", value)
        or re.search("[\\\\\0\ud800-\udfff]", value)
    ):
        raise FormatFault(path, expected=expected, found=shown(value))
    return value


def _check_encoding(scale: ScaleInfo, data_type: str) -> None:
    """Hold the members that only compressed_segmentation has to it."""
    path = f"scales[{scale.index}].compressed_segmentation_block_size"
    if scale.encoding != COMPRESSED_SEGMENTATION:
        if scale.block_size is not None:
            expected = f"no such member with encoding {scale.encoding!r}"
            raise FormatFault(path, expected=expected, found=shown(list(scale.block_size)))
        return
    if scale.block_size is None:
        raise FormatFault(path, expected="a list of three integers", found="nothing")
    if data_type not in ("uint32", "uint64"):
        expected = f"'uint32' or 'uint64' for the {COMPRESSED_SEGMENTATION} of a scale"
        raise FormatFault("data_type", expected=expected, found=repr(data_type))


def _check_extents(scale: ScaleInfo, num_channels: int) -> None:
    """Bound all that is computed from the extents, so that nothing downstream overflows."""
    path = f"scales[{scale.index}]"
    for dim, upper in enumerate(scale.grid.bounds.upper):
        if upper > _COORDINATE_LIMIT:
            expected = f"an upper bound (voxel_offset + size) of at most {_COORDINATE_LIMIT}"
            raise FormatFault(f"{path}.size[{dim}]", expected=expected, found=str(upper))
    block_size = scale.block_size or (1, 1, 1)
    for i, chunk_size in enumerate(scale.chunk_sizes):
        padded = [-(-c // b) * b for c, b in zip(chunk_size, block_size, strict=True)]
        voxels = prod(padded) * num_channels
        if voxels > _CHUNK_VOXELS_LIMIT:
            expected = f"at most {_CHUNK_VOXELS_LIMIT} voxels in the blocks of a chunk"
            raise FormatFault(f"{path}.chunk_sizes[{i}]", expected=expected, found=str(voxels))
    if scale.sharding is None:
        return
    if len(scale.chunk_sizes) > 1:
        expected = "one size in a sharded scale (chunk ids would collide)"
        raise FormatFault(
            f"{path}.chunk_sizes", expected=expected, found=str(len(scale.chunk_sizes))
        )
    bits = morton_bits(scale.grid.grid_size)
    if bits > MORTON_BITS_LIMIT:
        expected = f"chunk ids of at most {MORTON_BITS_LIMIT} bits (size over chunk_sizes)"
        raise FormatFault(f"{path}.size", expected=expected, found=f"{bits} bits")


def select_scale(volume: VolumeInfo, scale: object, where: str) -> ScaleInfo:
    """The scale that the user means.

    Parameters
    ----------
    scale : int, str, three numbers or None
        Index, key, or resolution in nm; None is the only scale, or the first.
    where : str
        Path of the info, for messages.

    Raises
    ------
    InfoError
        There is no such scale, or more than one; the message lists those there are.
    TypeError
        `scale` is none of these.
    """
    if scale is None:
        return volume.scales[0]
    matches = _matcher(scale)
    found = [candidate for candidate in volume.scales if matches(candidate)]
    if len(found) != 1:
        there = "; ".join(f"{s.index}: {s.key!r} {list(s.resolution)} nm" for s in volume.scales)
        how_many = "several scales are" if found else "no scale is"
        raise InfoError(f"{where}: {how_many} {shorten(scale)}; there are {there}")
    return found[0]


def _matcher(scale: Any) -> Callable[[ScaleInfo], bool]:
    if isinstance(scale, str):
        return lambda candidate: candidate.key == scale
    wrong = f"scale must be an index, a key or three numbers of nm, not {shorten(scale)}"
    if isinstance(scale, (bool, float, bytes)):
        raise TypeError(wrong)
    try:
        if hasattr(scale, "__index__") and not getattr(scale, "shape", ()):
            index = operator.index(scale)
            return lambda candidate: candidate.index == index
        if any(isinstance(item, str) for item in scale):
            raise TypeError(wrong)
        x, y, z = map(float, scale)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(wrong) from None
    return lambda candidate: tuple(map(float, candidate.resolution)) == (x, y, z)
