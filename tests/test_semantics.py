"""The semantics that peers get wrong, one by one, through the public API.

Each test damages or thins out one place of a volume and holds all other chunks of it to their
labels: see `check`.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
from cseg_words import Block, channel_words, encoding, table_words, value_words
from shard_builder import TinyVolume, block_label, encode, gzipped, tiny_chunk
from tiny_reads import ABSENT, CORRUPT, EMPTY, check, chunk_box

from shardreader import Box, open_volume
from shardreader.errors import (
    ChunkError,
    NotDownloadedError,
    PointStatus,
    ReadError,
    ShardError,
    ShardReaderError,
)
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest

FIRST_MINISHARD = range(4)
FIRST_SHARD = range(16)


def assert_says(error: ShardReaderError, *parts: str) -> None:
    """A message has all that the contract asks for, and these parts."""
    for part in (*parts, "expected", "found", "copy"):
        assert part in str(error)


def test_a_good_volume(tiny: TinyVolume) -> None:
    check(tiny.write())


def test_a_good_gzip_volume(tiny_gzip: TinyVolume) -> None:
    check(tiny_gzip.write())


# --- what is not there


def test_an_absent_chunk_id_is_background(tiny: TinyVolume) -> None:
    for chunk_id in (0, 2, 7):
        del tiny.shards[0].chunks[chunk_id]
    check(tiny.write(), [0, 2, 7], EMPTY)


def test_an_empty_minishard_is_background(tiny: TinyVolume) -> None:
    for chunk_id in range(8, 12):
        del tiny.shards[0].chunks[chunk_id]
    check(tiny.write(), range(8, 12), EMPTY)


def test_an_absent_shard_file_is_not_downloaded(tiny: TinyVolume) -> None:
    path = tiny.write().shard_path(0)
    path.unlink()
    raised = check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)
    assert isinstance(raised[5], FileNotFoundError)
    for part in (str(path), "shard 0x0", "minishard 1", "chunk 5", "(1, 0, 1)", "copy", "missing="):
        assert part in str(raised[5])
    check(tiny, FIRST_SHARD, ABSENT, missing="zero")


def write_manifest(tiny: TinyVolume, unlisted: str, **files: str) -> None:
    records = {f"{name[1:]}.shard": FileRecord(state) for name, state in files.items()}
    scales = {tiny.key: ScaleManifest(unlisted, records)}
    manifest = Manifest("2026-11-22T00:00:00Z", "gs://bucket/vol", "listing", scales)
    (tiny.path / "shardreader-manifest.json").write_bytes(manifest.to_json())


@pytest.mark.parametrize(
    ("unlisted", "files"), [("none", {}), ("unknown", {"_0": "none"}), ("none", {"_0": "none"})]
)
def test_an_absent_shard_that_the_source_has_not_is_background(
    tiny: TinyVolume, unlisted: str, files: dict[str, str]
) -> None:
    tiny.write().shard_path(0).unlink()
    write_manifest(tiny, unlisted, **files)
    check(tiny, FIRST_SHARD, EMPTY)


@pytest.mark.parametrize("state", ["whole", "partial", "not_fetched"])
def test_an_absent_shard_that_the_source_has_is_not_downloaded(
    tiny: TinyVolume, state: str
) -> None:
    tiny.write().shard_path(0).unlink()
    write_manifest(tiny, "none", _0=state)
    raised = check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)
    assert "gsutil cp gs://bucket/vol/tiny/0.shard" in str(raised[0])


def test_a_manifest_does_not_hide_a_file_that_is_there(tiny: TinyVolume) -> None:
    tiny.write()
    write_manifest(tiny, "none", _0="none")
    check(tiny)


def test_an_unlisted_shard_of_an_unknown_rest_is_not_downloaded(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    write_manifest(tiny, "unknown", _1="whole")
    check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)


@pytest.mark.parametrize("gone", ["info", "tiny"])
def test_a_copy_that_goes_away_is_no_status(tiny: TinyVolume, gone: str) -> None:
    tiny.write()
    vol = open_volume(tiny.path)
    if gone == "tiny":
        shutil.rmtree(tiny.path / gone)
    else:
        (tiny.path / gone).unlink()
        tiny.shard_path(0).unlink()
    for read in (
        lambda: vol.lookup([[0, 0, 0]], units="voxel", return_status=True),
        lambda: vol.cutout(Box((0, 0, 0), (1, 1, 1))),
        lambda: vol.stored_chunks(vol.bounds),
    ):
        with pytest.raises(ReadError) as info:
            read()
        assert isinstance(info.value, OSError)
        assert str(tiny.path / gone) in str(info.value)


# --- minishard indices


def test_ids_need_no_order_and_sums_wrap(tiny: TinyVolume) -> None:
    for shard in tiny.shards:
        for minishard in range(4):
            rows = shard.default_rows(minishard)
            random.Random(minishard).shuffle(rows)
            shard.rows[minishard] = rows
    tiny.shards[0].rows[0] = tiny.shards[0].default_rows(0)[::-1]  # each step is negative
    check(tiny.write())


def test_shard_index_entries_and_chunks_need_no_order(tiny: TinyVolume) -> None:
    shard = tiny.shards[0]
    shard.chunks = dict(reversed(shard.chunks.items()))
    shard.lead, shard.trailing = b"\xff" * 100, b"\xff" * 7
    shard.gaps = dict.fromkeys(shard.chunks, b"\x1f\x8b")
    check(tiny.write())


def test_an_id_that_stands_twice(tiny: TinyVolume) -> None:
    shard = tiny.shards[0]
    # Chunk 1 has a second home, at that of chunk 3.
    shard.rows[0] = [(1 if i == 3 else i, o, n) for i, o, n in shard.default_rows(0)]
    raised = check(tiny.write(), FIRST_MINISHARD)
    start, end = (64 + n for n in shard.index_entries()[0])
    where = (str(tiny.shard_path(0)), "shard 0x0", "minishard 0", f"bytes [{start}, {end})")
    assert_says(raised[3], *where, "each id once", "chunk 1 twice")


@pytest.mark.parametrize("size", [1, 68, 69, 1000])
def test_ranges_that_overlap(tiny: TinyVolume, size: int) -> None:
    shard = tiny.shards[0]
    rows = shard.default_rows(0)
    rows[2] = (2, rows[1][1], size)
    shard.rows[0] = rows
    raised = check(tiny.write(), FIRST_MINISHARD)
    ranges = f"chunk 1 at [{64 + 68}, {64 + 136})", f"chunk 2 at [{64 + 68}, {64 + 68 + size})"
    assert_says(raised[0], "minishard 0", "do not overlap", *ranges)


def test_an_entry_of_0_bytes_is_damage(tiny: TinyVolume) -> None:
    rows = tiny.shards[0].default_rows(0)
    tiny.shards[0].rows[0] = [rows[0], (1, rows[1][1], 0), *rows[2:]]
    raised = check(tiny.write(), [1], error=ChunkError)
    assert_says(raised[1], str(tiny.shard_path(0)), "minishard 0", "chunk 1", "(1, 0, 0)", "1 byte")


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1 << 20, 68), (0, 1 << 20), (-1, 68), (-64, 64), (1 << 63, 1 << 63), (8, -8), (1472, 1)],
)
def test_an_entry_beyond_the_file(tiny: TinyVolume, offset: int, size: int) -> None:
    shard = tiny.shards[0]
    rows = shard.default_rows(0)
    rows[1] = (1, offset, size)
    shard.rows[0] = rows
    tiny.write()
    assert tiny.shard_path(0).stat().st_size == 64 + 1472
    raised = check(tiny, FIRST_MINISHARD)
    found = f"{size % (1 << 64)} bytes from offset {offset % (1 << 64)}"
    assert_says(raised[1], "minishard 0", "1472 bytes after the shard index", found)


def test_ids_outside_the_grid_without_bytes_are_harmless(tmp_path: Path) -> None:
    tiny = TinyVolume(tmp_path / "tiny", size=(48, 64, 16))  # cells x = 3 are outside
    tiny.write()
    outside = [i for i in range(32) if tiny.cell(i)[0] == 3]
    assert outside
    for shard in tiny.shards:
        for minishard in range(4):
            shard.rows[minishard] = [
                (i, o, 0 if i in outside else n) for i, o, n in shard.default_rows(minishard)
            ]
    tiny.write()
    with open_volume(tiny.path) as vol:
        _, status = vol.stored_chunks(vol.bounds)
        assert not status.any()
        whole = vol.cutout(vol.bounds)
    for chunk_id in set(range(32)) - set(outside):
        x, y, z = tiny.lower(chunk_id)
        if x < 48:
            part = whole[x : x + 16, y : y + 16, z : z + 8]
            np.testing.assert_array_equal(part, tiny.voxels(chunk_id))


def test_ids_outside_the_grid_with_bytes_are_believed_nowhere(tiny: TinyVolume) -> None:
    shard = tiny.shards[0]
    shard.lead = b"\xff" * 68
    shard.rows[0] = [*shard.default_rows(0), (1 << 40, 0, 68)]  # hashes to minishard 0
    raised = check(tiny.write(), FIRST_MINISHARD)
    assert_says(raised[0], "minishard 0", "grid", str(1 << 40), "another info")


@pytest.mark.parametrize("length", [1, 23, 25, 95])
def test_a_minishard_index_of_a_wrong_length(tiny: TinyVolume, length: int) -> None:
    tiny.shards[0].decoded_indices[0] = (b"\0" * 100)[:length]
    raised = check(tiny.write(), FIRST_MINISHARD)
    assert_says(raised[0], "minishard 0", "multiple of 24", str(length))


@pytest.mark.parametrize(
    "entry", [(5, 4), (0, 1 << 40), (1 << 63, (1 << 64) - 1), ((1 << 64) - 1, 0), (0, 1473)]
)
def test_a_shard_index_entry_beyond_the_file(tiny: TinyVolume, entry: tuple[int, int]) -> None:
    tiny.shards[0].entries[0] = entry
    raised = check(tiny.write(), FIRST_MINISHARD)
    assert_says(raised[0], "minishard 0", "bytes [0, 16)", f"[{entry[0]}, {entry[1]})")


def test_an_index_with_foreign_ids_beside_its_own(tiny: TinyVolume) -> None:
    shard = tiny.shards[0]
    shard.rows[0] = [*shard.default_rows(0)[:3], shard.default_rows(1)[0]]
    raised = check(tiny.write(), FIRST_MINISHARD)
    assert_says(raised[0], "minishard 0", "chunk 4", "0.shard minishard 1")


def test_two_minishards_swapped(tiny: TinyVolume) -> None:
    entries = tiny.shards[0].index_entries()
    tiny.shards[0].entries = {0: entries[1], 1: entries[0]}
    raised = check(tiny.write(), range(8))
    assert_says(raised[0], "minishard 0", "chunk 4")
    assert_says(raised[4], "minishard 1", "chunk 0")


# --- whole files


def test_a_renamed_shard(tiny: TinyVolume) -> None:
    shutil.copy(tiny.write().shard_path(1), tiny.shard_path(0))
    raised = check(tiny, FIRST_SHARD)
    assert_says(raised[15], str(tiny.shard_path(0)), "minishard 3", "1.shard minishard 3")


def test_swapped_shards(tiny: TinyVolume) -> None:
    tiny.shards.reverse()
    check(tiny.write(), range(32))


def test_a_wrong_file_whose_wanted_minishard_is_empty(tiny: TinyVolume) -> None:
    tiny.shards[1].chunks = {i: tiny.shards[1].chunks[i] for i in range(24, 28)}
    shutil.copy(tiny.write().shard_path(1), tiny.shard_path(0))
    for chunk_id in FIRST_SHARD:  # each in a volume that has seen nothing else of the file
        with open_volume(tiny.path) as vol:
            labels, status = vol.lookup(tiny.lower(chunk_id), units="voxel", return_status=True)
            assert (labels, status) == (0, CORRUPT)
            with pytest.raises(ShardError, match=r"1\.shard"):
                vol.cutout(chunk_box(tiny, chunk_id))
    # In the right place its other minishards are background.
    tiny.shard_path(0).unlink()
    with open_volume(tiny.path) as vol:
        found = vol.lookup([tiny.lower(i) for i in (16, 24)], units="voxel", return_status=True)[1]
    assert found.tolist() == [EMPTY, PointStatus.OK]


@pytest.mark.parametrize("length", [65, 1536])
def test_an_all_zero_file(tiny: TinyVolume, length: int) -> None:
    tiny.write().shard_path(0).write_bytes(bytes(length))
    raised = check(tiny, FIRST_SHARD)
    assert_says(raised[0], str(tiny.shard_path(0)), f"{length - 64} further bytes")


def test_an_empty_index_with_further_bytes(tiny: TinyVolume) -> None:
    tiny.shards[0].entries = {i: (i, i) for i in range(4)}
    check(tiny.write(), FIRST_SHARD)


@pytest.mark.parametrize("at", [0, 700])
def test_an_index_only_file_is_a_shard_without_chunks(tiny: TinyVolume, at: int) -> None:
    tiny.shards[0].chunks = {}
    tiny.shards[0].entries = dict.fromkeys(range(4), (at, at))
    check(tiny.write(), FIRST_SHARD, EMPTY)
    assert tiny.shard_path(0).stat().st_size == 64


@pytest.mark.parametrize("length", [0, 1, 15, 63])
def test_a_file_shorter_than_its_shard_index(tiny: TinyVolume, length: int) -> None:
    path = tiny.write().shard_path(0)
    path.write_bytes(path.read_bytes()[:length])
    raised = check(tiny, FIRST_SHARD)
    assert_says(raised[7], str(path), "shard 0x0", "at least 64 bytes", f"found {length}")


@pytest.mark.parametrize("name", ["raw", "gzip"])
def test_a_truncated_file(tmp_path: Path, name: str) -> None:
    tiny = TinyVolume(tmp_path / "tiny", index_encoding=name, data_encoding=name).write()
    whole = tiny.shard_path(0).read_bytes()
    right = np.array([block_label(i, 0) for i in range(32)], np.uint64)
    points = [tiny.lower(i) for i in range(32)]
    for length in [*range(0, len(whole), 11), len(whole) - 1]:
        tiny.shard_path(0).write_bytes(whole[:length])
        with open_volume(tiny.path, threads=1) as vol:
            labels, status = vol.lookup(points, units="voxel", return_status=True)
        assert set(status[:16].tolist()) <= {PointStatus.OK, CORRUPT}
        assert status[15] == CORRUPT  # its minishard index is the last thing in the file
        assert not status[16:].any()
        np.testing.assert_array_equal(labels, np.where(status == CORRUPT, 0, right))


def test_litter_of_other_programs_is_ignored(tiny: TinyVolume) -> None:
    directory = tiny.write().shard_path(0).parent
    for name in ("._0.shard", ".DS_Store", "0.shard.gstmp", "00.shard", "2.shard"):
        (directory / name).write_bytes(b"litter")
    check(tiny)


def test_voxel_offset_and_type_may_be_missing(tiny: TinyVolume) -> None:
    del tiny.info["scales"][0]["voxel_offset"], tiny.info["@type"]
    check(tiny.write())


def test_voxel_offset_may_be_negative(tiny: TinyVolume) -> None:
    tiny.info["scales"][0]["voxel_offset"] = [-100, -3, 5]
    with open_volume(tiny.write().path) as vol:
        assert vol.bounds == Box((-100, -3, 5), (-36, 61, 21))
        for chunk_id in (0, 5, 31):
            x, y, z = tiny.lower(chunk_id)
            part = vol[x - 100 : x - 84, y - 3 : y + 13, z + 5 : z + 13]
            np.testing.assert_array_equal(part, tiny.voxels(chunk_id))


# --- the bytes of a chunk


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


# --- no files at all


def test_a_directory_in_a_shards_place(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    tiny.shard_path(0).mkdir()
    raised = check(tiny, FIRST_SHARD)
    assert_says(raised[0], str(tiny.shard_path(0)), "a directory")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs FIFOs")
def test_a_fifo_in_a_shards_place_does_not_hang(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    os.mkfifo(tiny.shard_path(0))
    raised = check(tiny, FIRST_SHARD)
    assert_says(raised[0], str(tiny.shard_path(0)), "a FIFO")


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_links(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).rename(tiny.path / "elsewhere")
    tiny.shard_path(0).symlink_to(tiny.path / "elsewhere")
    check(tiny)
    (tiny.path / "elsewhere").unlink()
    check(tiny, FIRST_SHARD, ABSENT, NotDownloadedError)


def test_statuses_of_a_lookup_are_raised_in_the_contracts_order(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    replace = tiny.shards[1].chunks
    replace[20] = b"12345"
    tiny.shard_path(1).write_bytes(tiny.shards[1].to_bytes())
    invalid, outside = [np.nan, 0, 0], [-1, 0, 0]
    absent, corrupt, good = tiny.lower(0), tiny.lower(20), tiny.lower(21)
    steps: list[tuple[list[object], type[Exception], str]] = [
        ([good, invalid, outside, absent, corrupt], ChunkError, "1 of 5 points are CORRUPT"),
        ([good, invalid, outside, absent], NotDownloadedError, "1 of 4 points"),
        ([good, invalid, outside], IndexError, "1 of 3 points are OUT_OF_BOUNDS"),
        ([good, invalid], ValueError, "1 of 2 points are INVALID"),
    ]
    with open_volume(tiny.path) as vol:
        for points, error, text in steps:
            with pytest.raises(error, match=text) as info:
                vol.lookup(points, units="voxel")
            assert info.value.labels[0] == block_label(21, 0)  # type: ignore[attr-defined]
            assert info.value.status[0] == PointStatus.OK  # type: ignore[attr-defined]
    assert json.loads((tiny.path / "info").read_text()) == tiny.info
