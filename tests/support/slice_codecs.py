"""What holds for every encoding whose slices can be decoded alone; `codec` is its module."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import shardreader
from shardreader.decoding.flat_output import FlatOutput

SUPPORT = Path(__file__).parent
PINKY = SUPPORT.parents[1] / "../shared/data/pinky40"


def kept_streams(file: Path) -> Iterator[tuple[bytes, np.ndarray]]:
    """Give the sound streams of a file, and their voxels."""
    with np.load(file) as kept:
        for name in kept.files:
            if name.startswith("stream"):
                yield kept[name].tobytes(), kept[name.replace("stream", "voxels")]


def decode_whole(codec: Any, stream: bytes, voxels: np.ndarray) -> np.ndarray:
    """Decode a chunk of the shape and type of `voxels`."""
    x, y, _ = voxels.shape
    out = np.zeros(voxels.shape, voxels.dtype, order="F")
    flat = out.reshape(-1, order="F")
    codec.decode_box(stream, voxels.shape, (0, 0, 0), voxels.shape, flat, 0, (1, x, x * y))
    return out


def check_boxes(codec: Any, stream: bytes, voxels: np.ndarray, seed: int) -> None:
    """Decode random boxes to memory of random strides; nothing else of it is written."""
    rng = np.random.default_rng(seed)
    for _ in range(15):
        lower = tuple(int(rng.integers(n)) for n in voxels.shape)
        upper = tuple(
            int(rng.integers(a + 1, n + 1)) for a, n in zip(lower, voxels.shape, strict=True)
        )
        shape = tuple(b - a for a, b in zip(lower, upper, strict=True))
        axes = tuple(int(axis) for axis in rng.permutation(3))
        around = np.full([3 * shape[axis] + 2 for axis in axes], 77, voxels.dtype)
        out = around[tuple(slice(1, 1 + 2 * shape[axis], 2) for axis in axes)].transpose(
            np.argsort(axes)
        )[:: rng.choice([1, -1]), :, :: rng.choice([1, -1])]
        target = FlatOutput(out)
        codec.decode_box(
            stream, voxels.shape, lower, upper, target.flat, target.start, target.strides
        )
        wanted = voxels[tuple(slice(a, b) for a, b in zip(lower, upper, strict=True))]
        np.testing.assert_array_equal(out, wanted)
        out[...] = 77
        assert (around == 77).all()


def check_slices(codec: Any, stream: bytes, voxels: np.ndarray) -> None:
    """Decode every other slice, the last one, and all."""
    depth = voxels.shape[2]
    for chosen in (range(0, depth, 2), [depth - 1], range(depth)):
        slices = np.array(chosen)
        found, faults = codec.decode_slices(stream, voxels.shape, slices, voxels.dtype)
        np.testing.assert_array_equal(found, voxels[..., slices])
        assert not faults


def real_chunks() -> Iterator[np.ndarray]:
    """Give chunks of a real segmentation, clipped ones too."""
    origin = json.loads((PINKY / "truth.json").read_text())["origin"]
    rng = np.random.default_rng(0)
    with shardreader.open_volume(PINKY / "segmentation") as volume:
        for shape in [(64, 64, 64), (128, 128, 32), (128, 128, 23), (100, 37, 9)] * 2:
            first = [
                o + int(rng.integers(most - n))
                for o, n, most in zip(origin, shape, (1024, 1024, 256), strict=True)
            ]
            yield volume[tuple(slice(a, a + n) for a, n in zip(first, shape, strict=True))]


def check_damage_in_a_process(script: Path, seed: int, cache: Path) -> None:
    """Run a script on 20,000 mutated streams, with every index of the kernels checked by numba."""
    done = subprocess.run(
        [sys.executable, script, "20000", str(seed)],
        env={
            **os.environ,
            "NUMBA_BOUNDSCHECK": "1",
            "NUMBA_CACHE_DIR": str(cache),
            "PYTHONPATH": os.pathsep.join([str(SUPPORT.parents[1]), str(SUPPORT)]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "decoded" in done.stdout
