"""Which shards a scale can have: counted, listed, and against every chunk of it."""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from info_documents import FAFB, REMOVED, parse, scale_of

from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.shard_geometry import (
    chunks_in_volume,
    possible_shard_count,
    possible_shards,
)


def scale_with(size, preshift_bits, minishard_bits, shard_bits):
    bits = {
        "preshift_bits": preshift_bits,
        "minishard_bits": minishard_bits,
        "shard_bits": shard_bits,
    }
    changes = [(("sharding", name), value) for name, value in bits.items()]
    return parse(
        scale_of((("size",), list(size)), (("chunk_sizes",), [[1, 1, 1]]), *changes)
    ).scales[0]


def shards_of_all_cells(scale):
    cells = np.argwhere(np.ones(scale.grid.grid_size))
    shards, _ = scale.sharding.locate(chunk_ids_of_cells(cells, scale.grid.grid_size))
    return sorted(set(shards.tolist()))


def test_fafb_has_3689_possible_shards():
    scale = parse(FAFB).scales[0]
    start = perf_counter()
    shards = possible_shards(scale)
    assert perf_counter() - start < 0.1
    assert len(shards) == possible_shard_count(scale) == 31 * 17 * 7 == 3689
    assert shards.dtype == np.uint64
    assert (np.diff(shards.astype(np.int64)) > 0).all()
    assert {0x54, 0x73, 0x1B68} <= set(shards.tolist())
    assert chunks_in_volume(scale) == 112_561_488


def test_an_unsharded_scale_has_no_shards():
    scale = parse(scale_of((("sharding",), REMOVED))).scales[0]
    assert possible_shard_count(scale) == 0
    assert possible_shards(scale).shape == (0,)


def test_the_count_needs_no_memory():
    scale = scale_with((2**22, 2**21, 2**21), 0, 0, 64)
    assert possible_shard_count(scale) == 2**64


@pytest.mark.parametrize(
    ("size", "bits"),
    [
        ((5, 6, 7), (0, 0, 0)),  # one shard
        ((5, 6, 7), (64, 0, 4)),  # all bits shifted out
        ((5, 6, 7), (0, 0, 64)),  # every chunk its own shard
        ((5, 6, 7), (1, 2, 3)),  # upper bits dropped
        ((9, 1, 3), (1, 1, 1)),
        ((1, 1, 1), (0, 0, 5)),
    ],
)
def test_possible_shards_of_all_cells(size, bits):
    scale = scale_with(size, *bits)
    assert possible_shards(scale).tolist() == shards_of_all_cells(scale)


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(1, 18)] * 3),
    st.integers(0, 14),
    st.integers(0, 14),
    st.integers(0, 14),
)
def test_possible_shards_of_any_bits_against_all_cells(size, preshift, minishard, shard):
    scale = scale_with(size, preshift, minishard, shard)
    wanted = shards_of_all_cells(scale)
    assert possible_shards(scale).tolist() == wanted
    assert possible_shard_count(scale) == len(wanted)


def hashed_scale_with(size, *bits):
    scale = scale_with(size, *bits)
    return replace(scale, sharding=replace(scale.sharding, hash="murmurhash3_x86_128"))


@pytest.mark.parametrize(
    ("size", "bits"),
    [
        ((5, 6, 7), (0, 0, 0)),  # one shard
        ((5, 6, 7), (64, 0, 4)),  # one id is left
        ((5, 6, 7), (0, 0, 64)),  # too many shards for a bitmap
        ((50, 60, 7), (1, 2, 3)),  # every shard is hit
        ((1, 1, 1), (0, 0, 5)),
        ((70, 70, 70), (0, 3, 26)),  # several pieces
    ],
)
def test_possible_shards_by_murmurhash_of_all_cells(size, bits):
    scale = hashed_scale_with(size, *bits)
    wanted = shards_of_all_cells(scale)
    assert possible_shards(scale).tolist() == wanted
    assert possible_shards(scale).dtype == np.uint64
    assert possible_shard_count(scale) == len(wanted)


@settings(deadline=None)
@given(
    st.tuples(*[st.integers(1, 18)] * 3),
    st.integers(0, 14),
    st.integers(0, 14),
    st.integers(0, 50),
)
def test_possible_shards_by_murmurhash_of_any_bits(size, preshift, minishard, shard):
    scale = hashed_scale_with(size, preshift, minishard, shard)
    wanted = shards_of_all_cells(scale)
    assert possible_shards(scale).tolist() == wanted
    assert possible_shard_count(scale) == len(wanted)


@pytest.mark.parametrize("preshift", [0, 9])
def test_possible_shards_by_murmurhash_of_fafb_do_not_take_long(preshift):
    scale = hashed_scale_with((972, 524, 221), preshift, 6, 13)
    start = perf_counter()
    assert possible_shard_count(scale) == 8192
    assert perf_counter() - start < 2


@pytest.mark.parametrize(
    ("bits", "count"),
    [((0, 0, 13), 8192), ((64, 0, 30), 1), ((0, 0, 64), 2**64), ((0, 5, 21), 2**21)],
)
def test_the_count_by_murmurhash_needs_no_memory(bits, count):
    scale = hashed_scale_with((2**22, 2**21, 2**21), *bits)
    assert possible_shard_count(scale) == count


def test_what_cannot_be_hashed_is_not_tried():
    with pytest.raises(ValueError, match="too many"):
        possible_shards(hashed_scale_with((2**22, 2**21, 2**21), 0, 0, 64))
