"""Chunks with other tables, decoded: each voxel is what its label becomes."""

from __future__ import annotations

import numpy as np
import pytest
from cseg_oracle import Oracle
from cseg_strategies import boxes, label_types, seeds, triples
from cseg_words import Block, channel_words, encoding, table_words, value_words, written_by_hand
from hypothesis import given, settings
from hypothesis import strategies as st

from shardreader.decoding import cseg
from shardreader.decoding.cseg.tally import ChunkBoxes, LabelTally


def chunk_boxes(chunks, cell_shape, lower, upper) -> ChunkBoxes:
    """Some encodings one behind the other, of each the same part."""
    lengths = np.array([len(words) for words in chunks], np.int64)
    rows = np.arange(len(chunks), dtype=np.int64)
    return ChunkBoxes(
        np.concatenate(chunks),
        np.cumsum(lengths) - lengths,
        lengths,
        rows,
        *(np.array([triple] * len(chunks), np.int64) for triple in (cell_shape, lower, upper)),
    )


def decode_as(tally, chunks, form, value_type, shape, rng, *, stream=False):
    """Decode each chunk to random values; the arrays, and what each label became."""
    assert tally.add_chunks(chunks, *form, np.zeros_like(chunks.lowers)) == cseg.OK
    seen = tally.seen()
    values = rng.integers(0, np.iinfo(value_type).max, len(seen), value_type, endpoint=True)
    size = int(np.prod(shape))
    out = np.full(size * len(chunks.rows), 77, value_type)
    strides = (1, shape[0], shape[0] * shape[1])
    firsts = np.arange(len(chunks.rows), dtype=np.int64) * size
    assert tally.decode_as(values, chunks, *form, out, firsts, strides, stream=stream) == cseg.OK
    arrays = [part.reshape(shape, order="F") for part in out.reshape(-1, size)]
    return arrays, dict(zip(seen.tolist(), values.tolist(), strict=True))


def was_recoded(tally, words, blocks) -> bool:
    """Whether the last header of the chunk that came last leads to a table behind the chunk."""
    table = int(tally._copy[int(words[0]) + 2 * (blocks - 1)]) & 0xFFFFFF
    return bool(table + int(words[0]) >= len(words))


@given(
    data=st.data(),
    dtype=label_types,
    value_type=st.sampled_from([np.uint32, np.uint64]),
    seed=seeds,
    grid=triples(1, 3),
    block_size=st.one_of(
        triples(1, 7), st.sampled_from([(16, 4, 2), (8, 8, 2), (16, 16, 2), (17, 2, 2)])
    ),
    num_channels=st.integers(1, 3),
    stream=st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_encodings_by_hand(data, dtype, value_type, seed, grid, block_size, num_channels, stream):
    rng = np.random.default_rng(seed)
    padding = [data.draw(st.integers(0, size - 1)) for size in block_size]
    cell_shape = tuple(g * b - p for g, b, p in zip(grid, block_size, padding, strict=True))
    label_words = np.dtype(dtype).itemsize // 4
    blocks, volume = int(np.prod(grid)), int(np.prod(block_size))
    count = data.draw(st.integers(1, 3))
    channel = data.draw(st.integers(0, num_channels - 1))
    chunks = [
        encoding(*(written_by_hand(rng, blocks, volume, label_words) for _ in range(num_channels)))
        for _ in range(count)
    ]
    lower, upper = data.draw(boxes(cell_shape))
    if 0 in np.subtract(upper, lower):
        return
    shape = tuple(np.subtract(upper, lower).tolist())
    form = (num_channels, channel, block_size, label_words)
    many = chunk_boxes(chunks, cell_shape, lower, upper)
    arrays, became = decode_as(LabelTally(), many, form, value_type, shape, rng, stream=stream)
    for words, array in zip(chunks, arrays, strict=True):
        chunk = (words, num_channels, channel, cell_shape, block_size, label_words)
        labels = Oracle(*chunk).box(lower, upper)
        expected = np.vectorize(became.__getitem__, otypes=[value_type])(labels)
        np.testing.assert_array_equal(array, expected)


def one_of_each(bits, seed, label_words=2):
    """A chunk of four blocks of 16 x 16 x 2; two share a table, all are of so many bits."""
    rng = np.random.default_rng(seed)
    entries = min(1 << bits, 40)
    parts, blocks = [], []
    for number in range(4):
        parts.append((f"v{number}", value_words(rng.integers(0, entries, 512), bits)))
        if number != 2:
            labels = rng.integers(0, 1 << 32 * label_words, entries, np.uint64)
            parts.append((f"t{number}", table_words(labels, label_words)))
        blocks.append(Block(bits, f"t{1 if number == 2 else number}", f"v{number}"))
    return encoding(channel_words(blocks, parts))


@pytest.mark.parametrize("value_type", [np.uint32, np.uint64])
@pytest.mark.parametrize("bits", [0, 1, 2, 4, 8, 16, 32])
def test_short_tables_go_the_fast_way_and_long_ones_the_other(bits, value_type):
    cell_shape = (32, 32, 2)
    form = (1, 0, (16, 16, 2), 2)
    words = one_of_each(bits, bits)
    tally = LabelTally()
    many = chunk_boxes([words], cell_shape, (0, 0, 0), cell_shape)
    arrays, became = decode_as(tally, many, form, value_type, cell_shape, np.random.default_rng(1))
    labels = Oracle(words, 1, 0, cell_shape, (16, 16, 2), 2).box((0, 0, 0), cell_shape)
    expected = np.vectorize(became.__getitem__, otypes=[value_type])(labels)
    np.testing.assert_array_equal(arrays[0], expected)
    assert was_recoded(tally, words, 4) == (bits <= 8)


def test_a_copy_without_room_for_the_tables_is_not_written_past_its_end(monkeypatch):
    """Blocks of 8 bits with short tables: whole ones are many times as long as the chunk."""
    rng = np.random.default_rng(3)
    cell_shape, block_size = (4, 4, 64), (4, 4, 1)
    parts, blocks = [("v", value_words(rng.integers(0, 2, 16), 8))], []
    for number in range(64):
        parts.append((f"t{number}", table_words(rng.integers(0, 1 << 60, 2), 2)))
        blocks.append(Block(8, f"t{number}", "v"))
    words = encoding(channel_words(blocks, parts))
    tally = LabelTally()
    many = chunk_boxes([words], cell_shape, (0, 0, 0), cell_shape)
    guarded = np.full(2 * len(words) + 5000, 99, np.uint32)
    monkeypatch.setattr(LabelTally, "_copy_for", lambda _, __: guarded[: 2 * len(words)])
    arrays, became = decode_as(tally, many, (1, 0, block_size, 2), np.uint64, cell_shape, rng)
    labels = Oracle(words, 1, 0, cell_shape, block_size, 2).box((0, 0, 0), cell_shape)
    np.testing.assert_array_equal(
        arrays[0], np.vectorize(became.__getitem__, otypes=[np.uint64])(labels)
    )
    assert (guarded[2 * len(words) :] == 99).all()
