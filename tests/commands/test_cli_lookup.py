from __future__ import annotations

import contextlib
import csv
import io
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli import REPOSITORY, assert_refused, run, run_here
from fixture_truth import FAFB_MINI, read_expected_points

from shardreader.errors import PointStatus
from shardreader.tables import text_tables as point_files

KEY = "8.0x8.0x40.0"
POINTS = FAFB_MINI / "points.csv"
PROBLEMS = FAFB_MINI / "points-with-problems.csv"
TRUTH = read_expected_points("points")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    return Path(shutil.copytree(FAFB_MINI, tmp_path / "volume"))


def rows_of(text: str, delimiter: str = ",") -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline=""), delimiter=delimiter))


def answers(text: str, delimiter: str = ",") -> list[tuple[int, str]]:
    return [(int(row["segment"]), row["status"]) for row in rows_of(text, delimiter)]


EXPECTED = [(point.segment, point.status) for point in TRUTH]


# --- right answers


def test_the_command_of_the_readme() -> None:
    done = run("lookup", "fixtures/fafb-mini", "fixtures/fafb-mini/points.csv", "--units", "voxel")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == (FAFB_MINI / "points-truth.csv").read_text()


def test_points_with_problems_are_rows_and_status_1() -> None:
    done = run("lookup", FAFB_MINI, PROBLEMS, "--units", "voxel")
    assert done.returncode == 1
    expected = read_expected_points("points-with-problems")
    assert answers(done.stdout) == [(point.segment, point.status) for point in expected]
    assert len(done.stderr.splitlines()) == 2
    assert "2 NOT_DOWNLOADED, 2 OUT_OF_BOUNDS, 3 INVALID" in done.stderr
    assert "row 2 at (20000, 20000, 2000) is NOT_DOWNLOADED" in done.stderr


def test_a_row_longer_than_the_header_is_invalid(tmp_path: Path) -> None:
    point = next(point for point in TRUTH if point.status == "OK")
    x, y, z = point.fields
    table = tmp_path / "p.csv"
    table.write_text(f"note,x,y,z\na,{x},{y},{z}\nleft, 3,{x},{y},{z}\nshort,{x},{y}\n")
    done = run("lookup", FAFB_MINI, table, "--units", "voxel")
    assert done.returncode == 1
    assert done.stdout.splitlines()[1:] == [
        f"a,{x},{y},{z},{point.segment},OK",
        f"left, 3,{x},{y},0,INVALID,{z}",
        f"short,{x},{y},,0,INVALID",
    ]
    assert "of 3 points 2 INVALID; the first: row 2 with 1 cell too many is INVALID" in done.stderr
    assert "rows not as long as the header, which are INVALID: 2" in done.stderr


def test_standard_input() -> None:
    done = run("lookup", FAFB_MINI, "-", "--units", "voxel", stdin=POINTS.read_bytes())
    assert done.returncode == 0
    assert answers(done.stdout) == EXPECTED


def test_tsv_in_tsv_out(tmp_path: Path) -> None:
    (tmp_path / "p.tsv").write_text(POINTS.read_text().replace(",", "\t"))
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.tsv", "--units", "voxel")
    assert answers(done.stdout, "\t") == EXPECTED


@pytest.mark.parametrize(
    ("unit", "factor"), [(["--units", "nm"], (8, 8, 40)), (["--resolution", "4,4,40"], (2, 2, 1))]
)
def test_other_units(tmp_path: Path, unit: list[str], factor: tuple[int, int, int]) -> None:
    with (tmp_path / "p.csv").open("w") as file:
        file.write("x,y,z\n")
        for point in TRUTH:
            scaled = [int(v) * f + 0.5 for v, f in zip(point.fields, factor, strict=True)]
            file.write(",".join(map(str, scaled)) + "\n")
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.csv", *unit)
    assert answers(done.stdout) == EXPECTED


def test_other_columns_and_another_name(tmp_path: Path) -> None:
    with (tmp_path / "p.csv").open("w") as file:
        file.write("id,z,note,y,x,segment\n")
        for number, point in enumerate(TRUTH):
            x, y, z = point.fields
            file.write(f'{number:04},{z},"a, b",{y},{x},old\n')
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.csv", "--units", "voxel", "--column", "new")
    assert done.returncode == 0
    rows = rows_of(done.stdout)
    assert list(rows[0]) == ["id", "z", "note", "y", "x", "segment", "new", "status"]
    assert [int(row["new"]) for row in rows] == [point.segment for point in TRUTH]
    assert {row["note"] for row in rows} == {"a, b"}
    assert rows[7]["id"] == "0007"


def test_npy_points_and_output(tmp_path: Path) -> None:
    points = np.array([[int(v) for v in point.fields] for point in TRUTH], dtype="<i4")
    np.save(tmp_path / "p.npy", points)
    done = run("lookup", FAFB_MINI, tmp_path / "p.npy", "--units", "voxel", "-o",
               tmp_path / "out.npy")  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    found = np.load(tmp_path / "out.npy")
    assert found["segment"].dtype == np.uint64
    assert found["segment"].tolist() == [point.segment for point in TRUTH]
    assert [PointStatus(code).name for code in found["status"]] == [p.status for p in TRUTH]
    assert np.array_equal(np.stack([found[axis] for axis in "xyz"], axis=1), points)
    as_text = run_here("lookup", FAFB_MINI, tmp_path / "p.npy", "--units", "voxel")
    assert as_text.stdout == (FAFB_MINI / "points-truth.csv").read_text()


@pytest.mark.parametrize(("ending", "delimiter"), [("csv", ","), ("tsv", "\t")])
def test_the_output_file_takes_its_form_from_its_ending(
    tmp_path: Path, ending: str, delimiter: str
) -> None:
    output = tmp_path / f"out.{ending}"
    done = run_here("lookup", FAFB_MINI, POINTS, "--units", "voxel", "-o", output)
    assert (done.returncode, done.stdout) == (0, "")
    assert answers(output.read_text(), delimiter) == EXPECTED
    assert [path.name for path in tmp_path.iterdir()] == [output.name]


def test_no_rows(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("x,y,z\n")
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.csv", "--units", "voxel")
    assert (done.returncode, done.stdout) == (0, "x,y,z,segment,status\n")


def test_many_rows_go_through_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    from shardreader.volume import Volume

    sizes = []
    lookup = Volume.lookup

    def counted(self: Volume, points: np.ndarray, **options: object) -> object:
        sizes.append(len(points))
        return lookup(self, points, **options)

    monkeypatch.setattr(Volume, "lookup", counted)
    monkeypatch.setattr(point_files.TextTable.blocks, "__defaults__", (10,))
    done = run_here("lookup", FAFB_MINI, POINTS, "--units", "voxel")
    assert sizes == [10, 10, 4]
    assert answers(done.stdout) == EXPECTED


# --- damage


def test_an_absent_shard_spoils_its_points_alone(copy: Path) -> None:
    (copy / KEY / "1b68.shard").unlink()
    done = run_here("lookup", copy, POINTS, "--units", "voxel")
    assert done.returncode == 1
    absent = [number for number, point in enumerate(TRUTH) if int(point.fields[0]) > 120000]
    for number, answer in enumerate(answers(done.stdout)):
        if answer != EXPECTED[number]:
            assert number in absent
            assert answer == (0, "NOT_DOWNLOADED")
    assert "NOT_DOWNLOADED" in done.stderr


@pytest.mark.parametrize("damage", ["zeros", "cut", "noise"])
def test_a_damaged_shard_spoils_its_points_alone(copy: Path, damage: str) -> None:
    path = copy / KEY / "1b68.shard"
    data = path.read_bytes()
    path.write_bytes(
        {
            "zeros": bytes(len(data)),
            "cut": data[: len(data) // 4],
            "noise": data[:1024] + np.random.default_rng(1).bytes(len(data) - 1024),
        }[damage]
    )
    done = run_here("lookup", copy, POINTS, "--units", "voxel")
    assert done.returncode == 1
    wrong = [a for a, e in zip(answers(done.stdout), EXPECTED, strict=True) if a != e]
    assert wrong
    assert set(wrong) == {(0, "CORRUPT")}
    assert "CORRUPT" in done.stderr


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["POINTS"]),
        ([POINTS], ["--units voxel", "no default", "8 x 8 x 40", "4 x 4 x 40"]),
        ([POINTS, "--units", "parsec"], ["parsec"]),
        ([POINTS, "--units", "nm", "--resolution", "4,4,40"], ["not allowed with"]),
        ([POINTS, "--resolution", "4,4"], ["--resolution", "'4,4'"]),
        ([POINTS, "--resolution", "4,4,-40"], ["above 0"]),
        ([POINTS, "--resolution", "4,4,nan"], ["--resolution"]),
        ([POINTS, "--units", "nm", "--threads", "0"], ["--threads"]),
        ([POINTS, "--units", "nm", "--threads", "many"], ["--threads"]),
        ([POINTS, "--units", "nm", "--scale", "3"], ["there are"]),
        ([POINTS, "--units", "nm", "--scale", "nope"], ["there are"]),
        (["no-such.csv", "--units", "nm"], ["no-such.csv", "No such file"]),
        ([FAFB_MINI, "--units", "nm"], ["is a directory"]),
        ([FAFB_MINI / "info", "--units", "nm"], ["no columns x, y, z"]),
        ([FAFB_MINI / KEY / "02fa.shard", "--units", "nm"], ["not a text table"]),
        ([POINTS, "--units", "nm", "--column", "x"], ["'x'", "--column"]),
        ([POINTS, "--units", "nm", "--column", "status"], ["'status'", "--column"]),
        ([POINTS, "--units", "nm", "--column", ""], ["--column"]),
        ([FAFB_MINI / "points-truth.csv", "--units", "nm"], ["'segment'", "--column"]),
        (
            [FAFB_MINI / "points-truth.csv", "--units", "nm", "--column", "new"],
            ["'status'", "rename"],
        ),
        ([POINTS, "--units", "nm", "-o", "out.xlsx"], [".csv, .tsv, .npy"]),
        ([POINTS, "--units", "nm", "-o", "no/such/out.csv"], ["no/such/out.csv: No such"]),
        ([POINTS, "--units", "nm", "-o", POINTS], ["the table of points itself"]),
    ],
)
def test_wrong_arguments(arguments: list[object], words: list[str]) -> None:
    assert_refused(run_here("lookup", FAFB_MINI, *arguments), *words)


def test_npy_of_the_wrong_shape(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.zeros((4, 2)))
    assert_refused(run_here("lookup", FAFB_MINI, tmp_path / "p.npy", "--units", "nm"), "(N, 3)")


def test_a_failed_run_leaves_no_output(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text('x,y,z\n1,2,3\n1,2,"3\n')
    output = tmp_path / "out.csv"
    done = run_here("lookup", FAFB_MINI, tmp_path / "p.csv", "--units", "voxel", "-o", output)
    assert_refused(done, "line 3", "quotes")
    assert [path.name for path in tmp_path.iterdir()] == ["p.csv"]


# --- ends of a process


def test_a_reader_that_goes_away_is_no_error_message() -> None:
    # More rows than a pipe holds.
    rows = b"x,y,z\n" + b"61440,32768,3072\n" * 50_000
    process = subprocess.Popen(
        [sys.executable, "-m", "shardreader", "lookup", FAFB_MINI, "-", "--units", "voxel"],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    with contextlib.suppress(BrokenPipeError):
        process.stdin.write(rows)
        process.stdin.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(60) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")
def test_interrupted(tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "shardreader", "lookup", FAFB_MINI, "-", "--units", "voxel",
         "-o", output],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdin
    assert process.stderr
    process.stdin.write(b"x,y,z\n")
    process.stdin.flush()
    while not list(tmp_path.iterdir()):  # until the header is read and the output begun
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert process.stderr.read() == b"shardreader: error: interrupted\n"
    process.stdin.close()
    process.stderr.close()
    assert list(tmp_path.iterdir()) == []
