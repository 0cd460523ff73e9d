"""Shard files in parts that a test may replace one by one, and a tiny volume made of them.

Written after the specification alone: nothing here calls the code that the tests are about, but
for the frozen `ShardingSpec`, which only carries the numbers.
"""

from __future__ import annotations

import gzip
import json
import struct
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import zstandard
from cseg_words import Block, channel_words, encoding, table_words, value_words
from numpy.typing import NDArray

from shardreader.format.sharding import ShardingSpec

Row = tuple[int, int, int]  # chunk id, offset in bytes after the shard index, size in bytes
WRAP = 1 << 64


def gzipped(data: bytes) -> bytes:
    """One gzip member without a time, so that equal data give equal bytes."""
    return gzip.compress(data, mtime=0)


def encode(data: bytes, name: str) -> bytes:
    """As `data_encoding` or `minishard_index_encoding` say."""
    writers = {
        "raw": bytes,
        "gzip": gzipped,
        # Without its content size, as a program that streams writes it.
        "zstd": zstandard.ZstdCompressor(write_content_size=False).compress,
    }
    return writers[name](data)


def index_bytes(rows: Iterable[Row]) -> bytes:
    """The decoded minishard index of these rows, in their order; sums modulo 2**64."""
    rows = list(rows)
    columns: list[list[int]] = [[], [], []]
    last_id = end = 0
    for chunk_id, offset, size in rows:
        for column, value in zip(columns, (chunk_id - last_id, offset - end, size), strict=True):
            column.append(value % WRAP)
        last_id, end = chunk_id, offset + size
    return struct.pack(f"<{3 * len(rows)}Q", *columns[0], *columns[1], *columns[2])


@dataclass
class Shard:
    """A shard file: shard index, `lead`, chunks, minishard indices, `trailing`.

    Attributes
    ----------
    chunks : dict of int to bytes
        Stored bytes (after encoding) by chunk id, written in this order.
    gaps : dict of int to bytes
        Bytes that go before a chunk.
    rows : dict of int to list of Row
        By minishard, instead of `default_rows`.
    decoded_indices, stored_indices : dict of int to bytes
        By minishard, instead of what follows from the rows; before and after its encoding.
    entries : dict of int to (int, int)
        By minishard, instead of the true entry of the shard index.
    """

    spec: ShardingSpec
    chunks: dict[int, bytes]
    gaps: dict[int, bytes] = field(default_factory=dict)
    rows: dict[int, list[Row]] = field(default_factory=dict)
    decoded_indices: dict[int, bytes] = field(default_factory=dict)
    stored_indices: dict[int, bytes] = field(default_factory=dict)
    entries: dict[int, tuple[int, int]] = field(default_factory=dict)
    lead: bytes = b""
    trailing: bytes = b""

    @classmethod
    def parse(cls, data: bytes, spec: ShardingSpec) -> Shard:
        """The chunks of a good shard, in the order of the file; its gaps are not kept."""
        end = 16 << spec.minishard_bits
        rows: list[Row] = []
        for start, stop in struct.iter_unpack("<QQ", data[:end]):
            index = data[end + start : end + stop]
            if index and spec.minishard_index_encoding == "gzip":
                index = gzip.decompress(index)
            ids, gaps, sizes = np.frombuffer(index, "<u8").reshape(3, -1).tolist()
            chunk_id = position = 0
            for step, gap, size in zip(ids, gaps, sizes, strict=True):
                chunk_id, position = (chunk_id + step) % WRAP, (position + gap) % WRAP
                rows.append((chunk_id, position, size))
                position += size
        rows.sort(key=lambda row: row[1])
        return cls(spec, {i: data[end + o : end + o + n] for i, o, n in rows})

    def minishard_of(self, chunk_id: int) -> int:
        """The minishard number by the identity hash."""
        return chunk_id >> self.spec.preshift_bits & ((1 << self.spec.minishard_bits) - 1)

    def chunk_offsets(self) -> dict[int, int]:
        """Where each chunk is written, in bytes after the shard index."""
        offsets = {}
        position = len(self.lead)
        for chunk_id, stored in self.chunks.items():
            position += len(self.gaps.get(chunk_id, b""))
            offsets[chunk_id] = position
            position += len(stored)
        return offsets

    def default_rows(self, minishard: int) -> list[Row]:
        """The true rows of a minishard, by ascending chunk id; a new list."""
        offsets = self.chunk_offsets()
        ids = sorted(i for i in self.chunks if self.minishard_of(i) == minishard)
        return [(i, offsets[i], len(self.chunks[i])) for i in ids]

    def stored_index(self, minishard: int) -> bytes:
        """The minishard index as it is written."""
        if minishard in self.stored_indices:
            return self.stored_indices[minishard]
        decoded = self.decoded_indices.get(minishard)
        if decoded is None:
            rows = self.rows.get(minishard, self.default_rows(minishard))
            decoded = index_bytes(rows)
        return encode(decoded, self.spec.minishard_index_encoding) if decoded else b""

    def index_entries(self) -> list[tuple[int, int]]:
        """The shard index."""
        offsets = self.chunk_offsets()
        position = max([len(self.lead), *(offsets[i] + len(self.chunks[i]) for i in offsets)])
        entries = []
        for minishard in range(1 << self.spec.minishard_bits):
            length = len(self.stored_index(minishard))
            true_entry = (position, position + length) if length else (0, 0)
            entries.append(self.entries.get(minishard, true_entry))
            position += length
        return entries

    def to_bytes(self) -> bytes:
        """The file."""
        parts = [struct.pack("<QQ", *entry) for entry in self.index_entries()]
        parts.append(self.lead)
        for chunk_id, stored in self.chunks.items():
            parts += [self.gaps.get(chunk_id, b""), stored]
        parts += [self.stored_index(m) for m in range(1 << self.spec.minishard_bits)]
        return b"".join([*parts, self.trailing])


def block_label(chunk_id: int, block: int) -> int:
    """The one label of a block of a tiny volume's chunk; both of its words matter."""
    return (chunk_id + 1) << 32 | (block + 1)


def tiny_chunk(chunk_id: int) -> bytes:
    """Encoded bytes of a chunk of `TinyVolume`: four blocks of 0 bits with a table each."""
    tables = [(f"{i}", table_words([block_label(chunk_id, i)], 2)) for i in range(4)]
    blocks = [Block(0, name) for name, _ in tables]
    return encoding(channel_words(blocks, tables)).tobytes()


class TinyVolume:
    """32 chunks of 16 x 16 x 8 in two shards of four minishards of four chunks each.

    Chunk ids have the bits ``y1 x1 z0 y0 x0``: bit 4 is the shard, bits 3 and 2 the minishard.
    Edit `shards` or `info`, then `write`.
    """

    key = "tiny"
    chunk_shape = (16, 16, 8)

    def __init__(
        self,
        path: Path,
        *,
        index_encoding: str = "raw",
        data_encoding: str = "raw",
        size: tuple[int, int, int] = (64, 64, 16),
    ) -> None:
        self.path = path
        self.spec = ShardingSpec(
            preshift_bits=2,
            minishard_bits=2,
            shard_bits=1,
            minishard_index_encoding=index_encoding,
            data_encoding=data_encoding,
        )
        self.info: dict[str, Any] = {
            "@type": "neuroglancer_multiscale_volume",
            "type": "segmentation",
            "data_type": "uint64",
            "num_channels": 1,
            "scales": [
                {
                    "key": self.key,
                    "size": list(size),
                    "resolution": [8, 8, 40],
                    "voxel_offset": [0, 0, 0],
                    "chunk_sizes": [list(self.chunk_shape)],
                    "encoding": "compressed_segmentation",
                    "compressed_segmentation_block_size": [8, 8, 8],
                    "sharding": {
                        "@type": "neuroglancer_uint64_sharded_v1",
                        "preshift_bits": 2,
                        "minishard_bits": 2,
                        "shard_bits": 1,
                        "hash": "identity",
                        "minishard_index_encoding": index_encoding,
                        "data_encoding": data_encoding,
                    },
                }
            ],
        }
        chunks = {i: encode(tiny_chunk(i), data_encoding) for i in range(32)}
        self.shards = [
            Shard(self.spec, {i: chunks[i] for i in range(16 * number, 16 * number + 16)})
            for number in range(2)
        ]

    def shard_path(self, number: int) -> Path:
        return self.path / self.key / f"{number}.shard"

    def write(self) -> TinyVolume:
        (self.path / self.key).mkdir(parents=True, exist_ok=True)
        (self.path / "info").write_text(json.dumps(self.info))
        for number, shard in enumerate(self.shards):
            self.shard_path(number).write_bytes(shard.to_bytes())
        return self

    @staticmethod
    def cell(chunk_id: int) -> tuple[int, int, int]:
        bit = [chunk_id >> i & 1 for i in range(5)]
        return bit[0] | bit[3] << 1, bit[1] | bit[4] << 1, bit[2]

    def lower(self, chunk_id: int) -> tuple[int, int, int]:
        """The first voxel of a chunk, where `voxel_offset` is 0."""
        x, y, z = (c * n for c, n in zip(self.cell(chunk_id), self.chunk_shape, strict=True))
        return x, y, z

    def voxels(self, chunk_id: int) -> NDArray[np.uint64]:
        """The labels of a whole chunk."""
        blocks = [block_label(chunk_id, i) for i in range(4)]
        corners = np.array(blocks, np.uint64).reshape((2, 2, 1), order="F")
        return np.kron(corners, np.ones((8, 8, 8), np.uint64))


def code_too_far(tiny: TinyVolume) -> None:
    """Write chunk 5 of shard 0 with a code behind its encoding, under a right gzip checksum."""
    blocks = [Block(8, "t", "v"), *[Block(0, "t")] * 3]
    parts = [("v", value_words([255] + [0] * 511, 8)), ("t", table_words([7], 2))]
    tiny.shards[0].chunks[5] = gzipped(encoding(channel_words(blocks, parts)).tobytes())
    tiny.write()
