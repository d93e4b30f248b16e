from __future__ import annotations

import bz2
import gzip
import lzma
import os

import pytest

from labkit.errors import DataError, UsageError
from labkit.files import MOST_BYTES
from labkit.tasks.encodings import guess_encoding
from labkit.tasks.text import read_json_lines, read_lines, read_text


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


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize(
    "text", ["text\tlabel\na fine film\tgood\n" * 9, "text\tlabel\n这部 film 电影 was good\t1\n" * 9]
)
def test_wide_encodings_are_named(tmp_path, encoding, text):
    file = tmp_path / "rows.tsv"
    file.write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=f"{encoding}: save it as UTF-8|mark of {encoding.upper()}: save it as UTF-8"):
        read_text(file)
    assert read_text(file, encoding) == text


@pytest.mark.parametrize(
    ("data", "mend"),
    [
        (gzip.compress(b"text\tlabel\n", mtime=0), "packed with gzip: unpack it first"),
        (bz2.compress(b"text\tlabel\n"), "packed with bzip2: unpack it first"),
        (lzma.compress(b"text\tlabel\n"), "packed with xz: unpack it first"),
        (b"PK\x03\x04\x14\0\6\0\x08\0\0\0!\0", "a zip archive, or an .xlsx or .docx"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1\0", "it is an .xls"),
    ],
)
def test_what_is_no_text_is_told_apart(tmp_path, data, mend):
    (tmp_path / "rows.tsv").write_bytes(data)
    with pytest.raises(DataError, match=mend) as refused:
        read_text(tmp_path / "rows.tsv")
    assert "encoding" not in str(refused.value)


def test_a_byte_order_mark_speaks_against_another_encoding(tmp_path):
    (tmp_path / "rows.tsv").write_bytes("\ufefftext\tlabel\n".encode())
    for encoding in ("latin-1", "gb18030"):
        with pytest.raises(DataError, match="begins with the byte order mark of UTF-8: leave encoding= out"):
            read_text(tmp_path / "rows.tsv", encoding)
    (tmp_path / "plain.tsv").write_text("这部电影\n", encoding="utf-8")
    with pytest.raises(DataError, match="it is UTF-8: leave encoding= out"):
        read_text(tmp_path / "plain.tsv", "ascii")


def test_a_pipe_a_device_and_a_giant_are_no_files_to_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.tsv")
    (tmp_path / "zero.tsv").symlink_to("/dev/zero")
    with open(tmp_path / "giant.tsv", "wb") as stream:
        stream.truncate(MOST_BYTES + 1)
    for name, mend in (("pipe", "save its content as a file"), ("zero", "save its content"), ("giant", "cut it")):
        with pytest.raises(DataError, match=rf"{name}\.tsv: cannot be read: .*{mend}"):
            read_text(tmp_path / f"{name}.tsv")


@pytest.mark.parametrize("path", ["~nobody-of-this-name/train.tsv", "a\0b.tsv", "half \ud83d.tsv"])
def test_a_path_that_cannot_be_is_a_data_error(path):
    with pytest.raises(DataError, match=r"\.tsv: (no such file|cannot be read)"):
        read_text(path)


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


@pytest.mark.parametrize("name", ["utf-88", "hex", "zlib", "utf\0"])
def test_unknown_encoding_is_a_usage_error(tmp_path, name):
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UsageError, match="unknown encoding"):
        read_text(tmp_path / "x.txt", name)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"a": 1', "line 3, column 8: broken JSON"),
        ("[1]", "line 3: one JSON object"),
        ("[" * 99999, "line 3: broken JSON"),
        ('{"a": "good \\ud83d"}', "line 3, field 'a': character 6, '.ud83d', is half of one"),
        ('{"\\uDE00": 1}', "line 3, the name of a field: character 1"),
        ('{"a": {"b": ["\\ud83d\\ud83d"]}}', "line 3, field 'a': .* is half of one"),
    ],
)
def test_broken_json_line_is_named(tmp_path, line, message):
    file = tmp_path / "rows.json"
    file.write_text('{"a": "\u2028 \\ud83d\\ude00"}\n\n' + line + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        list(read_json_lines(file))
