"""What is to be fetched: the source's info against what is in the destination."""

from __future__ import annotations

import os
from dataclasses import dataclass

from shardreader.checking.saved_report import read_saved_report
from shardreader.copies.patched_info import check_same_volume
from shardreader.errors import InfoError
from shardreader.fetching.region import Region, RegionRequest
from shardreader.fetching.repair import names_to_repair
from shardreader.fetching.source_listing import SourceReader, safe_key
from shardreader.format.info import ScaleInfo, VolumeInfo, select_scale
from shardreader.format.shard_lattice import ShardLattice
from shardreader.storage.source_url import SourceUrl
from shardreader.storage.volume_path import directory_of

__all__ = ["Target", "Wanted", "find_target", "refuse_same_directory"]


@dataclass(frozen=True, eq=False)
class Wanted:
    """What the caller of `fetch` wants; members are its parameters."""

    destination: str | os.PathLike[str]
    scale: object
    repair: str | os.PathLike[str] | None
    force: bool
    part: RegionRequest | None


@dataclass(frozen=True, eq=False)
class Target:
    """What is to be fetched, and where it goes.

    Parameters
    ----------
    volume : VolumeInfo
    scale : ScaleInfo
    directory, folder : str
        Of the copy, and of the scale in it.
    keys_here : tuple of str
        Scales that the copy has already.
    only : frozenset of str or None
        Names of the shards to repair.
    region : Region or None
        The part that is wanted.
    """

    volume: VolumeInfo
    scale: ScaleInfo
    directory: str
    folder: str
    keys_here: tuple[str, ...]
    only: frozenset[str] | None
    region: Region | None


def find_target(reader: SourceReader, wanted: Wanted) -> Target:
    """Ask the source for its info, and compare it with the copy.

    Raises
    ------
    InfoError
        No volume, one that is not sharded, or another one than the copy is of.
    TypeError, ValueError, OutOfBoundsError
        As `Region.of`.
    ReadError, OSError
        The source does not answer, or a file cannot be read.
    """
    where = f"{reader.source.text}/info"
    directory = directory_of(wanted.destination)
    if os.path.lexists(directory) and not os.path.isdir(directory):
        raise InfoError(f"{directory}: is not a directory; give one for the copy")
    refuse_same_directory(reader.source, directory)
    volume = reader.info()
    scale = select_scale(volume, wanted.scale, where)
    if scale.sharding is None:
        raise InfoError(
            f"{where}: scale {scale.key} is not sharded: each of its chunks is a file, often "
            "millions, and fetch copies shards; copy it with gsutil or rclone"
        )
    key = safe_key(scale.key, where)
    keys_here = check_same_volume(directory, volume, where)
    only = None
    if wanted.repair is not None:
        report = read_saved_report(wanted.repair, directory, volume, force=wanted.force)
        only = names_to_repair(report, os.fspath(wanted.repair), scale, ShardLattice(scale))
    region = None if wanted.part is None else Region.of(wanted.part, volume, scale)
    folder = os.path.normpath(os.path.join(directory, *key.split("/")))
    return Target(volume, scale, directory, folder, keys_here, only, region)


def refuse_same_directory(source: SourceUrl, directory: str) -> None:
    """A copy is no source of itself, also through links: it would prove what it does not know.

    Raises
    ------
    InfoError
    """
    if source.kind == "file" and os.path.realpath(source.root) == os.path.realpath(directory):
        raise InfoError(
            f"{directory}: the source and the copy are the same directory; give where the copy "
            "came from"
        )
