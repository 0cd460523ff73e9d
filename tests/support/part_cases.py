"""What the tests of `fetch --box` and `--points` share: a tiny source with background in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from fixture_truth import FIXTURES
from numpy.typing import NDArray
from shard_builder import TinyVolume

import shardreader
from shardreader.errors import PointStatus
from shardreader.format.grid import Box

OK, EMPTY = int(PointStatus.OK), int(PointStatus.EMPTY)
NOT_DOWNLOADED = int(PointStatus.NOT_DOWNLOADED)
PINKY = FIXTURES.parent.parent / "shared/data/pinky40"
PINKY_VOLUME = PINKY / "segmentation"
ALL = frozenset(range(32))


def source_with_holes(path: Path, *, encoding: str = "gzip", absent: Any = None) -> TinyVolume:
    """Write a `TinyVolume` that lacks some chunks, every fifth if not said otherwise."""
    tiny = TinyVolume(path, index_encoding=encoding, data_encoding=encoding)
    holes = set(range(0, 32, 5)) if absent is None else set(absent)
    for shard in tiny.shards:
        shard.chunks = {i: data for i, data in shard.chunks.items() if i not in holes}
    return tiny.write()


def stored(tiny: TinyVolume) -> set[int]:
    return {i for shard in tiny.shards for i in shard.chunks}


def ids_in(tiny: TinyVolume, box: Box) -> set[int]:
    """Give the chunks that a box touches, the slow way."""
    found = set()
    for i in ALL:
        lower = tiny.lower(i)
        upper = tuple(a + n for a, n in zip(lower, tiny.chunk_shape, strict=True))
        if not box.intersection(Box(lower, upper)).is_empty:  # type: ignore[arg-type]
            found.add(i)
    return found


def statuses(vol: shardreader.Volume, tiny: TinyVolume) -> dict[int, int]:
    grid = vol.stored_chunks(vol.bounds)[1]
    return {i: int(grid[tiny.cell(i)]) for i in ALL}


def expected(tiny: TinyVolume, asked: set[int]) -> dict[int, int]:
    here = stored(tiny)
    return {i: (OK if i in here else EMPTY) if i in asked else NOT_DOWNLOADED for i in ALL}


def assert_voxels(vol: shardreader.Volume, tiny: TinyVolume, asked: set[int]) -> None:
    """Hold every chunk that was asked for to its voxels."""
    here = stored(tiny)
    for i in asked:
        lower = tiny.lower(i)
        upper = tuple(a + n for a, n in zip(lower, tiny.chunk_shape, strict=True))
        voxels: NDArray[np.uint64] = vol.cutout(Box(lower, upper))  # type: ignore[arg-type]
        want = tiny.voxels(i) if i in here else np.zeros(tiny.chunk_shape, np.uint64)
        np.testing.assert_array_equal(voxels, want)
