"""Shards of the format's first version: ``N.index`` and ``N.data`` instead of ``N.shard``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fixture_truth import load_fafb_patches, load_truth, scale_keys
from shard_builder import TinyVolume, block_label
from source_copies import SHARD_INDEX_BYTES, FirstVersionCopy

from shardreader import PointStatus, ShardError, open_volume
from shardreader.storage.local_store import LocalStore, StaleFileError
from shardreader.storage.shard_pairs import PairIdentity, ShardFiles, parts_of

OK, ABSENT, CORRUPT = PointStatus.OK, PointStatus.NOT_DOWNLOADED, PointStatus.CORRUPT


@pytest.fixture
def copy(tmp_path: Path) -> FirstVersionCopy:
    written = FirstVersionCopy(tmp_path / "volume", "gzip")
    written.write()
    return written


def split(path: Path, scale: str | None = None) -> None:
    """Turn every shard of a scale into a pair."""
    with open_volume(path, scale=scale) as vol:
        assert vol.scale.sharding is not None
        end, key = vol.scale.sharding.shard_index_end, vol.scale.key
    for shard in [*(path / key).glob("*.shard")]:
        data = shard.read_bytes()
        shard.with_suffix(".index").write_bytes(data[:end])
        shard.with_suffix(".data").write_bytes(data[end:])
        shard.unlink()


def statuses(tiny: TinyVolume) -> list[int]:
    """Give the status of the first chunk of each shard."""
    with open_volume(tiny.path, threads=1) as vol:
        points = [tiny.lower(0), tiny.lower(16)]
        labels, status = vol.lookup(points, units="voxel", return_status=True)
    truth = [block_label(0, 0), block_label(16, 0)]
    assert [int(x) for x in labels] == [
        label if s == OK else 0 for label, s in zip(truth, status.tolist(), strict=True)
    ]
    found: list[int] = status.tolist()
    return found


@pytest.mark.parametrize("name", ["uint32", "murmurhash", "raw-index-raw-data", "two-scales"])
def test_volumes_of_other_writers_as_pairs(writable: Callable[[str], Path], name: str) -> None:
    path = writable(name)
    for key in scale_keys(name):
        split(path, key)
        with open_volume(path, scale=key) as vol:
            np.testing.assert_array_equal(vol[...], load_truth(name, key).labels)


def test_fafb_as_pairs(writable: Callable[[str], Path]) -> None:
    path = writable("fafb-mini")
    split(path)
    for patch in load_fafb_patches():
        box = tuple(map(slice, patch.origin, patch.upper))
        with open_volume(path) as vol:
            np.testing.assert_array_equal(vol[box], patch.labels)


@pytest.mark.parametrize("part", [0, 1])
def test_half_a_pair_is_not_downloaded(copy: FirstVersionCopy, part: int) -> None:
    copy.files_of(0)[part].unlink()
    assert statuses(copy.tiny) == [ABSENT, OK]


def test_pairs_and_whole_shards_may_be_mixed(copy: FirstVersionCopy) -> None:
    copy.tiny.shard_path(1).write_bytes(copy.tiny.shards[1].to_bytes())
    for file in copy.files_of(16):
        file.unlink()
    assert statuses(copy.tiny) == [OK, OK]


def test_a_whole_shard_wins(copy: FirstVersionCopy) -> None:
    copy.tiny.shard_path(0).write_bytes(copy.tiny.shards[0].to_bytes())
    index_file, data_file = copy.files_of(0)
    index_file.write_bytes(b"junk")
    data_file.write_bytes(b"junk")
    assert statuses(copy.tiny) == [OK, OK]
    copy.tiny.shard_path(0).write_bytes(b"junk")
    assert statuses(copy.tiny) == [CORRUPT, OK]


def test_pairs_of_two_shards_swapped(copy: FirstVersionCopy) -> None:
    for first, second in zip(copy.files_of(0), copy.files_of(16), strict=True):
        a, b = first.read_bytes(), second.read_bytes()
        first.write_bytes(b)
        second.write_bytes(a)
    assert statuses(copy.tiny) == [CORRUPT, CORRUPT]


def test_the_data_of_another_shard(copy: FirstVersionCopy) -> None:
    (_, mine), (_, other) = copy.files_of(0), copy.files_of(16)
    mine.write_bytes(other.read_bytes())
    assert statuses(copy.tiny) == [CORRUPT, OK]


@pytest.mark.parametrize("index_bytes", [0, 1, SHARD_INDEX_BYTES - 16, SHARD_INDEX_BYTES + 16])
def test_an_index_of_a_wrong_length(copy: FirstVersionCopy, index_bytes: int) -> None:
    index_file = copy.files_of(0)[0]
    index_file.write_bytes(index_file.read_bytes()[:index_bytes].ljust(index_bytes, b"\0"))
    assert statuses(copy.tiny) == [CORRUPT, OK]


def test_a_cut_data_file(copy: FirstVersionCopy) -> None:
    data_file = copy.files_of(0)[1]
    data_file.write_bytes(data_file.read_bytes()[:-1])
    with open_volume(copy.path, threads=1) as vol:
        points = [copy.tiny.lower(i) for i in range(16)]
        _, status = vol.lookup(points, units="voxel", return_status=True)
        assert status.tolist() == [OK] * 12 + [CORRUPT] * 4  # the last minishard's index is cut
        with pytest.raises(ShardError, match=r"0\.index \+ .*0\.data.*expected.*found"):
            vol.lookup(points, units="voxel")


def test_any_range_of_a_pair_is_that_of_the_whole(tmp_path: Path) -> None:
    whole = bytes(range(23))
    for cut in (0, 1, 11, 23):
        (tmp_path / "a.index").write_bytes(whole[:cut])
        (tmp_path / "a.data").write_bytes(whole[cut:])
        store = LocalStore(str(tmp_path))
        files = ShardFiles(store)
        identity = files.identity("a.shard")
        assert isinstance(identity, PairIdentity)
        assert identity.size == len(whole)
        for start in range(len(whole)):
            for end in range(start + 1, len(whole) + 1):
                found = files.read("a.shard", start=start, end=end, identity=identity)
                assert found == whole[start:end]
        with pytest.raises(StaleFileError):
            files.read("a.shard", start=20, end=24, identity=identity)
        store.close()


def test_names_of_a_pair() -> None:
    assert parts_of("s/0fa.shard") == ["s/0fa.index", "s/0fa.data"]
