"""Shard files as the source sees them, also those of the format's first version.

Specification: sharded.md, "Sharding specification": a ``N.shard`` file is the concatenation of
the first version's ``N.index`` and ``N.data``.
"""

from __future__ import annotations

from dataclasses import dataclass

from shardreader.storage.local_store import FileVersion, Handle, StaleFileError, Store

__all__ = ["PairIdentity", "ShardFiles", "parts_of", "shard_name"]

_SUFFIX = ".shard"
_PAIR = (".index", ".data")


@dataclass(frozen=True)
class PairIdentity:
    """The identities of a ``N.index`` and its ``N.data``."""

    index: FileVersion
    data: FileVersion

    @property
    def size(self) -> int:
        """Length of the concatenation in bytes."""
        return self.index.size + self.data.size


class ShardFiles:
    """Reads ``N.shard`` by name; where there is none, the pair of files that it stands for.

    Parameters
    ----------
    store : Store
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def identity(self, name: str) -> FileVersion | None:
        """As `LocalStore.identity`; None also where one file of a pair is missing."""
        whole = self._store.identity(name)
        if whole is not None:
            return whole
        index, data = (self._store.identity(part) for part in parts_of(name))
        return None if index is None or data is None else PairIdentity(index, data)

    def read(self, name: str, *, start: int, end: int, identity: FileVersion) -> bytes:
        """As `LocalStore.read`."""
        if not isinstance(identity, PairIdentity):
            return self._store.read(name, start=start, end=end, identity=identity)
        if end > identity.size:
            raise StaleFileError(name)
        pieces = []
        first = 0
        for part, part_identity in zip(
            parts_of(name), (identity.index, identity.data), strict=True
        ):
            a, b = max(start - first, 0), min(end - first, part_identity.size)
            if a < b:
                pieces.append(self._store.read(part, start=a, end=b, identity=part_identity))
            first += part_identity.size
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def hold(self, name: str, identity: FileVersion) -> Handle | None:
        """As `LocalStore.hold`; None for a pair, whose bytes are in two files."""
        return None if isinstance(identity, PairIdentity) else self._store.hold(name, identity)

    def let_go(self, name: str, handle: Handle) -> None:
        """As `LocalStore.let_go`."""
        self._store.let_go(name, handle)

    def path(self, name: str, identity: FileVersion | None = None) -> str:
        """What to call the shard in a message."""
        if isinstance(identity, PairIdentity):
            return " + ".join(self._store.path(part) for part in parts_of(name))
        return self._store.path(name)


def parts_of(name: str) -> list[str]:
    """The names of the first version's files for a ``N.shard``."""
    return [name.removesuffix(_SUFFIX) + suffix for suffix in _PAIR]


def shard_name(name: str) -> str:
    """The name of the ``N.shard`` that a file of the first version is part of; else `name`."""
    for suffix in _PAIR:
        if name.endswith(suffix):
            return name.removesuffix(suffix) + _SUFFIX
    return name
