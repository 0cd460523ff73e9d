"""A slow, obvious decoder of compressed_segmentation: one voxel at a time, in Python integers."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from shardreader.errors import FormatFault

if TYPE_CHECKING:
    from collections.abc import Iterator

Words = npt.NDArray[np.uint32]
Triple = tuple[int, int, int]


def channel_of(words: Words, num_channels: int, channel: int) -> list[int]:
    """The words of one channel."""
    if len(words) < num_channels:
        raise FormatFault("channels", expected=str(num_channels), found=str(len(words)))
    offsets = [int(word) for word in words[:num_channels]]
    if offsets[0] != num_channels:
        raise FormatFault("first channel", expected=str(num_channels), found=str(offsets[0]))
    ends = [*offsets[1:], len(words)]
    if any(start > end for start, end in zip(offsets, ends, strict=True)):
        raise FormatFault("channels", expected="in order, inside", found=str(offsets))
    return [int(word) for word in words[offsets[channel] : ends[channel]]]


class Oracle:
    """One channel of an encoding."""

    def __init__(
        self,
        words: Words,
        num_channels: int,
        channel: int,
        cell_shape: Triple,
        block_size: Triple,
        label_words: int,
    ) -> None:
        self.words = channel_of(words, num_channels, channel)
        self.block_size = block_size
        self.label_words = label_words
        self.grid = tuple(-(-c // b) for c, b in zip(cell_shape, block_size, strict=True))
        self.header_words = 2 * int(np.prod(self.grid))
        if len(self.words) < self.header_words:
            raise FormatFault("headers", expected=str(self.header_words), found="fewer")

    def label(self, x: int, y: int, z: int) -> int:
        bx, by, bz = self.block_size
        gx, gy, _ = self.grid
        header = 2 * (x // bx + gx * (y // by + gy * (z // bz)))
        table = self.words[header] % 2**24
        bits = self.words[header] // 2**24
        values = self.words[header + 1]
        if bits not in (0, 1, 2, 4, 8, 16, 32):
            raise FormatFault("encoded bits", expected="a legal number", found=str(bits))
        self.require(table, self.label_words)
        code = 0
        if bits > 0:
            self.require(values, -(-bits * bx * by * bz // 32))
            bit = bits * (x % bx + bx * (y % by + by * (z % bz)))
            code = self.words[values + bit // 32] // 2 ** (bit % 32) % 2**bits
        entry = table + code * self.label_words
        self.require(entry, self.label_words)
        parts = self.words[entry : entry + self.label_words]
        return sum(part * 2 ** (32 * i) for i, part in enumerate(parts))

    def require(self, start: int, count: int) -> None:
        if start < self.header_words or start + count > len(self.words):
            raise FormatFault("words", expected="in the channel", found=f"{start} + {count}")

    def box(self, lower: Triple, upper: Triple) -> npt.NDArray[np.uint64]:
        shape = [u - k for k, u in zip(lower, upper, strict=True)]
        out = np.zeros(shape, np.uint64, order="F")
        for x, y, z in voxels(lower, upper):
            out[x - lower[0], y - lower[1], z - lower[2]] = self.label(x, y, z)
        return out


def voxels(lower: Triple, upper: Triple) -> Iterator[tuple[int, ...]]:
    """All voxels of a box."""
    return product(*(range(k, u) for k, u in zip(lower, upper, strict=True)))
