"""Each kind of damage, made to a good shard: found there, nothing else found, and reads hold.

`check` of the semantics tests reads every chunk in three ways: with a status and an error in the
damaged ones, and with their labels in all others.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct
import tracemalloc
from typing import Any

import google_crc32c
import numpy as np
import pytest
from preads import replace_pread
from shard_builder import TinyVolume, gzipped, tiny_chunk
from shard_checks import check_one, damage, job_for, kinds
from shard_damage import (
    BOMB,
    CASES,
    RECORD,
    SECOND,
    Case,
    entry,
    flip,
    index_row,
    leading,
    stored,
)
from tiny_reads import check

from shardreader import open_volume
from shardreader.checking.findings import FindingKind as K
from shardreader.checking.shard_check import check_shard
from shardreader.errors import PointStatus, ReadError
from shardreader.format.grid import Box
from shardreader.format.manifest import FileRecord


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
