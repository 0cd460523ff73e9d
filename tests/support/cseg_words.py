"""compressed_segmentation written by hand, word by word: forms that no public writer makes.

A channel is described by its blocks and by a list of parts, the words behind the block headers in
their order.  A block names the part that is its table and the part that holds its codes, so that
tables can be shared, stand before or behind the values, and hold labels of no voxel.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Words = npt.NDArray[np.uint32]


@dataclass(frozen=True)
class Block:
    """A block header; the parts may also be given as offsets in words (an int)."""

    bits: int
    table: str | int
    values: str | int = 0


def table_words(labels: Iterable[int], label_words: int) -> Words:
    """A lookup table, little-endian."""
    return np.array(list(labels), f"<u{4 * label_words}").view("<u4")


def value_words(codes: Iterable[int], bits: int) -> Words:
    """Codes packed into 32-bit words, the first in the lowest bits."""
    packed = 0
    position = 0
    for code in codes:
        packed |= int(code) << position
        position += bits
    count = -(-position // 32)
    return np.frombuffer(packed.to_bytes(4 * count, "little"), "<u4")


def channel_words(blocks: Sequence[Block], parts: Sequence[tuple[str, Words]]) -> Words:
    """Block headers, then the parts."""
    offsets = {}
    end = 2 * len(blocks)
    for name, words in parts:
        offsets[name] = end
        end += len(words)

    def offset(where: str | int) -> int:
        return where if isinstance(where, int) else offsets[where]

    header: list[int] = []
    for block in blocks:
        header += [offset(block.table) | block.bits << 24, offset(block.values)]
    return np.concatenate([np.array(header, "<u4"), *(words for _, words in parts)])


def encoding(*channels: Words) -> Words:
    """The offsets of the channels, then the channels; read-only, as a reader has it."""
    starts = len(channels) + np.cumsum([0, *(len(channel) for channel in channels[:-1])])
    words = np.concatenate([starts.astype("<u4"), *channels])
    words.setflags(write=False)
    return words


def written_by_hand(
    rng: np.random.Generator, blocks: int, block_volume: int, label_words: int
) -> Words:
    """A channel of random blocks of all bit widths; tables shared, with junk, before and behind.

    Codes are random over all of the table, those of padding voxels too.
    """
    top = 1 << (32 * label_words)
    headers: list[Block] = []
    parts: list[tuple[str, Words]] = []
    tables: list[tuple[str, int]] = []
    for number in range(blocks):
        bits = int(rng.choice([0, 1, 2, 4, 8, 16, 32]))
        if tables and rng.random() < 0.3:
            name, size = tables[rng.integers(len(tables))]
        else:
            name, size = f"table {number}", int(rng.integers(1, 1 << min(bits, 5), endpoint=True))
            tables.append((name, size))
            labels = [rng.bit_generator.random_raw() % top for _ in range(size)]
            parts.append((name, table_words(labels, label_words)))
        if bits == 0:
            # Not followed, so that it may point anywhere.
            headers.append(Block(0, name, int(rng.integers(1 << 32))))
            continue
        codes = rng.integers(min(size, 1 << bits), size=block_volume)
        values = (f"values {number}", value_words(codes, bits))
        parts.insert(len(parts) - int(rng.integers(2)), values)
        headers.append(Block(bits, name, values[0]))
    parts.append(("junk", rng.integers(1 << 32, size=int(rng.integers(4))).astype("<u4")))
    return channel_words(headers, parts)
