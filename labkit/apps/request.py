"""What is asked of a training, on which tables or which task by name, and who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from labkit.apps.catalogue import application
from labkit.apps.meta_teaching import MetaKD
from labkit.apps.teaching import Teacher
from labkit.config import names
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


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what, and how long."""

    application: str = "text_classify"
    data: str | None = None  # tables, or a task's name; None: the application's example
    columns: Columns = field(default_factory=Columns)
    model: str = "mini-bert-en"
    method: str | None = None  # a few-shot method in place of the application's own
    pattern: str | None = None  # of a method with a blank; None: the task's own
    words: tuple[str, ...] | None = None  # one a label
    delta: str | None = None  # train this delta and the head alone, and merge it at the end
    shots: int = 0  # train on this many examples a class; 0: on all rows
    parameters: Mapping[str, str] = field(default_factory=dict)
    teacher: Teacher | MetaKD | None = None
    training: Mapping[str, Any] = field(default_factory=dict)  # fields of `labkit.training.Training`
    batch_size: int = 16
    test_rows: int = 1000
    engine: str | None = None  # of DeepSpeed
    out: str = "runs/train"
    resume: bool = False
    tensorboard: str | None = None


@dataclass(frozen=True)
class Here:
    """Which of the processes this is, and how it speaks: `say` on rank 0 only, bars where `progress`."""

    rank: int = 0
    world: int = 1
    say: Callable[[str], None] = lambda text: None
    progress: bool = False
    command: str = ""


def read(request: Request) -> Task:
    """The request's task, with its pattern, words and shots."""
    chosen = application(request.application)
    if request.method is not None:
        if chosen.answer != "class":
            raise UsageError(f"{chosen.name} has a method of its own: few-shot methods are for classes")
        if request.parameters:
            name = next(iter(request.parameters))
            raise UsageError(f"parameter {name} is of {chosen.name}'s own method: it means nothing to {request.method}")
    task = read_task(request.data, chosen.answer, request.columns) if request.data else chosen.example()
    least, most = chosen.texts
    if not least <= len(task.fields) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        these = f"{len(task.fields)}: {', '.join(task.fields)}"
        raise UsageError(f"{chosen.name} reads {wanted} text columns, these are {these}; name them")
    if request.pattern is not None:
        task = replace(task, patterns=(request.pattern,))
    if request.words is not None:
        if len(request.words) != len(task.labels):
            raise UsageError(f"{len(request.words)} label words for {len(task.labels)} labels: one a label is needed")
        task = replace(task, words={name: (word,) for name, word in zip(task.labels, request.words, strict=True)})
    if not request.shots:
        return task
    if task.answer != "class":
        raise UsageError(f"--shots counts examples of a class, and {chosen.name} has none: give a smaller table")
    return task.few_shot(request.shots, request.training.get("seed", 0))


def read_task(name: str, answer: str | None, columns: Columns) -> Task:
    """The task of up to three tables (train, dev, test), `table:A,B,C` or plain `A,B,C`; other names as in `load_task`.

    `answer` is as in `table_task`. Raises as that and `load_task`, UsageError for a task of another kind of answer.
    """
    tables = name.removeprefix("table:")
    if tables != name or (":" not in name and all(bare_name(part).suffix.lower() in TABLES for part in names(name))):
        return table_task(tables, answer=answer, **vars(columns))
    given = {"schema": columns.schema, "header": columns.header, "fields": columns.fields, "labels": columns.labels}
    task = load_task(name, **{key: value for key, value in given.items() if value is not None})
    if answer not in (None, task.answer):
        raise UsageError(f"{name}: its answers are of the kind {task.answer!r}, {answer!r} is needed: give tables")
    return task


def parse_labels(text: str) -> tuple[str, ...]:
    """The label names of `a,b,c`, or of a file with one a line. UsageError for fewer than two, or one twice."""
    found = list(filter(None, map(str.strip, read_lines(text)))) if Path(text).is_file() else names(text)
    if len(found) < 2 or len(set(found)) < len(found):
        raise UsageError(f"labels {text!r:.80}: name two or more, each once, parted by commas, or a file, one a line")
    return tuple(found)
