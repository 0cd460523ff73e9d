"""The hash of chunk ids, against mmh3 and against the shards that tensorstore writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorstore
from hypothesis import given, settings
from hypothesis import strategies as st
from murmurhash_oracle import hash_by_mmh3

from shardreader.format.murmurhash import murmurhash3_x86_128_low
from shardreader.format.sharding import ShardingSpec

# Made with mmh3 5.3.1, once: they hold mmh3 to them, too.
GOLDEN = {
    0x0: 0x4772B084E028AE41,
    0x1: 0xE8BD67D616D4CE9A,
    0x2: 0xD62F9CD21B013F5A,
    0xFF: 0x4E2FC5B5B87BF79A,
    0x80000000: 0x734F3B6E502D8C86,
    0xFFFFFFFF: 0x007260FFC08751BE,
    0x100000000: 0xBBB12D133B78FD64,
    0x123456789ABCDEF: 0x708036264C109D93,
    0x6B58D4F: 0x59BB0A60CE33C3CE,
    0x8000000000000000: 0x998A35E4316ACFA8,
    0xFFFFFFFFFFFFFFFF: 0x574F66BD212B5D1A,
}


@pytest.mark.parametrize(("key", "hashed"), GOLDEN.items())
def test_golden_values(key: int, hashed: int) -> None:
    assert murmurhash3_x86_128_low(np.array([key], np.uint64)).tolist() == [hashed]
    assert hash_by_mmh3(key) == hashed


@settings(deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=50))
def test_any_keys_against_mmh3(keys: list[int]) -> None:
    hashes = murmurhash3_x86_128_low(np.array(keys, np.uint64))
    assert hashes.dtype == np.uint64
    assert hashes.tolist() == [hash_by_mmh3(key) for key in keys]


def test_many_keys_are_hashed_in_pieces() -> None:
    keys = np.random.default_rng(0).integers(0, 2**64, 40_000, dtype=np.uint64)
    assert murmurhash3_x86_128_low(keys).tolist() == list(map(hash_by_mmh3, keys.tolist()))


def test_shape_and_input_are_kept() -> None:
    keys = np.arange(24, dtype=np.uint64).reshape(2, 3, 4)[:, ::-1, ::2]
    before = keys.copy()
    hashes = murmurhash3_x86_128_low(keys)
    assert hashes.shape == keys.shape
    np.testing.assert_array_equal(keys, before)
    assert hashes.ravel().tolist() == [hash_by_mmh3(key) for key in keys.ravel().tolist()]


@pytest.mark.parametrize(
    ("preshift_bits", "minishard_bits", "shard_bits"),
    [(0, 0, 0), (0, 0, 6), (2, 3, 5), (64, 1, 3), (1, 10, 2), (0, 2, 40)],
)
def test_the_minishards_that_tensorstore_fills(
    tmp_path: Path, preshift_bits: int, minishard_bits: int, shard_bits: int
) -> None:
    spec = ShardingSpec(preshift_bits, minishard_bits, shard_bits, hash="murmurhash3_x86_128")
    ids = [0, 1, 2, 7, 100, 2**33, 2**64 - 1]
    kvstore = {
        "driver": "neuroglancer_uint64_sharded",
        "base": {"driver": "file", "path": f"{tmp_path}/"},
        "metadata": {
            "@type": "neuroglancer_uint64_sharded_v1",
            "hash": "murmurhash3_x86_128",
            "preshift_bits": preshift_bits,
            "minishard_bits": minishard_bits,
            "shard_bits": shard_bits,
        },
    }
    store = tensorstore.KvStore.open(kvstore).result()
    for id_ in ids:
        store.write(id_.to_bytes(8, "big"), b"x").result()
    shards, minishards = spec.locate(np.array(ids, np.uint64))
    wanted = {(spec.file_name(int(s)), int(m)) for s, m in zip(shards, minishards, strict=True)}
    filled = set()
    for path in tmp_path.glob("*.shard"):
        index = np.frombuffer(path.read_bytes()[: spec.shard_index_end], "<u8").reshape(-1, 2)
        filled |= {(path.name, int(m)) for m in np.flatnonzero(index[:, 0] != index[:, 1])}
    assert filled == wanted
