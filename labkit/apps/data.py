"""The tables of an application as a task: which columns are its texts, and what stands in its label's cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.tasks import Task, load_task
from labkit.tasks.from_tables import ROLES, choose_fields, field_names, guess_language, require
from labkit.tasks.labels import LabelIndex, label_name
from labkit.tasks.tables import Table, read_table
from labkit.tasks.task import Row, finish_splits, join_notes

PARTED = {"classes": ",", "tags": " "}  # what stands between the labels of one cell


@dataclass(frozen=True)
class Columns:
    """How tables are read. Without a `schema` their first line names the columns."""

    schema: str | None = None  # EasyNLP's: name:type:count, …
    header: bool | None = None  # None: the first line is one where it repeats the schema's names
    fields: tuple[str, ...] | None = None  # text columns; None: every one of type str but the label and keys
    label: str = "label"
    labels: tuple[str, ...] | None = None  # the label names in order; None: those that occur
    start: str = "start"  # of a span: the column of its place in the first text, where there is one
    encoding: str = "utf-8"


def read_task(name: str, answer: str | None, columns: Columns = Columns()) -> Task:  # noqa: B008  it is frozen
    """The task of up to three tables (train, dev, test), `table:A,B,C` or plain `A,B,C`; other names as in `load_task`.

    `answer` is what a row's label is to be (see `labkit.tasks.task.ANSWERS`); None reads texts alone. Raises DataError
    naming file, line and field, UsageError for a task of another kind of answer.
    """
    tables = name.removeprefix("table:") if name.startswith("table:") or _are_tables(name) else None
    given = {"schema": columns.schema, "header": columns.header, "fields": columns.fields, "labels": columns.labels}
    given = {key: value for key, value in given.items() if value is not None}
    if tables is not None and answer == "class":
        return load_task(f"table:{tables}", label=columns.label, encoding=columns.encoding, **given)
    if tables is not None:
        return _tables(tables, answer, columns)
    task = load_task(name, **given)
    if answer not in (None, task.answer):
        raise UsageError(f"{name}: its answers are of the kind {task.answer!r}, {answer!r} is needed: give tables")
    return task


def _are_tables(name: str) -> bool:
    return ":" not in name and all(part.strip().lower().endswith((".tsv", ".csv", ".txt")) for part in name.split(","))


def _tables(spec: str, answer: str | None, columns: Columns) -> Task:
    paths = [path.strip() for path in spec.split(",")]
    if not 1 <= len(paths) <= len(ROLES) or not all(paths):
        raise UsageError(f"{spec}: give one to three tables, as in train.tsv,dev.tsv,test.tsv")
    tables = [read_table(path, columns.schema, columns.header, columns.encoding) for path in paths]
    told = [one for one in tables[0].columns if answer != "span" or one.name != columns.start]
    texts = choose_fields(told, columns.fields, columns.label, str(tables[0].path))
    for table in tables:
        require(table, [*texts, *([columns.label] if answer else [])])
    renamed = dict(zip(texts, field_names(texts), strict=True))
    index = _index(tables[0], answer, columns) if answer in PARTED else None
    splits = {
        role: [_row(table, at, renamed, answer, index, columns) for at in range(len(table.rows))]
        for role, table in zip(ROLES, tables, strict=False)
    }
    fields = tuple(renamed.values())
    done, notes = finish_splits(splits, fields)
    return Task(
        name=f"table:{spec}", fields=fields, labels=index.names if index else (), splits=done,
        language=guess_language(done["train"], fields), note=join_notes(notes), answer=answer or "text",
        columns=tuple(texts),
    )  # fmt: skip


def _index(table: Table, answer: str, columns: Columns) -> LabelIndex:
    """The label names, those that occur unless they are given; of tags, O comes first."""
    names = [name for row in table.rows for name in _parts(row[columns.label], answer)]
    index = LabelIndex(names, columns.labels)
    if columns.labels is None and answer == "tags" and "O" in index.names:
        return LabelIndex((), ["O", *(name for name in index.names if name != "O")])
    return index


def _parts(cell: Any, answer: str) -> list[str]:
    return [name for part in str(cell).split(PARTED[answer]) if (name := label_name(part)) is not None]


def _row(
    table: Table, at: int, renamed: Mapping[str, str], answer: str | None, index: LabelIndex | None, columns: Columns
) -> Row:
    values, where = table.rows[at], f"{table.path}: line {table.lines[at]}"
    row: Row = {new: values[old] for old, new in renamed.items()}
    first = next(iter(row))
    if answer == "tags":
        row[first] = " ".join(row[first].split())
    row["label"] = _answer(values, row[first], f"{where}, field {columns.label!r}", answer, index, columns)
    for name, value in values.items():
        if name not in renamed and name != columns.label:
            row.setdefault(name, value)
    return row


def _answer(
    values: Row, text: str, where: str, answer: str | None, index: LabelIndex | None, columns: Columns
) -> Any:  # fmt: skip
    """What the label's cell says, as `Task.answer` has it."""
    if answer is None:
        return None
    cell = values[columns.label]
    if answer == "text":
        return str(cell)
    if answer == "span":
        return _span(str(cell), text, values.get(columns.start), where)
    found = [index.required(part, where) for part in _parts(cell, answer)]
    words = len(text.split(" "))
    if answer == "tags" and len(found) != words:
        raise DataError(f"{where}: {len(found)} labels for {words} words: one a word is needed, parted by blanks")
    return list(dict.fromkeys(found)) if answer == "classes" else found


def _span(cell: str, text: str, start: Any, where: str) -> dict[str, Any]:
    """The answer and its place: as the table says, else where it occurs first."""
    if not cell:
        return {"text": "", "start": -1}
    place = text.find(cell) if start in (None, "") else int(start)
    if place < 0 or not text.startswith(cell, place):
        at = "" if start is None else f" at {start}"
        raise DataError(f"{where}: {cell[:60]!r} does not stand in the text{at}")
    return {"text": cell, "start": place}


def parse_labels(text: str) -> tuple[str, ...]:
    """The label names of `a,b,c`, or of a file with one a line. UsageError for fewer than two, or one twice."""
    from pathlib import Path

    from labkit.tasks.text import read_lines

    listed = read_lines(text) if Path(text).is_file() else text.split(",")
    names = tuple(name for name in map(str.strip, listed) if name)
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"labels {text!r:.80}: name two or more, each once, parted by commas, or a file, one a line")
    return names


def field_option(names: Sequence[str | None]) -> tuple[str, ...] | None:
    """The text columns that were named, or None."""
    return tuple(name for name in names if name) or None
