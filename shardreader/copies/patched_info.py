"""The info of a copy: that of its source, with the fetched scales only."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from typing import Any

from shardreader.errors import InfoError
from shardreader.format.info import VolumeInfo
from shardreader.runtime.output_file import replacing
from shardreader.storage.documents import read_info

__all__ = ["BACKUP_NAME", "check_same_volume", "patched_info", "write_info"]

BACKUP_NAME = "info.bkp"


def patched_info(document: dict[str, Any], keys: Collection[str]) -> dict[str, Any]:
    """The document with all of its members, but only the scales of these keys.

    Examples
    --------
    >>> patched_info({"mesh": "mesh", "scales": [{"key": "8"}, {"key": "16"}]}, ["8"])
    {'mesh': 'mesh', 'scales': [{'key': '8'}]}
    """
    scales = [scale for scale in document["scales"] if scale["key"] in keys]
    return {**document, "scales": scales}


def check_same_volume(directory: str, source: VolumeInfo, where: str) -> tuple[str, ...]:
    """The keys of the scales that are here already; none where there is no info yet.

    Raises
    ------
    InfoError
        The directory holds another volume.
    """
    if not os.path.lexists(os.path.join(directory, "info")):
        return ()
    here = read_info(directory)
    keys = tuple(scale.key for scale in here.scales)
    document, wanted = here.document, patched_info(source.document, keys)
    # The scales of a copy that was made by hand may stand in another order.
    for one in (document, wanted):
        one["scales"] = sorted(one["scales"], key=lambda scale: str(scale["key"]))
    if document != wanted:
        differ = [m for m in sorted({*document, *wanted}) if document.get(m) != wanted.get(m)]
        raise InfoError(
            f"{directory}: holds another volume: {', '.join(differ)} of its info and of {where} "
            "differ; give another directory"
        )
    return keys


def write_info(directory: str, source: VolumeInfo, keys: Collection[str]) -> None:
    """Save the source's info as it is, then put the patched one in its place.

    Raises
    ------
    OSError
    """
    original = source.text.encode("utf-8")
    if _content(os.path.join(directory, BACKUP_NAME)) != original:
        with replacing(os.path.join(directory, BACKUP_NAME)) as file:
            file.write(original)
    path = os.path.join(directory, "info")
    wanted = patched_info(source.document, keys)
    if os.path.lexists(path) and read_info(directory).document == wanted:
        return
    with replacing(path) as file:
        file.write(json.dumps(wanted, indent=1, ensure_ascii=False).encode("utf-8") + b"\n")


def _content(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None
