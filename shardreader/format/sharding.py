"""The sharding specification, and where it puts a chunk.

Specification: sharded.md, "Sharding specification".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault
from shardreader.format.json_members import choice, integer, shown
from shardreader.format.murmurhash import murmurhash3_x86_128_low

__all__ = ["CHECKED_ENCODINGS", "SHARDING_TYPE", "ShardingSpec"]

SHARDING_TYPE = "neuroglancer_uint64_sharded_v1"
_Ids: TypeAlias = NDArray[np.uint64]
HASHES: dict[str, Callable[[_Ids], _Ids]] = {
    "identity": lambda ids: ids,
    "murmurhash3_x86_128": murmurhash3_x86_128_low,
}
# The specification has raw and gzip; zstd is an extension of this package.
ENCODINGS = ("raw", "gzip", "zstd")
# Those that carry a checksum of what they hold; that of zstd is optional.
CHECKED_ENCODINGS = ("gzip",)
# With more, a shard index would be longer than 64 GiB.
MINISHARD_BITS_LIMIT = 32
_ID_BITS = 64


@dataclass(frozen=True)
class ShardingSpec:
    """Which shard and minishard hold a chunk, and how they are encoded.

    Parameters
    ----------
    preshift_bits, minishard_bits, shard_bits : int
        As in the specification; 0 to 64, 0 to 32, and 0 to 64 less ``minishard_bits``.
    hash : {"identity", "murmurhash3_x86_128"}
        Of the chunk id after `preshift_bits`.
    minishard_index_encoding, data_encoding : {"raw", "gzip", "zstd"}
        zstd is an extension of this package: no other reader knows it.

    Examples
    --------
    >>> fafb = ShardingSpec(preshift_bits=9, minishard_bits=6, shard_bits=13,
    ...                     minishard_index_encoding="gzip", data_encoding="gzip")
    >>> shards, minishards = fafb.locate(np.array([0x123ABC0], np.uint64))
    >>> fafb.file_name(int(shards[0])), int(minishards[0])
    ('0247.shard', 21)
    """

    preshift_bits: int
    minishard_bits: int
    shard_bits: int
    hash: str = "identity"
    minishard_index_encoding: str = "raw"
    data_encoding: str = "raw"

    @classmethod
    def from_json(cls, member: object, path: str) -> ShardingSpec:
        """Parse a ``sharding`` member of an ``info``; `path` is its JSON path, for messages.

        Raises
        ------
        FormatFault
        """
        if not isinstance(member, Mapping):
            raise FormatFault(path, expected="a JSON object", found=shown(member))
        choice(member.get("@type"), f'{path}["@type"]', (SHARDING_TYPE,))

        def bits(name: str, most: int) -> int:
            return integer(member.get(name), f"{path}.{name}", 0, most)

        def word(name: str, default: str | None, choices: tuple[str, ...]) -> str:
            return choice(member.get(name, default), f"{path}.{name}", choices)

        minishard_bits = bits("minishard_bits", MINISHARD_BITS_LIMIT)
        return cls(
            preshift_bits=bits("preshift_bits", _ID_BITS),
            minishard_bits=minishard_bits,
            shard_bits=bits("shard_bits", _ID_BITS - minishard_bits),
            hash=word("hash", None, tuple(HASHES)),
            minishard_index_encoding=word("minishard_index_encoding", "raw", ENCODINGS),
            data_encoding=word("data_encoding", "raw", ENCODINGS),
        )

    @property
    def shard_index_end(self) -> int:
        """Length of the shard index in bytes; offsets in a shard count from here."""
        return 16 << self.minishard_bits

    def slots(self, chunk_ids: NDArray[np.uint64]) -> NDArray[np.uint64]:
        """Shard and minishard of chunk ids as ``shard << minishard_bits | minishard``, uint64."""
        shifted = _shift_right(np.asarray(chunk_ids, dtype=np.uint64), self.preshift_bits)
        hashed = HASHES[self.hash](shifted)
        slots: NDArray[np.uint64] = hashed & np.uint64(
            (1 << (self.minishard_bits + self.shard_bits)) - 1
        )
        return slots

    def locate(
        self, chunk_ids: NDArray[np.uint64]
    ) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
        """Shard and minishard numbers of chunk ids, each uint64 of the same shape."""
        slots = self.slots(chunk_ids)
        minishards = slots & np.uint64((1 << self.minishard_bits) - 1)
        return _shift_right(slots, self.minishard_bits), minishards

    def locate_one(self, chunk_id: int) -> tuple[int, int]:
        """Shard and minishard number of one chunk id; numpy takes ten times as long for it."""
        if self.hash != "identity":
            shards, minishards = self.locate(np.array([chunk_id], dtype=np.uint64))
            return int(shards[0]), int(minishards[0])
        shifted = chunk_id >> self.preshift_bits
        shard = shifted >> self.minishard_bits & (1 << self.shard_bits) - 1
        return shard, shifted & (1 << self.minishard_bits) - 1

    def file_name(self, shard_number: int) -> str:
        """The name of a shard's file: lowercase hexadecimal of ceil(shard_bits / 4) digits."""
        return f"{shard_number:0{-(-self.shard_bits // 4)}x}.shard"


def _shift_right(values: NDArray[np.uint64], bits: int) -> NDArray[np.uint64]:
    # A shift by the whole width is undefined in C, and so in numpy.
    return values >> np.uint64(bits) if bits < _ID_BITS else np.zeros_like(values)
