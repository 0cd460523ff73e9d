"""Single HTTP requests whose headers matter, which obstore does not show."""

from __future__ import annotations

import base64
import binascii
import http.client
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import NamedTuple

__all__ = [
    "AbsentError",
    "Answer",
    "RefusedError",
    "StoreError",
    "TransientError",
    "checksum_headers",
    "is_checksum",
    "plain_url",
]

_TIMEOUT_SECONDS = 60
_MOST_BYTES = 64 << 20


class StoreError(Exception):
    """A source does not give what it was asked for; the message is for the user."""


class AbsentError(StoreError):
    """The source says that there is no such object."""


class RefusedError(StoreError):
    """The source refuses, and would refuse again."""


class TransientError(StoreError):
    """Something went wrong that may go right the next time."""


class Answer(NamedTuple):
    """The status, the headers and the body of an answer, whatever the status is."""

    status: int
    headers: Message
    body: bytes


def plain_url(url: str, *, method: str = "GET") -> Answer:
    """Send one anonymous request.

    Raises
    ------
    TransientError
        No answer came, or not all of it.
    """
    request = urllib.request.Request(url, method=method)  # noqa: S310 (the caller made the URL)
    try:
        try:
            response = urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS)  # noqa: S310
        except urllib.error.HTTPError as error:
            with error:
                return Answer(error.code, error.headers, b"")
        with response:
            body = response.read(_MOST_BYTES + 1)
            if len(body) > _MOST_BYTES:
                raise RefusedError(f"an answer of more than {_MOST_BYTES} bytes")
            return Answer(response.status, response.headers, body)
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(f"no whole answer ({error})") from error


def is_checksum(text: object, length: int) -> bool:
    """Whether `text` is the base64 of a checksum of so many bytes."""
    if not isinstance(text, str):
        return False
    try:
        return len(base64.b64decode(text, validate=True)) == length
    except (binascii.Error, ValueError):
        return False


def checksum_headers(headers: Mapping[str, str] | Message) -> dict[str, str]:
    """The checksums in the ``x-goog-hash`` headers of an answer.

    Examples
    --------
    >>> message = Message()
    >>> message["x-goog-hash"] = "crc32c=D6zk5A==,md5=ms+qSYvgI9SjXn8tW/5UpQ=="
    >>> checksum_headers(message)["crc32c"]
    'D6zk5A=='
    """
    lines = headers.get_all("x-goog-hash", []) if isinstance(headers, Message) else []
    pairs = (item.strip().partition("=") for line in lines for item in str(line).split(","))
    lengths = {"crc32c": 4, "md5": 16}
    return {
        name: value
        for name, _, value in pairs
        if name in lengths and is_checksum(value, lengths[name])
    }
