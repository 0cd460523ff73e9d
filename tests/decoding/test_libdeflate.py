"""Many gzip members in one call: against gzip, and against `inflate` for what is not sound."""

from __future__ import annotations

import ctypes
import functools
import gzip
import random
import zlib

import deflate
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardreader import open_volume
from shardreader.decoding import libdeflate
from shardreader.decoding.inflate import inflate
from shardreader.errors import FormatFault

pytestmark = pytest.mark.skipif(not libdeflate.usable(), reason="libdeflate does not show itself")

MOST = 100_000
# Without a date: the names of the tests hold the bytes.
pack = functools.partial(gzip.compress, mtime=0)


def inflate_all(members: list[bytes], most_bytes: int = MOST) -> list[bytes | None]:
    """Each member's data by the kernel; None where that leaves the member to `inflate`."""
    ends = np.cumsum([len(member) for member in members])
    starts = ends - np.array([len(member) for member in members])
    results: list[bytes | None] = [None] * len(members)

    def take(rows: np.ndarray, words: np.ndarray, first_words: np.ndarray, lengths: np.ndarray):
        for row, at, length in zip(rows, first_words, lengths, strict=True):
            assert at % 2 == 0
            results[row] = words[at : at + length].tobytes()
        return rows % 2 == 0

    with libdeflate.workspace() as space:
        stored = np.frombuffer(b"".join(members), np.uint8)
        done = libdeflate.inflate_each(space, stored, starts, ends, most_bytes, take)
    assert done.tolist() == [
        result is not None and row % 2 == 0 for row, result in enumerate(results)
    ]
    return results


@given(st.lists(st.binary(min_size=1, max_size=75), min_size=1, max_size=20))
def test_whole_members(texts: list[bytes]) -> None:
    whole = [text * 4 for text in texts]
    assert inflate_all([pack(text) for text in whole]) == whole


def test_more_than_the_arena_holds() -> None:
    texts = [bytes([n]) * (libdeflate.ARENA_BYTES // 12 * 4 + 4 * n) for n in range(10)]
    assert inflate_all([pack(text) for text in texts], 1 << 20) == texts
    too_large = pack(bytes(libdeflate.ARENA_BYTES + 4))
    assert inflate_all([too_large, pack(b"text")], 1 << 30) == [None, b"text"]


@pytest.mark.parametrize(
    "stored",
    [
        b"",
        b"short",
        pack(b""),
        pack(b"text")[:-1],
        pack(b"text") + b"\0",
        pack(b"text") + pack(b"text"),
        pack(b"text")[:-4] + (3).to_bytes(4, "little"),
        pack(b"text")[:-4] + (5).to_bytes(4, "little"),
        pack(b"text")[:-8] + bytes(4) + (4).to_bytes(4, "little"),
        zlib.compress(b"text" * 10),
        pack(bytes(MOST + 4)),
        bytes(100),
    ],
)
def test_anything_else_is_left_alone(stored: bytes) -> None:
    assert inflate_all([pack(b"one before"), stored, pack(b"after it")]) == [
        None,  # no whole words
        None,
        b"after it",
    ]


@given(st.binary(min_size=1, max_size=500), st.data())
def test_a_damaged_member_never_passes_for_another(text: bytes, data: st.DataObject) -> None:
    text *= 4
    stored = bytearray(pack(text))
    at = data.draw(st.integers(0, len(stored) - 1))
    stored[at] ^= 1 << data.draw(st.integers(0, 7))
    (found,) = inflate_all([bytes(stored)])
    try:
        expected = inflate(bytes(stored), 0, len(stored), encoding="gzip", most_bytes=MOST)
    except FormatFault:
        assert found is None
    else:
        assert found in (None, bytes(expected))


def test_random_bytes_end_in_no_crash() -> None:
    rng = random.Random(0)
    members = [
        b"\x1f\x8b\x08\0" + rng.randbytes(rng.randrange(200)) + (99).to_bytes(4, "little")
        for _ in range(500)
    ]
    assert set(inflate_all(members)) == {None}


class _NoLibrary:
    def __init__(self, _path: str) -> None:
        pass


def test_where_the_functions_do_not_show(monkeypatch: pytest.MonkeyPatch) -> None:
    assert deflate._deflate.__file__
    monkeypatch.setattr(libdeflate, "_functions", [0, 0, 0])
    monkeypatch.setattr(libdeflate, "_judged", [])
    monkeypatch.setattr(ctypes, "CDLL", _NoLibrary)
    assert not libdeflate.usable()
    with open_volume("fixtures/fafb-mini") as vol:
        points = np.loadtxt("fixtures/fafb-mini/points.csv", delimiter=",", skiprows=1, dtype=int)
        labels, status = vol.lookup(points[:, :3], units="voxel", return_status=True)
    monkeypatch.undo()
    with open_volume("fixtures/fafb-mini") as vol:
        again, status_again = vol.lookup(points[:, :3], units="voxel", return_status=True)
    np.testing.assert_array_equal(labels, again)
    np.testing.assert_array_equal(status, status_again)
