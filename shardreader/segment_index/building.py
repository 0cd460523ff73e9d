"""`build_index`: reads each shard once, then sorts what was found by segment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import reduce
from typing import Any

from shardreader.checking.findings import Finding, Severity, ShardTotals
from shardreader.checking.shard_job import ShardJob
from shardreader.cluster.dask_runner import make_runner
from shardreader.copies.listed_source import now
from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import OutOfBoundsError, ReadError, SegmentIndexError
from shardreader.format.shard_ranges import ShardRanges
from shardreader.runtime.runner import Runner
from shardreader.runtime.workers import cores
from shardreader.segment_index.build_lock import only_build
from shardreader.segment_index.publishing import Published, publish, remove_other_rows
from shardreader.segment_index.report import IndexReport
from shardreader.segment_index.shard_rows import IndexJob, ShardRows, index_shard, kept_rows
from shardreader.segments.engine import cursor
from shardreader.segments.layout import (
    ROWS_DIRECTORY,
    index_folder,
    question_digest,
    rows_name,
)
from shardreader.segments.questions import refuse_form
from shardreader.segments.standing import IndexedShard, Standing
from shardreader.storage.documents import VolumeFiles, read_volume_files
from shardreader.verification.plan import PlannedShard, ScalePlan, Selection, plan_scale
from shardreader.verification.run import Progress

__all__ = ["Build", "build_index"]


def build_index(
    path: str | os.PathLike[str],
    *,
    scale: object = None,
    shards: str | Iterable[int] | None = None,
    threads: int | None = None,
    client: Any = None,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> IndexReport:
    """Build the segment index of a scale: for every segment its chunks, and its voxels in each.

    The index lies in ``shardreader-index`` beside ``info``, or in `out`. It takes the place of an
    earlier one when it is whole. Background (0) is not in it. Needs the extra ``[index]``.

    Parameters
    ----------
    path : str or path-like
        Directory of the volume: a sharded segmentation of one channel.
    scale : int, str or three numbers, optional
        Index, key or resolution in nm; the first by default.
    shards : str or iterable of int, optional
        Read only these: hexadecimal numbers and ranges such as ``"0a3f,0b00-0bff"``, or numbers.
    threads : int, optional
        One per core by default.
    client : dask.distributed.Client, optional
        Its workers read the shards, in place of threads of this process. All machines see the
        volume and the directory of the index under the same paths.
    out : path-like, optional
        A directory for the index, for a volume that cannot be written; `open_volume` then wants
        it as ``index=``.
    resume : bool
        Keep what earlier runs found in shards that have not changed since, selected now or not.
    progress : callable, optional
        Called after each shard with a `Progress`, as `verify` does.

    Returns
    -------
    IndexReport

    Raises
    ------
    InfoError
        Not a volume, or not one that has a segment index.
    SegmentIndexError
        The index cannot be written, another build is at work in its directory, or DuckDB is not
        installed.
    OutOfBoundsError
        None of the `shards` can hold a chunk.
    ReadError
        The copy cannot be listed, or went away.
    ClusterError
        The scheduler of `client` went away, or a worker cannot do the work.
    TypeError, ValueError
        An argument that makes no sense.

    Examples
    --------
    >>> import shutil, tempfile
    >>> copy = shutil.copytree("fixtures/fafb-mini", tempfile.mkdtemp() + "/fafb-mini")
    >>> report = build_index(copy, shards="02fa,02fb")
    >>> report.shards, len(report.coverage.not_indexed)
    (2, 7)
    """
    files = read_volume_files(path, scale, None)
    runner = make_runner(files.directory, threads=threads, client=client)
    build = Build(files, runner, shards=shards, out=out, resume=resume, progress=progress)
    return build.run(sort_threads=threads or cores())


class Build:
    """One run.

    Parameters
    ----------
    files : VolumeFiles
    runner : Runner
    shards, out, resume, progress
        As for `build_index`.

    Raises
    ------
    InfoError, SegmentIndexError, OutOfBoundsError, ReadError, ValueError
        As `build_index`.
    """

    def __init__(
        self,
        files: VolumeFiles,
        runner: Runner,
        *,
        shards: str | Iterable[int] | None = None,
        out: str | os.PathLike[str] | None = None,
        resume: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        refuse_form(files)
        cursor().close()  # where DuckDB is not installed, this says so before anything is read
        self._files = files
        self._runner = runner
        self._resume = resume
        self._progress = progress
        self._start = time.monotonic()
        self._question = question_digest(files)
        self.folder = index_folder(files.directory, files.scale, out)
        self._rows_folder = os.path.join(self.folder, ROWS_DIRECTORY)
        self._plan = self._planned()
        self._wanted = _selected(shards, self._plan)
        self._done: list[ShardRows] = []
        self._done_bytes = self._total_bytes = self._total_shards = 0

    def run(self, *, sort_threads: int) -> IndexReport:
        """Read the shards, then publish the index.

        Raises
        ------
        SegmentIndexError, ReadError, ClusterError
            As `build_index`; what is done is kept for ``resume``.
        """
        self._make_folder()
        with only_build(self.folder):
            return self._run(sort_threads)

    def _run(self, sort_threads: int) -> IndexReport:
        waiting = list(self._kept_or_waiting())
        resumed = len(self._done)
        self._total_bytes = self._done_bytes + sum(job.stamp.size for job in waiting)
        self._total_shards = resumed + len(waiting)
        self._show()
        for rows in self._runner.map(index_shard, waiting):
            self._take(rows)
            self._show()
            if not rows.is_indexed:
                self._confirm_copy()
        self._done.sort(key=lambda rows: rows.number)
        sort_start = time.monotonic()
        published, shards = self._publish(sort_threads)
        return self._report(published, shards, resumed, time.monotonic() - sort_start)

    def _planned(self) -> ScalePlan:
        files = self._files
        if files.scale.sharding is None:
            raise ValueError("the scale is not sharded")
        return plan_scale(
            files.directory, files.scale, files.scale.sharding, files.manifest, Selection()
        )

    def _kept_or_waiting(self) -> Iterator[IndexJob]:
        """The jobs that are left; results of earlier runs are taken at once."""
        for planned in self._plan.planned:
            job = self._job(planned)
            kept = kept_rows(job) if self._resume else None
            if kept is not None:
                self._take(kept)
            elif self._wanted is None or planned.number in self._wanted:
                yield job

    def _job(self, planned: PlannedShard) -> IndexJob:
        files, lattice = self._files, self._plan.lattice
        stamp = FileStamp(planned.size, planned.mtime_ns)
        shard = ShardJob(
            files.directory,
            files.scale,
            files.volume.num_channels,
            files.volume.data_type,
            planned.number,
        )
        name = rows_name(lattice.file_name(planned.number), self._question, stamp)
        return IndexJob(
            shard=shard,
            stamp=stamp,
            voxel_box=lattice.voxel_box(planned.number),
            rows_path=os.path.join(self._rows_folder, name),
            is_partial=planned.record is not None and planned.record.state == "partial",
        )

    def _take(self, rows: ShardRows) -> None:
        self._done.append(rows)
        self._done_bytes += rows.summary.result.totals.file_bytes

    def _show(self) -> None:
        if self._progress is not None:
            findings = sum(rows.damage for rows in self._done)
            self._progress(
                Progress(
                    self._done_bytes,
                    self._total_bytes,
                    len(self._done),
                    self._total_shards,
                    findings,
                    time.monotonic() - self._start,
                    self._runner.workers,
                )
            )

    def _make_folder(self) -> None:
        try:
            os.makedirs(self._rows_folder, exist_ok=True)
        except OSError as error:
            raise SegmentIndexError(
                f"{self._rows_folder}: cannot be made ({error.strerror}); name a directory for "
                "the index on another drive with --out (in Python: out=)"
            ) from error

    def _publish(self, threads: int) -> tuple[Published, dict[int, IndexedShard]]:
        shards = {}
        voxels = 0
        for rows in self._done:
            stamp = rows.summary.result.stamp
            if rows.check is None or stamp is None:
                continue
            name = rows_name(self._plan.lattice.file_name(rows.number), self._question, stamp)
            shards[rows.number] = IndexedShard(
                stamp, name, rows.check, rows.rows, rows.is_partial, rows.damage
            )
            voxels += rows.voxels
        published = publish(
            self.folder,
            list(shards.items()),
            question=self._question,
            created=now(),
            voxels=voxels,
            threads=threads,
        )
        remove_other_rows(self.folder, (shard.rows_file for shard in shards.values()))
        return published, shards

    def _report(
        self,
        published: Published,
        shards: dict[int, IndexedShard],
        resumed: int,
        sort_seconds: float,
    ) -> IndexReport:
        results = [rows.summary.result for rows in self._done]
        row_files = (os.path.join(self._rows_folder, s.rows_file) for s in shards.values())
        return IndexReport(
            path=published.path,
            shards=len(shards),
            resumed_shards=resumed,
            totals=reduce(lambda a, b: a + b, (result.totals for result in results), ShardTotals()),
            rows=published.rows,
            segments=published.segments,
            voxels=sum(rows.voxels for rows in self._done),
            findings=tuple(_damage(finding for result in results for finding in result.findings)),
            coverage=Standing(self._files).coverage(shards),
            seconds=time.monotonic() - self._start,
            sort_seconds=sort_seconds,
            index_bytes=sum(map(os.path.getsize, (published.path, *row_files))),
        )

    def _confirm_copy(self) -> None:
        """Tell a drive that went away from a file that cannot be read."""
        info = os.path.join(self._files.directory, "info")
        if not os.path.isfile(info):
            raise ReadError(
                f"{info}: cannot be read any more, so the drive may have gone away; go on with "
                "--resume when it is back"
            )


def _selected(shards: str | Iterable[int] | None, plan: ScalePlan) -> ShardRanges | None:
    if shards is None:
        return None
    ranges = ShardRanges.parse(shards) if isinstance(shards, str) else ShardRanges.of(shards)
    lattice = plan.lattice
    if not any(lattice.number_of_name(lattice.file_name(n)) is not None for n in _few(ranges)):
        raise OutOfBoundsError(
            f"none of the shards {ranges.text('{:x}'.format)} can hold a chunk of this scale"
        )
    return ranges


def _few(ranges: ShardRanges) -> Iterator[int]:
    return (number for number, _ in zip(ranges, range(1 << 20), strict=False))


def _damage(findings: Iterable[Finding]) -> Iterator[Finding]:
    return (finding for finding in findings if finding.severity is not Severity.NOTE)
