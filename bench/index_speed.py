"""How long a segment index takes against ``verify``, and how long a look-up in it.

    python -m bench.index_speed PATH [--shards LIST] [--threads N]

Builds the index in temporary directories, in turn with `verify --level full` of the same shards.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable

import numpy as np

import shardreader

RUNS = 7
LOOKUPS = 200


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor time of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path")
    parser.add_argument("--shards", help="only these, hexadecimal")
    parser.add_argument("--threads", type=int, default=None)
    arguments = parser.parse_args()
    path, options = arguments.path, {"shards": arguments.shards, "threads": arguments.threads}
    with tempfile.TemporaryDirectory() as out:
        report = shardreader.build_index(path, out=out, **options)  # compiles, and warms the cache
        shardreader.verify(path, scale=0, allow_absent=True, **options)
        walls, cpus, seconds_each = [], [], []
        for _ in range(RUNS):
            verify = seconds(
                lambda: shardreader.verify(path, scale=0, allow_absent=True, **options)
            )
            with tempfile.TemporaryDirectory(dir=out) as fresh:
                index = seconds(lambda: shardreader.build_index(path, out=fresh, **options))
            walls.append(index[0] / verify[0])
            cpus.append(index[1] / verify[1])
            seconds_each.append((verify[0], index[0]))
        print(
            f"{report.totals.chunks:,} chunks, {report.rows:,} rows, {report.index_bytes:,} bytes "
            f"of {report.totals.file_bytes:,}; the sort takes {report.sort_seconds:.2f} s"
        )
        verify_s, index_s = map(min, zip(*seconds_each, strict=True))
        print(
            f"index / verify full: {statistics.median(walls):.2f} of wall time, "
            f"{statistics.median(cpus):.2f} of processor time; at best {index_s:.3f} s and "
            f"{verify_s:.3f} s"
        )
        with shardreader.open_volume(path, index=out) as volume:
            labels = volume.segments(min_voxels=1).labels
            chosen = labels[np.random.default_rng(0).integers(0, len(labels), LOOKUPS)].tolist()
            times = [seconds(lambda label=label: volume.segment(label)) for label in chosen]
        wall, cpu = (1e3 * statistics.median(t[i] for t in times) for i in range(2))
        print(f"look-up in an open volume: median {wall:.1f} ms, {cpu:.1f} ms of processor time")


if __name__ == "__main__":
    main()
