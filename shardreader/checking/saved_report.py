"""A report that ``verify`` saved as JSON, read again for the copy that it is about."""

from __future__ import annotations

import json
import os
from typing import Any

from shardreader.errors import InfoError
from shardreader.format.info import VolumeInfo

__all__ = ["REPORT_TYPE", "read_saved_report"]

REPORT_TYPE = "shardreader_verify_report_v1"
# What a scale of the report and of the volume must have in common, beside the key.
_IDENTITY = ("size", "voxel_offset", "resolution_nm", "encoding")
# A report lists at most 50 findings of each kind for each shard.
_REPORT_BYTES_LIMIT = 1 << 30


def read_saved_report(
    path: str | os.PathLike[str], directory: str, volume: VolumeInfo, *, force: bool = False
) -> dict[str, Any]:
    """Read a report, and hold that it is about a copy.

    Parameters
    ----------
    path : str or path-like
    directory : str
        Of the copy.
    volume : VolumeInfo
        That the copy is of.
    force : bool
        Take the report of a copy at another path; never that of a volume with other scales.

    Returns
    -------
    dict
        The document, by ``report_schema.json``.

    Raises
    ------
    InfoError
        The file is no report, or one about another copy or volume.
    OSError
        It cannot be read.
    """
    where = os.path.abspath(os.fspath(path))
    document = _document(where)
    try:
        told = {
            scale["key"]: tuple(scale[member] for member in _IDENTITY)
            for scale in document["scales"]
        }
        of_path = document["path"]
        if not isinstance(of_path, str):
            raise TypeError
    except (KeyError, TypeError):
        raise _no_report(where) from None
    here = {
        scale.key: (
            list(scale.size),
            list(scale.voxel_offset),
            list(scale.resolution),
            scale.encoding,
        )
        for scale in volume.scales
    }
    common = told.keys() & here.keys()
    differing = sorted(key for key in common if told[key] != here[key])
    if not common or differing:
        what = f"{differing[0]} is another" if differing else "none of it is in this one"
        raise InfoError(f"{where}: is a report about another volume: of its scales, {what}")
    if not force and _real(of_path) != _real(directory):
        raise InfoError(
            f"{where}: is the report of another copy, {of_path}, and this one is {directory}; if "
            "that is the same copy, say so with --force (in Python: force=True)"
        )
    return document


def _real(path: str) -> str:
    return os.path.normcase(os.path.realpath(path))


def _document(where: str) -> dict[str, Any]:
    if os.path.getsize(where) > _REPORT_BYTES_LIMIT:
        raise InfoError(f"{where}: is no report; it is larger than {_REPORT_BYTES_LIMIT:,} bytes")
    with open(where, "rb") as file:
        data = file.read()
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        raise _no_report(where) from None
    if not isinstance(document, dict) or document.get("@type") != REPORT_TYPE:
        raise _no_report(where)
    return document


def _no_report(where: str) -> InfoError:
    return InfoError(
        f"{where}: is no report; make one with shardreader verify COPY --report REPORT.json"
    )
