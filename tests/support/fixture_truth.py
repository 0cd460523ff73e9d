"""What the volumes in `fixtures/` have to give, as stored beside them by their writers."""

from __future__ import annotations

import atexit
import csv
import json
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIXTURES = Path(__file__).resolve().parents[2] / "fixtures"
FAFB_MINI = FIXTURES / "fafb-mini"


@dataclass(frozen=True)
class Truth:
    """The source labels of a box of one scale, whose low corner is `origin`.

    With several channels they have a last axis for them.
    """

    path: Path
    key: str
    origin: tuple[int, int, int]
    labels: NDArray[np.unsignedinteger]

    @property
    def upper(self) -> tuple[int, ...]:
        return tuple(o + n for o, n in zip(self.origin, self.labels.shape[:3], strict=True))


@dataclass(frozen=True)
class ExpectedPoint:
    """A row of a points file as its text, and what it has to give."""

    fields: tuple[str, str, str]
    segment: int
    status: str


def read_info(path: Path) -> dict[str, Any]:
    """Read the `info` of a fixture."""
    info: dict[str, Any] = json.loads((path / "info").read_text())
    return info


def small_volume_names() -> list[str]:
    """Name the fixtures whose whole volume is known."""
    names = sorted(path.parent.name for path in FIXTURES.glob("*/info"))
    return [name for name in names if name != FAFB_MINI.name]


def scale_keys(name: str) -> list[str]:
    """Give the keys of a fixture's scales, in the order of its `info`."""
    return [scale["key"] for scale in read_info(FIXTURES / name)["scales"]]


def load_truth(name: str, key: str) -> Truth:
    """Load the source labels of one scale of a small volume."""
    scale = next(s for s in read_info(FIXTURES / name)["scales"] if s["key"] == key)
    x, y, z = scale.get("voxel_offset", (0, 0, 0))
    with np.load(FIXTURES / f"{name}.truth.npz") as arrays:
        return Truth(FIXTURES / name, key, (x, y, z), arrays[key])


def load_fafb_patches() -> list[Truth]:
    """Load the two patches of `fafb-mini`: the shard corner and the far end of the volume."""
    (key,) = scale_keys(FAFB_MINI.name)
    patches = []
    with np.load(FIXTURES / "fafb-mini.truth.npz") as arrays:
        for patch in ("corner", "far"):
            x, y, z = (int(n) for n in arrays[f"{patch}_origin"])
            labels = arrays[f"{patch}_ids"][arrays[f"{patch}_codes"]]
            patches.append(Truth(FAFB_MINI, key, (x, y, z), labels))
    return patches


def read_expected_points(stem: str) -> list[ExpectedPoint]:
    """Read `STEM-truth.csv` of `fafb-mini`: the points of `STEM.csv` and what they give."""
    with (FAFB_MINI / f"{stem}-truth.csv").open(newline="") as file:
        return [
            ExpectedPoint((row["x"], row["y"], row["z"]), int(row["segment"]), row["status"])
            for row in csv.DictReader(file)
        ]


def copy_of_fafb_mini() -> Path:
    """Copy the fixture for one process: verify keeps a state beside the info while it runs."""
    parent = tempfile.mkdtemp(prefix="shardreader-tests-")
    atexit.register(shutil.rmtree, parent, ignore_errors=True)
    return Path(shutil.copytree(FAFB_MINI, Path(parent, FAFB_MINI.name)))
