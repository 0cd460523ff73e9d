"""The damage in a saved report of ``verify``, as boxes."""

from __future__ import annotations

import math
import os
import posixpath
from collections.abc import Iterator

from shardreader.checking.findings import Finding, Severity
from shardreader.checking.saved_report import read_saved_report
from shardreader.errors import InfoError
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo, VolumeInfo

__all__ = ["read_damage", "rescaled"]


def read_damage(
    path: str | os.PathLike[str],
    directory: str,
    volume: VolumeInfo,
    scale: ScaleInfo,
    *,
    force: bool = False,
) -> list[tuple[Box, str]]:
    """What a report lists as damaged, as voxel boxes of one scale with a line of text each.

    Parameters
    ----------
    path : str or path object
        A report that ``verify`` wrote as JSON.
    directory, volume, force
        As in `read_saved_report`.
    scale : ScaleInfo
        Whose voxels the boxes are in; the findings of all scales are given.

    Raises
    ------
    InfoError
        The file is no report, or one about another copy or volume.
    OSError
        It cannot be read.
    """
    document = read_saved_report(path, directory, volume, force=force)
    try:
        findings = [
            Finding.from_json(members)
            for group in document["findings"]
            for members in group["listed"]
        ]
    except (ValueError, KeyError, TypeError, IndexError):
        raise InfoError(
            f"{path}: is no report; make one with shardreader verify COPY --report REPORT.json"
        ) from None
    return list(_damage(findings, volume, scale))


def _damage(
    findings: list[Finding], volume: VolumeInfo, scale: ScaleInfo
) -> Iterator[tuple[Box, str]]:
    scales = {posixpath.normpath(other.key): other for other in volume.scales}
    for finding in findings:
        owner = scales.get(posixpath.normpath(posixpath.dirname(finding.file) or "."))
        if finding.severity is Severity.DAMAGE and finding.voxel_box is not None and owner:
            text = f"{finding.kind.text} ({finding.file})"
            yield rescaled(finding.voxel_box, owner, scale), text


def rescaled(box: Box, owner: ScaleInfo, scale: ScaleInfo) -> Box:
    """The smallest box of voxels of `scale` that holds a box of voxels of `owner`."""
    if owner.resolution == scale.resolution:
        return box
    ratios = [a / b for a, b in zip(owner.resolution, scale.resolution, strict=True)]
    lower = tuple(math.floor(a * r) for a, r in zip(box.lower, ratios, strict=True))
    upper = tuple(math.ceil(a * r) for a, r in zip(box.upper, ratios, strict=True))
    return Box(lower, upper)  # type: ignore[arg-type]
