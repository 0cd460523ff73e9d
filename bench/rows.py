"""Runs the scenarios: each against each of its peers and against its limit."""

from __future__ import annotations

import os
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench import limits
from bench.errors import Unequal
from bench.measure import Pairs, Side, compare, time_pairs
from bench.ours import Chunks, cells_of_points, stored_chunks_of
from bench.peers import CloudVolume, Ours, Tensorstore
from bench.questions import BOX_KINDS, QUESTIONS, translating_side
from bench.scenarios import Scenario
from shardreader.checking.shard_check import ShardJob, check_shard
from shardreader.format.shard_lattice import ShardLattice, shard_cells
from shardreader.reading.box_read import cells_of
from shardreader.reading.large_arrays import drop_kept

__all__ = ["RowRunner", "Setup", "as_row", "failure"]

# How long the pairs of one row may take before no further pair is begun.
_MOST_SECONDS = 8.0


@dataclass(frozen=True)
class Setup:
    """What all measurements need to know."""

    path: str
    vol: Any
    region: Any
    threads: tuple[int, ...]
    runs: int
    cold: bool
    peers: tuple[str, ...]
    io_depth: int
    out: Any

    @property
    def most_threads(self) -> int:
        """The threads of the table's rows."""
        return max(self.threads)


def as_row(name: str, title: str, against: str, pairs: Pairs, **further) -> dict:
    """A row of results.json."""
    return {
        "scenario": name,
        "title": title,
        "against": against,
        "ours_seconds": list(pairs.ours),
        "other_seconds": list(pairs.other),
        "ours_median": median(pairs.ours),
        "other_median": median(pairs.other),
        "pair_ratios": pairs.ratios,
        "ratio": pairs.ratio,
        **further,
    }


def failure(title: str, against: str, error: Exception) -> dict:
    """A sentence for the end of the run, which goes on without the row."""
    said = str(error) or repr(error)
    text = f"{title} against {against}: no row, because it fails: {type(error).__name__}: {said}"
    return {"text": text, "unequal": isinstance(error, Unequal)}


class RowRunner:
    """Makes the rows of a scenario."""

    def __init__(self, setup: Setup, failures: list[dict], say) -> None:
        self.setup = setup
        self._failures = failures
        self._say = say
        vol, threads = setup.vol, setup.most_threads
        self._ours = Ours(setup.path, vol.scale.index, threads)
        self._threads = threads
        self._readers = {"tensorstore": Tensorstore, "cloud-volume": CloudVolume}
        self.tuning: dict[str, dict] = {}

    def rows(self, scenario: Scenario) -> list[dict]:
        """One row for each peer that is here, and one for the limit."""
        chunks = self._chunks(scenario)
        before = None
        if self.setup.cold:
            files = {path for of_case in chunks for path in of_case.files}

            def before():
                limits.drop_pages(files)

        ours = self._ours_side(scenario)
        rows = []
        for name in scenario.peers:
            if name in self.setup.peers:
                self._say(f"{scenario.name} against {name}")
                try:
                    rows.append(self._peer_row(scenario, ours, name, chunks, before))
                except Exception as error:  # noqa: BLE001 (whatever a peer raises is its own)
                    self._failures.append(failure(scenario.title, name, error))
        limit = self._limit(scenario, chunks)
        if limit is not None:
            self._say(f"{scenario.name} against {limit.name}")
            threads = 1 if scenario.kind == "verify" else self.setup.most_threads
            # The first run of each is not counted: it starts threads and fills the page cache.
            for side in (ours, limit):
                state = side.prepare(0)
                side.run(state)
                side.finish(state)
            pairs = self._time(ours, limit, before)
            rows.append(
                self._row(scenario, limit.name, "limit", pairs, chunks, None, {"threads": threads})
            )
        return rows

    def _peer_row(self, scenario, ours, name, chunks, before) -> dict:
        reader = self._readers[name](self.setup.path, self.setup.vol.scale.index, self._threads)
        other = _side(reader, scenario)
        # A warm side keeps the volume that it has opened, so it takes the default settings.
        if not scenario.warm:
            self.tuning[f"{scenario.name}, {name}"] = reader.tune(other)
        same = compare(ours, other, len(scenario.cases))
        pairs = self._time(ours, other, before)
        return self._row(scenario, name, "peer", pairs, chunks, same, reader.settings())

    def _time(self, ours, other, before) -> Pairs:
        return time_pairs(ours, other, self.setup.runs, before=before, most_seconds=_MOST_SECONDS)

    def _row(self, scenario, against, kind, pairs, chunks, same, settings) -> dict:
        state = "caches warm" if scenario.warm else "fresh open"
        pages = "pages dropped" if self.setup.cold else "pages warm"
        return as_row(
            scenario.name,
            scenario.title,
            against,
            pairs,
            kind=kind,
            state=f"{state}, {pages}",
            equal=same,
            settings=settings,
            full_size=scenario.whole,
            work=self._work(scenario, chunks),
        )

    def _work(self, scenario: Scenario, chunks: list[Chunks]) -> dict:
        """What the first case asks for."""
        work = {
            "chunks": len(chunks[0].stored),
            "stored_bytes": chunks[0].stored_bytes,
            "encoded_bytes": sum(chunks[0].encoded_sizes),
        }
        case = scenario.cases[0]
        itemsize = self.setup.vol.dtype.itemsize
        if scenario.kind in BOX_KINDS:
            return {**work, "voxels": case.voxels, "result_bytes": case.voxels * itemsize}
        if scenario.kind in ("points", "open"):
            return {**work, "points": len(case), "result_bytes": len(case) * itemsize}
        return work

    def _chunks(self, scenario: Scenario) -> list[Chunks]:
        vol = self.setup.vol
        if scenario.kind == "verify":
            return [_chunks_of_shard(vol, _largest_shard(vol))]
        if scenario.kind in BOX_KINDS:
            return [stored_chunks_of(vol, box) for box in scenario.cases]
        return [
            stored_chunks_of(vol, cells=cells_of_points(vol, points)) for points in scenario.cases
        ]

    def _ours_side(self, scenario: Scenario) -> Side:
        if scenario.kind == "verify":
            return _verify_side(self.setup.vol)
        if scenario.kind == "out":
            return _out_side(self._ours, scenario)
        if scenario.kind in ("mask", "mapping"):
            return translating_side(self._ours, scenario.kind, scenario.cases[0])
        return _side(self._ours, scenario)

    def _limit(self, scenario: Scenario, chunks: list[Chunks]) -> Side | None:
        threads = self.setup.most_threads
        if scenario.limit is None:
            return None
        if self.setup.cold and scenario.kind != "verify":
            return limits.reads(chunks[0], self.setup.io_depth, sequential=False)
        if scenario.limit in ("fresh", "warm", "new"):
            shape, dtype = scenario.cases[0].shape, self.setup.vol.dtype
            return limits.memset(shape, dtype, threads, scenario.limit)
        if scenario.limit == "plain":
            return _plain_side(self._ours, scenario)
        if scenario.limit == "one-chunk":
            return limits.open_and_inflate(chunks, scenario.times)
        if scenario.limit == "gather":
            return limits.gather(len(scenario.cases[0]), sum(chunks[0].encoded_sizes))
        return limits.inflate_chunks(chunks, 1 if scenario.limit == "verify" else threads)


def _side(reader, scenario: Scenario) -> Side:
    """A reader asked for boxes or points, on a volume just opened or kept open."""
    ask, to_array = QUESTIONS[scenario.kind]
    kept = reader.open() if scenario.warm else None
    if scenario.warm:
        for case in scenario.cases:
            ask(reader, kept, case)

    def prepare(number):
        opens_itself = scenario.kind == "open"
        handle = kept if scenario.warm else None if opens_itself else reader.open()
        if scenario.new_memory:
            drop_kept()
        return {"handle": handle, "case": scenario.case(number)}

    def run(state):
        if scenario.kind == "open":
            _open_again(reader, state)
        return ask(reader, state["handle"], state["case"])

    def finish(state):
        if not scenario.warm:
            reader.close(state["handle"])
            state["handle"] = None

    def array(result, state):
        return to_array(reader, result, state["case"])

    return Side(reader.name, prepare, run, array, finish, times=scenario.times)


def _open_again(reader, state: dict) -> None:
    if state["handle"] is not None:
        reader.close(state["handle"])
    state["handle"] = reader.open()


def _out_side(reader: Ours, scenario: Scenario) -> Side:
    # As in a loop that uses one array again and again.
    first = reader.open()
    out = first.cutout(scenario.cases[0])
    reader.close(first)
    return Side(
        reader.name,
        lambda number: (reader.open(), scenario.case(number)),
        lambda state: state[0].cutout(state[1], out=out),
        None,
        lambda state: reader.close(state[0]),
    )


def _plain_side(reader: Ours, scenario: Scenario) -> Side:
    """The same box as it is: what a mask or a mapping must not take longer than."""
    return Side(
        "plain cutout",
        lambda _: reader.open(),
        lambda vol: vol.cutout(scenario.cases[0]),
        None,
        reader.close,
    )


def _largest_shard(vol) -> int:
    lattice = ShardLattice(vol.scale)
    sizes = {}
    with os.scandir(os.path.join(vol.path, vol.scale.key)) as entries:
        for entry in entries:
            number = lattice.number_of_name(entry.name)
            if number is not None:
                sizes[number] = entry.stat().st_size
    return max(sizes, key=sizes.__getitem__)


def _chunks_of_shard(vol, number: int) -> Chunks:
    return stored_chunks_of(vol, cells=cells_of(shard_cells(vol.scale, number)))


def _verify_side(vol) -> Side:
    job = ShardJob(
        vol.path, vol.scale, vol.num_channels, vol.dtype.name, _largest_shard(vol), level="full"
    )

    def run(_):
        result = check_shard(job)
        if result.findings:
            raise ValueError(f"the shard to be verified is damaged: {result.findings[0]}")
        return result

    return Side("shardreader", lambda number: number, run)
