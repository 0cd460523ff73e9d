"""A measurement in a process of its own: ``python -m bench.child JSON`` (memory, growth)."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from bench.peers import CloudVolume, Ours, Tensorstore
from bench.scenarios import uniform_points, walks
from shardreader import Box

__all__ = ["run_child"]

_READERS = {"shardreader": Ours, "tensorstore": Tensorstore, "cloud-volume": CloudVolume}


def run_child(task: dict) -> dict:
    """Run a task in a fresh process; returns its peak of memory and its seconds."""
    done = subprocess.run(
        [sys.executable, "-m", "bench.child", json.dumps(task)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent.parent,
    )
    if done.returncode:
        raise RuntimeError(f"{task['reader']}: {done.stderr.strip().splitlines()[-1:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main(task: dict) -> dict:
    """Open, touch everything once with a small question, then measure the large one."""
    reader = _READERS[task["reader"]](task["path"], task["scale"], task["threads"])
    region = Box(*task["region"])
    first = Box(region.lower, (np.array(region.lower) + 1).tolist())
    handle = reader.open()
    reader.cutout(handle, first)
    reader.points(handle, np.array([region.lower, region.lower]))
    reader.close(handle)
    question = _question(task, region)
    handle = reader.open()
    _forget_peak()
    resting = _memory("VmRSS")
    begin = time.perf_counter()
    ask = reader.cutout if task["kind"] == "cutout" else reader.points
    result = ask(handle, question)
    seconds = time.perf_counter() - begin
    peak = _memory("VmHWM")
    size = result.nbytes if hasattr(result, "nbytes") else 0
    return {"peak_bytes": max(0, peak - resting), "result_bytes": size, "seconds": seconds}


def _question(task: dict, region: Box):
    if task["kind"] == "cutout":
        return Box(*task["box"])
    if task["kind"] == "walks":
        return walks(region, task["count"], 5)
    return uniform_points(region, task["count"], 6)


def _forget_peak() -> None:
    """Start the peak anew, where the system can; the peak of the start is smaller anyway."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _memory(name: str) -> int:
    """Bytes by /proc, or by getrusage where there is none (there only the peak is known)."""
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith(name + ":"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource

    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
