"""`verify`: from what the user asks to a run and its report."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from typing import Any

from shardreader.checking.shard_check import LEVELS
from shardreader.cluster.dask_runner import make_runner
from shardreader.errors import OutOfBoundsError
from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo, select_scale
from shardreader.format.manifest import Manifest
from shardreader.format.shard_lattice import COUNTABLE_SHARDS, ShardLattice
from shardreader.format.shard_ranges import ShardRanges
from shardreader.reading.points import voxel_box
from shardreader.storage.documents import read_info, read_manifest
from shardreader.storage.volume_path import directory_of
from shardreader.verification.plan import Selection
from shardreader.verification.report import Report
from shardreader.verification.run import Progress, Question, Verification
from shardreader.verification.state import State

__all__ = ["ask", "verify"]


def verify(
    path: str | os.PathLike[str],
    *,
    scale: object = None,
    level: str = "full",
    shards: str | Iterable[int] | None = None,
    box: Box | Sequence[Sequence[float]] | None = None,
    units: str | None = None,
    threads: int | None = None,
    client: Any = None,
    manifest: str | os.PathLike[str] | Manifest | None = None,
    allow_absent: bool = False,
    cross_check: float = 0.0,
    state: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Check a copy against its info, its manifest and the rules of the format.

    Parameters
    ----------
    path : str or path-like
        Directory of the volume.
    scale : int, str or three numbers, optional
        Index, key or resolution in nm; all scales by default.
    level : {"quick", "full", "deep"}
        The indices; every chunk inflated and every voxel followed to its label too; a share of
        the chunks decoded by another implementation too (`cross_check`).
    shards : str or iterable of int, optional
        Hexadecimal numbers and ranges such as ``"0a3f,0b00-0bff"``, or numbers.
    box : Box or (lower, upper), optional
        Only the shards that hold a voxel of it, and of their chunks only those are looked into.
    units : {"voxel", "nm"}, optional
        Of `box`; voxels are those of the one scale that is verified.
    threads : int, optional
        One per core by default.
    client : dask.distributed.Client, optional
        Its workers check the shards, in place of threads of this process. All machines see the
        volume under the same path and have the same version of shardreader; the report is the
        same. Needs the extra ``[dask]``.
    manifest : path-like or Manifest, optional
        Instead of the one beside the info.
    allow_absent : bool
        Absent shards are as they should be.
    cross_check : float
        Share of the chunks that another implementation decodes too; needs level "deep".
    state : path-like, optional
        A file that keeps the results, and from which an interrupted run goes on.
    progress : callable, optional
        Called with a `Progress` after each shard.

    Returns
    -------
    Report

    Raises
    ------
    InfoError
        Not a volume, or not one that this version reads.
    OutOfBoundsError
        The box has no voxel of the volume, or no shard of those asked for holds a chunk.
    ReadError
        The copy cannot be listed, or went away.
    ClusterError
        The scheduler of `client` went away, or a worker cannot do the work; with `state` the next
        call goes on from there.
    TypeError, ValueError
        An argument that makes no sense.

    Examples
    --------
    >>> report = verify("fixtures/fafb-mini", allow_absent=True)
    >>> report.ok, report.totals.chunks, report.findings[0].found
    (True, 14, '3,677 of 3,689 possible shards absent')
    """
    question = ask(
        path,
        scale=scale,
        level=level,
        shards=shards,
        box=box,
        units=units,
        manifest=manifest,
        allow_absent=allow_absent,
        cross_check=cross_check,
    )
    runner = make_runner(question.directory, threads=threads, client=client)
    verification = Verification(question, runner, progress)
    with nullcontext() if state is None else State(os.path.abspath(os.fspath(state))) as kept:
        verification.run(kept)
        return verification.report()


def ask(
    path: str | os.PathLike[str],
    *,
    scale: object = None,
    level: str = "full",
    shards: str | Iterable[int] | None = None,
    box: Box | Sequence[Sequence[float]] | None = None,
    units: str | None = None,
    manifest: str | os.PathLike[str] | Manifest | None = None,
    allow_absent: bool = False,
    cross_check: float = 0.0,
) -> Question:
    """The checked arguments of `verify`."""
    if level not in LEVELS:
        raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {level!r}")
    if isinstance(cross_check, bool) or not 0 <= cross_check <= 1:
        raise ValueError(f"cross_check must be a number from 0 to 1, not {cross_check!r}")
    if cross_check and level != "deep":
        raise ValueError("cross_check needs the level deep")
    directory = directory_of(path)
    volume = read_info(directory)
    scales = volume.scales
    if scale is not None:
        scales = (select_scale(volume, scale, os.path.join(directory, "info")),)
    return Question(
        directory=directory,
        volume=volume,
        scales=scales,
        selections=_selections(scales, shards, box, units),
        level=level,
        manifest=_manifest(directory, manifest),
        allow_absent=allow_absent,
        cross_check=float(cross_check),
    )


def _manifest(directory: str, manifest: Any) -> Manifest | None:
    if isinstance(manifest, Manifest):
        return manifest
    return read_manifest(
        directory, None if manifest is None else os.path.abspath(os.fspath(manifest))
    )


def _selections(
    scales: Sequence[ScaleInfo],
    shards: str | Iterable[int] | None,
    box: Box | Sequence[Sequence[float]] | None,
    units: str | None,
) -> tuple[Selection, ...]:
    ranges = None
    if isinstance(shards, str):
        ranges = ShardRanges.parse(shards)
    elif shards is not None:
        ranges = ShardRanges.of(_shard_number(number) for number in shards)
    if box is None and units is not None:
        raise TypeError("units are those of a box, and there is none")
    if box is not None and units != "nm" and len(scales) > 1:
        raise ValueError(
            f"a box in voxels is about one scale, and there are {len(scales)}: name the scale, or "
            "give the box in nm"
        )
    selections = tuple(
        Selection(ranges, None if box is None else _cells(scale, box, units)) for scale in scales
    )
    if ranges is not None and not any(map(_selects_any, scales, selections)):
        raise OutOfBoundsError("none of these shards can hold a chunk of the volume (see info)")
    return selections


def _shard_number(number: Any) -> int:
    if isinstance(number, bool) or not hasattr(number, "__index__") or number < 0:
        raise TypeError(f"a shard number must be an integer from 0 on, not {number!r}")
    return int(number)


def _cells(scale: ScaleInfo, box: Box | Sequence[Sequence[float]], units: str | None) -> Box | None:
    """The cells that a box touches; None where these are all."""
    voxels = voxel_box(box, units=units, voxel_size=scale.resolution)
    inside = scale.grid.bounds.intersection(voxels)
    if inside.is_empty:
        raise OutOfBoundsError(
            f"box {voxels} has no voxel of scale {scale.key}, which is {scale.grid.bounds}"
        )
    cells = scale.grid.cells_touching(inside)
    return None if cells == Box((0, 0, 0), scale.grid.grid_size) else cells


def _selects_any(scale: ScaleInfo, selection: Selection) -> bool:
    if scale.sharding is None:
        return False
    lattice = ShardLattice(scale)
    shards = selection.shards
    if shards is None or lattice.count > COUNTABLE_SHARDS:
        return True
    return any(number in shards for number in lattice.numbers(selection.cells))
