"""How each kind of scenario is asked of a reader, and its answer made an array to compare."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bench.measure import Side
from bench.peers import Ours
from shardreader import LabelMap

__all__ = ["BOX_KINDS", "QUESTIONS", "Question", "translating_side"]

BOX_KINDS = ("cutout", "out", "labels", "counts", "mask", "mapping")
_MAPPING_ENTRIES = 1_000_000


class Question(NamedTuple):
    """`ask` gets a reader, an open volume and the case; `to_array` reader, answer and case."""

    ask: Callable[[Any, Any, Any], Any]
    to_array: Callable[[Any, Any, Any], np.ndarray]


def _points(reader, handle, case):
    return reader.points(handle, case)


def _points_array(reader, answer, case):
    return reader.points_array(answer, case)


QUESTIONS = {
    "cutout": Question(
        lambda reader, handle, box: reader.cutout(handle, box),
        lambda reader, answer, box: reader.cutout_array(answer, box),
    ),
    "points": Question(_points, _points_array),
    "open": Question(_points, _points_array),
    "labels": Question(
        lambda reader, handle, box: reader.labels(handle, box),
        lambda _reader, answer, _box: np.sort(np.array(answer, np.uint64)),
    ),
    "counts": Question(
        lambda reader, handle, box: reader.counts(handle, box),
        lambda _reader, answer, _box: np.array([part.astype(np.uint64) for part in answer]),
    ),
}


def translating_side(reader: Ours, kind: str, box) -> Side:
    """A mask of every second label, or a mapping whose table is large."""
    vol = reader.open()
    labels = vol.labels(box)
    reader.close(vol)
    rest = np.arange(1 << 40, (1 << 40) + _MAPPING_ENTRIES, dtype=np.uint64)
    keys = np.unique(np.concatenate([labels, rest]))
    table = LabelMap((keys, np.arange(len(keys), dtype=np.uint64)))

    def run(vol):
        if kind == "mask":
            return vol.mask(box, labels[::2])
        return vol.cutout(box, mapping=table)

    return Side(reader.name, lambda _: reader.open(), run, None, reader.close)
