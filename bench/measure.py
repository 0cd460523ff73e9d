"""Two sides timed in turn, and what their times say."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np

from bench.errors import Unequal

__all__ = ["Pairs", "Side", "compare", "time_once", "time_pairs"]

# A row whose sides are slow is given fewer pairs, but never fewer than these.
_LEAST_PAIRS = 3


@dataclass
class Side:
    """Something to be timed, again and again from the same state.

    `prepare` gets the number of the run and returns what `run` gets; only `run` is timed. What
    `run` returns is given to `array`, for the comparison, and to `finish`, both untimed. With
    `times` above 1 it is called so often in a row, and what counts is the mean.
    """

    name: str
    prepare: Callable[[int], Any]
    run: Callable[[Any], Any]
    array: Callable[[Any, Any], np.ndarray] | None = None
    finish: Callable[[Any], None] = lambda _: None
    about: dict = field(default_factory=dict)
    times: int = 1


@dataclass(frozen=True)
class Pairs:
    """Seconds of both sides, run by run in turn."""

    ours: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratios(self) -> list[float]:
        """How many times faster ours was, pair by pair."""
        return [b / a for a, b in zip(self.ours, self.other, strict=True)]

    @property
    def ratio(self) -> float:
        """The median of the pairs."""
        return median(self.ratios)


def compare(ours: Side, other: Side, cases: int) -> bool:
    """Run both sides on every case and compare what they say; raises Unequal.

    Returns False where one of the sides (a limit) says nothing.
    """
    if ours.array is None or other.array is None:
        return False
    for case in range(cases):
        answers = []
        for side in (ours, other):
            state = side.prepare(case)
            result = side.run(state)
            answers.append(np.array(side.array(result, state)))
            side.finish(state)
            del result, state
        same = answers[0].shape == answers[1].shape and np.array_equal(*answers)
        if not same:
            raise Unequal(f"{ours.name} and {other.name} disagree in case {case}")
    return True


def time_pairs(
    ours: Side,
    other: Side,
    runs: int,
    *,
    before: Callable[[], None] | None = None,
    most_seconds: float = 20.0,
) -> Pairs:
    """Time A B A B. `before` is called before every run, untimed (it drops pages)."""
    seconds: tuple[list[float], list[float]] = ([], [])
    begin = time.monotonic()
    for number in range(runs):
        if number >= _LEAST_PAIRS and time.monotonic() - begin > most_seconds:
            break
        for side, kept in zip((ours, other), seconds, strict=True):
            kept.append(time_once(side, number, before))
    return Pairs(tuple(seconds[0]), tuple(seconds[1]))


def time_once(side: Side, number: int, before: Callable[[], None] | None = None) -> float:
    """Seconds of one run from a prepared state."""
    state = side.prepare(number)
    if before is not None:
        before()
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        for _ in range(side.times):
            result = side.run(state)
        spent = (time.perf_counter() - begin) / side.times
    finally:
        gc.enable()
    side.finish(state)
    # What was made is given back after the clock has stopped, on both sides.
    del result, state
    return spent
