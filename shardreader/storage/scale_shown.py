"""Whether a source has shown that it has a scale: without that, a 404 says nothing.

An info may list scales whose data was never written. One object is enough: from a listing, or from
a bounded number of requests for names that are likely.
"""

from __future__ import annotations

import re
from itertools import product

import numpy as np

from shardreader.format.info import ScaleInfo
from shardreader.format.morton import chunk_ids_of_cells
from shardreader.format.shard_lattice import ShardLattice
from shardreader.storage.plain_http import StoreError
from shardreader.storage.remote_store import RemoteStore
from shardreader.storage.shard_pairs import parts_of, shard_name

__all__ = ["lists_scale", "names_to_try"]

_CHUNK_FILE = re.compile(r"-?\d+--?\d+_-?\d+--?\d+_-?\d+--?\d+(\.gz|\.zstd|\.br)?")
# Data lies rather in the middle than at the edges. All where there are no more than these.
_FRACTIONS = sorted(product((2, 1, 3), repeat=3), key=lambda f: sum(abs(n - 2) for n in f))
_MOST_SHARDS = len(_FRACTIONS)


def names_to_try(scale: ScaleInfo) -> list[str]:
    """Files of a scale that are likely to exist if any does, by their base names; at most 81."""
    size = np.array(scale.grid.grid_size, dtype=np.int64)
    cells = np.unique(np.array(_FRACTIONS) * size // 4, axis=0)
    cells = cells[np.argsort(np.abs(cells * 4 - 2 * size).sum(axis=1), kind="stable")]
    if scale.sharding is None:
        names = scale.grid.file_names(cells)
        return [*names, *(f"{name}.gz" for name in names), *(f"{name}.zstd" for name in names)]
    lattice = ShardLattice(scale)
    if lattice.count <= _MOST_SHARDS:
        numbers = list(lattice.numbers())
    else:
        shards, _ = scale.sharding.locate(chunk_ids_of_cells(cells, scale.grid.grid_size))
        numbers = list(dict.fromkeys(shards.tolist()))
    names = [lattice.file_name(number) for number in numbers]
    return [*names, *(parts_of(name)[0] for name in names)]


def lists_scale(store: RemoteStore, scale: ScaleInfo) -> bool:
    """Whether the first page of a listing shows an object of a scale.

    False also where the source cannot be listed.
    """
    if store.source.kind == "http":
        return False
    folder = store.source.name(scale.key)
    prefix = f"{folder}/" if folder else ""
    lattice = None if scale.sharding is None else ShardLattice(scale)
    try:
        for name, version in next(store.pages(prefix), []):
            base = name[len(prefix) :]
            if name.startswith(prefix) and version.size and _is_data(base, lattice):
                return True
    except StoreError:
        return False
    return False


def _is_data(base: str, lattice: ShardLattice | None) -> bool:
    if lattice is None:
        return _CHUNK_FILE.fullmatch(base) is not None
    return lattice.number_of_name(shard_name(base)) is not None
