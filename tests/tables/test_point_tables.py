"""Skeletons in SWC and tables in Parquet, through the reader and through `lookup`."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli import assert_refused, run, run_here
from fixture_truth import FAFB_MINI, read_expected_points

from shardreader.tables.parquet_tables import ParquetTable
from shardreader.tables.point_tables import open_points
from shardreader.tables.swc_tables import SwcTable
from shardreader.tables.text_tables import PointFileError

TRUTH = read_expected_points("points")
VOXELS = [[int(field) for field in point.fields] for point in TRUTH]
EXPECTED = [f"{point.segment},{point.status}" for point in TRUTH]


def swc(text: str | bytes) -> SwcTable:
    return SwcTable(io.BytesIO(text.encode() if isinstance(text, str) else text), "a.swc")


def lines_of(text: str, rows: int = 2) -> list[str]:
    return [line for block in swc(text).blocks(rows) for line in block.lines]


# --- SWC


@pytest.mark.parametrize(
    "text",
    [
        "1 0 8 16 40 1 -1\n2 3 9.5 1e2 -4 0.5 1\n",
        "1 0 8 16 40 1 -1\r\n2 3 9.5 1e2 -4 0.5 1",
        "# a comment, with a comma\n\n 1\t0  8 16 40 1 -1 \n#2 0 1 1 1 1 1\n2 3 9.5 1e2 -4 0.5 1\n",
        "\ufeff1 0 8 16 40 1 -1\n2 3 9.5 1e2 -4 0.5 1\n",
    ],
)
@pytest.mark.parametrize("rows", [1, 2, 200])
def test_swc_rows(text: str, rows: int) -> None:
    blocks = list(swc(text).blocks(rows))
    assert [line for block in blocks for line in block.lines] == [
        "1,0,8,16,40,1,-1",
        "2,3,9.5,1e2,-4,0.5,1",
    ]
    points = [point for block in blocks for point in block.points.tolist()]
    assert points == [[8, 16, 40], [9.5, 100, -4]]


def test_swc_whole_numbers_stay_exact() -> None:
    (block,) = swc("1 0 9007199254740993 1 1 1 -1\n").blocks()
    assert block.points.tolist() == [[9007199254740993, 1, 1]]


def test_swc_rows_of_another_length() -> None:
    (block,) = swc("1 0 8 16 40 1\n2 0 8 16 40 1 1 extra\n3 0 8 word 40 1 2\n").blocks()
    assert block.missing == {0: 1, 1: -1}
    assert np.isnan(block.points).tolist() == [[True] * 3, [False] * 3, [False, True, False]]


def test_swc_without_nodes() -> None:
    assert lines_of("# nothing\n\n") == []


def test_swc_comments_in_any_encoding() -> None:
    (block,) = swc(b"# caf\xe9\n1 0 8 16 40 1 -1\n").blocks()
    assert len(block) == 1


@pytest.mark.parametrize("line", ["1,0,8,16,40,1,-1", "1; 0; 8; 16; 40; 1; -1", "\0\0 1"])
def test_what_is_no_swc(line: str) -> None:
    with pytest.raises(PointFileError, match=r"a\.swc, line 3: not SWC"):
        lines_of(f"# a\n1 0 8 16 40 1 -1\n{line}\n", rows=1)


def test_lookup_of_swc(tmp_path: Path) -> None:
    nodes = [
        f"{n} 0 {x * 8 + 0.5} {y * 8} {z * 40} 1 {n - 1 or -1}"
        for n, (x, y, z) in enumerate(VOXELS, 1)
    ]
    path = tmp_path / "Skeleton.SWC"
    path.write_text("# made by a test\n" + "\n".join(nodes) + "\n")
    done = run("lookup", FAFB_MINI, path, "--units", "nm")
    assert (done.returncode, done.stderr) == (0, "")
    header, *rows = done.stdout.splitlines()
    assert header == "id,type,x,y,z,radius,parent,segment,status"
    assert rows == [
        f"{','.join(node.split())},{answer}" for node, answer in zip(nodes, EXPECTED, strict=True)
    ]
    assert_refused(run_here("lookup", FAFB_MINI, path), "--units")
    done = run_here("lookup", FAFB_MINI, path, "--units", "nm", "-o", tmp_path / "s.npy")
    assert done.returncode == 0
    found = np.load(tmp_path / "s.npy")
    assert found["segment"].tolist() == [point.segment for point in TRUTH]


def test_swc_rows_with_problems_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.swc"
    path.write_text("1 0 8 16\n2 0 -8 16 40 1 1\n")
    done = run_here("lookup", FAFB_MINI, path, "--units", "nm")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        "1,0,8,16,,,,0,INVALID",
        "2,0,-8,16,40,1,1,0,OUT_OF_BOUNDS",
    ]


def test_text_under_the_name_of_a_swc(tmp_path: Path) -> None:
    path = tmp_path / "a.swc"
    path.write_text("# a\nx,y,z\n1,2,3\n")
    assert_refused(run_here("lookup", FAFB_MINI, path, "--units", "nm"), "line 2: not SWC")


# --- Parquet


def write_table(path: Path, columns: dict[str, Any], **options: Any) -> Path:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table(columns), path, **options)
    return path


def points_columns() -> dict[str, Any]:
    x, y, z = np.array(VOXELS).T
    notes = ['a, "b"', None, "c\nd"] * 8
    return {"id": np.arange(24, dtype="u8") + 2**63, "z": z, "y": y, "x": x, "note": notes}


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write_table(tmp_path / "p.parquet", points_columns(), row_group_size=7)


def test_parquet_comes_in_blocks(table: Path) -> None:
    with open_points(str(table), io.BytesIO()) as opened:
        assert isinstance(opened, ParquetTable)
        assert (opened.bytes_read(), opened.bytes_total()) == (0, table.stat().st_size)
        blocks = [block.points for block in opened.blocks(5)]
        assert opened.bytes_read() == opened.bytes_total()
    assert max(map(len, blocks)) == 5
    assert np.concatenate(blocks).tolist() == VOXELS


@pytest.mark.parametrize("kind", ["i1", "u1", "i4", "u8", "f2", "f4", "f8"])
def test_parquet_numbers_of_any_type(tmp_path: Path, kind: str) -> None:
    columns = {axis: np.array([1, 2, 3], dtype=kind) + n for n, axis in enumerate("xyz")}
    path = write_table(tmp_path / "p.parquet", columns)
    with open_points(str(path), io.BytesIO()) as opened:
        (block,) = opened.blocks()
    assert block.points.tolist() == [[1, 2, 3], [2, 3, 4], [3, 4, 5]]


def test_parquet_null_is_no_number(tmp_path: Path) -> None:
    path = write_table(tmp_path / "p.parquet", {"x": [1, None], "y": [2.5, 1], "z": [3, 3]})
    with open_points(str(path), io.BytesIO()) as opened:
        (block,) = opened.blocks()
    assert block.points[0].tolist() == [1, 2.5, 3]
    assert np.isnan(block.points[1, 0])
    done = run_here("lookup", FAFB_MINI, path, "--units", "nm")
    assert done.returncode == 1
    assert done.stdout.splitlines()[2] == ",1.0,3,0,INVALID"


def test_lookup_of_parquet_keeps_columns_and_types(table: Path, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    out = tmp_path / "out.parquet"
    done = run("lookup", FAFB_MINI, table, "--units", "voxel", "--column", "root", "-o", out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    before, after = parquet.read_table(table), parquet.read_table(out)
    assert after.select(before.column_names).equals(before)
    assert [str(kind) for kind in after.schema.types[-2:]] == ["uint64", "string"]
    assert after.column_names[-2:] == ["root", "status"]
    assert after["root"].to_pylist() == [point.segment for point in TRUTH]
    assert after["status"].to_pylist() == [point.status for point in TRUTH]


def test_an_index_of_pandas_survives(tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(points_columns()).set_index("id")
    frame.to_parquet(tmp_path / "p.parquet")
    out = tmp_path / "out.parquet"
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.parquet", "--units", "voxel", "-o", out)
    assert done.returncode == 0
    found = pandas.read_parquet(out)
    assert found.drop(columns=["segment", "status"]).equals(frame)
    assert found["segment"].tolist() == [point.segment for point in TRUTH]


@pytest.mark.parametrize("delimiter", [",", "\t"])
def test_parquet_as_text(table: Path, tmp_path: Path, delimiter: str) -> None:
    import csv

    out = tmp_path / ("out.csv" if delimiter == "," else "out.tsv")
    assert run_here("lookup", FAFB_MINI, table, "--units", "voxel", "-o", out).returncode == 0
    with out.open(newline="") as file:
        header, *rows = csv.reader(file, delimiter=delimiter)
    assert header == ["id", "z", "y", "x", "note", "segment", "status"]
    assert [row[:4] for row in rows] == [
        [str(2**63 + n), str(z), str(y), str(x)] for n, (x, y, z) in enumerate(VOXELS)
    ]
    assert [row[4] for row in rows] == ['a, "b"', "", "c\nd"] * 8
    assert [",".join(row[5:]) for row in rows] == EXPECTED


def test_parquet_as_npy(table: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.npy"
    assert run_here("lookup", FAFB_MINI, table, "--units", "voxel", "-o", out).returncode == 0
    assert np.load(out)["segment"].tolist() == [point.segment for point in TRUTH]


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"x": [1], "y": [2]}, ["one column 'z'", "found: 'x', 'y'"]),
        ({"x": [1], "y": ["2"], "z": [3]}, ["'y'", "must be numbers, not"]),
        ({"x": [1], "y": [True], "z": [3]}, ["'y'", "must be numbers, not bool"]),
        ({"x": [1], "y": [2], "z": [3], "status": [0]}, ["'status' already"]),
        ({"x": [1], "y": [2], "z": [3], "segment": [0]}, ["'segment' already"]),
    ],
)
def test_parquet_columns_that_will_not_do(
    tmp_path: Path, columns: dict[str, Any], words: list[str]
) -> None:
    path = write_table(tmp_path / "p.parquet", columns)
    assert_refused(run_here("lookup", FAFB_MINI, path, "--units", "nm"), *words)


def test_a_column_twice(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    columns = [pyarrow.array([1])] * 4
    twice = pyarrow.Table.from_arrays(columns, names=["x", "y", "z", "x"])
    parquet.write_table(twice, tmp_path / "p.parquet")
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.parquet", "--units", "nm")
    assert_refused(done, "one column 'x'")


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_no_parquet(table: Path, keep: int) -> None:
    table.write_bytes(table.read_bytes()[:keep])
    done = run_here("lookup", FAFB_MINI, table, "--units", "voxel")
    assert_refused(done, "p.parquet is not a Parquet file that can be read")


def test_damage_leaves_no_output(tmp_path: Path) -> None:
    """Found after some rows were written; the output of before is still there."""
    columns = {axis: np.arange(60_000) % 97 * 1.5 for axis in "xyz"}
    path = write_table(tmp_path / "p.parquet", columns, row_group_size=20_000, compression="snappy")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4000] = bytes(4000)
    path.write_bytes(data)
    out = tmp_path / "out.parquet"
    out.write_text("before")
    done = run("lookup", FAFB_MINI, path, "--units", "nm", "-o", out)
    assert_refused(done, "p.parquet is damaged after row")
    assert out.read_text() == "before"
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["out.parquet", "p.parquet"]


def test_only_parquet_becomes_parquet(tmp_path: Path) -> None:
    done = run_here(
        *("lookup", FAFB_MINI, FAFB_MINI / "points.csv", "--units", "voxel"),
        *("-o", tmp_path / "out.parquet"),
    )
    assert_refused(done, "only a .parquet table")
    assert not list(tmp_path.iterdir())


def test_without_pyarrow(table: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    done = run_here("lookup", FAFB_MINI, table, "--units", "voxel")
    assert_refused(done, "pip install 'shardreader[parquet]'")


def test_parquet_in_a_pipe_is_text(table: Path) -> None:
    done = run("lookup", FAFB_MINI, "-", "--units", "voxel", stdin=table.read_bytes())
    assert_refused(done, "standard input")


def test_a_column_is_read_in_parts() -> None:
    """Not a row group at a time: a writer may have put all rows into one."""
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    random = np.random.default_rng(1).random((3, 1 << 20))
    data = io.BytesIO()
    parquet.write_table(
        pyarrow.table(dict(zip("xyz", random, strict=True))),
        data,
        compression="none",
        use_dictionary=False,
    )
    taken = []

    class Counting(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            taken.append(size)
            return super().read(size)

    opened = ParquetTable(Counting(data.getvalue()), "p.parquet")
    next(iter(opened.blocks(1000)))
    assert sum(taken) < len(data.getvalue()) // 2
