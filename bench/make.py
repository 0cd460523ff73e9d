"""``python -m bench make DIR``: a volume of FAFB's form with neurite-like labels."""

from __future__ import annotations

import argparse
import json
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from bench.bits import BlockMix, mix_of
from bench.neurites import fill_labels

__all__ = ["main", "make_volume"]

CHUNK = (128, 128, 32)
BLOCK = (16, 16, 2)
# A slab is generated and written at a time; 2048 x 2048 x 32 voxels are 1 GiB.
SLAB_DEPTH = CHUNK[2]
KEY = "8.0x8.0x40.0"
SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "hash": "identity",
    "preshift_bits": 9,
    "minishard_bits": 6,
    "shard_bits": 13,
    "minishard_index_encoding": "gzip",
    "data_encoding": "gzip",
}
# What a volume should come near to: shares of the blocks by bits, and bytes of a stored chunk.
WANTED_MIX = {0: 0.50, 1: 0.15, 2: 0.30, 4: 0.05}
WANTED_CHUNK_BYTES = (15_000, 20_000)


def make_volume(
    directory: Path, shape: tuple[int, int, int], seed: int, threads: int, say=print
) -> BlockMix:
    """Write the volume with tensorstore, slab by slab, and measure what it is like."""
    if (directory / "info").exists():
        raise FileExistsError(f"{directory}: there is a volume already")
    store = _create(directory, shape)
    begin = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for z0 in range(0, shape[2], SLAB_DEPTH):
            depth = min(SLAB_DEPTH, shape[2] - z0)
            slab = np.empty((*shape[:2], depth), np.uint64, order="F")
            rows = [slice(y, min(y + CHUNK[1], shape[1])) for y in range(0, shape[1], CHUNK[1])]
            list(pool.map(partial(_fill_row, slab, z0, seed), rows))
            store[:, :, z0 : z0 + depth].write(slab).result()
            done = z0 + depth
            left = (time.monotonic() - begin) / done * (shape[2] - done)
            say(f"  z {done} of {shape[2]}, {left:.0f} s left")
    return mix_of(directory)


def _fill_row(slab, z0: int, seed: int, row: slice) -> None:
    fill_labels(slab[:, row], (0, row.start, z0), seed)


def _create(directory: Path, shape: tuple[int, int, int]):
    import tensorstore as ts

    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{directory.resolve()}/"},
        "multiscale_metadata": {"type": "segmentation", "data_type": "uint64", "num_channels": 1},
        "scale_metadata": {
            "key": KEY,
            "size": list(shape),
            "resolution": [8, 8, 40],
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": list(BLOCK),
            "chunk_size": list(CHUNK),
            "sharding": SHARDING,
        },
    }
    return ts.open(spec, create=True).result()[..., 0]


def main(arguments: list[str]) -> int:
    """The sub-command ``make``."""
    parser = argparse.ArgumentParser("python -m bench make", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--shape", default="2048,2048,512", help="x,y,z (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args(arguments)
    shape = tuple(int(part) for part in options.shape.split(","))
    if len(shape) != 3 or min(shape) < 1:
        parser.error("--shape takes three positive numbers: x,y,z")
    try:
        mix = make_volume(options.directory, shape, options.seed, options.threads, _say)
    except FileExistsError as error:
        parser.error(str(error))
    (options.directory / "made-by-bench.json").write_text(
        json.dumps({"shape": shape, "seed": options.seed, **mix.as_json()}, indent=1) + "\n"
    )
    print(f"{options.directory}: {mix.chunks} chunks of {mix.chunk_bytes:.0f} bytes on average")
    print("share of the blocks by encoded bits, and what was aimed at:")
    for bits in sorted({*mix.shares, *WANTED_MIX}):
        share, wanted = mix.shares.get(bits, 0.0), WANTED_MIX.get(bits, 0.0)
        print(f"  {bits:2} bits  {share:6.1%}  {wanted:4.0%}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
