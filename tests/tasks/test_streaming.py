"""Files read a block at a time: the same records, and the same refusals, wherever the blocks end."""

from __future__ import annotations

import gzip
import io
import random
import re
import sys
import tracemalloc
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labkit.errors import DataError, LabkitError
from labkit.tasks import read_table, streaming
from labkit.tasks.delimited import comma_records
from labkit.tasks.tables import open_table, read_records
from labkit.tasks.text import read_json_lines, read_text
from labkit.tasks.writing import Form, write_table
from tests.tasks.test_damaged_tables import SOURCES, damaged

ROWS = [("这部电影真好看", "good"), ('a "quoted" film', "bad"), ("", "bad"), ("two\nlines", "good")]


@st.composite
def blocks_of(draw, texts):
    text = draw(texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    return [text[low:high] for low, high in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(blocks_of(st.text('a",\n', max_size=40)))
def test_pieces_of_a_csv_end_where_records_do(blocks):
    """Joined they are the text; parsed one by one they give what it gives as a whole, or the same refusal."""
    text, found, refused = "".join(blocks), [], None
    parts = list(streaming.pieces(blocks, "table", quoted=True))
    assert "".join(part for _, part in parts) == text
    try:
        for line, part in parts:
            found += comma_records(part, "table", line)
    except DataError as error:
        refused = re.search(r"line \d+", str(error))[0]
    try:
        assert found == list(comma_records(text)) and refused is None
    except DataError as error:
        assert re.search(r"line \d+", str(error))[0] == refused


@given(blocks_of(st.text("a\n", max_size=40)))
def test_pieces_of_lines_end_where_lines_do(blocks):
    parts = list(streaming.pieces(blocks, "table"))
    assert "".join(part for _, part in parts) == "".join(blocks)
    assert all(part.endswith("\n") for _, part in parts[:-1])
    assert [line for line, _ in parts] == [
        1 + "".join(part for _, part in parts[:at]).count("\n") for at in range(len(parts))
    ]


def attempt(read):
    try:
        return list(read())
    except LabkitError as error:
        assert str(error).isprintable()
        return None  # of two faults a larger block may tell the later: what is no text comes before what is no row


@pytest.mark.parametrize("name", ["named.tsv", "quoted.csv", "eprstmt/train_0.json"])
def test_damage_is_found_wherever_the_blocks_end(tmp_path, monkeypatch, name):
    text, _ = SOURCES[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for seed in range(120):
        rng = random.Random(f"{name}/{seed}")
        data = damaged(rng, text.encode())
        path.write_bytes(data)
        found = []
        for block in (1 << 20, rng.randrange(4, 60)):  # a byte order mark is not cut
            monkeypatch.setattr(streaming, "BLOCK", block)
            found.append(attempt(lambda: (read_json_lines if name.endswith(".json") else read_records)(path)))
        assert found[0] == found[1], (seed, data)


def test_places_are_counted_from_the_beginning(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 8)
    for bad, what in ((b"\xff", "not UTF-8"), (b"\0", "a NUL byte")):
        data = "电影\n".encode() * 5 + b"a" + bad + b"\n"
        (tmp_path / "in.tsv").write_bytes(data)
        with pytest.raises(DataError, match=f"line 6, byte {data.index(bad)}: {what}"):
            read_text(tmp_path / "in.tsv")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "gb18030", "utf-8-sig"])
def test_characters_across_blocks_are_whole(tmp_path, monkeypatch, encoding):
    text = "电影 film\r\n好看\n" * 9
    (tmp_path / "in.txt").write_bytes(text.encode(encoding))
    for block in (4, 5, 7):
        monkeypatch.setattr(streaming, "BLOCK", block)
        assert read_text(tmp_path / "in.txt", encoding) == text


@pytest.mark.parametrize("name", ["in.csv", "in.csv.gz", "in.jsonl", "in.jsonl.gz"])
def test_what_was_written_is_read_back_packed_or_not(tmp_path, name):
    plain = tmp_path / name.removesuffix(".gz")
    write_table(plain, ROWS, ["text", "label"])
    (tmp_path / name).write_bytes(gzip.compress(plain.read_bytes()) if name.endswith(".gz") else plain.read_bytes())
    table = open_table(tmp_path / name)
    assert [column.name for column in table.columns] == ["text", "label"]
    assert [tuple(row.values()) for _, row in table.rows] == ROWS


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"text\na\n", "not what gzip packs"),
        (gzip.compress(b"text\na\n", mtime=0)[:-9], "cut short"),
        (gzip.compress(b"text\na\n", mtime=0)[:-8] + b"\0" * 8, "damaged"),
        (gzip.compress(b"text\n\xff\n", mtime=0), "line 2, byte 5: not UTF-8"),
    ],
)
def test_a_damaged_gz_is_named(tmp_path, data, message):
    (tmp_path / "in.tsv.gz").write_bytes(data)
    with pytest.raises(DataError, match=rf"in\.tsv\.gz: .*{message}"):
        read_table(tmp_path / "in.tsv.gz")


def test_the_standard_input_is_a_tsv(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b'text\tid\n"a\t1\n')))
    assert read_table("-").rows == [{"text": '"a', "id": "1"}]


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("in.tsv", b"text\tid\na\t1\nb\n", "line 3: 1 fields, 2 expected"),
        ("in.tsv", b"text\tid\na\t1\n\nb\t2\n\n", "line 3: 1 fields, 2 expected"),
        ("in.tsv", b"text\tid\n\n\n", "no row under its header"),
        ("in.jsonl", b'{"text": "a"}\n{"txt": "b"}\n', "line 2: the object has no field 'text'"),
        ("in.jsonl", b'{"text": "a"}\n{"text": "b", "x": 1}\n', "line 2: the object has a field 'x'"),
        ("in.jsonl", b'{"text": "a"}\n{"text": "\\ud83d"}\n', "line 2, field 'text': .* half of one"),
        ("in.jsonl", b"\n", "the file is empty"),
    ],
)
def test_a_wrong_row_is_named_when_it_is_reached(tmp_path, name, data, message):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=message):
        list(open_table(tmp_path / name).rows)


def test_a_field_of_ten_megabytes_is_read_and_one_without_an_end_is_not(tmp_path, monkeypatch):
    text = '"' + "word, " * 1_700_000 + '"'
    (tmp_path / "in.csv").write_text(f"text,id\n{text},1\n")
    ((line, row),) = open_table(tmp_path / "in.csv").rows
    assert line == 2
    assert len(row["text"]) == len(text) - 2 > 10_000_000
    monkeypatch.setattr(streaming, "MOST_RECORD", 1 << 20)
    for name, message in (("in.csv", "line 2: the quote opened on this line is never closed"),
                          ("in.tsv", "line 2: a record of more than 1 Mi characters")):  # fmt: skip
        (tmp_path / name).write_text("text\n" + (text if name == "in.tsv" else text[:-1]))
        with pytest.raises(DataError, match=message):
            list(open_table(tmp_path / name).rows)


def test_memory_does_not_grow_with_the_table(tmp_path, monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 1 << 14)

    def peak(count):
        (tmp_path / "in.csv").write_text("text,id\n" + '"a film, that",1\n' * count)
        tracemalloc.start()
        assert sum(1 for _ in open_table(tmp_path / "in.csv").rows) == count
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(10)  # whatever is built once
    small, large = peak(3_000), peak(30_000)  # 50 and 500 kB, in blocks of 16
    assert large < 1.2 * small < 200_000


def test_a_form_says_which_row_it_cannot_hold():
    with pytest.raises(DataError, match="row 7, column 'text': .*write a .csv instead"):
        Form("out.tsv", ["text"]).line(["a\tb"], 7)
    assert Form("-", ["text", "n"]).line({"n": [1, 2], "text": "=a"}, 1) == "'=a\t[1, 2]\n"
    assert Form("out.jsonl.gz", ["text", "n"]).line({"n": 2, "text": "=a\t<b>"}, 1) == '{"text": "=a\\t<b>", "n": 2}\n'
