"""`table:train.tsv,dev.tsv,test.tsv` as a task, and more unlabelled texts for any task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from labkit.errors import DataError, UsageError, listed, unknown
from labkit.tasks.answers import Cells
from labkit.tasks.labels import Labels, label_name
from labkit.tasks.rows import Row, finish_splits, join_notes, majority
from labkit.tasks.tables import Column, Table, parse_schema, read_records, read_table
from labkit.tasks.task import Task
from labkit.tasks.text import read_lines

ROLES = ("train", "dev", "test")
# id, idx, index, sid1, qid2, guid, pairID, prem_id, "#1 ID": keys of a row, not its text
KEY_NAME = re.compile(r"(.*[^a-z])?([a-z]?id|idx|index|guid|uuid)[0-9]*|pairid", re.IGNORECASE)


def table_task(
    spec: str,
    *,
    schema: str | None = None,
    header: bool | None = None,
    fields: Sequence[str] | None = None,
    label: str = "label",
    labels: Labels = None,
    encoding: str = "utf-8",
    answer: str | None = "class",
    start: str = "start",
) -> Task:
    """A task from one to three tables: train, dev, test. Arguments as in `load_task`.

    `answer` is what the label's cells hold, one of `labkit.tasks.task.ANSWERS`, or None: texts alone are read. `start`
    is the column of a span's place in the first text, where there is one.
    """
    paths = [path.strip() for path in spec.split(",")]
    if not 1 <= len(paths) <= len(ROLES) or not all(paths):
        raise UsageError(f"table:{spec}: give one to three files, as in table:train.tsv,dev.tsv,test.tsv")
    tables = [read_table(path, schema, header, encoding) for path in paths]
    told = [column for column in tables[0].columns if answer != "span" or column.name != start]
    texts = choose_fields(told, fields, label, str(tables[0].path))
    for table in tables:
        require(table, [*texts, *([label] if answer else [])])
    renamed = dict(zip(texts, field_names(texts), strict=True))
    cells = Cells.of(answer, label, start, tables[0].rows, labels)
    splits = {
        role: [_row(table, number, renamed, cells) for number in range(len(table.rows))]
        for role, table in zip(ROLES, tables, strict=False)
    }
    done, notes = finish_splits(splits, tuple(renamed.values()))
    return Task(
        name=f"table:{spec}",
        fields=tuple(renamed.values()),
        labels=cells.index.names if cells.index else (),
        splits=done,
        language=guess_language(done["train"], tuple(renamed.values())),
        chance=majority(done.get("test", done["train"])) if answer == "class" else None,
        note=join_notes([*notes, cells.index.note() if cells.index else ""]),
        answer=answer or "text",
        columns=tuple(texts),
    )


def choose_fields(columns: Iterable[Column], fields: Sequence[str] | None, label: str, where: str) -> list[str]:
    """The text columns: those in `fields`, else every single str column but the label and keys such as id or index."""
    known = {column.name: column for column in columns}
    if fields is not None:
        chosen = [fields] if isinstance(fields, str) else list(fields)
        for name in chosen:
            if name not in known:
                raise DataError(f"{where}: {unknown('column', name, known)}")
            if known[name].type != "str" or known[name].count != 1:
                raise DataError(f"{where}: column {name!r} cannot be a text field: its schema must be {name}:str:1")
        return chosen
    chosen = [
        column.name
        for column in known.values()
        if column.type == "str" and column.count == 1 and column.name != label and not KEY_NAME.fullmatch(column.name)
    ]
    if not chosen:
        raise DataError(f"{where}: no text column among {listed(known)}; call it text, or name it with fields=('…',)")
    return chosen


def require(table: Table, names: Iterable[str]) -> None:
    """Raise DataError for a column that `table` lacks."""
    have = {column.name: None for column in table.columns}  # as quick to look up as a set, in order
    for name in names:
        if name not in have:
            mend = (
                ". Call the label column so, or name it with label='…'; a file without a header needs "
                "schema='text:str:1,label:str:1'"
            )
            raise DataError(
                f"{table.path}: missing column: {unknown('column', name, have)}{mend if name == 'label' else ''}"
            )


def field_names(texts: Sequence[str]) -> tuple[str, ...]:
    """A task's names for its text fields, so that one pattern fits every table: "text", or "text_a" and "text_b"."""
    return {1: ("text",), 2: ("text_a", "text_b")}.get(len(texts), tuple(texts))


def guess_language(rows: Sequence[Row], fields: tuple[str, ...]) -> str:
    """ "zh" where a fifth of the characters of a hundred texts from all over `rows` are Chinese, else "en"."""
    sample = "".join(row[name] for row in rows[:: len(rows) // 100 + 1] for name in fields)
    return "zh" if sum("\u4e00" <= letter <= "\u9fff" for letter in sample) > len(sample) / 5 else "en"


def _row(table: Table, number: int, renamed: Mapping[str, str], cells: Cells) -> Row:
    values = table.rows[number]
    row: Row = {new: values[old] for old, new in renamed.items()}
    first = next(iter(row))
    if cells.kind == "tags":
        row[first] = " ".join(row[first].split())  # words as the task parts them
    row["label"] = cells.read(values, row[first], f"{table.path}: line {table.lines[number]}")
    for name, value in values.items():
        if name not in renamed and name != cells.label:
            row.setdefault(name, value)
    return row


def add_unlabelled(task: Task, path: str, label: str, schema: str | None, encoding: str) -> Task:
    """`task` with the texts of `path` in "unlabelled": a .txt with one a line, or a .tsv or .csv with the text columns.

    A table's first line names the columns, or it has the columns of `schema`, or its only column is the text. DataError
    for a row that has a label.
    """
    names = list(task.columns or task.fields)
    if Path(path).suffix.lower() == ".txt":
        if len(task.fields) > 1:
            raise UsageError(
                f"{path}: a .txt holds one text a line, {len(task.fields)} are needed; give a .tsv or .csv"
            )
        found = [(line,) for line in read_lines(path, encoding) if line.strip()]
    else:
        table = _bare_table(path, names, schema, encoding)
        _without_labels(table, label)
        found = [tuple(row[name] for name in names) for row in table.rows]
    if not found:
        raise DataError(f"{path}: no text in it")
    rows = [{**dict(zip(task.fields, values, strict=True)), "label": None} for values in found]
    return replace(task, splits={**task.splits, "unlabelled": [*task.splits.get("unlabelled", []), *rows]})


def _without_labels(table: Table, label: str) -> None:
    """A label that would be dropped in silence is an error."""
    for line, row in zip(table.lines, table.rows, strict=True):
        if (name := label_name(row.get(label))) is not None:
            raise DataError(
                f"{table.path}: line {line}, field {label!r}: {name[:40]!a} is a label, and this file must have"
                " none: empty the field, or move the row to a training file"
            )


def _bare_table(path: str, names: list[str], schema: str | None, encoding: str) -> Table:
    """A table that may have a header, or the schema's columns, or nothing but the one text column."""
    first = next(iter(read_records(path, encoding)), None)
    if first is None:
        raise DataError(f"{path}: the table is empty")
    if set(names) <= {cell.strip() for cell in first[1]}:
        return read_table(path, None, None, encoding)
    if schema is not None and len(first[1]) == len(parse_schema(schema)):
        table = read_table(path, schema, None, encoding)
        require(table, names)
        return table
    if len(first[1]) == len(names):
        return read_table(path, [Column(name) for name in names], False, encoding)
    raise DataError(f"{path}: line 1: a header with {listed(map(repr, names))} is expected, or these columns alone")
