"""Strict JSON, and members of it checked one by one.

All raise a `FormatFault` that names the JSON path; the caller knows the file.
"""

from __future__ import annotations

import json
import reprlib
from collections import Counter
from typing import Any

from shardreader.errors import FormatFault
from shardreader.format.grid import Triple

__all__ = [
    "choice",
    "decode_text",
    "integer",
    "lowercase",
    "parse_object",
    "shorten",
    "shown",
    "three",
    "triple",
]

_NESTING_LIMIT = 32

_shorten = reprlib.Repr()
_shorten.maxstring = _shorten.maxother = 120
_shorten.maxlist = 8
shorten = _shorten.repr


def decode_text(data: bytes) -> str:
    """Bytes of a document as text; a byte order mark is dropped."""
    try:
        # With a byte order mark: people edit an info by hand, and Windows editors add one.
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        found = f"byte {error.start} is {data[error.start]:#04x}"
        raise FormatFault("document", expected="JSON in UTF-8", found=found) from None


def parse_object(text: str) -> dict[str, Any]:
    """Parse a JSON object, strictly: no member twice, no NaN, no deep nesting."""
    try:
        document = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant)
        too_deep = _nesting(document) > _NESTING_LIMIT
    except RecursionError:
        too_deep = True
    except json.JSONDecodeError as error:
        found = f"{error.msg} at line {error.lineno} column {error.colno}"
        raise FormatFault("document", expected="JSON", found=found) from None
    except ValueError as error:
        if isinstance(error, FormatFault):
            raise
        # Python refuses to convert integers of more than 4,300 digits.
        raise FormatFault("document", expected="JSON", found=str(error)) from None
    if too_deep:
        expected = f"at most {_NESTING_LIMIT} levels of nesting"
        raise FormatFault("document", expected=expected, found="more")
    if not isinstance(document, dict):
        raise FormatFault("document", expected="a JSON object", found=shown(document))
    return document


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # Of two "size" members each reader takes the one it likes: refuse to choose.
    members = dict(pairs)
    if len(members) < len(pairs):
        twice = Counter(name for name, _ in pairs).most_common(1)[0][0]
        raise FormatFault(f"member {twice!r}", expected="one in its object", found="several")
    return members


def _refuse_constant(name: str) -> None:
    raise FormatFault("document", expected="JSON", found=name)


def _nesting(value: object) -> int:
    depth = 0
    level: list[Any] = [value] if isinstance(value, (dict, list)) else []
    while level:
        depth += 1
        level = [
            item
            for outer in level
            for item in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(item, (dict, list))
        ]
    return depth


def shown(value: object) -> str:
    """Show a value in a message, shortened; None stands for a member that is not there."""
    return "nothing" if value is None else _shorten.repr(value)


def lowercase(value: object) -> object:
    """Lower the case of a string; leave other values alone."""
    return value.lower() if isinstance(value, str) else value


def choice(value: object, path: str, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str) or value not in choices:
        expected = f"one of {', '.join(map(repr, choices))}"
        raise FormatFault(path, expected=expected, found=shown(value))
    return value


def integer(value: object, path: str, least: int, most: int) -> int:
    """An integer in a range; 128.0 is one, because JSON has one type of number."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if type(value) is not int or not least <= value <= most:
        expected = f"an integer from {least} to {most}"
        raise FormatFault(path, expected=expected, found=shown(value))
    return value


def three(value: object, path: str, items: str) -> list[Any]:
    """A list of three."""
    if not isinstance(value, list) or len(value) != 3:
        raise FormatFault(path, expected=f"a list of three {items}", found=shown(value))
    return value


def triple(value: object, path: str, least: int, most: int) -> Triple:
    """A list of three integers in a range."""
    items = three(value, path, "integers")
    x, y, z = (integer(item, f"{path}[{i}]", least, most) for i, item in enumerate(items))
    return x, y, z
