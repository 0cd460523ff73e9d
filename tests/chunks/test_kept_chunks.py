"""Chunks in the cache are handed over many at once, and say the same as when they are read."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from shard_builder import TinyVolume, encode, gzipped, tiny_chunk

from shardreader import Box, Volume, open_volume
from shardreader.chunks import stored_reader
from shardreader.chunks.chunk_cache import keep, words_of_all
from shardreader.errors import ChunkError, PointStatus

words = st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=20)


@given(st.lists(words, min_size=1, max_size=20))
def test_one_array_holds_all(values: list[list[int]]) -> None:
    chunks = [keep(np.array(some, "<u4").tobytes()) for some in values]
    together, firsts, lengths = words_of_all(chunks)
    assert not together.flags.writeable
    assert [together[a : a + n].tolist() for a, n in zip(firsts, lengths, strict=True)] == values


@pytest.mark.parametrize("encoded", [b"", b"1", b"12345", b"1234567"])
def test_what_is_not_whole_words_goes_alone(encoded: bytes) -> None:
    assert keep(encoded).address == 0


class OneByOne:
    """Counts the chunks that are handed over one by one."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        true = stored_reader._hand_over

        def hand_over(*arguments: Any) -> None:
            self.count += 1
            true(*arguments)

        monkeypatch.setattr(stored_reader, "_hand_over", hand_over)

    def taken(self) -> int:
        count, self.count = self.count, 0
        return count


def warm(vol: Volume, points: Any) -> None:
    """Read all twice: what comes again is kept."""
    for _ in range(2):
        vol.cutout(vol.bounds)
        vol.lookup(points, units="voxel", return_status=True)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "zstd"])
@pytest.mark.parametrize("threads", [1, 3])
def test_all_that_is_kept_comes_at_once(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch, encoding: str, threads: int
) -> None:
    tiny = TinyVolume(tmp_path / "tiny", index_encoding=encoding, data_encoding=encoding)
    for shard in tiny.shards:
        shard.chunks = {i: encode(tiny_chunk(i), encoding) for i in shard.chunks}
    points = np.random.default_rng(0).integers((0, 0, 0), (64, 64, 16), (500, 3))
    with open_volume(tiny.write().path, threads=threads) as vol:
        whole = vol.cutout(vol.bounds)
        warm(vol, points)
        one_by_one = OneByOne(monkeypatch)
        np.testing.assert_array_equal(vol.cutout(vol.bounds), whole)
        np.testing.assert_array_equal(vol.lookup(points, units="voxel"), whole[tuple(points.T)])
        assert vol.labels(vol.bounds).tolist() == np.unique(whole).tolist()
        box = Box((3, 5, 1), (60, 41, 15))
        np.testing.assert_array_equal(vol.cutout(box), whole[3:60, 5:41, 1:15])
        assert one_by_one.taken() == 0


def test_damage_that_is_kept_is_damage_again(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A chunk that inflates and does not decode is in the cache too."""
    elsewhere = b"\xff" * 4 + tiny_chunk(3)[4:]
    tiny_gzip.shards[0].chunks[3] = gzipped(elsewhere)
    no_whole_words = tiny_chunk(4)[:-3]
    tiny_gzip.shards[0].chunks[4] = gzipped(no_whole_words)
    points = [tiny_gzip.lower(i) for i in range(32)]
    bad = [PointStatus.CORRUPT if i in (3, 4) else PointStatus.OK for i in range(32)]
    with open_volume(tiny_gzip.write().path, threads=2) as vol:
        for number in range(4):
            one_by_one = OneByOne(monkeypatch)
            _, status = vol.lookup(points, units="voxel", return_status=True)
            assert status.tolist() == bad
            assert one_by_one.taken() == (32 if number == 1 else 2)
            with pytest.raises(ChunkError, match="chunk 3"):
                vol.cutout(Box(tiny_gzip.lower(3), tuple(n + 1 for n in tiny_gzip.lower(3))))
