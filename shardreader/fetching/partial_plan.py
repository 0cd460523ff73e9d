"""What has to be done for a part of a scale, and what it will cost."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping
from dataclasses import replace

from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import FormatFault, ReadError, ShardReaderError
from shardreader.fetching.partial_download import Cost, PartialDownload
from shardreader.fetching.plan import (
    ScalePlan,
    ShardTask,
    is_whole,
    shard_task,
    whole_record,
)
from shardreader.fetching.region import MOST_IDS, PartialTask, Region, largest_encoding
from shardreader.fetching.request_pool import RequestPool
from shardreader.fetching.shard_download import Desk
from shardreader.fetching.state import ShardRow
from shardreader.format.coverage import Coverage, read_coverage
from shardreader.format.info import ScaleInfo, VolumeInfo
from shardreader.format.manifest import FileRecord
from shardreader.format.shard_lattice import ShardLattice
from shardreader.runtime.runner import ThreadRunner
from shardreader.storage.local_store import LocalStore, StaleFileError
from shardreader.storage.plain_http import AbsentError, StoreError

__all__ = ["cost_of", "mending", "plan_region"]


def plan_region(
    region: Region,
    lattice: ShardLattice,
    rows: Mapping[str, ShardRow],
    files: Mapping[str, FileStamp],
    earlier: Mapping[str, FileRecord],
) -> ScalePlan:
    """Plan the fetch of a part; parameters are those of `plan.plan_scale`.

    Nothing is listed: each shard that is touched is asked for, unless it was absent before.
    """
    tasks: list[ShardTask | PartialTask] = []
    records = dict(earlier)
    whole = none = 0
    for task in region.tasks:
        name = task.name
        row, file = rows.get(name), files.get(name)
        if file is None and row is not None and row.state == "none":
            records[name] = FileRecord("none")
            none += 1
        elif not region.whole_shards:
            tasks.append(task)
        elif is_whole(row, None, file):
            records[name] = whole_record(row, None)
            whole += 1
        else:
            tasks.append(shard_task(lattice, name, None, row, file, earlier.get(name)))
    return ScalePlan(len(region.tasks), False, tuple(tasks), records, whole, none)


def mending(plan: ScalePlan, directory: str, volume: VolumeInfo, scale: ScaleInfo) -> ScalePlan:
    """A plan of repairs in which a partial shard gets back the chunks that it says it has."""
    store = LocalStore(directory)
    tasks: list[ShardTask | PartialTask] = []
    for task in plan.tasks:
        coverage = _coverage(store, scale, task.name)
        ids = None
        if coverage is not None and scale.sharding is not None:
            try:
                ids = coverage.chunk_ids(MOST_IDS)
                ids = ids[scale.sharding.locate(ids)[0] == task.number]
            except FormatFault:
                ids = None
        if ids is None:
            tasks.append(task)
            continue
        most = largest_encoding(volume, scale)
        tasks.append(PartialTask(task.number, task.name, None, ids, most, mend=True))
    store.close()
    return replace(plan, tasks=tuple(tasks))


def _coverage(store: LocalStore, scale: ScaleInfo, file_name: str) -> Coverage | None:
    """What a file that may be damaged answers for; None where it does not say so."""
    name = f"{scale.key}/{file_name}"
    try:
        identity = store.identity(name)
        if identity is None or scale.sharding is None:
            return None
        coverage, _ = read_coverage(
            lambda start, end: store.read(name, start=start, end=end, identity=identity),
            start=scale.sharding.shard_index_end,
            file_size=identity.size,
        )
    except (FormatFault, ShardReaderError, StaleFileError):
        return None
    return coverage


def cost_of(desk: Desk, plan: ScalePlan, jobs: int, stop: threading.Event) -> Cost:
    """What the partial tasks of a plan will ask for; reads the indices at the source.

    Raises
    ------
    ReadError
        The source does not say.
    """
    pool = RequestPool(jobs, stop)

    def cost(task: PartialTask) -> Cost:
        try:
            return PartialDownload(desk, task, pool).cost()
        except AbsentError:
            return Cost(2, 0)
        except (StoreError, FormatFault) as error:
            where = os.path.join(desk.scale.key, task.name)
            raise ReadError(f"{where}: what it will take cannot be said: {error}") from None

    tasks = [task for task in plan.tasks if isinstance(task, PartialTask)]
    costs = list(ThreadRunner(jobs).map(cost, tasks))
    return Cost(sum(cost.requests for cost in costs), sum(cost.bytes for cost in costs))
