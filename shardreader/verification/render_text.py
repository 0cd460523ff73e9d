"""A report for a terminal."""

from __future__ import annotations

from collections.abc import Iterator

from shardreader.verification.facts import ReportFacts, ScaleReport
from shardreader.verification.repair import repair_advice
from shardreader.verification.wording import (
    STATE_TEXTS,
    box_text,
    counted,
    finding_text,
    known_text,
    scale_states,
    totals_lines,
    verdict,
)

__all__ = ["render_text"]

# A terminal shows this many of each; --json and --report have all of them.
_SHOWN = 10
_NAMES_WIDTH = 60


def render_text(report: ReportFacts) -> str:
    """The report in lines; long lists are cut short, and say so."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ReportFacts) -> Iterator[str]:
    yield verdict(report)
    yield report.path
    yield _row("level", report.level)
    yield _row("manifest", known_text(report))
    for name, value in totals_lines(report):
        yield _row(name, value)
    for scale in report.scales:
        yield ""
        yield from _scale(scale)
    for group in report.groups:
        yield ""
        yield f"{group.kind} ({group.kind.severity.value}), {group.count:,}: {group.kind.text}"
        yield from _some([finding_text(finding) for finding in group.findings], group.count)
    yield from _untrusted(report)
    yield from _repair(report)


def _scale(scale: ScaleReport) -> Iterator[str]:
    yield f"scale {scale.scale.index}: {scale.key}"
    if scale.not_supported:
        yield _row("not checked", scale.not_supported)
        return
    yield _row("possible", f"{scale.possible:,} shards by the geometry")
    for state, count, names in scale_states(scale):
        listed = "" if state == "whole" or len(names) > _NAMES_WIDTH else f": {names}"
        yield _row(f"{count:,}", f"{STATE_TEXTS[state]}{listed}")


def _untrusted(report: ReportFacts) -> Iterator[str]:
    boxes = [(scale.key, box) for scale in report.scales for box in scale.untrusted]
    if boxes:
        yield ""
        yield "voxels that cannot be trusted (x0,y0,z0,x1,y1,z1):"
        yield from _some([f"{key} {box_text(box)}" for key, box in boxes], len(boxes))


def _repair(report: ReportFacts) -> Iterator[str]:
    repair = repair_advice(report)
    if repair.copy_again:
        yield ""
        yield f"copy {counted(len(repair.copy_again), 'file')} again from the source:"
        lines = repair.commands or repair.copy_again
        yield from _some(list(lines), len(lines))
    for sentence in repair.advice:
        yield ""
        yield f"what to do: {sentence}"


def _some(lines: list[str], count: int) -> Iterator[str]:
    for line in lines[:_SHOWN]:
        yield f"  {line}"
    if count > _SHOWN and len(lines) > 1:
        yield f"  ... and {count - _SHOWN:,} more (--report FILE.html, .md or .json)"


def _row(name: str, text: str) -> str:
    return f"  {name:<12}{text}"
