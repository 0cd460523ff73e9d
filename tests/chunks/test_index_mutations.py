"""One wrong number in a minishard index: never another chunk's label, never EMPTY for stored data.

A raw index has no checksum, and a gzip index is compressed again here so that its checksum is
right. What tensorstore reads from the damaged file too is no contradiction, and may be read.
"""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore as ts
from cli import run
from fixture_truth import FIXTURES, load_truth, read_info, small_volume_names
from numpy.typing import NDArray
from shard_builder import Shard, encode
from volumes import Spec, Written, morton_codes, random_labels, write_volume

from shardreader import PointStatus, open_volume
from shardreader.format.sharding import ShardingSpec

NAMES = [
    name
    for name in small_volume_names()
    for scale in read_info(FIXTURES / name)["scales"][:1]
    if scale.get("sharding") and scale["encoding"] not in ("compresso", "crackle")
]


def mutated(data: bytes, spec: ShardingSpec, rng: np.random.Generator) -> bytes:
    """A shard with one number of one minishard index changed; its gzip checksum is right."""
    end = 16 << spec.minishard_bits
    entries = np.frombuffer(data[:end], "<u8").reshape(-1, 2).copy()
    minishard = rng.choice(np.flatnonzero(entries[:, 1] > entries[:, 0]))
    start, stop = (entries[minishard] + np.uint64(end)).tolist()
    stored = data[start:stop]
    if spec.minishard_index_encoding == "gzip":
        stored = gzip.decompress(stored)
    numbers = np.frombuffer(stored, "<u8").copy()
    at = rng.integers(len(numbers))
    if rng.random() < 0.5:
        numbers[at] ^= np.uint64(1) << np.uint64(rng.choice([0, 1, 2, 3, 5, 8, 13, 30, 63]))
    else:
        numbers[at] = rng.choice(numbers)
    stored = encode(numbers.tobytes(), spec.minishard_index_encoding)
    if len(stored) == stop - start:
        return data[:start] + stored + data[stop:]
    entries[minishard] = len(data) - end, len(data) - end + len(stored)
    return entries.tobytes() + data[end:] + stored


def read_points(path: Path, points: NDArray[np.int64]) -> tuple[NDArray[Any], NDArray[Any]]:
    """Labels of shape (n, channels) and statuses."""
    with open_volume(path, threads=1) as vol:
        labels, status = vol.lookup(points, units="voxel", return_status=True)
    return labels.reshape(len(points), -1), status


def others_read(path: Path, point: NDArray[np.int64]) -> NDArray[Any] | None:
    """What tensorstore says; None where it refuses."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": str(path)},
        "scale_index": 0,
    }
    try:
        return np.asarray(ts.open(spec).result()[tuple(point)].read().result())
    except ValueError:
        return None


def check_mutations(name: str, folder: Path, seeds: range) -> int:
    """Hold every answer to the sound file or to tensorstore; give how many changed it."""
    copy = Path(shutil.copytree(FIXTURES / name, folder / name))
    scale = read_info(copy)["scales"][0]
    truth = load_truth(name, scale["key"])
    rng = np.random.default_rng(7)
    inside = rng.integers(0, truth.labels.shape[:3], size=(150, 3))
    points = inside + truth.origin
    sound_labels, sound_status = read_points(copy, points)
    with open_volume(copy) as vol:
        spec = vol.scale.sharding
    assert spec is not None
    files = sorted((copy / scale["key"]).glob("*.shard"))
    noticed = 0
    for seed in seeds:
        rng = np.random.default_rng(seed)
        file = files[rng.integers(len(files))]
        data = file.read_bytes()
        file.write_bytes(mutated(data, spec, rng))
        labels, status = read_points(copy, points)
        same = (labels == sound_labels).all(axis=1) & (status == sound_status)
        for row in np.flatnonzero(~same & (status != PointStatus.CORRUPT)):
            other = others_read(copy, points[row])
            assert other is not None, f"seed {seed}: tensorstore refuses {points[row]}"
            np.testing.assert_array_equal(labels[row], other.ravel(), err_msg=f"seed {seed}")
        noticed += not same.all()
        file.write_bytes(data)
    return noticed


def test_one_wrong_number(tmp_path: Path) -> None:
    assert len(NAMES) > 30
    assert sum(check_mutations(name, tmp_path, range(3)) for name in NAMES) > len(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_many_wrong_numbers(tmp_path: Path, name: str) -> None:
    assert check_mutations(name, tmp_path, range(100, 120)) > 3


def test_one_bit_of_an_id_in_a_raw_index(writable: Callable[[str], Path]) -> None:
    """The ids of one minishard fit no more: none of its chunks is read, none is background."""
    path = writable("raw-index-gzip-data")
    file = path / "8_8_40" / "0.shard"
    data = bytearray(file.read_bytes())
    points = np.argwhere(np.ones((40, 30, 20), bool))[::5]
    labels, status = read_points(path, points)
    data[655] ^= 0x40
    file.write_bytes(data)
    damaged_labels, damaged_status = read_points(path, points)
    corrupt = damaged_status == PointStatus.CORRUPT
    assert corrupt.any()
    np.testing.assert_array_equal(damaged_labels[~corrupt], labels[~corrupt])
    np.testing.assert_array_equal(damaged_status[~corrupt], status[~corrupt])
    done = run("verify", path, "--level", "quick")
    assert done.returncode == 1
    assert "0.shard" in done.stdout


def written_with_older_numbering(path: Path) -> Written:
    """16 x 4 x 2 chunks in one minishard, with a bit too many for axes of a power of two."""
    spec = Spec(
        size=(256, 64, 16), preshift_bits=9, minishard_bits=0, shard_bits=0, block_size=(8, 8, 8)
    )
    written = write_volume(path, spec, labels=random_labels(spec, 3, background=False))
    (file,) = written.shards()
    with open_volume(path) as vol:
        sharding = vol.scale.sharding
    assert sharding is not None
    shard = Shard.parse(file.read_bytes(), sharding)
    cells = np.argwhere(np.ones((16, 4, 2), bool))
    codes = morton_codes(cells, (16, 4, 2)).tolist()
    older = morton_codes(cells, (17, 5, 3)).tolist()  # keeps bit i for 2**i <= size
    shard.chunks = {o: shard.chunks[c] for c, o in sorted(zip(codes, older, strict=True))}
    file.write_bytes(shard.to_bytes())
    return written


def test_the_older_chunk_numbering(tmp_path: Path) -> None:
    written = written_with_older_numbering(tmp_path / "older")
    done = run("verify", written.path)
    assert done.returncode == 1
    assert "older chunk numbering" in done.stdout
    cells = np.argwhere(np.ones((16, 4, 2), bool)) * (16, 16, 8)
    labels, status = read_points(written.path, cells)
    assert (status == PointStatus.CORRUPT).all()
    assert not labels.any()
    table = tmp_path / "points.csv"
    table.write_text("x,y,z\n" + "".join("{},{},{}\n".format(*cell) for cell in cells.tolist()))
    done = run("lookup", written.path, table, "--units", "voxel")
    assert done.returncode == 1
    assert done.stdout.count("CORRUPT") == len(cells)
