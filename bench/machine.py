"""Facts about the machine, for results.json."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

__all__ = ["busy_warning", "machine_facts"]

_LIBRARIES = (
    "numpy",
    "numba",
    "deflate",
    "tensorstore",
    "cloud-volume",
    "neuroglancer-scripts",
    "compressed-segmentation",
    "zstandard",
    "matplotlib",
)
_BUSY_LOAD = 0.5


def machine_facts(path: str) -> dict:
    """CPU, cores, memory, disk, kernel and versions."""
    facts = {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "usable_cores": len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else os.cpu_count(),
        "memory_bytes": _memory_bytes(),
        "kernel": platform.platform(),
        "huge_pages": _first_line("/sys/kernel/mm/transparent_hugepage/enabled"),
        "python": sys.version.split()[0],
        "libraries": {},
        "load_average": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        **_disk(path),
    }
    for name in _LIBRARIES:
        try:
            facts["libraries"][name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            facts["libraries"][name] = None
    return facts


def busy_warning(facts: dict) -> str | None:
    """A sentence where others use the machine; None where it is quiet."""
    load = facts["load_average"]
    if load is None or load[0] < _BUSY_LOAD:
        return None
    return (
        f"the machine is busy (load {load[0]:.1f} on {facts['usable_cores']} cores before the "
        "start): times are not to be trusted, ratios only roughly"
    )


def _cpu_model() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            for line in file:
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def _first_line(path: str) -> str | None:
    try:
        with open(path) as file:
            return file.readline().strip()
    except OSError:
        return None


def _disk(path: str) -> dict:
    """The file system that holds a path: the longest mount point above it."""
    found = {"disk": None, "filesystem": None}
    try:
        with open("/proc/mounts") as file:
            mounts = [line.split()[:3] for line in file]
    except OSError:
        return found
    path = os.path.realpath(path)
    best = ""
    for device, point, kind in mounts:
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, found = point, {"disk": device, "filesystem": kind}
    return found
