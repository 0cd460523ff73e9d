"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Iterator

from shardreader.verification.facts import ReportFacts
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

__all__ = ["render_markdown"]


def render_markdown(report: ReportFacts) -> str:
    """The report as one Markdown document, with all that it lists."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ReportFacts) -> Iterator[str]:
    yield "# shardreader verify"
    yield ""
    yield f"**{_plain(verdict(report))}**"
    yield ""
    yield "| | |"
    yield "|---|---|"
    yield f"| volume | {_code(report.path)} |"
    yield f"| level | {report.level} |"
    yield f"| manifest | {_plain(known_text(report))} |"
    yield f"| begun | {report.created}, shardreader {report.version} |"
    for name, value in totals_lines(report):
        yield f"| {name} | {_plain(value)} |"
    for scale in report.scales:
        yield ""
        yield f"## Scale {scale.scale.index}: {_plain(scale.key)}"
        yield ""
        if scale.not_supported:
            yield f"Not checked: {_plain(scale.not_supported)}"
            continue
        yield f"{scale.possible:,} shards can hold a chunk, by the geometry."
        yield ""
        yield "| shards | state | which |"
        yield "|---|---|---|"
        for state, count, names in scale_states(scale):
            yield f"| {count:,} | {STATE_TEXTS[state]} | {_code(names)} |"
    yield from _findings(report)
    yield from _untrusted(report)
    yield from _repair(report)


def _findings(report: ReportFacts) -> Iterator[str]:
    if report.groups:
        yield ""
        yield "## Findings"
    for group in report.groups:
        yield ""
        yield f"### {group.kind} ({group.kind.severity.value}, {group.count:,})"
        yield ""
        yield f"{_plain(group.kind.text.capitalize())}."
        yield ""
        for finding in group.findings:
            yield f"- {_plain(finding_text(finding))}"
        left_out = group.count - len(group.findings)
        if left_out and len(group.findings) > 1:
            yield f"- ... and {left_out:,} that are counted and not listed"


def _untrusted(report: ReportFacts) -> Iterator[str]:
    boxes = [(scale.key, box) for scale in report.scales for box in scale.untrusted]
    if boxes:
        yield ""
        yield "## Voxels that cannot be trusted"
        yield ""
        yield "| scale | x0,y0,z0,x1,y1,z1 |"
        yield "|---|---|"
        for key, box in boxes:
            yield f"| {_plain(key)} | {box_text(box)} |"


def _repair(report: ReportFacts) -> Iterator[str]:
    repair = repair_advice(report)
    if not (repair.copy_again or repair.advice):
        return
    yield ""
    yield "## What to do"
    for sentence in repair.advice:
        yield ""
        yield f"- {sentence}"
    if repair.copy_again:
        yield ""
        yield f"Copy {counted(len(repair.copy_again), 'file')} again from the source:"
        yield ""
        yield "```"
        yield from repair.commands or repair.copy_again
        yield "```"


def _plain(text: str) -> str:
    """Text in which nothing is markup, on one line, that keeps the cells of a table apart."""
    escaped = "".join(f"\\{c}" if c in "\\|*_<>[]#`" else c for c in text)
    return " ".join(escaped.split())


def _code(text: str) -> str:
    return f"`{' '.join(text.replace('`', chr(39)).replace('|', '/').split())}`"
