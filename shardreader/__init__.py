"""Read local copies of huge connectomics segmentations in Neuroglancer's precomputed format.

>>> import shardreader
>>> vol = shardreader.open_volume("fixtures/fafb-mini")
>>> vol.chunk_size
(128, 128, 32)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from shardreader.errors import (
        ChunkError,
        InfoError,
        InvalidPointError,
        NotDownloadedError,
        OutOfBoundsError,
        PointStatus,
        ReadError,
        ShardError,
        ShardReaderError,
    )
    from shardreader.grid import Box
    from shardreader.volume import Volume, open_volume

__all__ = [
    "Box",
    "ChunkError",
    "InfoError",
    "InvalidPointError",
    "NotDownloadedError",
    "OutOfBoundsError",
    "PointStatus",
    "ReadError",
    "ShardError",
    "ShardReaderError",
    "Volume",
    "open_volume",
]

__version__ = "0.1.0"

# Loaded when first asked for, so that `python -m shardreader --help` answers at once.
_HOMES = {"Box": "grid", "Volume": "volume", "open_volume": "volume"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'shardreader' has no attribute {name!r}")
    module = importlib.import_module(f"shardreader.{_HOMES.get(name, 'errors')}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
