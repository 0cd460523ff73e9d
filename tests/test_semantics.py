"""The semantics that peers get wrong, one by one, through the public API.

Each test damages or thins out one place of a volume and holds all other chunks of it to their
labels: see `check`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from shard_builder import TinyVolume, block_label
from tiny_reads import (
    ABSENT,
    CORRUPT,
    EMPTY,
    FIRST_MINISHARD,
    FIRST_SHARD,
    assert_says,
    check,
    chunk_box,
)

from shardreader import Box, open_volume
from shardreader.errors import (
    ChunkError,
    NotDownloadedError,
    PointStatus,
    ShardError,
)


def test_a_good_volume(tiny: TinyVolume) -> None:
    check(tiny.write())


def test_a_good_gzip_volume(tiny_gzip: TinyVolume) -> None:
    check(tiny_gzip.write())


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
