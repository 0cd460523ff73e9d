"""What `verify --dask` costs for each shard where more workers do not help: its serial part.

    python -m bench.cluster_serial [--workers 2] [--of 64] [--rate 100]

makes a volume of FAFB-FFN1's geometry whose 3,689 shards hold one small chunk each, so that a check
costs next to nothing, and verifies it through a dask scheduler and workers in processes of their
own. What the client and the scheduler spend on a shard is the serial part. They work at the same
time: the larger of the two limits a cluster.
"""

from __future__ import annotations

import argparse
import gzip
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import distributed
import numpy as np

import shardreader
from shardreader.format.info import parse_info
from shardreader.format.shard_lattice import ShardLattice

ROOT = Path(__file__).parent.parent
COPY_BYTES = 850e9


def make_volume(path: Path) -> int:
    """Write the volume; gives how many shards it has."""
    info = (ROOT / "fixtures" / "fafb-mini" / "info").read_bytes()
    (path / "info").write_bytes(info)
    scale = parse_info(info, "info").scales[0]
    (path / scale.key).mkdir()
    lattice = ShardLattice(scale)
    chunk = gzip.compress(one_label(), mtime=0)
    for number in lattice.numbers():
        # The first chunk of a shard lies in its first minishard: 9 + 6 bits are below the number.
        entry = np.array([number << 15, 0, len(chunk)], "<u8")
        index = gzip.compress(entry.tobytes(), mtime=0)
        start, end = len(chunk), len(chunk) + len(index)
        shard_index = (
            struct.pack("<QQ", start, end) + struct.pack("<QQ", end, end) * 63
        )  # minishards
        file = path / scale.key / lattice.file_name(number)
        file.write_bytes(shard_index + chunk + index)
    return lattice.count


def one_label() -> bytes:
    """A chunk of one label in compressed_segmentation: each block of 0 bits, with one table."""
    blocks = (128 // 16) * (128 // 16) * (32 // 2)
    headers = np.zeros((blocks, 2), "<u4")
    headers[:, 0] = 2 * blocks  # the table's offset; the rest of the word is 0 bits a value
    return np.array([1], "<u4").tobytes() + headers.tobytes() + np.array([7], "<u8").tobytes()


def cpu_seconds(process_id: int) -> float:
    """The processor time of a process so far (Linux)."""
    fields = Path(f"/proc/{process_id}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def start(what: str, file: Path, *options: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [
            *(sys.executable, "-m", f"distributed.cli.dask_{what}"),
            *("--scheduler-file", str(file), "--no-dashboard", *options),
        ],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )


def measure(path: Path, folder: Path, workers: int, level: str) -> dict[str, float]:
    file = folder / "scheduler.json"
    scheduler = start("scheduler", file, "--host", "127.0.0.1", "--port", "0")
    processes = [scheduler]
    try:
        processes += [
            start("worker", file, "--no-nanny", "--nthreads", "1") for _ in range(workers)
        ]
        with distributed.Client(scheduler_file=str(file)) as client:
            client.wait_for_workers(workers)
            shardreader.verify(path, level=level, shards=range(20), client=client)
            most = [0]

            def look(progress: object) -> None:
                if progress.shards_done % 100 == 0:
                    most.append(
                        client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks))
                    )

            wall, cpu = time.perf_counter(), [cpu_seconds(p) for p in (os.getpid(), scheduler.pid)]
            report = shardreader.verify(path, level=level, client=client, progress=look)
            wall = time.perf_counter() - wall
            client_cpu, scheduler_cpu = (
                cpu_seconds(p) - before
                for p, before in zip((os.getpid(), scheduler.pid), cpu, strict=True)
            )
            if not report.ok:
                raise SystemExit(f"the volume is not whole: {report.findings[:3]}")
        shards = report.totals.shards
        return {
            "shards": shards,
            "wall_s": wall,
            "client_ms": client_cpu / shards * 1e3,
            "scheduler_ms": scheduler_cpu / shards * 1e3,
            "most_tasks": max(most),
        }
    finally:
        for process in processes:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.cluster_serial", description=__doc__)
    parser.add_argument("--workers", type=int, default=2, help="started for the measurement")
    parser.add_argument("--level", choices=["quick", "full"], default="quick")
    parser.add_argument("--of", type=int, default=64, help="workers to tell the time of")
    parser.add_argument(
        "--rate", type=float, default=100, help="MB/s of shards that one worker checks"
    )
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="cluster-serial-"))
    try:
        (folder / "volume").mkdir()
        make_volume(folder / "volume")
        found = measure(folder / "volume", folder, options.workers, options.level)
    finally:
        shutil.rmtree(folder)
    serial = max(found["client_ms"], found["scheduler_ms"]) / 1e3 * found["shards"]
    parallel = COPY_BYTES / (options.rate * 1e6) / options.of
    print(
        f"{found['shards']:,} shards through {options.workers} workers: {found['wall_s']:.1f} s\n"
        f"processor time a shard: client {found['client_ms']:.2f} ms, "
        f"scheduler {found['scheduler_ms']:.2f} ms\n"
        f"most tasks at the scheduler: {found['most_tasks']}\n"
        f"serial part of the whole: {serial:.1f} s\n"
        f"850 GB at {options.rate:g} MB/s a worker: {parallel:.0f} s of work on each of "
        f"{options.of} workers, so {max(parallel, serial):.0f} s in all"
    )


if __name__ == "__main__":
    main()
