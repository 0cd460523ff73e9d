"""`fetch`: from a bucket, a web server or a directory to a copy. Floor 5."""

from __future__ import annotations

import errno
import os
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from shardreader.errors import InfoError, ReadError
from shardreader.fetching.checksum import require_crc32c
from shardreader.fetching.manifest_writer import ManifestWriter
from shardreader.fetching.patched_info import check_same_volume, write_info
from shardreader.fetching.plan import LocalFile, ScalePlan, plan_scale
from shardreader.fetching.repair import names_to_repair
from shardreader.fetching.report import FetchProgress, FetchReport
from shardreader.fetching.retrying import Patience, Throttle
from shardreader.fetching.run import FetchRun
from shardreader.fetching.source_listing import ScaleListing, SourceReader, safe_key
from shardreader.fetching.state import FetchState
from shardreader.info import ScaleInfo, VolumeInfo, select_scale
from shardreader.manifest import Manifest
from shardreader.open_files import read_manifest
from shardreader.remote_store import RemoteStore
from shardreader.runner import ThreadRunner
from shardreader.shard_lattice import ShardLattice
from shardreader.source_url import parse_source
from shardreader.store import read_error
from shardreader.volume_path import directory_of

__all__ = ["DEFAULT_JOBS", "fetch"]

DEFAULT_JOBS = 8
# For the manifest, the state and its journal, the info.
_SPARE_BYTES = 16 << 20


@dataclass(frozen=True)
class _Target:
    """What is to be fetched, and where it goes."""

    volume: VolumeInfo
    scale: ScaleInfo
    directory: str
    folder: str
    keys_here: tuple[str, ...]
    only: frozenset[str] | None


def fetch(
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    scale: object = None,
    jobs: int = DEFAULT_JOBS,
    max_rate: float | None = None,
    dry_run: bool = False,
    repair: str | os.PathLike[str] | None = None,
    auth: bool = False,
    progress: Callable[[FetchProgress], None] | None = None,
) -> FetchReport:
    """Make a copy of one scale of a sharded volume, or go on with one.

    It can be cut off at any moment: the same call goes on from the byte it had, and asks for
    nothing that is whole. A shard takes its name only when its length, its checksum (where the
    source has one) and its indices are right. ``info`` appears when all shards have been tried.

    Parameters
    ----------
    source : str or path-like
        ``gs://``, ``s3://`` or ``https://`` URL of the volume, or its directory.
    destination : str or path-like
        Directory; made if it does not exist.
    scale : int, str or three numbers, optional
        Index, key or resolution in nm; the first by default.
    jobs : int
        Shards that are fetched at a time.
    max_rate : float, optional
        Bytes a second.
    dry_run : bool
        Only say what would be done.
    repair : path-like, optional
        A report of `verify` in JSON: fetch exactly what it found damaged or missing.
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
    InfoError
        No volume, one that is not sharded, or another one than `destination` holds; another fetch
        works there; the extra ``[fetch]`` is not installed.
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
    """
    if type(jobs) is not int or jobs < 1:
        raise ValueError(f"jobs must be a positive integer, not {jobs!r}")
    if max_rate is not None and not max_rate > 0:
        raise ValueError(f"max_rate must be above 0, not {max_rate!r}")
    require_crc32c()
    stop = threading.Event()
    patience = Patience(stop)
    reader = SourceReader(RemoteStore(parse_source(source), auth=auth), patience)
    fetching = _Fetch(reader, patience, Throttle(max_rate, stop), progress)
    try:
        # In a thread: a call of obstore holds up Ctrl-C until it returns.
        target = next(iter(ThreadRunner(1).map(fetching.target, [(destination, scale, repair)])))
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

    def target(
        self, wanted: tuple[str | os.PathLike[str], object, str | os.PathLike[str] | None]
    ) -> _Target:
        """What is to be fetched: the source's info against what is in the destination."""
        destination, scale, repair = wanted
        where = f"{self._reader.source.text}/info"
        directory = directory_of(destination)
        if os.path.lexists(directory) and not os.path.isdir(directory):
            raise InfoError(f"{directory}: is not a directory; give one for the copy")
        volume = self._reader.info()
        chosen = select_scale(volume, scale, where)
        if chosen.sharding is None:
            raise InfoError(
                f"{where}: scale {chosen.key} is not sharded: each of its chunks is a file, often "
                "millions, and fetch copies shards; copy it with gsutil or rclone"
            )
        key = safe_key(chosen.key, where)
        keys_here = check_same_volume(directory, volume, where)
        only = None
        if repair is not None:
            only = names_to_repair(repair, chosen, ShardLattice(chosen))
        folder = os.path.normpath(os.path.join(directory, *key.split("/")))
        return _Target(volume, chosen, directory, folder, keys_here, only)

    def run(self, target: _Target, jobs: int, *, dry_run: bool) -> FetchReport:
        """Fetch, or say what would be fetched."""
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
                return report
            needed = sum(task.bytes_to_come for task in plan.tasks) - _begun_bytes(target, plan)
            if needed + _SPARE_BYTES > free and needed > 0:
                raise _no_room(target.directory, needed, free)
            return self._carry_out(target, plan, state, earlier, report, jobs)
        finally:
            state.close()

    def _check_state(self, state: FetchState, target: _Target) -> None:
        begun = state.volume()
        if begun is None or target.keys_here:
            return
        # No info yet: whose half-made copy this is, only the state knows.
        if begun[1] != target.volume.text:
            raise InfoError(
                f"{target.directory}: holds a half-made copy of {begun[0]}, whose info is (or was) "
                "another; go on with that, or give another directory"
            )

    def _manifest(self, target: _Target) -> Manifest | None:
        """The manifest of the copy; a damaged one is no reason not to mend the copy."""
        try:
            return read_manifest(target.directory, None)
        except InfoError as error:
            self._notes.append(f"the manifest is written anew: {error}")
            return None

    def _plan(self, target: _Target, state: FetchState, earlier: Manifest | None) -> ScalePlan:
        lattice = ShardLattice(target.scale)
        known = earlier.scales.get(target.scale.key) if earlier else None
        listing = next(
            iter(ThreadRunner(1).map(lambda key: self._listing(key, lattice), [target.scale.key]))
        )
        lost = sorted(target.only - set(listing.files)) if target.only and listing else []
        if lost:
            self._notes.append(
                f"the source has no such shard, so it is not repaired: {', '.join(lost)}"
            )
        return plan_scale(
            lattice,
            listing,
            state.rows(target.scale.key),
            _files(target.folder),
            known.files if known else {},
            target.only,
        )

    def _listing(self, key: str, lattice: ShardLattice) -> ScaleListing | None:
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
            raise ReadError(
                f"{self._reader.source.text}/{key}: the source lists no shard of this scale; an "
                "info without its data says nothing about background"
            )
        return listing

    def _report(self, target: _Target, plan: ScalePlan, free: int, *, dry_run: bool) -> FetchReport:
        needed = sum(task.bytes_to_come for task in plan.tasks)
        return FetchReport(
            source=self._reader.source.text,
            destination=target.directory,
            scale=target.scale.key,
            dry_run=dry_run,
            is_listed=plan.is_listed,
            possible=plan.possible,
            whole=plan.whole,
            fetched=0,
            source_has_none=plan.none,
            failed=(),
            restarted=(),
            notes=tuple(self._notes),
            shards_to_fetch=len(plan.tasks),
            requests_to_send=sum(task.requests for task in plan.tasks),
            bytes_to_fetch=needed if plan.is_listed or not plan.tasks else None,
            bytes_free=free,
            requests=self._reader.store.requests,
            retries=self._patience.retries,
            bytes_fetched=0,
            seconds=time.monotonic() - self._started,
        )

    def _carry_out(
        self,
        target: _Target,
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
            keeps_unlisted=target.only is not None,
        )
        run = FetchRun(
            self._reader,
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
            fetched=run.tally.fetched,
            source_has_none=plan.none + run.tally.none,
            failed=tuple(sorted(run.failed)),
            restarted=tuple(sorted(run.restarted)),
            requests=self._reader.store.requests,
            retries=self._patience.retries,
            bytes_fetched=run.tally.bytes_fetched,
            seconds=time.monotonic() - self._started,
        )


def _files(folder: str) -> dict[str, LocalFile]:
    try:
        with os.scandir(folder) as entries:
            found = [(e.name, e.stat()) for e in entries if e.is_file()]
    except FileNotFoundError:
        return {}
    return {name: LocalFile(status.st_size, status.st_mtime_ns) for name, status in found}


def _begun_bytes(target: _Target, plan: ScalePlan) -> int:
    """What of the bytes to come is on the drive already."""
    sizes = {name: file.size for name, file in _files(target.folder).items()}
    return sum(
        min(sizes.get(f"{task.name}.part", 0), task.bytes_to_come)
        for task in plan.tasks
        if task.row is not None
    )


def _free_bytes(directory: str) -> int:
    """Room on the drive that the directory is, or will be, on."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return shutil.disk_usage(directory).free


def _no_room(directory: str, needed: int, free: int) -> ReadError:
    error = ReadError(
        f"{directory}: {needed:,} bytes are to be fetched, but only {free:,} are free on this "
        "drive; make room, or give a directory on another"
    )
    error.errno = errno.ENOSPC
    return error
