"""Compares the shards that an index knows with those that are here now."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import NamedTuple

from shardreader.copies.shard_listing import FileStamp, ShardListing, list_shards, scale_folder
from shardreader.format.grid import Box
from shardreader.format.shard_lattice import COUNTABLE_SHARDS, ShardLattice
from shardreader.format.shard_ranges import ShardRanges
from shardreader.segments.index_coverage import IndexCoverage
from shardreader.segments.row_check import RowCheck
from shardreader.storage.documents import VolumeFiles
from shardreader.storage.local_store import read_error
from shardreader.storage.shard_pairs import parts_of

__all__ = ["IndexedShard", "Standing"]

# To look at 3,689 files takes longer than to look a segment up. A file that is replaced shows at
# once, in the time of its directory; one that is written in place after so many seconds.
_SECONDS_BETWEEN_LISTINGS = 5.0


class IndexedShard(NamedTuple):
    """What an index knows of one shard.

    Attributes
    ----------
    stamp : FileStamp
        The version of the file that was indexed.
    rows_file : str
        Name of the file with its rows.
    rows_check : RowCheck
        Size and checksum of that file.
    rows : int
        How many there are.
    is_partial : bool
        The copy had only some of the shard's chunks.
    damage : int
        How much was found damaged in it.
    """

    stamp: FileStamp
    rows_file: str
    rows_check: RowCheck
    rows: int
    is_partial: bool
    damage: int


class Standing:
    """The present state of a scale's shards against an index of them.

    Parameters
    ----------
    files : VolumeFiles
        Of a sharded scale.
    """

    def __init__(self, files: VolumeFiles) -> None:
        self._files = files
        self.lattice = ShardLattice(files.scale)
        self._folder = scale_folder(files.directory, files.scale)
        self._listing: tuple[float, int, ShardListing] | None = None
        self._known: tuple[ShardListing, Mapping[int, IndexedShard], IndexCoverage] | None = None

    def coverage(
        self, indexed: Mapping[int, IndexedShard], cells: Box | None = None
    ) -> IndexCoverage:
        """What an answer about the whole volume, or about a box of cells, rests on.

        Raises
        ------
        ReadError
            The directory cannot be listed.
        """
        listing = self._listed()
        if cells is None and self._known is not None:
            # Thousands of shards are compared only where one of the two is another than before.
            of_listing, of_indexed, coverage = self._known
            if of_listing is listing and of_indexed is indexed:
                return coverage
        coverage = self._compared(listing, indexed, cells)
        if cells is None:
            self._known = listing, indexed, coverage
        return coverage

    def _compared(
        self, listing: ShardListing, indexed: Mapping[int, IndexedShard], cells: Box | None
    ) -> IndexCoverage:
        here, pairs = listing
        wanted = None if cells is None else frozenset(self.lattice.numbers(cells))
        changed, damaged, partial, known = [], [], [], []
        for number, shard in indexed.items():
            if wanted is not None and number not in wanted:
                continue
            known.append(number)
            if here.get(number) != shard.stamp:
                changed.append(number)
            if shard.damage:
                damaged.append(number)
            if shard.is_partial:
                partial.append(number)
        others = {*here, *pairs} - indexed.keys()
        not_indexed = others if wanted is None else others & wanted
        missing, count = self._missing(wanted, indexed.keys() | others)
        return IndexCoverage(
            indexed=len(known) - len(changed),
            changed=ShardRanges.of(changed),
            not_indexed=ShardRanges.of(not_indexed),
            damaged=ShardRanges.of(damaged),
            partial=ShardRanges.of(partial),
            missing=ShardRanges.of(missing),
            missing_count=count,
            digits=len(self.lattice.file_name(0)) - len(".shard"),
        )

    def _missing(
        self, wanted: frozenset[int] | None, accounted_for: Iterable[int]
    ) -> tuple[Iterable[int], int]:
        numbers = self._possible if wanted is None else wanted
        if numbers is not None:
            absent = numbers - set(accounted_for)
            missing = absent - self._source_has_none if self._files.manifest else absent
            return missing, len(missing)
        known = self._files.manifest and self._files.manifest.scales.get(self._files.scale.key)
        if known and known.unlisted == "none":
            return [], 0
        return [], self.lattice.count - len(set(accounted_for))

    @cached_property
    def _source_has_none(self) -> frozenset[int]:
        names = ((number, self.lattice.file_name(number)) for number in self._possible or ())
        return frozenset(
            number for number, name in names if self._files.source_has_none(name, *parts_of(name))
        )

    def _listed(self) -> ShardListing:
        now = time.monotonic()
        try:
            changed = os.stat(self._folder).st_mtime_ns if os.path.exists(self._folder) else 0
            if self._listing is not None:
                at, then, listing = self._listing
                if changed == then and now - at < _SECONDS_BETWEEN_LISTINGS:
                    return listing
            listing = list_shards(self._folder, self.lattice)
        except OSError as error:
            raise read_error(self._folder, "list it", error) from error
        self._listing = now, changed, listing
        return listing

    @cached_property
    def _possible(self) -> frozenset[int] | None:
        if self.lattice.count > COUNTABLE_SHARDS:
            return None
        return frozenset(self.lattice.numbers())
