"""Which shards a report of ``verify`` wants copied again. Floor 5."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from shardreader.errors import InfoError
from shardreader.format.info import ScaleInfo
from shardreader.format.shard_lattice import ShardLattice

__all__ = ["names_to_repair"]


def names_to_repair(
    report: Mapping[str, Any], where: str, scale: ScaleInfo, lattice: ShardLattice
) -> frozenset[str]:
    """The names of the shards of one scale that a report lists as damaged or missing.

    Parameters
    ----------
    report : mapping
        As `read_saved_report` gives it.
    where : str
        Its file, for messages.

    Raises
    ------
    InfoError
        The report wants something of this scale that is no shard of it.
    """
    try:
        files = report["what_to_do"]["copy_again"]
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise TypeError
    except (KeyError, TypeError):
        raise InfoError(
            f"{where}: is no report; make one with shardreader verify COPY --report REPORT.json"
        ) from None
    names = set()
    for file_name in files:
        folder, _, name = file_name.rpartition("/")
        if posixpath.normpath(folder or ".") != posixpath.normpath(scale.key):
            continue
        if lattice.number_of_name(name) is None:
            raise InfoError(f"{where}: {file_name!r} is no shard of scale {scale.key}")
        names.add(name)
    return frozenset(names)
