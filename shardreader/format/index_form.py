"""What is true of all minishard indices of a volume, as integers for compiled code.

Specification: sharded.md, "Minishard index format"; volume.md, "Compressed morton code". The names
are the positions in the array that `index_form` gives.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Triple
from shardreader.format.morton import id_limits
from shardreader.format.sharding import ShardingSpec

__all__ = [
    "ID_LIMITS",
    "INDEX_END",
    "IS_GZIP",
    "MINISHARD_BITS",
    "MOST_BYTES",
    "MOST_STORED_BYTES",
    "PRESHIFT_BITS",
    "SHARD_BITS",
    "index_form",
]

INDEX_END = 0
"""Where the shard index ends, in bytes from the start of the file."""
MOST_STORED_BYTES = 1
"""The most bytes that a minishard index has in the file."""
MOST_BYTES = 2
"""The most bytes that it has after inflate."""
IS_GZIP = 3
"""1 for gzip, 0 for raw."""
PRESHIFT_BITS = 4
MINISHARD_BITS = 5
SHARD_BITS = 6
ID_LIMITS = 7
"""The first of the six words of `morton.id_limits`."""


@lru_cache(maxsize=64)  # volumes are opened again and again
def index_form(
    spec: ShardingSpec, grid_size: Triple | None, most_stored_bytes: int = 0, most_bytes: int = 0
) -> NDArray[np.int64]:
    """The array of int64, shape (13,), read-only.

    Parameters
    ----------
    spec : ShardingSpec
    grid_size : (int, int, int) or None
        Chunks along x, y, z. None for a key-value store, whose keys are any 64 bits.
    most_stored_bytes, most_bytes : int
        For readers of files; 0 where only what has been read is parsed.
    """
    form = np.concatenate(
        [
            np.array(
                [
                    spec.shard_index_end,
                    most_stored_bytes,
                    most_bytes,
                    spec.minishard_index_encoding == "gzip",
                    spec.preshift_bits,
                    spec.minishard_bits,
                    spec.shard_bits,
                ],
                dtype=np.int64,
            ),
            id_limits(grid_size).view(np.int64),
        ]
    )
    form.flags.writeable = False
    return form
