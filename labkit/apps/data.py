"""What an application is trained and scored on: tables and how their columns are read, or a task by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from labkit.errors import UsageError
from labkit.tasks import Task, load_task
from labkit.tasks.from_tables import table_task
from labkit.tasks.streaming import bare_name
from labkit.tasks.text import read_lines

TABLES = (".tsv", ".csv", ".txt", ".jsonl")


@dataclass(frozen=True)
class Columns:
    """How tables are read. Without a `schema` their first line names the columns."""

    schema: str | None = None  # EasyNLP's: name:type:count, …
    header: bool | None = None  # None: the first line is one where it repeats the schema's names
    fields: tuple[str, ...] | None = None  # text columns; None: every one of type str but the label and keys
    label: str = "label"
    labels: tuple[str, ...] | None = None  # the label names in order; None: those that occur
    start: str = "start"  # of a span: the column of its place in the first text, where there is one


def read_task(name: str, answer: str | None, columns: Columns) -> Task:
    """The task of up to three tables (train, dev, test), `table:A,B,C` or plain `A,B,C`; other names as in `load_task`.

    `answer` is as in `table_task`. Raises as that and `load_task`, UsageError for a task of another kind of answer.
    """
    tables = name.removeprefix("table:")
    if tables != name or (":" not in name and all(bare_name(part).suffix.lower() in TABLES for part in _parts(name))):
        return table_task(tables, answer=answer, **vars(columns))
    given = {"schema": columns.schema, "header": columns.header, "fields": columns.fields, "labels": columns.labels}
    task = load_task(name, **{key: value for key, value in given.items() if value is not None})
    if answer not in (None, task.answer):
        raise UsageError(f"{name}: its answers are of the kind {task.answer!r}, {answer!r} is needed: give tables")
    return task


def parse_labels(text: str) -> tuple[str, ...]:
    """The label names of `a,b,c`, or of a file with one a line. UsageError for fewer than two, or one twice."""
    names = tuple(filter(None, map(str.strip, read_lines(text)))) if Path(text).is_file() else tuple(_parts(text))
    if len(names) < 2 or len(set(names)) < len(names):
        raise UsageError(f"labels {text!r:.80}: name two or more, each once, parted by commas, or a file, one a line")
    return names


def _parts(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def field_option(names: Sequence[str | None]) -> tuple[str, ...] | None:
    """The text columns that were named, or None."""
    return tuple(name for name in names if name) or None
