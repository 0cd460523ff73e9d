"""Where a copy has no data and the source has some, or may have."""

from __future__ import annotations

from math import prod

import numpy as np

from shardreader.copies.copy_map import CopyMap, ShardState
from shardreader.errors import PointStatus
from shardreader.format.grid import Box, merged_boxes
from shardreader.format.shard_lattice import voxels_of_cells
from shardreader.volume import Volume

__all__ = ["absent_boxes"]

# Shards one by one, so that each can be clicked by its name; more are joined to larger boxes.
_MOST_SINGLE_SHARDS = 500
# Partial shards whose chunks are looked at; of more, the whole shard is marked.
_MOST_PARTIAL_SHARDS = 64
# Chunks that are looked at where shards are no boxes.
_MOST_CELLS = 1 << 18


def absent_boxes(volume: Volume, found: CopyMap | None) -> list[tuple[Box, str]] | None:
    """Boxes of voxels, apart from each other, with a word on each.

    Parameters
    ----------
    volume : Volume
    found : CopyMap or None
        Of its scale.

    Returns
    -------
    list of (Box, str), or None
        None where nothing can be said in a short time: shards that are no boxes, in a large grid.
    """
    if found is None:
        if prod(volume.scale.grid.grid_size) > _MOST_CELLS:
            return None
        return [(box, "not downloaded") for box in _absent_chunks(volume, volume.bounds)]
    parts = [(box, "absent; source unknown") for box in found.boxes(ShardState.UNKNOWN)]
    if found.count(ShardState.NOT_DOWNLOADED) <= _MOST_SINGLE_SHARDS:
        shards = found.shards(ShardState.NOT_DOWNLOADED)
        parts += [(box, f"{name}: not downloaded") for name, box in shards]
    else:
        boxes = found.boxes(ShardState.NOT_DOWNLOADED)
        parts += [(box, "not downloaded") for box in boxes]
    parts += [(box, f"{name}: cannot be read") for name, box in found.shards(ShardState.UNREADABLE)]
    for number, (name, box) in enumerate(found.shards(ShardState.PARTIAL)):
        if number < _MOST_PARTIAL_SHARDS:
            text = f"{name}: chunks not downloaded"
            parts += [(chunks, text) for chunks in _absent_chunks(volume, box)]
        else:
            parts.append((box, f"{name}: here with some of its chunks"))
    return parts


def _absent_chunks(volume: Volume, box: Box) -> list[Box]:
    cells, status = volume.stored_chunks(box)
    boxes = []
    for part in merged_boxes(status == PointStatus.NOT_DOWNLOADED):
        lower, upper = (
            tuple((np.array(corner) + cells.lower).tolist()) for corner in (part.lower, part.upper)
        )
        boxes.append(voxels_of_cells(volume.scale.grid, Box(lower, upper)))
    return boxes
