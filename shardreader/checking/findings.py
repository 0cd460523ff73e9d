"""What `verify` finds, as typed records: small, picklable, to JSON and back."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from shardreader.copies.shard_listing import FileStamp
from shardreader.format.grid import Box, Triple

__all__ = [
    "Finding",
    "FindingKind",
    "Severity",
    "ShardResult",
    "ShardTotals",
]


class Severity(str, enum.Enum):
    """What a finding means for the copy."""

    DAMAGE = "damage"
    """Data is there and is wrong, or cannot be trusted."""
    MISSING = "missing"
    """Data is not there, or it is unknown whether it should be."""
    NOTE = "note"
    """Worth knowing; every read of the volume is right all the same."""


class FindingKind(str, enum.Enum):
    """The rule that a finding is about: one member for each, with its severity and its text.

    Examples
    --------
    >>> FindingKind.CHUNK_DECODE.severity.value
    'damage'
    >>> FindingKind("EMPTY_FILE").text
    'the file has no bytes'
    """

    severity: Severity
    text: str

    def __new__(cls, name: str, severity: Severity, text: str) -> FindingKind:
        """Make a member whose value is its name."""
        member = str.__new__(cls, name)
        member._value_ = name
        member.severity = severity
        member.text = text
        return member

    def __str__(self) -> str:
        return str(self.value)

    # The volume and its list of files.
    INFO = "INFO", Severity.DAMAGE, "the info file breaks its schema"
    INFO_KEY = "INFO_KEY", Severity.NOTE, "the key of a scale contradicts its resolution"
    NOT_DOWNLOADED = "NOT_DOWNLOADED", Severity.MISSING, "the source has this file, the copy not"
    ABSENT_UNKNOWN = (
        "ABSENT_UNKNOWN",
        Severity.MISSING,
        "absent, and nothing says whether the source has it",
    )
    PARTIAL = (
        "PARTIAL",
        Severity.MISSING,
        "only a part of this shard was fetched; the rest reads as NOT_DOWNLOADED",
    )
    UNEXPECTED_FILE = (
        "UNEXPECTED_FILE",
        Severity.NOTE,
        "no chunk of this volume belongs into a file of this name",
    )
    LITTER = "LITTER", Severity.NOTE, "not a part of the volume; nothing reads it"

    # One shard file as a file.
    NOT_A_FILE = "NOT_A_FILE", Severity.DAMAGE, "not a regular file"
    UNREADABLE = "UNREADABLE", Severity.DAMAGE, "the operating system refuses to read the file"
    FILE_CHANGED = "FILE_CHANGED", Severity.DAMAGE, "the file changed while it was checked"
    EMPTY_FILE = "EMPTY_FILE", Severity.DAMAGE, "the file has no bytes"
    SIZE_MISMATCH = "SIZE_MISMATCH", Severity.DAMAGE, "another size than at the source"
    CHECKSUM_MISMATCH = "CHECKSUM_MISMATCH", Severity.DAMAGE, "another checksum than at the source"

    # Its indices.
    SHARD_INDEX_TRUNCATED = (
        "SHARD_INDEX_TRUNCATED",
        Severity.DAMAGE,
        "the file ends inside its shard index",
    )
    SHARD_INDEX_EMPTY = (
        "SHARD_INDEX_EMPTY",
        Severity.DAMAGE,
        "no minishard in the shard index, but bytes behind it",
    )
    SHARD_INDEX_ENTRY_RANGE = (
        "SHARD_INDEX_ENTRY_RANGE",
        Severity.DAMAGE,
        "an entry of the shard index points outside the file",
    )
    SHARD_INDEX_OVERLAP = (
        "SHARD_INDEX_OVERLAP",
        Severity.DAMAGE,
        "two entries of the shard index overlap",
    )
    MINISHARD_INDEX_DECODE = (
        "MINISHARD_INDEX_DECODE",
        Severity.DAMAGE,
        "a minishard index does not inflate",
    )
    MINISHARD_INDEX_LENGTH = (
        "MINISHARD_INDEX_LENGTH",
        Severity.DAMAGE,
        "a minishard index has a length that cannot be",
    )
    DUPLICATE_CHUNK_ID = "DUPLICATE_CHUNK_ID", Severity.DAMAGE, "a chunk id stands twice"
    FOREIGN_CHUNK_ID = (
        "FOREIGN_CHUNK_ID",
        Severity.DAMAGE,
        "chunk ids that belong to another shard or minishard",
    )
    CHUNK_OUTSIDE_GRID = (
        "CHUNK_OUTSIDE_GRID",
        Severity.DAMAGE,
        "chunk ids outside the grid: written with another info, or with the older chunk numbering",
    )
    SPARE_ENTRY = (
        "SPARE_ENTRY",
        Severity.NOTE,
        "an entry of 0 bytes with an id outside the grid; nothing reads it",
    )
    CHUNK_RANGE = "CHUNK_RANGE", Severity.DAMAGE, "a chunk's byte range lies outside the file"
    CHUNK_OVERLAP = "CHUNK_OVERLAP", Severity.DAMAGE, "a chunk's byte range overlaps another"
    EMPTY_CHUNK_ENTRY = "EMPTY_CHUNK_ENTRY", Severity.DAMAGE, "a chunk with no bytes"
    UNREFERENCED_BYTES = (
        "UNREFERENCED_BYTES",
        Severity.DAMAGE,
        "bytes that no index refers to: an index entry may have been lost",
    )
    COVERAGE_RECORD = (
        "COVERAGE_RECORD",
        Severity.DAMAGE,
        "the record of which chunks a partial shard has is damaged",
    )

    # Its chunks.
    CHUNK_DECODE = "CHUNK_DECODE", Severity.DAMAGE, "a chunk does not inflate"
    ENCODING_LENGTH = "ENCODING_LENGTH", Severity.DAMAGE, "an encoding has a length that cannot be"
    IMAGE = "IMAGE", Severity.DAMAGE, "an image codec refuses a chunk"
    ENCODING_STRUCTURE = (
        "ENCODING_STRUCTURE",
        Severity.DAMAGE,
        "a part of an encoding contradicts its header, its checksum or another part",
    )
    CHANNEL_OFFSET = "CHANNEL_OFFSET", Severity.DAMAGE, "a channel's offset is wrong"
    BLOCK_HEADERS_CUT = "BLOCK_HEADERS_CUT", Severity.DAMAGE, "no room for the block headers"
    ENCODED_BITS = "ENCODED_BITS", Severity.DAMAGE, "a block has an impossible number of bits"
    LOOKUP_TABLE_OFFSET = (
        "LOOKUP_TABLE_OFFSET",
        Severity.DAMAGE,
        "a block's lookup table lies outside the encoding",
    )
    ENCODED_VALUES_OFFSET = (
        "ENCODED_VALUES_OFFSET",
        Severity.DAMAGE,
        "a block's encoded values lie outside the encoding",
    )
    CODE_OUTSIDE_TABLE = (
        "CODE_OUTSIDE_TABLE",
        Severity.DAMAGE,
        "an encoded value points behind the encoding",
    )
    CROSS_CHECK_MISMATCH = (
        "CROSS_CHECK_MISMATCH",
        Severity.DAMAGE,
        "another implementation decodes the chunk to other labels",
    )
    BLOCK_SIZE_IMPLAUSIBLE = (
        "BLOCK_SIZE_IMPLAUSIBLE",
        Severity.DAMAGE,
        "the labels break at the block faces: the block size in info is probably wrong",
    )


@dataclass(frozen=True)
class Finding:
    """One thing that `verify` found; members that do not apply are None.

    Parameters
    ----------
    kind : FindingKind
    file : str
        Relative to the directory of ``info``, with ``/`` between components.
    shard_number, minishard_number, chunk_id : int or None
    cell : (int, int, int) or None
        Grid position of the chunk.
    voxel_box : Box or None
        Voxels that cannot be trusted: those of the chunk, or a box around those of the minishard
        or the shard.
    byte_range : (int, int) or None
        Half-open, from the start of the file.
    expected, found : str

    Examples
    --------
    >>> finding = Finding(FindingKind.EMPTY_FILE, "s0/0.shard", shard_number=0, found="0 bytes")
    >>> Finding.from_json(finding.to_json()) == finding
    True
    """

    kind: FindingKind
    file: str
    shard_number: int | None = None
    minishard_number: int | None = None
    chunk_id: int | None = None
    cell: Triple | None = None
    voxel_box: Box | None = None
    byte_range: tuple[int, int] | None = None
    expected: str = ""
    found: str = ""

    @property
    def severity(self) -> Severity:
        """That of the kind."""
        return self.kind.severity

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types; the chunk id is a string, as labels are."""
        box = self.voxel_box
        return {
            "kind": self.kind.value,
            "severity": self.severity.value,
            "file": self.file,
            "shard_number": self.shard_number,
            "minishard_number": self.minishard_number,
            "chunk_id": None if self.chunk_id is None else str(self.chunk_id),
            "cell": None if self.cell is None else list(self.cell),
            "voxel_box": None if box is None else [list(box.lower), list(box.upper)],
            "byte_range": None if self.byte_range is None else list(self.byte_range),
            "expected": self.expected,
            "found": self.found,
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> Finding:
        """The inverse of `to_json`."""
        box, chunk_id, cell = members["voxel_box"], members["chunk_id"], members["cell"]
        byte_range = members["byte_range"]
        return cls(
            FindingKind[members["kind"]],
            members["file"],
            members["shard_number"],
            members["minishard_number"],
            None if chunk_id is None else int(chunk_id),
            None if cell is None else (cell[0], cell[1], cell[2]),
            None if box is None else Box(tuple(box[0]), tuple(box[1])),
            None if byte_range is None else (byte_range[0], byte_range[1]),
            members["expected"],
            members["found"],
        )


@dataclass(frozen=True)
class ShardTotals:
    """What was looked at; sums over shards by ``+``.

    Parameters
    ----------
    shards : int
        Files.
    file_bytes : int
        Their sizes.
    read_bytes : int
        Bytes read from them; those of the indices may count twice.
    chunks, stored_bytes : int
        Chunks in the indices whose byte range is sound, and their lengths in the file.
    inflated_chunks, inflated_bytes : int
        Chunks that inflated without a fault, and their lengths after it.
    unverifiable_chunks : int
        Chunks looked into without a checksum, neither their own nor that of the whole file.
    cross_checked_chunks : int
        Chunks that another implementation decoded to the same labels.
    checksummed_files : int
        Whole files that were compared with the checksum that the manifest has.
    """

    shards: int = 0
    file_bytes: int = 0
    read_bytes: int = 0
    chunks: int = 0
    stored_bytes: int = 0
    inflated_chunks: int = 0
    inflated_bytes: int = 0
    unverifiable_chunks: int = 0
    cross_checked_chunks: int = 0
    checksummed_files: int = 0

    def __add__(self, other: ShardTotals) -> ShardTotals:
        names = [field.name for field in fields(self)]
        return ShardTotals(*(getattr(self, name) + getattr(other, name) for name in names))


@dataclass(frozen=True)
class ShardResult:
    """The outcome of the check of one shard file.

    Parameters
    ----------
    shard_number : int
    file : str
        As in `Finding`.
    level : {"quick", "full", "deep"}
    stamp : FileStamp or None
        None where the file could not be looked at.
    findings : tuple of Finding
        In the order of the file: the file, its indices, its chunks.
    totals : ShardTotals
    is_partial : bool
        It has a coverage record: only some of its source's chunks are in it.

    Examples
    --------
    >>> result = ShardResult(3, "s0/3.shard", "quick", FileStamp(10, 20), (), ShardTotals(shards=1))
    >>> ShardResult.from_json(result.to_json()) == result
    True
    """

    shard_number: int
    file: str
    level: str
    stamp: FileStamp | None
    findings: tuple[Finding, ...]
    totals: ShardTotals
    is_partial: bool = False

    def to_json(self) -> dict[str, Any]:
        """The members as JSON types."""
        return {
            "shard_number": self.shard_number,
            "file": self.file,
            "level": self.level,
            "stamp": None if self.stamp is None else list(self.stamp),
            "findings": [finding.to_json() for finding in self.findings],
            "totals": asdict(self.totals),
            "is_partial": self.is_partial,
        }

    @classmethod
    def from_json(cls, members: Mapping[str, Any]) -> ShardResult:
        """The inverse of `to_json`."""
        stamp = members["stamp"]
        return cls(
            members["shard_number"],
            members["file"],
            members["level"],
            None if stamp is None else FileStamp(*stamp),
            tuple(map(Finding.from_json, members["findings"])),
            ShardTotals(**members["totals"]),
            members["is_partial"],
        )
