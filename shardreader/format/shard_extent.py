"""Which part of the volume a shard or a minishard is about, as a box."""

from __future__ import annotations

import numpy as np

from shardreader.format.grid import Box, ChunkGrid, triples
from shardreader.format.info import ScaleInfo
from shardreader.format.morton import cells_of_chunk_ids, morton_bits

__all__ = ["shard_cells", "voxels_of_cells"]


def shard_cells(scale: ScaleInfo, shard_number: int, minishard_number: int | None = None) -> Box:
    """The smallest box of cells around all that a shard, or one of its minishards, can hold.

    With a hash that mixes the bits of the ids, and without sharding, that is the whole grid.
    """
    grid_size = scale.grid.grid_size
    spec = scale.sharding
    if spec is None or spec.hash != "identity" or 0 in grid_size:
        return Box((0, 0, 0), grid_size)
    known = ((1 << spec.shard_bits) - 1) << spec.minishard_bits
    value = shard_number << spec.minishard_bits
    if minishard_number is not None:
        known |= (1 << spec.minishard_bits) - 1
        value |= minishard_number
    all_bits = (1 << morton_bits(grid_size)) - 1
    # Each bit of an id is one bit of one coordinate: free bits that are all 0, and all 1, give
    # the corners.
    least = value << spec.preshift_bits & all_bits
    most = least | (all_bits & ~(known << spec.preshift_bits))
    cells, _ = cells_of_chunk_ids(np.array([least, most], dtype=np.uint64), grid_size)
    limits = np.array(grid_size, dtype=np.int64)
    lower, upper = triples(np.minimum(cells + np.array([[0], [1]]), limits))
    return Box(lower, upper)


def voxels_of_cells(grid: ChunkGrid, cells: Box) -> Box:
    """The voxels of a box of cells, clipped to the volume."""
    if cells.is_empty:
        return Box(grid.voxel_offset, grid.voxel_offset)
    last = (cells.upper[0] - 1, cells.upper[1] - 1, cells.upper[2] - 1)
    return Box(grid.cell_box(cells.lower).lower, grid.cell_box(last).upper)
