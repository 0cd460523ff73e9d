"""Some chunks of one shard from the source to a partial shard: the work of a thread.

The chunks come in joined ranges, on several connections. Each is inflated, with its CRC, and kept
in a spool beside the shard; when all have come, the shard is written anew from what it had and
from the spool, in one rename. Its coverage record says what was asked for, so that a fetch that is
called again asks only for the rest.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.partial_shard import PartialShard, read_partial_shard
from shardreader.copies.shard_writer import NewChunks, merge_shard, write_shard
from shardreader.decoding.inflate import inflate, most_stored_bytes
from shardreader.errors import FormatFault, InfoError, ShardError
from shardreader.fetching.chunk_spool import ChunkSpool, discard_spool
from shardreader.fetching.region import MOST_IDS, PartialTask
from shardreader.fetching.request_pool import RequestPool
from shardreader.fetching.shard_download import Desk, Outcome
from shardreader.fetching.source_shard import (
    ChunkPlaces,
    head_bytes,
    locate_chunks,
    requests_for,
)
from shardreader.format.coverage import Coverage
from shardreader.format.manifest import FileRecord
from shardreader.format.sharding import ShardingSpec
from shardreader.runtime.output_file import is_occupied
from shardreader.storage.local_store import LocalStore
from shardreader.storage.plain_http import AbsentError, RefusedError, TransientError
from shardreader.storage.remote_ranges import SourceObject
from shardreader.storage.remote_store import ChangedError, ObjectVersion
from shardreader.storage.shard_pairs import ShardFiles, parts_of

__all__ = ["Cost", "PartialDownload"]

# Of an object that changes under the fetch, of an index and of a chunk that came damaged.
_MOST_TRIES = 3


class Cost(NamedTuple):
    """What it takes to fetch a part of a shard, its indices included."""

    requests: int
    bytes: int


@dataclass(frozen=True, eq=False)
class _Plan:
    """What is to be asked for of one version of the object.

    ``replaces``: nothing of the file that is here is kept.
    """

    source: SourceObject
    version: ObjectVersion
    wanted: NDArray[np.uint64]
    places: ChunkPlaces
    replaces: bool


class PartialDownload:
    """Fetches the wanted chunks of one shard; `run` or `cost` is called once.

    Parameters
    ----------
    desk : Desk
    task : PartialTask
    pool : RequestPool
    """

    def __init__(self, desk: Desk, task: PartialTask, pool: RequestPool) -> None:
        if desk.scale.sharding is None:
            raise ValueError("the scale is not sharded")
        self._desk = desk
        self._task = task
        self._pool = pool
        self._spec: ShardingSpec = desk.scale.sharding
        self._final = os.path.join(desk.folder, task.name)
        self._path = desk.reader.source.name(f"{desk.scale.key}/{task.name}")
        self._restarts: list[str] = []
        self._faults: dict[int, str] = {}

    def run(self) -> Outcome:
        """Fetch what is not here yet.

        Raises
        ------
        StoppedError
            The fetch ends early.
        OSError
            The drive refuses.
        InfoError
            The source has its shards in the two files of the format's first version.
        """
        try:
            if is_occupied(self._final):
                return self._failed("its name is taken by something that is no regular file")
            here = None if self._task.mend else self._here()
            if here is None and not self._task.mend and self._is_whole():
                return Outcome("kept")
            return self._fetch_with_tries(here)
        except AbsentError:
            return self._absent()
        except TransientError as error:
            return self._failed(f"the source does not give it: {error}", unreachable=True)
        except ChangedError as error:
            return self._failed(f"{error}; begun {_MOST_TRIES} times")
        except (RefusedError, ShardError) as error:
            return self._failed(str(error))
        except FormatFault as fault:
            return self._failed(f"the shard is damaged at the source: {fault}")

    def cost(self) -> Cost:
        """What `run` would ask for; reads the indices.

        Raises
        ------
        AbsentError, RefusedError, TransientError, ChangedError, StoppedError, FormatFault
            The source does not say.
        ShardError
            The shard that is here is damaged.
        """
        here = None if self._task.mend else self._here()
        if here is None and not self._task.mend and self._is_whole():
            return Cost(0, 0)
        plan = self._plan(here, strict=False)
        if plan is None:
            return Cost(0, 0)
        places = plan.places
        spans = _spans(places.starts, places.ends)
        return Cost(
            places.index_requests + len(spans),
            places.index_bytes + sum(end - start for start, end in spans),
        )

    def _outcome(self, kind: str, record: FileRecord | None = None) -> Outcome:
        return Outcome(kind, restarts=tuple(self._restarts), record=record)

    def _failed(
        self, reason: str, *, unreachable: bool = False, record: FileRecord | None = None
    ) -> Outcome:
        return Outcome(
            "failed",
            reason=reason,
            restarts=tuple(self._restarts),
            unreachable=unreachable,
            record=record,
        )

    def _here(self) -> PartialShard | None:
        return read_partial_shard(self._final, self._spec, self._task.number)

    def _is_whole(self) -> bool:
        store = LocalStore(self._desk.folder)
        return ShardFiles(store).identity(self._task.name) is not None

    def _absent(self) -> Outcome:
        """What to say of a shard that the source does not have, in one file."""
        index, _ = parts_of(self._path)
        store = self._desk.reader.store
        try:
            self._desk.patience.call(lambda: store.version(index))
        except AbsentError:
            if os.path.exists(self._final):
                return self._failed("the source does not have it any more; what is here is kept")
            return self._outcome("none")
        except TransientError as error:
            return self._failed(f"the source does not answer: {error}", unreachable=True)
        except RefusedError as error:
            return self._failed(str(error))
        raise InfoError(
            f"{self._desk.reader.source.text}/{self._desk.scale.key}: the shards of this source "
            "are pairs of files (.index and .data, the first version of the format), which fetch "
            "does not copy; use gsutil or rclone"
        )

    def _plan(self, here: PartialShard | None, *, strict: bool) -> _Plan | None:
        """Read the indices at the source; None where all that is wanted is here.

        Strict: a damaged minishard index is an error; else only its own chunks are missed.
        """
        desk = self._desk
        wanted = self._task.ids(desk.scale)
        if here is not None:
            wanted = wanted[~here.coverage.covers(wanted)]
        if not len(wanted):
            return None
        replaces = self._task.mend
        source = SourceObject(
            desk.reader.store, self._path, desk.patience, desk.throttle, desk.count
        )
        (head,) = self._pool.run(lambda end: source.read(0, end), [head_bytes(self._spec)])
        version = source.version
        if version is None:
            raise ValueError("a read gave no version")
        if here is not None and here.coverage.generation != version.token:
            # Chunks of two versions are not mixed: what is here is fetched again with the rest.
            self._restarts.append("it is another object at the source than before")
            wanted = np.union1d(self._task.ids(desk.scale), here.coverage.chunk_ids(MOST_IDS))
            replaces = True
        places = locate_chunks(
            source,
            desk.scale,
            self._spec,
            self._task.number,
            head,
            wanted,
            self._pool,
            strict=strict,
        )
        return _Plan(source, version, wanted, places, replaces)

    def _fetch_with_tries(self, here: PartialShard | None) -> Outcome:
        for _ in range(_MOST_TRIES - 1):
            try:
                return self._fetch(self._plan(here, strict=True))
            except (ChangedError, FormatFault) as error:
                # What is wrong with an index may have happened on the way.
                self._restarts.append(str(error))
        return self._fetch(self._plan(here, strict=False))

    def _fetch(self, plan: _Plan | None) -> Outcome:
        if plan is None:
            discard_spool(self._final)
            return self._outcome("kept_part")
        spool = ChunkSpool(self._final, plan.version.token)
        try:
            self._faults = dict(plan.places.faults)
            self._receive(plan, spool)
            self._write(plan, spool)
        finally:
            spool.close()
        discard_spool(self._final)
        version = plan.version
        state = "partial" if os.path.exists(self._final) else "not_fetched"
        record = FileRecord(
            state, size=version.size, generation=version.generation, etag=version.etag
        )
        if self._faults:
            chunk_id, reason = next(iter(self._faults.items()))
            return self._failed(
                f"{len(self._faults):,} of {len(plan.wanted):,} chunks are not here, the first "
                f"{chunk_id}: {reason}",
                record=record,
            )
        return self._outcome("partial", record)

    def _receive(self, plan: _Plan, spool: ChunkSpool) -> None:
        """Ask for the chunks that are not in the spool yet."""
        places, most = plan.places, self._task.most_encoded_bytes
        most_stored = most_stored_bytes(self._spec.data_encoding, most)
        missing = ~np.isin(places.chunk_ids, spool.chunk_ids)
        too_long = places.ends - places.starts > most_stored
        for row in np.flatnonzero(too_long).tolist():
            self._faults[int(places.chunk_ids[row])] = (
                f"damaged at the source: {places.ends[row] - places.starts[row]} stored bytes, "
                f"more than the {most_stored} that its geometry can need"
            )
        rows = np.flatnonzero(missing & ~too_long)
        starts, ends = places.starts[rows], places.ends[rows]

        def take(part: tuple[int, int]) -> None:
            first, last = part
            start = int(starts[first])
            data = plan.source.read(start, int(ends[last - 1]))
            for row in range(first, last):
                a, b = int(starts[row]) - start, int(ends[row]) - start
                self._keep(
                    plan.source, spool, int(places.chunk_ids[rows[row]]), data[a:b], a + start
                )

        self._pool.run(take, requests_for(starts, ends))

    def _keep(
        self, source: SourceObject, spool: ChunkSpool, chunk_id: int, stored: bytes, start: int
    ) -> None:
        """Inflate a chunk and put it into the spool; a damaged one is asked for again."""
        for tries in range(1, _MOST_TRIES + 1):
            try:
                inflate(
                    stored,
                    0,
                    len(stored),
                    encoding=self._spec.data_encoding,
                    most_bytes=self._task.most_encoded_bytes,
                )
                spool.add(chunk_id, stored)
                return
            except FormatFault as fault:
                if tries == _MOST_TRIES:
                    self._faults[chunk_id] = f"damaged at the source: {fault}"
                    return
            stored = source.read(start, start + len(stored))

    def _write(self, plan: _Plan, spool: ChunkSpool) -> None:
        """The shard from what is here and the spool."""
        faulty = np.array(list(self._faults), dtype=np.uint64)
        asked = plan.wanted[~np.isin(plan.wanted, faulty)]
        if not len(asked):
            return
        ids = np.intersect1d(asked, spool.chunk_ids)
        ids = ids[np.lexsort((ids, self._spec.locate(ids)[1]))]
        new = NewChunks(ids, spool.sizes(ids), spool.chunks(ids))
        coverage = Coverage.of_ids(asked, generation=plan.version.token)
        write = write_shard if plan.replaces else merge_shard
        part = f"{self._final}.merge.part"
        write(self._final, self._spec, self._task.number, new, coverage, part=part)


def _spans(starts: NDArray[np.int64], ends: NDArray[np.int64]) -> list[tuple[int, int]]:
    return [(int(starts[a]), int(ends[b - 1])) for a, b in requests_for(starts, ends)]
