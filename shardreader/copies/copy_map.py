"""Which shards of a scale are in a copy, as a grid over the volume."""

from __future__ import annotations

import enum
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.copies.shard_listing import scale_folder
from shardreader.errors import ReadError, ShardError
from shardreader.format.coverage import COVERAGE_MAGIC
from shardreader.format.grid import Box, Triple, merged_boxes
from shardreader.format.shard_lattice import COUNTABLE_SHARDS, ShardLattice, voxels_of_cells
from shardreader.storage.documents import VolumeFiles
from shardreader.storage.local_store import LocalStore, StaleFileError, read_error
from shardreader.storage.shard_pairs import parts_of, shard_name

__all__ = ["CopyMap", "ShardState", "read_copy_map"]


class ShardState(enum.IntEnum):
    """What is known of a shard without opening it."""

    HERE = 0
    """Its file is in the copy."""
    SOURCE_HAS_NONE = 1
    """It is absent, and by the manifest so it is at the source: background."""
    NOT_DOWNLOADED = 2
    """It is absent, and the source has it."""
    UNKNOWN = 3
    """It is absent, and nothing says whether the source has it."""
    PARTIAL = 4
    """Its file has some of the source's chunks, by its coverage record."""
    UNREADABLE = 5
    """Its file is in the copy, and the operating system refuses to read it."""


@dataclass(frozen=True, eq=False)
class CopyMap:
    """The shards of one scale by their place.

    Parameters
    ----------
    lattice : ShardLattice
    states : ndarray of uint8, shape (x, y, z)
        The `ShardState` of the shard at each place of the lattice.
    files : VolumeFiles
    """

    lattice: ShardLattice
    states: NDArray[np.uint8]
    files: VolumeFiles

    def count(self, state: ShardState) -> int:
        """How many shards are in a state."""
        return int(np.count_nonzero(self.states == state))

    def boxes(self, state: ShardState) -> list[Box]:
        """The voxels of the shards in a state, neighbours joined."""
        return [self.voxels(box) for box in merged_boxes(self.states == state)]

    def shards(self, state: ShardState) -> list[tuple[str, Box]]:
        """The file names and voxels of the shards in a state."""
        places = (
            (name, Box(place, (place[0] + 1, place[1] + 1, place[2] + 1)))
            for name, place in _possible(self.lattice)
            if self.states[place] == state
        )
        return [(name, self.voxels(box)) for name, box in places]

    def voxels(self, places: Box) -> Box:
        """The voxels of a box of places in the lattice."""
        grid, wide = self.files.scale.grid, self.lattice.shard_cells
        lower, upper = (
            tuple(min(p * w, n) for p, w, n in zip(corner, wide, grid.grid_size, strict=True))
            for corner in (places.lower, places.upper)
        )
        return voxels_of_cells(grid, Box(lower, upper))  # type: ignore[arg-type]


def read_copy_map(files: VolumeFiles) -> CopyMap | None:
    """Look which shards are here, by listing the directory of the scale once.

    Returns
    -------
    CopyMap or None
        None where shards are no boxes side by side: an unsharded scale, a hash that scatters
        chunks; also where there are more than a million.

    Raises
    ------
    ReadError
        The copy is not there, or its directory cannot be listed.

    Examples
    --------
    >>> from shardreader.storage.documents import read_volume_files
    >>> found = read_copy_map(read_volume_files("fixtures/fafb-mini", None, None))
    >>> found.states.shape, found.count(ShardState.HERE), found.count(ShardState.UNKNOWN)
    ((31, 17, 7), 9, 3677)
    """
    scale = files.scale
    if scale.sharding is None:
        return None
    lattice = ShardLattice(scale)
    if lattice.shape is None or lattice.wraps or not 0 < lattice.count <= COUNTABLE_SHARDS:
        return None
    states = np.full(lattice.shape, ShardState.UNKNOWN, dtype=np.uint8)
    listed = _listed(files)
    present = _present(files)
    here = _states_of_present(files, scale.sharding.shard_index_end, present)
    for name, place in _possible(lattice):
        if name in here:
            states[place] = here[name]
        elif files.source_has_none(name, *parts_of(name)):
            states[place] = ShardState.SOURCE_HAS_NONE
        elif name in listed:
            states[place] = ShardState.NOT_DOWNLOADED
    return CopyMap(lattice, states, files)


def _possible(lattice: ShardLattice) -> Iterator[tuple[str, Triple]]:
    for number in lattice.numbers():
        place = lattice.position(number)
        if place is not None:
            yield lattice.file_name(number), place


def _states_of_present(
    files: VolumeFiles, start: int, names: Iterable[str]
) -> dict[str, ShardState]:
    """The states of the shards that are here, by their record or the manifest.

    `start` is where the coverage record of a shard begins.
    """
    store = LocalStore(files.directory)
    try:
        return {
            name: ShardState.PARTIAL
            if files.calls_partial(name)
            else _state_by_record(store, f"{files.scale.key}/{name}", start)
            for name in names
        }
    finally:
        store.close()


def _state_by_record(store: LocalStore, name: str, start: int) -> ShardState:
    end = start + len(COVERAGE_MAGIC)
    try:
        identity = store.identity(name)
        if identity is None or identity.size < end:
            return ShardState.HERE
        magic = store.read(name, start=start, end=end, identity=identity)
        return ShardState.PARTIAL if magic == COVERAGE_MAGIC else ShardState.HERE
    except ShardError:
        return ShardState.HERE  # no file: every read of it says so
    except ReadError:
        return ShardState.UNREADABLE
    except StaleFileError:
        raise ReadError(f"{store.path(name)}: was replaced just now; try again") from None


def _listed(files: VolumeFiles) -> set[str]:
    """The shards that the manifest names."""
    known = None if files.manifest is None else files.manifest.scales.get(files.scale.key)
    return set() if known is None else {shard_name(name) for name in known.files}


def _present(files: VolumeFiles) -> set[str]:
    directory = scale_folder(files.directory, files.scale)
    try:
        names = set(os.listdir(directory))
    except FileNotFoundError:
        if os.path.isfile(os.path.join(files.directory, "info")):
            return set()  # nothing of this scale was downloaded
        raise ReadError(
            f"{files.directory}: not there (any more); a map is of a copy in a local directory"
        ) from None
    except OSError as error:
        raise read_error(directory, "list it", error) from error
    whole = {shard_name(name) for name in names}
    return {name for name in whole if name in names or names.issuperset(parts_of(name))}
