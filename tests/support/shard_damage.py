"""Damages of a shard of a `TinyVolume`, one by one."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from shard_builder import TinyVolume, code_too_far, gzipped

from shardreader.checking.findings import FindingKind as K
from shardreader.errors import ChunkError, PointStatus, ShardError
from shardreader.format.coverage import Coverage, encode_coverage

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
