"""Small volumes written by tensorstore, with the array that they were written from."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorstore as ts
from numpy.typing import NDArray

Labels = NDArray[Any]
Triple = tuple[int, int, int]


@dataclass(frozen=True)
class Spec:
    """What a volume is written as; the defaults are what a test does not care about."""

    size: Triple = (40, 30, 20)
    chunk_size: Triple = (16, 16, 8)
    block_size: Triple = (8, 8, 2)
    voxel_offset: Triple = (0, 0, 0)
    resolution: tuple[float, float, float] = (8, 8, 40)
    dtype: str = "uint64"
    preshift_bits: int = 1
    minishard_bits: int = 1
    shard_bits: int = 2
    index_encoding: str = "gzip"
    data_encoding: str = "gzip"

    @property
    def upper(self) -> Triple:
        x, y, z = (o + s for o, s in zip(self.voxel_offset, self.size, strict=True))
        return x, y, z

    def scale(self) -> dict[str, Any]:
        """Give the scale as tensorstore wants it."""
        return {
            "key": "s0",
            "size": list(self.size),
            "resolution": list(self.resolution),
            "voxel_offset": list(self.voxel_offset),
            "chunk_size": list(self.chunk_size),
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": list(self.block_size),
            "sharding": {
                "@type": "neuroglancer_uint64_sharded_v1",
                "hash": "identity",
                "preshift_bits": self.preshift_bits,
                "minishard_bits": self.minishard_bits,
                "shard_bits": self.shard_bits,
                "minishard_index_encoding": self.index_encoding,
                "data_encoding": self.data_encoding,
            },
        }

    def cells(self) -> Iterator[tuple[slice, ...]]:
        """Give the part of the source array that each chunk holds."""
        axes = [
            [slice(at, min(at + step, end)) for at in range(0, end, step)]
            for end, step in zip(self.size, self.chunk_size, strict=True)
        ]
        yield from itertools.product(*axes)


@dataclass(frozen=True)
class Written:
    """A volume on disk and its source array."""

    path: Path
    spec: Spec
    labels: Labels = field(repr=False)

    def box(self, lower: Triple, upper: Triple) -> Labels:
        """Give the source voxels of a box in global coordinates."""
        return self.labels[
            tuple(
                slice(a - o, b - o)
                for a, b, o in zip(lower, upper, self.spec.voxel_offset, strict=True)
            )
        ]

    def at(self, voxels: Any) -> Labels:
        """Give the source labels at voxels in global coordinates, shape (..., 3)."""
        relative = np.asarray(voxels) - np.array(self.spec.voxel_offset)
        return self.labels[relative[..., 0], relative[..., 1], relative[..., 2]]

    def shards(self) -> list[Path]:
        """Give the shard files."""
        return sorted((self.path / "s0").glob("*.shard"))

    def shard_of(self, voxel: Triple) -> Path:
        """Give the shard file of a voxel, worked out bit by bit as the specification says."""
        spec = self.spec
        grid = tuple(-(-s // c) for s, c in zip(spec.size, spec.chunk_size, strict=True))
        relative = np.subtract(voxel, spec.voxel_offset)
        (code,) = morton_codes(relative[np.newaxis] // spec.chunk_size, grid).tolist()
        shard = code >> spec.preshift_bits >> spec.minishard_bits & (2**spec.shard_bits - 1)
        return self.path / "s0" / f"{shard:0{-(-spec.shard_bits // 4)}x}.shard"


def morton_codes(cells: Any, grid: tuple[int, ...]) -> Labels:
    """Interleave the bits of grid cells, shape (n, 3), as the specification says."""
    codes, at = np.zeros(len(cells), np.int64), 0
    for bit in range(max(n.bit_length() for n in grid)):
        for axis in range(3):
            if 2**bit < grid[axis]:
                codes |= (cells[:, axis] >> bit & 1) << at
                at += 1
    return codes


def random_labels(spec: Spec, seed: int, *, background: bool = True) -> Labels:
    """Blobs and noise: blocks of every small width, whole chunks of one label, some all 0."""
    rng = np.random.default_rng(seed)
    high = np.iinfo(spec.dtype).max
    labels = np.zeros(spec.size, dtype=spec.dtype)
    for cell in spec.cells():
        kind = int(rng.integers(0 if background else 1, 7))
        table = rng.integers(1, high, size=(0, 1, 2, 4, 15, 200, 5)[kind], dtype=spec.dtype)
        if len(table) == 0:
            continue
        part = labels[cell]
        # Long runs along x, as in a segmentation, but for the kind that is all noise.
        coarse = rng.integers(0, len(table), size=[-(-n // 3) for n in part.shape])
        spread = coarse.repeat(3, 0).repeat(3, 1).repeat(3, 2)
        nx, ny, nz = part.shape
        codes = rng.integers(0, len(table), part.shape) if kind == 5 else spread[:nx, :ny, :nz]
        part[...] = table[codes]
        if kind == 6:
            part[rng.random(part.shape) < 0.3] = 0
    return labels


def write_volume(
    directory: Path, spec: Spec | None = None, *, seed: int = 0, labels: Labels | None = None
) -> Written:
    """Write a volume of random labels; chunks that are all 0 are not stored."""
    spec = spec or Spec()
    if labels is None:
        labels = random_labels(spec, seed)
    store = opened(directory, spec, create=True)
    # One transaction writes each shard once.
    with ts.Transaction() as transaction:
        store.with_transaction(transaction)[..., 0] = labels
    (directory / "s0").mkdir(exist_ok=True)  # a volume that is all background has no shards
    return Written(directory, spec, labels)


def read_with_tensorstore(volume: Written) -> Labels:
    """Give all voxels as tensorstore reads them."""
    return opened(volume.path, volume.spec, create=False).read(order="F").result()[..., 0]


def opened(directory: Path, spec: Spec, *, create: bool) -> Any:
    """Open a volume with tensorstore."""
    return ts.open(
        {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{directory}/"},
            "multiscale_metadata": {
                "type": "segmentation",
                "data_type": spec.dtype,
                "num_channels": 1,
            },
            "scale_metadata": spec.scale(),
            "context": {"file_io_sync": False},
        },
        create=create,
        open=not create,
    ).result()


@dataclass(frozen=True)
class Layout:
    """Where the voxels of an output array lie in memory."""

    axes: tuple[int, int, int] = (0, 1, 2)  # the slowest first
    steps: Triple = (1, 1, 1)
    reversed: tuple[bool, bool, bool] = (False, False, False)
    gap_bytes: int = 0  # between items: not a multiple of the item size is unaligned

    @property
    def is_direct(self) -> bool:
        """Say whether kernels can write to it without a copy."""
        return self.gap_bytes % 8 == 0

    def array(self, shape: Triple, dtype: Any) -> Labels:
        """Give an array of this layout, full of a label that is in no volume."""
        lengths = [shape[axis] * self.steps[axis] for axis in self.axes]
        item = np.dtype([("label", dtype), ("gap", f"V{self.gap_bytes}")])
        memory = np.zeros(lengths, item)["label"]
        memory[...] = 77
        whole = memory.transpose(np.argsort(self.axes))
        return whole[
            tuple(
                slice(None, None, -step if backwards else step)
                for step, backwards in zip(self.steps, self.reversed, strict=True)
            )
        ]
