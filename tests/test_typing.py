"""mypy knows what the methods of a `Volume` give, by the arguments that decide it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from cli import REPOSITORY

CALLS = Path(__file__).parent / "support" / "typed_calls.py"


def test_answers_have_the_types_that_the_arguments_decide(tmp_path: Path) -> None:
    pytest.importorskip("mypy")
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), str(CALLS)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
