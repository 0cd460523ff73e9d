"""Decode damaged crackle streams; run as a script where a crash must not take the tests along.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=DIR python tests/support/crackle_damage.py ROUNDS SEED

With numba's bounds checks, an array that is read or written outside is an IndexError.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from crackle_streams import blobs, mutated, mutated_inside, take_apart
from slice_codecs import decode_whole, kept_streams

from shardreader.decoding import crackle
from shardreader.errors import FormatFault

STREAMS = Path(__file__).parents[1] / "decoding" / "crackle_streams.npz"


def sound_streams() -> Iterator[tuple[bytes, np.ndarray]]:
    """Give streams of all forms that crackle-codec writes, and their voxels."""
    return kept_streams(STREAMS)


def write_streams() -> None:
    """Make the file of `sound_streams` with crackle-codec."""
    import crackle as published

    arrays = {}
    rng = np.random.default_rng(5)
    for number in range(24):
        dtype = ("uint8", "uint16", "uint32", "uint64")[number % 4]
        shape = tuple(int(n) for n in rng.integers([1, 1, 1], [40, 30, 9]))
        voxels = blobs(shape, dtype, number, int(rng.integers(1, 25)))
        if number % 6 == 5:
            # Noise, whose cracks are drawn where voxels connect.
            voxels = np.asfortranarray(rng.integers(0, 4, shape).astype(dtype))
        order = (0, 0, 1, 3)[number // 3 % 4]
        stream = published.compress(
            voxels, allow_pins=number % 3, markov_model_order=order, parallel=1
        )
        arrays[f"stream{number:02}"] = np.frombuffer(stream, np.uint8)
        arrays[f"voxels{number:02}"] = voxels
    np.savez_compressed(STREAMS, **arrays)


def decode(stream: bytes, voxels: np.ndarray) -> np.ndarray:
    """Decode a whole chunk."""
    return decode_whole(crackle, stream, voxels)


def run(rounds: int, seed: int) -> Counter[str]:
    """Decode mutated streams, each a copy of its exact size; count what came of them."""
    rng = random.Random(seed)
    streams = [(stream, take_apart(stream), voxels) for stream, voxels in sound_streams()]
    for stream, _, voxels in streams:
        assert np.array_equal(decode(stream, voxels), voxels)
    outcomes: Counter[str] = Counter()
    longest = 0.0
    for _ in range(rounds):
        stream, parts, voxels = rng.choice(streams)
        protected = rng.random() < 0.3
        damaged = mutated(stream, rng) if protected else mutated_inside(parts, rng)
        begun = time.perf_counter()
        try:
            found = decode(damaged, voxels)
        except FormatFault as fault:
            outcomes[fault.what.split(":")[0].split(" of slice")[0].split(",")[0]] += 1
        else:
            # The checksums say when it is not what was written; without them nothing can.
            if protected and not np.array_equal(found, voxels):
                raise AssertionError(f"other voxels without a fault: {damaged.hex()}")
            outcomes["decoded"] += 1
        longest = max(longest, time.perf_counter() - begun)
    outcomes[f"longest {longest:.3f} s"] += 1
    return outcomes


if __name__ == "__main__":
    if sys.argv[1:] == ["write"]:
        write_streams()
    else:
        for outcome, count in run(int(sys.argv[1]), int(sys.argv[2])).most_common():
            print(count, outcome)
