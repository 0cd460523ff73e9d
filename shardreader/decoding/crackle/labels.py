"""The labels section of a crackle stream: which label each connected component has.

Specification: crackle's README, "Flat Label Format", "Condensed (Variable Width) Pins Label
Format" and "Fixed Width Pins".
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.decoding.crackle.compiled import parse_pins
from shardreader.decoding.crackle.stream import (
    FIXED_PINS,
    FLAT,
    Stream,
    bytes_for,
)
from shardreader.errors import FormatFault

__all__ = ["Pins", "SliceLabels", "read_labels"]

_COUNT_BYTES = 8


class Pins(NamedTuple):
    """Lines along z through components that have one label; all of shape (n,).

    `voxels` are places in a slice, x fastest; `tops` and `bottoms` the first and last slice.
    """

    voxels: NDArray[np.int64]
    tops: NDArray[np.int64]
    bottoms: NDArray[np.int64]
    keys: NDArray[np.uint32]


class SliceLabels(NamedTuple):
    """The labels of the components of some slices that follow each other.

    Attributes
    ----------
    values : ndarray of the volume's type, shape (n,)
        The table of labels; with pins the background is its last entry.
    components : ndarray of int64, shape (z,)
        Components of each slice of the chunk.
    first_keys : ndarray of int64, shape (z,)
        Where in `keys` the components of a slice begin; of wanted slices alone it is meant.
    keys : ndarray of uint32
        Entry of `values` for each component.
    pins : Pins
        They give keys to further components.
    """

    values: NDArray[Any]
    components: NDArray[np.int64]
    first_keys: NDArray[np.int64]
    keys: NDArray[np.uint32]
    pins: Pins


class _Reader:
    """Takes one part after the other from the section, checking that it is there."""

    def __init__(self, encoded: bytes, part: tuple[int, int]) -> None:
        self.encoded = encoded
        self.at, self.end = part

    def take(self, what: str, count: int, width: int) -> NDArray[Any]:
        """Take numbers of `width` bytes each."""
        if count * width > self.end - self.at:
            raise FormatFault(
                f"labels section of crackle: {what} at byte {self.at}",
                expected=f"{count} numbers of {width} bytes before byte {self.end}",
                found=f"{self.end - self.at} bytes",
            )
        numbers = np.frombuffer(self.encoded, f"<u{width}", count, self.at)
        self.at += count * width
        return numbers


def read_labels(
    encoded: bytes, stream: Stream, dtype: np.dtype[Any], first_slice: int, end_slice: int
) -> SliceLabels:
    """Read what the slices ``[first_slice, end_slice)`` need of the labels section.

    Raises
    ------
    FormatFault
    """
    x, y, z = stream.shape
    # The README calls these disabled: crackle-codec 0.55.0 neither writes nor reads them.
    if stream.label_format == FIXED_PINS:
        raise FormatFault(
            "label format of crackle", expected="flat labels or condensed pins", found="fixed pins"
        )
    reader = _Reader(encoded, stream.labels)
    flat = stream.label_format == FLAT
    background = reader.take("background", 0 if flat else 1, stream.stored_bytes)
    count = int(reader.take("number of labels", 1, _COUNT_BYTES)[0])
    table = reader.take("labels", count, stream.stored_bytes)
    values = np.concatenate((table, background)).astype(dtype.newbyteorder("="))
    per_slice = reader.take("components of the slices", z, bytes_for(x * y))
    components = per_slice.astype(np.int64)
    if components.min(initial=1) < 1 or components.max(initial=1) > x * y:
        raise FormatFault(
            "labels section of crackle: components of the slices",
            expected=f"1 to {x * y} in each",
            found=f"{components.min()} to {components.max()}",
        )
    starts = np.concatenate(([0], np.cumsum(components)))
    first, end, every = (int(starts[at]) for at in (first_slice, end_slice, z))
    first_keys = starts[:-1] - first
    if flat:
        keys = _read_flat(reader, count, (first, end, every))
        return SliceLabels(values, components, first_keys, keys, _no_pins(0))
    keys = np.full(end - first, count, np.uint32)
    pins = _read_pins(reader, stream, count, (first_slice, end_slice), (first, end, every), keys)
    return SliceLabels(values, components, first_keys, keys, pins)


def _no_pins(count: int) -> Pins:
    voxels, tops, bottoms = (np.empty(count, np.int64) for _ in range(3))
    return Pins(voxels, tops, bottoms, np.empty(count, np.uint32))


def _read_flat(reader: _Reader, count: int, part: tuple[int, int, int]) -> NDArray[np.uint32]:
    first, end, every = part
    stored = reader.take("labels of the components", every, bytes_for(count))
    _refuse_rest(reader)
    keys = stored[first:end]
    if len(keys) and keys.max() >= count:
        raise FormatFault(
            "labels section of crackle: labels of the components",
            expected=f"entries of a table of {count} labels",
            found=f"entry {keys.max()}",
        )
    return keys.astype(np.uint32)


def _refuse_rest(reader: _Reader) -> None:
    if reader.at != reader.end:
        raise FormatFault(
            "labels section of crackle",
            expected=f"its end at byte {reader.at}",
            found=f"{reader.end - reader.at} further bytes",
        )


_PIN_FAULTS = {
    -1: ("pins to the end of the section", "a count that goes beyond it"),
    -2: ("pins inside the chunk", "one that leaves it"),
    -3: ("components that the chunk has", "another"),
    -4: ("one label for each component", "two for one"),
    -5: ("the end of the pins at the end of the section", "further bytes"),
    -6: ("entries of the table of labels", "another"),
}


def _read_pins(
    reader: _Reader,
    stream: Stream,
    count: int,
    slices: tuple[int, int],
    part: tuple[int, int, int],
    keys: NDArray[np.uint32],
) -> Pins:
    """Read the pins of some slices; components named singly get their `keys`."""
    x, y, z = stream.shape
    widths = int(reader.take("widths of the pins", 1, 1)[0])
    count_width, depth_width, component_width = (1 << (widths >> at & 3) for at in (0, 2, 4))
    voxel_width = bytes_for(x * y * z)
    pins = _no_pins((reader.end - reader.at) // (voxel_width + depth_width))
    kept = parse_pins(
        np.frombuffer(reader.encoded, np.uint8),
        reader.at,
        reader.end,
        (count, count_width, depth_width, component_width, voxel_width, x * y, z),
        slices,
        part,
        tuple(pins),
        keys,
        count,
    )
    if kept < 0:
        expected, found = _PIN_FAULTS[kept]
        raise FormatFault("labels section of crackle: pins", expected=expected, found=found)
    return Pins(pins.voxels[:kept], pins.tops[:kept], pins.bottoms[:kept], pins.keys[:kept])
