"""Saved listings in the forms that gsutil and gcloud print."""

from __future__ import annotations

import io
import os

import pytest

from shardreader.copies.gsutil_listing import ListedObject, Listing, ListingError

URL = "gs://bucket/vol/8_8_40"

GSUTIL_LONG = f"""\
                                 {URL}/folder/
     18195  2020-04-12T10:00:00Z  {URL}/02fa.shard
 230000000  2020-04-12T10:00:01Z  {URL}/02fb.shard
TOTAL: 2 objects, 230018195 bytes (219.36 MiB)
"""
GCLOUD_LONG = f"""\
{URL}/:
     18195  2020-04-12T10:00:00Z  {URL}/02fa.shard

{URL}/more/:
 230000000  2020-04-12T10:00:01Z  {URL}/02fb.shard#1586685600000000  metageneration=1  etag=CJq=
TOTAL: 2 objects, 230018195 bytes (219.36MiB)
"""
GSUTIL_FULL = f"""\
{URL}/02fa.shard:
    Creation time:          Sun, 12 Apr 2020 10:00:00 GMT
    Update time:            Sun, 12 Apr 2020 10:00:00 GMT
    Storage class:          STANDARD
    Content-Length:         18195
    Content-Type:           application/octet-stream
    Metadata:
        Content-Length:     7
        generation:         1
    Hash (crc32c):          D6zk5A==
    Hash (md5):             ms+qSYvgI9SjXn8tW/5UpQ==
    ETag:                   CP+G9snS/ogDEAE=
    Generation:             1586685600000000
    Metageneration:         1
    ACL:                    [
  {{
    "entity": "allUsers",
    "role": "READER"
  }}
]
TOTAL: 1 objects, 18195 bytes (17.77 KiB)
"""
GCLOUD_FULL = f"""\
{URL}/02fa.shard:
  Creation Time:               2020-04-12T10:00:00Z
  Update Time:                 2020-04-12T10:00:00Z
  Storage Class:               STANDARD
  Content-Length:              18195
  Content-Type:                application/octet-stream
  Additional Properties:
    Content-Length:            7
  Hash (CRC32C):               D6zk5A==
  Hash (MD5):                  ms+qSYvgI9SjXn8tW/5UpQ==
  ETag:                        CP+G9snS/ogDEAE=
  Generation:                  1586685600000000
  Metageneration:              1
  ACL:                         [
  {{
    "entity": "allUsers"
  }}
]
TOTAL: 1 objects, 18195 bytes (17.77kiB)
"""
FULL = ListedObject(
    f"{URL}/02fa.shard",
    18195,
    crc32c="D6zk5A==",
    md5="ms+qSYvgI9SjXn8tW/5UpQ==",
    generation="1586685600000000",
    etag="CP+G9snS/ogDEAE=",
)


def read(text: str | bytes) -> tuple[list[ListedObject], Listing]:
    listing = Listing(io.BytesIO(text if isinstance(text, bytes) else text.encode()))
    return list(listing), listing


@pytest.mark.parametrize("text", [GSUTIL_FULL, GCLOUD_FULL], ids=["gsutil", "gcloud"])
def test_the_full_form(text: str) -> None:
    found, listing = read(text)
    assert found == [FULL]
    assert (listing.objects, listing.complete, listing.foreign) == (1, True, 0)


def test_the_long_form_of_gsutil() -> None:
    found, listing = read(GSUTIL_LONG)
    assert [(o.url.rpartition("/")[2], o.size) for o in found] == [
        ("02fa.shard", 18195),
        ("02fb.shard", 230000000),
    ]
    assert listing.complete
    assert listing.foreign == 0


def test_the_long_form_of_gcloud_with_folders_and_versions() -> None:
    found, listing = read(GCLOUD_LONG)
    assert found[1] == ListedObject(
        f"{URL}/02fb.shard", 230000000, generation="1586685600000000", etag="CJq="
    )
    assert listing.complete
    assert listing.foreign == 0


@pytest.mark.parametrize("text", [GSUTIL_LONG, GCLOUD_LONG, GSUTIL_FULL, GCLOUD_FULL])
@pytest.mark.parametrize(
    "encoded",
    [
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: ("\ufeff" + text.replace("\n", "\r\n")).encode("utf-16-le"),
        lambda text: ("\ufeff" + text).encode("utf-16-be"),
        lambda text: text.rstrip("\n").encode(),
    ],
    ids=["CRLF", "mark", "PowerShell", "UTF-16 BE", "no last line end"],
)
def test_how_the_text_was_saved_does_not_matter(text: str, encoded) -> None:  # type: ignore[no-untyped-def]
    found, listing = read(encoded(text))
    assert found == read(text)[0]
    assert listing.complete


@pytest.mark.parametrize("text", [GSUTIL_LONG, GSUTIL_FULL])
def test_a_listing_may_come_through_a_pipe(text: str) -> None:
    out, into = os.pipe()
    os.write(into, text.encode())
    os.close(into)
    with open(out, "rb") as file:
        listing = Listing(file)
        assert list(listing) == read(text)[0]
        assert listing.complete


@pytest.mark.parametrize("text", [GSUTIL_LONG, GCLOUD_LONG, GSUTIL_FULL, GCLOUD_FULL])
def test_wherever_it_is_cut_it_is_not_complete_or_refused(text: str) -> None:
    whole, _ = read(text)
    total_line = text.index("TOTAL")
    for end in range(total_line + 1):
        try:
            found, listing = read(text[:end])
        except ListingError:
            continue
        assert not listing.complete, end
        # A number may be cut short, which no reader can see: hence no absence is concluded.
        assert len(found) <= len(whole)


def test_a_total_that_does_not_fit() -> None:
    assert not read(GSUTIL_LONG.replace("2 objects", "3 objects"))[1].complete
    assert not read(GSUTIL_LONG.replace("230018195 bytes", "230018196 bytes"))[1].complete


def test_several_listings_one_after_the_other() -> None:
    found, listing = read(GSUTIL_LONG + GSUTIL_FULL + GCLOUD_LONG)
    assert len(found) == 5
    assert listing.complete
    assert not read(GSUTIL_LONG.replace("TOTAL: 2", "TOTAL: 9") + GCLOUD_LONG)[1].complete


def test_foreign_lines_are_counted() -> None:
    text = "WARNING: Python 2 is old\n" + GSUTIL_LONG.replace(
        "TOTAL", "Updates are available\nTOTAL"
    )
    found, listing = read(text)
    assert len(found) == 2
    assert listing.foreign == 2
    assert listing.first_foreign == ["WARNING: Python 2 is old", "Updates are available"]
    assert listing.complete


@pytest.mark.parametrize("value", ["Underlying data encrypted", "encrypted", "D6zk5", "AAAA", ""])
def test_what_is_no_checksum_is_none(value: str) -> None:
    (found,), _ = read(GSUTIL_FULL.replace("D6zk5A==", value))
    assert found.crc32c is None
    assert found.md5 == FULL.md5


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (f" 17.77 KiB  2020-04-12T10:00:00Z  {URL}/02fa.shard\n", "rounded sizes"),
        (f"17.77kiB  2020-04-12T10:00:00Z  {URL}/02fa.shard\n", "without -h"),
        (f"{URL}/02fa.shard\n", "names without sizes"),
        ("\0\0\0\0", "no text"),
        ("x" * 100_000, "no text"),
    ],
)
def test_what_is_no_listing_with_sizes_is_refused(text: str, words: str) -> None:
    if "kiB" in text:
        text = text.replace("kiB", "KiB")
    with pytest.raises(ListingError, match=words):
        read(text)


def test_any_bytes_give_objects_or_a_listing_error() -> None:
    import random

    rng = random.Random(5)
    whole = (GSUTIL_LONG + GSUTIL_FULL + GCLOUD_FULL).encode()
    for _ in range(500):
        data = bytearray(whole)
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            found, _ = read(bytes(data))
        except ListingError:
            continue
        assert all(isinstance(o.size, int) and o.size >= 0 for o in found)
