"""What is measured: each scenario with its work, the peers it is held against, and its limit."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shardreader import Box

__all__ = ["GROUPS", "Scenario", "make_scenarios", "uniform_points", "walks"]

GROUPS = ("rows", "decode", "latency", "memory", "start", "threads", "growth")
_BOXES = 5
_IN_A_ROW = 20


@dataclass(frozen=True)
class Scenario:
    """One question, asked of several boxes or point sets in turn.

    `kind` says how it is asked: cutout, out (a cutout into ``out=``), labels, counts, mask,
    mapping (a cutout with one), points, open (open the volume and look up one point) or verify.
    `warm` keeps the volume open, caches filled, over all runs; else each run has a volume that was
    just opened, outside of its time. `times` is how often in a row a run asks it: what takes less
    than a millisecond would else be the time that the processor needs to come back to it from the
    other side. With `new_memory` the memory of earlier results is given back before each run.
    """

    name: str
    title: str
    kind: str
    cases: list[Any]
    peers: tuple[str, ...] = ()
    limit: str | None = "inflate"
    warm: bool = False
    whole: bool = True
    times: int = 1
    new_memory: bool = False

    def case(self, number: int) -> Any:
        """The work of a run."""
        return self.cases[number % len(self.cases)]


def uniform_points(region: Box, count: int, seed: int) -> np.ndarray:
    """Points anywhere in a box, int64 of shape (count, 3)."""
    return np.random.default_rng(seed).integers(region.lower, region.upper, (count, 3))


def walks(region: Box, count: int, seed: int, beside: Path | None = None) -> np.ndarray:
    """Points on random walks of 100 steps; those of ``points.csv`` beside the volume first."""
    if beside is not None and beside.is_file():
        found = _points_of_csv(beside, region)
        if len(found) >= count:
            return found[:count]
    rng = np.random.default_rng(seed)
    steps = 100
    number = -(-count // steps)
    starts = rng.integers(region.lower, region.upper, (number, 1, 3))
    moves = rng.integers(-2, 3, (number, steps, 3))
    points = (starts + np.cumsum(moves, axis=1)).reshape(-1, 3)[:count]
    return np.clip(points, region.lower, np.array(region.upper) - 1)


def _points_of_csv(path: Path, region: Box) -> np.ndarray:
    with path.open(newline="") as file:
        rows = [[int(row["x"]), int(row["y"]), int(row["z"])] for row in csv.DictReader(file)]
    points = np.array(rows, np.int64).reshape(-1, 3)
    inside = (points >= region.lower).all(axis=1) & (points < region.upper).all(axis=1)
    return points[inside]


def _boxes(region: Box, shape, count: int, seed: int) -> tuple[list[Box], bool]:
    """Boxes of a shape anywhere in the region, clipped where the region is smaller."""
    clipped = np.minimum(shape, region.shape)
    rng = np.random.default_rng(seed)
    corners = rng.integers(region.lower, np.array(region.upper) - clipped + 1, (count, 3))
    boxes = [Box(corner.tolist(), (corner + clipped).tolist()) for corner in corners]
    return boxes, bool((clipped == shape).all())


def _middle_box(region: Box, shape, chunk_size) -> tuple[list[Box], bool]:
    """A box on the chunk grid near the middle of the region."""
    clipped = np.minimum(shape, region.shape)
    room = (np.array(region.shape) - clipped) // 2 // chunk_size * chunk_size
    lower = np.array(region.lower) + room
    return [Box(lower.tolist(), (lower + clipped).tolist())], bool((clipped == shape).all())


def make_scenarios(vol, region: Box, points_csv: Path | None) -> list[Scenario]:
    """All scenarios that are a row of the table."""
    dense, dense_whole = _middle_box(region, (512, 512, 256), np.array(vol.chunk_size))
    small, small_whole = _boxes(region, (64, 64, 64), _BOXES, 1)
    xy, xy_whole = _boxes(region, (1024, 1024, 1), _BOXES, 2)
    xz, xz_whole = _boxes(region, (1024, 1, region.shape[2]), _BOXES, 3)
    yz, yz_whole = _boxes(region, (1, 1024, region.shape[2]), _BOXES, 4)
    chunk, _ = _middle_box(region, vol.chunk_size, np.array(vol.chunk_size))
    walk = walks(region, 6000, 5, points_csv)
    single = [walk[n : n + 1] for n in range(0, 2000, 400)]
    uniform = uniform_points(region, 1_000_000, 6)
    near = _boxes(region, (128, 128, 64), 1, 7)[0][0]
    ts, both = ("tensorstore",), ("tensorstore", "cloud-volume")
    named = Scenario
    return [
        named("cutout", _box_title("dense cutout", dense), "cutout", dense, both, "fresh",
              whole=dense_whole),
        named("cutout-first", _box_title("the first dense cutout, into new memory,", dense),
              "cutout", dense, ts, "new", whole=dense_whole, new_memory=True),
        named("cutout-out", _box_title("into out=, dense cutout", dense), "out", dense, (), "warm",
              whole=dense_whole),
        named("cutout-cached", _box_title("dense cutout, caches warm,", dense), "cutout", dense, ts,
              "fresh", warm=True, whole=dense_whole),
        named("cutout-64", _box_title("cutout", small), "cutout", small, both, whole=small_whole),
        named("cutout-64-cached", _box_title("cutout, caches warm,", small), "cutout", small, ts,
              None, warm=True, whole=small_whole),
        named("slice-xy", _box_title("XY slice", xy), "cutout", xy, both, whole=xy_whole),
        named("slice-xz", _box_title("XZ slice", xz), "cutout", xz, ts, whole=xz_whole),
        named("slice-yz", _box_title("YZ slice", yz), "cutout", yz, ts, whole=yz_whole),
        named("one-chunk", _box_title("one chunk", chunk), "cutout", chunk, both, "fresh"),
        named("open-point", f"open and one point, {_IN_A_ROW} in a row", "open", single, both,
              "one-chunk", times=_IN_A_ROW),
        named("open-point-once", "open and one point, once, after other work", "open", single, ts,
              "one-chunk"),
        named("points-500-walks", "500 points on walks", "points", [walk[:500]], both),
        named("points-6000-walks", "6,000 points on walks", "points", [walk], ts),
        named("points-100k", "100,000 uniform points", "points", [uniform[:100_000]], ts),
        named("points-1m", "1,000,000 uniform points", "points", [uniform], ts),
        named("points-1m-near", f"1,000,000 points in {_size(near.shape)} voxels", "points",
              [uniform_points(near, 1_000_000, 8)], ts, "gather"),
        named("points-cached", "100,000 uniform points again, in the cache", "points",
              [uniform[:100_000]], ts, "gather", warm=True),
        named("labels", _box_title("labels of", dense), "labels", dense, both, whole=dense_whole),
        named("labels-cached", _box_title("labels, caches warm, of", dense), "labels", dense, ts,
              None, warm=True, whole=dense_whole),
        named("counts", _box_title("labels with counts of", dense), "counts", dense, ts,
              whole=dense_whole),
        named("mask", _box_title("mask of half of the labels of", dense), "mask", dense, (),
              "plain", whole=dense_whole),
        named("mapping", _box_title("cutout with a mapping of 1,000,000 labels,", dense), "mapping",
              dense, (), "plain", whole=dense_whole),
        named("verify", "verify full of a shard", "verify", [None], (), "verify"),
    ]  # fmt: skip


def _size(shape) -> str:
    return " x ".join(map(str, shape))


def _box_title(what: str, boxes: list[Box]) -> str:
    return f"{what} {_size(boxes[0].shape)}"
