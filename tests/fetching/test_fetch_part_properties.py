"""Any sequence of fetches: then every chunk has the right status and the right voxels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from part_cases import ALL, assert_voxels, expected, ids_in, source_with_holes, statuses, stored
from shard_builder import TinyVolume

import shardreader
from shardreader import Box

SIZE = (64, 64, 16)


@st.composite
def boxes(draw: Any) -> Box:
    lower = [draw(st.integers(0, n - 1)) for n in SIZE]
    upper = [draw(st.integers(a + 1, n)) for a, n in zip(lower, SIZE, strict=True)]
    return Box(lower, upper)  # type: ignore[arg-type]


POINTS = st.lists(st.tuples(*(st.integers(0, n - 1) for n in SIZE)), min_size=1, max_size=5)
STEPS = st.lists(
    st.tuples(st.one_of(boxes(), POINTS), st.sampled_from([False, False, False, True])),
    min_size=1,
    max_size=4,
)


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, TinyVolume]:
    folder = tmp_path_factory.mktemp("sources")
    return {
        encoding: source_with_holes(folder / encoding, encoding=encoding)
        for encoding in ("raw", "gzip")
    }


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, encoding=st.sampled_from(["raw", "gzip"]))
def test_any_fetches_by_shardreader_and_tensorstore(
    sources: dict[str, TinyVolume],
    tmp_path_factory: pytest.TempPathFactory,
    steps: list[tuple[Box | list[tuple[int, int, int]], bool]],
    encoding: str,
) -> None:
    tiny = sources[encoding]
    copy = tmp_path_factory.mktemp("copy")
    asked: set[int] = set()
    vol = None
    for part, whole_shards in steps:
        if isinstance(part, Box):
            report = shardreader.fetch(tiny.path, copy, box=part, whole_shards=whole_shards)
            ids = ids_in(tiny, part)
        else:
            report = shardreader.fetch(
                tiny.path, copy, points=part, units="voxel", whole_shards=whole_shards
            )
            cubes = [Box(p, (p[0] + 1, p[1] + 1, p[2] + 1)) for p in part]
            ids = set().union(*(ids_in(tiny, cube) for cube in cubes))
        assert report.ok
        if whole_shards:
            ids = {i for i in ALL if i >> 4 in {j >> 4 for j in ids}}
        asked |= ids
        # The same volume, open all the time.
        vol = shardreader.open_volume(copy) if vol is None else vol
        assert statuses(vol, tiny) == expected(tiny, asked)
    assert vol is not None
    with vol:
        assert_voxels(vol, tiny, asked)
    assert_by_tensorstore(copy, tiny, asked)
    assert shardreader.verify(copy, allow_absent=True).ok
    shutil.rmtree(copy)


def assert_by_tensorstore(copy: Path, tiny: TinyVolume, asked: set[int]) -> None:
    """Read what was asked for as any other program does."""
    tensorstore = pytest.importorskip("tensorstore")
    spec = {"driver": "neuroglancer_precomputed", "kvstore": f"file://{copy}/"}
    array = tensorstore.open(spec, read=True).result()[..., 0].read().result()
    here = stored(tiny)
    for i in asked:
        lower = tiny.lower(i)
        place = tuple(slice(a, a + n) for a, n in zip(lower, tiny.chunk_shape, strict=True))
        want = tiny.voxels(i) if i in here else np.zeros(tiny.chunk_shape, np.uint64)
        np.testing.assert_array_equal(array[place], want)
