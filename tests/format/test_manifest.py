"""The manifest: parsing it, its JSON Schema, and that the two agree."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import shardreader.format.manifest as manifest_module
from shardreader.errors import InfoError
from shardreader.format.manifest import (
    MANIFEST_NAME,
    FileRecord,
    Manifest,
    ScaleManifest,
    parse_manifest,
)

WHERE = "vol/shardreader-manifest.json"
KEY = "8.0x8.0x40.0"
SCHEMA = json.loads(
    Path(manifest_module.__file__).with_name("manifest_schema.json").read_text("ascii")
)
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
FAFB_MINI = Path(__file__).parents[2] / "fixtures" / "fafb-mini" / MANIFEST_NAME

EXAMPLE = {
    "@type": "shardreader_manifest_v1",
    "created": "2026-11-22T00:00:00Z",
    "source": "gs://bucket/segmentation",
    "basis": "listing",
    "scales": {
        KEY: {
            "unlisted": "none",
            "files": {
                "0054.shard": {
                    "state": "whole",
                    "size": 230000000,
                    "generation": "1565905537352961",
                    "etag": "CMGatMCDheQCEAE=",
                    "crc32c": "yZRlqg==",
                    "md5": "1B2M2Y8AsgTpgAmY7PhCfg==",
                },
                "0055.shard": {"state": "partial"},
                "0056.shard": {"state": "not_fetched", "size": 0},
                "0057.shard": {"state": "none"},
            },
        },
        "16x16x40": {"unlisted": "unknown", "files": {"0000.shard": {"state": "none"}}},
    },
}
FILE = ("scales", KEY, "files", "0054.shard")
FILE_PATH = f'scales["{KEY}"].files["0054.shard"]'
REMOVED = object()


def changed(path, value):
    document = copy.deepcopy(EXAMPLE)
    *parents, last = path
    target = document
    for part in parents:
        target = target[part]
    if value is REMOVED:
        del target[last]
    else:
        target[last] = value
    return document


def parse(document):
    return parse_manifest(json.dumps(document).encode(), WHERE)


def parses(document):
    try:
        parse(document)
    except InfoError:
        return False
    return True


def test_name_and_schema_are_those_of_the_contract():
    assert MANIFEST_NAME == "shardreader-manifest.json"
    VALIDATOR.check_schema(SCHEMA)
    VALIDATOR.validate(EXAMPLE)


def test_example():
    manifest = parse(EXAMPLE)
    assert (manifest.created, manifest.source) == (EXAMPLE["created"], EXAMPLE["source"])
    assert manifest.basis == "listing"
    files = manifest.scales[KEY].files
    assert files["0054.shard"] == FileRecord(
        "whole",
        size=230000000,
        generation="1565905537352961",
        etag="CMGatMCDheQCEAE=",
        crc32c="yZRlqg==",
        md5="1B2M2Y8AsgTpgAmY7PhCfg==",
    )
    assert files["0055.shard"] == FileRecord("partial")
    assert files["0056.shard"].size == 0


@pytest.mark.parametrize(
    ("scale_key", "file_name", "none"),
    [
        (KEY, "0054.shard", False),
        (KEY, "0055.shard", False),
        (KEY, "0056.shard", False),
        (KEY, "0057.shard", True),
        (KEY, "1b68.shard", True),
        ("16x16x40", "0000.shard", True),
        ("16x16x40", "0001.shard", False),
        ("32x32x40", "0000.shard", False),
    ],
)
def test_source_has_none(scale_key, file_name, none):
    assert parse(EXAMPLE).source_has_none(scale_key, file_name) is none


def test_values_are_frozen():
    manifest = parse(EXAMPLE)
    with pytest.raises(AttributeError):
        manifest.source = "gs://other"
    with pytest.raises(TypeError):
        manifest.scales["other"] = ScaleManifest("none", {})
    with pytest.raises(TypeError):
        manifest.scales[KEY].files["0000.shard"] = FileRecord("none")
    files = {"0.shard": FileRecord("whole")}
    scale = ScaleManifest("none", files)
    files.clear()
    assert scale.files


def test_json_is_stable_and_round_trips():
    manifest = parse(EXAMPLE)
    data = manifest.to_json()
    assert json.loads(data) == EXAMPLE
    assert parse_manifest(data, WHERE) == manifest
    backwards = json.loads(data, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert list(backwards) != list(json.loads(data))
    assert parse(backwards).to_json() == data
    assert data.endswith(b"}\n")


def test_source_may_be_unknown():
    manifest = parse(changed(("source",), None))
    assert manifest.source is None
    assert json.loads(manifest.to_json())["source"] is None


def test_unknown_members_are_left_out():
    for path in [("note",), ("scales", KEY, "note"), (*FILE, "note")]:
        document = changed(path, {"any": 1})
        VALIDATOR.validate(document)
        assert parse(document) == parse(EXAMPLE)


def test_no_scales_and_no_files():
    assert not parse(changed(("scales",), {})).source_has_none(KEY, "0000.shard")
    assert parse(changed(("scales", KEY, "files"), {})).source_has_none(KEY, "0000.shard")


BROKEN = [
    ('["@type"]', ("@type",), REMOVED),
    ('["@type"]', ("@type",), "shardreader_manifest_v2"),
    ('["@type"]', ("@type",), None),
    ("created", ("created",), REMOVED),
    ("created", ("created",), "2026-11-22"),
    ("created", ("created",), "2026-11-22T00:00:00"),
    ("created", ("created",), "2026-11-22T00:00:00+01:00"),
    ("created", ("created",), "2026-13-22T00:00:00Z"),
    ("created", ("created",), "2026-11-22T24:00:00Z"),
    ("created", ("created",), 1795305600),
    ("source", ("source",), REMOVED),
    ("source", ("source",), 1),
    ("basis", ("basis",), "hearsay"),
    ("basis", ("basis",), REMOVED),
    ("basis", ("basis",), ["listing"]),
    ("scales", ("scales",), REMOVED),
    ("scales", ("scales",), []),
    ("scales", ("scales",), None),
    (f'scales["{KEY}"]', ("scales", KEY), []),
    (f'scales["{KEY}"]', ("scales", KEY), None),
    (f'scales["{KEY}"].unlisted', ("scales", KEY, "unlisted"), "maybe"),
    (f'scales["{KEY}"].unlisted', ("scales", KEY, "unlisted"), True),
    (f'scales["{KEY}"].unlisted', ("scales", KEY, "unlisted"), REMOVED),
    (f'scales["{KEY}"].files', ("scales", KEY, "files"), []),
    (f'scales["{KEY}"].files', ("scales", KEY, "files"), REMOVED),
    (f'scales["{KEY}"].files["a/b"]', ("scales", KEY, "files", "a/b"), {"state": "none"}),
    (f'scales["{KEY}"].files["a\\\\b"]', ("scales", KEY, "files", "a\\b"), {"state": "none"}),
    (f'scales["{KEY}"].files["a\\u0000"]', ("scales", KEY, "files", "a\0"), {"state": "none"}),
    (f'scales["{KEY}"].files[""]', ("scales", KEY, "files", ""), {"state": "none"}),
    (FILE_PATH, FILE, "whole"),
    (FILE_PATH, FILE, None),
    (f"{FILE_PATH}.state", (*FILE, "state"), "gone"),
    (f"{FILE_PATH}.state", (*FILE, "state"), "None"),
    (f"{FILE_PATH}.state", (*FILE, "state"), None),
    (f"{FILE_PATH}.state", (*FILE, "state"), REMOVED),
    (f"{FILE_PATH}.size", (*FILE, "size"), -1),
    (f"{FILE_PATH}.size", (*FILE, "size"), 1.5),
    (f"{FILE_PATH}.size", (*FILE, "size"), True),
    (f"{FILE_PATH}.size", (*FILE, "size"), "1"),
    (f"{FILE_PATH}.size", (*FILE, "size"), None),
    (f"{FILE_PATH}.size", (*FILE, "size"), 2**53),
    (f"{FILE_PATH}.generation", (*FILE, "generation"), 1565905537352961),
    (f"{FILE_PATH}.generation", (*FILE, "generation"), ""),
    (f"{FILE_PATH}.etag", (*FILE, "etag"), None),
    (f"{FILE_PATH}.crc32c", (*FILE, "crc32c"), "yZRlqg"),
    (f"{FILE_PATH}.crc32c", (*FILE, "crc32c"), "c99465aa"),
    (f"{FILE_PATH}.crc32c", (*FILE, "crc32c"), 3381945770),
    (f"{FILE_PATH}.md5", (*FILE, "md5"), "d41d8cd98f00b204e9800998ecf8427e"),
    (f"{FILE_PATH}.md5", (*FILE, "md5"), "yZRlqg=="),
    (FILE_PATH, (*FILE, "state"), "none"),  # a file that is not there has no size
]


@pytest.mark.parametrize(("path", "where", "value"), BROKEN)
def test_a_broken_member_is_named_and_the_schema_agrees(path, where, value):
    document = changed(where, value)
    with pytest.raises(InfoError) as caught:
        parse(document)
    assert str(caught.value).startswith(f"{WHERE}: {path}: expected ")
    assert ", found " in str(caught.value)
    assert not VALIDATOR.is_valid(document)


def test_an_integral_float_is_an_integer_as_in_json_schema():
    document = changed((*FILE, "size"), 5.0)
    VALIDATOR.validate(document)
    size = parse(document).scales[KEY].files["0054.shard"].size
    assert size == 5
    assert type(size) is int


def test_a_day_that_is_not_in_the_calendar_is_refused():
    with pytest.raises(InfoError, match="created: expected a time"):
        parse(changed(("created",), "2026-02-30T00:00:00Z"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\0" * 64,
        b"\xff",
        b"[]",
        b"null",
        b'{"a": NaN}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b"[" * 100_000,
        json.dumps(EXAMPLE).encode()[:-2],
    ],
)
def test_a_damaged_document_is_refused(data):
    with pytest.raises(InfoError) as caught:
        parse_manifest(data, WHERE)
    assert str(caught.value).startswith(f"{WHERE}: document: expected ")
    assert len(str(caught.value)) < 500


def test_a_member_given_twice_is_refused():
    text = json.dumps(EXAMPLE).replace('"state": "whole"', '"state": "none", "state": "whole"')
    with pytest.raises(InfoError, match="member 'state': expected one in its object"):
        parse_manifest(text.encode(), WHERE)


def test_the_size_of_the_document_is_bounded(monkeypatch):
    data = json.dumps(EXAMPLE).encode()
    monkeypatch.setattr(manifest_module, "MANIFEST_BYTES_LIMIT", len(data))
    parse_manifest(data, WHERE)
    with pytest.raises(InfoError, match="document: expected at most"):
        parse_manifest(data + b" ", WHERE)


@pytest.mark.skipif(not FAFB_MINI.is_file(), reason="no manifest in fixtures/fafb-mini")
def test_the_manifest_of_fafb_mini():
    data = FAFB_MINI.read_bytes()
    VALIDATOR.validate(json.loads(data))
    manifest = parse_manifest(data, str(FAFB_MINI))
    assert set(manifest.scales) == {KEY}
    assert parse_manifest(manifest.to_json(), WHERE) == manifest


names = st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), min_size=1, max_size=8)
records = st.builds(
    FileRecord,
    st.sampled_from(["whole", "partial", "not_fetched"]),
    size=st.none() | st.integers(0, 2**53 - 1),
    generation=st.none() | st.integers(0, 2**64).map(str),
    etag=st.none() | st.text(min_size=1, max_size=5),
    crc32c=st.sampled_from([None, "AAAAAA==", "yZRlqg=="]),
    md5=st.sampled_from([None, "1B2M2Y8AsgTpgAmY7PhCfg=="]),
)
manifests = st.builds(
    Manifest,
    st.datetimes().map(lambda time: time.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)),
    st.none() | st.text(max_size=8),
    st.sampled_from(["listing", "requests", "user"]),
    st.dictionaries(
        st.text(max_size=8),
        st.builds(
            ScaleManifest,
            st.sampled_from(["none", "unknown"]),
            st.dictionaries(names, records | st.just(FileRecord("none")), max_size=5),
        ),
        max_size=3,
    ),
)


@settings(deadline=None)
@given(manifests)
def test_any_manifest_round_trips_and_fits_the_schema(manifest):
    data = manifest.to_json()
    VALIDATOR.validate(json.loads(data))
    assert parse_manifest(data, WHERE) == manifest


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=6,
)
member_paths = [
    *((name,) for name in EXAMPLE),
    ("scales", KEY),
    ("scales", KEY, "files"),
    ("scales", KEY, "unlisted"),
    FILE,
    *((*FILE, name) for name in EXAMPLE["scales"][KEY]["files"]["0054.shard"]),
]


@settings(deadline=None)
@given(st.sampled_from(member_paths), json_values)
def test_parsing_and_schema_agree_on_any_value_of_any_member(path, value):
    document = json.loads(json.dumps(changed(path, value)).replace("Infinity", "1"))
    assert parses(document) == VALIDATOR.is_valid(document)
