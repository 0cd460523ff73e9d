"""Each kind of damage, made to a good shard: found there, nothing else found, and reads hold.

`check` of the semantics tests reads every chunk in three ways: with a status and an error in the
damaged ones, and with their labels in all others.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import struct
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import google_crc32c
import numpy as np
import pytest
from preads import replace_pread
from shard_builder import TinyVolume, code_too_far, gzipped, tiny_chunk
from shard_checks import check_one, damage, job_for, kinds
from tiny_reads import check

from shardreader import open_volume
from shardreader.checking.findings import FindingKind as K
from shardreader.checking.shard_check import check_shard
from shardreader.errors import ChunkError, PointStatus, ReadError, ShardError
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.format.grid import Box
from shardreader.format.manifest import FileRecord

ALL = range(16)
SECOND = range(4, 8)  # the chunks of minishard 1
TOP = 1 << 64


class Case(NamedTuple):
    """A damage, what verify says of it and what a reader does."""

    name: str
    kind: K
    make: Callable[[TinyVolume], None]
    bad: Any = SECOND
    minishard: int | None = None
    chunks: tuple[int | None, ...] = (None,)
    error: type[Exception] = ShardError
    in_index: bool = True
    status: PointStatus = PointStatus.CORRUPT
    level: str = "full"


def rewrite(change: Callable[[bytes], bytes]) -> Callable[[TinyVolume], None]:
    """Damage the bytes of shard 0."""

    def make(tiny: TinyVolume) -> None:
        tiny.write()
        path = tiny.shard_path(0)
        path.write_bytes(change(path.read_bytes()))

    return make


def entry(start: int, end: int) -> Callable[[TinyVolume], None]:
    """Replace the entry of minishard 1 in the shard index."""

    def make(tiny: TinyVolume) -> None:
        tiny.shards[0].entries[1] = (start, end)
        tiny.write()

    return make


def same_entry(tiny: TinyVolume) -> None:
    shard = tiny.shards[0]
    shard.entries[1] = shard.index_entries()[0]
    tiny.write()


def stored_index(change: Callable[[bytes], bytes]) -> Callable[[TinyVolume], None]:
    def make(tiny: TinyVolume) -> None:
        tiny.shards[0].stored_indices[1] = change(tiny.shards[0].stored_index(1))
        tiny.write()

    return make


def index_row(row: int, change: Callable[[int, int, int], Any]) -> Callable[[TinyVolume], None]:
    """Replace a row (id, offset, size) of minishard 1; only the sums of the others stay."""

    def make(tiny: TinyVolume) -> None:
        rows = tiny.shards[0].default_rows(1)
        rows[row] = change(*rows[row])
        tiny.shards[0].rows[1] = rows
        tiny.write()

    return make


def outside_row(size: int) -> Callable[[TinyVolume], None]:
    def make(tiny: TinyVolume) -> None:
        tiny.shards[0].lead = bytes(size)
        tiny.shards[0].rows[1] = [*tiny.shards[0].default_rows(1), (36, 0, size)]
        tiny.write()

    return make


def stored(change: Callable[[bytes], bytes]) -> Callable[[TinyVolume], None]:
    """Damage the stored bytes of chunk 5."""

    def make(tiny: TinyVolume) -> None:
        tiny.shards[0].chunks[5] = change(tiny.shards[0].chunks[5])
        tiny.write()

    return make


def encoded(change: Callable[[bytes], bytes]) -> Callable[[TinyVolume], None]:
    return stored(lambda data: gzipped(change(gzip.decompress(data))))


def word(at: int, value: int) -> Callable[[TinyVolume], None]:
    def change(data: bytes) -> bytes:
        words = np.frombuffer(data, "<u4").copy()
        words[at] = value
        return words.tobytes()

    return encoded(change)


def flip(at: int) -> Callable[[bytes], bytes]:
    def change(data: bytes) -> bytes:
        damaged = bytearray(data)
        damaged[at] ^= 1
        return bytes(damaged)

    return change


def leading(data: bytes) -> Callable[[TinyVolume], None]:
    def make(tiny: TinyVolume) -> None:
        tiny.shards[0].lead = data
        tiny.write()

    return make


def trailing(tiny: TinyVolume) -> None:
    tiny.shards[0].trailing = b"left over"
    tiny.write()


def gap(tiny: TinyVolume) -> None:
    tiny.shards[0].gaps[5] = b"left over"
    tiny.write()


def directory(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    tiny.shard_path(0).mkdir()


def fifo(tiny: TinyVolume) -> None:
    tiny.write().shard_path(0).unlink()
    os.mkfifo(tiny.shard_path(0))


RECORD = encode_coverage(Coverage.of_ids(np.arange(16, dtype=np.uint64), generation="7"))
TOO_FEW = encode_coverage(Coverage.of_ids(np.arange(15, dtype=np.uint64), generation="7"))
BOMB = gzipped(bytes(64 << 20))

IN_MINISHARD = {"minishard": 1}
IN_CHUNK = {
    "bad": [5],
    "minishard": 1,
    "chunks": (5,),
    "error": ChunkError,
    "in_index": False,
}
READS_WELL = {"bad": [], "status": PointStatus.OK}

CASES = [
    Case("no bytes", K.EMPTY_FILE, rewrite(lambda _: b""), ALL),
    Case("one byte", K.SHARD_INDEX_TRUNCATED, rewrite(lambda data: data[:1]), ALL),
    Case("cut in the index", K.SHARD_INDEX_TRUNCATED, rewrite(lambda data: data[:63]), ALL),
    Case("all zeros", K.SHARD_INDEX_EMPTY, rewrite(lambda data: bytes(len(data))), ALL),
    Case("entry past the end", K.SHARD_INDEX_ENTRY_RANGE, entry(10, 1 << 40), **IN_MINISHARD),
    Case("entry reversed", K.SHARD_INDEX_ENTRY_RANGE, entry(20, 10), **IN_MINISHARD),
    Case("entry wraps", K.SHARD_INDEX_ENTRY_RANGE, entry(TOP - 8, TOP - 4), **IN_MINISHARD),
    Case("entry into the index", K.SHARD_INDEX_ENTRY_RANGE, entry(TOP - 64, 24), **IN_MINISHARD),
    Case("entry of another", K.SHARD_INDEX_OVERLAP, same_entry, **IN_MINISHARD),
    Case("index flipped", K.MINISHARD_INDEX_DECODE, stored_index(flip(14)), **IN_MINISHARD),
    Case("index CRC", K.MINISHARD_INDEX_DECODE, stored_index(flip(-8)), **IN_MINISHARD),
    Case("index cut", K.MINISHARD_INDEX_DECODE, stored_index(lambda d: d[:-9]), **IN_MINISHARD),
    Case(
        "index trailed", K.MINISHARD_INDEX_DECODE, stored_index(lambda d: d + b"x"), **IN_MINISHARD
    ),
    Case("index bomb", K.MINISHARD_INDEX_DECODE, stored_index(lambda _: BOMB), **IN_MINISHARD),
    Case(
        "index length",
        K.MINISHARD_INDEX_LENGTH,
        stored_index(lambda d: gzipped(gzip.decompress(d) + bytes(8))),
        **IN_MINISHARD,
    ),
    Case(
        "index too long",
        K.MINISHARD_INDEX_LENGTH,
        stored_index(lambda d: d + bytes(4 << 20)),
        **IN_MINISHARD,
    ),
    Case(
        "id twice",
        K.DUPLICATE_CHUNK_ID,
        index_row(1, lambda _, offset, size: (4, offset, size)),
        chunks=(4,),
        **IN_MINISHARD,
    ),
    Case(
        "foreign id",
        K.FOREIGN_CHUNK_ID,
        index_row(1, lambda _, offset, size: (17, offset, size)),
        chunks=(17,),
        **IN_MINISHARD,
    ),
    Case("spare entry", K.SPARE_ENTRY, outside_row(0), minishard=1, chunks=(36,), **READS_WELL),
    Case("outside id", K.CHUNK_OUTSIDE_GRID, outside_row(7), chunks=(36,), **IN_MINISHARD),
    *(
        Case(
            f"range {name}",
            K.CHUNK_RANGE,
            index_row(3, change),
            chunks=(7,),
            **IN_MINISHARD,
        )
        for name, change in {
            "past the end": lambda i, offset, size: (i, offset, 1 << 30),
            "far away": lambda i, offset, size: (i, 1 << 40, size),
            "wraps": lambda i, offset, size: (i, offset, TOP - offset),
            "below 0": lambda i, offset, size: (i, TOP - 5, size),
        }.items()
    ),
    Case(
        "no size",
        K.EMPTY_CHUNK_ENTRY,
        index_row(2, lambda i, offset, size: (i, offset, 0)),
        bad=[6],
        chunks=(6,),
        error=ChunkError,
        **IN_MINISHARD,
    ),
    Case(
        "overlap",
        K.CHUNK_OVERLAP,
        index_row(1, lambda i, offset, size: (i, offset - 1, size)),
        chunks=(4, 5),
        **IN_MINISHARD,
    ),
    Case(
        "alias",
        K.CHUNK_OVERLAP,
        index_row(1, lambda i, offset, size: (i, offset - size, size)),
        chunks=(4, 5),
        **IN_MINISHARD,
    ),
    Case("bytes at the end", K.UNREFERENCED_BYTES, trailing, **READS_WELL),
    Case("bytes between", K.UNREFERENCED_BYTES, gap, **READS_WELL),
    Case("bytes before", K.UNREFERENCED_BYTES, leading(b"x" * 40), **READS_WELL),
    Case("record flipped", K.COVERAGE_RECORD, leading(flip(30)(RECORD)), **READS_WELL),
    Case("record CRC", K.COVERAGE_RECORD, leading(flip(-1)(RECORD)), **READS_WELL),
    Case("record version", K.COVERAGE_RECORD, leading(flip(8)(RECORD)), **READS_WELL),
    Case("record too long", K.COVERAGE_RECORD, leading(flip(20)(RECORD)), **READS_WELL),
    Case("record lacks a chunk", K.COVERAGE_RECORD, leading(TOO_FEW), **READS_WELL),
    Case("chunk flipped", K.CHUNK_DECODE, stored(flip(20)), **IN_CHUNK),
    Case("chunk magic", K.CHUNK_DECODE, stored(flip(0)), **IN_CHUNK),
    Case("chunk CRC", K.CHUNK_DECODE, stored(flip(-8)), **IN_CHUNK),
    Case("chunk length", K.CHUNK_DECODE, stored(flip(-4)), **IN_CHUNK),
    Case("chunk zeros", K.CHUNK_DECODE, stored(lambda d: bytes(len(d))), **IN_CHUNK),
    Case("chunk cut", K.CHUNK_DECODE, stored(lambda d: d[:-9]), **IN_CHUNK),
    Case("chunk cut and zeros", K.CHUNK_DECODE, stored(lambda d: d[:-12] + bytes(4)), **IN_CHUNK),
    Case("chunk trailed", K.CHUNK_DECODE, stored(lambda d: d + b"x"), **IN_CHUNK),
    Case("chunk padded", K.CHUNK_DECODE, stored(lambda d: d + bytes(64)), **IN_CHUNK),
    Case("chunk bomb", K.CHUNK_DECODE, stored(lambda _: BOMB), **IN_CHUNK),
    Case("chunk too long", K.CHUNK_DECODE, stored(lambda d: d + bytes(4 << 20)), **IN_CHUNK),
    Case("not words", K.ENCODING_LENGTH, encoded(lambda d: d + b"x"), **IN_CHUNK),
    Case("no words", K.CHANNEL_OFFSET, encoded(lambda _: b""), **IN_CHUNK),
    Case("channel offset", K.CHANNEL_OFFSET, word(0, 9999), **IN_CHUNK),
    Case("few words", K.BLOCK_HEADERS_CUT, encoded(lambda d: d[:16]), **IN_CHUNK),
    Case("bits", K.ENCODED_BITS, word(1, 3 << 24 | 8), **IN_CHUNK),
    Case("table", K.LOOKUP_TABLE_OFFSET, word(1, 0xFFFFFF), **IN_CHUNK),
    Case("values", K.ENCODED_VALUES_OFFSET, word(1, 8 << 24 | 8), **IN_CHUNK),
    Case("code", K.CODE_OUTSIDE_TABLE, code_too_far, **IN_CHUNK),
    Case("directory", K.NOT_A_FILE, directory, ALL),
    Case("FIFO", K.NOT_A_FILE, fifo, ALL),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_damage(case: Case, tiny_gzip: TinyVolume) -> None:
    case.make(tiny_gzip)
    result = check_one(tiny_gzip.path, 0, level=case.level)
    assert set(kinds(result)) == {case.kind}
    assert [finding.chunk_id for finding in result.findings] == list(case.chunks)
    assert {finding.minishard_number for finding in result.findings} == {case.minishard}
    for finding in result.findings:
        assert finding.file == "tiny/0.shard"
        assert finding.expected
        assert finding.found
        _check_box(finding.voxel_box, case, finding.cell)
    assert check_one(tiny_gzip.path, 1, level=case.level).findings == ()
    check(tiny_gzip, case.bad, case.status, case.error, in_index=case.in_index)


# One wrong number of an index shifts all that follow.
WHOLE_MINISHARD = {K.DUPLICATE_CHUNK_ID, K.CHUNK_RANGE, K.CHUNK_OVERLAP}


def _check_box(box: Box | None, case: Case, cell: Any) -> None:
    assert box is not None
    if cell is not None and case.kind not in WHOLE_MINISHARD:
        assert box.shape == TinyVolume.chunk_shape
    elif case.minishard is not None:
        assert box == Box((0, 0, 8), (32, 32, 16))
    else:
        assert box == Box((0, 0, 0), (64, 32, 16))


IN_CHUNKS = {K.CHUNK_DECODE, K.ENCODING_LENGTH, K.CHANNEL_OFFSET, K.BLOCK_HEADERS_CUT}
IN_CHUNKS |= {K.ENCODED_BITS, K.LOOKUP_TABLE_OFFSET, K.ENCODED_VALUES_OFFSET, K.CODE_OUTSIDE_TABLE}


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_quick_finds_what_the_indices_show(case: Case, tiny_gzip: TinyVolume) -> None:
    case.make(tiny_gzip)
    found = set(kinds(check_one(tiny_gzip.path, 0, level="quick")))
    too_long = case.name == "chunk too long"
    assert found == (set() if case.kind in IN_CHUNKS or too_long else {case.kind})


def test_a_zeroed_entry_is_verify_s_alone(tiny_gzip: TinyVolume) -> None:
    entry(0, 0)(tiny_gzip)
    result = check_one(tiny_gzip.path, 0)
    assert kinds(result) == [K.UNREFERENCED_BYTES] * 2  # its chunks, and its index
    check(tiny_gzip, SECOND, PointStatus.EMPTY)


def test_swapped_shards(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    first, second = tiny_gzip.shard_path(0), tiny_gzip.shard_path(1)
    kept = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(kept)
    for number in (0, 1):
        result = check_one(tiny_gzip.path, number)
        assert kinds(result) == [K.FOREIGN_CHUNK_ID] * 4
        assert [finding.minishard_number for finding in result.findings] == [0, 1, 2, 3]
    check(tiny_gzip, range(32))


def test_a_renamed_shard(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    tiny_gzip.shard_path(0).replace(tiny_gzip.shard_path(1))
    assert kinds(check_one(tiny_gzip.path, 1)) == [K.FOREIGN_CHUNK_ID] * 4


def test_several_gzip_members_are_valid(tiny_gzip: TinyVolume) -> None:
    data = tiny_chunk(5)
    stored(lambda _: gzipped(data[:20]) + gzipped(b"") + gzipped(data[20:]))(tiny_gzip)
    assert check_one(tiny_gzip.path, 0).findings == ()
    check(tiny_gzip, [])


def test_a_whole_coverage_record(tiny_gzip: TinyVolume) -> None:
    leading(RECORD)(tiny_gzip)
    (finding,) = check_one(tiny_gzip.path, 0).findings
    assert (finding.kind, finding.found) == (K.PARTIAL, "16 of them")
    check(tiny_gzip, [])


def test_each_damage_of_many_is_found(tiny_gzip: TinyVolume) -> None:
    shard = tiny_gzip.shards[0]
    for chunk_id in (1, 3, 9):
        shard.chunks[chunk_id] = flip(-8)(shard.chunks[chunk_id])
    shard.stored_indices[1] = b"no gzip"
    shard.entries[3] = (5, 4)
    tiny_gzip.write()
    result = check_one(tiny_gzip.path, 0)
    found = {
        (finding.kind, finding.minishard_number, finding.chunk_id) for finding in result.findings
    }
    assert found == {
        (K.SHARD_INDEX_ENTRY_RANGE, 3, None),
        (K.MINISHARD_INDEX_DECODE, 1, None),
        (K.CHUNK_DECODE, 0, 1),
        (K.CHUNK_DECODE, 0, 3),
        (K.CHUNK_DECODE, 2, 9),
    }
    check_reads_of_rest(tiny_gzip, {1, 3, 9, *SECOND, *range(12, 16)})


def check_reads_of_rest(tiny: TinyVolume, bad: set[int]) -> None:
    with open_volume(tiny.path) as vol:
        _, status = vol.lookup(
            [tiny.lower(i) for i in range(32)], units="voxel", return_status=True
        )
    assert set(np.flatnonzero(status == PointStatus.CORRUPT).tolist()) == bad


def test_an_overlap_with_an_index(tiny_gzip: TinyVolume) -> None:
    last = tiny_gzip.shards[0].index_entries()[0]
    index_row(3, lambda i, offset, size: (i, last[0], 8))(tiny_gzip)
    result = check_one(tiny_gzip.path, 0)
    assert kinds(result) == [K.CHUNK_OVERLAP]
    assert "the index of minishard 0" in result.findings[0].found


def test_cuts_everywhere_are_found(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    path = tiny_gzip.shard_path(0)
    data = path.read_bytes()
    for length in {*range(0, len(data), 7), *range(len(data) - 40, len(data))}:
        path.write_bytes(data[:length])
        assert damage(check_one(tiny_gzip.path, 0, level="quick")), length


def test_memory_stays_bounded(tiny_gzip: TinyVolume) -> None:
    shard = tiny_gzip.shards[0]
    shard.chunks[5] = BOMB
    shard.chunks[6] = BOMB[:-4] + struct.pack("<I", 100)
    shard.stored_indices[2] = BOMB
    tiny_gzip.write()
    check_one(tiny_gzip.path, 0, level="deep")  # loads the kernels
    tracemalloc.start()
    try:
        result = check_one(tiny_gzip.path, 0, level="deep")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert set(kinds(result)) == {K.CHUNK_DECODE, K.MINISHARD_INDEX_DECODE}
    assert peak < 24 << 20


def test_a_file_that_is_gone(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write().shard_path(0).unlink()
    result = check_one(tiny_gzip.path, 0)
    assert kinds(result) == [K.FILE_CHANGED]
    assert result.stamp is None


def test_a_file_that_gets_shorter(tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gzip.write()
    job = job_for(tiny_gzip.path, 0)
    monkeypatch.setattr(os, "pread", lambda descriptor, length, position: b"")
    result = check_shard(job)
    assert kinds(result) == [K.FILE_CHANGED]


def test_a_drive_that_fails(tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny_gzip.write()

    def fail(*args: Any) -> bytes:
        raise OSError(5, "Input/output error")

    job = job_for(tiny_gzip.path, 0)
    with open_volume(tiny_gzip.path) as vol:
        replace_pread(monkeypatch, fail)
        result = check_shard(job)
        assert kinds(result) == [K.UNREADABLE]
        assert "EIO" in result.findings[0].found
        with pytest.raises(ReadError):
            vol.cutout(vol.bounds)


def test_a_bad_sector_hides_no_other_chunk(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    shard = tiny_gzip.shards[0]
    tiny_gzip.write()
    bad = 64 + shard.chunk_offsets()[5]
    pread = os.pread
    failed = []

    def fail_there(descriptor: int, length: int, position: int) -> bytes:
        if position <= bad < position + length:
            failed.append(length)
            raise OSError(5, "Input/output error")
        return pread(descriptor, length, position)

    replace_pread(monkeypatch, fail_there)
    result = check_one(tiny_gzip.path, 0)
    assert [(finding.kind, finding.chunk_id) for finding in result.findings] == [(K.UNREADABLE, 5)]
    assert result.totals.inflated_chunks == 15
    # Each may take seconds: all of them together and alone, by two readers at most.
    assert len(failed) <= 4


@pytest.mark.parametrize("name", ["crc32c", "md5"])
def test_a_checksum_of_the_source(tiny_gzip: TinyVolume, name: str) -> None:
    tiny_gzip.shards[0].gaps[0] = b"?"
    tiny_gzip.write()
    data = tiny_gzip.shard_path(0).read_bytes()
    if name == "crc32c":
        digest = google_crc32c.Checksum(data).digest()
    else:
        digest = hashlib.md5(data).digest()
    good = base64.b64encode(digest).decode()
    bad = base64.b64encode(flip(0)(digest)).decode()
    whole = check_one(tiny_gzip.path, 0, record=FileRecord("whole", len(data), **{name: good}))
    assert kinds(whole) == [K.UNREFERENCED_BYTES]
    assert whole.totals.checksummed_files == 1
    wrong = check_one(tiny_gzip.path, 0, record=FileRecord("whole", len(data), **{name: bad}))
    assert kinds(wrong) == [K.UNREFERENCED_BYTES, K.CHECKSUM_MISMATCH]
    quick = FileRecord("whole", len(data), **{name: bad})
    assert kinds(check_one(tiny_gzip.path, 0, record=quick, level="quick")) == [
        K.UNREFERENCED_BYTES
    ]


def test_another_size_than_the_source_s(tiny_gzip: TinyVolume) -> None:
    tiny_gzip.write()
    size = tiny_gzip.shard_path(0).stat().st_size
    record = FileRecord("whole", size + 1, crc32c="AAAAAA==")
    assert kinds(check_one(tiny_gzip.path, 0, record=record, level="quick")) == [K.SIZE_MISMATCH]
    assert kinds(check_one(tiny_gzip.path, 0, record=record)) == [K.SIZE_MISMATCH]
    partial = FileRecord("partial", size + 1)
    assert check_one(tiny_gzip.path, 0, record=partial).findings == ()


def test_another_implementation_that_disagrees(
    tiny_gzip: TinyVolume, monkeypatch: pytest.MonkeyPatch
) -> None:
    import compressed_segmentation

    tiny_gzip.write()
    options = {"level": "deep", "cross_check": 1.0}
    assert check_one(tiny_gzip.path, 0, **options).totals.cross_checked_chunks == 16
    monkeypatch.setattr(
        compressed_segmentation,
        "decompress",
        lambda data, shape, dtype, **_: np.ones(shape, dtype, order="F"),
    )
    result = check_one(tiny_gzip.path, 0, **options)
    assert kinds(result) == [K.CROSS_CHECK_MISMATCH] * 16
    assert result.totals.cross_checked_chunks == 0
    assert "2048 of 2048 voxels differ, the first (0, 0, 0)" in result.findings[0].found


def test_raw_data_is_counted_as_unverifiable(tiny: TinyVolume) -> None:
    tiny.write()
    totals = check_one(tiny.path, 0).totals
    assert (totals.unverifiable_chunks, totals.inflated_chunks) == (16, 16)
    tiny.shards[0].chunks[5] = flip(7)(tiny.shards[0].chunks[5])  # the bits of the first block
    tiny.write()
    assert kinds(check_one(tiny.path, 0)) == [K.ENCODED_VALUES_OFFSET]
