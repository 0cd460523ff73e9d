"""Read local copies of huge connectomics segmentations in Neuroglancer's precomputed format.

>>> import shardreader
>>> vol = shardreader.open_volume("fixtures/fafb-mini")
>>> vol.chunk_size
(128, 128, 32)
"""

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
