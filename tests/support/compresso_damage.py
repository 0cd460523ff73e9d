"""Decode damaged compresso streams; run as a script where a crash must not take the tests along.

    NUMBA_BOUNDSCHECK=1 NUMBA_CACHE_DIR=DIR python tests/support/compresso_damage.py ROUNDS SEED

With numba's bounds checks, an array that is read or written outside is an IndexError. compresso
has no checksums: a mutated stream may decode to other labels.
"""

from __future__ import annotations

import itertools
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from slice_codecs import decode_whole, kept_streams

from shardreader.decoding import compresso
from shardreader.errors import FormatFault

STREAMS = Path(__file__).parents[1] / "decoding" / "compresso_streams.npz"
HEADER = struct.Struct("<4sBB3H3BQIQB")
STEPS = ((4, 4, 1), (8, 8, 1), (4, 4, 2), (4, 2, 1), (3, 3, 1), (2, 2, 2))


def labels_of(shape: tuple[int, ...], dtype: str, seed: int) -> np.ndarray:
    """Give boxes, noise, points or one label, with labels from the whole range of the type."""
    rng = np.random.default_rng(seed)
    most = np.iinfo(dtype).max
    palette = rng.integers(0, most, 60, dtype=dtype, endpoint=True)
    palette[:12] = [*range(4), *(most - n for n in range(8))]
    kind = seed % 4
    if kind == 0:
        edge = int(rng.integers(2, 9))
        coarse = rng.integers(0, 60, [-(-n // edge) for n in shape])
        codes = coarse.repeat(edge, 0).repeat(edge, 1).repeat(edge, 2)
    elif kind == 1:
        codes = rng.integers(0, int(rng.integers(2, 60)), shape)
    elif kind == 2:
        codes = (rng.random(shape) < 0.05) * rng.integers(0, 60, shape)
    else:
        codes = np.full(shape, int(rng.integers(60)))
    return np.asfortranarray(palette[codes[tuple(slice(n) for n in shape)]])


@dataclass(frozen=True)
class Parts:
    """The fields of the header, and the sections as bytes; `tail` is the z index."""

    fields: tuple[object, ...]
    ids: bytes
    values: bytes
    locations: bytes
    windows: bytes
    tail: bytes

    def stream(self) -> bytes:
        """Give the stream, with the header as it stands in `fields`."""
        sections = (self.ids, self.values, self.locations, self.windows, self.tail)
        return HEADER.pack(*self.fields) + b"".join(sections)

    def with_fields(self, **changes: int) -> Parts:
        """Change fields of the header."""
        names = ("magic", "version", "width", "x", "y", "z", "dx", "dy", "dz")
        names += ("ids", "values", "locations", "connectivity")
        fields = dict(zip(names, self.fields, strict=True)) | changes
        return replace(self, fields=tuple(fields.values()))


def take_apart(stream: bytes) -> Parts:
    """Take a sound stream apart."""
    fields = HEADER.unpack_from(stream)
    version, width, x, y, z = fields[1:6]
    bits = int(np.prod(fields[6:9]))
    window = next(n for n in (1, 2, 4, 8) if bits <= 8 * n)
    entry = next(n for n in (1, 2, 4, 8) if 2 * x * y < 1 << 8 * n)
    cuts = [HEADER.size]
    for count, size in zip(fields[9:12], (width, window, width), strict=True):
        cuts.append(cuts[-1] + count * size)
    cuts += [len(stream) - 2 * z * entry * version, len(stream)]
    return Parts(fields, *(stream[a:b] for a, b in itertools.pairwise(cuts)))


def sound_streams() -> Iterator[tuple[bytes, np.ndarray]]:
    """Give streams of all forms that compresso writes, and their voxels."""
    return kept_streams(STREAMS)


def write_streams() -> None:
    """Make the file of `sound_streams` with the published package."""
    import compresso as published

    arrays = {}
    rng = np.random.default_rng(7)
    for number in range(48):
        dtype = ("uint8", "uint16", "uint32", "uint64")[number // 4 % 4]
        shape = tuple(int(n) for n in rng.integers([1, 1, 1], [90, 25, 9]))
        voxels = labels_of(shape, dtype, number)
        connectivity, has_index = ((4, True), (4, False), (6, False))[number // 3 % 3]
        steps = STEPS[number % 5 * (number % 2)] if number % 7 else STEPS[5]
        stream = published.compress(
            voxels, steps=steps, connectivity=connectivity, random_access_z_index=has_index
        )
        arrays[f"stream{number:02}"] = np.frombuffer(stream, np.uint8)
        arrays[f"voxels{number:02}"] = voxels
    np.savez_compressed(STREAMS, **arrays)


def decode(stream: bytes, voxels: np.ndarray) -> np.ndarray:
    """Decode a whole chunk."""
    return decode_whole(compresso, stream, voxels)


def _mutated_bytes(data: bytes, rng: random.Random) -> bytes:
    """Change, cut, double or insert some bytes."""
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5, 20))):
        at = rng.randrange(len(changed) + 1)
        length = rng.choice((1, 1, 2, 4, 8, 40))
        match rng.randrange(6):
            case 0 | 1 | 2 if at < len(changed):
                changed[at] = rng.choice((0, 1, 4, 5, 6, 127, 128, 255, rng.randrange(256)))
            case 3 if at < len(changed):
                changed[at] ^= 1 << rng.randrange(8)
            case 4:
                del changed[at : at + length]
            case _:
                changed[at:at] = rng.randbytes(length)
    return bytes(changed)


def mutated_inside(parts: Parts, rng: random.Random) -> bytes:
    """Mutate a section and mend the counts of the header, so that what follows is looked at."""
    name = rng.choice(("ids", "values", "locations", "windows", "windows", "locations", "tail"))
    parts = replace(parts, **{name: _mutated_bytes(getattr(parts, name), rng)})
    width, steps = parts.fields[2], parts.fields[6:9]
    window = next(n for n in (1, 2, 4, 8) if int(np.prod(steps)) <= 8 * n)
    counts = {
        "ids": len(parts.ids) // width,
        "values": len(parts.values) // window,
        "locations": len(parts.locations) // width,
    }
    cut = {
        "ids": parts.ids[: counts["ids"] * width],
        "values": parts.values[: counts["values"] * window],
        "locations": parts.locations[: counts["locations"] * width],
        "windows": parts.windows[: len(parts.windows) // window * window],
    }
    parts = replace(parts, **cut).with_fields(**counts)
    if rng.random() < 0.1:
        parts = parts.with_fields(connectivity=rng.choice((4, 6)), version=rng.choice((0, 1)))
    if rng.random() < 0.1:
        parts = parts.with_fields(
            **{axis: rng.randrange(1, 9) for axis in rng.sample(("dx", "dy", "dz"), 2)}
        )
    return parts.stream()


def run(rounds: int, seed: int) -> Counter[str]:
    """Decode mutated streams, each a copy of its exact size; count what came of them."""
    rng = random.Random(seed)
    streams = [(stream, take_apart(stream), voxels) for stream, voxels in sound_streams()]
    for stream, parts, voxels in streams:
        assert parts.stream() == stream
        assert np.array_equal(decode(stream, voxels), voxels)
    outcomes: Counter[str] = Counter()
    longest = 0.0
    for _ in range(rounds):
        stream, parts, voxels = rng.choice(streams)
        whole = rng.random() < 0.35
        damaged = _mutated_bytes(stream, rng) if whole else mutated_inside(parts, rng)
        begun = time.perf_counter()
        try:
            chance = rng.random()
            if chance < 0.6:
                decode(damaged, voxels)
            elif chance < 0.7:
                slices = (0, voxels.shape[2])
                compresso.labels_of_slices(damaged, voxels.shape, slices, voxels.dtype)
            else:
                every = range(voxels.shape[2])
                chosen = np.array(sorted(rng.sample(every, rng.randrange(1, len(every) + 1))))
                _, faults = compresso.decode_slices(damaged, voxels.shape, chosen, voxels.dtype)
                for fault in faults.values():
                    raise fault
        except FormatFault as fault:
            assert fault.expected
            assert fault.found
            outcomes[fault.what.split(":")[0].split(" (")[0].rstrip("0123456789 ")] += 1
        else:
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
