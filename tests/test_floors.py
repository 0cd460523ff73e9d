"""A file imports only files of lower floors; the table is the one of the design."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parent.parent / "shardreader"

# The whole number is the floor of the design; a fraction orders the files of one floor. A package
# is one unit, whatever is in it.
FLOORS = {
    "errors": 0.0,
    "version": 0.0,
    "compile_lock": 0.0,
    "after_fork": 0.0,
    "fork_gate": 0.0,
    "compiling": 0.1,
    "grid": 1.0,
    "shard_ranges": 1.0,
    "byterange": 1.0,
    "murmurhash": 1.0,
    "cseg": 1.0,
    "cache": 1.0,
    "workers": 1.0,
    "label_colors": 1.0,
    "volume_path": 1.0,
    "output_file": 1.0,
    "plain_http": 1.0,
    "request_loop": 1.0,
    "source_url": 1.0,
    "point_files": 1.0,
    "cloud_volume_types": 1.0,
    "swc_files": 1.1,
    "label_map": 1.0,
    "progress_bar": 1.0,
    "morton": 1.1,
    "json_members": 1.1,
    "sharding": 1.2,
    "flat_output": 1.1,
    "large_arrays": 1.2,
    "grouping_kernels": 1.1,
    "grouping": 1.11,
    "byte_search": 1.1,
    "face_kernel": 1.1,
    "minishard_kernels": 1.1,
    "positioned_read": 1.1,
    "gzip_kernels": 1.11,
    "libdeflate": 1.12,
    "seen_lately": 1.0,
    "kept_chunks": 1.0,
    "inflate": 1.2,
    "few_chunks_kernels": 1.2,
    "info": 2.0,
    "shard_index": 2.0,
    "store": 2.0,
    "remote_store": 2.0,
    "remote_ranges": 2.1,
    "remote_files": 2.2,
    "manifest": 2.0,
    "points": 2.0,
    "coverage": 2.0,
    "codecs": 2.0,
    "findings": 2.0,
    "merged_boxes": 2.0,
    "slice_plan": 2.0,
    "canvas": 2.0,
    "listings": 2.0,
    "indexing": 2.0,
    "image_files": 2.0,
    "cloud_volume_boxes": 2.0,
    "parquet_files": 2.0,
    "point_tables": 2.1,
    "point_writers": 2.2,
    "shard_files": 2.1,
    "found": 2.2,
    "shard_geometry": 2.1,
    "chunk": 3.0,
    "stored_reader": 3.0,
    "open_files": 3.0,
    "copy_summary": 3.0,
    "chunk_source": 3.1,
    "shard_coverage": 3.1,
    "minishard_indices": 3.0,
    "sharded_source": 3.2,
    "unsharded_source": 3.2,
    "patched_info": 3.1,
    "kept_copy": 3.2,
    "remote_source": 3.3,
    "cached_source": 3.4,
    "sources": 3.5,
    "shard_extent": 3.0,
    "shard_file": 3.1,
    "partial_shard": 3.0,
    "shard_writer": 3.1,
    "minishard_check": 3.2,
    "shard_layout_check": 3.3,
    "shard_index_check": 3.4,
    "block_faces": 3.0,
    "chunk_labels": 3.1,
    "translating_decoder": 3.15,
    "chunk_check": 3.1,
    "shard_job": 3.0,
    "shard_chunks_check": 3.3,
    "picture": 3.0,
    "volume_geometry": 3.1,
    "pictured": 3.2,
    "chunk_visit": 3.2,
    "box_read": 4.0,
    "shards": 4.0,
    "one_point": 4.0,
    "few_chunks": 4.01,
    "point_read": 4.0,
    "label_scan": 4.05,
    "snapping": 4.05,
    "label_counting": 4.06,
    "label_queries": 4.07,
    "dask_array": 4.1,
    "volume": 4.2,
    "runner": 4.0,
    "shared_volume": 4.0,
    "dask_runner": 4.1,
    "shard_lattice": 4.0,
    "shard_listing": 4.01,
    "segments": 4.09,
    "copy_map": 4.05,
    "copy_picture": 4.1,
    "shard_check": 4.0,
    "listed_source": 4.1,
    "fetching": 4.8,
    "__init__": 5.9,  # the public names
    "adoption": 5.0,
    "cloud_volume_geometry": 4.5,
    "compat": 5.0,
    "fafb": 5.0,
    "verification": 5.0,
    "segment_index": 5.1,
    "serving": 5.0,
    "viewing": 5.1,
    "commands": 6.0,
    "cli": 6.1,
    "__main__": 6.2,
}


def unit_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imported_units(path: Path) -> list[tuple[str, int]]:
    """All units of the package that a file imports, anywhere in it, with the line."""
    package = ["shardreader", *path.relative_to(PACKAGE).parts[:-1]]
    units = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            # `from shardreader import grid` names a file, `from shardreader import Box` none.
            names = [f"{module}.{alias.name}" for alias in node.names]
        for name in names:
            parts = name.split(".")
            if parts[0] == "shardreader":
                is_unit = len(parts) > 1 and (parts[1] in FLOORS or is_file(parts[1]))
                units.append((parts[1] if is_unit else "__init__", node.lineno))
    return units


def is_file(unit: str) -> bool:
    return (PACKAGE / unit).is_dir() or (PACKAGE / f"{unit}.py").exists()


FILES = sorted(PACKAGE.rglob("*.py"))


def test_every_file_is_in_the_table_and_the_table_has_no_others() -> None:
    assert {unit_of(path) for path in FILES} == set(FLOORS)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path: Path) -> None:
    unit = unit_of(path)
    if unit not in FLOORS:
        pytest.fail(f"{path.name} is not in the table of floors")
    for imported, line in imported_units(path):
        assert imported in FLOORS, f"{path}:{line}: {imported} is not in the table of floors"
        allowed = imported == unit or FLOORS[imported] < FLOORS[unit]
        assert allowed, f"{path}:{line}: {unit} (floor {FLOORS[unit]}) imports {imported}"


def test_the_test_sees_imports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("test_floors.PACKAGE", tmp_path)
    file = tmp_path / "grid.py"
    file.write_text(
        "from typing import TYPE_CHECKING\n"
        "import shardreader.volume\n"
        "import shardreader\n"
        "from shardreader import cseg, Box\n"
        "from shardreader.info import ScaleInfo\n"
        "from . import store\n"
        "from .points import UNITS\n"
        "if TYPE_CHECKING:\n"
        "    from shardreader.found import Found\n"
        "def f():\n"
        "    from shardreader.cseg.kernels import k\n"
    )
    units = [unit for unit, _ in sorted(imported_units(file), key=lambda pair: pair[1])]
    assert units == [
        *("volume", "__init__", "cseg", "__init__", "info"),
        *("store", "points", "found", "cseg"),
    ]
