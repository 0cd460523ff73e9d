"""Connected components of a slice, found by runs of voxels along x. Imports numba.

They are numbered in the order of their first voxels, x fastest.
"""

# The types of a kernel are those of the signatures that it is compiled with.
# mypy: allow-untyped-defs, allow-untyped-calls

from __future__ import annotations

import numpy as np

from shardreader.decoding.crackle.crack_codes import BLANK, draw_cracks
from shardreader.decoding.crackle.faults import OK
from shardreader.decoding.run_kernels import bits_inside, lowest_bit, number_components, unite
from shardreader.runtime.compiling import inlined

__all__ = ["find_components"]

_1 = np.uint64(1)


@inlined
def _turn_around(walls, sx, sy, words):
    """Make walls of cracks that are drawn where voxels connect."""
    for row in range(2 * sy):
        for word in range(words):
            at = np.uint64(row * words + word)
            walls[at] = ~walls[at] & bits_inside(word, sx)


@inlined
def _find_runs(walls, sx, sy, words, run_starts, parents, row_runs):
    """Note where runs begin, each a component of its own; how many there are."""
    runs = 0
    for y in range(sy):
        row_runs[y] = runs
        for word in range(words):
            bits = walls[np.uint64(y * words + word)]
            if word == 0:
                bits |= _1
            first = y * sx + 64 * word
            while bits != 0:
                run_starts[np.uint64(runs)] = first + np.int64(lowest_bit(bits))
                parents[np.uint64(runs)] = runs
                runs += 1
                bits &= bits - _1
    row_runs[sy] = runs
    return runs


@inlined
def _join_rows(walls, sx, sy, words, run_starts, parents, row_runs):
    """Join the runs of neighbouring rows that no wall parts."""
    for y in range(1, sy):
        here, above = np.int64(row_runs[y]), np.int64(row_runs[y - 1])
        here_end, above_end = np.int64(row_runs[y + 1]) - 1, here - 1
        open_before = np.uint64(0)
        for word in range(words):
            at = y * words + word
            is_open = ~walls[np.uint64(sy * words + at)] & bits_inside(word, sx)
            # One look for each pair of runs that touch is enough.
            looks = is_open & (
                walls[np.uint64(at)] | walls[np.uint64(at - words)] | ~(is_open << _1 | open_before)
            )
            open_before = is_open >> np.uint64(63)
            while looks != 0:
                x = 64 * word + np.int64(lowest_bit(looks))
                looks &= looks - _1
                while here < here_end and run_starts[np.uint64(here + 1)] <= y * sx + x:
                    here += 1
                while above < above_end and run_starts[np.uint64(above + 1)] <= (y - 1) * sx + x:
                    above += 1
                unite(parents, here, above)


@inlined
def find_components(encoded, start, end, form, walls, branches, run_starts, numbers, row_runs):
    """Draw a slice and number its components: a status, its runs, and how many components."""
    sx, sy, permissible, order, model = form
    words = (sx + 63) >> 6
    walls[:] = 0
    status = draw_cracks(encoded, start, end, order, model, sx, sy, words, walls, branches)
    if status == BLANK and permissible == 0:
        run_starts[0], numbers[0] = 0, 0
        return OK, 1, 1
    if status not in (OK, BLANK):
        return status, 0, 0
    if permissible != 0:
        _turn_around(walls, sx, sy, words)
    runs = _find_runs(walls, sx, sy, words, run_starts, numbers, row_runs)
    _join_rows(walls, sx, sy, words, run_starts, numbers, row_runs)
    return OK, runs, number_components(numbers, 0, runs, 0)
