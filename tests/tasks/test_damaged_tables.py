"""Tables and FewCLUE files damaged at random: refused in one sentence, or read as an independent reader reads them."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import random
import re

import pytest

from labkit.errors import LabkitError
from labkit.tasks import load_task, read_table
from labkit.tasks.tables import read_records

ROWS = [
    ("这部电影真好看，我很喜欢", "good"),
    ("a 'fine' film; \"quoted\" words", "good"),
    ("'=SUM(A1) is text", "bad"),
    ("-5 points\u2028 of ten \u00e9", "bad"),
    ("😀 half of it", "good"),
    ("plain words", "bad"),
]
CSV = "text,label\n" + "".join('"{}",{}\r\n'.format(text.replace('"', '""'), label) for text, label in ROWS)
JSON = [json.dumps({"sentence": text, "label": "Positive"}, ensure_ascii=len(text) % 2 == 0) for text, _ in ROWS]
SOURCES = {  # file -> content, and the schema it is read with
    "named.tsv": ("text\tlabel\n" + "".join(f"{text}\t{label}\n" for text, label in ROWS), None),
    "typed.tsv": ("".join(f"{text}\t{at}.5\t{at % 2}\n" for at, (text, _) in enumerate(ROWS)),
                  "text:str:1,score:float:1,label:int:1"),
    "quoted.csv": (CSV + '"two\nlines, one cell",good\n', None),
    "eprstmt/train_0.json": ("\n".join(JSON), None),
}  # fmt: skip
TOKENS = [
    b'"', b"\t", b",", b"\r", b"\n", b"\r\n", b"\0", b"\xff", b"'=", b"\\ud83d", b"\xed\xa0\xbd", b"\xef\xbb\xbf", b"{",
    b"\x85", "\u2028".encode(), "\u0085".encode(), b"9" * 5000, b"1e999", b"nan", b"\x1a", b"'",
]  # fmt: skip


def damaged(rng, data):
    """`data` with one to three things done to it, as disks, editors and people do."""
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        data = once(rng, data)
    return data


def once(rng, data):
    start = rng.randrange(len(data) + 1)
    end = min(len(data), start + rng.randrange(1, 20))
    before, inside, after = data[:start], data[start:end], data[end:]
    wide = ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "gb18030", "utf-8-sig"]
    ends = [b"\r", b"\r\n", b"\n\n", b""]
    return rng.choice([
        lambda: before + bytes(byte ^ 1 << rng.randrange(8) for byte in inside[:1]) + inside[1:] + after,
        lambda: before + rng.randbytes(len(inside)) + after,
        lambda: before + rng.choice(TOKENS) + inside + after,
        lambda: before + rng.choice(TOKENS) + after,
        lambda: before + bytes(len(inside)) + after,
        lambda: before + after,
        lambda: before + inside + inside + after,
        lambda: before,
        lambda: after,
        lambda: data.replace(b"\n", rng.choice(ends), rng.randrange(1, 9)),
        lambda: data.replace(b"\t", b",") if b"\t" in data else data.replace(b",", b"\t"),
        lambda: data.decode("utf-8", "replace").encode(rng.choice(wide)),
        lambda: rng.choice([gzip.compress, bz2.compress, lzma.compress])(data),
    ])()  # fmt: skip


def unmarked(cell):
    return cell[1:] if re.match("'+[=+\\-@\t\r\n]", cell) else cell


def independent(data, name):
    """The cells of a table as the standard library reads them."""
    text = data.decode("utf-8").removeprefix("\ufeff")
    if name.endswith(".csv"):
        found = [row or [""] for row in csv.reader(io.StringIO(text, newline=""), strict=True)]
    else:
        lines = re.split("\r?\n", text)
        found = [line.split("\t") for line in (lines[:-1] if lines[-1] == "" else lines)]
    return [[unmarked(cell) for cell in row] for row in found]


def attempt(path, read):
    """What `read` gives, or None where it refuses, which must be one short sentence that names the file."""
    try:
        return read()
    except LabkitError as error:
        said = str(error)
        assert str(path) in said and len(said) < 1500 and said.isprintable(), said
        return None


def texts_of(task, field="text"):
    return {row[field] for rows in task.splits.values() for row in rows}


def check_table(path, data, schema):
    records = attempt(path, lambda: list(read_records(path)))
    if records is None:
        assert attempt(path, lambda: read_table(path, schema)) is None
        return
    cells = independent(data, path.name)
    assert [row for _, row in records] == cells
    table = attempt(path, lambda: read_table(path, schema))
    if table is not None:
        while len(table.columns) > 1 and cells[-1] == [""]:
            cells.pop()
        assert len(table.rows) == len(cells) - (schema is None)
        for row, found in zip(table.rows, cells[-len(table.rows) :], strict=True):
            assert all(value == cell for value, cell in zip(row.values(), found, strict=True) if isinstance(value, str))
    task = attempt(path, lambda: load_task(f"table:{path}", schema=schema))
    if task is not None:
        assert table is not None and texts_of(task, task.fields[0]) <= {cell for row in cells for cell in row}


def check_json(path, data):
    task = attempt(path.parent, lambda: load_task(f"fewclue:{path.parent}"))
    if task is not None:
        lines = data.decode("utf-8").removeprefix("\ufeff").split("\n")
        assert texts_of(task) <= {json.loads(line)["sentence"] for line in lines if line.strip()}


@pytest.mark.parametrize("name", SOURCES)
@pytest.mark.parametrize("count", [60, pytest.param(2500, marks=pytest.mark.slow)])
def test_random_damage_is_refused_or_read_as_it_stands(tmp_path, name, count):
    text, schema = SOURCES[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    for seed in range(count):
        data = damaged(random.Random(f"{name}/{seed}"), text.encode())
        path.write_bytes(data)
        try:
            check_json(path, data) if name.endswith(".json") else check_table(path, data, schema)
        except Exception as error:
            error.add_note(f"seed {seed}: {data!r}") if hasattr(error, "add_note") else None
            raise


@pytest.mark.parametrize("name", SOURCES)
def test_undamaged_they_are_read(tmp_path, name):
    text, schema = SOURCES[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="")
    if name.endswith(".json"):
        check_json(path, path.read_bytes())
        assert texts_of(load_task(f"fewclue:{path.parent}")) == {text for text, _ in ROWS}
    else:
        check_table(path, path.read_bytes(), schema)
        assert {unmarked(text) for text, _ in ROWS} <= texts_of(load_task(f"table:{path}", schema=schema))
