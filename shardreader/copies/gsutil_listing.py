"""Saved outputs of ``gsutil ls`` and ``gcloud storage ls``: which files a bucket has.

Two forms, which both programs write alike: a row for each object (``-l``: size, time, URL), and
an object's URL with its properties indented below (``-L``). Which one it is shows line by line.
What an object is called stays text here: only the caller knows which names can be files.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

__all__ = ["ListedObject", "Listing", "ListingError"]

# The longest URL has 1,024 bytes of name; a longer line is no listing, perhaps not even text.
_LINE_LIMIT = 1 << 14
_FOREIGN_SHOWN = 3
_ROW = re.compile(
    r"\s*(?P<size>\d+)\s+\d{4}-\d\d-\d\dT[\d:.]+\S*\s+(?P<url>[a-z0-9]+://.+?)"
    r"(?:#(?P<generation>\d+))?(?:\s+metageneration=\S+)?(?:\s+etag=(?P<etag>\S+))?"
)
_ROUNDED_ROW = re.compile(r"\s*[\d.]+ ?[KMGTPE]?i?B\s+\d{4}-\d\d-\d\dT.*")
_NAME_ONLY = re.compile(r"\s*[a-z0-9]+://\S.*[^:/]")
_PREFIX = re.compile(r"\s*[a-z0-9]+://\S.*/")
_HEADER = re.compile(r"(?P<url>[a-z0-9]+://.+?)(?:#(?P<generation>\d+))?:")
_PROPERTY = re.compile(r"(?P<indent>\s+)(?P<label>[^:]+):\s*(?P<value>.*)")
_TOTAL = re.compile(r"TOTAL: (?P<objects>\d+) objects, (?P<size>\d+) bytes \(.*\)")
_LABELS = {
    "content-length": "size",
    "hash (crc32c)": "crc32c",
    "hash (md5)": "md5",
    "etag": "etag",
    "generation": "generation",
}


class ListingError(ValueError):
    """The text is no listing that says which files there are, and how large."""


@dataclass(frozen=True)
class ListedObject:
    """One object of a bucket.

    Parameters
    ----------
    url : str
    size : int
        In bytes.
    crc32c, md5 : str or None
        Big-endian bytes in base64.
    generation, etag : str or None
    """

    url: str
    size: int
    crc32c: str | None = None
    md5: str | None = None
    generation: str | None = None
    etag: str | None = None


@dataclass
class Listing:
    """Reads a listing line by line; what it says of itself is known when it has been read.

    Parameters
    ----------
    file : binary file
        UTF-8, or UTF-16 with a byte order mark (what PowerShell saves).

    Attributes
    ----------
    objects : int
        How many objects were listed.
    complete : bool
        The last line gives the total, and it fits; otherwise the end may have been cut off.
    foreign : int
        Lines that belong to no listing.
    first_foreign : list of str
        The first few of them.

    Examples
    --------
    >>> import io
    >>> listing = Listing(io.BytesIO(b'''
    ...      18195  2020-04-12T10:00:00Z  gs://b/s/8_8_40/02fa.shard
    ... TOTAL: 1 objects, 18195 bytes (17.77 KiB)
    ... '''))
    >>> [(found.url, found.size) for found in listing]
    [('gs://b/s/8_8_40/02fa.shard', 18195)]
    >>> listing.complete
    True
    """

    file: io.BufferedReader | io.BytesIO
    objects: int = 0
    complete: bool = False
    foreign: int = 0
    first_foreign: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[ListedObject]:
        """Give the objects in the order of the listing.

        Raises
        ------
        ListingError
            Sizes are rounded (``-h``) or missing, or the bytes are no text.
        """
        tally = _Tally()
        for item in self._items():
            if isinstance(item, ListedObject):
                self.objects += 1
                tally.add(item)
                yield item
            else:
                tally.close(item)
        self.complete = tally.complete
        if not self.objects and any(map(_NAME_ONLY.fullmatch, self.first_foreign)):
            raise ListingError(
                f"has names without sizes, as in {self.first_foreign[0]!r}: save it again with -l "
                "or -L"
            )

    def _items(self) -> Iterator[ListedObject | _Total]:
        pending: _Properties | None = None
        for line in _lines(self.file):
            if pending is not None:
                if pending.takes(line):
                    continue
                yield from pending.result()
                pending = None
            if header := _HEADER.fullmatch(line):
                pending = _Properties(header["url"], header["generation"])
            elif row := _ROW.fullmatch(line):
                facts = {"generation": row["generation"], "etag": row["etag"]}
                yield ListedObject(row["url"], int(row["size"]), **facts)
            elif total := _TOTAL.fullmatch(line):
                yield _Total(int(total["objects"]), int(total["size"]))
            elif line.strip() and not _PREFIX.fullmatch(line):
                self._reject(line)
        if pending is not None:
            yield from pending.result()

    def _reject(self, line: str) -> None:
        if _ROUNDED_ROW.fullmatch(line):
            raise ListingError(
                f"has rounded sizes, as in {line.strip()!r}: save it again without -h or "
                "--readable-sizes"
            )
        self.foreign += 1
        if self.foreign <= _FOREIGN_SHOWN:
            self.first_foreign.append(line.strip()[:120])


class _Total(NamedTuple):
    """A line of totals."""

    objects: int
    size: int


class _Tally:
    """Holds the objects since the last line of totals against the next one."""

    def __init__(self) -> None:
        self._objects = self._size = 0
        self._closed, self._fits = False, True

    def add(self, found: ListedObject) -> None:
        """Count an object."""
        self._objects += 1
        self._size += found.size
        self._closed = False

    def close(self, total: _Total) -> None:
        """Compare with a line of totals."""
        self._fits &= (self._objects, self._size) == total
        self._closed = True
        self._objects = self._size = 0

    @property
    def complete(self) -> bool:
        """Whether every object is in a total that fits."""
        return self._closed and self._fits


class _Properties:
    """The lines below a URL: properties of an object, or nothing if it is a folder."""

    def __init__(self, url: str, generation: str | None) -> None:
        self._url = url
        self._indent: str | None = None
        self._values: dict[str, str] = {} if generation is None else {"generation": generation}

    def takes(self, line: str) -> bool:
        """Whether a line belongs to this object."""
        if not line[:1].isspace() or not line.strip():
            # The lists of a gsutil ACL end with a bracket at the margin.
            return self._indent is not None and line[:1] in ("]", "}")
        if self._indent is None and _ROW.fullmatch(line):
            return False
        found = _PROPERTY.fullmatch(line)
        if found is None:
            return self._indent is not None
        if self._indent is None:
            self._indent = found["indent"]
        # Deeper lines are metadata that the owner of the bucket wrote, whatever they are called.
        name = _LABELS.get(found["label"].lower())
        if name is not None and found["indent"] == self._indent:
            self._values.setdefault(name, found["value"].strip())
        return True

    def result(self) -> Iterator[ListedObject]:
        """Give the object; nothing for a folder."""
        size = self._values.get("size", "")
        if size.isdecimal():
            yield ListedObject(
                self._url,
                int(size),
                crc32c=_checksum(self._values.get("crc32c"), 4),
                md5=_checksum(self._values.get("md5"), 16),
                generation=self._values.get("generation"),
                etag=self._values.get("etag"),
            )


def _checksum(text: str | None, length: int) -> str | None:
    """A checksum in its one spelling; None for what is none, such as "encrypted"."""
    try:
        data = base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError):
        return None
    return base64.b64encode(data).decode("ascii") if len(data) == length else None


def _lines(file: io.BufferedReader | io.BytesIO) -> Iterator[str]:
    # Looked at and not taken: the listing may come through a pipe.
    buffered = file if isinstance(file, io.BufferedReader) else io.BufferedReader(file)
    start = buffered.peek(2)[:2]
    codec = "utf-16" if start in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    with io.TextIOWrapper(buffered, encoding=codec, errors="replace") as text:
        while line := text.readline(_LINE_LIMIT):
            if "\0" in line or (len(line) == _LINE_LIMIT and not line.endswith("\n")):
                raise ListingError("is no text with lines, so it is no listing")
            yield line.rstrip("\n")
