"""Adapters for code that was written for other readers.

`CloudVolumeLike` has the reading half of cloud-volume's ``CloudVolume``. Users import the names
from here; no package of shardreader but the command line does.
"""

from shardreader.compat.cloud_volume import Bbox, CloudVolumeLike, UnsupportedError, Vec

__all__ = ["Bbox", "CloudVolumeLike", "UnsupportedError", "Vec"]
