"""The info of FAFB-FFN1 as a document, and changes of it."""

from __future__ import annotations

import copy
import json

from shardreader.format.info import (
    parse_info,
)

WHERE = "vol/info"


SHARDING = {
    "@type": "neuroglancer_uint64_sharded_v1",
    "data_encoding": "gzip",
    "hash": "identity",
    "minishard_bits": 6,
    "minishard_index_encoding": "gzip",
    "preshift_bits": 9,
    "shard_bits": 13,
}


FAFB = {
    "@type": "neuroglancer_multiscale_volume",
    "data_type": "uint64",
    "num_channels": 1,
    "scales": [
        {
            "chunk_sizes": [[128, 128, 32]],
            "compressed_segmentation_block_size": [16, 16, 2],
            "encoding": "compressed_segmentation",
            "key": "8.0x8.0x40.0",
            "resolution": [8, 8, 40],
            "sharding": SHARDING,
            "size": [124416, 67072, 7063],
        }
    ],
    "type": "segmentation",
    "mesh": "mesh",
}


REMOVED = object()


def changed(*changes, base=FAFB):
    """A copy of `base` with (path, value) changes; a path is a tuple of members and indices."""
    document = copy.deepcopy(base)
    for path, value in changes:
        *parents, last = path
        target = document
        for part in parents:
            target = target[part]
        if value is REMOVED:
            del target[last]
        else:
            target[last] = value
    return document


def scale_of(*changes):
    return changed(*((("scales", 0, *path), value) for path, value in changes))


def parse(document):
    return parse_info(json.dumps(document).encode(), WHERE)


RAW = [(("encoding",), "raw"), (("compressed_segmentation_block_size",), REMOVED)]
