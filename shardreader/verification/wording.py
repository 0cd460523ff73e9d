"""The sentences that the renderings of a report share."""

from __future__ import annotations

from shardreader.checking.findings import Finding, FindingKind, Severity
from shardreader.errors import Location
from shardreader.format.grid import Box
from shardreader.format.sharding import CHECKED_ENCODINGS
from shardreader.verification.facts import Asked, ReportFacts, ScaleReport

__all__ = [
    "STATE_TEXTS",
    "asked_text",
    "box_text",
    "counted",
    "finding_text",
    "known_text",
    "scale_states",
    "totals_lines",
    "verdict",
]

STATE_TEXTS = {
    "whole": "whole",
    "partial": "partial: what was fetched of them is sound, the rest reads as NOT_DOWNLOADED",
    "damaged": "damaged",
    "not_checked": "not checked",
    "not_downloaded": "not downloaded, though the source has them",
    "unknown": "absent, and it is unknown whether the source has them",
    "source_has_none": "absent, and the source has none either",
}
_WITHOUT = (
    "without a checksum: one that is cut, shifted or changed and keeps its form gives wrong "
    "labels, which no check sees"
)
_BASES = {
    "listing": "a listing of it",
    "requests": "requests for its files",
    "user": "the user's word",
}


def counted(count: int, noun: str) -> str:
    """A number and its noun.

    Examples
    --------
    >>> counted(1, "shard"), counted(3689, "shard")
    ('1 shard', '3,689 shards')
    """
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def verdict(report: ReportFacts) -> str:
    """The answer in one line: "WHOLE" alone where all of the volume was looked at."""
    if report.finished and report.ok:
        return _sound(report)
    damage, missing = report.count(Severity.DAMAGE), report.count(Severity.MISSING)
    unread = sum(scale.not_supported is not None for scale in report.scales)
    partial = report.count_of(FindingKind.PARTIAL)
    if not report.finished:
        parts = ["NOT FINISHED: what follows is what was found so far"]
    elif damage:
        parts = ["DAMAGED"]
    elif report.totals.shards == 0 and missing:
        parts = ["EMPTY: no shard is here"]
    else:
        parts = ["NOT WHOLE"]
    if damage:
        shards = sum(scale.count("damaged") for scale in report.scales)
        parts.append(f"{counted(damage, 'finding')} of damage, in {counted(shards, 'shard')}")
    if not report.allow_absent:
        parts += [f"{counted(partial, 'shard')} partial"] if partial else []
        missing -= partial
        parts += [f"{counted(missing, 'shard')} missing or unknown"] if missing else []
    unchecked = sum(scale.count("not_checked") for scale in report.scales)
    if unchecked:
        parts.append(f"{counted(unchecked, 'shard')} not checked")
    if unread:
        parts.append(f"{counted(unread, 'scale')} not checked")
    return "; ".join(parts)


def _sound(report: ReportFacts) -> str:
    missing, partial = report.count(Severity.MISSING), report.count_of(FindingKind.PARTIAL)
    nothing = "nothing is damaged" if missing else "nothing is damaged, missing or unknown"
    if not report.asked.is_whole:
        parts = [f"sound as far as asked: {asked_text(report.asked)}", nothing]
    elif missing:
        parts = [f"WHOLE as far as it is here: {nothing}"]
    else:
        parts = [f"WHOLE: {nothing}"]
    parts += [f"{counted(partial, 'shard')} partial"] if partial else []
    parts += [f"{counted(missing - partial, 'shard')} absent"] if missing > partial else []
    if report.level == "quick":
        parts.append("by the indices alone, no chunk was read")
    return "; ".join(parts)


def asked_text(asked: Asked) -> str:
    """What was to be looked at, of how much.

    Examples
    --------
    >>> asked_text(Asked(1, 3689, 1, 2, in_box=True))
    '1 of 3,689 shards, 1 of 2 scales, in these only the chunks of the box'
    """
    parts = [f"{asked.shards:,} of {counted(asked.possible_shards, 'shard')}"]
    if asked.scales != asked.scales_of_volume:
        parts.append(f"{asked.scales:,} of {counted(asked.scales_of_volume, 'scale')}")
    if asked.in_box:
        parts.append("in these only the chunks of the box")
    return ", ".join(parts)


def known_text(report: ReportFacts) -> str:
    """Who says what the source has."""
    known = report.known
    if known is None:
        return "none, so it is not known what the source has"
    source = known.source or "a source that is not named"
    return f"of {source}, by {_BASES[known.basis]}, {known.created}"


def totals_lines(report: ReportFacts) -> list[tuple[str, str]]:
    """Names and values of what was looked at."""
    totals = report.totals
    resumed = f", {report.resumed_shards:,} of them before" if report.resumed_shards else ""
    lines = [] if report.asked.is_whole else [("asked", asked_text(report.asked))]
    lines += [
        ("shards", f"{totals.shards:,} checked{resumed}, {_bytes(totals.file_bytes)}"),
        ("chunks", f"{totals.chunks:,}, {_bytes(totals.stored_bytes)} stored"),
    ]
    if report.level != "quick":
        inflated = f"{totals.inflated_chunks:,} chunks to {_bytes(totals.inflated_bytes)}"
        lines.append(("inflated", inflated))
    unverifiable = totals.unverifiable_chunks
    if unverifiable:
        lines.append(("UNVERIFIABLE", f"{counted(unverifiable, 'chunk')} stored {_WITHOUT}"))
    elif report.level == "quick" and any(map(_lacks_checksums, report.scales)):
        lines.append(("UNVERIFIABLE", f"chunks are stored {_WITHOUT}"))
    if totals.checksummed_files:
        lines.append(
            ("checksums", f"{totals.checksummed_files:,} files compared with the manifest")
        )
    if report.cross_check:
        lines.append(("cross-check", f"{totals.cross_checked_chunks:,} chunks agree"))
    speed = report.bytes_per_second / 1e6
    lines.append(("time", f"{report.seconds:.1f} s, {speed:,.{0 if speed >= 10 else 1}f} MB/s"))
    return lines


def _lacks_checksums(scale: ScaleReport) -> bool:
    sharding = scale.scale.sharding
    return sharding is not None and sharding.data_encoding not in CHECKED_ENCODINGS


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:,.0f} {unit}" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.2f} TB"


def box_text(box: Box) -> str:
    """A box as the command line takes it."""
    return ",".join(map(str, (*box.lower, *box.upper)))


def finding_text(finding: Finding) -> str:
    """A finding in one line: where, expected, found."""
    where = Location(
        finding.file,
        finding.shard_number,
        finding.minishard_number,
        finding.chunk_id,
        finding.cell,
        finding.byte_range,
    )
    parts = [
        part for part in (_expected(finding), finding.found and f"found {finding.found}") if part
    ]
    return f"{where}: {', '.join(parts)}" if parts else str(where)


def _expected(finding: Finding) -> str:
    return f"expected {finding.expected}" if finding.expected else ""


def scale_states(scale: ScaleReport) -> list[tuple[str, int, str]]:
    """State, number and names of the shards that there are, most telling first."""
    return [
        (state, scale.count(state), scale.names(state))
        for state in STATE_TEXTS
        if scale.count(state)
    ]
