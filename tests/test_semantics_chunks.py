"""The semantics that peers get wrong in the bytes of a chunk, through the public API."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from cseg_words import Block, channel_words, encoding, table_words, value_words
from shard_builder import TinyVolume, block_label, encode, gzipped, tiny_chunk
from tiny_reads import CORRUPT, FIRST_MINISHARD, assert_says, check, chunk_box

from shardreader import Box, open_volume
from shardreader.errors import (
    ChunkError,
    PointStatus,
)


def replace_chunk(tiny: TinyVolume, chunk_id: int, stored: bytes) -> TinyVolume:
    tiny.shards[chunk_id >> 4].chunks[chunk_id] = stored
    return tiny.write()


def damaged_streams() -> dict[str, bytes]:
    good = gzipped(tiny_chunk(5))
    stored = gzip.compress(tiny_chunk(5), 0, mtime=0)  # level 0 keeps the bytes as they are
    zeros = stored.rindex(bytes(4), 0, -8)
    return {
        "wrong checksum": good[:-8] + bytes([good[-8] ^ 1]) + good[-7:],
        "wrong length": good[:-4] + (69).to_bytes(4, "little"),
        "length 0": good[:-4] + bytes(4),
        "huge length": good[:-4] + b"\xff" * 4,
        "cut in the data": good[:-20],
        "cut in the trailer": good[:-1],
        "cut before the trailer": good[:-8],
        "cut with four zeros at the end": stored[: zeros + 4],
        "spliced with four zeros at the end": good[:-9] + bytes(4),
        "cut in the header": good[:5],
        "one byte": b"\x1f",
        "all zeros": bytes(60),
        "empty stream": gzipped(b""),
        "several empty members": gzipped(b"") * 3,
        "trailing zeros": good + bytes(8),
        "trailing byte": good + b"\n",
        "trailing copy of the length": good + good[-4:],
        "trailing copy of the trailer": good + good[-8:],
        "second member cut": good + gzipped(tiny_chunk(6))[:-3],
        "zlib stream": zlib.compress(tiny_chunk(5)),
        "not encoded": tiny_chunk(5),
        "not a multiple of 4": gzipped(tiny_chunk(5) + b"\0"),
        "cut encoding": gzipped(tiny_chunk(5)[:-1]),
        "bad method": good[:2] + b"\x07" + good[3:],
        "reserved flags": good[:3] + b"\xe0" + good[4:],
        "member of other data after it": good + gzipped(b"abc"),
    }


@pytest.mark.parametrize("name", damaged_streams())
def test_a_damaged_gzip_stream(tiny_gzip: TinyVolume, name: str) -> None:
    stored = damaged_streams()[name]
    replace_chunk(tiny_gzip, 5, stored)
    raised = check(tiny_gzip, [5], error=ChunkError, in_index=False)
    start = 64 + tiny_gzip.shards[0].chunk_offsets()[5]
    where = f"bytes [{start}, {start + len(stored)})"
    path = str(tiny_gzip.shard_path(0))
    assert_says(raised[5], path, "shard 0x0", "minishard 1", "chunk 5", "(1, 0, 1)", where)


@pytest.mark.parametrize("cuts", [[0], [68], [20, 40], [34], [4, 4], [17, 34, 51]])
def test_several_members_are_one_stream(tiny_gzip: TinyVolume, cuts: list[int]) -> None:
    parts = zip([0, *cuts], [*cuts, 68], strict=True)
    members = [gzipped(tiny_chunk(5)[a:b]) for a, b in parts]
    check(replace_chunk(tiny_gzip, 5, b"".join(members)))


def test_two_identical_members(tiny_gzip: TinyVolume) -> None:
    # Words behind the encoding, here its twin, are let pass.
    check(replace_chunk(tiny_gzip, 5, gzipped(tiny_chunk(5)) * 2))


def test_an_encoding_in_two_identical_members(tiny_gzip: TinyVolume) -> None:
    # Channel at word 1; four headers of 0 bits with the table at word 1 + 8, which is (8, 0). The
    # second half of the words is the first half again, and holds the end of the fourth header and
    # the table.
    half = np.array([1, 8, 0, 8, 0, 8, 0, 8], "<u4").tobytes()
    replace_chunk(tiny_gzip, 5, gzipped(half) * 2)
    with open_volume(tiny_gzip.path) as vol:
        assert (vol.cutout(chunk_box(tiny_gzip, 5)) == 8).all()
        assert vol.lookup(tiny_gzip.lower(5), units="voxel") == 8


def test_a_header_with_a_name_and_a_comment(tiny_gzip: TinyVolume) -> None:
    plain = gzipped(tiny_chunk(5))
    check(replace_chunk(tiny_gzip, 5, plain[:3] + b"\x18" + plain[4:10] + b"n\0c\0" + plain[10:]))


@pytest.mark.parametrize("members", [1, 4])
def test_a_bomb_takes_no_memory(tiny_gzip: TinyVolume, members: int) -> None:
    replace_chunk(tiny_gzip, 5, gzipped(bytes((64 << 20) // members)) * members)
    with open_volume(tiny_gzip.path, threads=1) as vol:
        vol.lookup(tiny_gzip.lower(6), units="voxel")  # load numba before memory is counted
        tracemalloc.start()
        try:
            with pytest.raises(ChunkError, match="at most"):
                vol.cutout(chunk_box(tiny_gzip, 5))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 8 << 20
    check(tiny_gzip, [5], error=ChunkError, in_index=False)


@pytest.mark.parametrize("entry", ["wrong checksum", "cut in the trailer", "trailing byte"])
def test_a_damaged_gzip_minishard_index(tiny_gzip: TinyVolume, entry: str) -> None:
    shard = tiny_gzip.shards[0]
    good = shard.stored_index(0)
    damage = {
        "wrong checksum": good[:-8] + bytes([good[-8] ^ 1]) + good[-7:],
        "cut in the trailer": good[:-1],
        "trailing byte": good + b"\n",
    }
    shard.stored_indices[0] = damage[entry]
    raised = check(tiny_gzip.write(), FIRST_MINISHARD)
    start, end = (64 + n for n in shard.index_entries()[0])
    assert_says(raised[0], str(tiny_gzip.shard_path(0)), "minishard 0", f"bytes [{start}, {end})")


def test_a_minishard_index_bomb(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.shards[0].stored_indices[0] = gzipped(bytes(24 << 20))
    check(tiny_gzip.write(), FIRST_MINISHARD)


@pytest.mark.parametrize("length", [1, 2, 3, 5, 67])
def test_an_encoding_of_no_whole_words(tiny: TinyVolume, length: int) -> None:
    raised = check(
        replace_chunk(tiny, 5, tiny_chunk(5)[:length]), [5], error=ChunkError, in_index=False
    )
    assert_says(raised[5], "chunk 5", "multiple of 4", f"found {length}")


@pytest.mark.parametrize("name", ["raw", "gzip"])
@pytest.mark.parametrize("block", range(4))
def test_a_damaged_block_fails_only_reads_that_touch_it(
    tmp_path: Path, block: int, name: str
) -> None:
    tiny = TinyVolume(tmp_path / "tiny", index_encoding=name, data_encoding=name)
    words = np.frombuffer(tiny_chunk(5), "<u4").copy()
    words[1 + 2 * block] = 0xFFFFFF  # table far behind the end
    replace_chunk(tiny, 5, encode(words.tobytes(), name))
    x, y, z = tiny.lower(5)
    corners = [(x + 8 * (i % 2), y + 8 * (i // 2), z) for i in range(4)]
    with open_volume(tiny.path) as vol:
        labels, status = vol.lookup(corners, units="voxel", return_status=True)
        assert status.tolist() == [CORRUPT if i == block else PointStatus.OK for i in range(4)]
        good = [0 if i == block else block_label(5, i) for i in range(4)]
        assert labels.tolist() == good
        for i, (a, b, c) in enumerate(corners):
            box = Box((a, b, c), (a + 8, b + 8, c + 8))
            if i != block:
                assert (vol.cutout(box) == good[i]).all()
                continue
            with pytest.raises(ChunkError) as info:
                vol.cutout(box)
            assert_says(info.value, "minishard 1", "chunk 5", "block", "bytes [")
        for box in (chunk_box(tiny, 5), vol.bounds):
            with pytest.raises(ChunkError):
                vol.cutout(box)


def test_blocks_of_32_bits(tiny: TinyVolume) -> None:
    codes = np.arange(512) * 7 % 512
    table = np.arange(512, dtype=np.uint64) + np.uint64(1 << 60)
    parts = [("values", value_words(codes, 32)), ("table", table_words(table.tolist(), 2))]
    blocks = [Block(32, "table", "values")] * 4
    replace_chunk(tiny, 5, encoding(channel_words(blocks, parts)).tobytes())
    expected = np.tile(table[codes].reshape((8, 8, 8), order="F"), (2, 2, 1))
    x, y, z = tiny.lower(5)
    points = np.argwhere(np.ones((16, 16, 8), bool))
    with open_volume(tiny.path) as vol:
        np.testing.assert_array_equal(vol.cutout(chunk_box(tiny, 5)), expected)
        labels = vol.lookup(points + np.array([x, y, z]), units="voxel")
        np.testing.assert_array_equal(labels, expected[tuple(points.T)])
        np.testing.assert_array_equal(vol.cutout(chunk_box(tiny, 6)), tiny.voxels(6))
