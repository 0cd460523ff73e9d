"""The member ``redirect`` of an info: the volume has moved to another URL."""

from __future__ import annotations

from shardreader.errors import FormatFault, InfoError, Location
from shardreader.format.json_members import decode_text, parse_object, shown

__all__ = ["redirect_of"]


def redirect_of(data: bytes, where: str) -> str | None:
    """The URL that an info says its volume has moved to; None of most.

    Raises
    ------
    InfoError
        The member ``redirect`` is no string.

    Examples
    --------
    >>> redirect_of(b'{"redirect": "gs://bucket/volume"}', "vol/info")
    'gs://bucket/volume'
    """
    if b'"redirect"' not in data:
        return None
    try:
        target = parse_object(decode_text(data)).get("redirect")
        if target is not None and not isinstance(target, str):
            raise FormatFault("redirect", expected="a URL", found=shown(target))
        return target
    except FormatFault as fault:
        advice = "compare the file with the info of the volume's source"
        raise InfoError.from_fault(fault, Location(file=where), advice) from None
