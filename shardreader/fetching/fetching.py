"""`fetch`: from a bucket, a web server or a directory to a copy."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from shardreader.copies.patched_info import write_info
from shardreader.copies.shard_listing import files_in
from shardreader.errors import InfoError
from shardreader.fetching.drive import begun_bytes, no_room
from shardreader.fetching.manifest_writer import ManifestWriter
from shardreader.fetching.partial_plan import cost_of, mending, plan_region
from shardreader.fetching.plan import ScalePlan, plan_scale
from shardreader.fetching.region import region_request
from shardreader.fetching.report import FetchProgress, FetchReport
from shardreader.fetching.run import FetchRun
from shardreader.fetching.shard_download import Desk
from shardreader.fetching.source_listing import ScaleListing, SourceReader
from shardreader.fetching.source_shard import GAP_BYTES
from shardreader.fetching.state import FetchState
from shardreader.fetching.target import Target, Wanted, find_target
from shardreader.format.grid import Box
from shardreader.format.info import VolumeInfo
from shardreader.format.manifest import Manifest
from shardreader.format.shard_lattice import ShardLattice
from shardreader.runtime.runner import ThreadRunner
from shardreader.storage.documents import read_manifest
from shardreader.storage.local_store import read_error
from shardreader.storage.remote_store import RemoteStore
from shardreader.storage.retrying import Patience, Throttle
from shardreader.storage.source_url import parse_source

__all__ = ["DEFAULT_JOBS", "fetch"]

DEFAULT_JOBS = 8
# For the manifest, the state and its journal, the info.
_SPARE_BYTES = 16 << 20


def fetch(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    scale: object = None,
    box: Box | Sequence[Sequence[float]] | None = None,
    points: Any = None,
    units: str | None = None,
    resolution: Sequence[float] | None = None,
    whole_shards: bool = False,
    jobs: int = DEFAULT_JOBS,
    max_rate: float | None = None,
    dry_run: bool = False,
    repair: str | os.PathLike[str] | None = None,
    force: bool = False,
    auth: bool = False,
    progress: Callable[[FetchProgress], None] | None = None,
) -> FetchReport:
    """Make a copy of one scale of a sharded volume, or of a part of it, or go on with one.

    It can be cut off at any moment: the same call goes on from the byte it had, and asks for
    nothing that is whole. A shard takes its name only when its length, its checksum (where the
    source has one) and its indices are right. ``info`` appears when all shards have been tried.

    With `box` or `points` only the chunks that hold them are fetched, into partial shards that say
    what was asked for: all else stays NOT_DOWNLOADED. What is fetched later is added to them, also
    under an open `Volume`.

    Parameters
    ----------
    source : str or path-like
        ``gs://``, ``s3://`` or ``https://`` URL of the volume, or its directory.
    destination : str or path-like
        Directory; made if it does not exist.
    scale : int, str or three numbers, optional
        Index, key or resolution in nm; the first by default.
    box : Box or (lower, upper), optional
        Fetch the chunks that a box touches; in voxels, or in `units` or `resolution`.
    points : array-like of shape (..., 3), frame or path, optional
        Fetch the chunks that hold points, given as to `Volume.lookup`, or in a file (.csv,
        .tsv, .npy, .parquet, .swc), which is read a block of rows at a time; needs `units` or
        `resolution`.
    units : {"voxel", "nm"}, optional
    resolution : three numbers, optional
        Voxels of this size in nm.
    whole_shards : bool
        Fetch the shards that the box or the points touch entire.
    jobs : int
        Shards that are fetched at a time; of a part, requests that are under way at a time.
    max_rate : float, optional
        Bytes a second.
    dry_run : bool
        Only say what would be done.
    repair : path-like, optional
        A report of `verify` on this copy, in JSON: fetch exactly what it found damaged or missing.
    force : bool
        Take the report of a copy under another path.
    auth : bool
        Use the credentials that the variables of the cloud's own tools name.
    progress : callable, optional
        Called with a `FetchProgress` some times a second.

    Returns
    -------
    FetchReport
        `ok` is False where shards could not be fetched.

    Raises
    ------
    TypeError, ValueError
        No unit, no box, no points; both of them; a file of points that is none.
    OutOfBoundsError
        The box is not inside the volume, or none of the points is.
    InfoError
        No volume, one that is not sharded, or another one than `destination` holds; a report of
        another copy; another fetch works there; the extra ``[fetch]`` is not installed.
    ReadError, OSError
        The source does not answer, or the drive is full or refuses; what was fetched is kept.
    KeyboardInterrupt
        What was fetched is kept.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as copy:
    ...     report = fetch("fixtures/fafb-mini", copy)
    ...     report.ok, report.fetched, report.source_has_none, sorted(os.listdir(copy))[:3]
    (True, 9, 3680, ['8.0x8.0x40.0', 'info', 'info.bkp'])
    >>> with tempfile.TemporaryDirectory() as copy:
    ...     report = fetch(
    ...         "fixtures/fafb-mini", copy, points=[[61347, 32796, 3045]], units="voxel"
    ...     )
    ...     report.ok, report.partial, report.possible
    (True, 1, 1)
    """
    part = region_request(box, points, units, resolution, whole_shards=whole_shards)
    if part is not None and repair is not None:
        raise TypeError("repair mends what a report names; it takes no box and no points")
    if type(jobs) is not int or jobs < 1:
        raise ValueError(f"jobs must be a positive integer, not {jobs!r}")
    if max_rate is not None and not max_rate > 0:
        raise ValueError(f"max_rate must be above 0, not {max_rate!r}")
    stop = threading.Event()
    patience = Patience(stop)
    reader = SourceReader(RemoteStore(parse_source(source), auth=auth), patience)
    fetching = _Fetch(reader, patience, Throttle(max_rate, stop), progress)
    try:
        # In a thread: a call of obstore holds up Ctrl-C until it returns.
        wanted = Wanted(destination, scale, repair, force, part)
        target = next(iter(ThreadRunner(1).map(lambda w: find_target(reader, w), [wanted])))
        return fetching.run(target, jobs, dry_run=dry_run)
    finally:
        stop.set()


class _Fetch:
    def __init__(
        self,
        reader: SourceReader,
        patience: Patience,
        throttle: Throttle,
        progress: Callable[[FetchProgress], None] | None,
    ) -> None:
        self._reader = reader
        self._patience = patience
        self._throttle = throttle
        self._progress = progress
        self._started = time.monotonic()
        self._notes: list[str] = []

    def run(self, target: Target, jobs: int, *, dry_run: bool) -> FetchReport:
        """Fetch, or say what would be fetched."""
        self._notes += target.region.notes if target.region else ()
        if not dry_run:
            os.makedirs(target.folder, exist_ok=True)
        state = FetchState(target.directory, writable=not dry_run)
        try:
            self._check_state(state, target)
            earlier = self._manifest(target)
            plan = self._plan(target, state, earlier)
            free = _free_bytes(target.directory)
            report = self._report(target, plan, free, dry_run=dry_run)
            if dry_run:
                return self._costed(target, plan, report, jobs)
            needed = plan.bytes_to_come - begun_bytes(target.folder, plan)
            if needed + _SPARE_BYTES > free and needed > 0:
                raise no_room(target.directory, needed, free)
            return self._carry_out(target, plan, state, earlier, report, jobs)
        finally:
            state.close()

    def _check_state(self, state: FetchState, target: Target) -> None:
        begun = state.volume()
        if begun is None or target.keys_here:
            return
        # No info yet: whose half-made copy this is, only the state knows.
        if begun[1] != target.volume.text:
            raise InfoError(
                f"{target.directory}: holds a half-made copy of {begun[0]}, whose info is (or was) "
                "another; go on with that, or give another directory"
            )

    def _manifest(self, target: Target) -> Manifest | None:
        """The manifest of the copy; a damaged one is no reason not to mend the copy."""
        try:
            return read_manifest(target.directory, None)
        except InfoError as error:
            self._notes.append(f"the manifest is written anew: {error}")
            return None

    def _plan(self, target: Target, state: FetchState, earlier: Manifest | None) -> ScalePlan:
        lattice = ShardLattice(target.scale)
        known = earlier.scales.get(target.scale.key) if earlier else None
        rows, files = state.rows(target.scale.key), files_in(target.folder)
        records = dict(known.files) if known else {}
        begun = state.volume()
        if begun is None or begun[0] != self._reader.source.text:
            # What another source does not have, this one may.
            rows = {name: row for name, row in rows.items() if row.state != "none"}
        if target.region is not None:
            if not self._is_source_of(earlier):
                records = {name: r for name, r in records.items() if r.state != "none"}
            return plan_region(target.region, lattice, rows, files, records)
        listing = next(
            iter(
                ThreadRunner(1).map(
                    lambda key: self._listing(key, lattice, target.volume), [target.scale.key]
                )
            )
        )
        lost = sorted(target.only - set(listing.files)) if target.only and listing else []
        if lost:
            self._notes.append(
                f"the source has no such shard, so it is not repaired: {', '.join(lost)}"
            )
        plan = plan_scale(lattice, listing, rows, files, records, target.only)
        return (
            plan
            if target.only is None
            else mending(plan, target.directory, target.volume, target.scale)
        )

    def _is_source_of(self, manifest: Manifest | None) -> bool:
        return manifest is not None and manifest.source == self._reader.source.text

    def _listing(self, key: str, lattice: ShardLattice, volume: VolumeInfo) -> ScaleListing | None:
        listing = self._reader.listing(key, lattice)
        if listing is None:
            self._notes.append(
                "the source cannot be listed: it is asked for each possible shard instead"
            )
            return None
        if listing.impossible:
            self._notes.append(
                f"the source has {len(listing.impossible)} shard files in {key} that no chunk of "
                f"this volume belongs to, such as {listing.impossible[0]!r}: they are left out"
            )
        if not listing.files:
            raise self._reader.no_data(key, volume)
        return listing

    def _report(self, target: Target, plan: ScalePlan, free: int, *, dry_run: bool) -> FetchReport:
        partial = len(plan.tasks) - len(plan.shard_tasks)
        knows = not partial and (plan.is_listed or not plan.tasks)
        return FetchReport(
            source=self._reader.source.text,
            destination=target.directory,
            scale=target.scale.key,
            dry_run=dry_run,
            is_part=target.region is not None,
            is_listed=plan.is_listed,
            possible=plan.possible,
            whole=plan.whole,
            partial=0,
            fetched=0,
            source_has_none=plan.none,
            failed=(),
            restarted=(),
            notes=tuple(self._notes),
            shards_to_fetch=len(plan.tasks),
            requests_to_send=sum(task.requests for task in plan.shard_tasks),
            bytes_to_fetch=plan.bytes_to_come if knows else None,
            gap_bytes=GAP_BYTES if partial else 0,
            bytes_free=free,
            requests=self._reader.store.requests,
            retries=self._patience.retries,
            bytes_fetched=0,
            seconds=time.monotonic() - self._started,
        )

    def _costed(
        self, target: Target, plan: ScalePlan, report: FetchReport, jobs: int
    ) -> FetchReport:
        """The report of a dry run with what the parts of shards will take."""
        if len(plan.tasks) == len(plan.shard_tasks):
            return report
        desk = Desk(
            self._reader,
            target.scale,
            target.folder,
            target.directory,
            self._patience,
            self._throttle,
            tell=lambda _: None,
            count=lambda *_: None,
        )
        cost = cost_of(desk, plan, jobs, self._patience.stop)
        return replace(
            report,
            requests_to_send=report.requests_to_send + cost.requests,
            bytes_to_fetch=plan.bytes_to_come + cost.bytes,
            requests=self._reader.store.requests,
            retries=self._patience.retries,
            seconds=time.monotonic() - self._started,
        )

    def _carry_out(
        self,
        target: Target,
        plan: ScalePlan,
        state: FetchState,
        earlier: Manifest | None,
        report: FetchReport,
        jobs: int,
    ) -> FetchReport:
        url = self._reader.source.text
        if state.volume() != (url, target.volume.text):
            state.set_volume(url, target.volume.text)
        manifest = ManifestWriter(
            target.directory,
            url,
            target.scale.key,
            earlier,
            is_listed=plan.is_listed,
            keeps_unlisted=target.only is not None
            or (target.region is not None and self._is_source_of(earlier)),
        )
        run = FetchRun(
            self._reader,
            target.volume,
            target.scale,
            target.directory,
            target.folder,
            plan,
            state,
            manifest,
            self._patience,
            self._throttle,
            self._progress,
        )
        try:
            run.run(jobs)
            # All have been tried. A source that went away for some of them has not.
            if target.keys_here or not run.was_unreachable:
                keys = {*target.keys_here, target.scale.key}
                write_info(target.directory, target.volume, keys)
        except OSError as error:
            if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
                raise read_error(
                    target.directory,
                    "write on, the drive is full; make room and run the same "
                    "command again, which goes on from where it was",
                    error,
                ) from error
            raise
        return replace(
            report,
            whole=plan.whole + run.tally.fetched + run.tally.kept,
            partial=run.tally.partial,
            fetched=run.tally.fetched + run.tally.added_to,
            source_has_none=plan.none + run.tally.none,
            failed=tuple(sorted(run.failed)),
            restarted=tuple(sorted(run.restarted)),
            requests=self._reader.store.requests,
            retries=self._patience.retries,
            bytes_fetched=run.tally.bytes_fetched,
            seconds=time.monotonic() - self._started,
        )


def _free_bytes(directory: str) -> int:
    """Room on the drive that the directory is, or will be, on."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return shutil.disk_usage(directory).free
