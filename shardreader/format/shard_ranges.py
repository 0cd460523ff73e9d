"""Sets of shard numbers as runs, and as people write them: ``0a3f,0b00-0bff``."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

__all__ = ["ShardRanges"]

_PART = re.compile(r"([0-9a-fA-F]{1,16})(?:\.shard)?(?:-([0-9a-fA-F]{1,16})(?:\.shard)?)?")


@dataclass(frozen=True)
class ShardRanges:
    """A set of shard numbers.

    Parameters
    ----------
    runs : tuple of (int, int)
        First and last number of each run, both included, ascending and apart.

    Examples
    --------
    >>> shards = ShardRanges.parse("0a3f,0b00-0bff")
    >>> len(shards), 0xB10 in shards, shards.text("{:04x}".format)
    (257, True, '0a3f,0b00-0bff')
    """

    runs: tuple[tuple[int, int], ...] = ()

    @classmethod
    def of(cls, numbers: Iterable[int]) -> ShardRanges:
        """The set of these numbers, in any order."""
        return cls._joined((number, number) for number in numbers)

    @classmethod
    def parse(cls, text: str) -> ShardRanges:
        """Read hexadecimal numbers and ranges, both ends included, with commas between them.

        Raises
        ------
        ValueError
            The message says which part is wrong.
        """
        runs = []
        for part in text.split(","):
            found = _PART.fullmatch(part.strip())
            if found is None:
                raise ValueError(
                    f"{part.strip()!r} is no shard number or range of them; expected hexadecimal "
                    "as in the names of the files, such as 0a3f or 0b00-0bff"
                )
            first = int(found[1], 16)
            last = first if found[2] is None else int(found[2], 16)
            if last < first:
                raise ValueError(f"{part.strip()!r} runs backwards")
            runs.append((first, last))
        return cls._joined(runs)

    @classmethod
    def _joined(cls, runs: Iterable[tuple[int, int]]) -> ShardRanges:
        joined: list[tuple[int, int]] = []
        for first, last in sorted(runs):
            if joined and first <= joined[-1][1] + 1:
                joined[-1] = (joined[-1][0], max(last, joined[-1][1]))
            else:
                joined.append((first, last))
        return cls(tuple(joined))

    def text(self, name: Callable[[int], str]) -> str:
        """Write the set; `name` gives a number the digits of its file."""
        return ",".join(
            name(first) if first == last else f"{name(first)}-{name(last)}"
            for first, last in self.runs
        )

    def __len__(self) -> int:
        return sum(last - first + 1 for first, last in self.runs)

    def __iter__(self) -> Iterator[int]:
        for first, last in self.runs:
            yield from range(first, last + 1)

    def __contains__(self, number: object) -> bool:
        if not isinstance(number, int):
            return False
        at = bisect_right(self.runs, (number, 1 << 64)) - 1
        return at >= 0 and number <= self.runs[at][1]
