"""A package imports only packages of lower floors; pyproject.toml has the contract."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("importlinter", reason="needs the extra [lint]")

ROOT = Path(__file__).parents[1]
LINT = (
    "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(no_cache=True))"
)


def lint(directory: Path, package: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.run(
        [sys.executable, "-c", LINT],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def test_imports_go_down() -> None:
    done = lint(ROOT, ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_an_import_that_goes_up_is_found(tmp_path: Path) -> None:
    for file in (ROOT / "shardreader").rglob("*.py"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    (tmp_path / "pyproject.toml").write_bytes((ROOT / "pyproject.toml").read_bytes())
    with (tmp_path / "shardreader/format/grid.py").open("a") as file:
        file.write("import shardreader.storage.local_store\n")
    done = lint(tmp_path, tmp_path)
    assert done.returncode == 1
    assert "shardreader.format is not allowed to import shardreader.storage" in done.stdout
