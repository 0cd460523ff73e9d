"""read_voxels: single voxels, equal to the oracle; a fault spoils its own points alone."""

from __future__ import annotations

import numpy as np
import pytest
from cseg_oracle import Oracle, voxels
from cseg_point_reads import CORRUPT, read
from cseg_words import Block, channel_words, encoding, table_words, value_words, written_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding import cseg
from shardreader.decoding.cseg import faults


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.uint32, np.uint64]),
    grid=st.tuples(*[st.integers(1, 3)] * 3),
    block_size=st.tuples(*[st.integers(1, 6)] * 3),
    num_channels=st.integers(1, 3),
)
@settings(max_examples=60, deadline=None)
def test_all_voxels_in_random_order(seed, dtype, grid, block_size, num_channels):
    rng = np.random.default_rng(seed)
    cell_shape = tuple(g * b - int(rng.integers(b)) for g, b in zip(grid, block_size, strict=True))
    label_words = np.dtype(dtype).itemsize // 4
    sizes = int(np.prod(grid)), int(np.prod(block_size)), label_words
    words = encoding(*(written_by_hand(rng, *sizes) for _ in range(num_channels)))
    channel = int(rng.integers(num_channels))
    oracle = Oracle(words, num_channels, channel, cell_shape, block_size, label_words)
    points = list(voxels((0, 0, 0), cell_shape))
    order = rng.permutation(len(points))
    labels, status, result = read(
        words,
        cell_shape,
        block_size,
        points,
        dtype,
        num_channels=num_channels,
        channel=channel,
        order=order,
    )
    assert result == cseg.OK
    assert not status.any()
    assert labels[order].tolist() == [oracle.label(*point) for point in points]


def test_only_the_range_is_read():
    words = encoding(channel_words([Block(0, "table")], [("table", table_words([9], 2))]))
    labels, status = np.zeros(3, np.uint64), np.zeros(3, np.uint8)
    packed, order = np.zeros(3, np.uint64), np.arange(3)
    shape = (4, 4, 4)
    arguments = (packed, 1, 2, 2, 2, order, labels, status, CORRUPT)
    assert cseg.read_voxels(words, 1, 0, shape, shape, *arguments) == cseg.OK
    assert labels.tolist() == [0, 9, 0]


def test_a_fault_spoils_its_own_points_alone():
    parts = [("values", value_words([0, 1, 2, 0], 2)), ("table", table_words([8, 9], 2))]
    blocks = [Block(2, "table", "values"), Block(3, "table", "values"), Block(0, "table")]
    words = encoding(channel_words(blocks, parts))
    points = [(x, 0, 0) for x in (8, 6, 2, 1, 0)]
    labels, status, result = read(words, (12, 1, 1), (4, 1, 1), points, np.uint64)
    assert labels.tolist() == [8, 0, 0, 9, 8]
    assert status.tolist() == [0, CORRUPT, CORRUPT, 0, 0]
    assert result == faults.ENCODED_BITS + 16 * 1


@pytest.mark.parametrize("length", [0, 1, 2])
def test_a_channel_that_cannot_be_opened_spoils_all(length):
    words = encoding(channel_words([Block(0, "table")], [("table", table_words([9], 2))]))
    labels, status, result = read(words[:length], (4, 1, 1), (4, 1, 1), [(0, 0, 0)] * 3, np.uint64)
    assert result != cseg.OK
    assert labels.tolist() == [0, 0, 0]
    assert status.tolist() == [CORRUPT] * 3
