"""Read local copies of huge connectomics segmentations in Neuroglancer's precomputed format.

>>> import shardreader
>>> vol = shardreader.open_volume("fixtures/fafb-mini")
>>> vol.chunk_size
(128, 128, 32)
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from shardreader.version import __version__ as __version__

if TYPE_CHECKING:
    from shardreader.errors import (
        ChunkError,
        ClusterError,
        InfoError,
        InvalidPointError,
        NotDownloadedError,
        OutOfBoundsError,
        PointStatus,
        ReadError,
        SegmentIndexError,
        ShardError,
        ShardReaderError,
        UnknownSegmentError,
    )
    from shardreader.fetching import FetchReport, fetch
    from shardreader.fetching.adoption import adopt
    from shardreader.format.grid import Box
    from shardreader.labels.label_map import LabelMap
    from shardreader.labels.snapping import SnapStatus
    from shardreader.reading.shards import Shards, open_shards
    from shardreader.segment_index import IndexReport, build_index
    from shardreader.segments import IndexCoverage, Segment, SegmentTable
    from shardreader.verification import Report, verify
    from shardreader.volume import Volume, open_volume

__all__ = [
    "Box",
    "ChunkError",
    "ClusterError",
    "FetchReport",
    "IndexCoverage",
    "IndexReport",
    "InfoError",
    "InvalidPointError",
    "LabelMap",
    "NotDownloadedError",
    "OutOfBoundsError",
    "PointStatus",
    "ReadError",
    "Report",
    "Segment",
    "SegmentIndexError",
    "SegmentTable",
    "ShardError",
    "ShardReaderError",
    "Shards",
    "SnapStatus",
    "UnknownSegmentError",
    "Volume",
    "adopt",
    "build_index",
    "fetch",
    "open_shards",
    "open_volume",
    "verify",
]

# Loaded when first asked for, so that `python -m shardreader --help` answers at once.
_HOMES = {
    "Box": "format.grid",
    "FetchReport": "fetching",
    "LabelMap": "labels.label_map",
    "IndexCoverage": "segments",
    "IndexReport": "segment_index",
    "Report": "verification",
    "Segment": "segments",
    "SegmentTable": "segments",
    "Volume": "volume",
    "adopt": "fetching.adoption",
    "build_index": "segment_index",
    "fetch": "fetching",
    "Shards": "reading.shards",
    "SnapStatus": "labels.snapping",
    "open_shards": "reading.shards",
    "open_volume": "volume",
    "verify": "verification",
}


# Modules that are used by their names, `shardreader.fafb.locs_to_segments`.
_MODULES = ("compat", "fafb")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"shardreader.{name}")
    if name not in __all__:
        raise AttributeError(f"module 'shardreader' has no attribute {name!r}")
    module = importlib.import_module(f"shardreader.{_HOMES.get(name, 'errors')}")
    value = globals()[name] = getattr(module, name)
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_MODULES])
