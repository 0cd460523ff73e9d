"""Single voxels of a channel, read by the kernel."""

from __future__ import annotations

import numpy as np

from shardreader.decoding import cseg

CORRUPT = 5


def read(words, cell_shape, block_size, points, dtype, *, num_channels=1, channel=0, order=None):
    """Labels, statuses and the kernel's word for points given as rows of x, y, z."""
    points = np.asarray(points, np.uint64)
    bits_x, bits_y = (max(1, (n - 1).bit_length()) for n in cell_shape[:2])
    packed = points[:, 0] | points[:, 1] << np.uint64(bits_x)
    packed |= points[:, 2] << np.uint64(bits_x + bits_y)
    order = np.arange(len(points)) if order is None else order
    labels = np.full(len(points), 77, dtype)
    status = np.zeros(len(points), np.uint8)
    result = cseg.read_voxels(
        words,
        num_channels,
        channel,
        cell_shape,
        block_size,
        packed,
        0,
        len(points),
        bits_x,
        bits_y,
        order,
        labels,
        status,
        CORRUPT,
    )
    return labels, status, result
