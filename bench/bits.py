"""What the blocks of a volume are like: shares by encoded bits, bytes of a stored chunk."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.ours import open_volume, stored_chunks_of
from bench.region import find_region

__all__ = ["BlockMix", "mix_of"]

_SAMPLE = 256


@dataclass(frozen=True)
class BlockMix:
    """Shares of the blocks by bits, over a sample of the chunks."""

    chunks: int
    chunk_bytes: float
    encoded_bytes: float
    shares: dict[int, float]

    def as_json(self) -> dict:
        """For results.json."""
        return {
            "chunks_sampled": self.chunks,
            "stored_bytes_per_chunk": self.chunk_bytes,
            "encoded_bytes_per_chunk": self.encoded_bytes,
            "share_of_blocks_by_bits": {str(k): v for k, v in self.shares.items()},
        }


def mix_of(directory: Path, vol=None, region=None) -> BlockMix:
    """Look into at most 256 chunks spread over the region."""
    if vol is None:
        with open_volume(directory) as vol:
            return mix_of(directory, vol, find_region(vol))
    chunks = stored_chunks_of(vol, region)
    step = max(1, len(chunks.stored) // _SAMPLE)
    counts = np.zeros(33, np.int64)
    stored, encoded = [], []
    for data, shape in list(zip(chunks.stored, chunks.cell_shapes, strict=True))[::step]:
        words = chunks.inflate(data)
        blocks = np.prod([-(-s // b) for s, b in zip(shape, chunks.block_size, strict=True)])
        header = words[int(words[0]) : int(words[0]) + 2 * int(blocks) : 2]
        counts += np.bincount(header >> 24, minlength=33)[:33]
        stored.append(len(data))
        encoded.append(4 * len(words))
    shares = {bits: n / counts.sum() for bits, n in enumerate(counts.tolist()) if n}
    return BlockMix(len(stored), float(np.mean(stored)), float(np.mean(encoded)), shares)
