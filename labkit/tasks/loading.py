"""`load_task`: one string names the data, and the same options mean the same for every source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from labkit.errors import UsageError, unknown
from labkit.tasks.fewclue import fewclue_task
from labkit.tasks.from_tables import add_unlabelled, table_task
from labkit.tasks.hub import from_datasets, hub_task
from labkit.tasks.labels import Labels
from labkit.tasks.task import Task

COLUMNS = ("fields", "label", "labels")
EXAMPLES = ("world/reviews", "table:train.tsv,dev.tsv", "fewclue:FOLDER/eprstmt", "hub:stanfordnlp/sst2")


def load_task(
    name: Any,
    *,
    split: int | str = 0,
    schema: str | None = None,
    header: bool | None = None,
    fields: Sequence[str] | None = None,
    label: str | None = None,
    labels: Labels = None,
    unlabelled: str | None = None,
    world: Any = None,
    language: str | None = None,
    metric: str | None = None,
    encoding: str | None = None,
    patterns: Sequence[str] | None = None,
    words: Mapping[str, Sequence[str]] | None = None,
) -> Task:
    """The task that `name` names; or rows as `labkit.tasks.hub.from_datasets` takes them, in place
    of a name.

    - `world/NAME`: generated, in the setting `world` (a `labkit.world.World`).
    - `table:TRAIN[,DEV[,TEST]]`: .tsv or .csv files. `schema` is EasyNLP's (`text:str:1,label:str:1`, files without a
      header); without one the first line names the columns. `header` overrides the finding of a header.
    - `fewclue:FOLDER/TASK`: one of FewCLUE's nine, training split `split`.
    - `hub:OWNER/NAME[:CONFIG]`, or `hub:FOLDER`.

    `fields` are the text columns, `label` the label column ("label"), `labels` the label names in order, or a mapping
    from the data's labels to names. `unlabelled` adds a .txt with a text a line, or a table. `encoding` is the files'
    ("utf-8").
    `language`, `metric`, `patterns` and `words` replace the task's own.
    Raises UsageError for names and options that do not fit, DataError for data that does not.
    """
    fields = (fields,) if isinstance(fields, str) else fields
    options = {"schema": schema, "header": header, "world": world, "fields": fields, "label": label, "labels": labels}
    given = {key: value for key, value in options.items() if value is not None}
    if encoding is not None and unlabelled is None and not str(name).startswith("table:"):
        raise UsageError(f"{str(name)[:80]}: encoding is for tables and for the file of unlabelled=")
    encoding = encoding or "utf-8"
    if not isinstance(name, str):
        task = from_datasets(name, **_only(given, COLUMNS, "rows"))
    elif name.startswith("table:"):
        task = table_task(name[6:], encoding=encoding, **_only(given, (*COLUMNS, "schema", "header"), name))
    else:
        task = _named(name, given, split)
    if unlabelled is not None:
        task = add_unlabelled(task, unlabelled, label or "label", schema, encoding)
    return _replaced(task, language=language, metric=metric, patterns=patterns, words=words)


def _named(name: str, given: dict[str, Any], split: int | str) -> Task:
    """The task of a name that is not a table's."""
    kind, _, rest = name.partition(":")
    if name.startswith("world/"):
        return world_task(name.removeprefix("world/"), **_only(given, ("world",), name))
    if kind == "fewclue" and rest:
        return fewclue_task(rest, **_only(given, (), name), split=split)
    if kind == "hub" and rest:
        return hub_task(rest, **_only(given, COLUMNS, name))
    if name.lower().endswith((".tsv", ".csv")):
        raise UsageError(f"a table is named with its source: 'table:{name}'")
    raise unknown("task", name, EXAMPLES)


def world_task(name: str, world: Any = None) -> Task:
    """The generated task `world/NAME`. Raises UsageError for an unknown one, offering the nearest."""
    import labkit.world as source

    if name not in source.TASKS:
        raise unknown("task", f"world/{name}", [f"world/{known}" for known in source.TASKS])
    return Task(name=f"world/{name}", **source.TASKS[name](world or source.World()))


def _only(given: dict[str, Any], taken: Sequence[str], name: str) -> dict[str, Any]:
    """`given`, if the source `name` takes all of it."""
    for option in given:
        if option not in taken:
            raise UsageError(
                f"{name}: option {option}= does not apply here; those that do: {', '.join(taken) or 'none'}"
            )
    return given


def _replaced(task: Task, *, language: Any, metric: Any, patterns: Any, words: Any) -> Task:
    """`task` with what the caller says instead. Chance and ceiling belong to the metric they were computed for."""
    if language is not None:
        task = replace(task, language=language)
    if metric is not None and metric != task.metric:
        task = replace(task, metric=metric, chance=None, ceiling=None)
    if patterns is not None:
        task = replace(task, patterns=(patterns,) if isinstance(patterns, str) else tuple(patterns))
    if words is not None:
        plain = {key: (value,) if isinstance(value, str) else tuple(value) for key, value in words.items()}
        task = replace(task, words=plain)
    return task
