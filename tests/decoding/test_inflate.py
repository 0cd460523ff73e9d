"""Stored bytes to encoded bytes: what is a valid stream, and how much memory a bad one takes."""

from __future__ import annotations

import gzip
import random
import tracemalloc
import zlib

import deflate
import pytest

from shardreader.decoding import inflate as inflate_module
from shardreader.decoding.inflate import inflate, most_stored_bytes
from shardreader.errors import FormatFault

MOST = 1 << 20
TEXT = bytes(range(256)) * 40 + b"\0\0\0\0" + b"neuron " * 1000


def gunzip(stored: bytes, most_bytes: int = MOST) -> bytes:
    """Inflate from the middle of a buffer whose other bytes look like gzip."""
    around = b"\x1f\x8b\x08\x00" + bytes(7)
    buffer = around + stored + around
    end = len(around) + len(stored)
    return bytes(inflate(buffer, len(around), end, encoding="gzip", most_bytes=most_bytes))


@pytest.fixture
def no_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails where the slow judge is asked."""

    def refuse(*_: object) -> bytes:
        raise AssertionError("zlib was asked")

    monkeypatch.setattr(inflate_module, "_gzip_by_zlib", refuse)


def test_raw_is_a_copy_of_the_range() -> None:
    assert bytes(inflate(b"abcdef", 2, 4, encoding="raw", most_bytes=2)) == b"cd"


def test_raw_is_bounded() -> None:
    with pytest.raises(FormatFault, match="at most 2"):
        inflate(b"abcdef", 2, 5, encoding="raw", most_bytes=2)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_the_fast_path_takes_a_plain_stream(no_zlib: None, level: int) -> None:
    assert gunzip(gzip.compress(TEXT, level, mtime=0)) == TEXT


def test_the_fast_path_takes_libdeflates_own(no_zlib: None) -> None:
    assert gunzip(bytes(deflate.gzip_compress(TEXT))) == TEXT


def test_both_paths_agree_on_random_data() -> None:
    rng = random.Random(0)
    for size in [1, 2, 3, 4, 5, 100, 65535, 65536, 200_000]:
        data = rng.randbytes(size // 2) + bytes(size - size // 2)
        stored = gzip.compress(data, rng.randrange(10))
        assert gunzip(stored) == data
        assert bytes(inflate_module._gzip_by_zlib(stored, 0, len(stored), MOST)) == data


def test_a_length_that_stands_in_the_data_too() -> None:
    # The last four bytes are found earlier in the stored bytes: zlib has to judge.
    size = 5000
    data = size.to_bytes(4, "little") * (size // 4)
    stored = gzip.compress(data, 0, mtime=0)
    assert stored.find(stored[-4:], 0, -4) > 0
    assert gunzip(stored) == data


@pytest.mark.parametrize("lengths", [(3, 4), (4, 4), (0, 4), (4, 0), (1, 1, 1), (70_000, 70_000)])
def test_members_are_joined(lengths: tuple[int, ...]) -> None:
    parts = [(TEXT * 5)[i : i + n] for i, n in enumerate(lengths)]
    assert gunzip(b"".join(map(gzip.compress, parts))) == b"".join(parts)


def test_identical_members_are_joined() -> None:
    assert gunzip(gzip.compress(TEXT, mtime=0) * 3) == TEXT * 3


def test_a_member_inside_the_data_is_data() -> None:
    inner = gzip.compress(TEXT, mtime=0)
    assert gunzip(gzip.compress(inner, 0, mtime=0)) == inner


def test_many_members_take_linear_time() -> None:
    count = 20_000
    assert gunzip(gzip.compress(b"x", mtime=0) * count) == b"x" * count


GOOD = gzip.compress(TEXT, mtime=0)
STORED = gzip.compress(TEXT, 0, mtime=0)


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"\x1f",
        GOOD[:10],
        GOOD[:-1],
        GOOD[:-4],
        GOOD[:-8],
        STORED[: STORED.index(bytes(4), 20) + 4],  # a cut with a length field of 0
        GOOD[:-8] + bytes(8),
        GOOD[:-4] + bytes(4),
        GOOD[:-4] + (len(TEXT) - 1).to_bytes(4, "little"),
        GOOD[:-4] + (len(TEXT) + 1).to_bytes(4, "little"),
        GOOD[:-4] + b"\xff\xff\xff\xff",
        GOOD[:-8] + bytes([GOOD[-8] ^ 1]) + GOOD[-7:],
        GOOD + b"\0",
        GOOD + b"\x1f\x8b",
        GOOD + GOOD[-4:],
        GOOD + GOOD[-8:],
        GOOD + GOOD[:-1],
        GOOD + GOOD[:10],
        b"\0" + GOOD,
        zlib.compress(TEXT),
        TEXT,
        bytes(1000),
        b"\x1f\x8b" * 500,
    ],
)
def test_what_is_no_gzip_stream(stored: bytes) -> None:
    with pytest.raises(FormatFault) as info:
        gunzip(stored)
    assert info.value.expected
    assert info.value.found


def test_a_length_of_the_first_member_at_the_end_of_junk() -> None:
    # Junk behind a member that ends as the member does would fool a look at the last bytes alone.
    with pytest.raises(FormatFault, match="after the last"):
        gunzip(GOOD + b"junk" + GOOD[-4:])


@pytest.mark.parametrize("members", [1, 2, 16])
@pytest.mark.parametrize("claim", [None, 0, 1, 100, MOST])
def test_a_bomb_takes_little_memory(members: int, claim: int | None) -> None:
    stored = gzip.compress(bytes((32 << 20) // members), mtime=0) * members
    if claim is not None:
        stored = stored[:-4] + claim.to_bytes(4, "little")
    tracemalloc.start()
    try:
        with pytest.raises(FormatFault):
            gunzip(stored)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MOST


def test_exactly_the_most_is_let_pass() -> None:
    stored = gzip.compress(TEXT)
    assert gunzip(stored, len(TEXT)) == TEXT
    assert gunzip(gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]), len(TEXT)) == TEXT
    for bad in (stored, gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])):
        with pytest.raises(FormatFault, match="at most"):
            gunzip(bad, len(TEXT) - 1)


@pytest.mark.parametrize("level", [0, 9])
def test_what_cannot_shrink_fits_its_bound(level: int) -> None:
    data = random.Random(1).randbytes(MOST)
    assert len(gzip.compress(data, level)) <= most_stored_bytes("gzip", len(data))
    assert most_stored_bytes("raw", 7) == 7


def test_every_flipped_bit_is_an_error_or_harmless() -> None:
    data = TEXT[:300]
    stored = gzip.compress(data, mtime=0)
    harmless = 0
    for at in range(len(stored)):
        for bit in range(8):
            damaged = bytearray(stored)
            damaged[at] ^= 1 << bit
            try:
                assert gunzip(bytes(damaged)) == data
            except FormatFault:
                continue
            harmless += 1
    assert harmless < 80  # header fields that nobody reads, and the last bits before the checksum
