from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardreader.errors import PointStatus
from shardreader.runtime.output_file import replacing
from shardreader.tables.point_tables import open_points
from shardreader.tables.point_writers import NpyWriter, TextWriter
from shardreader.tables.text_tables import (
    ArrayTable,
    PointFileError,
    TextTable,
    parse_points,
)


def text_table(text: str | bytes) -> TextTable:
    data = text.encode() if isinstance(text, str) else text
    return TextTable(io.BytesIO(data), "points.csv")


def answered(data: bytes, *, rows: int = 2, delimiter: str | None = None) -> bytes:
    """The table with label 7 and status OK for each row."""
    table = TextTable(io.BytesIO(data), "points.csv")
    out = io.BytesIO()
    writer = TextWriter(out, table, "segment", delimiter)
    for block in table.blocks(rows):
        writer.write(block, np.full(len(block), 7, np.uint64), np.zeros(len(block), np.uint8))
    writer.finish()
    return out.getvalue()


def points_of(text: str) -> list[list[float]]:
    return [row for block in text_table(text).blocks() for row in block.points.tolist()]


# --- numbers


def test_whole_numbers_stay_exact() -> None:
    large = 9_007_199_254_740_993
    points = parse_points([str(large)], ["-1"], ["0"])
    assert points.dtype == np.int64
    assert points.tolist() == [[large, -1, 0]]


@pytest.mark.parametrize(
    "cell", ["", " ", "1_000", "1e", "abc", "1,5", "0x10", "1 2", "nan", "None", "--1", "1_0.5"]
)
def test_what_is_no_number_becomes_nan(cell: str) -> None:
    points = parse_points([cell, "4"], ["2", "5"], ["3", "6"])
    assert np.isnan(points[0, 0])
    assert points[0, 1:].tolist() == [2, 3]
    assert points[1].tolist() == [4, 5, 6]


@pytest.mark.parametrize(
    ("cell", "value"), [(" 12 ", 12), ("+3", 3), ("1.5e3", 1500), ("-.5", -0.5)]
)
def test_spellings_of_a_number(cell: str, value: float) -> None:
    assert parse_points([cell], ["0"], ["0"])[0, 0] == value


def test_a_number_beyond_int64_is_a_float() -> None:
    assert parse_points([str(1 << 70)], ["0"], ["0"]).tolist() == [[float(1 << 70), 0, 0]]


# --- reading text


def test_columns_are_found_by_name_in_any_order() -> None:
    assert points_of("z,note,y,x\n3,a,2,1\n") == [[1, 2, 3]]


def test_a_tab_in_the_header_makes_a_tsv() -> None:
    table = text_table("x\ty\tz\tnote\n1\t2\t3\ta,b\n")
    (block,) = table.blocks()
    assert table.delimiter == "\t"
    assert block.points.tolist() == [[1, 2, 3]]


def test_rows_come_in_blocks_of_the_size_asked_for() -> None:
    table = text_table("x,y,z\n" + "1,2,3\n" * 7)
    assert [len(block) for block in table.blocks(3)] == [3, 3, 1]


def test_a_file_is_read_as_its_blocks_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("x,y,z\n" + "1,2,3\n" * 500_000)
    with open_points(str(path), io.BytesIO()) as table:
        next(iter(table.blocks(1000)))
        assert table.bytes_read() < 200_000 < table.bytes_total()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "is empty"),
        ("\n", "no columns x, y, z"),
        ("X,Y,Z\n1,2,3\n", "found: 'X', 'Y', 'Z'"),
        ("x;y;z\n1;2;3\n", "semicolons"),
        ("x,y\n1,2\n", "found: 'x', 'y'"),
        ("1,2,3\n4,5,6\n", "the first line must name"),
        ("x,y,z,x\n1,2,3,4\n", "more than one column 'x'"),
        ('x,y,z,"note\n1,2,3\n', "quotes"),
    ],
)
def test_a_header_that_will_not_do(text: str, words: str) -> None:
    with pytest.raises(PointFileError, match=words):
        text_table(text)


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32"])
def test_a_table_in_another_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(PointFileError, match="UTF-8"):
        text_table("x,y,z\n1,2,3\n".encode(encoding))


def test_a_quote_that_is_never_closed_does_not_swallow_rows() -> None:
    table = text_table('x,y,z,note\n1,2,3,a\n1,2,3,"b\n' + "4,5,6,c\n" * 5)
    with pytest.raises(PointFileError, match=r"points.csv, line 3 .*quotes"):
        list(table.blocks())


def test_a_cell_of_any_length_is_not_read_into_memory() -> None:
    table = text_table('x,y,z,note\n1,2,3,"' + "a\n" * 100_000)
    with pytest.raises(PointFileError, match="field"):
        list(table.blocks())


# --- the way through


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"x,y,z\n1,2,3\n", b"x,y,z,segment,status\n1,2,3,7,OK\n"),
        (b"x,y,z\n1,2,3", b"x,y,z,segment,status\n1,2,3,7,OK\n"),
        (b"x,y,z\r\n1,2,3\r\n", b"x,y,z,segment,status\r\n1,2,3,7,OK\r\n"),
        (b"\xef\xbb\xbfx,y,z\n1,2,3\n", b"x,y,z,segment,status\n1,2,3,7,OK\n"),
        (b"x\ty\tz\n1\t2\t3\n", b"x\ty\tz\tsegment\tstatus\n1\t2\t3\t7\tOK\n"),
        (b"id,x,y,z\n007, 1.50 ,2,3\n", b"id,x,y,z,segment,status\n007, 1.50 ,2,3,7,OK\n"),
        (b'x,y,z,n\n1,2,3,"a ""b"", c"\n', b'x,y,z,n,segment,status\n1,2,3,"a ""b"", c",7,OK\n'),
        (b'x,y,z,n\n1,2,3,"a\nb"\n', b'x,y,z,n,segment,status\n1,2,3,"a\nb",7,OK\n'),
        (b"x,y,z,n\n1,2,3,\xc3\xa9\xe9\n", b"x,y,z,n,segment,status\n1,2,3,\xc3\xa9\xe9,7,OK\n"),
        (b"x,y,z\n\n1,2,3\n\n", b"x,y,z,segment,status\n1,2,3,7,OK\n"),
        (b"x,y,z,n\n1,2\n", b"x,y,z,n,segment,status\n1,2,,,7,OK\n"),
        (b"x,y,z\n1,2,3,u,v\n", b"x,y,z,segment,status\n1,2,3,7,OK,u,v\n"),
        (b"x,y,z\n", b"x,y,z,segment,status\n"),
    ],
)
def test_rows_come_out_as_they_went_in(data: bytes, expected: bytes) -> None:
    assert answered(data) == expected


def test_a_record_longer_than_a_block_stays_whole() -> None:
    data = b'x,y,z,n\n1,2,3,"a\nb\nc\nd"\n4,5,6,e\n'
    assert answered(data, rows=1) == (
        b'x,y,z,n,segment,status\n1,2,3,"a\nb\nc\nd",7,OK\n4,5,6,e,7,OK\n'
    )


@pytest.mark.parametrize("line", ["1,2,3", "left, 3,61347,3045,32796", "a,1,2,3,"])
def test_a_row_of_another_length_has_no_position(line: str) -> None:
    row, sound = points_of(f"note,x,y,z\n{line}\nb,1,2,3\n")
    assert np.isnan(row).all()
    assert sound == [1, 2, 3]


def test_another_delimiter_quotes_what_it_must() -> None:
    data = b'x,y,z,n\n1,2,3,"a,b"\n4,5,6,c\td\n7,8,9,"e\nf"\n'
    assert answered(data, delimiter="\t") == (
        b'x\ty\tz\tn\tsegment\tstatus\n1\t2\t3\ta,b\t7\tOK\n4\t5\t6\t"c\td"\t7\tOK\n'
        b'7\t8\t9\t"e\nf"\t7\tOK\n'
    )


_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)


@given(st.lists(st.tuples(_CELLS, _CELLS), max_size=12), st.integers(1, 5), st.sampled_from(",\t"))
def test_any_notes_survive(notes: list[tuple[str, str]], rows: int, delimiter: str) -> None:
    import csv

    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(["a", "x", "y", "z", "b"])
    for number, (first, last) in enumerate(notes):
        writer.writerow([first, number, 2, 3, last])
    out = answered(text.getvalue().encode(), rows=rows).decode()
    found = list(csv.reader(io.StringIO(out, newline=""), delimiter=delimiter))[1:]
    assert found == [
        [first, str(number), "2", "3", last, "7", "OK"]
        for number, (first, last) in enumerate(notes)
    ]


def test_status_names_and_large_labels() -> None:
    table = text_table("x,y,z\n" + "1,2,3\n" * len(PointStatus))
    out = io.BytesIO()
    writer = TextWriter(out, table, "root")
    (block,) = table.blocks()
    writer.write(
        block, np.full(len(block), 2**64 - 1, np.uint64), np.arange(len(block), dtype=np.uint8)
    )
    header, *lines = out.getvalue().decode().splitlines()
    assert header == "x,y,z,root,status"
    assert lines == [f"1,2,3,18446744073709551615,{status.name}" for status in PointStatus]


# --- .npy


@pytest.mark.parametrize("dtype", ["<i4", ">i8", "<u8", "<f4", ">f8", "u1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_points_in_any_layout(tmp_path: Path, dtype: str, order: str) -> None:
    points = np.asarray(np.arange(33).reshape(11, 3), dtype=dtype, order=order)
    np.save(tmp_path / "p.npy", points)
    with open_points(str(tmp_path / "p.npy"), io.BytesIO()) as table:
        assert isinstance(table, ArrayTable)
        blocks = [block.points for block in table.blocks(4)]
    assert [len(block) for block in blocks] == [4, 4, 3]
    assert np.array_equal(np.concatenate(blocks), points)
    assert all(block.dtype.isnative for block in blocks)


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((3,)),
        np.zeros((3, 2)),
        np.zeros((2, 3, 3)),
        np.zeros((2, 3), dtype=bool),
        np.zeros((2, 3), dtype=complex),
        np.zeros((2, 3), dtype="U4"),
        np.zeros((2, 3), dtype=object),
        np.zeros(2, dtype=[("x", "f8"), ("y", "f8"), ("z", "f8")]),
    ],
)
def test_npy_of_something_else_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "p.npy", array)
    with pytest.raises(PointFileError), open_points(str(tmp_path / "p.npy"), io.BytesIO()):
        pass


@pytest.mark.parametrize("keep", [0, 5, 20, 150])
def test_npy_cut_short_is_refused(tmp_path: Path, keep: int) -> None:
    np.save(tmp_path / "p.npy", np.zeros((10, 3)))
    data = (tmp_path / "p.npy").read_bytes()
    (tmp_path / "p.npy").write_bytes(data[:keep])
    with pytest.raises(PointFileError), open_points(str(tmp_path / "p.npy"), io.BytesIO()):
        pass


def test_npy_output_knows_its_length_at_the_end(tmp_path: Path) -> None:
    table = text_table("x,y,z,note\n1,2,3,a\n4.5,,6,b\n7,8,9,c\n")
    with replacing(tmp_path / "out.npy") as file:
        writer = NpyWriter(file, table, "root")
        for number, block in enumerate(table.blocks(2)):
            labels = np.full(len(block), 2**64 - 1 - number, np.uint64)
            writer.write(block, labels, np.full(len(block), number, np.uint8))
        writer.finish()
    found = np.load(tmp_path / "out.npy")
    assert found.dtype.names == ("x", "y", "z", "root", "status")
    assert found["x"].tolist() == [1, 4.5, 7]
    assert np.isnan(found["y"][1])
    assert found["root"].tolist() == [2**64 - 1, 2**64 - 1, 2**64 - 2]
    assert found["status"].tolist() == [0, 0, 1]


def test_npy_output_keeps_the_type_of_npy_points() -> None:
    source = io.BytesIO()
    np.save(source, np.array([[1, 2, 3]], dtype=">i2"))
    source.seek(0)
    table = ArrayTable(source, "p.npy")
    out = io.BytesIO()
    NpyWriter(out, table, "segment").finish()
    assert np.load(io.BytesIO(out.getvalue())).dtype["x"] == np.dtype("=i2")


@pytest.mark.parametrize("name", ["ségment", "s" * 500])
def test_npy_field_names_that_do_not_fit(name: str) -> None:
    with pytest.raises(PointFileError, match="ASCII"):
        NpyWriter(io.BytesIO(), text_table("x,y,z\n"), name)


# --- the output file


def test_a_failed_output_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("before")

    def interrupted() -> None:
        with replacing(path) as file:
            file.write(b"half")
            assert path.read_text() == "before"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert [entry.name for entry in tmp_path.iterdir()] == ["out.csv"]
    assert path.read_text() == "before"
