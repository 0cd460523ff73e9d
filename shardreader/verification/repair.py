"""What to do about the findings of a report: which files to copy again, and how."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from typing import Any

from shardreader.checking.findings import Finding, FindingKind, Severity
from shardreader.verification.facts import ReportFacts

__all__ = ["NOT_AT_SOURCE", "Repair", "repair_advice"]

NOT_AT_SOURCE = "no such file, because the manifest says that the source has none"

_UNSAVED = "report.json"
# Copying a file again mends none of these.
_NOT_MENDED_BY_COPY = (
    FindingKind.UNREADABLE,
    FindingKind.BLOCK_SIZE_IMPLAUSIBLE,
    FindingKind.CROSS_CHECK_MISMATCH,
    FindingKind.FILE_CHANGED,
    FindingKind.PARTIAL,
)
_ADVICE = {
    FindingKind.UNREADABLE: "check the drive and the permissions, then verify again",
    FindingKind.FILE_CHANGED: "verify again when nothing writes to the copy",
    FindingKind.BLOCK_SIZE_IMPLAUSIBLE: "compare compressed_segmentation_block_size in info with "
    "the info of the volume's source",
    FindingKind.CROSS_CHECK_MISMATCH: "please report this: two decoders disagree about a chunk "
    "that breaks no rule of the format",
}


@dataclass(frozen=True)
class Repair:
    """What mends a copy.

    Parameters
    ----------
    copy_again : tuple of str
        Files relative to the directory of the volume, sorted.
    commands : tuple of str
        A command line for each scale that has some; empty where the source is not known.
    advice : tuple of str
        Everything else, in sentences.
    """

    copy_again: tuple[str, ...]
    commands: tuple[str, ...]
    advice: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types."""
        return {
            "copy_again": list(self.copy_again),
            "commands": list(self.commands),
            "advice": list(self.advice),
        }


def repair_advice(report: ReportFacts) -> Repair:
    """What to do about the findings of a report."""
    advice = [_ADVICE[group.kind] for group in report.groups if group.kind in _ADVICE]
    if any(finding.expected == NOT_AT_SOURCE for finding in report.findings):
        advice.append(
            "some shards are here that the source has not: if the manifest is older than the "
            "copy, adopt it again with a new listing"
        )
    if any(scale.first_version for scale in report.scales):
        advice.append(
            "shards in the form of the format's first version (N.index and N.data) are read, but "
            "not verified by this version"
        )
    if report.count_of(FindingKind.PARTIAL) and not report.allow_absent:
        url = report.known.source if report.known and report.known.source else "SOURCE"
        words = shlex.join(["shardreader", "fetch", url, report.path])
        advice.append(
            "some shards are partial, as they were fetched; if that is all you want, verify with "
            f"--allow-absent; for more of them: {words} with --box or --points, or without either "
            "for the whole scale"
        )
    if not report.finished:
        advice.append("this run did not end: go on with it with --resume")
    if any(scale.count("unknown") for scale in report.scales) and not report.allow_absent:
        advice.append(
            "whether the source has the shards that are absent is unknown; to settle it, save the "
            "output of `gsutil ls -L` for the directory of the scale and give it to `shardreader "
            "adopt PATH --listing FILE` (or to this command with --listing), or say that the copy "
            "is complete (`shardreader adopt PATH --assume-complete`), or that it need not be "
            "(--allow-absent)"
        )
    files = sorted(
        {
            finding.file
            for group in report.groups
            for finding in group.findings
            if _is_mended_by_copy(finding, report.allow_absent)
        }
    )
    source = report.known.source if report.known else None
    commands: tuple[str, ...] = ()
    if source is not None:
        keys = [scale.key for scale in report.scales]
        mended = [key for key in keys if any(file.startswith(f"{key}/") for file in files)]
        commands = tuple(_fetch(source, report, key) for key in mended)
        if commands and report.saved_as is None:
            advice.insert(
                0,
                f"save this report as {_UNSAVED} for `shardreader fetch` (verify again with "
                f"--report {_UNSAVED})",
            )
    return Repair(tuple(files), commands, tuple(advice))


def _is_mended_by_copy(finding: Finding, allow_absent: bool) -> bool:
    if finding.shard_number is None or finding.kind in _NOT_MENDED_BY_COPY:
        return False
    if finding.severity is Severity.MISSING:
        return not allow_absent
    return finding.severity is Severity.DAMAGE and finding.expected != NOT_AT_SOURCE


def _fetch(source: str, report: ReportFacts, key: str) -> str:
    saved = os.path.abspath(report.saved_as) if report.saved_as else _UNSAVED
    words = ["shardreader", "fetch", source, report.path, "--scale", key, "--repair", saved]
    return shlex.join(words)
