"""How the cost grows: with threads, points and voxels; how latencies are spread."""

from __future__ import annotations

import time
from statistics import median

import numpy as np

from bench.child import run_child
from bench.measure import Side, time_once
from bench.ours import CompiledClock, SerialClock, stored_chunks_of
from bench.peers import Ours, Tensorstore
from bench.rows import Setup
from bench.scenarios import Scenario
from shardreader import Box

__all__ = ["growth", "latencies", "memory_peaks", "python_share", "thread_scaling"]

_MILLION = 1_000_000
_ESTIMATED_THREADS = (4, 8, 16)


def thread_scaling(setup: Setup, scenarios: list[Scenario], say) -> list[dict]:
    """Each scenario on each number of threads; what more would give, from the serial part."""
    found = []
    for scenario in scenarios:
        if scenario.name not in ("cutout", "slice-xy", "points-100k"):
            continue
        say(f"{scenario.name} on {', '.join(map(str, setup.threads))} threads")
        sides = {t: _ours(setup, scenario, t) for t in setup.threads}
        for side in sides.values():
            time_once(side, 0)
        seconds: dict[int, list[float]] = {t: [] for t in setup.threads}
        for number in range(setup.runs):
            for threads, side in sides.items():
                seconds[threads].append(time_once(side, number))
        medians = {threads: median(times) for threads, times in seconds.items()}
        serial = median(_serial_seconds(setup, scenario) for _ in range(setup.runs))
        one = medians[min(medians)]
        found.append(
            {
                "scenario": scenario.name,
                "title": scenario.title,
                "seconds": {str(t): times for t, times in seconds.items()},
                "medians": {str(t): value for t, value in medians.items()},
                "serial_seconds": serial,
                "estimated": {
                    str(t): serial + max(0.0, one - serial) / t for t in _ESTIMATED_THREADS
                },
            }
        )
    return found


def _ours(setup: Setup, scenario: Scenario, threads: int) -> Side:
    reader = Ours(setup.path, setup.vol.scale.index, threads)
    ask = reader.cutout if scenario.kind == "cutout" else reader.points
    return Side(
        reader.name,
        lambda number: (reader.open(), scenario.case(number)),
        lambda state: ask(*state),
        None,
        lambda state: reader.close(state[0]),
    )


def _serial_seconds(setup: Setup, scenario: Scenario) -> float:
    """On one thread, the time outside of what is given to the workers."""
    side = _ours(setup, scenario, 1)
    clocks = []

    def prepare(number):
        state = (Ours(setup.path, setup.vol.scale.index, 1).open(), scenario.case(number))
        clocks.append(SerialClock(state[0]))
        return state

    whole = time_once(Side(side.name, prepare, side.run, None, side.finish), 0)
    return whole - clocks[-1].seconds


def python_share(setup: Setup, scenario: Scenario, say) -> dict | None:
    """Of a dense cutout on one thread: what a chunk costs beyond compiled code.

    None where compiled code does not read and inflate by itself (`libdeflate.reads_files`).
    """
    say("Python's share of a chunk")
    box = scenario.cases[0]
    # Into memory that is there already: the system's share of fresh memory would drown the rest.
    out = setup.vol.cutout(box)
    whole = _ours_into(setup, box, out)
    runs = []
    for number in range(setup.runs):
        with CompiledClock() as clock:
            spent = time_once(whole, number)
        if not clock.seconds["read and inflate"]:
            return None
        runs.append({"whole": spent, **clock.seconds})
    typical = sorted(runs, key=lambda run: run["whole"])[len(runs) // 2]
    count = len(stored_chunks_of(setup.vol, box).stored)
    parts = {name: seconds / count * 1e6 for name, seconds in typical.items()}
    rest = parts["whole"] - sum(parts[name] for name in CompiledClock.PARTS)
    return {
        "chunks": count,
        "microseconds_per_chunk": parts,
        "python_microseconds_per_chunk": rest,
    }


def _ours_into(setup: Setup, box: Box, out) -> Side:
    reader = Ours(setup.path, setup.vol.scale.index, 1)
    return Side(
        reader.name,
        lambda _: reader.open(),
        lambda vol: vol.cutout(box, out=out),
        None,
        reader.close,
    )


def _task(setup: Setup, reader: str, kind: str, **further) -> dict:
    region = [list(setup.region.lower), list(setup.region.upper)]
    return {
        "path": setup.path,
        "scale": setup.vol.scale.index,
        "threads": setup.most_threads,
        "reader": reader,
        "kind": kind,
        "region": region,
        **further,
    }


def _box_task(setup: Setup, reader: str, box: Box) -> dict:
    return _task(setup, reader, "cutout", box=[list(box.lower), list(box.upper)])


def growth(setup: Setup, counts: tuple[int, ...], say) -> dict:
    """Time and peak memory over points (1 to 10 million) and over voxels, each in a process."""
    points = []
    for count in counts:
        say(f"{count:,} points")
        result = run_child(_task(setup, "shardreader", "points", count=count))
        points.append({"points": count, **result})
    voxels = []
    lower, shape = np.array(setup.region.lower), np.array(setup.region.shape)
    for edge in (64, 128, 256, 384, 512):
        size = np.minimum((edge, edge, edge // 2), shape)
        box = Box(lower.tolist(), (lower + size).tolist())
        if voxels and box.voxels == voxels[-1]["voxels"]:
            break
        say(f"{box.voxels:,} voxels")
        voxels.append({"voxels": box.voxels, **run_child(_box_task(setup, "shardreader", box))})
    return {"points": points, "voxels": voxels}


def memory_peaks(setup: Setup, scenarios: list[Scenario], say) -> list[dict]:
    """The peak of each scenario above the process at rest, ours and the peers'."""
    found = []
    readers = ["shardreader", *(p for p in setup.peers if p in ("tensorstore", "cloud-volume"))]
    for scenario in scenarios:
        if scenario.warm or scenario.kind not in ("cutout", "points"):
            continue
        for reader in readers:
            if reader != "shardreader" and reader not in scenario.peers:
                continue
            say(f"memory of {scenario.name}, {reader}")
            if scenario.kind == "cutout":
                task = _box_task(setup, reader, scenario.cases[0])
            else:
                kind = "walks" if "walks" in scenario.name else "points"
                task = _task(setup, reader, kind, count=len(scenario.cases[0]))
            found.append(
                {
                    "scenario": scenario.name,
                    "title": scenario.title,
                    "reader": reader,
                    **run_child(task),
                }
            )
    return found


def latencies(setup: Setup, say, count: int = 1000) -> dict[str, dict[str, list[float]]]:
    """Seconds of single-point lookups on an open volume: the chunk new to it, and cached."""
    cells = stored_chunks_of(setup.vol, setup.region).cells
    rng = np.random.default_rng(9)
    picked = cells[rng.permutation(len(cells))[:count]]
    size = np.array(setup.vol.chunk_size)
    lower = picked * size + np.array(setup.vol.voxel_offset)
    points = np.clip(
        lower + rng.integers(0, size, picked.shape),
        setup.region.lower,
        np.array(setup.region.upper) - 1,
    )
    readers = [Ours(setup.path, setup.vol.scale.index, setup.most_threads)]
    if "tensorstore" in setup.peers:
        readers.append(Tensorstore(setup.path, setup.vol.scale.index, setup.most_threads))
    found = {}
    for reader in readers:
        say(f"latency of single points, {reader.name}")
        handle = reader.open()
        found[reader.name] = {
            name: [_one_point(reader, handle, point) for point in points]
            for name in ("chunk new", "chunk cached")
        }
        reader.close(handle)
    return found


def _one_point(reader, handle, point) -> float:
    begin = time.perf_counter()
    reader.points(handle, point[None])
    return time.perf_counter() - begin
