"""Which shards are whole, absent and damaged, as an SVG picture: one field for each z layer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from html import escape
from itertools import groupby

from shardreader.copies.state_colors import DAMAGED, NOT_DOWNLOADED, css
from shardreader.format.grid import Triple
from shardreader.format.shard_lattice import ShardLattice
from shardreader.verification.facts import ScaleReport

__all__ = ["COLORS", "draw_shards"]

# Told apart by brightness too, for those who do not see red and green.
COLORS = {
    "whole": "#2f7d5b",
    "partial": "#93c47d",
    "damaged": css(DAMAGED),
    "not_checked": "#7aa6c2",
    "not_downloaded": css(NOT_DOWNLOADED),
    "unknown": "#bdbdbd",
    "source_has_none": "#e6eef5",
    "not_selected": "#ffffff",
}
# A browser draws so many squares at ease.
_MOST_SQUARES = 60_000
_GAP = 18
_WIDTH = 1100
_LABEL = 16


def draw_shards(report: ScaleReport) -> str | None:
    """The picture of a scale; None where its shards are no boxes side by side, or too many."""
    if report.not_supported or report.scale.sharding is None:
        return None
    lattice = ShardLattice(report.scale)
    shape = lattice.shape
    if shape is None or lattice.wraps or not 0 < lattice.count <= _MOST_SQUARES:
        return None
    states = _states_by_place(report, lattice)
    side = max(3, min(24, (_WIDTH // min(shape[2], 4) - _GAP) // shape[0]))
    wide, high = shape[0] * side + _GAP, shape[1] * side + _GAP + _LABEL
    per_row = max(1, min(shape[2], _WIDTH // wide))
    rows = -(-shape[2] // per_row)
    layers = "".join(
        _layer(report, lattice, states, shape, z, (z % per_row * wide, z // per_row * high), side)
        for z in range(shape[2])
    )
    title = f"the {lattice.count} shards of {report.key}, a field for each layer in z"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{per_row * wide}" height="{rows * high}" '
        f'viewBox="0 0 {per_row * wide} {rows * high}" role="img" aria-label="{escape(title)}">'
        f"{_grid_lines(report, side)}{layers}</svg>"
    )


def _states_by_place(report: ScaleReport, lattice: ShardLattice) -> dict[Triple, tuple[str, int]]:
    states = {}
    for state, numbers in report.shards.items():
        for number in numbers:
            place = lattice.position(number)
            if place is not None:
                states[place] = (state, number)
    return states


def _layer(
    report: ScaleReport,
    lattice: ShardLattice,
    states: dict[Triple, tuple[str, int]],
    shape: Triple,
    z: int,
    corner: tuple[int, int],
    side: int,
) -> str:
    left, top = corner
    size, offset, chunk = report.scale.size, report.scale.voxel_offset, report.scale.chunk_size
    deep = chunk[2] * lattice.shard_cells[2]
    first = offset[2] + z * deep
    last = min(offset[2] + size[2], first + deep)
    squares = "".join(_squares(states, shape, z, side, lattice.file_name))
    return (
        f'<g transform="translate({left},{top})"><text x="0" y="11">z {first} to {last}</text>'
        f'<g transform="translate(0,{_LABEL})">{squares}'
        f'<rect width="{shape[0] * side}" height="{shape[1] * side}" '
        f'fill="url(#{_grid_id(report)})" stroke="#777"/></g></g>'
    )


def _grid_id(report: ScaleReport) -> str:
    return f"grid-{report.scale.index}"


def _grid_lines(report: ScaleReport, side: int) -> str:
    """Thin lines between the shards, for all layers at once."""
    return (
        f'<defs><pattern id="{_grid_id(report)}" width="{side}" height="{side}" '
        f'patternUnits="userSpaceOnUse"><path d="M{side} 0H0V{side}" fill="none" stroke="#fff" '
        'stroke-opacity="0.55" stroke-width="1"/></pattern></defs>'
    )


def _squares(
    states: dict[Triple, tuple[str, int]],
    shape: Triple,
    z: int,
    side: int,
    name: Callable[[int], str],
) -> Iterator[str]:
    """Neighbours along x that look alike are one rectangle; damaged ones say which they are."""
    for y in range(shape[1]):
        places = [states.get((x, y, z), ("not_selected", -1)) for x in range(shape[0])]

        def alike(x: int, row: list[tuple[str, int]] = places) -> tuple[str, int]:
            state, number = row[x]
            return state, number if state in ("damaged", "not_downloaded") else -1

        for (state, number), run in groupby(range(shape[0]), key=alike):
            xs = list(run)
            title = f"<title>{name(number)}: {escape(state)}</title>" if number >= 0 else ""
            yield (
                f'<rect x="{xs[0] * side}" y="{y * side}" width="{len(xs) * side}" '
                f'height="{side}" fill="{COLORS[state]}">{title}</rect>'
            )
