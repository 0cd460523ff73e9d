"""What the machine can do at most: memory, libdeflate and disk, by plain calls of each."""

from __future__ import annotations

import ctypes
import os
import random
from concurrent.futures import ThreadPoolExecutor

import deflate
import numpy as np

from bench.measure import Side
from bench.ours import Chunks
from shardreader.reading.large_arrays import new_array

__all__ = ["drop_pages", "gather", "inflate_chunks", "memset", "open_and_inflate", "reads"]


def memset(shape, dtype, threads: int, memory: str) -> Side:
    """Fill an array as a cutout does: in Fortran order, a slab of it on each thread.

    `memory` is "warm" (one array, again and again), "fresh" (an array from where cutouts get
    theirs) or "new" (one whose memory the system has to make).
    """
    pool = ThreadPoolExecutor(threads)
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    cuts = [(size * n // threads, size * (n + 1) // threads) for n in range(threads)]
    kept = np.ones(shape, dtype, order="F") if memory == "warm" else None

    def run(_):
        array = kept
        if memory == "fresh":
            array = new_array(shape, np.dtype(dtype), zeroed=False)
        elif memory == "new":
            array = np.empty(shape, dtype, order="F")
        base = array.ctypes.data
        # ctypes calls the C library's memset without the interpreter lock.
        list(pool.map(lambda cut: ctypes.memset(base + cut[0], 1, cut[1] - cut[0]), cuts))
        return array

    name = {"warm": "a warm array", "fresh": "a fresh array", "new": "new memory"}[memory]
    return Side(f"memset of {name}", lambda number: number, run)


def inflate_chunks(chunks: list[Chunks], threads: int) -> Side:
    """libdeflate over the stored bytes of each case's chunks, in memory already."""
    pool = ThreadPoolExecutor(threads)
    work = []
    for of_case in chunks:
        pairs = list(zip(of_case.stored, of_case.encoded_sizes, strict=True))
        work.append([pairs[n::threads] for n in range(threads)])

    def run(parts):
        if threads == 1:
            inflate(parts[0])
        else:
            list(pool.map(inflate, parts))

    def inflate(part):
        for data, size in part:
            deflate.gzip_decompress(data, size)

    return Side("libdeflate over its chunks", lambda number: work[number % len(work)], run)


def open_and_inflate(chunks: list[Chunks], times: int) -> Side:
    """What one point costs at least: `info`, three reads of the shard and two inflates."""

    def run(of_case):
        path, start, end = of_case.places[0]
        with open(os.path.join(os.path.dirname(path), "..", "info"), "rb") as file:
            file.read()
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.pread(descriptor, 1024, 0)
            os.pread(descriptor, 1024, 1024)
            stored = os.pread(descriptor, end - start, start)
        finally:
            os.close(descriptor)
        return deflate.gzip_decompress(stored, of_case.encoded_sizes[0])

    name = "its reads, and libdeflate of one chunk"
    return Side(name, lambda number: chunks[number % len(chunks)], run, times=times)


def gather(count: int, table_bytes: int) -> Side:
    """As many 8-byte words taken at random places of as much memory, by numpy on one thread."""
    rng = np.random.default_rng(0)
    table = np.arange(max(1, table_bytes // 8), dtype=np.uint64)
    places = rng.integers(0, len(table), count)
    out = np.empty(count, np.uint64)
    return Side(
        "random words of as much memory",
        lambda number: number,
        lambda _: np.take(table, places, out=out),
    )


def reads(chunks: Chunks, depth: int, *, sequential: bool) -> Side:
    """The stored bytes from the files: whole files in order, or the chunks in any order."""
    pool = ThreadPoolExecutor(depth)
    places = list(chunks.places)
    random.Random(0).shuffle(places)
    if sequential:
        piece = 1 << 20
        places = [
            (path, at, min(at + piece, os.path.getsize(path)))
            for path in chunks.files
            for at in range(0, os.path.getsize(path), piece)
        ]

    def prepare(_):
        return {path: os.open(path, os.O_RDONLY) for path in chunks.files}

    def run(descriptors):
        def read(place):
            path, start, end = place
            return len(os.pread(descriptors[path], end - start, start))

        return sum(pool.map(read, places) if depth > 1 else map(read, places))

    def finish(descriptors):
        for descriptor in descriptors.values():
            os.close(descriptor)

    kind = "sequential reads" if sequential else f"random reads, {depth} in flight"
    size = sum(end - start for _, start, end in places)
    return Side(kind, prepare, run, finish=finish, about={"bytes": size, "reads": len(places)})


def drop_pages(files) -> bool:
    """Have the system forget the pages of these files; False where it has no way to."""
    if not hasattr(os, "posix_fadvise"):
        return False
    for path in files:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)
    return True
