"""What the source of a copy has: the reader of ``shardreader-manifest.json``.

The document is described by ``manifest_schema.json`` beside this file. Without a manifest an
absent file is not downloaded; with one it may be known to be absent at the source too.
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from shardreader.errors import FormatFault, InfoError, Location

if TYPE_CHECKING:
    from collections.abc import Mapping

from shardreader.format.json_members import choice, decode_text, parse_object, shown

__all__ = [
    "MANIFEST_BYTES_LIMIT",
    "MANIFEST_NAME",
    "FileRecord",
    "Manifest",
    "ScaleManifest",
    "now",
    "parse_manifest",
]

MANIFEST_NAME = "shardreader-manifest.json"
MANIFEST_TYPE = "shardreader_manifest_v1"
# A file takes some 200 bytes: room for a million files, where FAFB has 3,689.
MANIFEST_BYTES_LIMIT = 256 << 20

_BASES = ("listing", "requests", "user")
_UNLISTED = ("none", "unknown")
_STATES = ("whole", "partial", "not_fetched", "none")
_SIZE_LIMIT = (1 << 53) - 1
_CREATED = re.compile(
    "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z"
)
_FILE_NAME = re.compile(r"[^/\\\x00]+")
# Base64 of 4 and of 16 bytes; the last letter before the padding has spare bits, which are 0.
_CRC32C = re.compile("[A-Za-z0-9+/]{5}[AQgw]==")
_MD5 = re.compile("[A-Za-z0-9+/]{21}[AQgw]==")
_ANY_TEXT = re.compile("(?s:.+)")
_FACTS = (
    ("generation", _ANY_TEXT, "a string of one or more characters"),
    ("etag", _ANY_TEXT, "a string of one or more characters"),
    ("crc32c", _CRC32C, "base64 of 4 bytes"),
    ("md5", _MD5, "base64 of 16 bytes"),
)
_ADVICE = "restore the file, or delete it: absent shards then count as not downloaded"


@dataclass(frozen=True)
class FileRecord:
    """One file of the source and the state of its copy.

    Parameters
    ----------
    state : {"whole", "partial", "not_fetched", "none"}
        "partial" has some of the source's chunks; "none" is known to be absent at the source.
    size : int or None
        Bytes at the source.
    generation, etag : str or None
        Which version of it the source had.
    crc32c, md5 : str or None
        Its checksums, big-endian bytes in base64.
    """

    state: str
    size: int | None = None
    generation: str | None = None
    etag: str | None = None
    crc32c: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class ScaleManifest:
    """The files of one scale.

    Parameters
    ----------
    unlisted : {"none", "unknown"}
        What is known of a file that is not in `files`: absent at the source, or nothing.
    files : mapping of str to FileRecord
        By the name in the directory of the scale.
    """

    unlisted: str
    files: Mapping[str, FileRecord]

    def __post_init__(self) -> None:
        object.__setattr__(self, "files", MappingProxyType(dict(self.files)))


@dataclass(frozen=True)
class Manifest:
    """What the source of a copy has, and who says so.

    Parameters
    ----------
    created : str
        UTC, as ``2026-11-22T00:00:00Z``.
    source : str or None
        URL of the volume that this is a copy of.
    basis : {"listing", "requests", "user"}
        A listing of the source, one request a file, or the user's word.
    scales : mapping of str to ScaleManifest
        By key.

    Examples
    --------
    >>> scale = ScaleManifest("none", {"0054.shard": FileRecord("not_fetched", size=230_000_000)})
    >>> manifest = Manifest("2026-11-22T00:00:00Z", None, "listing", {"8.0x8.0x40.0": scale})
    >>> manifest.source_has_none("8.0x8.0x40.0", "0054.shard")
    False
    >>> manifest.source_has_none("8.0x8.0x40.0", "0000.shard")
    True
    >>> parse_manifest(manifest.to_json(), "vol/shardreader-manifest.json") == manifest
    True
    """

    created: str
    source: str | None
    basis: str
    scales: Mapping[str, ScaleManifest]

    def __post_init__(self) -> None:
        object.__setattr__(self, "scales", MappingProxyType(dict(self.scales)))

    def source_has_none(self, scale_key: str, *file_names: str) -> bool:
        """Whether the source is known to have no such file.

        Several names are other forms of the same data: the source has none of it where no form
        is known to be there, and one is known not to be or all are unlisted in a whole listing.
        """
        scale = self.scales.get(scale_key)
        if scale is None:
            return False
        states = {scale.files[name].state for name in file_names if name in scale.files}
        return states == {"none"} if states else scale.unlisted == "none"

    def to_json(self) -> bytes:
        """The document; the same bytes for equal manifests."""
        scales = {
            key: {
                "unlisted": scale.unlisted,
                "files": {name: _facts(record) for name, record in scale.files.items()},
            }
            for key, scale in self.scales.items()
        }
        document = {
            "@type": MANIFEST_TYPE,
            "created": self.created,
            "source": self.source,
            "basis": self.basis,
            "scales": scales,
        }
        return json.dumps(document, sort_keys=True, indent=1).encode("ascii") + b"\n"


def now() -> str:
    """The present time as a manifest has it.

    Examples
    --------
    >>> len(now())
    20
    """
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


def _facts(record: FileRecord) -> dict[str, Any]:
    return {name: value for name, value in asdict(record).items() if value is not None}


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Parse and check a manifest.

    Unknown members are left out: a later version may record more of a file, which cannot turn
    "not downloaded" into background. Unknown words where this version decides by the word
    (``@type``, ``basis``, ``unlisted``, ``state``) are errors, and so is a member given twice.

    Parameters
    ----------
    data : bytes
        The file, at most `MANIFEST_BYTES_LIMIT`.
    where : str
        Its path, for messages.

    Raises
    ------
    InfoError
        The message names the file, the JSON path, what was expected and what was found.
    """
    try:
        return _parse_document(_load(data))
    except FormatFault as fault:
        raise InfoError.from_fault(fault, Location(file=where), _ADVICE) from None


def _load(data: bytes) -> dict[str, Any]:
    if len(data) > MANIFEST_BYTES_LIMIT:
        expected = f"at most {MANIFEST_BYTES_LIMIT} bytes"
        raise FormatFault("document", expected=expected, found=f"{len(data)} bytes")
    return parse_object(decode_text(data))


def _parse_document(document: dict[str, Any]) -> Manifest:
    choice(document.get("@type"), '["@type"]', (MANIFEST_TYPE,))
    created = document.get("created")
    if not _is_time(created):
        expected = "a time in UTC such as '2026-11-22T00:00:00Z'"
        raise FormatFault("created", expected=expected, found=shown(created))
    source = document.get("source", ...)
    if source is not None and not isinstance(source, str):
        found = "nothing" if source is ... else shown(source)
        raise FormatFault("source", expected="a string or null", found=found)
    basis = choice(document.get("basis"), "basis", _BASES)
    scales = _object(document.get("scales"), "scales")
    parsed = {key: _parse_scale(scale, f"scales{_member(key)}") for key, scale in scales.items()}
    return Manifest(created=str(created), source=source, basis=basis, scales=parsed)


def _parse_scale(value: object, path: str) -> ScaleManifest:
    scale = _object(value, path)
    unlisted = choice(scale.get("unlisted"), f"{path}.unlisted", _UNLISTED)
    files = _object(scale.get("files"), f"{path}.files")
    parsed = {}
    for name, record in files.items():
        place = f"{path}.files{_member(name)}"
        if not _FILE_NAME.fullmatch(name):
            raise FormatFault(place, expected="a file name without / and \\", found=repr(name))
        parsed[name] = _parse_record(record, place)
    return ScaleManifest(unlisted=unlisted, files=parsed)


def _parse_record(value: object, path: str) -> FileRecord:
    record = _object(value, path)
    state = choice(record.get("state"), f"{path}.state", _STATES)
    size = record.get("size")
    if "size" in record and not _is_size(size):
        expected = f"an integer from 0 to {_SIZE_LIMIT}"
        raise FormatFault(f"{path}.size", expected=expected, found=shown(size))
    facts: dict[str, str] = {}
    for name, pattern, expected in _FACTS:
        fact = record.get(name)
        if name not in record:
            continue
        if not isinstance(fact, str) or not pattern.fullmatch(fact):
            raise FormatFault(f"{path}.{name}", expected=expected, found=shown(fact))
        facts[name] = fact
    if state == "none" and (facts or size is not None):
        expected = "no facts of a file that the source does not have"
        raise FormatFault(path, expected=expected, found=shown(record))
    return FileRecord(state=state, size=None if size is None else int(size), **facts)


def _member(name: str) -> str:
    return f"[{json.dumps(name)}]"


def _object(value: object, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise FormatFault(path, expected="a JSON object", found=shown(value))
    return value


def _is_time(value: object) -> bool:
    if not isinstance(value, str) or not _CREATED.fullmatch(value):
        return False
    try:
        datetime.strptime(value, "%Y-%m-%dT%H:%M:%SZ")
    except ValueError:
        return False
    return True


def _is_size(value: object) -> bool:
    # 5.0 is an integer to JSON Schema.
    whole = type(value) is int or (isinstance(value, float) and value.is_integer())
    return whole and 0 <= value <= _SIZE_LIMIT  # type: ignore[operator]
