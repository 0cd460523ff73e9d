"""Random damage to real gzip shards: found, or every voxel reads unchanged, and nothing else."""

from __future__ import annotations

import random
from itertools import product

import numpy as np
import pytest
from shard_checks import check_one, damage
from volumes import Spec, Written, write_volume

from shardreader import Box, Volume, open_volume
from shardreader.errors import NotDownloadedError, ShardReaderError

# A raw index has no checksum: one flip can give a chunk the id of a neighbour that is not stored.
SPECS = [
    Spec(),
    Spec(size=(40, 40, 20), minishard_bits=2),
    Spec(preshift_bits=0, minishard_bits=3, shard_bits=0, dtype="uint32"),
]


def flips(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 1, 1, 2, 5])):
        data[_place(data, rng)] ^= 1 << rng.randrange(8)


def values(data: bytearray, rng: random.Random) -> None:
    for _ in range(rng.choice([1, 2, 8])):
        data[_place(data, rng)] = rng.choice([0, 1, 127, 128, 255])


def zeros(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    end = min(len(data), start + rng.choice([1, 8, 16, 64, 512]))
    data[start:end] = bytes(end - start)


def cut(data: bytearray, rng: random.Random) -> None:
    del data[_place(data, rng) :]


def remove(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    del data[start : start + rng.choice([1, 8, 16, 100])]


def insert(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    data[start:start] = bytes(rng.randrange(256) for _ in range(rng.choice([1, 4, 16, 100])))


def splice(data: bytearray, rng: random.Random) -> None:
    """Copy one part over another; parts of 8 and 16 bytes are entries of the indices."""
    length = rng.choice([1, 8, 16, 64, 300])
    grain = 8 if length in (8, 16) else 1
    source, target = (_place(data, rng) // grain * grain for _ in range(2))
    part = data[source : source + length]
    data[target : target + len(part)] = part


def append(data: bytearray, rng: random.Random) -> None:
    start = _place(data, rng)
    data += data[start : start + rng.choice([1, 20, 1000])]


DAMAGES = [flips, values, zeros, cut, remove, insert, splice, append]


def _place(data: bytearray, rng: random.Random) -> int:
    """Half of the places are in the shard index or near the end, where the indices are."""
    end = len(data)
    return rng.choice(
        [
            rng.randrange(end),
            rng.randrange(end),
            rng.randrange(min(64, end)),
            end - 1 - rng.randrange(min(300, end)),
        ]
    )


@pytest.fixture(scope="module", params=range(len(SPECS)))
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Written:
    return write_volume(tmp_path_factory.mktemp("fuzz") / "v", SPECS[request.param])


def cells_of(spec: Spec) -> list[Box]:
    cells = []
    axes = zip(spec.size, spec.chunk_size, strict=True)
    for starts in product(*(range(0, size, chunk) for size, chunk in axes)):
        ends = zip(starts, spec.chunk_size, spec.size, strict=True)
        cells.append(Box(starts, tuple(min(a + c, s) for a, c, s in ends)))
    return cells


def reads_right(vol: Volume, written: Written, cell: Box, *, may_refuse: bool) -> bool:
    """Whether a cell reads unchanged.

    `may_refuse`: an error will do. A reader that meets a damaged index trusts no other of the file
    to say that a chunk is not stored.
    """
    try:
        labels = vol.cutout(cell)
    except NotDownloadedError:
        raise
    except ShardReaderError:
        return may_refuse
    return np.array_equal(labels, written.box(cell.lower, cell.upper))


def run(written: Written, rounds: int) -> None:
    rng = random.Random(rounds)
    found_count = 0
    for _ in range(rounds):
        path = rng.choice(written.shards())
        good = path.read_bytes()
        data = bytearray(good)
        for _ in range(rng.choice([1, 1, 2])):
            if data:
                rng.choice(DAMAGES)(data, rng)
        try:
            path.write_bytes(data)
            found_count += found_or_harmless(written, int(path.stem, 16))
        finally:
            path.write_bytes(good)
    assert found_count > rounds // 2


def found_or_harmless(written: Written, shard_number: int) -> bool:
    """Hold every cell outside the findings' boxes to its labels; say whether there were any."""
    found = damage(check_one(written.path, shard_number, level="deep"))
    boxes = [finding.voxel_box for finding in found]
    with open_volume(written.path, threads=1) as vol:
        for cell in cells_of(written.spec):
            if not any(box is not None and box.contains(cell) for box in boxes):
                right = reads_right(vol, written, cell, may_refuse=bool(found))
                assert right, (shard_number, cell, found)
    return bool(found)


def test_damage_is_found_or_harmless(written: Written) -> None:
    run(written, 60)


@pytest.mark.slow
def test_much_damage_is_found_or_harmless(written: Written) -> None:
    run(written, 500)


def test_the_undamaged_volume_is_clean(written: Written) -> None:
    for path in written.shards():
        assert check_one(written.path, int(path.stem, 16), level="deep").findings == ()
