"""One shard file to check, as a small picklable value."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.format.grid import Box
from shardreader.format.info import ScaleInfo, VolumeInfo
from shardreader.format.manifest import FileRecord
from shardreader.format.sharding import ShardingSpec

__all__ = ["LEVELS", "ShardJob"]

LEVELS = ("quick", "full", "deep")


@dataclass(frozen=True)
class ShardJob:
    """One shard file to check.

    Parameters
    ----------
    directory : str
        That of ``info``.
    scale : ScaleInfo
        A sharded one.
    num_channels, data_type : int and str
        As in ``info``.
    shard_number : int
    level : {"quick", "full", "deep"}
    cross_check : float
        Fraction of the chunks that another implementation decodes too; needs "deep".
    seed : int
        Chooses the chunks that are sampled.
    box : Box or None
        Cells; chunks of others are not looked into.
    record : FileRecord or None
        What the manifest says of the file.

    Raises
    ------
    ValueError
        The scale is not sharded, or there is no such level.
    """

    directory: str
    scale: ScaleInfo
    num_channels: int
    data_type: str
    shard_number: int
    level: str = "full"
    cross_check: float = 0.0
    seed: int = 0
    box: Box | None = None
    record: FileRecord | None = None

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise ValueError(f"level must be one of {', '.join(LEVELS)}, not {self.level!r}")
        if self.scale.sharding is None:
            raise ValueError(f"scale {self.scale.key!r} is not sharded")

    @property
    def spec(self) -> ShardingSpec:
        """How the scale is sharded."""
        if self.scale.sharding is None:
            raise ValueError(f"scale {self.scale.key!r} is not sharded")
        return self.scale.sharding

    @property
    def file(self) -> str:
        """The shard file, relative to `directory`."""
        return f"{self.scale.key}/{self.spec.file_name(self.shard_number)}"

    def has_cells(self, cells: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which cells, of shape (n, 3), lie in the box."""
        if self.box is None:
            return np.ones(len(cells), dtype=np.bool_)
        lower, upper = np.array(self.box.lower), np.array(self.box.upper)
        inside: NDArray[np.bool_] = np.all((cells >= lower) & (cells < upper), axis=1)
        return inside

    @property
    def volume(self) -> VolumeInfo:
        """As much of the ``info`` as a check needs."""
        return VolumeInfo(
            "segmentation", self.data_type, self.num_channels, (self.scale,), None, None, None, ""
        )
