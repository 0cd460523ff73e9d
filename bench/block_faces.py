"""``python -m bench.block_faces``: both error rates of verify's check of the block size.

Volumes of 64 chunks with labels of several kinds, as they are and enlarged, are written by
tensorstore with six block sizes. Then the check is asked about the right size, and about some of
the others of the same volume that change a label. Exit status 1 where a sound volume is called
wrong, or more than 1 % of the wrong sizes that change labels are missed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path

import numba
import numpy as np
import tensorstore as ts

from shardreader.checking.block_faces import block_sizes_of_volume
from shardreader.checking.block_size_check import BlockSizeQuestion, check_block_size
from shardreader.checking.shard_job import ShardJob
from shardreader.format.info import parse_info

__all__ = ["ENLARGED", "KINDS", "Rates", "main", "measure", "write_volume"]

EDGE, CHUNK_EDGE = 128, 32
BLOCK_SIZES = [(4, 4, 4), (8, 8, 8), (8, 8, 2), (16, 16, 2), (16, 16, 16), (32, 32, 2)]
ENLARGED = [(1, 1, 1), (2, 2, 1), (1, 1, 2), (2, 2, 2), (4, 4, 4)]
MOST_MISSED = 0.01


def blobs(rng, edge):
    """Levels of smooth noise."""
    spectrum = np.fft.rfftn(rng.standard_normal((edge,) * 3))
    width = rng.uniform(2, 8) * np.array([1, 1, rng.choice([1, 0.5, 0.25])])
    for axis, count in enumerate(spectrum.shape):
        waves = np.fft.rfftfreq(edge) if axis == 2 else np.fft.fftfreq(edge)
        shape = [1, 1, 1]
        shape[axis] = count
        spectrum *= np.exp(-2 * (np.pi * width[axis] * waves) ** 2).reshape(shape)
    noise = np.fft.irfftn(spectrum, s=(edge,) * 3, axes=(0, 1, 2))
    return np.floor(noise / noise.std() * rng.uniform(1, 2.5)).astype(np.int64) + 100


@numba.njit
def _nearest(seeds, depth, out):
    edge = out.shape[0]
    for x in range(edge):
        for y in range(edge):
            for z in range(edge):
                best = np.inf
                for i in range(len(seeds)):
                    dx, dy = seeds[i, 0] - x, seeds[i, 1] - y
                    dz = (seeds[i, 2] - z) * depth
                    distance = dx * dx + dy * dy + dz * dz
                    if distance < best:
                        best = distance
                        out[x, y, z] = i + 1


def voronoi(rng, edge):
    """Cells around random points."""
    out = np.empty((edge,) * 3, np.int64)
    seeds = rng.uniform(0, edge, (int(rng.integers(8, 300)), 3))
    _nearest(seeds, float(rng.choice([1, 2, 4])), out)
    return out


def tubes(rng, edge):
    """Thin bent tubes on background."""
    out = np.zeros((edge,) * 3, np.int64)
    for label in range(1, int(rng.integers(5, 80))):
        at, radius = rng.uniform(0, edge, 3), rng.uniform(1.5, 6)
        direction, flat = rng.standard_normal(3), rng.choice([1, 1, 0.4])
        for _ in range(edge):
            direction += 0.3 * rng.standard_normal(3)
            direction /= np.linalg.norm(direction)
            at = at + direction * radius * 0.7
            if (at < 0).any() or (at >= edge).any():
                break
            lower = np.maximum((at - radius).astype(int), 0)
            box = tuple(map(slice, lower, np.minimum(at + radius + 2, edge).astype(int)))
            x, y, z = np.ogrid[box]
            near = (x - at[0]) ** 2 + (y - at[1]) ** 2 + ((z - at[2]) / flat) ** 2 < radius**2
            out[box][near] = label
    return out


def straight(rng, edge):
    """Boxes, some of them through the whole volume."""
    out = np.ones((edge,) * 3, np.int64)
    for label in range(2, 2 + int(rng.integers(1, 30))):
        lower = rng.integers(-edge // 4, edge, 3)
        upper = lower + rng.integers(4, edge, 3)
        if rng.random() < 1 / 3:
            through = rng.random(3) < 0.6
            lower[through], upper[through] = 0, edge
        out[tuple(map(slice, np.maximum(lower, 0), upper))] = label
    return out


def one_cell(rng, edge):
    """One ellipsoid on background."""
    middle, radius = rng.uniform(0.2 * edge, 0.8 * edge, 3), rng.uniform(0.05, 0.4) * edge
    shares, axes = rng.uniform(0.4, 1, 3), np.ogrid[:edge, :edge, :edge]
    distance = sum(((axes[i] - middle[i]) / shares[i]) ** 2 for i in range(3))
    return np.where(distance < radius**2, 7, 0)


KINDS = {
    "blobs": blobs,
    "voronoi": voronoi,
    "tubes": tubes,
    "straight": straight,
    "one cell": one_cell,
}


def enlarged_labels(kind, factors, rng, edge=EDGE):
    """Labels of a kind, each voxel of their middle repeated."""
    whole = -(-edge // min(factors))
    labels = KINDS[kind](rng, whole)
    for axis, factor in enumerate(factors):
        first = (whole - -(-edge // factor)) // 2
        middle = np.arange(first, first + -(-edge // factor))
        labels = labels.take(middle, axis).repeat(factor, axis)
    return np.ascontiguousarray(labels[:edge, :edge, :edge]).astype(np.uint64)


def write_volume(directory: Path, labels, block_size, chunk_size=(CHUNK_EDGE,) * 3):
    """Write labels with tensorstore, in one shard."""
    spec = {
        "driver": "neuroglancer_precomputed",
        "kvstore": {"driver": "file", "path": f"{directory}/"},
        "multiscale_metadata": {
            "type": "segmentation",
            "data_type": str(labels.dtype),
            "num_channels": 1,
        },
        "scale_metadata": {
            "key": "s0",
            "size": list(labels.shape),
            "resolution": [8, 8, 40],
            "chunk_size": list(chunk_size),
            "encoding": "compressed_segmentation",
            "compressed_segmentation_block_size": list(block_size),
            "sharding": {
                "@type": "neuroglancer_uint64_sharded_v1",
                "hash": "identity",
                "preshift_bits": 9,
                "minishard_bits": 0,
                "shard_bits": 0,
                "minishard_index_encoding": "gzip",
                "data_encoding": "gzip",
            },
        },
        "context": {"file_io_sync": False},
    }
    store = ts.open(spec, create=True).result()
    with ts.Transaction() as transaction:
        store.with_transaction(transaction)[..., 0] = labels


def better_size(directory: Path, block_size):
    """The block size that the check names, None where it finds nothing; and its seconds."""
    volume = parse_info((directory / "info").read_bytes(), "info")
    (scale,) = volume.scales
    job = ShardJob(str(directory), replace(scale, block_size=block_size), 1, volume.data_type, 0)
    begin = time.perf_counter()
    _, wrong = check_block_size(BlockSizeQuestion(0, (job,)))
    return (None if wrong is None else wrong.better), time.perf_counter() - begin


def changes_labels(labels, right, wrong) -> bool:
    """Whether reading chunks of a volume with another block size gives other labels."""
    count = EDGE // CHUNK_EDGE
    chunks = labels.reshape(count, CHUNK_EDGE, count, CHUNK_EDGE, count, CHUNK_EDGE)
    chunks = chunks.transpose(4, 2, 0, 5, 3, 1).reshape(-1, *[CHUNK_EDGE] * 3)  # chunk, z, y, x
    return bool((_in_blocks(chunks, right) != _in_blocks(chunks, wrong)).any())


def _in_blocks(chunks, block_size):
    """The voxels of chunks in the order in which blocks store them."""
    bx, by, bz = block_size
    n = CHUNK_EDGE
    parts = chunks.reshape(-1, n // bz, bz, n // by, by, n // bx, bx)
    return parts.transpose(0, 1, 3, 5, 2, 4, 6).reshape(len(chunks), -1)


@dataclass
class Rates:
    """What came of the volumes so far."""

    counts: Counter = field(default_factory=Counter)
    false_alarms: list = field(default_factory=list)
    missed: list = field(default_factory=list)
    sound_seconds: float = 0.0

    def ask_right(self, directory: Path, case, block_size) -> None:
        """Ask about the right size."""
        better, seconds = better_size(directory, block_size)
        self.counts["sound"] += 1
        self.sound_seconds += seconds
        if better is not None:
            self.false_alarms.append((*case, better))

    def ask_wrong(self, directory: Path, case, right, wrong) -> None:
        """Ask about a wrong size."""
        better, _ = better_size(directory, wrong)
        self.counts["wrong"] += 1
        self.counts["right one named"] += better == right
        if (right, wrong) == ((16, 16, 2), (8, 8, 8)):
            self.counts["8 8 8 for 16 16 2"] += 1
            self.counts["8 8 8 for 16 16 2 found"] += better is not None
        if better is None:
            self.missed.append((*case, wrong))

    @property
    def is_good(self) -> bool:
        """Whether both rates are what they must be."""
        few_missed = len(self.missed) <= MOST_MISSED * self.counts["wrong"]
        return not self.false_alarms and few_missed


def measure(rounds: int, wrong_sizes: int, seed: int, say=print) -> Rates:
    """Measure volumes of each kind, enlargement and block size, `rounds` times."""
    rng, rates = np.random.default_rng(seed), Rates()
    for number in range(rounds):
        for kind in KINDS:
            for factors in ENLARGED:
                labels = enlarged_labels(kind, factors, rng)
                for right in BLOCK_SIZES:
                    _measure_one(rates, (kind, factors, right), labels, wrong_sizes, rng)
        say(f"{number + 1} of {rounds}: {_numbers(rates)}")
    return rates


def _measure_one(rates, case, labels, wrong_sizes, rng) -> None:
    right = case[-1]
    sizes = block_sizes_of_volume(right, (CHUNK_EDGE,) * 3)
    chosen = [sizes[i] for i in rng.permutation(len(sizes))[:wrong_sizes]]
    if right == (16, 16, 2) and (8, 8, 8) not in chosen:
        chosen.append((8, 8, 8))
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        write_volume(directory, labels, right)
        if not (directory / "s0" / "0.shard").exists():
            return  # all of it is background
        rates.ask_right(directory, case, right)
        for wrong in chosen:
            if changes_labels(labels, right, wrong):
                rates.ask_wrong(directory, case, right, wrong)


def _numbers(rates: Rates) -> str:
    counts = rates.counts
    return (
        f"{len(rates.false_alarms)} false alarms in {counts['sound']} sound volumes; "
        f"{len(rates.missed)} of {counts['wrong']} wrong sizes missed, the right one named for "
        f"{counts['right one named']}; {counts['8 8 8 for 16 16 2 found']} of "
        f"{counts['8 8 8 for 16 16 2']} of 8 8 8 for 16 16 2 found; "
        f"{rates.sound_seconds / max(counts['sound'], 1):.3f} s for a sound volume"
    )


def main(arguments: list[str]) -> int:
    """Measure, and print both rates."""
    parser = argparse.ArgumentParser("python -m bench.block_faces", description=__doc__)
    parser.add_argument("--rounds", type=int, default=14, help="of 150 volumes")
    parser.add_argument("--wrong-sizes", type=int, default=3, help="for each volume")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    rates = measure(options.rounds, options.wrong_sizes, options.seed)
    for name, cases in (("false alarm", rates.false_alarms), ("missed", rates.missed)):
        for case in cases:
            print(f"{name}:", *case)
    print(_numbers(rates))
    return 0 if rates.is_good else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
