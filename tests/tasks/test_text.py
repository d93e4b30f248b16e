from __future__ import annotations

import pytest

from labkit.errors import DataError, UsageError
from labkit.tasks import read_json_lines, read_lines, read_text
from labkit.tasks.text import guess_encoding


def test_only_lf_and_crlf_end_a_line(tmp_path):
    file = tmp_path / "texts.txt"
    odd = "a\u2028b\u2029c\x0bd\x0ce\x85f\x1cg\x1dh"
    file.write_bytes(f"{odd}\r\nsecond\n\nlast".encode())
    assert read_lines(file) == [odd, "second", "", "last"]


def test_byte_order_mark_is_taken_off_once(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"\xef\xbb\xbf\xef\xbb\xbfone\n")
    assert read_text(file) == "\ufeffone\n"


@pytest.mark.parametrize(
    ("text", "encoding", "line", "byte"),
    [
        ("good\nun été très léger\n", "latin-1", 2, 8),
        ("good\nwell\u2026 he said \u2013 fine\n", "cp1252", 2, 9),
        ("good\ngood\n这部电影很好看，我非常喜欢\n", "gb18030", 3, 10),
    ],
)
def test_not_utf8_names_line_byte_and_the_encoding_to_try(tmp_path, text, encoding, line, byte):
    file = tmp_path / "texts.txt"
    file.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=rf"texts\.txt: line {line}, byte {byte}: not UTF-8.*encoding='{encoding}'"):
        read_text(file)
    assert read_text(file, encoding) == text


def test_utf16_and_a_damaged_utf8_file_are_told_apart(tmp_path):
    assert guess_encoding("text".encode("utf-16")) == "utf-16"
    file = tmp_path / "texts.txt"
    file.write_bytes("这部电影很好看，我非常喜欢\n".encode() + b"ab\xff\n")
    with pytest.raises(DataError, match=r"line 2, byte 42: .*damaged or cut here"):
        read_text(file)


def test_nul_is_refused_with_its_place(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes("\ufeffé\nab\0c\n".encode())
    with pytest.raises(DataError, match=r"line 2, byte 8: a NUL byte"):
        read_text(file)
    assert file.read_bytes()[8] == 0


def test_lone_carriage_return_is_refused_with_its_line(tmp_path):
    file = tmp_path / "texts.txt"
    file.write_bytes(b"one\r\ntwo\nthr\ree\n")
    with pytest.raises(DataError, match="line 3: a carriage return"):
        read_lines(file)


def test_missing_file_offers_the_nearest_and_a_folder_is_no_file(tmp_path):
    (tmp_path / "train.tsv").write_text("x")
    with pytest.raises(DataError, match=r"tran\.tsv: no such file; did you mean 'train\.tsv'\?"):
        read_text(tmp_path / "tran.tsv")
    with pytest.raises(DataError, match="nor is there a folder"):
        read_text(tmp_path / "nowhere" / "train.tsv")
    with pytest.raises(DataError, match="is a folder"):
        read_text(tmp_path)


def test_unknown_encoding_is_a_usage_error(tmp_path):
    with pytest.raises(UsageError, match="unknown encoding 'utf-88'"):
        read_text(tmp_path / "x.txt", "utf-88")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "line 3, column 8: broken JSON"),
        ("[1]", "line 3: one JSON object"),
        ("[" * 99999, "line 3: broken JSON"),
    ],
)
def test_broken_json_line_is_named(tmp_path, line, message):
    file = tmp_path / "rows.json"
    file.write_text('{"a": "\u2028"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(read_json_lines(file))
