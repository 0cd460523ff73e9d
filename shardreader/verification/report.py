"""The report of a verification, and the documents made of it.

The JSON document is described by ``report_schema.json`` beside this file.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import Any

from shardreader.checking.findings import Severity
from shardreader.checking.saved_report import REPORT_TYPE
from shardreader.runtime.output_file import replacing
from shardreader.verification.facts import ReportFacts
from shardreader.verification.render_html import render_html
from shardreader.verification.render_markdown import render_markdown
from shardreader.verification.repair import repair_advice
from shardreader.verification.wording import verdict

__all__ = ["Report", "check_report_path", "render_json"]

_SEVERITIES = (Severity.DAMAGE, Severity.MISSING, Severity.NOTE)


@dataclass(frozen=True)
class Report(ReportFacts):
    """The outcome of `verify`: its facts, and the documents made of them.

    Examples
    --------
    >>> import shardreader
    >>> report = shardreader.verify("fixtures/fafb-mini", level="quick", allow_absent=True)
    >>> report.ok, report.totals.shards
    (True, 9)
    """

    def to_json(self) -> dict[str, Any]:
        """The report as JSON types, by ``report_schema.json``."""
        return {
            "@type": REPORT_TYPE,
            "path": self.path,
            "level": self.level,
            "shardreader_version": self.version,
            "created": self.created,
            "ok": self.ok,
            "finished": self.finished,
            "verdict": verdict(self),
            "exit_status": self.exit_status,
            "allow_absent": self.allow_absent,
            "cross_check": self.cross_check,
            "asked": asdict(self.asked),
            "manifest": None if self.known is None else asdict(self.known),
            "seconds": round(self.seconds, 3),
            "megabytes_per_second": round(self.bytes_per_second / 1e6, 1),
            "resumed_shards": self.resumed_shards,
            "totals": asdict(self.totals),
            "counts": {severity.value: self.count(severity) for severity in _SEVERITIES},
            "scales": [scale.to_json() for scale in self.scales],
            "findings": [
                {
                    "kind": group.kind.value,
                    "severity": group.kind.severity.value,
                    "text": group.kind.text,
                    "count": group.count,
                    "listed": [finding.to_json() for finding in group.findings],
                }
                for group in self.groups
            ],
            "what_to_do": repair_advice(self).to_json(),
        }

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the report as JSON, Markdown or HTML, by the ending of `path`.

        Raises
        ------
        ValueError
            Another ending.
        OSError
            The file cannot be written.
        """
        where = os.fspath(path)
        report = replace(self, saved_as=where) if where.lower().endswith(".json") else self
        text = _renderer(where)(report)
        with replacing(path) as file:
            file.write(text.encode("utf-8"))


def check_report_path(path: str) -> None:
    """Refuse a path that cannot be written, before hours of work."""
    _renderer(path)
    folder = os.path.dirname(os.path.abspath(path))
    if not os.path.isdir(folder):
        raise ValueError(f"{path}: there is no directory {folder}")


def _renderer(path: str) -> Any:
    renderers = {".json": render_json, ".md": render_markdown, ".html": render_html}
    ending = os.path.splitext(path)[1].lower()
    if ending not in renderers:
        raise ValueError(f"{path} must end in one of {', '.join(renderers)}")
    return renderers[ending]


def render_json(report: Report) -> str:
    """The report as one JSON document."""
    return json.dumps(report.to_json(), indent=1) + "\n"
