"""The coverage record: a shard file that has only some of its source's chunks says which.

The record follows the shard index directly; minishard and chunk offsets leave room for it, so that
other readers take the file as it is. All numbers are little-endian::

    8 bytes  magic
    4 bytes  version, 1
    4 bytes  length of the generation in bytes, 0 where the source gave none
    8 bytes  number of runs
    ...      generation of the file at the source, UTF-8
    ...      runs of chunk ids that were asked for: first and last id, 8 bytes each, ascending
    4 bytes  CRC-32 of all before

Runs and not a bitmap: the ids of a box are a few runs, and a hash that mixes the bits gives the
ids of a shard no numbers.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shardreader.errors import FormatFault

__all__ = [
    "COVERAGE_HEADER_BYTES",
    "COVERAGE_MAGIC",
    "Coverage",
    "coverage_length",
    "decode_coverage",
    "encode_coverage",
    "read_coverage",
]

COVERAGE_MAGIC = b"shardCov"
_VERSION = 1
_HEADER = struct.Struct("<8sIIQ")
_CRC = struct.Struct("<I")
COVERAGE_HEADER_BYTES = _HEADER.size
_RUN_BYTES = 16
# A generation or an ETag has some 40 characters.
_GENERATION_BYTES_LIMIT = 1 << 10
_WHAT = "coverage record"
# Of the 8 bytes of the magic: a damaged record must not pass for the first chunk of a whole shard.
_MAGIC_BYTES_ALIKE = 5


@dataclass(frozen=True, eq=False)
class Coverage:
    """Which chunks of its source a shard file answers for.

    Parameters
    ----------
    generation : str or None
        Which version of the file the source had.
    firsts, lasts : ndarray of uint64, shape (n,)
        Runs of chunk ids that were asked for, both ends included, ascending and apart. A chunk
        in a run that the shard does not have is one that the source does not have either.

    Examples
    --------
    >>> coverage = Coverage.of_ids(np.array([7, 3, 4], np.uint64), generation="12")
    >>> coverage.firsts.tolist(), coverage.lasts.tolist()
    ([3, 7], [4, 7])
    >>> coverage.covers(np.array([4, 5], np.uint64)).tolist()
    [True, False]
    """

    generation: str | None
    firsts: NDArray[np.uint64]
    lasts: NDArray[np.uint64]

    @classmethod
    def of_ids(cls, chunk_ids: NDArray[np.uint64], *, generation: str | None) -> Coverage:
        """The coverage of these chunk ids, in any order."""
        ids = np.unique(np.asarray(chunk_ids, dtype=np.uint64))
        gaps = np.flatnonzero(np.diff(ids) > 1)
        firsts = ids[np.concatenate([[0], gaps + 1]).astype(np.intp)] if len(ids) else ids
        lasts = ids[np.concatenate([gaps, [len(ids) - 1]]).astype(np.intp)] if len(ids) else ids
        return cls(generation, firsts, lasts)

    def covers(self, chunk_ids: NDArray[np.uint64]) -> NDArray[np.bool_]:
        """Whether each of these chunks was asked for."""
        if len(self.firsts) == 0:
            return np.zeros(len(chunk_ids), dtype=np.bool_)
        run = np.searchsorted(self.firsts, chunk_ids, side="right") - 1
        covered: NDArray[np.bool_] = (run >= 0) & (chunk_ids <= self.lasts[run])
        return covered

    def chunk_ids(self, most: int) -> NDArray[np.uint64]:
        """All ids that were asked for, ascending.

        Raises
        ------
        FormatFault
            They are more than `most`.

        Examples
        --------
        >>> ids = np.array([3, 4, 7], np.uint64)
        >>> Coverage.of_ids(ids, generation=None).chunk_ids(most=3).tolist()
        [3, 4, 7]
        """
        # One less than the length of each run, which may be 2**64.
        extents = self.lasts - self.firsts
        count = len(extents) + sum(extents.tolist())
        if count > most:
            raise FormatFault(_WHAT, expected=f"at most {most} chunk ids", found=f"{count}")
        runs = extents.astype(np.int64) + 1
        within = np.arange(count) - np.repeat(np.cumsum(runs) - runs, runs)
        return np.repeat(self.firsts, runs) + within.astype(np.uint64)

    def union(self, other: Coverage) -> Coverage:
        """What either answers for; both must be of one generation.

        Raises
        ------
        ValueError
            They are not.
        """
        if self.generation != other.generation:
            raise ValueError(f"generations {self.generation!r} and {other.generation!r}")
        firsts = np.concatenate([self.firsts, other.firsts])
        lasts = np.concatenate([self.lasts, other.lasts])
        order = np.argsort(firsts, kind="stable")
        firsts, reach = firsts[order], np.maximum.accumulate(lasts[order])
        # A run begins where the first id is neither inside those before nor next to them; the
        # difference is taken only where it cannot wrap.
        begins = np.ones(len(firsts), dtype=np.bool_)
        ahead = firsts[1:] > reach[:-1]
        begins[1:] = ahead & (firsts[1:] - np.where(ahead, reach[:-1], 0) > 1)
        starts = np.flatnonzero(begins)
        ends = np.append(starts[1:], len(firsts)) - 1
        return Coverage(self.generation, firsts[starts], reach[ends[: len(starts)]])


def encode_coverage(coverage: Coverage) -> bytes:
    """The record's bytes.

    Raises
    ------
    ValueError
        The generation is longer than a record may hold.
    """
    generation = (coverage.generation or "").encode("utf-8")
    if len(generation) > _GENERATION_BYTES_LIMIT:
        raise ValueError(f"a generation of {len(generation)} bytes does not fit a coverage record")
    runs = np.stack([coverage.firsts, coverage.lasts], axis=1).astype("<u8")
    header = _HEADER.pack(COVERAGE_MAGIC, _VERSION, len(generation), len(runs))
    body = header + generation + runs.tobytes()
    return body + _CRC.pack(zlib.crc32(body))


def coverage_length(header: bytes, available: int) -> int | None:
    """How long the record is that begins with `header`; None where that is no record.

    Parameters
    ----------
    header : bytes
        The first `COVERAGE_HEADER_BYTES` after the shard index, or what there is of them.
    available : int
        Bytes in the file from there on.

    Raises
    ------
    FormatFault
        A record of another version, one that does not fit, or nearly the magic of one.
    """
    magic = header[: len(COVERAGE_MAGIC)]
    if magic != COVERAGE_MAGIC:
        alike = sum(a == b for a, b in zip(magic, COVERAGE_MAGIC, strict=False))
        if alike < _MAGIC_BYTES_ALIKE:
            return None
        raise FormatFault(_WHAT, expected=f"{COVERAGE_MAGIC!r}", found=f"{magic!r}")
    if len(header) < COVERAGE_HEADER_BYTES:
        raise FormatFault(_WHAT, expected="a whole header", found=f"{len(header)} bytes")
    _, version, generation_bytes, runs = _HEADER.unpack_from(header)
    if version != _VERSION:
        raise FormatFault(_WHAT, expected=f"version {_VERSION}", found=f"version {version}")
    length: int = _HEADER.size + generation_bytes + _RUN_BYTES * runs + _CRC.size
    if generation_bytes > _GENERATION_BYTES_LIMIT or length > available:
        raise FormatFault(
            _WHAT,
            expected=f"a generation of at most {_GENERATION_BYTES_LIMIT} bytes, and at most "
            f"{available} bytes in all",
            found=f"{generation_bytes} and {length}",
        )
    return length


def decode_coverage(data: bytes) -> Coverage:
    """Parse a record of the length that `coverage_length` gave, and check it.

    Raises
    ------
    FormatFault
        The checksum is wrong, or the runs are not ascending and apart.

    Examples
    --------
    >>> coverage = Coverage.of_ids(np.array([3, 4, 7], np.uint64), generation=None)
    >>> decode_coverage(encode_coverage(coverage)).lasts.tolist()
    [4, 7]
    """
    length = coverage_length(data, len(data))
    if length != len(data):
        raise FormatFault(_WHAT, expected=f"{length} bytes", found=f"{len(data)}")
    (claimed,) = _CRC.unpack_from(data, len(data) - _CRC.size)
    computed = zlib.crc32(data[: -_CRC.size])
    if claimed != computed:
        raise FormatFault(_WHAT, expected=f"CRC-32 {claimed:#010x}", found=f"{computed:#010x}")
    _, _, generation_bytes, run_count = _HEADER.unpack_from(data)
    runs_start = _HEADER.size + generation_bytes
    try:
        generation = data[_HEADER.size : runs_start].decode("utf-8")
    except UnicodeDecodeError:
        raise FormatFault(_WHAT, expected="a generation in UTF-8", found="other bytes") from None
    runs = np.frombuffer(data, "<u8", 2 * run_count, runs_start).reshape(-1, 2).astype(np.uint64)
    firsts, lasts = runs[:, 0], runs[:, 1]
    apart = firsts[1:] > lasts[:-1]
    if not ((firsts <= lasts).all() and apart.all()):
        raise FormatFault(_WHAT, expected="runs that ascend and do not overlap", found="others")
    return Coverage(generation or None, firsts, lasts)


def read_coverage(
    read: Callable[[int, int], bytes], *, start: int, file_size: int
) -> tuple[Coverage | None, int]:
    """The record of a shard file, if it has one, and where the record ends.

    Parameters
    ----------
    read : callable
        Gives the bytes ``[start, end)`` of the file.
    start, file_size : int
        Where the shard index ends, and where the file does.

    Returns
    -------
    Coverage or None
        None for a file that is its source's own: it answers for all its chunks.
    int
        `start`, where there is no record.

    Raises
    ------
    FormatFault
        There is a record, and it is damaged.

    Examples
    --------
    >>> record = encode_coverage(Coverage.of_ids(np.array([3], np.uint64), generation=None))
    >>> read_coverage(lambda start, end: record[start:end], start=0, file_size=len(record))[1]
    44
    """
    if start >= file_size:
        return None, start
    header = read(start, min(start + COVERAGE_HEADER_BYTES, file_size))
    length = coverage_length(header, file_size - start)
    if length is None:
        return None, start
    return decode_coverage(read(start, start + length)), start + length
