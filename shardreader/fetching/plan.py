"""What has to be done for each shard, from the geometry and all that is known.

Pure: reads and asks nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from shardreader.copies.gsutil_listing import ListedObject
from shardreader.copies.shard_listing import FileStamp
from shardreader.errors import InfoError
from shardreader.fetching.checksum import base64_of
from shardreader.fetching.region import PartialTask
from shardreader.fetching.source_listing import ScaleListing
from shardreader.fetching.state import ShardRow
from shardreader.format.manifest import FileRecord
from shardreader.format.shard_lattice import COUNTABLE_SHARDS, ShardLattice
from shardreader.storage.remote_store import ObjectVersion

__all__ = [
    "RANGE_BYTES",
    "ScalePlan",
    "ShardTask",
    "plan_scale",
    "record_of_listed",
    "same_object",
    "whole_record",
]

RANGE_BYTES = 16 << 20


@dataclass(frozen=True)
class ShardTask:
    """A shard that is not known to be whole.

    Parameters
    ----------
    number : int
    name : str
    compare : bool
        A file of the right size is here, which may be the one.
    listed : ListedObject or None
        What the source says of it; None where it has to be asked.
    row : ShardRow or None
        What an earlier run left.
    crc32c : str or None
        Of the object, by an earlier manifest.
    changed : bool
        It was fetched, whole or in part, and is another object now.
    """

    number: int
    name: str
    compare: bool
    listed: ListedObject | None
    row: ShardRow | None
    crc32c: str | None = None
    changed: bool = False

    @property
    def bytes_to_come(self) -> int:
        """How much has to be fetched, if it is known and nothing is here."""
        return 0 if self.compare or self.listed is None else self.listed.size

    @property
    def requests(self) -> int:
        """How many requests that takes, at least."""
        return 0 if self.compare else max(-(-self.bytes_to_come // RANGE_BYTES), 1)


@dataclass(frozen=True)
class ScalePlan:
    """What has to be done for one scale.

    Parameters
    ----------
    possible : int
        How many shards can hold a chunk.
    is_listed : bool
        The source was listed: what it did not name, it does not have.
    tasks : tuple of ShardTask and PartialTask
    records : dict of str to FileRecord
        What is known of all shards before that, as a manifest has it.
    whole, none : int
        Shards that need nothing; those that the source is known not to have.
    """

    possible: int
    is_listed: bool
    tasks: tuple[ShardTask | PartialTask, ...]
    records: dict[str, FileRecord]
    whole: int
    none: int

    @property
    def bytes_to_come(self) -> int:
        """How much has to be fetched, as far as that is known."""
        return sum(task.bytes_to_come for task in self.shard_tasks)

    @property
    def shard_tasks(self) -> list[ShardTask]:
        """The tasks for whole shards."""
        return [task for task in self.tasks if isinstance(task, ShardTask)]


def plan_scale(
    lattice: ShardLattice,
    listing: ScaleListing | None,
    rows: Mapping[str, ShardRow],
    files: Mapping[str, FileStamp],
    earlier: Mapping[str, FileRecord],
    only: Collection[str] | None,
) -> ScalePlan:
    """Plan one scale.

    Parameters
    ----------
    lattice : ShardLattice
    listing : ScaleListing or None
        None where the source cannot be listed.
    rows : mapping of str to ShardRow
        What earlier runs left.
    files : mapping of str to FileStamp
        What is in the directory of the scale.
    earlier : mapping of str to FileRecord
        What the manifest of the copy says.
    only : collection of str, optional
        Fetch these again whatever is known of them, and no others.

    Raises
    ------
    InfoError
        The shards are too many to ask for one by one.
    """
    if listing is None and only is None and lattice.count > COUNTABLE_SHARDS:
        raise InfoError(
            f"the source cannot be listed, and {lattice.count:,} possible shards are too many to "
            "ask for one by one"
        )
    if only is not None:
        return _repair(lattice, listing, rows, files, earlier, only)
    names = (
        sorted(listing.files)
        if listing is not None
        else [lattice.file_name(number) for number in lattice.numbers()]
    )
    tasks, records, whole, none = [], {}, 0, 0
    for name in names:
        listed = None if listing is None else listing.files[name]
        row, file = rows.get(name), files.get(name)
        if listed is not None:
            records[name] = record_of_listed(listed)
        if file is None and listed is None and row is not None and row.state == "none":
            records[name] = FileRecord("none")
            none += 1
        elif is_whole(row, listed, file):
            records[name] = whole_record(row, listed)
            whole += 1
        else:
            tasks.append(shard_task(lattice, name, listed, row, file, earlier.get(name)))
    if listing is not None:
        none = lattice.count - len(listing.files)
    return ScalePlan(lattice.count, listing is not None, tuple(tasks), records, whole, none)


def _repair(
    lattice: ShardLattice,
    listing: ScaleListing | None,
    rows: Mapping[str, ShardRow],
    files: Mapping[str, FileStamp],
    earlier: Mapping[str, FileRecord],
    only: Collection[str],
) -> ScalePlan:
    records = dict(earlier)
    for name, listed in (listing.files if listing else {}).items():
        row, file = rows.get(name), files.get(name)
        if is_whole(row, listed, file):
            records[name] = whole_record(row, listed)
        elif name not in records:
            same_size = file is not None and file.size == listed.size and name not in only
            records[name] = record_of_listed(listed, "whole" if same_size else "not_fetched")
    tasks = []
    for name in sorted(only):
        wanted = None if listing is None else listing.files.get(name)
        if listing is not None and wanted is None:
            records[name] = FileRecord("none")
            continue
        if wanted is not None:
            records[name] = record_of_listed(wanted)
        row = rows.get(name)
        # What was whole is damaged now; what was cut off goes on.
        goes_on = row is not None and row.state == "part"
        tasks.append(shard_task(lattice, name, wanted, row if goes_on else None, None, None))
    states = [record.state for record in records.values()]
    none = lattice.count - len(listing.files) if listing else states.count("none")
    return ScalePlan(
        lattice.count, listing is not None, tuple(tasks), records, states.count("whole"), none
    )


def is_whole(row: ShardRow | None, listed: ListedObject | None, file: FileStamp | None) -> bool:
    if row is None or row.state != "whole" or row.version is None or file is None:
        return False
    return (
        _unchanged(row, listed) and file.size == row.version.size and file.mtime_ns == row.mtime_ns
    )


def _unchanged(row: ShardRow, listed: ListedObject | None) -> bool:
    if listed is None:
        return True
    if row.version is not None and row.version.size != listed.size:
        return False
    before = row.listed
    if before is None or before.generation != listed.generation:
        return row.version is None or same_object(listed, row.version)
    return before.generation is not None or before.etag == listed.etag


def shard_task(
    lattice: ShardLattice,
    name: str,
    listed: ListedObject | None,
    row: ShardRow | None,
    file: FileStamp | None,
    record: FileRecord | None,
) -> ShardTask:
    number = lattice.number_of_name(name)
    if number is None:
        raise ValueError(f"{name} is no shard of this scale")
    changed = row is not None and row.version is not None and not _unchanged(row, listed)
    expected = None if listed is None else listed.size
    if row is not None and row.state == "whole" and row.version is not None and not changed:
        expected = row.version.size
    # A file that was being replaced, or that is of another object, can only be fetched anew: where
    # there is no checksum, size and indices would not show the difference.
    replaced = row is not None and row.state == "part"
    moved = record is not None and listed is not None and _is_another(record, listed)
    compare = (
        file is not None and expected in (None, file.size) and not (changed or replaced or moved)
    )
    crc32c = record.crc32c if record and file and record.size == file.size else None
    return ShardTask(
        number, name, compare, listed, None if changed else row, crc32c, changed or moved
    )


def _is_another(record: FileRecord, listed: ListedObject) -> bool:
    if record.generation is not None and listed.generation is not None:
        return record.generation != listed.generation
    if record.etag is not None and listed.etag is not None:
        return record.etag != listed.etag
    return False


def same_object(listed: ListedObject, version: ObjectVersion) -> bool:
    """Whether an object can be the one that was listed.

    The ETag of Google's JSON listing is not that of the object, but there is a generation too.
    """
    if listed.generation is not None:
        return version.generation in (None, listed.generation)
    if listed.etag is not None and version.etag is not None:
        return listed.etag == version.etag
    return True


def record_of_listed(listed: ListedObject, state: str = "not_fetched") -> FileRecord:
    """The record of a shard of which only the source's word is known."""
    return FileRecord(
        state,
        size=listed.size,
        generation=listed.generation,
        etag=listed.etag,
        crc32c=listed.crc32c,
        md5=None if listed.crc32c else listed.md5,
    )


def whole_record(row: ShardRow | None, listed: ListedObject | None) -> FileRecord:
    """The record of a whole shard: the version it came from, and our own checksum."""
    if row is None or row.version is None:
        raise ValueError("the shard is not whole")
    known = listed or row.listed
    generation = row.version.generation or (known.generation if known else None)
    etag = (known.etag if known else None) or row.version.etag
    return FileRecord(
        "whole",
        size=row.version.size,
        generation=generation,
        etag=etag,
        crc32c=None if row.crc32c is None else base64_of(row.crc32c),
    )
