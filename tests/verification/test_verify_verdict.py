"""What `verify` has not understood it does not call whole: verdicts through the front door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli import assert_refused, run

Writable = Callable[[str], Path]


@pytest.mark.parametrize("axis", range(3))
def test_a_scale_without_voxels_is_an_error_of_the_info(writable: Writable, axis: int) -> None:
    path = writable("uint32")
    document = json.loads((path / "info").read_text())
    document["scales"][0]["size"][axis] = 0
    (path / "info").write_text(json.dumps(document))
    words = (f"scales[0].size[{axis}]", "expected an integer from 1", "found 0")
    assert_refused(run("verify", path), *words)
    assert_refused(run("info", path), *words)
