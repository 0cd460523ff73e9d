"""Damaged encodings: one rule a test, on buffers of the exact size, explained in plain words."""

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
from shardreader.errors import FormatFault

SHAPE = (6, 4, 3)
BLOCK_SIZE = (4, 4, 2)
BLOCKS = 4


def sound_channel():
    """Four blocks (two of them reach past the chunk) of 2, 0, 1 and 8 bits."""
    rng = np.random.default_rng(3)
    parts = [
        ("two", value_words(rng.integers(3, size=32), 2)),
        ("table", table_words([5, 6, 1 << 40], 2)),
        ("one", value_words(rng.integers(2, size=32), 1)),
        ("eight", value_words(rng.integers(3, size=32), 8)),
        ("last", table_words([1, 2, 3], 2)),
    ]
    blocks = [
        Block(2, "table", "two"),
        Block(0, "table", 2**32 - 1),
        Block(1, "table", "one"),
        Block(8, "last", "eight"),
    ]
    return channel_words(blocks, parts)


def changed(words, at, value):
    words = words.copy()
    words[at] = value
    return words


def decode(words, *, num_channels=1, channel=0, lower=(0, 0, 0), upper=SHAPE, dtype=np.uint64):
    """A box of the chunk, and the status."""
    shape = [u - k for k, u in zip(lower, upper, strict=True)]
    out = np.zeros(shape, dtype, order="F")
    strides = tuple(stride // out.itemsize for stride in out.strides)
    flat = out.reshape(-1, order="F")
    status = cseg.decode_box(
        words, num_channels, channel, SHAPE, BLOCK_SIZE, lower, upper, flat, 0, strides
    )
    return out, status


def explained(words, status, *, num_channels=1, channel=0):
    return cseg.explain(status, words, num_channels, channel, SHAPE, BLOCK_SIZE, 2)


def test_the_sound_one_is_sound():
    words = encoding(sound_channel())
    out, status = decode(words)
    assert status == cseg.OK
    oracle = Oracle(words, 1, 0, SHAPE, BLOCK_SIZE, 2)
    np.testing.assert_array_equal(out, oracle.box((0, 0, 0), SHAPE))


def sound_block(number):
    """Word of a block's header in ``encoding(sound_channel())``."""
    return 1 + 2 * number


LENGTH = len(sound_channel())
HEADERS = 2 * BLOCKS


@pytest.mark.parametrize(
    ("at", "value", "what", "expected", "found"),
    [
        (0, 2, "offset of channel 0 at byte 0", "1 (the first channel", "2"),
        (0, 0, "offset of channel 0 at byte 0", "1 (the first channel", "0"),
        (0, 2**32 - 1, "offset of channel 0", "1 (the first channel", "4294967295"),
        (
            sound_block(2),
            3 << 24 | 12,
            "block 2 at (0, 0, 1): encoded bits at byte 23",
            "0, 1,",
            "3",
        ),
        (sound_block(2), 64 << 24 | 12, "block 2 at (0, 0, 1): encoded bits", "or 32", "64"),
        (sound_block(2), 255 << 24 | 12, "block 2 at (0, 0, 1): encoded bits", "or 32", "255"),
        (
            sound_block(1),
            HEADERS - 1,
            "block 1 at (1, 0, 0): lookup table offset at byte 12",
            f"from {HEADERS} (the end of the block headers) to {LENGTH - 2}",
            str(HEADERS - 1),
        ),
        (sound_block(1), LENGTH - 1, "lookup table offset", f"to {LENGTH - 2}", str(LENGTH - 1)),
        (sound_block(1), 2**24 - 1, "lookup table offset", f"to {LENGTH - 2}", str(2**24 - 1)),
        (
            sound_block(3) + 1,
            HEADERS - 1,
            "block 3 at (1, 0, 1): encoded values offset at byte 32",
            f"from {HEADERS} (the end of the block headers) to {LENGTH - 8}",
            str(HEADERS - 1),
        ),
        (sound_block(3) + 1, LENGTH - 7, "values offset", f"to {LENGTH - 8}", str(LENGTH - 7)),
        (sound_block(3) + 1, 2**32 - 1, "values offset", f"to {LENGTH - 8}", str(2**32 - 1)),
        (
            sound_block(3) + 1,
            HEADERS,
            "block 3 at (1, 0, 1): code of voxel",
            "at most 2 (3 labels fit",
            None,
        ),
    ],
)
def test_one_word_is_wrong(at, value, what, expected, found):
    words = changed(encoding(sound_channel()), at, value)
    _, status = decode(words)
    assert status != cseg.OK
    fault = explained(words, status)
    assert what in fault.what
    assert expected in fault.expected
    if found is not None:
        assert fault.found == found
    with pytest.raises(FormatFault):
        Oracle(words, 1, 0, SHAPE, BLOCK_SIZE, 2).box((0, 0, 0), SHAPE)


@pytest.mark.parametrize(
    ("at", "value"),
    [
        (sound_block(1) + 1, 0),  # the values of a block of 0 bits
        (sound_block(1) + 1, 2**32 - 1),
        (sound_block(1), LENGTH - 2),  # a table of one label, at the very end
        (sound_block(3) + 1, LENGTH - 14),  # where the values are already
    ],
)
def test_legal_to_the_last_word(at, value):
    words = changed(encoding(sound_channel()), at, value)
    out, status = decode(words)
    assert status == cseg.OK
    oracle = Oracle(words, 1, 0, SHAPE, BLOCK_SIZE, 2)
    np.testing.assert_array_equal(out, oracle.box((0, 0, 0), SHAPE))


def one_row(codes):
    """One block of 8 x 1 x 1 voxels of 4 bits; two labels at the very end."""
    parts = [("values", value_words(codes, 4)), ("table", table_words([8, 9], 2))]
    return encoding(channel_words([Block(4, "table", "values")], parts))


@pytest.mark.parametrize("stride", [1, -1])
@pytest.mark.parametrize("code", [2, 15])
def test_a_code_past_the_end_counts_inside_the_box_alone(stride, code):
    words = one_row([0, 1, 0, code, 1, 1, 0, 1])
    for lower, upper in [(0, 3), (4, 8), (0, 4), (3, 4), (2, 8)]:
        out = np.zeros(8, np.uint64)
        box = ((lower, 0, 0), (upper, 1, 1))
        start = 0 if stride == 1 else 7
        strides = (stride, 8, 8)
        status = cseg.decode_box(words, 1, 0, (8, 1, 1), (8, 1, 1), *box, out, start, strides)
        assert status == (faults.CODE if lower <= 3 < upper else cseg.OK)
    fault = cseg.explain(faults.CODE, words, 1, 0, (8, 1, 1), (8, 1, 1), 2)
    assert fault.what.startswith("block 0 at (0, 0, 0): code of voxel (3, 0, 0) of the chunk")
    assert fault.found == str(code)


def test_codes_of_padding_are_not_followed():
    words = one_row([0, 1, 0, 1, 1, 15, 15, 15])
    out = np.zeros(5, np.uint64)
    box = ((0, 0, 0), (5, 1, 1))
    assert cseg.decode_box(words, 1, 0, (5, 1, 1), (8, 1, 1), *box, out, 0, (1, 5, 5)) == cseg.OK
    assert out.tolist() == [8, 9, 8, 9, 9]


def test_a_32_bit_code_does_not_overflow():
    parts = [("values", value_words([2**32 - 1, 2**31], 32)), ("table", table_words([8], 2))]
    words = encoding(channel_words([Block(32, "table", "values")], parts))
    out = np.zeros(2, np.uint64)
    box = ((0, 0, 0), (2, 1, 1))
    status = cseg.decode_box(words, 1, 0, (2, 1, 1), (2, 1, 1), *box, out, 0, (1, 2, 2))
    assert status == faults.CODE
    assert cseg.explain(status, words, 1, 0, (2, 1, 1), (2, 1, 1), 2).found == str(2**32 - 1)


def test_a_channel_ends_where_the_next_one_begins():
    """The first channel's last table is cut by one word; the word behind belongs to the second."""
    first, second = sound_channel(), sound_channel()
    words = encoding(first, second)
    assert decode(words, num_channels=2)[1] == cseg.OK
    words = changed(words, 1, 2 + LENGTH - 1)
    _, status = decode(words, num_channels=2)
    assert status == faults.CODE + 16 * 3
    assert "at most 1 (2 labels" in explained(words, status, num_channels=2).expected


@pytest.mark.parametrize(
    ("offsets", "number"),
    [((2, 1), 1), ((3, 2 + LENGTH), 0), ((1, 2 + LENGTH), 0), ((2, 3 + 2 * LENGTH), 1)],
)
@pytest.mark.parametrize("channel", [0, 1])
def test_offsets_of_channels(offsets, number, channel):
    words = encoding(sound_channel(), sound_channel()).copy()
    words[:2] = offsets
    _, status = decode(words, num_channels=2, channel=channel)
    assert status == faults.CHANNEL_OFFSET + 16 * number
    fault = explained(words, status, num_channels=2, channel=channel)
    assert fault.what == f"offset of channel {number} at byte {4 * number}"
    assert fault.found == str(offsets[number])
    with pytest.raises(FormatFault):
        Oracle(words, 2, channel, SHAPE, BLOCK_SIZE, 2)


def test_an_empty_channel():
    words = encoding(sound_channel(), sound_channel()[:0])
    assert decode(words, num_channels=2)[1] == cseg.OK
    _, status = decode(words, num_channels=2, channel=1)
    assert status == faults.BLOCK_HEADERS_CUT
    fault = explained(words, status, num_channels=2, channel=1)
    assert fault.expected == "at least 8 words of 32 bits (2 x 1 x 2 block headers)"
    assert fault.found == "0 words"


@pytest.mark.parametrize("num_channels", [1, 2])
def test_every_truncation(num_channels):
    """Cut anywhere, each box gives the right voxels or a fault that can be explained."""
    words = encoding(*[sound_channel()] * num_channels)
    channel = num_channels - 1
    whole, _ = decode(words, num_channels=num_channels, channel=channel)
    faulty = 0
    for length in range(len(words)):
        cut = words[:length].copy()
        _, status = decode(cut, num_channels=num_channels, channel=channel)
        assert status != cseg.OK
        assert explained(cut, status, num_channels=num_channels, channel=channel).expected
        for lower, upper in [
            ((0, 0, 0), (4, 4, 2)),
            ((4, 0, 0), (6, 4, 2)),
            ((5, 3, 0), (6, 4, 3)),
        ]:
            part, status = decode(
                cut, num_channels=num_channels, channel=channel, lower=lower, upper=upper
            )
            faulty += status != cseg.OK
            box = tuple(slice(k, u) for k, u in zip(lower, upper, strict=True))
            assert status != cseg.OK or (part == whole[box]).all()
    assert 0 < faulty < 3 * len(words)


@given(
    seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.uint32, np.uint64]),
    num_channels=st.integers(1, 2),
    flips=st.lists(st.tuples(st.integers(0, 2**16), st.integers(0, 31)), min_size=1, max_size=6),
    cut=st.integers(0, 3),
)
@settings(max_examples=150, deadline=None)
def test_random_damage(seed, dtype, num_channels, flips, cut):
    """Kernels and oracle agree, voxel by voxel, on what is damaged and on what is read."""
    rng = np.random.default_rng(seed)
    label_words = np.dtype(dtype).itemsize // 4
    words = encoding(*(written_by_hand(rng, BLOCKS, 32, label_words) for _ in range(num_channels)))
    words = words[: len(words) - cut].copy()
    for at, bit in flips:
        # Most of the flips fall on the offsets and headers, where they matter.
        words[at % min(len(words), 24 if at % 3 else len(words))] ^= np.uint32(1 << bit)
    channel = int(rng.integers(num_channels))
    points = list(voxels((0, 0, 0), SHAPE))
    expected = labels_or_none(words, num_channels, channel, label_words, points)
    labels, status, result = read(
        words, SHAPE, BLOCK_SIZE, points, dtype, num_channels=num_channels, channel=channel
    )
    assert [None if s == CORRUPT else k for k, s in zip(labels.tolist(), status, strict=True)] == (
        expected
    )
    assert (result == cseg.OK) == (None not in expected)
    assert not labels[status == CORRUPT].any()
    out, box_status = decode(words, num_channels=num_channels, channel=channel, dtype=dtype)
    assert (box_status == cseg.OK) == (None not in expected)
    if box_status == cseg.OK:
        assert [out[p] for p in points] == expected
    for fault in {int(result), int(box_status)} - {cseg.OK}:
        told = cseg.explain(fault, words, num_channels, channel, SHAPE, BLOCK_SIZE, label_words)
        assert told.what
        assert told.expected
        assert told.found


def labels_or_none(words, num_channels, channel, label_words, points):
    try:
        oracle = Oracle(words, num_channels, channel, SHAPE, BLOCK_SIZE, label_words)
    except FormatFault:
        return [None] * len(points)
    labels = []
    for point in points:
        try:
            labels.append(oracle.label(*point))
        except FormatFault:
            labels.append(None)
    return labels


def test_a_status_that_is_no_fault():
    with pytest.raises(ValueError, match="0 is not the status"):
        explained(encoding(sound_channel()), cseg.OK)
