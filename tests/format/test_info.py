"""The info: one member broken at a time, its JSON path wanted in the message."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from info_documents import FAFB, RAW, REMOVED, WHERE, changed, parse, scale_of

from shardreader.errors import InfoError
from shardreader.format.grid import ChunkGrid
from shardreader.format.info import (
    parse_info,
    select_scale,
)
from shardreader.format.sharding import ShardingSpec
from shardreader.storage.documents import check_supported

PINKY40_INFO = Path(__file__).parents[3] / "shared" / "data" / "pinky40" / "segmentation" / "info"


def test_fafb():
    volume = parse(FAFB)
    assert (volume.volume_type, volume.data_type, volume.num_channels) == (
        "segmentation",
        "uint64",
        1,
    )
    assert (volume.mesh, volume.skeletons, volume.segment_properties) == ("mesh", None, None)
    assert volume.dtype == np.dtype("<u8")
    (scale,) = volume.scales
    assert (scale.index, scale.key, scale.hidden) == (0, "8.0x8.0x40.0", False)
    assert scale.size == (124416, 67072, 7063)
    assert scale.voxel_offset == (0, 0, 0)
    assert scale.resolution == (8, 8, 40)
    assert all(type(item) is int for item in scale.resolution)
    assert scale.chunk_sizes == ((128, 128, 32),)
    assert scale.chunk_size == (128, 128, 32)
    assert scale.block_size == (16, 16, 2)
    assert scale.encoding == "compressed_segmentation"
    assert scale.sharding == ShardingSpec(
        9, 6, 13, minishard_index_encoding="gzip", data_encoding="gzip"
    )
    assert scale.grid == ChunkGrid((124416, 67072, 7063), (0, 0, 0), (128, 128, 32))
    check_supported(volume, scale, WHERE)


@pytest.mark.skipif(not PINKY40_INFO.is_file(), reason="no ../shared/data/pinky40")
def test_the_info_of_pinky40_is_that_of_fafb():
    volume = parse_info(PINKY40_INFO.read_bytes(), str(PINKY40_INFO))
    assert volume.document == FAFB
    assert volume.scales == parse(FAFB).scales


def test_values_are_frozen_and_pickle():
    volume = parse(FAFB)
    assert pickle.loads(pickle.dumps(volume)) == volume
    assert hash(volume) == hash(parse(FAFB))
    with pytest.raises(AttributeError):
        volume.num_channels = 2
    with pytest.raises(AttributeError):
        volume.scales[0].size = (1, 1, 1)
    volume.document["scales"].clear()
    assert volume.document == FAFB


def test_unknown_members_are_kept():
    document = changed((("provenance",), {"by": [1.5, None]}), (("scales", 0, "x"), "y"))
    assert parse(document).document == document


# Each row breaks one member; the message has to begin with the path of it.
BROKEN = [
    ("type", (("type",), "Segmentation")),
    ("type", (("type",), REMOVED)),
    ("type", (("type",), 1)),
    ('["@type"]', (("@type",), "neuroglancer_legacy_mesh")),
    ('["@type"]', (("@type",), 1)),
    ("data_type", (("data_type",), "int64")),
    ("data_type", (("data_type",), "float64")),
    ("data_type", (("data_type",), "uint8")),  # not with compressed_segmentation
    ("data_type", (("data_type",), 64)),
    ("data_type", (("data_type",), REMOVED)),
    ("num_channels", (("num_channels",), 0)),
    ("num_channels", (("num_channels",), True)),
    ("num_channels", (("num_channels",), 1.5)),
    ("num_channels", (("num_channels",), "1")),
    ("num_channels", (("num_channels",), 2**80)),
    ("num_channels", (("num_channels",), REMOVED)),
    ("scales", (("scales",), [])),
    ("scales", (("scales",), {})),
    ("scales", (("scales",), REMOVED)),
    ("scales[0]", (("scales", 0), [])),
    ("scales[0]", (("scales", 0), None)),
    ("mesh", (("mesh",), 1)),
    ("skeletons", (("skeletons",), ["a"])),
    ("segment_properties", (("segment_properties",), {})),
]
SCALE_BROKEN = [
    ("key", ""),
    ("key", 8),
    ("key", REMOVED),
    ("key", "/absolute"),
    ("key", "a\\b"),
    ("key", "a\0b"),
    ("key", "C:/a"),
    ("key", "c:a"),
    ("key", "a\ud800"),
    ("size", [1, 2]),
    ("size", "1 2 3"),
    ("size", REMOVED),
    ("size[1]", -1),
    ("size[1]", 0),
    ("size[2]", 1.5),
    ("size[0]", True),
    ("size[0]", "1"),
    ("size[0]", None),
    ("size[0]", 2**53 + 1),
    ("resolution", [8, 8]),
    ("resolution", 8),
    ("resolution", REMOVED),
    ("resolution[0]", 0),
    ("resolution[0]", -8),
    ("resolution[1]", "8"),
    ("resolution[1]", True),
    ("resolution[2]", 1e300),
    ("resolution[2]", 10**400),
    ("resolution[2]", 5e-324),
    ("voxel_offset", [1, 2]),
    ("voxel_offset", 0),
    ("voxel_offset", [0, 0, 0, 0]),
    ("chunk_sizes", []),
    ("chunk_sizes", 64),
    ("chunk_sizes", REMOVED),
    ("chunk_sizes", [[64, 64, 64], [128, 128, 32]]),
    ("chunk_sizes[0]", 64),
    ("chunk_sizes[0]", [64, 64]),
    ("chunk_sizes[0][1]", 0),
    ("chunk_sizes[0][2]", -1),
    ("chunk_sizes[0][2]", 3.25),
    ("chunk_sizes[0]", [1024, 1024, 1025]),
    ("chunk_sizes[0]", [2**30, 2**30, 2**30]),
    ("encoding", "compresed_segmentation"),
    ("encoding", 1),
    ("encoding", REMOVED),
    ("compressed_segmentation_block_size", REMOVED),
    ("compressed_segmentation_block_size", None),
    ("compressed_segmentation_block_size", [8, 8]),
    ("compressed_segmentation_block_size", 8),
    ("compressed_segmentation_block_size[0]", 0),
    ("compressed_segmentation_block_size[2]", False),
    ("jpeg_quality", 101),
    ("jpeg_quality", "high"),
    ("jpegxl_quality", -1),
    ("png_level", 10),
    ("sharding", "gzip"),
    ("sharding", []),
    ('sharding["@type"]', "neuroglancer_uint64_sharded_v2"),
    ("sharding.shard_bits", 60),
    ("sharding.minishard_bits", 33),
    ("sharding.hash", "md5"),
    ("sharding.data_encoding", "lz4"),
    ("hidden", 1),
    ("hidden", "false"),
]


def where_in(path):
    """The keys of a JSON path such as ``size[1]`` or ``sharding["@type"]``."""
    keys = path.replace('["', ".").replace('"]', "").replace("[", ".").replace("]", "").split(".")
    return tuple(int(key) if key.isdigit() else key for key in keys)


@pytest.mark.parametrize(("path", "change"), BROKEN)
def test_a_broken_member_of_the_volume_is_named(path, change):
    with pytest.raises(InfoError) as caught:
        parse(changed(change))
    assert str(caught.value).startswith(f"{WHERE}: {path}: expected ")
    assert ", found " in str(caught.value)
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize(("path", "value"), SCALE_BROKEN)
def test_a_broken_member_of_a_scale_is_named(path, value):
    with pytest.raises(InfoError) as caught:
        parse(scale_of((where_in(path), value)))
    assert str(caught.value).startswith(f"{WHERE}: scales[0].{path}: expected ")
    assert ", found " in str(caught.value)
    assert len(str(caught.value)) < 500


def test_the_scale_is_numbered():
    document = changed((("scales",), [*FAFB["scales"], {**FAFB["scales"][0], "size": 1}]))
    with pytest.raises(InfoError, match=r"vol/info: scales\[1\]\.size: expected a list of three"):
        parse(document)


def test_the_error_carries_its_parts():
    with pytest.raises(InfoError) as caught:
        parse(changed((("num_channels",), 0)))
    error = caught.value
    assert (error.location.file, error.what, error.found) == (WHERE, "num_channels", "0")
    assert error.expected.startswith("an integer from 1 to ")
    assert error.__suppress_context__


def test_voxel_offset_may_be_given_null_or_negative():
    assert parse(scale_of((("voxel_offset",), None))).scales[0].voxel_offset == (0, 0, 0)
    scale = parse(scale_of((("voxel_offset",), [-5, 3, -(2**53)]))).scales[0]
    assert scale.voxel_offset == (-5, 3, -(2**53))
    with pytest.raises(InfoError, match=r"scales\[0\]\.voxel_offset\[1\]: expected"):
        parse(scale_of((("voxel_offset",), [0, -(2**53) - 1, 0])))


def test_the_upper_bound_is_bounded_too():
    far = 2**53 - 7063
    assert parse(scale_of((("voxel_offset",), [0, 0, far]))).scales[0].grid.bounds.upper[2] == 2**53
    with pytest.raises(InfoError, match=r"scales\[0\]\.size\[2\]: expected an upper bound"):
        parse(scale_of((("voxel_offset",), [0, 0, far + 1])))


def test_optional_members_may_be_missing_or_null():
    document = changed((("@type",), REMOVED), (("mesh",), REMOVED), (("skeletons",), None))
    volume = parse(document)
    assert volume.mesh is None
    assert volume.skeletons is None


def test_integers_may_be_spelled_as_floats_and_stay_exact():
    scale = parse(
        scale_of((("size",), [124416.0, 67072.0, 7063.0]), (("voxel_offset",), [0.0, -2.0, 1e3]))
    ).scales[0]
    assert scale.size == (124416, 67072, 7063)
    assert scale.voxel_offset == (0, -2, 1000)
    assert all(type(item) is int for item in (*scale.size, *scale.voxel_offset))


def test_names_that_the_specification_compares_without_case():
    volume = parse(
        changed((("data_type",), "UINT64"), (("scales", 0, "encoding"), "Compressed_Segmentation"))
    )
    assert volume.data_type == "uint64"
    assert volume.scales[0].encoding == "compressed_segmentation"


@pytest.mark.parametrize("key", ["a", "../other/8_8_8", "a/b c", "8.0x8.0x40.0", "é", "."])
def test_keys(key):
    assert parse(scale_of((("key",), key))).scales[0].key == key


@pytest.mark.parametrize(
    ("data_type", "dtype"),
    [
        ("uint8", "u1"),
        ("uint16", "<u2"),
        ("uint32", "<u4"),
        ("uint64", "<u8"),
        ("int8", "i1"),
        ("int16", "<i2"),
        ("int32", "<i4"),
        ("float32", "<f4"),
    ],
)
def test_data_types(data_type, dtype):
    raw = [(("scales", 0, *path), value) for path, value in RAW]
    assert parse(changed((("data_type",), data_type), *raw)).dtype == np.dtype(dtype)


def test_a_block_size_without_the_encoding_is_refused():
    with pytest.raises(InfoError, match=r"compressed_segmentation_block_size: expected no such"):
        parse(scale_of((("encoding",), "raw")))


def test_a_block_size_need_not_divide_the_chunk_but_what_is_stored_is_bounded():
    path = ("compressed_segmentation_block_size",)
    assert parse(scale_of((path, [7, 300, 1]))).scales[0].block_size == (7, 300, 1)
    with pytest.raises(InfoError, match=r"scales\[0\]\.chunk_sizes\[0\]: expected at most"):
        parse(scale_of((path, [2**20, 2**20, 1])))


def test_channels_count_in_the_size_of_a_chunk():
    assert parse(changed((("num_channels",), 2048))).num_channels == 2048
    with pytest.raises(InfoError, match=r"scales\[0\]\.chunk_sizes\[0\]: expected at most"):
        parse(changed((("num_channels",), 2049)))


def test_several_chunk_sizes_are_legal_without_sharding():
    document = scale_of(
        (("sharding",), REMOVED), (("chunk_sizes",), [[64, 64, 64], [128, 128, 16]])
    )
    scale = parse(document).scales[0]
    assert scale.chunk_sizes == ((64, 64, 64), (128, 128, 16))
    assert scale.chunk_size == (64, 64, 64)
    assert scale.sharding is None


def test_chunk_ids_have_at_most_64_bits():
    sizes = [(("chunk_sizes",), [[1, 1, 1]])]
    assert parse(scale_of((("size",), [2**22, 2**21, 2**21]), *sizes))
    too_many = [(("size",), [2**22, 2**21, 2**21 + 1]), *sizes]
    with pytest.raises(InfoError, match=r"scales\[0\]\.size: expected chunk ids .* found 65 bits"):
        parse(scale_of(*too_many))
    assert parse(scale_of(*too_many, (("sharding",), None)))


# --- what this version does not read yet


@pytest.mark.parametrize(
    "changes",
    [
        [(("scales", 0, "sharding"), REMOVED)],
        [(("scales", 0, *path), value) for path, value in RAW],
        [(("num_channels",), 3)],
    ],
)
def test_the_other_forms_are_read(changes):
    volume = parse(changed(*changes))
    check_supported(volume, volume.scales[0], WHERE)


@pytest.mark.parametrize("encoding", ["jxl", "fpzip"])
def test_encodings_that_are_not_read_are_refused_by_name(encoding):
    changes = [(("scales", 0, *path), value) for path, value in RAW]
    volume = parse(changed(*changes, (("scales", 0, "encoding"), encoding)))
    with pytest.raises(InfoError, match=f"{WHERE}: encoding '{encoding}' is not supported"):
        check_supported(volume, volume.scales[0], WHERE)


# --- select_scale

TWO_SCALES = changed(
    (
        ("scales",),
        [
            FAFB["scales"][0],
            {
                **FAFB["scales"][0],
                "key": "16x16x40",
                "resolution": [16.0, 16, 40.5],
                "size": [62208, 33536, 7063],
            },
        ],
    )
)


@pytest.mark.parametrize(
    ("scale", "index"),
    [
        (None, 0),
        (0, 0),
        (1, 1),
        (np.int8(1), 1),
        (np.array(1), 1),
        ("8.0x8.0x40.0", 0),
        ("16x16x40", 1),
        ((8, 8, 40), 0),
        ([8.0, 8.0, 40.0], 0),
        (np.array([16, 16, 40.5]), 1),
    ],
)
def test_select_scale(scale, index):
    volume = parse(TWO_SCALES)
    assert select_scale(volume, scale, WHERE) is volume.scales[index]


@pytest.mark.parametrize(
    "scale", [2, -1, "8x8x40", "", (8, 8, 41), (4, 4, 40), (8, 8, float("nan"))]
)
def test_an_unknown_scale_lists_those_there_are(scale):
    with pytest.raises(InfoError) as caught:
        select_scale(parse(TWO_SCALES), scale, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: no scale is {scale!r}; there are ")
    assert "0: '8.0x8.0x40.0' [8, 8, 40] nm; 1: '16x16x40' [16.0, 16, 40.5] nm" in str(caught.value)


@pytest.mark.parametrize("scale", ["8.0x8.0x40.0", (8, 8, 40)])
def test_an_ambiguous_scale_lists_those_there_are(scale):
    volume = parse(changed((("scales",), FAFB["scales"] * 2)))
    with pytest.raises(InfoError, match=r"several scales are .*; there are 0: .*; 1: "):
        select_scale(volume, scale, WHERE)
    assert select_scale(volume, 1, WHERE).index == 1


@pytest.mark.parametrize(
    "scale", [True, 1.0, b"8.0x8.0x40.0", (8, 8), "abc".split, ("a", "b", "c"), (8, 8, 10**400)]
)
def test_what_names_no_scale_is_a_type_error(scale):
    with pytest.raises(TypeError, match="scale must be an index, a key or three numbers of nm"):
        select_scale(parse(TWO_SCALES), scale, WHERE)
