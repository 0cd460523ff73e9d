"""The coverage record: what goes in comes out, and every damage is a fault."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardreader.errors import FormatFault
from shardreader.format.coverage import (
    COVERAGE_HEADER_BYTES,
    COVERAGE_MAGIC,
    Coverage,
    coverage_length,
    decode_coverage,
    encode_coverage,
    read_coverage,
)

TOP = (1 << 64) - 1
IDS = st.lists(st.one_of(st.integers(0, 40), st.integers(0, TOP)), max_size=30)


def ids_array(ids: list[int]) -> np.ndarray:
    return np.array(ids, dtype=np.uint64)


@given(IDS, st.one_of(st.none(), st.text(min_size=1, max_size=20)), IDS)
def test_round_trip(ids: list[int], generation: str | None, others: list[int]) -> None:
    try:
        (generation or "").encode()
    except UnicodeEncodeError:
        return
    coverage = Coverage.of_ids(ids_array(ids), generation=generation)
    data = encode_coverage(coverage)
    assert coverage_length(data[:COVERAGE_HEADER_BYTES], len(data)) == len(data)
    decoded = decode_coverage(data)
    assert decoded.generation == generation
    np.testing.assert_array_equal(decoded.firsts, coverage.firsts)
    np.testing.assert_array_equal(decoded.lasts, coverage.lasts)
    asked = [*ids, *others]
    assert decoded.covers(ids_array(asked)).tolist() == [i in ids for i in asked]


def test_runs_are_joined() -> None:
    coverage = Coverage.of_ids(ids_array([5, 1, 2, 3, 2, TOP, TOP - 1]), generation=None)
    assert coverage.firsts.tolist() == [1, 5, TOP - 1]
    assert coverage.lasts.tolist() == [3, 5, TOP]


def test_the_layout_is_as_described() -> None:
    data = encode_coverage(Coverage.of_ids(ids_array([3, 4, 9]), generation="ab"))
    body = COVERAGE_MAGIC + struct.pack("<IIQ", 1, 2, 2) + b"ab" + struct.pack("<4Q", 3, 4, 9, 9)
    assert data == body + struct.pack("<I", zlib.crc32(body))


@pytest.mark.parametrize("header", [b"", b"x", b"\x1f\x8b\x08" + bytes(30), bytes(24)])
def test_other_bytes_are_no_record(header: bytes) -> None:
    assert coverage_length(header, 1000) is None


def test_every_flip_and_cut_is_a_fault_or_no_record() -> None:
    data = encode_coverage(Coverage.of_ids(ids_array([3, 4, 9]), generation="ab"))
    damaged = [data[:length] for length in range(len(data))]
    for at in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        damaged.append(bytes(flipped))
    for record in damaged:
        with pytest.raises(FormatFault):
            decode_coverage(record)


@pytest.mark.parametrize("runs", [[(4, 3)], [(1, 5), (5, 9)], [(7, 8), (1, 2)]])
def test_runs_that_cannot_be(runs: list[tuple[int, int]]) -> None:
    table = ids_array([end for run in runs for end in run]).reshape(-1, 2)
    data = encode_coverage(Coverage(None, table[:, 0], table[:, 1]))
    with pytest.raises(FormatFault, match="ascend"):
        decode_coverage(data)


def test_a_generation_that_is_no_text() -> None:
    body = COVERAGE_MAGIC + struct.pack("<IIQ", 1, 1, 0) + b"\xff"
    with pytest.raises(FormatFault, match="UTF-8"):
        decode_coverage(body + struct.pack("<I", zlib.crc32(body)))


def test_a_generation_that_is_too_long() -> None:
    with pytest.raises(ValueError, match="2000 bytes"):
        encode_coverage(Coverage.of_ids(ids_array([]), generation=2000 * "a"))


def test_a_record_that_claims_too_much() -> None:
    header = COVERAGE_MAGIC + struct.pack("<IIQ", 1, 0, TOP)
    with pytest.raises(FormatFault, match="at most 100 bytes"):
        coverage_length(header, 100)


@given(IDS, IDS)
def test_union(ids: list[int], others: list[int]) -> None:
    one, other = (Coverage.of_ids(ids_array(i), generation="a") for i in (ids, others))
    want = Coverage.of_ids(ids_array([*ids, *others]), generation="a")
    union = one.union(other)
    np.testing.assert_array_equal(union.firsts, want.firsts)
    np.testing.assert_array_equal(union.lasts, want.lasts)
    with pytest.raises(ValueError, match="'a' and None"):
        one.union(Coverage.of_ids(ids_array(others), generation=None))


def test_a_record_is_read_from_its_place() -> None:
    record = encode_coverage(Coverage.of_ids(ids_array([3, 4, 9]), generation="ab"))
    file = bytes(64) + record + b"chunks"
    reads = []

    def read(start: int, end: int) -> bytes:
        reads.append((start, end))
        return file[start:end]

    coverage, end = read_coverage(read, start=64, file_size=len(file))
    assert coverage is not None
    assert (coverage.generation, end) == ("ab", 64 + len(record))
    assert reads == [(64, 88), (64, end)]
    for other in (bytes(64), bytes(64) + b"x", bytes(64) + b"\x1f\x8b" + bytes(40)):
        file = other
        assert read_coverage(read, start=64, file_size=len(file)) == (None, 64)
    file = bytes(64) + record[:-1]
    with pytest.raises(FormatFault, match="coverage record"):
        read_coverage(read, start=64, file_size=len(file))
