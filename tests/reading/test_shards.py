"""A directory of shards as a store of bytes by key, against tensorstore's own."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore

from shardreader import (
    ChunkError,
    InfoError,
    NotDownloadedError,
    ReadError,
    ShardError,
    open_shards,
)
from shardreader.format.sharding import ShardingSpec

TOP = (1 << 64) - 1
KEYS = [0, 1, 2, 3, 77, 78, 1 << 20, 1 << 32, (1 << 53) + 1, 1 << 63, TOP - 1, TOP]


def specification(**members: Any) -> dict[str, Any]:
    return {
        "@type": "neuroglancer_uint64_sharded_v1",
        "hash": "murmurhash3_x86_128",
        "preshift_bits": 0,
        "minishard_bits": 2,
        "shard_bits": 1,
        "minishard_index_encoding": "gzip",
        "data_encoding": "gzip",
        **members,
    }


SPECIFICATIONS = {
    "murmurhash": specification(),
    "identity": specification(hash="identity", preshift_bits=1),
    "raw": specification(minishard_index_encoding="raw", data_encoding="raw"),
    "one-shard": specification(minishard_bits=0, shard_bits=0),
    "preshift-64": specification(preshift_bits=64),
}


def value_of(key: int) -> bytes:
    return b"mesh of %d " % key * (1 + key % 7)


def store_of(path: Path, spec: dict[str, Any]) -> Any:
    """Open the directory with tensorstore."""
    return tensorstore.KvStore.open(
        {
            "driver": "neuroglancer_uint64_sharded",
            "metadata": spec,
            "base": {"driver": "file", "path": f"{path}/"},
        }
    ).result()


def write(path: Path, spec: dict[str, Any], keys: list[int] = KEYS) -> Path:
    store = store_of(path, spec)
    with tensorstore.Transaction() as transaction:
        for key in keys:
            store.with_transaction(transaction)[key.to_bytes(8, "big")] = value_of(key)
    return path


@pytest.fixture(params=sorted(SPECIFICATIONS))
def spec(request: pytest.FixtureRequest) -> dict[str, Any]:
    return SPECIFICATIONS[request.param]


@pytest.fixture
def path(tmp_path: Path, spec: dict[str, Any]) -> Path:
    return write(tmp_path, spec)


def shard_numbers(path: Path) -> list[int]:
    return sorted(int(file.stem, 16) for file in path.glob("*.shard"))


def test_get_equals_tensorstore(path: Path, spec: dict[str, Any]) -> None:
    shards, theirs = open_shards(path, spec), store_of(path, spec)
    for key in KEYS:
        value = shards.get(key)
        assert type(value) is bytes
        assert value == value_of(key) == theirs[key.to_bytes(8, "big")]
        assert shards.get(np.uint64(key)) == value


def test_get_many_keeps_order_and_duplicates(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    wanted = [*reversed(KEYS), KEYS[0], KEYS[4], KEYS[4]]
    assert shards.get_many(wanted) == [value_of(key) for key in wanted]
    assert shards.get_many(np.array(wanted, np.uint64)) == [value_of(key) for key in wanted]
    assert shards.get_many(iter(wanted[:2])) == [value_of(key) for key in wanted[:2]]
    assert shards.get_many([]) == []


def test_keys_are_those_of_each_shard(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    found = [shards.keys(number) for number in shard_numbers(path)]
    for keys in found:
        assert keys.dtype == np.uint64
        assert (keys[1:] > keys[:-1]).all()
    assert sorted(key for keys in found for key in keys.tolist()) == KEYS


def test_in(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    assert all(key in shards for key in KEYS)
    assert np.uint64(77) in shards
    for other in (-1, 1 << 64, "77", 77.0, None):
        assert other not in shards


def test_an_absent_key_of_a_shard_that_is_there_is_none(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    locate = shards.spec.locate
    there = set(shard_numbers(path))
    absent = [key for key in range(200, 300) if int(locate(np.array([key], "u8"))[0][0]) in there]
    assert absent
    assert shards.get_many(absent) == [None] * len(absent)
    assert shards.get(absent[0]) is None
    assert not any(key in shards for key in absent)
    mixed = shards.get_many([absent[0], 77, absent[1]])
    assert mixed == [None, value_of(77), None]


@pytest.mark.parametrize("key", [-1, 1 << 64])
def test_what_is_no_key(path: Path, spec: dict[str, Any], key: int) -> None:
    with pytest.raises(ValueError, match="key"):
        open_shards(path, spec).get(key)
    with pytest.raises(TypeError):
        open_shards(path, spec).get(1.0)  # type: ignore[arg-type]


def test_no_such_shard_number(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    for number in (-1, 1 << spec["shard_bits"]):
        with pytest.raises(ValueError, match="shard must be from 0 to"):
            shards.keys(number)


def test_a_shard_that_is_not_there_is_not_downloaded(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    number = shard_numbers(path)[0]
    keys = shards.keys(number).tolist()
    name = shards.spec.file_name(number)
    (path / name).unlink()
    for read in (
        lambda: shards.get(keys[0]),
        lambda: shards.get_many([*KEYS]),
        lambda: keys[0] in shards,
        lambda: shards.keys(number),
    ):
        with pytest.raises(NotDownloadedError, match=rf"{name}.*not in the copy.*copy {name}") as e:
            read()
        assert "missing=" not in str(e.value)  # there is no such option here


def test_a_directory_that_goes_away_is_no_status(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    assert shards.get(77) == value_of(77)
    number = shard_numbers(path)[0]
    shutil.rmtree(path)
    for read in (lambda: shards.get(77), lambda: 77 in shards, lambda: shards.keys(number)):
        with pytest.raises(ReadError, match="is the drive connected"):
            read()
    with pytest.raises(ReadError, match="no such directory"):
        open_shards(path, spec)


def test_damage(tmp_path: Path) -> None:
    spec = SPECIFICATIONS["one-shard"]
    write(tmp_path, spec)
    file = tmp_path / "0.shard"
    good = file.read_bytes()
    shards = open_shards(tmp_path, spec)

    damaged = bytearray(good)
    damaged[30] ^= 0xFF  # in the first value
    file.write_bytes(damaged)
    results = {}
    for key in KEYS:
        try:
            results[key] = shards.get(key)
        except ChunkError as error:
            for part in ("0.shard", f"chunk {key}", "gzip", "expected", "found", "copy 0.shard"):
                assert part in str(error)
            results[key] = None
    assert sum(value is None for value in results.values()) == 1
    assert all(value in (None, value_of(key)) for key, value in results.items())
    with pytest.raises(ChunkError):
        shards.get_many(KEYS)

    for broken in (good[:-1], good[:20], bytes(len(good)), b"", b"x" * 400):
        file.write_bytes(broken)
        for read in (lambda: shards.get(77), lambda: shards.keys(0), lambda: 77 in shards):
            with pytest.raises(ShardError, match=r"0\.shard"):
                read()

    file.write_bytes(good)
    assert shards.get_many(KEYS) == [value_of(key) for key in KEYS]


def test_a_shard_under_the_name_of_another(tmp_path: Path) -> None:
    spec = SPECIFICATIONS["murmurhash"]
    write(tmp_path, spec)
    (tmp_path / "0.shard").replace(tmp_path / "x")
    (tmp_path / "1.shard").replace(tmp_path / "0.shard")
    (tmp_path / "x").replace(tmp_path / "1.shard")
    shards = open_shards(tmp_path, spec)
    for key in KEYS:
        with pytest.raises(ShardError):
            shards.get(key)
    with pytest.raises(ShardError):
        shards.keys(0)


def test_first_version_pairs(path: Path, spec: dict[str, Any]) -> None:
    end = 16 << spec["minishard_bits"]
    for file in [*path.glob("*.shard")]:
        data = file.read_bytes()
        file.with_suffix(".index").write_bytes(data[:end])
        file.with_suffix(".data").write_bytes(data[end:])
        file.unlink()
    assert open_shards(path, spec).get_many(KEYS) == [value_of(key) for key in KEYS]


def test_the_specification_in_all_its_forms(tmp_path: Path) -> None:
    spec = SPECIFICATIONS["murmurhash"]
    write(tmp_path, spec)
    mesh = {
        "@type": "neuroglancer_multilod_draco",
        "vertex_quantization_bits": 10,
        "transform": [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0],
        "lod_scale_multiplier": 1,
        "sharding": spec,
    }
    (tmp_path / "info").write_text(json.dumps(mesh))
    for form in (spec, mesh, ShardingSpec.from_json(spec, "spec")):
        assert open_shards(tmp_path, form).get(77) == value_of(77)
    assert open_shards(str(tmp_path), spec).get(77) == value_of(77)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({}, "specification"),
        ({"sharding": None}, "sharding"),
        (specification(hash="md5"), "hash"),
        ({"sharding": specification(minishard_bits=33)}, r"sharding\.minishard_bits"),
        (specification(data_encoding="br"), "data_encoding"),
    ],
)
def test_a_specification_that_breaks_its_schema(
    tmp_path: Path, form: dict[str, Any], message: str
) -> None:
    with pytest.raises(InfoError, match=message):
        open_shards(tmp_path, form)


@pytest.mark.parametrize("form", [None, "info", 3, [specification()]])
def test_what_is_no_specification(tmp_path: Path, form: Any) -> None:
    with pytest.raises(TypeError, match="mapping"):
        open_shards(tmp_path, form)


def test_it_pickles_as_its_path_and_specification(path: Path, spec: dict[str, Any]) -> None:
    shards = open_shards(path, spec)
    shards.get_many(KEYS)
    pickled = pickle.dumps(shards)
    assert len(pickled) < 1000
    again = pickle.loads(pickled)
    assert again.get_many(KEYS) == [value_of(key) for key in KEYS]
    assert repr(again) == repr(shards)


def _read_in_child(shards: Any, results: Any) -> None:
    results.put(shards.get_many(KEYS))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="has no fork")
def test_it_survives_a_fork(tmp_path: Path) -> None:
    spec = SPECIFICATIONS["murmurhash"]
    shards = open_shards(write(tmp_path, spec), spec)
    shards.get_many(KEYS)
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=_read_in_child, args=(shards, results))
    child.start()
    assert results.get(timeout=30) == [value_of(key) for key in KEYS]
    child.join(30)
    assert child.exitcode == 0
    assert shards.get_many(KEYS) == [value_of(key) for key in KEYS]


def test_a_value_may_be_long_and_may_be_empty(tmp_path: Path) -> None:
    spec = SPECIFICATIONS["one-shard"]
    store = store_of(tmp_path, spec)
    long = np.random.default_rng(0).bytes(3 << 20)
    store[bytes(8)] = long
    store[(1).to_bytes(8, "big")] = b""
    shards = open_shards(tmp_path, spec)
    assert shards.get(0) == long
    assert shards.get(1) == b""


def test_chunks_of_a_volume_are_keys(tmp_path: Path) -> None:
    fixture = Path(__file__).parents[2] / "fixtures" / "uint32"
    scale = json.loads((fixture / "info").read_text())["scales"][0]
    shards = open_shards(fixture / scale["key"], scale)
    theirs = store_of(fixture / scale["key"], scale["sharding"])
    for number in shard_numbers(fixture / scale["key"]):
        keys = shards.keys(number).tolist()
        for key, value in zip(keys, shards.get_many(keys), strict=True):
            assert value == theirs[key.to_bytes(8, "big")]
