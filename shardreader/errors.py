"""The error tree, the status of a point or chunk, and where in a file a problem lies.

Imports nothing of the package.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

__all__ = [
    "ChunkError",
    "ClusterError",
    "FormatFault",
    "InfoError",
    "InvalidPointError",
    "Location",
    "NotDownloadedError",
    "OutOfBoundsError",
    "PointStatus",
    "ReadError",
    "SegmentIndexError",
    "ShardError",
    "ShardReaderError",
    "UnknownSegmentError",
]


class PointStatus(enum.IntEnum):
    """What is known about the voxel at a point, or about a chunk.

    The label is 0 for every status but ``OK``.

    Examples
    --------
    >>> PointStatus(4).name
    'NOT_DOWNLOADED'
    """

    OK = 0
    """The data holds a label for this voxel."""
    EMPTY = 1
    """Not stored: background by the format, or the source is known to have nothing here."""
    OUT_OF_BOUNDS = 2
    """Outside the volume."""
    INVALID = 3
    """Not a position: NaN, infinity or no number."""
    NOT_DOWNLOADED = 4
    """The file that may hold this voxel is not in this copy."""
    CORRUPT = 5
    """The bytes that should hold this voxel break the format."""


@dataclass(frozen=True)
class Location:
    """Where in a volume a problem lies; members that do not apply are None.

    ``byte_range`` is half-open and counts from the start of ``file``.
    """

    file: str | None = None
    shard_number: int | None = None
    minishard_number: int | None = None
    chunk_id: int | None = None
    cell: tuple[int, int, int] | None = None
    byte_range: tuple[int, int] | None = None

    def __str__(self) -> str:
        parts = []
        if self.file is not None:
            parts.append(str(self.file))
        if self.shard_number is not None:
            parts.append(f"shard {self.shard_number:#x}")
        if self.minishard_number is not None:
            parts.append(f"minishard {self.minishard_number}")
        if self.chunk_id is not None:
            parts.append(f"chunk {self.chunk_id}")
        if self.cell is not None:
            parts.append("cell ({}, {}, {})".format(*self.cell))
        if self.byte_range is not None:
            parts.append("bytes [{}, {})".format(*self.byte_range))
        return ", ".join(parts)


class FormatFault(ValueError):
    """Bytes that break the format, before it is known where they came from.

    The pure decoders raise it; the layer that knows the file turns it into a
    `ShardError` or a `ChunkError`.

    Parameters
    ----------
    what : str
        The thing that is wrong, for example ``"minishard index length"``.
    expected, found : str
        What the format asks for, and what is there.
    """

    def __init__(self, what: str, *, expected: str, found: str) -> None:
        super().__init__(what, expected, found)
        self.what = what
        self.expected = expected
        self.found = found

    def __reduce__(self) -> tuple[Any, ...]:
        return _fault, (self.what, self.expected, self.found)

    def __str__(self) -> str:
        return f"{self.what}: expected {self.expected}, found {self.found}"


def _fault(what: str, expected: str, found: str) -> FormatFault:
    return FormatFault(what, expected=expected, found=found)


_E = TypeVar("_E", bound="ShardReaderError")


class ShardReaderError(Exception):
    """The root of every error that shardreader raises about a volume.

    Attributes
    ----------
    location : Location or None
        File, shard, minishard, chunk, cell and byte range, where they apply.
    labels, status : numpy.ndarray or None
        The whole answer of the `Volume.lookup` that raised this error.
    """

    location: Location | None = None
    what: str | None = None
    expected: str | None = None
    found: str | None = None
    labels: np.ndarray[Any, Any] | None = None
    status: np.ndarray[Any, Any] | None = None

    @classmethod
    def at(
        cls: type[_E], location: Location, what: str, *, expected: str, found: str, advice: str
    ) -> _E:
        """Make an error whose message says where, what, expected, found and what to do next."""
        error = cls(f"{location}: {what}: expected {expected}, found {found}; {advice}")
        error.location, error.what = location, what
        error.expected, error.found = expected, found
        return error

    @classmethod
    def from_fault(cls: type[_E], fault: FormatFault, location: Location, advice: str) -> _E:
        """Turn what a decoder found into an error that knows where and what to do next."""
        return cls.at(
            location, fault.what, expected=fault.expected, found=fault.found, advice=advice
        )


class InfoError(ShardReaderError, ValueError):
    """The ``info`` file or the manifest breaks its schema, or asks for what is not supported."""


class ShardError(ShardReaderError, ValueError):
    """A shard file, its shard index or one of its minishard indices breaks the format."""


class ChunkError(ShardReaderError, ValueError):
    """The stored bytes of one chunk break the format."""


class NotDownloadedError(ShardReaderError, FileNotFoundError):
    """The file that may hold the data asked for is not in this copy."""


class OutOfBoundsError(ShardReaderError, IndexError):
    """A box, index or point lies outside the volume."""


class InvalidPointError(ShardReaderError, ValueError):
    """A point is NaN or infinite."""


class ReadError(ShardReaderError, OSError):
    """The operating system refused a read: a drive, a permission, a descriptor limit."""


class ClusterError(ShardReaderError, RuntimeError):
    """The machines of a dask cluster cannot do the work; says nothing about the data."""


class SegmentIndexError(ShardReaderError):
    """There is no segment index, or it cannot answer: damaged, outdated, of another volume."""


class UnknownSegmentError(SegmentIndexError, LookupError):
    """No voxel that the segment index covers has this label."""
