"""Where a copy holds data, so that what is measured is not emptiness."""

from __future__ import annotations

import os

import numpy as np

from bench.errors import CannotMeasure
from shardreader import Box
from shardreader.errors import PointStatus
from shardreader.format.shard_lattice import ShardLattice

__all__ = ["find_region"]

# A region of more cells than this along an axis is not looked for: 2048 x 2048 x 512 voxels.
_MOST_CELLS = (16, 16, 16)
_FULL = 0.9


def find_region(vol, wish: Box | None = None) -> Box:
    """A box of stored chunks, in voxels: around the middle of the fullest part of the copy."""
    if wish is not None:
        return vol.bounds.intersection(wish)
    search = _around_the_largest_shard(vol)
    cells, status = vol.stored_chunks(search)
    stored = status == PointStatus.OK
    if not stored.any():
        raise CannotMeasure(f"{vol.path}: no stored chunk found in {search}; say where: --region")
    lower, upper = _grow(stored)
    size = np.array(vol.chunk_size)
    first = np.array(vol.voxel_offset) + (lower + cells.lower) * size
    last = np.array(vol.voxel_offset) + (upper + cells.lower) * size
    return vol.bounds.intersection(Box(first.tolist(), last.tolist()))


def _around_the_largest_shard(vol) -> Box:
    """The largest shard file here, and half of each neighbour, which it may share data with."""
    if vol.scale.sharding is None:
        raise CannotMeasure(f"{vol.path}: not sharded; say where its data is: --region")
    lattice = ShardLattice(vol.scale)
    directory = os.path.join(vol.path, vol.scale.key)
    present = []
    with os.scandir(directory) as entries:
        for entry in entries:
            number = lattice.number_of_name(entry.name)
            if number is not None:
                present.append((entry.stat().st_size, number))
    if not present:
        raise CannotMeasure(f"{directory}: no shard file of this scale")
    box = lattice.voxel_box(max(present)[1])
    reach = [
        min(s // 2, c * m) for s, c, m in zip(box.shape, vol.chunk_size, _MOST_CELLS, strict=True)
    ]
    wide = Box((np.array(box.lower) - reach).tolist(), (np.array(box.upper) + reach).tolist())
    return vol.bounds.intersection(wide)


def _grow(stored):
    """A nearly full box of cells around the stored cell that is nearest to their middle."""
    places = np.argwhere(stored)
    middle = places.mean(axis=0)
    lower = places[np.argmin(((places - middle) ** 2).sum(axis=1))].copy()
    upper = lower + 1
    grown = True
    while grown:
        grown = False
        for axis in range(3):
            for step in (-1, 1):
                if upper[axis] - lower[axis] >= _MOST_CELLS[axis]:
                    continue
                at = lower[axis] - 1 if step < 0 else upper[axis]
                if not 0 <= at < stored.shape[axis]:
                    continue
                layer = [slice(a, b) for a, b in zip(lower, upper, strict=True)]
                layer[axis] = slice(at, at + 1)
                if stored[tuple(layer)].mean() < _FULL:
                    continue
                lower[axis] -= step < 0
                upper[axis] += step > 0
                grown = True
    return lower, upper
