"""What `import shardreader` costs and gives."""

from __future__ import annotations

import importlib.resources
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
from fixture_truth import FAFB_MINI

import shardreader

REPOSITORY = Path(__file__).resolve().parent.parent
# Slow to import, or only there with an extra.
HEAVY = [
    *("numba", "llvmlite", "tensorstore", "tifffile", "nrrd", "cloudvolume", "dask", "pandas"),
    *(
        "compressed_segmentation",
        "jsonschema",
        "pytest",
        "hypothesis",
        "obstore",
        "scipy",
        "duckdb",
    ),
    *("tornado", "neuroglancer", "PIL"),
    *("pyarrow", "navis", "fafbseg"),
]


def modules_after(code: str) -> set[str]:
    """The modules that a new process has after running some code."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"{code}\nimport json, sys\nsys.stderr.write(json.dumps([*sys.modules]))",
        ],
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
        check=True,
        text=True,
    )
    return set(json.loads(done.stderr))


def command(*arguments: str) -> str:
    return (
        "from shardreader.cli import main\n"
        "try:\n"
        f"    assert main({list(arguments)}) == 0\n"
        "except SystemExit as end:\n"
        "    assert not end.code\n"
    )


@pytest.mark.parametrize(
    "code",
    [
        "import shardreader",
        f"import shardreader\nshardreader.open_volume({str(FAFB_MINI)!r})",
        command("--help"),
        command("--version"),
        command("lookup", "--help"),
        command("fetch", "--help"),
        command("serve", "--help"),
        command("view", "--help"),
        command("picture", "--help"),
        command("index", "--help"),
        command("segment", "--help"),
        command("info", str(FAFB_MINI)),
        command("info", str(FAFB_MINI), "--json"),
    ],
    ids=[
        "import",
        "open",
        "help",
        "version",
        "help of lookup",
        "help of fetch",
        "help of serve",
        "help of view",
        "help of picture",
        "help of index",
        "help of segment",
        "info",
        "info --json",
    ],
)
def test_nothing_heavy_is_imported(code: str) -> None:
    assert not modules_after(code) & set(HEAVY)


def test_reading_imports_numba() -> None:
    """Else the test above would show nothing."""
    code = f"import shardreader\nshardreader.open_volume({str(FAFB_MINI)!r})[61440, 32768, 3072]"
    assert "numba" in modules_after(code)


def test_help_does_without_numpy() -> None:
    """It must come in half a second, on slow disks too."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "shardreader", "--help"],
        capture_output=True,
        cwd=REPOSITORY,
        timeout=60,
        check=True,
        text=True,
    )
    assert "exit status" in done.stdout
    assert "numba" not in done.stderr


@pytest.mark.parametrize("name", shardreader.__all__)
def test_public_names_are_documented(name: str) -> None:
    value = getattr(shardreader, name)
    assert inspect.getdoc(value)
    if inspect.isclass(value):
        assert value.__doc__, "a docstring of its own"
        for member, method in vars(value).items():
            if not member.startswith("_") and callable(method):
                assert inspect.getdoc(method), f"{name}.{member}"


def test_public_names_of_the_contract() -> None:
    assert {"Box", "PointStatus", "Volume", "open_volume"} <= set(shardreader.__all__)
    for error in (
        *("ShardReaderError", "InfoError", "ShardError", "ChunkError"),
        *("NotDownloadedError", "OutOfBoundsError", "ReadError"),
    ):
        assert error in shardreader.__all__
    assert shardreader.__all__ == sorted(shardreader.__all__)
    assert shardreader.__doc__
    assert shardreader.__version__


@pytest.mark.parametrize("name", ["compat", "fafb"])
def test_modules_are_there_without_an_import(name: str) -> None:
    code = f"import shardreader\nassert '{name}' in dir(shardreader)\nshardreader.{name}"
    assert f"shardreader.{name}" in modules_after(code)


def test_py_typed_is_packaged() -> None:
    files = importlib.resources.files("shardreader")
    assert files.joinpath("py.typed").is_file()
    assert files.joinpath("format/manifest_schema.json").is_file()
