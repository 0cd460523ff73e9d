"""The fixtures that hold labels: open, and decoded."""

from __future__ import annotations

import functools
from typing import Any

from fixture_truth import FIXTURES, read_info, small_volume_names

from shardreader import Volume, open_volume

LABELLED = [
    name for name in small_volume_names() if read_info(FIXTURES / name)["data_type"] != "float32"
]


@functools.cache
def opened(name: str) -> Volume:
    # What a fixture lacks is background: its writer leaves out chunks of zeros.
    return open_volume(FIXTURES / name, missing="zero")


@functools.cache
def voxels_of(name: str) -> Any:
    volume = opened(name)
    return volume.cutout(volume.bounds)
