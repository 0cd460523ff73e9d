"""A copy is no source of itself: what it does not have would be taken for background."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli import assert_refused, run
from fixture_truth import FIXTURES

from shardreader.format.manifest import MANIFEST_NAME


@pytest.mark.parametrize("through_link", [False, True])
def test_source_and_copy_must_differ(tmp_path: Path, through_link: bool) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(FIXTURES / "mostly-background", copy)
    before = (copy / MANIFEST_NAME).read_bytes()
    other = copy
    if through_link:
        other = tmp_path / "link"
        other.symlink_to(copy, target_is_directory=True)
    commands = [
        ("fetch", copy, other),
        ("fetch", other.as_uri(), copy),
        ("fetch", copy, other, "--box", "0,0,0,8,8,8", "--units", "voxel"),
        ("adopt", copy, "--source", other),
        ("verify", copy, "--source", other),
    ]
    for command in commands:
        assert_refused(run(*command), "are the same directory")
    assert (copy / MANIFEST_NAME).read_bytes() == before
    assert sorted(path.name for path in copy.iterdir()) == sorted(
        path.name for path in (FIXTURES / "mostly-background").iterdir()
    )
