"""All that the suite takes from the inside of shardreader is taken here."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property

import deflate
import numpy as np

import shardreader
from shardreader.decoding import cseg, libdeflate
from shardreader.decoding.flat_output import FlatOutput
from shardreader.decoding.whole_chunk_codecs import CODECS
from shardreader.errors import PointStatus
from shardreader.format.grid import triples
from shardreader.reading.box_read import cells_of

__all__ = [
    "Chunks",
    "CompiledClock",
    "FlatOutput",
    "SerialClock",
    "cells_of_points",
    "codec_decode",
    "kernel_decode",
    "open_volume",
    "stored_chunks_of",
]


def open_volume(path, scale=None, threads=None, **options):
    """A volume whose missing parts do not end a measurement."""
    return shardreader.open_volume(path, scale, threads=threads, missing="zero", **options)


@dataclass(frozen=True)
class Chunks:
    """The stored bytes of some chunks, and where they came from."""

    stored: list[bytes]
    cells: np.ndarray
    cell_shapes: list[tuple[int, int, int]]
    block_size: tuple[int, int, int]
    encoding: str
    files: list[str]
    places: list[tuple[str, int, int]]

    @property
    def stored_bytes(self) -> int:
        """Of all chunks together."""
        return sum(map(len, self.stored))

    @cached_property
    def encoded_sizes(self) -> list[int]:
        """Bytes of each chunk after inflate."""
        if self.encoding != "gzip":
            return [len(data) for data in self.stored]
        return [int.from_bytes(data[-4:], "little") for data in self.stored]

    def inflate(self, data: bytes) -> np.ndarray:
        """The encoding as 32-bit words."""
        size = int.from_bytes(data[-4:], "little")
        raw = deflate.gzip_decompress(data, size) if self.encoding == "gzip" else data
        return np.frombuffer(raw, "<u4")


def stored_chunks_of(vol, box=None, cells=None) -> Chunks:
    """Read the stored bytes of the chunks that a box touches, or of a list of cells."""
    if cells is None:
        cells = cells_of(vol.scale.grid.cells_touching(box))
    found = vol._core.source.find(cells, vol._core.workers)
    rows = found.rows(PointStatus.OK)
    cells = cells[rows]
    places = []
    for row in rows.tolist():
        name = found.files[int(found.file_numbers[row])].name
        path = os.path.join(vol.path, name)
        places.append((path, int(found.starts[row]), int(found.ends[row])))
    order = sorted(range(len(places)), key=places.__getitem__)
    places = [places[at] for at in order]
    cells = cells[order]
    _, shapes = vol.scale.grid.cell_extents(cells)
    return Chunks(
        list(_read(places)),
        cells,
        triples(shapes),
        vol.scale.block_size or (8, 8, 8),
        vol.scale.sharding.data_encoding if vol.scale.sharding else "raw",
        sorted({path for path, _, _ in places}),
        places,
    )


def _read(places):
    with ExitStack() as stack:
        opened = {}
        for path, start, end in places:
            if path not in opened:
                opened[path] = stack.enter_context(open(path, "rb"))
            opened[path].seek(start)
            yield opened[path].read(end - start)


def cells_of_points(vol, points) -> np.ndarray:
    """The distinct cells that hold the points."""
    cells = (points - np.array(vol.voxel_offset)) // np.array(vol.chunk_size)
    grid = np.array(vol.scale.grid.grid_size)
    keys = np.unique(np.ravel_multi_index(tuple(cells.T), tuple(grid)))
    return np.stack(np.unravel_index(keys, tuple(grid)), axis=1).astype(np.int64)


def kernel_decode(vol, encoded, cell_shape, target: FlatOutput, first=(0, 0, 0)) -> None:
    """Decode a whole chunk; `first` is where in the target its first voxel goes."""
    vol._core.decoder.decode_box(encoded, cell_shape, (0, 0, 0), cell_shape, target, first)


def codec_decode(encoding: str, encoded: bytes, cell_shape, dtype) -> np.ndarray:
    """The voxels of a whole chunk of one channel in any encoding without blocks."""
    return CODECS[encoding].decode(encoded, (*cell_shape, 1), dtype)[..., 0]


class SerialClock:
    """Counts the time that a volume spends on its workers: the rest of a call is serial."""

    def __init__(self, vol) -> None:
        self._workers = vol._core.workers
        self.threads = self._workers.threads
        self.seconds = 0.0
        vol._core = replace(vol._core, workers=self)
        if vol._core.few_chunks is not None:
            vol._core.few_chunks._workers = self

    def run(self, work, items) -> None:
        begin = time.perf_counter()
        try:
            self._workers.run(work, items)
        finally:
            self.seconds += time.perf_counter() - begin

    def close(self) -> None:
        self._workers.close()


class CompiledClock:
    """Counts the time that cutouts spend in compiled code, inside of a ``with`` block."""

    PARTS = ("read and inflate", "decode")

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(self.PARTS, 0.0)
        self._stack = ExitStack()

    def __enter__(self) -> CompiledClock:
        places = ((libdeflate, "read_kernel"), (cseg, "decode_boxes"))
        for part, (module, name) in zip(self.PARTS, places, strict=True):
            true = getattr(module, name)
            self._stack.callback(setattr, module, name, true)
            setattr(module, name, self._timed(part, true))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _timed(self, part: str, call):
        def timed(*arguments, **options):
            begin = time.perf_counter()
            try:
                return call(*arguments, **options)
            finally:
                self.seconds[part] += time.perf_counter() - begin

        return timed
