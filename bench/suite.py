"""The whole run: from what was asked for to the results."""

from __future__ import annotations

import datetime
import os
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import limits
from bench.bits import mix_of
from bench.decoding import decode_rows
from bench.errors import CannotMeasure
from bench.machine import busy_warning, machine_facts
from bench.measure import time_once
from bench.ours import open_volume, stored_chunks_of
from bench.peers import PEERS, absent_peers, choose_peers
from bench.recoded import recoded_rows
from bench.region import find_region
from bench.rows import RowRunner, Setup
from bench.scaling import growth, latencies, memory_peaks, python_share, thread_scaling
from bench.scenarios import GROUPS, Scenario, make_scenarios
from bench.start import start_times
from bench.wanted import judge
from shardreader import Box
from shardreader.errors import ShardReaderError

__all__ = ["Options", "run_suite"]

_GROWTH_POINTS = (1_000_000, 2_000_000, 4_000_000, 7_000_000, 10_000_000)


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    path: str
    scale: int | str | None
    region: list[int] | None
    cold: bool
    peers: list[str] | None
    scenarios: list[str] | None
    threads: list[int] | None
    io_depth: int
    runs: int
    out: Path
    growth_points: tuple[int, ...] = _GROWTH_POINTS


def run_suite(options: Options, say) -> dict:
    """Measure; raises CannotMeasure where that is not possible as asked."""
    machine = machine_facts(options.path)
    peers = choose_peers(options.peers or PEERS)
    if options.cold and not hasattr(os, "posix_fadvise"):
        raise CannotMeasure("--cold: this system has no posix_fadvise, so pages cannot be dropped")
    threads = tuple(sorted(set(options.threads or (1, machine["usable_cores"]))))
    try:
        vol = open_volume(options.path, options.scale, max(threads))
    except ShardReaderError as error:
        raise CannotMeasure(str(error)) from None
    with vol:
        say("looking for a region with data")
        wish = Box(options.region[:3], options.region[3:]) if options.region else None
        region = find_region(vol, wish)
        if region.is_empty:
            raise CannotMeasure(f"--region has no voxel of the volume, {vol.bounds}")
        setup = Setup(
            vol.path, vol, region, threads, options.runs, options.cold, tuple(peers),
            options.io_depth, options.out,
        )  # fmt: skip
        points = Path(vol.path).parent / "points.csv"
        scenarios = make_scenarios(vol, region, points)
        results = {
            "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "path": vol.path,
            "scale": vol.scale.key,
            "region": [list(region.lower), list(region.upper)],
            "threads": list(threads),
            "runs": options.runs,
            "cold": options.cold,
            "machine": machine,
            "volume": mix_of(Path(vol.path), vol, region).as_json(),
            "absent_peers": absent_peers(options.peers or PEERS),
            "failures": [],
            "warnings": [warning] if (warning := busy_warning(machine)) else [],
        }
        _measure(setup, scenarios, _chosen(options, scenarios), options, results, say)
    say.end()
    return results


def _chosen(options: Options, scenarios: list[Scenario]) -> set[str]:
    """The groups and rows asked for; a group's name stands for all of it."""
    names = {scenario.name for scenario in scenarios}
    if options.scenarios is None:
        return names | set(GROUPS)
    unknown = set(options.scenarios) - names - set(GROUPS)
    if unknown:
        raise CannotMeasure(
            f"no such scenario: {', '.join(sorted(unknown))}; there are "
            f"{', '.join([*GROUPS, *sorted(names)])}"
        )
    chosen = set(options.scenarios)
    return chosen | names if "rows" in chosen else chosen


def _measure(setup: Setup, scenarios, chosen, options: Options, results: dict, say) -> None:
    failures: list[dict] = results["failures"]
    runner = RowRunner(setup, failures, say)
    rows = []
    for scenario in scenarios:
        # What stays in caches, and what never reads, has no cold form.
        if scenario.name in chosen and not (setup.cold and scenario.warm):
            rows += runner.rows(scenario)
    if "decode" in chosen and not setup.cold:
        rows += decode_rows(setup, failures, say)
        rows += recoded_rows(setup, failures, say)
    results.update(rows=rows, tuning=runner.tuning, wanted=judge(rows))
    results["disk"] = _disk(setup, say)
    if setup.cold:
        return
    if "threads" in chosen:
        results["scaling"] = thread_scaling(setup, scenarios, say)
        results["python_share"] = python_share(setup, scenarios[0], say)
    if "latency" in chosen:
        results["latency"] = latencies(setup, say)
    if "memory" in chosen:
        results["memory"] = memory_peaks(setup, scenarios, say)
    if "start" in chosen:
        results["start"] = start_times(setup, say)
    if "growth" in chosen:
        results["growth"] = growth(setup, options.growth_points, say)


def _disk(setup: Setup, say) -> list[dict]:
    """Reads of the region's own files: pages warm, or dropped where cold is measured."""
    say("reads of the same files")
    chunks = stored_chunks_of(setup.vol, setup.region)
    found = []
    for depth, sequential in ((1, True), (1, False), (setup.io_depth, False)):
        side = limits.reads(chunks, depth, sequential=sequential)

        def before():
            if setup.cold:
                limits.drop_pages(chunks.files)

        seconds = [time_once(side, number, before) for number in range(setup.runs)]
        found.append(
            {
                "name": side.name,
                "pages": "dropped" if setup.cold else "warm",
                "seconds": seconds,
                "median": median(seconds),
                **side.about,
            }
        )
    return found
