"""What users may call: every public name with its signature, as listed in `public_api.txt`.

A change of the list is a change for users: it needs a line in CHANGELOG.md. Write it anew with

    python tests/test_public_api.py > tests/public_api.txt
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import shardreader
from shardreader import compat, fafb

LISTED = Path(__file__).with_name("public_api.txt")
MODULES = {"shardreader": shardreader, "shardreader.compat": compat, "shardreader.fafb": fafb}
PROMISED_BASES = (
    shardreader.ShardReaderError,
    *(IndexError, ValueError, TypeError, KeyError, LookupError, OSError, int, tuple),
)
# The other classes are what functions return; how they are made is not promised.
MADE_BY_USERS = ("Box", "LabelMap", "Bbox", "CloudVolumeLike", "Vec")


def signature_of(function: Any) -> str:
    """Names, kinds and defaults of the parameters. What types they have is for a type checker."""
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty)
        for parameter in signature.parameters.values()
    ]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


def members_of(owner: type) -> dict[str, Any]:
    """The public members that this package gives a class, its bases' too."""
    members: dict[str, Any] = {}
    for base in reversed(owner.__mro__):
        if base.__module__.startswith("shardreader"):
            members |= {name: value for name, value in vars(base).items() if name[0] != "_"}
            fields = getattr(base, "__dataclass_fields__", {})
            members |= {name: None for name in fields if name[0] != "_" and name not in members}
    return members


def lines_of(path: str, value: Any) -> Iterator[str]:
    if not inspect.isclass(value):
        yield f"{path}{signature_of(value)}"
        return
    names = ", ".join(base.__name__ for base in value.__mro__[1:] if base in PROMISED_BASES)
    made = signature_of(value) if value.__name__ in MADE_BY_USERS else ""
    yield f"class {path}{made}: {names}".removesuffix(": ")
    for name, member in sorted(members_of(value).items()):
        if isinstance(member, (classmethod, staticmethod)):
            yield f"{path}.{name}{signature_of(getattr(value, name))}"
        elif inspect.isfunction(member):
            yield f"{path}.{name}{signature_of(member)}"
        else:
            yield f"{path}.{name}"


def listing() -> list[str]:
    lines = []
    for module_name, module in MODULES.items():
        for name in sorted(module.__all__):
            lines += lines_of(f"{module_name}.{name}", getattr(module, name))
    return lines


def test_the_public_api_is_as_listed() -> None:
    assert listing() == LISTED.read_text().splitlines()


if __name__ == "__main__":
    print("\n".join(listing()))
