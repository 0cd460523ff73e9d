"""What a source has, as a manifest before a copy is compared with it."""

from __future__ import annotations

import os
import threading

from shardreader.copies.listed_source import now
from shardreader.errors import InfoError
from shardreader.fetching.plan import record_of_listed
from shardreader.fetching.source_listing import SourceReader, unreachable
from shardreader.fetching.target import refuse_same_directory
from shardreader.format.info import ScaleInfo, VolumeInfo
from shardreader.format.manifest import FileRecord, Manifest, ScaleManifest
from shardreader.format.shard_lattice import COUNTABLE_SHARDS, ShardLattice
from shardreader.runtime.runner import ThreadRunner
from shardreader.storage.plain_http import RefusedError, TransientError
from shardreader.storage.remote_store import RemoteStore
from shardreader.storage.retrying import Patience
from shardreader.storage.source_url import parse_source

__all__ = ["ask_source"]

_JOBS = 16


def ask_source(
    source: str | os.PathLike[str], volume: VolumeInfo, directory: str
) -> tuple[Manifest, tuple[str, ...]]:
    """Ask a source which shards of a volume it has: by a listing, or else one by one.

    Parameters
    ----------
    source : str or path-like
        URL or directory.
    volume : VolumeInfo
        That of the copy.
    directory : str
        Of the copy; no source of itself.

    Returns
    -------
    Manifest
        Nothing is fetched, by it.
    tuple of str
        What was odd.

    Raises
    ------
    InfoError
        None of the scales is sharded, the source has no info or is the copy itself, or the extra
        ``[fetch]`` is not installed.
    ReadError
        The source does not answer.

    Examples
    --------
    >>> from shardreader.storage.documents import read_info
    >>> manifest, _ = ask_source("fixtures/fafb-mini", read_info("fixtures/fafb-mini"), "copy")
    >>> manifest.basis, len(manifest.scales["8.0x8.0x40.0"].files)
    ('listing', 9)
    """
    stop = threading.Event()
    store = RemoteStore(parse_source(source))
    refuse_same_directory(store.source, directory)
    reader = SourceReader(store, Patience(stop))
    scales = [scale for scale in volume.scales if scale.sharding is not None]
    if not scales:
        raise InfoError("none of the scales is sharded, so there is nothing to compare")
    manifests: dict[str, ScaleManifest] = {}
    notes: list[str] = []
    basis = "listing"
    try:
        if store.source.kind != "file":
            next(iter(ThreadRunner(1).map(lambda _: reader.info(), [None])))  # it may redirect
        for scale in scales:
            ask = _Asking(reader, volume, scale, notes)
            # In a thread: a call of obstore holds up Ctrl-C until it returns.
            listed = next(iter(ThreadRunner(1).map(ask.listing, [None])))
            if listed is None:
                basis = "requests"
                listed = ask.one_by_one()
            manifests[scale.key] = listed
    finally:
        stop.set()
    return Manifest(now(), reader.source.text, basis, manifests), tuple(notes)


class _Asking:
    def __init__(
        self, reader: SourceReader, volume: VolumeInfo, scale: ScaleInfo, notes: list[str]
    ) -> None:
        self._reader = reader
        self._volume = volume
        self._scale = scale
        self._lattice = ShardLattice(scale)
        self._notes = notes

    def listing(self, _: None) -> ScaleManifest | None:
        """The scale by a listing; None where there cannot be one."""
        listing = self._reader.listing(self._scale.key, self._lattice)
        if listing is None:
            return None
        where = f"{self._reader.source.text}/{self._scale.key}"
        if not listing.files:
            raise self._reader.no_data(self._scale.key, self._volume)
        if listing.impossible:
            self._notes.append(
                f"{where} has {len(listing.impossible)} shard files that no chunk of this volume "
                f"belongs to, such as {listing.impossible[0]!r}: is this its info?"
            )
        records = {name: record_of_listed(listed) for name, listed in listing.files.items()}
        return ScaleManifest("none", records)

    def one_by_one(self) -> ScaleManifest:
        """The scale by one request a possible shard."""
        if self._lattice.count > COUNTABLE_SHARDS:
            raise InfoError(
                f"the source cannot be listed, and {self._lattice.count:,} possible shards are "
                "too many to ask for one by one"
            )
        names = [self._lattice.file_name(number) for number in self._lattice.numbers()]
        records: dict[str, FileRecord] = {}
        refused = 0
        for name, record in ThreadRunner(_JOBS).map(self._ask, names):
            if record is None:
                refused += 1
            else:
                records[name] = record
        if all(record.state == "none" for record in records.values()):
            raise self._reader.no_data(self._scale.key, self._volume)
        if refused:
            self._notes.append(
                f"the source refused to say whether it has {refused:,} of the shards of "
                f"{self._scale.key}: this stays unknown"
            )
        return ScaleManifest("unknown", dict(sorted(records.items())))

    def _ask(self, name: str) -> tuple[str, FileRecord | None]:
        try:
            listed = self._reader.ask(self._scale.key, name)
        except RefusedError:
            return name, None
        except TransientError as error:
            raise unreachable(f"{self._scale.key}/{name}", error) from None
        return name, FileRecord("none") if listed is None else record_of_listed(listed)
