"""Shard index entries and minishard indices: bytes in, checked ranges out."""

from __future__ import annotations

import random

import numpy as np
import pytest
from shard_builder import Row, index_bytes

from shardreader.errors import FormatFault
from shardreader.format.grid import Triple
from shardreader.format.index_rules import ForeignKeysFault
from shardreader.format.morton import cells_of_chunk_ids, ids_in_grid, morton_bits
from shardreader.format.shard_index import (
    MinishardIndex,
    decode_minishard_index,
    minishard_index_range,
)
from shardreader.format.sharding import ShardingSpec

SPEC = ShardingSpec(preshift_bits=2, minishard_bits=1, shard_bits=1)  # shard, minishard, 2 bits
END = 32
FILE_SIZE = END + 1000


def decode(
    rows: list[Row], shard: int = 0, minishard: int = 0, grid_size: Triple | None = None
) -> MinishardIndex:
    return decode_minishard_index(
        index_bytes(rows),
        spec=SPEC,
        grid_size=grid_size,
        shard_number=shard,
        minishard_number=minishard,
        file_size=FILE_SIZE,
    )


def test_an_entry_is_rebased() -> None:
    where = minishard_index_range(10, 34, shard_index_end=END, file_size=FILE_SIZE)
    assert where == (42, 66)


@pytest.mark.parametrize("at", [0, 1, 1000, 1001, (1 << 64) - 1])
def test_an_entry_without_bytes_is_no_index(at: int) -> None:
    assert minishard_index_range(at, at, shard_index_end=END, file_size=FILE_SIZE) is None


def test_an_entry_may_end_with_the_file() -> None:
    where = minishard_index_range(999, 1000, shard_index_end=END, file_size=FILE_SIZE)
    assert where == (1031, 1032)


@pytest.mark.parametrize(
    "entry", [(1, 0), (0, 1001), (999, 1001), (1001, 1002), (0, (1 << 64) - 1), ((1 << 64) - 1, 0)]
)
def test_an_entry_outside_the_file(entry: tuple[int, int]) -> None:
    with pytest.raises(FormatFault) as info:
        minishard_index_range(*entry, shard_index_end=END, file_size=FILE_SIZE)
    assert "1000" in info.value.expected
    assert info.value.found == f"[{entry[0]}, {entry[1]})"


def test_rows_are_sorted_and_rebased() -> None:
    index = decode([(3, 500, 100), (0, 0, 10), (2, 10, 5), (1, 600, 400)])
    assert index.chunk_ids.tolist() == [0, 1, 2, 3]
    assert index.starts.tolist() == [32, 632, 42, 532]
    assert index.ends.tolist() == [42, 1032, 47, 632]
    assert index.sound.all()
    assert index.positions(np.array([3, 4, 0, 1 << 63], np.uint64)).tolist() == [3, -1, 0, -1]


def test_no_rows() -> None:
    index = decode([])
    assert index.positions(np.array([0, 5], np.uint64)).tolist() == [-1, -1]


def test_any_order_of_rows_gives_the_same_index() -> None:
    rows = [(i, 200 * i, 100 + i) for i in range(4)]
    expected = decode(rows)
    for seed in range(20):
        random.Random(seed).shuffle(rows)
        index = decode(rows)
        for name in ("chunk_ids", "starts", "ends", "sound", "offsets", "sizes"):
            np.testing.assert_array_equal(getattr(index, name), getattr(expected, name))


def test_chunks_in_any_order_in_the_file_are_found_at_once() -> None:
    """As after a decode without kernels, which leave out what is in an unusual order."""
    pytest.importorskip("numba")
    index = decode([(0, 500, 7), (1, 20, 30), (3, 100, 50)])
    starts, ends = np.zeros(3, np.int64), np.zeros(3, np.int64)
    assert index.find_all(np.array([3, 0, 1], np.uint64), np.arange(3), starts, ends)
    assert starts.tolist() == [END + 100, END + 500, END + 20]
    assert (ends - starts).tolist() == [50, 7, 30]
    assert index.find_one(1) == (END + 20, END + 50)
    assert index.find_one(2) is None


def test_ids_up_to_the_last() -> None:
    ids = [(1 << 64) - 16, (1 << 64) - 13, 3]  # all of shard 0, minishard 0
    index = decode([(i, 10 * n, 10) for n, i in enumerate(ids)])
    assert index.chunk_ids.tolist() == sorted(ids)
    assert index.positions(np.array(ids, np.uint64)).tolist() == [1, 2, 0]


@pytest.mark.parametrize("offset", [0, 1000, 1001])
def test_a_row_without_bytes_fails_alone(offset: int) -> None:
    index = decode([(0, 0, 10), (1, offset, 0), (2, 10, 10)])
    assert index.sound.tolist() == [True, False, True]
    assert index.starts.tolist() == [32, -1, 42]
    assert index.ends.tolist() == [42, -1, 52]
    assert "0 (" in index.fault(1, shard_index_end=END, file_size=FILE_SIZE).found


@pytest.mark.parametrize(
    ("offset", "size"), [(1000, 1), (999, 2), (-1, 1), (-1, 2), (0, -1), (5, -5)]
)
def test_a_row_that_leaves_the_file_makes_the_index_unbelievable(offset: int, size: int) -> None:
    with pytest.raises(FormatFault, match=f"{size % (1 << 64)} bytes from offset"):
        decode([(0, 0, 10), (1, offset, size), (2, 10, 10)])


GRID = (3, 2, 1)


@pytest.mark.parametrize("size", [1, 10])
def test_an_id_outside_the_grid_makes_the_index_unbelievable(size: int) -> None:
    assert decode([(0, 0, 10), (1, 10, size)], grid_size=GRID).sound.all()
    with pytest.raises(FormatFault, match=r"1 others with data, the first 64 .*does not fit"):
        decode([(0, 0, 10), (64, 10, size)], grid_size=GRID)


def test_an_id_outside_the_grid_without_bytes_is_no_contradiction() -> None:
    index = decode([(0, 0, 10), (64, 10, 0)], grid_size=GRID)
    assert index.sound.tolist() == [True, False]


def test_ids_of_the_older_numbering_are_named() -> None:
    with pytest.raises(FormatFault, match="older chunk numbering, of writers before mid-2021"):
        decode([(8, 0, 10), (9, 10, 10)], shard=1, grid_size=(4, 2, 1))


@pytest.mark.parametrize("size", [(4, 8, 1), (972, 524, 221), (1, 1, 1), (5, 1, 7), (3, 2, 2)])
def test_the_limits_of_ids_agree_with_their_cells(size: Triple) -> None:
    rng = np.random.default_rng(0)
    ids = rng.integers(0, 4 << morton_bits(size), 3000, dtype=np.uint64)
    _, inside = cells_of_chunk_ids(ids, size)
    np.testing.assert_array_equal(ids_in_grid(ids, size), inside)
    assert ids_in_grid(ids, None).all()


def test_a_row_may_end_with_the_file() -> None:
    index = decode([(0, 0, 1000)])
    assert (index.starts[0], index.ends[0]) == (32, 1032)


@pytest.mark.parametrize("length", [1, 8, 23, 25, 47])
def test_a_length_that_is_no_multiple_of_24(length: int) -> None:
    with pytest.raises(FormatFault, match=f"multiple of 24 bytes, found {length}"):
        decode_minishard_index(
            bytes(length),
            spec=SPEC,
            grid_size=None,
            shard_number=0,
            minishard_number=0,
            file_size=FILE_SIZE,
        )


@pytest.mark.parametrize("offset", [0, 500])
def test_an_id_twice(offset: int) -> None:
    with pytest.raises(FormatFault, match="chunk 1 twice"):
        decode([(1, 0, 10), (0, 10, 10), (1, offset, 10)])


@pytest.mark.parametrize(
    "second", [(0, 100), (50, 10), (0, 10), (90, 20), (99, 1)], ids=lambda pair: f"{pair}"
)
def test_overlap(second: tuple[int, int]) -> None:
    for rows in ([(0, 0, 100), (1, *second)], [(1, 0, 100), (0, *second)]):
        with pytest.raises(FormatFault, match="do not overlap"):
            decode(rows)


def test_a_long_range_over_several() -> None:
    with pytest.raises(FormatFault, match="do not overlap"):
        decode([(0, 0, 1000), (1, 400, 0), (2, 500, 10), (3, 600, 10)])


def test_rows_without_bytes_do_not_overlap() -> None:
    index = decode([(0, 0, 100), (1, 50, 0), (3, 100, 10)])
    assert index.sound.tolist() == [True, False, True]


@pytest.mark.parametrize(("shard", "minishard"), [(0, 1), (1, 0), (1, 1)])
def test_foreign_ids(shard: int, minishard: int) -> None:
    rows = [(0, 0, 10), (3, 10, 10)]
    with pytest.raises(ForeignKeysFault) as info:
        decode(rows, shard, minishard)
    assert f"{shard}.shard minishard {minishard}" in info.value.expected
    assert "0.shard minishard 0" in info.value.found
    assert "2 of 2" in info.value.found


def test_some_foreign_ids() -> None:
    with pytest.raises(FormatFault, match="1 of 2 ids are foreign") as info:
        decode([(0, 0, 10), (4, 10, 10)])
    assert not isinstance(info.value, ForeignKeysFault)


def test_random_bytes_give_an_index_or_a_fault() -> None:
    rng = random.Random(0)
    for _ in range(300):
        rows = bytearray(index_bytes([(i, 100 * i, 90) for i in range(4)]))
        for _ in range(rng.randrange(1, 4)):
            rows[rng.randrange(len(rows))] = rng.choice([0, 1, 128, 255, rng.randrange(256)])
        try:
            index = decode_minishard_index(
                bytes(rows),
                spec=SPEC,
                grid_size=None,
                shard_number=0,
                minishard_number=0,
                file_size=FILE_SIZE,
            )
        except FormatFault:
            continue
        sound = index.sound
        assert (index.starts[sound] >= END).all()
        assert (index.ends[sound] <= FILE_SIZE).all()
        assert (index.ends[sound] > index.starts[sound]).all()
