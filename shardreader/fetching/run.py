"""One fetch: threads that download, and one that keeps the state and the manifest."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from shardreader.errors import ReadError
from shardreader.fetching.manifest_writer import ManifestWriter
from shardreader.fetching.partial_download import PartialDownload
from shardreader.fetching.plan import ScalePlan, ShardTask, record_of_listed, whole_record
from shardreader.fetching.region import PartialTask
from shardreader.fetching.report import FetchProgress, ShardProblem
from shardreader.fetching.request_pool import RequestPool
from shardreader.fetching.shard_download import Desk, Outcome, RowNews, ShardDownload
from shardreader.fetching.source_listing import SourceReader
from shardreader.fetching.state import FetchState, ShardRow
from shardreader.format.info import ScaleInfo, VolumeInfo
from shardreader.format.manifest import FileRecord
from shardreader.storage.retrying import Patience, StoppedError, Throttle

__all__ = ["FetchRun", "Tally"]

_TICK_SECONDS = 0.2
_FLUSH_SECONDS = 1.0
_MOST_EVENTS = 1000
_PUBLISH_SECONDS = 10.0
# After Ctrl-C, a thread that waits for the network is not waited for.
_STOP_SECONDS = 1.0
# So many shards in a row without an answer: the network is down, or the source is.
_MOST_UNREACHABLE = 4
# Shards that were not found before it is asked whether the source has any of the scale.
_MOST_UNPROVEN = 64


class _Done:
    """One shard is done with, or a thread is (task None)."""

    def __init__(
        self,
        task: ShardTask | PartialTask | None,
        outcome: Outcome | None = None,
        error: BaseException | None = None,
    ) -> None:
        self.task = task
        self.outcome = outcome
        self.error = error


@dataclass
class Tally:
    """What a run has done so far."""

    fetched: int = 0
    kept: int = 0
    partial: int = 0
    added_to: int = 0
    none: int = 0
    shards_done: int = 0
    bytes_here: int = 0
    bytes_fetched: int = 0


class FetchRun:
    """Works off the tasks of a plan; what it knows is on the disk at any moment.

    Parameters
    ----------
    reader : SourceReader
    volume : VolumeInfo
    scale : ScaleInfo
    directory, folder : str
        Of the copy, and of the scale in it.
    plan : ScalePlan
    state : FetchState
    manifest : ManifestWriter
    patience : Patience
    throttle : Throttle
    progress : callable, optional
        Called with a `FetchProgress` some times a second.
    """

    def __init__(
        self,
        reader: SourceReader,
        volume: VolumeInfo,
        scale: ScaleInfo,
        directory: str,
        folder: str,
        plan: ScalePlan,
        state: FetchState,
        manifest: ManifestWriter,
        patience: Patience,
        throttle: Throttle,
        progress: Callable[[FetchProgress], None] | None,
    ) -> None:
        self._reader = reader
        self._volume = volume
        self._scale = scale
        self._plan = plan
        self._state = state
        self._manifest = manifest
        self._patience = patience
        self._progress = progress
        self._events: queue.SimpleQueue[RowNews | _Done] = queue.SimpleQueue()
        self._desk = Desk(
            reader, scale, folder, directory, patience, throttle, self._events.put, self._count
        )
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._published = time.monotonic()
        self._unreachable = 0
        self.was_unreachable = False
        self._absent: list[str] = []  # not in the state yet: thousands, and each would be a sync
        # Shards that were not found, before the source has shown that it has the scale.
        self._unproven: list[str] = []
        self._is_shown = plan.is_listed
        self._flushed = time.monotonic()
        self.records = dict(plan.records)
        self.tally = Tally()
        self.failed: list[ShardProblem] = []
        self.restarted: list[ShardProblem] = []

    def run(self, jobs: int) -> None:
        """Fetch all shards of the plan, `jobs` at a time.

        Raises
        ------
        ReadError
            The source does not answer any more, or the state cannot be kept.
        OSError
            The drive refuses.
        KeyboardInterrupt
            What was fetched until then is kept.
        """
        waiting = deque(self._plan.tasks)
        pool = RequestPool(jobs, self._patience.stop)
        threads = [
            threading.Thread(target=self._work_off, args=(waiting, pool), daemon=True)
            for _ in range(min(jobs, len(waiting)))
        ]
        self._publish()
        try:
            for thread in threads:
                thread.start()
            self._handle(len(threads))
            self._prove()
        finally:
            self._patience.stop.set()
            self._wind_up(threads)
        self._publish()

    def _work_off(self, waiting: deque[ShardTask | PartialTask], pool: RequestPool) -> None:
        try:
            while not self._patience.stop.is_set():
                try:
                    task = waiting.popleft()
                except IndexError:
                    break
                if isinstance(task, PartialTask):
                    outcome = PartialDownload(self._desk, task, pool).run()
                else:
                    outcome = ShardDownload(self._desk, task).run()
                self._events.put(_Done(task, outcome))
        except StoppedError:
            pass
        except BaseException as error:  # noqa: BLE001 (raised by the thread that waits)
            self._events.put(_Done(None, error=error))
            return
        self._events.put(_Done(None))

    def _handle(self, running: int) -> None:
        """Take what the threads say until all have ended."""
        while running:
            events = self._waiting(_TICK_SECONDS)
            self._keep([event for event in events if isinstance(event, RowNews)])
            for event in events:
                if isinstance(event, RowNews):
                    continue
                if event.error is not None:
                    raise event.error
                if event.task is None or event.outcome is None:
                    running -= 1
                else:
                    self._take(event.task, event.outcome)
            self._show()
            if time.monotonic() - self._flushed > _FLUSH_SECONDS:
                self._flush()
            if time.monotonic() - self._published > _PUBLISH_SECONDS:
                self._publish()

    def _wind_up(self, threads: Sequence[threading.Thread]) -> None:
        """Keep what the threads still have to say, but do not wait for those that hang."""
        end = time.monotonic() + _STOP_SECONDS
        try:
            while any(thread.is_alive() for thread in threads) and time.monotonic() < end:
                self._drain(0.05)
            self._drain(0.001)
            self._publish()
        except (ReadError, OSError):
            # A full disk: what is there can be gone on with all the same, and the reason for
            # which the run ends is already on its way up.
            return

    def _drain(self, seconds: float) -> None:
        events = self._waiting(seconds)
        self._keep([event for event in events if isinstance(event, RowNews)])
        for event in events:
            if isinstance(event, _Done) and event.task is not None and event.outcome is not None:
                self._note(event.task, event.outcome)

    def _waiting(self, seconds: float) -> list[RowNews | _Done]:
        """All that the threads have said; waits some time for the first."""
        events: list[RowNews | _Done] = []
        try:
            events.append(self._events.get(timeout=seconds))
            while len(events) < _MOST_EVENTS:
                events.append(self._events.get_nowait())
        except queue.Empty:
            pass
        return events

    def _keep(self, news: list[RowNews]) -> None:
        """Keep rows of several shards with one flush of the disk."""
        if news:
            self._state.put_all(self._scale.key, {item.name: item.row for item in news})
        for item in news:
            item.kept.set()

    def _take(self, task: ShardTask | PartialTask, outcome: Outcome) -> None:
        self._note(task, outcome)
        if len(self._unproven) >= _MOST_UNPROVEN:
            self._prove()
        self._unreachable = self._unreachable + 1 if outcome.unreachable else 0
        self.was_unreachable |= outcome.unreachable
        if self._unreachable >= _MOST_UNREACHABLE:
            raise ReadError(
                f"{task.name}: {outcome.reason}; check the network, then run the same command "
                "again: it goes on from where it was"
            )

    def _note(self, task: ShardTask | PartialTask, outcome: Outcome) -> None:
        tally = self.tally
        tally.shards_done += 1
        self._is_shown |= outcome.kind in ("fetched", "partial")
        self.restarted += [ShardProblem(task.name, reason) for reason in outcome.restarts]
        if outcome.kind == "none":
            tally.none += 1
            self._unproven.append(task.name)
        elif outcome.kind == "failed":
            self.failed.append(ShardProblem(task.name, outcome.reason))
            if isinstance(task, ShardTask) and task.listed is not None:
                self.records[task.name] = record_of_listed(task.listed)
        elif outcome.kind in ("partial", "kept_part"):
            tally.partial += 1
            tally.added_to += outcome.kind == "partial"
            if self.records.get(task.name, FileRecord("none")).state != "partial":
                self.records[task.name] = FileRecord("partial")
        else:
            tally.fetched += outcome.kind == "fetched"
            tally.kept += outcome.kind == "kept"
        if outcome.record is not None:
            self.records[task.name] = outcome.record
        if outcome.row is not None:
            self.records[task.name] = whole_record(outcome.row, outcome.row.listed)

    def _prove(self) -> None:
        """Make sure that the source has the scale, before its 404 is taken for its word.

        Raises
        ------
        ReadError
            It has shown nothing of it.
        """
        if self._unproven and not self._is_shown:
            if not self._reader.shows(self._scale):
                raise self._reader.no_data(self._scale.key, self._volume)
            self._is_shown = True

    def _count(self, here: int, came: int) -> None:
        with self._lock:
            self.tally.bytes_here += here
            self.tally.bytes_fetched += came

    def _flush(self) -> None:
        if self._is_shown:
            self.records.update((name, FileRecord("none")) for name in self._unproven)
            self._absent += self._unproven
            self._unproven.clear()
        if self._absent:
            self._state.put_all(self._scale.key, dict.fromkeys(self._absent, ShardRow("none")))
            self._absent.clear()
        self._flushed = time.monotonic()

    def _publish(self) -> None:
        self._flush()
        self._manifest.write(self.records)
        self._published = time.monotonic()

    def _show(self) -> None:
        if self._progress is None:
            return
        plan = self._plan
        total = plan.bytes_to_come if plan.is_listed else None
        self._progress(
            FetchProgress(
                self.tally.bytes_here,
                total,
                self.tally.shards_done,
                len(plan.tasks),
                self._patience.retries,
                time.monotonic() - self._started,
            )
        )
