"""ARCHITECTURE.md and CONTRIBUTING.md name files that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def named(document: str) -> list[str]:
    return re.findall(r"`([a-z_/]+(?:\.py|\.md|/))`", (ROOT / document).read_text())


@pytest.mark.parametrize("document", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_the_files_named_are_there(document: str) -> None:
    names = named(document)
    assert names
    known = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*") if ".git" not in path.parts}
    for name in names:
        wanted = name.rstrip("/")
        assert any(path == wanted or path.endswith(f"/{wanted}") for path in known), name


def test_the_table_of_jobs_has_ten_rows_and_each_names_a_file() -> None:
    table = (ROOT / "ARCHITECTURE.md").read_text().split("## Where is it done?")[1]
    rows = [line for line in table.splitlines() if line.startswith("|")][2:]
    assert len(rows) >= 10
    for row in rows:
        for file in re.findall(r"`(shardreader/[^`]+)`", row):
            assert (ROOT / file).is_file(), file
        assert "`shardreader/" in row
