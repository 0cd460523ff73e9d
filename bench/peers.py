"""The other readers, each with its best settings, behind one face."""

from __future__ import annotations

import importlib.util
import itertools
from typing import Any

import numpy as np

from bench.errors import CannotMeasure
from bench.measure import Side, time_once
from bench.ours import open_volume

__all__ = ["PEERS", "CloudVolume", "Ours", "Tensorstore", "absent_peers", "choose_peers"]

_MODULES = {
    "tensorstore": "tensorstore",
    "cloud-volume": "cloudvolume",
    "neuroglancer-scripts": "neuroglancer_scripts",
    "compressed-segmentation": "compressed_segmentation",
    "compresso": "compresso",
    "crackle-codec": "crackle",
    "zlib": "zlib",
    "libdeflate": "deflate",
}
PEERS = tuple(_MODULES)
_SLOW_SECONDS = 1.0


def absent_peers(names) -> list[str]:
    """Those that are not installed here."""
    return [name for name in names if importlib.util.find_spec(_MODULES[name]) is None]


def choose_peers(names) -> list[str]:
    """Those that can take part; a name that is no peer is refused."""
    unknown = [name for name in names if name not in _MODULES]
    if unknown:
        raise CannotMeasure(f"no such peer: {', '.join(unknown)}; there are {', '.join(PEERS)}")
    absent = absent_peers(names)
    return [name for name in names if name not in absent]


def _quickest(side: Side, runs: int) -> float:
    """The least of several runs; slow work is run once."""
    best = time_once(side, 0)
    for number in range(1, runs):
        if best > _SLOW_SECONDS:
            break
        best = min(best, time_once(side, number))
    return best


class Ours:
    """shardreader, as the peers are seen."""

    name = "shardreader"

    def __init__(self, path: str, scale: Any, threads: int) -> None:
        self._path, self._scale, self.threads = path, scale, threads

    def settings(self) -> dict:
        """As written to results.json."""
        return {"threads": self.threads}

    def open(self, **options):
        return open_volume(self._path, self._scale, self.threads, **options)

    def close(self, vol) -> None:
        vol.close()

    def cutout(self, vol, box):
        return vol.cutout(box)

    def points(self, vol, points):
        return vol.lookup(points, units="voxel")

    def labels(self, vol, box):
        return vol.labels(box)

    def counts(self, vol, box):
        return vol.label_counts(box)

    def cutout_array(self, result, _box):
        return result

    def points_array(self, result, _points):
        return result


class Tensorstore:
    """tensorstore; `tune` tries settings on a piece of work and keeps the best."""

    name = "tensorstore"

    def __init__(self, path: str, scale_index: int, threads: int) -> None:
        self._path, self._scale = path, scale_index
        self.threads = threads
        self._settings: dict[str, int] = {"cache_bytes": 1 << 30, "data_copy_threads": threads}

    def settings(self) -> dict:
        """As written to results.json."""
        return {"order": "F", **self._settings}

    def open(self):
        import tensorstore as ts

        # A context of its own: nothing is shared with the store of another run.
        context = ts.Context(
            {
                "cache_pool": {"total_bytes_limit": self._settings["cache_bytes"]},
                "data_copy_concurrency": {"limit": self._settings["data_copy_threads"]},
            }
        )
        spec = {
            "driver": "neuroglancer_precomputed",
            "kvstore": {"driver": "file", "path": f"{self._path}/"},
            "scale_index": self._scale,
        }
        return ts.open(spec, read=True, context=context).result()[..., 0]

    def close(self, store) -> None:
        del store

    def cutout(self, store, box):
        part = tuple(slice(a, b) for a, b in zip(box.lower, box.upper, strict=True))
        return store[part].read(order="F").result()

    def points(self, store, points):
        return store.vindex[points[:, 0], points[:, 1], points[:, 2]].read().result()

    def labels(self, store, box):
        return np.unique(self.cutout(store, box))

    def counts(self, store, box):
        return np.unique(self.cutout(store, box), return_counts=True)

    def cutout_array(self, result, _box):
        return result

    def points_array(self, result, _points):
        return result

    def tune(self, side: Side, runs: int = 3) -> dict:
        """Try each setting and keep the fastest; returns the seconds of each."""
        tried = {}
        for cache, copies in itertools.product((0, 1 << 30), sorted({1, self.threads})):
            self._settings = {"cache_bytes": cache, "data_copy_threads": copies}
            tried[cache, copies] = _quickest(side, runs)
        cache, copies = min(tried, key=tried.__getitem__)
        self._settings = {"cache_bytes": cache, "data_copy_threads": copies}
        return {
            f"cache_bytes={cache} data_copy_threads={copies}": seconds
            for (cache, copies), seconds in tried.items()
        }


class CloudVolume:
    """cloud-volume, in this process alone (parallel=1), its cache in memory."""

    name = "cloud-volume"

    def __init__(self, path: str, scale_index: int, threads: int) -> None:
        self._path, self._scale = path, scale_index
        self.threads = threads
        self._lru_bytes = 1 << 30

    def settings(self) -> dict:
        """As written to results.json."""
        return {"parallel": 1, "lru_bytes": self._lru_bytes, "fill_missing": True}

    def open(self):
        from cloudvolume import CloudVolume as Volume

        return Volume(
            f"precomputed://file://{self._path}",
            mip=self._scale,
            parallel=1,
            progress=False,
            fill_missing=True,
            cache=False,
            lru_bytes=self._lru_bytes,
        )

    def close(self, volume) -> None:
        del volume

    def cutout(self, volume, box):
        return volume[tuple(slice(a, b) for a, b in zip(box.lower, box.upper, strict=True))]

    def points(self, volume, points):
        return volume.scattered_points(points)

    def labels(self, volume, box):
        part = tuple(slice(a, b) for a, b in zip(box.lower, box.upper, strict=True))
        return sorted(volume.unique(part))

    def cutout_array(self, result, _box):
        return np.asarray(result)[..., 0]

    def points_array(self, result, points):
        labels = {tuple(map(int, point)): int(label) for point, label in result.items()}
        return np.array([labels[tuple(point)] for point in points.tolist()], np.uint64)

    def tune(self, side: Side, runs: int = 3) -> dict:
        """As `Tensorstore.tune`."""
        tried = {}
        for lru_bytes in (0, 1 << 30):
            self._lru_bytes = lru_bytes
            tried[lru_bytes] = _quickest(side, runs)
        self._lru_bytes = min(tried, key=tried.__getitem__)
        return {f"lru_bytes={size}": seconds for size, seconds in tried.items()}
