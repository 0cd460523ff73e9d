"""A report as one HTML page that needs nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import escape

from shardreader.verification.facts import ReportFacts, ScaleReport
from shardreader.verification.picture import COLORS, draw_shards
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

__all__ = ["render_html"]

_CODE = re.compile("`([^`]*)`")
_STYLE = (
    """
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1140px;
  margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.3em } h2 { font-size: 1.15em; margin-top: 2em } h3 { font-size: 1em }
.verdict { padding: .7em 1em; border-left: 6px solid; font-weight: 600 }
"""
    f".ok {{ border-color: {COLORS['whole']}; background: #eef6f2 }}\n"
    f".wrong {{ border-color: {COLORS['damaged']}; background: #fdeff1 }}\n"
    """table { border-collapse: collapse } td, th { padding: .15em .9em .15em 0; text-align: left;
  vertical-align: top } td.number { text-align: right; font-variant-numeric: tabular-nums }
code, pre, li, td.names { overflow-wrap: anywhere }
code, pre, td.names { font: 13px/1.45 ui-monospace, monospace }
pre { background: #f6f6f6; padding: .7em 1em; white-space: pre-wrap }
.names { max-height: 9em; overflow-y: auto; display: block }
td.state { min-width: 24em }
svg { max-width: 100%; height: auto } svg text { font: 11px system-ui, sans-serif; fill: #444 }
.swatch { display: inline-block; width: 1em; height: 1em; border: 1px solid #777;
  vertical-align: -2px; margin-right: .5em }
"""
)


def render_html(report: ReportFacts) -> str:
    """The report with a picture of the shards of each scale."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: ReportFacts) -> Iterator[str]:
    yield '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield f"<title>shardreader verify: {escape(report.path)}</title>"
    yield f"<style>{_STYLE}</style></head><body>"
    yield f"<h1>shardreader verify: <code>{escape(report.path)}</code></h1>"
    yield f'<p class="verdict {"ok" if report.ok else "wrong"}">{escape(verdict(report))}</p>'
    yield "<table>"
    for name, value in (
        ("level", report.level),
        ("manifest", known_text(report)),
        ("begun", f"{report.created}, shardreader {report.version}"),
        *totals_lines(report),
    ):
        yield f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>"
    yield "</table>"
    yield from _repair(report)
    for scale in report.scales:
        yield from _scale(scale)
    yield from _findings(report)
    yield from _untrusted(report)
    yield "</body></html>"


def _scale(scale: ScaleReport) -> Iterator[str]:
    yield f"<h2>Scale {scale.scale.index}: {escape(scale.key)}</h2>"
    if scale.not_supported:
        yield f"<p>Not checked: {escape(scale.not_supported)}</p>"
        return
    yield f"<p>{scale.possible:,} shards can hold a chunk, by the geometry.</p>"
    yield "<table>"
    for state, count, names in scale_states(scale):
        swatch = f'<span class="swatch" style="background:{COLORS[state]}"></span>'
        meaning = f'<td class="state">{swatch}{escape(STATE_TEXTS[state])}</td>'
        yield (
            f'<tr><td class="number">{count:,}</td>{meaning}'
            f'<td><span class="names">{escape(names.replace(",", ", "))}</span></td></tr>'
        )
    yield "</table>"
    picture = draw_shards(scale)
    if picture is None:
        yield "<p>These shards are too many to draw, or no boxes that lie side by side.</p>"
    else:
        yield "<p>Each square is a shard; x runs to the right, y down.</p>"
        yield picture


def _findings(report: ReportFacts) -> Iterator[str]:
    if report.groups:
        yield "<h2>Findings</h2>"
    for group in report.groups:
        yield f"<h3>{group.kind} ({group.kind.severity.value}, {group.count:,})</h3>"
        yield f"<p>{escape(group.kind.text)}</p><ul>"
        for finding in group.findings:
            yield f"<li>{escape(finding_text(finding))}</li>"
        left_out = group.count - len(group.findings)
        if left_out and len(group.findings) > 1:
            yield f"<li>... and {left_out:,} that are counted and not listed</li>"
        yield "</ul>"


def _untrusted(report: ReportFacts) -> Iterator[str]:
    boxes = [(scale.key, box) for scale in report.scales for box in scale.untrusted]
    if boxes:
        yield "<h2>Voxels that cannot be trusted</h2>"
        yield "<table><tr><th>scale</th><th>x0,y0,z0,x1,y1,z1</th></tr>"
        for key, box in boxes:
            yield f"<tr><td>{escape(key)}</td><td><code>{box_text(box)}</code></td></tr>"
        yield "</table>"


def _repair(report: ReportFacts) -> Iterator[str]:
    repair = repair_advice(report)
    if not (repair.copy_again or repair.advice):
        return
    yield "<h2>What to do</h2>"
    if repair.advice:
        yield "<ul>"
        for sentence in repair.advice:
            marked = _CODE.sub(r"<code>\1</code>", escape(sentence))
            yield f"<li>{marked}</li>"
        yield "</ul>"
    if repair.copy_again:
        lines = repair.commands or repair.copy_again
        yield f"<p>Copy {counted(len(repair.copy_again), 'file')} again from the source:</p>"
        yield f"<pre>{escape(chr(10).join(lines))}</pre>"
