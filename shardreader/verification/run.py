"""Runs the checks of all planned shards and gathers their results."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from shardreader.checking.block_size_check import (
    MOST_SHARDS,
    BlockSizeQuestion,
    WrongBlockSize,
    check_block_size,
)
from shardreader.checking.findings import Finding, FindingKind
from shardreader.checking.shard_check import ShardJob, check_shard
from shardreader.copies.listed_source import now
from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import InfoError, ReadError
from shardreader.format.grid import Box, Triple
from shardreader.format.info import ScaleInfo, VolumeInfo
from shardreader.format.manifest import Manifest
from shardreader.runtime.runner import Runner
from shardreader.storage.documents import check_supported
from shardreader.verification.facts import Asked, SourceKnown
from shardreader.verification.gathering import FindingsByKind, ScaleResults
from shardreader.verification.plan import (
    PlannedShard,
    ScalePlan,
    Selection,
    check_key,
    plan_scale,
)
from shardreader.verification.repair import NOT_AT_SOURCE
from shardreader.verification.report import Report
from shardreader.verification.shard_summary import ShardSummary, summarize
from shardreader.verification.state import State
from shardreader.version import __version__

__all__ = ["Progress", "Question", "Verification"]


class Progress(NamedTuple):
    """How far a verification is.

    Attributes
    ----------
    bytes_done, bytes_total : int
        Of the shard files.
    shards_done, shards_total : int
    findings : int
        So far, notes not counted.
    seconds : float
        Since the start.
    workers : int or None
        Of a dask cluster; None without one.
    """

    bytes_done: int
    bytes_total: int
    shards_done: int
    shards_total: int
    findings: int
    seconds: float
    workers: int | None


@dataclass(frozen=True)
class Question:
    """What is to be verified, and how.

    Parameters
    ----------
    directory : str
    volume : VolumeInfo
    scales : tuple of ScaleInfo
    selections : tuple of Selection
        One for each scale.
    level : {"quick", "full", "deep"}
    manifest : Manifest or None
    allow_absent : bool
    cross_check : float
        Share of the chunks.
    """

    directory: str
    volume: VolumeInfo
    scales: tuple[ScaleInfo, ...]
    selections: tuple[Selection, ...]
    level: str
    manifest: Manifest | None
    allow_absent: bool
    cross_check: float


class _Task(NamedTuple):
    """One shard to check; `digest` tells the question asked of it from any other."""

    scale_at: int
    job: ShardJob
    at_source: bool
    box: Box
    stamp: FileStamp
    digest: str

    def __str__(self) -> str:
        return self.job.file


class Verification:
    """One run; `report` can be asked for at any time, also after an interrupt.

    Parameters
    ----------
    question : Question
    runner : Runner
    progress : callable, optional
        Called with a `Progress` after each shard.

    Raises
    ------
    InfoError
        No scale is of a form that this version reads.
    ReadError
        The copy cannot be listed.
    """

    def __init__(
        self,
        question: Question,
        runner: Runner,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._question = question
        self._runner = runner
        self._state: State | None = None
        self._progress = progress
        self._created = now()
        self._start = time.monotonic()
        self._finished = False
        self._resumed_shards = self._resumed_bytes = 0
        self._done_shards = self._done_bytes = 0
        self._findings = FindingsByKind()
        self._results = [self._planned(i) for i in range(len(question.scales))]
        if all(results.plan is None for results in self._results):
            raise InfoError(str(self._results[0].not_supported))
        for finding in check_key(question.scales):
            self._findings.add(finding)
        self._tasks: list[_Task] = []
        self._total_bytes = 0

    def run(self, state: State | None = None) -> None:
        """Check all shards that the state has no result of.

        Parameters
        ----------
        state : State, optional
            Results of an earlier run, and where those of this one go.

        Raises
        ------
        ReadError
            The copy itself is gone, or the state cannot be written.
        """
        self._state = state
        self._tasks = list(self._all_tasks())
        self._total_bytes = sum(task.stamp.size for task in self._tasks)
        waiting = []
        for task in self._tasks:
            earlier = self._earlier(task)
            if earlier is None:
                waiting.append(task)
                continue
            self._resumed_shards += 1
            self._resumed_bytes += task.stamp.size
            self._take(task, earlier)
        self._show()
        for task, summary in self._runner.map(_check, waiting):
            self._take(task, summary)
            if self._state is not None:
                self._state.add(task.digest, summary)
            self._show()
            if FindingKind.UNREADABLE.value in summary.counts:
                self._confirm_copy()
        self._check_block_sizes()
        self._finished = True

    def report(self) -> Report:
        """What is known so far."""
        question, manifest = self._question, self._question.manifest
        known = None
        if manifest is not None:
            known = SourceKnown(manifest.basis, manifest.source, manifest.created)
        return Report(
            path=question.directory,
            level=question.level,
            version=__version__,
            created=self._created,
            finished=self._finished,
            allow_absent=question.allow_absent,
            known=known,
            scales=tuple(results.report() for results in self._results),
            groups=self._findings.groups(),
            seconds=time.monotonic() - self._start,
            resumed_shards=self._resumed_shards,
            resumed_bytes=self._resumed_bytes,
            cross_check=question.cross_check,
            asked=self._asked(),
        )

    def _asked(self) -> Asked:
        question = self._question
        return Asked(
            shards=sum(results.asked for results in self._results),
            possible_shards=sum(results.possible for results in self._results),
            scales=len(question.scales),
            scales_of_volume=len(question.volume.scales),
            in_box=any(selection.cells is not None for selection in question.selections),
        )

    def _planned(self, at: int) -> ScaleResults:
        question = self._question
        scale = question.scales[at]
        where = os.path.join(question.directory, "info")
        try:
            check_supported(question.volume, scale, where)
        except InfoError as error:
            return ScaleResults(scale, None, str(error))
        if scale.sharding is None:
            return ScaleResults(
                scale, None, f"{where}: scale {scale.key} is not sharded, and verify checks shards"
            )
        plan = plan_scale(
            question.directory,
            scale,
            scale.sharding,
            question.manifest,
            question.selections[at],
        )
        unknown = len(plan.absent.unknown) + plan.absent.uncounted
        for finding in plan.findings:
            stands_for = unknown if finding.kind is FindingKind.ABSENT_UNKNOWN else 1
            self._findings.add(finding, stands_for)
        return ScaleResults(scale, plan, asks_all=question.selections[at].is_whole)

    def _all_tasks(self) -> Iterator[_Task]:
        for at, results in enumerate(self._results):
            if results.plan is None:
                continue
            for shard in results.plan.planned:
                yield self._task(at, results.plan, shard)

    def _task(self, at: int, plan: ScalePlan, shard: PlannedShard) -> _Task:
        question = self._question
        job = ShardJob(
            directory=question.directory,
            scale=plan.scale,
            num_channels=question.volume.num_channels,
            data_type=question.volume.data_type,
            shard_number=shard.number,
            level=question.level,
            cross_check=question.cross_check,
            box=question.selections[at].cells,
            record=shard.record,
        )
        return _Task(
            at,
            job,
            shard.at_source,
            plan.lattice.voxel_box(shard.number),
            FileStamp(shard.size, shard.mtime_ns),
            self._digest(job, shard.at_source),
        )

    def _digest(self, job: ShardJob, at_source: bool) -> str:
        # The file may lie beside the volume, which can be mounted elsewhere next time; or it does
        # not, and may have been made for another volume.
        beside = self._state is not None and self._state.lies_in(job.directory)
        question = replace(job, directory="") if beside else job
        parts = (__version__, at_source, question)
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()

    def _earlier(self, task: _Task) -> ShardSummary | None:
        """The result of an earlier run.

        One that found damage is not trusted: the file may have been copied again with its time.
        """
        if self._state is None:
            return None
        summary = self._state.find(task.job.file, task.digest, task.stamp)
        return None if summary is None or summary.damaged else summary

    def _take(self, task: _Task, summary: ShardSummary) -> None:
        self._results[task.scale_at].add(summary)
        self._findings.add_shard(summary)
        self._done_shards += 1
        self._done_bytes += task.stamp.size

    def _show(self) -> None:
        if self._progress is not None:
            self._progress(
                Progress(
                    self._done_bytes,
                    self._total_bytes,
                    self._done_shards,
                    len(self._tasks),
                    self._findings.wrong,
                    time.monotonic() - self._start,
                    self._runner.workers,
                )
            )

    def _confirm_copy(self) -> None:
        """Tell a drive that went away from a file that cannot be read."""
        info = os.path.join(self._question.directory, "info")
        if not os.path.isfile(info):
            raise ReadError(
                f"{info}: cannot be read any more, so the drive may have gone away; this says "
                "nothing about the data: go on with --resume when it is back"
            )

    def _check_block_sizes(self) -> None:
        """Look at some chunks of the largest shards again, which hold most of the labels."""
        if self._question.level == "quick":
            return
        questions = []
        for at in range(len(self._results)):
            tasks = [task for task in self._tasks if task.scale_at == at]
            largest = sorted(tasks, key=lambda task: -task.stamp.size)[:MOST_SHARDS]
            questions.append(BlockSizeQuestion(at, tuple(task.job for task in largest)))
        for at, wrong in self._runner.map(check_block_size, questions):
            if wrong is not None:
                self._results[at].distrust_all()
                self._findings.add(_block_size_finding(self._results[at].scale, wrong))


def _block_size_finding(scale: ScaleInfo, wrong: WrongBlockSize) -> Finding:
    chunks = "1 chunk" if wrong.chunks == 1 else f"{wrong.chunks} chunks"
    return Finding(
        FindingKind.BLOCK_SIZE_IMPLAUSIBLE,
        "info",
        voxel_box=scale.grid.bounds,
        expected=f"probably {_by(wrong.better)} for scale {scale.key}: with this block size "
        f"{wrong.better_changes:,} neighbouring voxels of {chunks} differ in their label",
        found=f"{_by(wrong.declared)}: {wrong.changes:,} of the same neighbours differ, because "
        "labels break at the block faces",
    )


def _by(size: Triple) -> str:
    return " x ".join(map(str, size))


def _check(task: _Task) -> tuple[_Task, ShardSummary]:
    result = check_shard(task.job)
    if not task.at_source:
        unexpected = Finding(
            FindingKind.SIZE_MISMATCH,
            result.file,
            result.shard_number,
            voxel_box=task.box,
            expected=NOT_AT_SOURCE,
            found=f"{task.stamp.size} bytes",
        )
        result = replace(result, findings=(unexpected, *result.findings))
    return task, summarize(result, task.box)
