"""The checks of a shard's indices, as findings: all of ``quick`` for one file.

Each entry is judged by itself: a damaged one hides no other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shardreader.checking.checked_file import INDEX_GAP_BYTES, Part, ShardFile
from shardreader.checking.findings import Finding, FindingKind
from shardreader.checking.minishard_check import ShardChunks, check_rows
from shardreader.checking.shard_layout_check import IndexRanges, check_gaps, check_overlaps
from shardreader.decoding.inflate import inflate, most_stored_bytes
from shardreader.errors import FormatFault
from shardreader.format.byterange import ByteRange
from shardreader.format.coverage import (
    COVERAGE_HEADER_BYTES,
    Coverage,
    coverage_length,
    decode_coverage,
)
from shardreader.format.index_rules import overlaps
from shardreader.format.morton import morton_bits
from shardreader.format.shard_index import (
    SHARD_INDEX_ENTRY_BYTES,
    MinishardIndex,
    minishard_index_range,
    most_minishard_index_bytes,
    parse_minishard_index,
)

__all__ = ["ShardIndices", "check_indices"]

_PAGE_BYTES = 1 << 20
# After one of these it is not known which bytes the chunks of a minishard take.
_HIDES_RANGES = frozenset(
    {
        FindingKind.UNREADABLE,
        FindingKind.SHARD_INDEX_ENTRY_RANGE,
        FindingKind.SHARD_INDEX_OVERLAP,
        FindingKind.MINISHARD_INDEX_DECODE,
        FindingKind.MINISHARD_INDEX_LENGTH,
        FindingKind.CHUNK_RANGE,
        FindingKind.CHUNK_OVERLAP,
        FindingKind.EMPTY_CHUNK_ENTRY,
        FindingKind.COVERAGE_RECORD,
    }
)


@dataclass(frozen=True, eq=False)
class ShardIndices:
    """What the indices of a shard say, and what is wrong with them."""

    findings: list[Finding]
    chunks: ShardChunks
    coverage: Coverage | None


def check_indices(file: ShardFile) -> ShardIndices:
    """Check the shard index, the coverage record and all minishard indices.

    Raises
    ------
    StaleFileError
    ReadError
        The shard index cannot be read, or much of the file cannot.
    """
    return _IndexCheck(file).run()


@dataclass(frozen=True)
class _Entry:
    """An entry of the shard index that is in range."""

    minishard: int
    where: ByteRange


class _IndexCheck:
    def __init__(self, file: ShardFile) -> None:
        self.file = file
        self.findings: list[Finding] = []
        self.coverage: Coverage | None = None
        self.coverage_end = file.spec.shard_index_end
        bits = morton_bits(file.scale.grid.grid_size)
        self.most_index_bytes = most_minishard_index_bytes(file.spec, bits)

    def run(self) -> ShardIndices:
        file, index_end = self.file, self.file.spec.shard_index_end
        if file.size < index_end:
            empty = file.size == 0
            self._add(
                FindingKind.EMPTY_FILE if empty else FindingKind.SHARD_INDEX_TRUNCATED,
                byte_range=(0, file.size),
                expected=f"at least {index_end} bytes (the shard index)",
                found=f"{file.size}",
            )
            return self._outcome(ShardChunks.joined([]))
        entries, filled = self._entries()
        self._read_coverage(entries)
        if not filled and file.size > self.coverage_end:
            self._add(
                FindingKind.SHARD_INDEX_EMPTY,
                byte_range=(0, index_end),
                expected="minishards, or no bytes after it",
                found=f"no minishards, and {file.size - self.coverage_end} further bytes",
            )
            return self._outcome(ShardChunks.joined([]))
        chunks, believed = self._chunks(entries)
        self._check_coverage(chunks)
        indices = self._index_ranges(believed)
        findings, chunks = check_overlaps(file, chunks, indices)
        self.findings += findings
        # What a damaged index refers to is not known, so that gaps say nothing new; unless they
        # may be those of a minishard whose entry was lost.
        explained = any(finding.kind in _HIDES_RANGES for finding in self.findings)
        if not explained or filled < 1 << file.spec.minishard_bits:
            self.findings += check_gaps(file, chunks, indices)
        return self._outcome(chunks)

    def _outcome(self, chunks: ShardChunks) -> ShardIndices:
        return ShardIndices(self.findings, chunks, self.coverage)

    def _add(
        self,
        kind: FindingKind,
        byte_range: tuple[int, int],
        expected: str,
        found: str,
        minishard: int | None = None,
    ) -> None:
        self.findings.append(
            self.file.finding(
                kind,
                minishard=minishard,
                byte_range=(byte_range[0], byte_range[1]),
                expected=expected,
                found=found,
            )
        )

    def _entries(self) -> tuple[list[_Entry], int]:
        """The entries that are in range, by the start of theirs; how many are not empty at all."""
        entries: list[_Entry] = []
        filled = 0
        index_end = self.file.spec.shard_index_end
        for page_start in range(0, index_end, _PAGE_BYTES):
            data = self.file.read(page_start, min(page_start + _PAGE_BYTES, index_end))
            page = np.frombuffer(data, dtype="<u8").reshape(-1, 2)
            rows = np.flatnonzero(page[:, 0] != page[:, 1])
            filled += len(rows)
            first = page_start // SHARD_INDEX_ENTRY_BYTES
            for row, (start, end) in zip(rows.tolist(), page[rows].tolist(), strict=True):
                where = self._entry_range(first + row, start, end)
                if where is not None:
                    entries.append(_Entry(first + row, where))
        entries.sort(key=lambda entry: entry.where)
        return entries, filled

    def _entry_range(self, minishard: int, start: int, end: int) -> ByteRange | None:
        file = self.file
        try:
            where = minishard_index_range(
                start, end, shard_index_end=file.spec.shard_index_end, file_size=file.size
            )
        except FormatFault as fault:
            at = minishard * SHARD_INDEX_ENTRY_BYTES
            self._add(
                FindingKind.SHARD_INDEX_ENTRY_RANGE,
                (at, at + SHARD_INDEX_ENTRY_BYTES),
                fault.expected,
                fault.found,
                minishard,
            )
            return None
        most = most_stored_bytes(file.spec.minishard_index_encoding, self.most_index_bytes)
        if where is not None and where.end - where.start > most:
            self._add(
                FindingKind.MINISHARD_INDEX_LENGTH,
                where,
                f"at most {most} bytes for this grid",
                f"{where.end - where.start}",
                minishard,
            )
            return None
        return where

    def _read_coverage(self, entries: list[_Entry]) -> None:
        """Read the coverage record, if there is one where no minishard index is."""
        file, start = self.file, self.coverage_end
        if entries and entries[0].where.start == start:
            return
        try:
            header = file.read(start, min(start + COVERAGE_HEADER_BYTES, file.size))
            length = coverage_length(header, file.size - start)
            if length is not None:
                self.coverage_end += length
                self.coverage = decode_coverage(file.read(start, start + length))
        except FormatFault as fault:
            end = max(self.coverage_end, min(start + COVERAGE_HEADER_BYTES, file.size))
            self._add(FindingKind.COVERAGE_RECORD, (start, end), fault.expected, fault.found)

    def _check_coverage(self, chunks: ShardChunks) -> None:
        if self.coverage is None:
            return
        beyond = chunks.chunk_ids[~self.coverage.covers(chunks.chunk_ids)]
        if len(beyond):
            self._add(
                FindingKind.COVERAGE_RECORD,
                (self.file.spec.shard_index_end, self.coverage_end),
                "every chunk of the file in the record",
                f"{len(beyond)} that are not, the first {beyond[0]}",
            )

    def _chunks(self, entries: list[_Entry]) -> tuple[ShardChunks, list[_Entry]]:
        """The chunks of every minishard index that can be decoded, and the entries to believe."""
        starts = np.array([entry.where.start for entry in entries], dtype=np.int64)
        ends = np.array([entry.where.end for entry in entries], dtype=np.int64)
        pairs = overlaps(starts, ends).tolist()
        tangled = {row for pair in pairs for row in pair}
        wrong: set[int] = set()
        tables = []
        for part in self.file.read_parts(starts, ends, gap=INDEX_GAP_BYTES):
            findings, table = self._read_index(entries[part.row], part)
            if findings and part.row in tangled:
                # It has another's bytes, and that it overlaps says so.
                wrong.add(part.row)
            else:
                self.findings += findings
                tables.append(table)
        self._report_tangled(entries, pairs, wrong)
        believed = [entry for row, entry in enumerate(entries) if row not in wrong]
        return ShardChunks.joined(tables), believed

    def _report_tangled(
        self, entries: list[_Entry], pairs: list[list[int]], wrong: set[int]
    ) -> None:
        """One finding for the wrong one of two that overlap; both where that cannot be told."""
        other_of: dict[int, int] = {}
        for first, second in pairs:
            both = first not in wrong and second not in wrong
            for row, other in ((first, second), (second, first)):
                if both or row in wrong:
                    other_of.setdefault(row, other)
        for row, other in sorted(other_of.items()):
            self._add(
                FindingKind.SHARD_INDEX_OVERLAP,
                entries[row].where,
                "an index that overlaps no other",
                f"an overlap with that of minishard {entries[other].minishard} at "
                f"{entries[other].where}",
                entries[row].minishard,
            )

    def _read_index(self, entry: _Entry, part: Part) -> tuple[list[Finding], ShardChunks]:
        kind, expected, found = FindingKind.UNREADABLE, "bytes", str(part.error)
        if part.error is None:
            kind = FindingKind.MINISHARD_INDEX_DECODE
            try:
                decoded = inflate(
                    part.data,
                    part.start,
                    part.end,
                    encoding=self.file.spec.minishard_index_encoding,
                    most_bytes=self.most_index_bytes,
                )
                kind = FindingKind.MINISHARD_INDEX_LENGTH
                return check_rows(self.file, self._parse(decoded), entry.minishard, entry.where)
            except FormatFault as fault:
                expected, found = f"{fault.what}: {fault.expected}", fault.found
        finding = self.file.finding(
            kind,
            minishard=entry.minishard,
            byte_range=entry.where,
            expected=expected,
            found=found,
        )
        return [finding], ShardChunks.joined([])

    def _parse(self, decoded: bytes) -> MinishardIndex:
        return parse_minishard_index(
            decoded, shard_index_end=self.file.spec.shard_index_end, file_size=self.file.size
        )

    def _index_ranges(self, entries: list[_Entry]) -> IndexRanges:
        starts = [entry.where.start for entry in entries]
        ends = [entry.where.end for entry in entries]
        names = [f"the index of minishard {entry.minishard}" for entry in entries]
        if self.coverage_end > self.file.spec.shard_index_end:
            starts.append(self.file.spec.shard_index_end)
            ends.append(self.coverage_end)
            names.append("the coverage record")
        return IndexRanges(np.array(starts, np.int64), np.array(ends, np.int64), names)
