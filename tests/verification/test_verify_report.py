"""The report: its schema, and its renderings."""

from __future__ import annotations

import importlib.resources
import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from fixture_truth import FIXTURES, copy_of_fafb_mini

import shardreader
from shardreader.verification.picture import COLORS, draw_shards
from shardreader.verification.render_html import render_html
from shardreader.verification.render_markdown import render_markdown
from shardreader.verification.render_text import render_text

FAFB_MINI = copy_of_fafb_mini()

KEY = "8.0x8.0x40.0"
Writable = Callable[[str], Path]


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    text = (
        importlib.resources.files("shardreader.verification") / "report_schema.json"
    ).read_text()
    document: dict[str, Any] = json.loads(text)
    jsonschema.Draft202012Validator.check_schema(document)
    return document


@pytest.fixture
def damaged(writable: Writable) -> shardreader.Report:
    path = writable("fafb-mini")
    file = path / KEY / "02fb.shard"
    data = bytearray(file.read_bytes())
    data[20000] ^= 4
    file.write_bytes(data)
    (path / KEY / "0668.shard").unlink()
    (path / KEY / "1b68.shard").write_bytes(b"")
    (path / KEY / "<b>&.tmp").write_bytes(b"")
    return shardreader.verify(path)


def test_the_schema_holds(damaged: shardreader.Report, schema: dict[str, Any]) -> None:
    reports = [damaged, shardreader.verify(FAFB_MINI, level="quick", shards="02fa")]
    reports.append(shardreader.verify(FIXTURES / "two-scales", allow_absent=True))
    for report in reports:
        document = json.loads(json.dumps(report.to_json()))
        jsonschema.validate(document, schema)
        assert document == report.to_json()


def test_the_schema_allows_nothing_else(
    damaged: shardreader.Report, schema: dict[str, Any]
) -> None:
    document = damaged.to_json()
    for change in ({"more": 1}, {"ok": 1}, {"level": "deeper"}, {"scales": []}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**document, **change}, schema)


def test_groups_and_boxes(damaged: shardreader.Report) -> None:
    document = damaged.to_json()
    severities = [group["severity"] for group in document["findings"]]
    assert severities == sorted(severities, key=["damage", "missing", "note"].index)
    for group in document["findings"]:
        assert group["count"] >= len(group["listed"]) > 0
        assert {finding["kind"] for finding in group["listed"]} == {group["kind"]}
    (scale,) = damaged.scales
    bounds = scale.scale.grid.bounds
    assert all(bounds.contains(box) for box in scale.untrusted)
    assert len(scale.untrusted) == 2
    copied = document["what_to_do"]["copy_again"]
    assert copied == [f"{KEY}/{name}.shard" for name in ("02fb", "0668", "1b68")]


def test_the_terminal_cuts_long_lists(writable: Writable) -> None:
    path = writable("fafb-mini")
    for number in range(40):
        (path / KEY / f"left-{number:02}.tmp").write_bytes(b"")
    text = render_text(shardreader.verify(path, level="quick"))
    assert "LITTER (note), 40" in text
    assert "... and 30 more" in text
    assert "left-39" not in text
    assert max(map(len, text.splitlines())) < 600


def test_markdown_has_everything_and_no_foreign_markup(damaged: shardreader.Report) -> None:
    text = render_markdown(damaged)
    assert "\\<b\\>&.tmp" in text
    assert "<b>" not in text
    for group in damaged.groups:
        assert f"### {group.kind} (" in text
    tables = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in tables} <= {3, 4}


class Parser(HTMLParser):
    """Holds that every element is closed, in order."""

    VOID = ("meta",)

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_html_is_well_formed_and_stands_alone(damaged: shardreader.Report) -> None:
    text = render_html(damaged)
    parser = Parser()
    parser.feed(text)
    assert parser.open == []
    assert "b" not in parser.seen
    assert "script" not in parser.seen
    assert "&lt;b&gt;&amp;.tmp" in text
    assert "http" not in text.replace('xmlns="http://www.w3.org/2000/svg"', "")


def test_the_picture_has_a_square_for_each_shard(damaged: shardreader.Report) -> None:
    (scale,) = damaged.scales
    picture = draw_shards(scale)
    assert picture is not None
    root = ET.fromstring(picture)
    space = "{http://www.w3.org/2000/svg}"
    layers = root.findall(f"{space}g")
    assert len(layers) == 7
    labels = [layer.findtext(f"{space}text") for layer in layers]
    assert (labels[0], labels[-1]) == ("z 0 to 1024", "z 6144 to 7063")
    squares = [rect for rect in root.iter(f"{space}rect") if "url" not in rect.attrib["fill"]]
    side = int(squares[0].attrib["height"])
    count: dict[str, int] = {}
    for rect in squares:
        fill = rect.attrib["fill"]
        count[fill] = count.get(fill, 0) + int(rect.attrib["width"]) // side
    assert sum(count.values()) == 3689
    for state in ("whole", "damaged", "not_downloaded", "unknown", "source_has_none"):
        assert count[COLORS[state]] == scale.count(state), state
    titles = [title.text for title in root.iter(f"{space}title")]
    assert titles == [
        "02fb.shard: damaged",
        "0668.shard: not_downloaded",
        "1b68.shard: damaged",
    ]
    # 1b68 is in the far corner: the last column, the last row, the last layer.
    last = next(r for r in layers[6].iter(f"{space}rect") if r.find(f"{space}title") is not None)
    assert (int(last.attrib["x"]), int(last.attrib["y"])) == (30 * side, 16 * side)


@pytest.mark.parametrize("name", ["preshift-64", "one-shard", "flat-axis", "more-bits-than-grid"])
def test_every_geometry_has_a_picture(name: str) -> None:
    report = shardreader.verify(FIXTURES / name, level="quick", allow_absent=True)
    assert "<svg" in render_html(report)


def test_a_hash_that_scatters_shards_has_no_picture() -> None:
    report = shardreader.verify(FIXTURES / "murmurhash", level="quick", allow_absent=True)
    assert draw_shards(report.scales[0]) is None
    assert "too many to draw" in render_html(report)


def test_a_report_has_an_ending_that_is_known(damaged: shardreader.Report, tmp_path: Path) -> None:
    for name in ("r.txt", "r", "r.htm"):
        with pytest.raises(ValueError, match="must end in one of"):
            damaged.write(tmp_path / name)
    damaged.write(tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == json.loads(
        json.dumps(damaged.to_json())
    )
