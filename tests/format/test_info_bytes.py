"""An info as bytes: any bytes parse, or are an InfoError."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from info_documents import FAFB, SHARDING, WHERE, changed

from shardreader.errors import InfoError
from shardreader.format.info import (
    parse_info,
)


def test_a_byte_order_mark_is_tolerated():
    assert parse_info(b"\xef\xbb\xbf" + json.dumps(FAFB).encode(), WHERE).scales


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"<html>404</html>",
        b"\0" * 100,
        b"\xff\xfe{\0}\0",
        json.dumps(FAFB).encode()[:-1],
        json.dumps(FAFB).encode() + b"}",
        b"[]",
        b"3",
        b"null",
        b'"info"',
        b'{"a": NaN}',
        b'{"a": [-Infinity]}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}",
    ],
)
def test_what_is_no_json_object_is_refused(data):
    with pytest.raises(InfoError) as caught:
        parse_info(data, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: document: expected ")
    assert len(str(caught.value)) < 500


def test_a_member_given_twice_is_refused():
    text = json.dumps(FAFB).replace('"size"', '"size": [1, 1, 1], "size"')
    with pytest.raises(InfoError, match="vol/info: member 'size': expected one in its object"):
        parse_info(text.encode(), WHERE)


def parses_or_says(data):
    """None, or the message of the only error that parsing may raise."""
    try:
        parse_info(data, WHERE)
    except InfoError as error:
        return str(error)
    return None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)


member_paths = [
    *((name,) for name in FAFB),
    ("scales", 0),
    *(("scales", 0, name) for name in FAFB["scales"][0]),
    *(("scales", 0, "sharding", name) for name in SHARDING),
    *(("scales", 0, name, 0) for name in ("size", "resolution", "chunk_sizes")),
    *(("scales", 0, name) for name in ("voxel_offset", "hidden", "jpeg_quality")),
]


@settings(deadline=None)
@given(st.sampled_from(member_paths), json_values)
def test_any_value_of_any_member_parses_or_is_an_info_error(path, value):
    message = parses_or_says(json.dumps(changed((path, value))).encode())
    assert message is None or message.startswith(f"{WHERE}: ")


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 700))
def test_any_bytes_parse_or_are_an_info_error(junk, position):
    data = json.dumps(FAFB).encode()
    message = parses_or_says(data[:position] + junk + data[position + len(junk) :])
    assert message is None or message.startswith(f"{WHERE}: ")
