from __future__ import annotations

import csv
import io
import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from labkit.errors import DataError, LabkitError, UsageError
from labkit.tasks import read_table, write_table
from labkit.tasks.delimited import comma_records, tab_records
from labkit.tasks.tables import Column, parse_schema

ODD = "\"',;=+-@ \\\u2028\u2029\x0b\x0c\x1c\x1d\x1e\x85\xa0\ufeff吗é0"
TSV_CELL = st.text(
    st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"], exclude_characters="\0\t\r\n"), max_size=8
)
CSV_CELL = st.text(
    st.sampled_from(ODD + "\t\r\n") | st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8
)


def rows_of(cell):
    return st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(cell, min_size=width, max_size=width), min_size=1, max_size=6)
    )


def round_trip(tmp_path_factory, ending, rows):
    columns = [f"c{at}" for at in range(len(rows[0]))]
    path = tmp_path_factory.mktemp("table") / f"rows{ending}"
    write_table(path, rows, columns)
    for table in (read_table(path), read_table(path, [Column(name) for name in columns])):
        assert [column.name for column in table.columns] == columns
        assert [list(row.values()) for row in table.rows] == rows
    return path, table


@settings(max_examples=80, deadline=None)
@given(rows=rows_of(TSV_CELL).filter(lambda rows: len(rows[0]) == 1 or any(rows[-1])))
@example([['"never closed', "b"], ["'=1", "-5"]])
@example([["a"], [""], [""]])
@example([["c0"]])
def test_tsv_round_trip(tmp_path_factory, rows):
    _, table = round_trip(tmp_path_factory, ".tsv", rows)
    assert table.lines == list(range(2, len(rows) + 2))


@settings(max_examples=120, deadline=None)
@given(rows=rows_of(CSV_CELL))
@example([["'=1", "''=1", "'", "-5", "- 5", "+1e3", "=cmd|' /C calc'!A0", "\t=1", "\r"]])
@example([["", ""], ["", ""]])
@example([['"'], ['""'], ["a\r\nb"], [""]])
def test_csv_round_trip_and_agreement_with_the_csv_module(tmp_path_factory, rows):
    path, table = round_trip(tmp_path_factory, ".csv", rows)
    text = path.read_bytes().decode()
    theirs = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    assert theirs == [cells for _, cells in comma_records(text)]
    starts = [2 + sum(cell.count("\n") for row in rows[:at] for cell in row) + at for at in range(len(rows))]
    assert table.lines == starts


@settings(max_examples=60, deadline=None)
@given(rows=rows_of(CSV_CELL), at=st.integers(0, 5), ending=st.sampled_from([".tsv", ".csv"]))
def test_wrong_number_of_fields_names_the_right_line(tmp_path_factory, rows, at, ending):
    width, at = len(rows[0]), min(at, len(rows) - 1)
    if ending == ".tsv":
        rows = [["".join(letter if letter >= " " else "x" for letter in cell) for cell in row] for row in rows]
    path = tmp_path_factory.mktemp("table") / f"rows{ending}"
    write_table(path, rows[:at] + [["x"] * width], [f"c{i}" for i in range(width)])
    parting = "\t" if ending == ".tsv" else ","
    whole = path.read_bytes()
    path.write_bytes(whole[:-1] + parting.encode() + b"more\nx" + (parting + "x").encode() * (width - 1) + b"\n")
    line = 2 + at + sum(cell.count("\n") for row in rows[:at] for cell in row)
    with pytest.raises(DataError, match=rf"line {line}: {width + 1} fields, {width} expected"):
        read_table(path)


@settings(max_examples=60, deadline=None)
@given(rows=rows_of(CSV_CELL))
def test_unclosed_quote_names_the_line_it_opened_on(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("table") / "rows.csv"
    write_table(path, rows, [f"c{at}" for at in range(len(rows[0]))])
    before = path.read_bytes()
    path.write_bytes(before + b'"opened, never closed\n' + b"a,b\n" * 3)
    line = before.count(b"\n") + 1
    with pytest.raises(DataError, match=f"line {line}: the quote opened on this line is never closed"):
        read_table(path)


@settings(max_examples=100, deadline=None)
@given(st.text(st.sampled_from('a,"\r\n\t'), max_size=12))
def test_any_text_parses_or_is_a_data_error(text):
    for parse in (comma_records, tab_records):
        try:
            records = list(parse(text))
        except DataError:
            continue
        # what was accepted lost nothing but quotes and the CR of CRLF
        cells = [cell for _, row in records for cell in row]
        assert sum(cell.count("a") for cell in cells) == text.count("a")
        assert all(not cell.endswith("\r") or parse is comma_records for cell in cells)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('a,b\n1,2\nx "y" z,2\n', "line 3: a quote inside a cell"),
        ('a,b\n"x"y,2\n', "line 2: the quote opened on this line closes on line 2 with text behind it"),
        ('a,b\n"x\n1,2\n"y",2\n', "line 2: the quote opened on this line closes on line 4 with text behind it"),
        ("a,b\n1,x\ry\n", "line 2: a carriage return"),
        ('a,b\n1,"x"\ry\n', "line 2: the quote opened on this line closes on line 2"),
    ],
)
def test_csv_is_strict(tmp_path, text, message):
    path = tmp_path / "rows.csv"
    path.write_bytes(text.encode())
    with pytest.raises(DataError, match=message):
        read_table(path)


def test_leading_quote_is_text_in_tsv(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text('text\tlabel\n"half open\t1\nnext "one"\t0\n')
    assert [row["text"] for row in read_table(path).rows] == ['"half open', 'next "one"']


def test_schema_types_lists_and_header(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("-3\t0.5\tTrue\t1,2,3\thi\n")
    schema = "n:int:1,x:float:1,b:bool:1,v:int:3,s:str:1"
    row = {"n": -3, "x": 0.5, "b": True, "v": [1, 2, 3], "s": "hi"}
    assert read_table(path, schema).rows == [row]
    path.write_text("n\tx\tb\tv\ts\n" + path.read_text())
    assert read_table(path, schema).rows == [row]
    assert read_table(path, schema, header=True).rows == [row]
    with pytest.raises(DataError, match=r"line 1, field 'n' \(int:1\): 'n': a whole number is expected"):
        read_table(path, schema, header=False)


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("1_0", "int:1"),
        ("٣", "int:1"),
        ("1_0", "float:1"),
        ("x" * 9999, "float:1"),
        ("9" * 5000, "int:1"),
        ("yes", "bool:1"),
        ("1,2", "int:3"),
    ],
)
def test_wrong_type_names_line_and_field(tmp_path, cell, kind):
    path = tmp_path / "rows.tsv"
    path.write_text(f"a\tx\nb\t{cell}\n", encoding="utf-8")
    with pytest.raises(DataError, match=rf"line 2, field 'n' \({kind}\)"):
        read_table(path, f"s:str:1,n:{kind}", header=True)


@pytest.mark.parametrize("schema", ["", "a", "a:str", ":str:1", "a:txt:1", "a:str:0", "a:str:x", "a:str:1,a:int:1"])
def test_bad_schema_is_a_usage_error(schema):
    with pytest.raises(UsageError, match="schema"):
        parse_schema(schema)
    assert parse_schema("#1 String:str:1")[0].name == "#1 String"


@pytest.mark.parametrize("text", ["", "\ufeff", "text\tlabel\n", "text\tlabel\n\n\n"])
def test_empty_table(tmp_path, text):
    path = tmp_path / "rows.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="the table is empty"):
        read_table(path)


def test_header_must_name_every_column_once(tmp_path):
    path = tmp_path / "rows.tsv"
    path.write_text("text\ttext\nx\t1\n")
    with pytest.raises(DataError, match="line 1: the header names 'text' twice"):
        read_table(path)
    with pytest.raises(UsageError, match="need a schema"):
        read_table(path, header=False)
    with pytest.raises(UsageError, match=r"name it \.tsv"):
        read_table(path.rename(tmp_path / "rows.xls"))


def test_formulas_are_marked_and_numbers_are_not(tmp_path):
    path = tmp_path / "rows.csv"
    write_table(path, [{"x": '=HYPERLINK("http://evil")'}, {"x": -5}, {"x": "-5.5e3"}, {"x": "@a"}, {"x": None}], ["x"])
    assert path.read_text().splitlines() == ["x", '"\'=HYPERLINK(""http://evil"")"', "-5", "-5.5e3", "'@a", '""']


def test_formulas_are_marked_in_tsv_too_and_read_back(tmp_path):
    path, cells = tmp_path / "rows.tsv", ["=1+1", "@sum", "'=2", "-5", "+ 5", "'tis", ""]
    write_table(path, [[cell, "x"] for cell in cells], ["text", "label"])
    written = [line.split("\t")[0] for line in path.read_text().splitlines()[1:]]
    assert written == ["'=1+1", "'@sum", "''=2", "-5", "'+ 5", "'tis", ""]
    assert [row["text"] for row in read_table(path).rows] == cells


def test_a_header_of_forty_thousand_columns_takes_no_time_and_little_room(tmp_path):
    names = [f"c{number}" for number in range(40_000)]
    path = tmp_path / "rows.tsv"
    start = time.process_time()
    for last in ("c7", ""):
        path.write_text("\t".join([*names[:-1], last]) + "\n")
        with pytest.raises(DataError, match="names 'c7' twice|leaves column 40000 without a name"):
            read_table(path)
    path.write_text("\t".join(names) + "\na\tb\n")
    with pytest.raises(DataError, match="line 2: 2 fields, 40000 expected") as refused:
        read_table(path)
    with pytest.raises(UsageError, match="is not name:type:count") as schema:
        parse_schema(",".join(names))
    assert time.process_time() - start < 3
    assert len(str(refused.value)) < 1000 and len(str(schema.value)) < 1000


def test_writing_refuses_what_the_form_cannot_hold_and_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.tsv"
    write_table(path, [["old"]], ["x"])
    for bad in ("a\tb", "a\nb", "a\0", "\ud800"):
        with pytest.raises(DataError, match="row 2, column 'x'"):
            write_table(path, [["fine"], [bad]], ["x"])
    with pytest.raises(DataError, match="must have 1 cells"):
        write_table(path, [["a", "b"]], ["x"])
    with pytest.raises(DataError, match="no column 'x'"):
        write_table(path, [{"y": 1}], ["x"])
    assert path.read_text() == "x\nold\n"
    assert [item.name for item in tmp_path.iterdir()] == ["rows.tsv"]


def test_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("labkit.files.os.fsync", full)
    with pytest.raises(LabkitError, match="the disk is full"):
        write_table(tmp_path / "rows.tsv", [["a"]], ["x"])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".tsv", ".csv"])
def test_hundred_thousand_rows_in_a_few_seconds(tmp_path, ending):
    path = tmp_path / f"rows{ending}"
    write_table(path, ([f'so "good" number {at}', at % 2] for at in range(100_000)), ["text", "label"])
    start = time.process_time()
    assert len(read_table(path).rows) == 100_000
    assert time.process_time() - start < 5


def test_a_long_table_full_of_quotes_takes_linear_time():
    start = time.process_time()
    with pytest.raises(DataError, match="line 1: the quote opened"):
        list(comma_records('"' + '""' * 500_000))
    assert time.process_time() - start < 3
