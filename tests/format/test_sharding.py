"""The sharding specification: parsing it, and where it puts a chunk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from murmurhash_oracle import hash_by_mmh3

from shardreader.decoding import inflate
from shardreader.errors import FormatFault
from shardreader.format import sharding
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.sharding import ShardingSpec

PINKY40 = Path(__file__).parents[3] / "shared" / "data" / "pinky40"
FAFB_GRID = (972, 524, 221)
FAFB_MEMBER = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "data_encoding": "gzip",
    "hash": "identity",
    "minishard_bits": 6,
    "minishard_index_encoding": "gzip",
    "preshift_bits": 9,
    "shard_bits": 13,
}
FAFB = ShardingSpec(9, 6, 13, minishard_index_encoding="gzip", data_encoding="gzip")


def place(spec, *ids):
    shards, minishards = spec.locate(np.array(ids, dtype=np.uint64))
    assert shards.dtype == minishards.dtype == np.uint64
    return list(zip(shards.tolist(), minishards.tolist(), strict=True))


def test_fafb_parses():
    assert ShardingSpec.from_json(FAFB_MEMBER, "sharding") == FAFB


def test_encodings_default_to_raw():
    member = {name: value for name, value in FAFB_MEMBER.items() if not name.endswith("_encoding")}
    assert ShardingSpec.from_json(member, "sharding") == ShardingSpec(9, 6, 13)


def test_every_encoding_that_parses_can_be_inflated():
    assert set(sharding.ENCODINGS) <= set(inflate.ENCODINGS)


@pytest.mark.parametrize("name", ["minishard_index_encoding", "data_encoding"])
def test_zstd_is_let_pass(name):
    spec = ShardingSpec.from_json(FAFB_MEMBER | {name: "zstd"}, "sharding")
    assert getattr(spec, name) == "zstd"


def test_murmurhash_is_let_pass():
    member = FAFB_MEMBER | {"hash": "murmurhash3_x86_128"}
    assert ShardingSpec.from_json(member, "sharding").hash == "murmurhash3_x86_128"


def test_unknown_members_do_not_matter():
    assert ShardingSpec.from_json(FAFB_MEMBER | {"comment": [1]}, "sharding") == FAFB


REMOVED = object()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("preshift_bits", -1),
        ("preshift_bits", 65),
        ("preshift_bits", True),
        ("preshift_bits", "9"),
        ("preshift_bits", 9.5),
        ("preshift_bits", None),
        ("preshift_bits", REMOVED),
        ("minishard_bits", -1),
        ("minishard_bits", 33),
        ("minishard_bits", REMOVED),
        ("shard_bits", -1),
        ("shard_bits", 59),
        ("shard_bits", [13]),
        ("shard_bits", REMOVED),
        ("hash", "murmurhash3_x64_128"),
        ("hash", "Identity"),
        ("hash", 1),
        ("hash", REMOVED),
        ("minishard_index_encoding", "zlib"),
        ("minishard_index_encoding", None),
        ("data_encoding", "br"),
        ("data_encoding", ""),
        ("data_encoding", ["raw"]),
        ("data_encoding", {}),
    ],
)
def test_a_broken_member_is_named(name, value):
    member = dict(FAFB_MEMBER)
    if value is REMOVED:
        del member[name]
    else:
        member[name] = value
    with pytest.raises(FormatFault) as caught:
        ShardingSpec.from_json(member, "vol/info: scales[0].sharding")
    assert str(caught.value).startswith(f"vol/info: scales[0].sharding.{name}: expected ")
    assert f"found {'nothing' if value in (REMOVED, None) else repr(value)}" in str(caught.value)


@pytest.mark.parametrize("type_", ["neuroglancer_uint64_sharded_v2", None, 1, REMOVED])
def test_a_wrong_type_is_named(type_):
    member = {name: value for name, value in FAFB_MEMBER.items() if name != "@type"}
    if type_ is not REMOVED:
        member["@type"] = type_
    with pytest.raises(FormatFault, match=r'sharding\["@type"\]: expected .*found'):
        ShardingSpec.from_json(member, "sharding")


@pytest.mark.parametrize("member", [[], "gzip", 1, None, True])
def test_what_is_no_object_is_refused(member):
    with pytest.raises(FormatFault, match="sharding: expected a JSON object"):
        ShardingSpec.from_json(member, "sharding")


@pytest.mark.parametrize(
    ("preshift_bits", "minishard_bits", "shard_bits"),
    [(0, 0, 0), (64, 0, 0), (0, 32, 32), (0, 0, 64), (64, 32, 32), (3, 1, 63)],
)
def test_the_whole_range_of_bits_is_legal(preshift_bits, minishard_bits, shard_bits):
    member = FAFB_MEMBER | {
        "preshift_bits": preshift_bits,
        "minishard_bits": minishard_bits,
        "shard_bits": shard_bits,
    }
    spec = ShardingSpec.from_json(member, "sharding")
    assert spec.preshift_bits == preshift_bits
    assert place(spec, 0, 2**64 - 1)[0] == (0, 0)


@pytest.mark.parametrize(
    ("shard_bits", "shard_number", "name"),
    [
        (0, 0, "0.shard"),
        (1, 1, "1.shard"),
        (4, 0xF, "f.shard"),
        (5, 0xF, "0f.shard"),
        (13, 0x54, "0054.shard"),
        (13, 0x1B68, "1b68.shard"),
        (16, 0xABCD, "abcd.shard"),
        (17, 0xABCD, "0abcd.shard"),
        (64, 2**64 - 1, "f" * 16 + ".shard"),
    ],
)
def test_file_name_is_padded_lowercase_hexadecimal(shard_bits, shard_number, name):
    assert ShardingSpec(0, 0, shard_bits).file_name(shard_number) == name


def test_shard_index_has_16_bytes_a_minishard():
    assert ShardingSpec(0, 0, 0).shard_index_end == 16
    assert FAFB.shard_index_end == 64 * 16
    assert ShardingSpec(0, 32, 0).shard_index_end == 1 << 36


def test_locate_by_hand():
    # 0x123ABC0 = 1 0010 0011 1010 1011 1100 0000; without its low 9 bits
    # 1001000111010101 = 0x91D5: minishard 010101 = 21, shard 1001000111 = 0x247.
    assert place(FAFB, 0x123ABC0) == [(0x247, 21)]
    # Bits above preshift, minishard and shard bits (28 and more) are dropped.
    assert place(FAFB, 0x123ABC0 + (1 << 28)) == [(0x247, 21)]
    assert place(FAFB, (1 << 28) - 1) == [(0x1FFF, 63)]


def test_locate_at_the_ends_of_the_range():
    top = 2**64 - 1
    assert place(ShardingSpec(64, 3, 5), top) == [(0, 0)]
    assert place(ShardingSpec(63, 3, 5), top) == [(0, 1)]
    assert place(ShardingSpec(0, 0, 64), top) == [(top, 0)]
    assert place(ShardingSpec(0, 0, 0), top) == [(0, 0)]
    assert place(ShardingSpec(0, 32, 32), top) == [(2**32 - 1, 2**32 - 1)]
    assert place(ShardingSpec(32, 32, 0), top) == [(0, 2**32 - 1)]


def test_locate_of_nothing():
    assert place(FAFB) == []


def test_shards_of_fafb_by_hand():
    cells = np.array([[156, 92, 60], [971, 523, 220], [0, 0, 0]])
    shards, _ = FAFB.locate(chunk_ids_of_cells(cells, FAFB_GRID))
    # 32 chunks a shard along each axis: shard cells (4, 2, 1), (30, 16, 6) and (0, 0, 0).
    assert [FAFB.file_name(shard) for shard in shards.tolist()] == [
        "0054.shard",
        "1b68.shard",
        "0000.shard",
    ]


@pytest.mark.skipif(not PINKY40.is_dir(), reason="no ../shared/data/pinky40")
def test_the_patches_of_pinky40_lie_in_just_the_shards_that_are_there():
    truth = json.loads((PINKY40 / "truth.json").read_text())
    chunk, size = np.array([128, 128, 32]), np.array([124416, 67072, 7063])
    origin, shape = np.array(truth["origin"]), np.array(truth["shape"])
    patches = [(origin, origin + shape), (np.array(truth["corner_origin"]), size)]
    names = set()
    for lower, upper in patches:
        first, last = lower // chunk, -(-upper // chunk)
        cells = np.argwhere(np.ones(last - first)) + first
        shards, _ = FAFB.locate(chunk_ids_of_cells(cells, FAFB_GRID))
        names |= {FAFB.file_name(shard) for shard in shards.tolist()}
    assert names == {path.name for path in (PINKY40 / "segmentation/8.0x8.0x40.0").iterdir()}


ANY_BITS = (
    st.integers(0, 64),
    st.integers(0, 32).flatmap(lambda mini: st.tuples(st.just(mini), st.integers(0, 64 - mini))),
    st.lists(st.integers(0, 2**64 - 1), max_size=20),
)


def place_by_python(hashed, minishard_bits, shard_bits):
    return hashed // 2**minishard_bits % 2**shard_bits, hashed % 2**minishard_bits


@settings(deadline=None)
@given(*ANY_BITS)
def test_locate_for_all_bits_against_python_integers(preshift_bits, bits, ids):
    spec = ShardingSpec(preshift_bits, *bits)
    assert place(spec, *ids) == [place_by_python(i // 2**preshift_bits, *bits) for i in ids]


@settings(deadline=None)
@given(*ANY_BITS)
def test_locate_by_murmurhash_for_all_bits_against_mmh3(preshift_bits, bits, ids):
    spec = ShardingSpec(preshift_bits, *bits, hash="murmurhash3_x86_128")
    assert place(spec, *ids) == [
        place_by_python(hash_by_mmh3(i // 2**preshift_bits), *bits) for i in ids
    ]
