"""Whole chunks of the region, written again by other encoders, decoded by ours and by theirs."""

from __future__ import annotations

import importlib
import itertools
from functools import partial

import numpy as np

from bench.decoding import decode_row, decode_side
from bench.ours import codec_decode
from bench.rows import Setup, failure
from shardreader import Box

__all__ = ["recoded_rows"]

_CHUNKS = 24
_SHAPES = ((64, 64, 64), (128, 128, 32))
# Encoding: the package that writes and reads it, its module, and its options for one thread.
_PACKAGES = {
    "compresso": ("compresso", "compresso", {}),
    "crackle": ("crackle-codec", "crackle", {"parallel": 1}),
}


def recoded_rows(setup: Setup, failures: list[dict], say) -> list[dict]:
    """One row for each encoding of labels and each shape that the region has room for."""
    rows = []
    if setup.vol.dtype.kind != "u" or setup.vol.num_channels != 1:
        return rows
    for encoding, (package, module, options) in _PACKAGES.items():
        if package not in setup.peers:
            continue
        peer = importlib.import_module(module)
        for shape in _SHAPES:
            chunks = _chunks(setup, shape)
            if not chunks:
                continue
            name = "x".join(map(str, shape))
            say(f"decode {encoding} of {name} against {package}")
            encoded = [peer.compress(chunk, **options) for chunk in chunks]
            shapes = [shape] * len(encoded)
            ours = partial(codec_decode, encoding, dtype=setup.vol.dtype)

            def theirs(data, _, peer=peer, options=options):
                return peer.decompress(data, **options)

            sides = (
                decode_side("shardreader", encoded, shapes, ours),
                decode_side(package, encoded, shapes, theirs),
            )
            work = {"chunks": len(chunks), "voxels": len(chunks) * int(np.prod(shape))}
            title = f"decode {encoding} alone, chunks of {name}, one thread"
            try:
                rows.append(decode_row(setup, f"decode-{encoding}-{name}", title, *sides, work))
            except Exception as error:  # noqa: BLE001 (whatever a peer raises is its own)
                failures.append(failure(title, package, error))
    return rows


def _chunks(setup: Setup, shape) -> list[np.ndarray]:
    """Boxes of the region of this shape, spread over it."""
    starts = [
        range(low, high - length + 1, length)
        for low, high, length in zip(setup.region.lower, setup.region.upper, shape, strict=True)
    ]
    corners = list(itertools.product(*starts))
    chosen = corners[:: max(1, len(corners) // _CHUNKS)][:_CHUNKS]
    boxes = [
        Box(corner, tuple(a + n for a, n in zip(corner, shape, strict=True))) for corner in chosen
    ]
    return [setup.vol.cutout(box) for box in boxes]
