"""Shard files of some chunks: what goes in is read again, whatever the order and the merges."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from shard_builder import Shard, TinyVolume

from shardreader.checking.findings import FindingKind
from shardreader.checking.shard_check import check_shard
from shardreader.checking.shard_job import ShardJob
from shardreader.copies.partial_shard import read_partial_shard
from shardreader.copies.shard_writer import (
    NewChunks,
    OtherGenerationError,
    merge_shard,
    write_shard,
)
from shardreader.errors import ReadError, ShardError
from shardreader.format.coverage import Coverage, encode_coverage
from shardreader.format.info import parse_info
from shardreader.format.sharding import ShardingSpec

SPECS = [ShardingSpec(2, 2, 1, "identity", index, "raw") for index in ("raw", "gzip", "zstd")] + [
    ShardingSpec(1, 3, 0, "murmurhash3_x86_128", "gzip", "raw"),
    ShardingSpec(0, 0, 0),
]

IDS = st.integers(0, 30)


def ids_array(ids: object) -> NDArray[np.uint64]:
    return np.array(list(ids), dtype=np.uint64)  # type: ignore[call-overload]


def stored(chunk_id: int) -> bytes:
    return bytes(str(chunk_id), "ascii") * (1 + chunk_id % 3)


def mine(spec: ShardingSpec, ids: object) -> list[int]:
    """Give those of the ids that belong into shard 0."""
    array = ids_array(ids)
    return array[spec.locate(array)[0] == 0].tolist()


def chunks_of(spec: ShardingSpec, ids: object) -> NewChunks:
    return NewChunks.of({i: stored(i) for i in mine(spec, ids)}, spec)


def coverage_of(spec: ShardingSpec, ids: object, generation: str = "1") -> Coverage:
    return Coverage.of_ids(ids_array(mine(spec, ids)), generation=generation)


def content(path: Path, spec: ShardingSpec) -> dict[int, bytes]:
    here = read_partial_shard(str(path), spec, 0)
    assert here is not None
    data = path.read_bytes()
    ranges = zip(here.chunk_ids.tolist(), here.starts, here.ends, strict=True)
    return {chunk_id: data[start:end] for chunk_id, start, end in ranges}


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(SPECS),
    st.lists(st.tuples(st.sets(IDS), st.sets(IDS)), min_size=1, max_size=4),
)
def test_any_merges(
    tmp_path_factory: pytest.TempPathFactory,
    spec: ShardingSpec,
    steps: list[tuple[set[int], set[int]]],
) -> None:
    path = tmp_path_factory.mktemp("merges") / spec.file_name(0)
    have: set[int] = set()
    asked: set[int] = set()
    for present, absent in steps:
        ids = [*(present | absent)]
        # Whether the source has a chunk does not change from one fetch to the next.
        has = {i for i in ids if i % 4}
        assert merge_shard(str(path), spec, 0, chunks_of(spec, has), coverage_of(spec, ids))
        have |= {*mine(spec, has)}
        asked |= {*mine(spec, ids)}
        assert content(path, spec) == {i: stored(i) for i in have}
        here = read_partial_shard(str(path), spec, 0)
        assert here is not None
        every = ids_array(range(32))
        assert here.coverage.covers(every).tolist() == [i in asked for i in range(32)]
    assert os.listdir(path.parent) == [path.name]
    # However it came together, it is the file of one fetch.
    other = path.parent / "other"
    write_shard(str(other), spec, 0, chunks_of(spec, have), coverage_of(spec, asked))
    assert other.read_bytes() == path.read_bytes()


def test_the_layout(tmp_path: Path) -> None:
    spec = ShardingSpec(2, 2, 1)
    path = tmp_path / "0.shard"
    ids = [4, 0, 1]
    new = NewChunks(ids_array(ids), np.array([len(stored(i)) for i in ids]), map(stored, ids))
    coverage = coverage_of(spec, range(6))
    write_shard(str(path), spec, 0, new, coverage)
    record = encode_coverage(coverage)
    want = Shard(spec, {i: stored(i) for i in ids}, lead=record).to_bytes()
    assert path.read_bytes() == want


@pytest.mark.parametrize("encoding", ["raw", "gzip", "zstd"])
def test_verify_finds_nothing(tmp_path: Path, encoding: str) -> None:
    volume = TinyVolume(tmp_path, index_encoding=encoding, data_encoding=encoding).write()
    chunks = volume.shards[0].chunks
    info = parse_info((tmp_path / "info").read_bytes(), "info")
    path = volume.shard_path(0)
    path.unlink()
    for ids in ([0, 5], [3, 4, 7], []):
        new = NewChunks.of({i: chunks[i] for i in ids}, volume.spec)
        merge_shard(str(path), volume.spec, 0, new, coverage_of(volume.spec, ids))
    result = check_shard(ShardJob(str(tmp_path), info.scales[0], 1, "uint64", 0))
    assert [(finding.kind, finding.found) for finding in result.findings] == [
        (FindingKind.PARTIAL, "5 of them")
    ]
    assert result.totals.chunks == 5


def test_no_chunks_at_all(tmp_path: Path) -> None:
    spec = SPECS[1]
    path = tmp_path / "0.shard"
    merge_shard(str(path), spec, 0, chunks_of(spec, []), coverage_of(spec, [2, 3]))
    assert content(path, spec) == {}
    assert path.stat().st_size == spec.shard_index_end + len(
        encode_coverage(coverage_of(spec, [2, 3]))
    )


def test_another_generation_is_not_mixed_in(tmp_path: Path) -> None:
    spec = SPECS[0]
    path = tmp_path / "0.shard"
    merge_shard(str(path), spec, 0, chunks_of(spec, [1]), coverage_of(spec, [1], "1"))
    before = path.read_bytes()
    with pytest.raises(OtherGenerationError, match=r"version '2'.*found .* version '1'"):
        merge_shard(str(path), spec, 0, chunks_of(spec, [2]), coverage_of(spec, [2], "2"))
    assert path.read_bytes() == before
    write_shard(str(path), spec, 0, chunks_of(spec, [2]), coverage_of(spec, [2], "2"))
    assert content(path, spec) == {2: stored(2)}


def test_a_whole_shard_is_left(tmp_path: Path) -> None:
    volume = TinyVolume(tmp_path).write()
    new = chunks_of(volume.spec, [1])
    for name in ("0.shard", "pair"):
        if name == "pair":
            data = volume.shard_path(0).read_bytes()
            (tmp_path / "tiny/0.index").write_bytes(data[:64])
            (tmp_path / "tiny/0.data").write_bytes(data[64:])
            volume.shard_path(0).unlink()
        before = {p: p.read_bytes() for p in (tmp_path / "tiny").iterdir()}
        asked = coverage_of(volume.spec, [1])
        assert not merge_shard(str(volume.shard_path(0)), volume.spec, 0, new, asked)
        assert {p: p.read_bytes() for p in (tmp_path / "tiny").iterdir()} == before


def test_what_cannot_be_written(tmp_path: Path) -> None:
    spec = SPECS[0]
    path = str(tmp_path / "0.shard")
    three = np.array([3], dtype=np.int64)

    def write(ids: list[int], asked: list[int], data: list[bytes], sizes: object = three) -> None:
        new = NewChunks(ids_array(ids), sizes, data)  # type: ignore[arg-type]
        write_shard(path, spec, 0, new, Coverage.of_ids(ids_array(asked), generation=None))

    for ids, asked, data, words in [
        ([1, 1], [1], [b"abc", b"abc"], "twice"),
        ([16], [16], [b"abc"], "another shard"),
        ([1], [2], [b"abc"], "not covered"),
        ([1, 2], [1, 2], [b"abc"], "size"),
        ([1], [1], [b"ab"], "other sizes"),
        ([1], [1], [], "other sizes"),
        ([1], [1], [b"abc", b"d"], "other sizes"),
    ]:
        with pytest.raises(ValueError, match=words):
            write(ids, asked, data)
    with pytest.raises(ValueError, match="size"):
        write([1], [1], [b""], np.array([0]))
    assert not os.listdir(tmp_path)


def test_a_failure_of_the_chunks_leaves_what_was_there(tmp_path: Path) -> None:
    spec = SPECS[0]
    path = tmp_path / "0.shard"
    merge_shard(str(path), spec, 0, chunks_of(spec, [1]), coverage_of(spec, [1]))
    before = path.read_bytes()

    def breaking() -> object:
        yield b"abc"
        raise ReadError("the network is down")

    new = NewChunks(ids_array([2, 3]), np.array([3, 3]), breaking())  # type: ignore[arg-type]
    with pytest.raises(ReadError, match="network"):
        merge_shard(str(path), spec, 0, new, coverage_of(spec, [2, 3]))
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["0.shard"]


def test_every_cut_and_damage_of_what_is_here_is_an_error(tmp_path: Path) -> None:
    spec = SPECS[1]
    path = tmp_path / "0.shard"
    ids = [1, 2, 9]
    merge_shard(str(path), spec, 0, chunks_of(spec, ids), coverage_of(spec, ids))
    good = path.read_bytes()
    chunks_start = len(good) - sum(
        e - s for s, e in np.frombuffer(good[:64], "<u8").reshape(-1, 2).tolist()
    )
    for at in range(64, chunks_start - sum(len(stored(i)) for i in ids)):
        path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
        with pytest.raises(ShardError, match="coverage record"):
            merge_shard(str(path), spec, 0, chunks_of(spec, [3]), coverage_of(spec, [3]))
    for length in (0, 63, 80, len(good) - 1):
        path.write_bytes(good[:length])
        with pytest.raises(ShardError, match=r"0\.shard"):
            merge_shard(str(path), spec, 0, chunks_of(spec, [3]), coverage_of(spec, [3]))
