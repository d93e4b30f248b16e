"""Answers for whole tables, however large: `labkit predict`.

Rows are read in windows. Those of a window are sorted by length and answered in batches of about so many tokens, which
leaves little padding; their answers are written in the order of the input before the next window is read. So memory
does not grow with the table, and an interrupted run goes on after its last whole window, to the same bytes.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from collections.abc import Mapping, Sequence
from typing import Any

from labkit.apps import parts
from labkit.apps.folder import App
from labkit.checkpoints import digest
from labkit.config import to_dict
from labkit.errors import DataError, UsageError, listed, unknown
from labkit.lab import Bar
from labkit.tasks.streaming import bare_name
from labkit.tasks.tables import Column, open_table, parse_schema
from labkit.tasks.writing import Form

WINDOW = 8192  # rows read, sorted and written together
BATCH_ROWS, BATCH_TOKENS = 512, 2048  # of a batch at most
Path = str | os.PathLike[str]


def predict_table(
    app: App,
    source: Path,
    target: Path,
    *,
    schema: str | None = None,
    header: bool | None = None,
    fields: Sequence[str] | None = None,
    append: Sequence[str] | None = None,
    output: Sequence[str] | None = None,
    easynlp: bool = False,
    replace: bool = False,
    window: int = WINDOW,
    progress: bool | None = False,
) -> int:
    """Answer every row of `source` into `target`, and return the number of rows.

    Both are .tsv, .csv or .jsonl, packed where `.gz` follows, or "-", a .tsv on the standard input or output; a source
    may be a .txt with one text a line. The source's first line names its columns, or `schema` does ("sent:str:1, …").
    `fields` are the columns that the app reads, in its own order, where they have other names than in the app and in
    what it was trained on. `append` are the columns that are kept (all by default), `output` the answer's columns that
    join them, of those that `App.cells` has (by default the first, and the probabilities). `easynlp`: as EasyNLP writes
    them, without a line of names, the answer's columns first.

    Killed at any moment and called again in the same way, it goes on, and writes what it would have written; so it does
    when a wrong line further down was mended in between. Raises DataError naming file and line of what cannot be read,
    UsageError for names that cannot be right: a target that is there, unless `replace`; the source itself; a place in a
    saved app; a column that the answer needs as well. Nothing stands at `target` before all of it does.
    """
    _check_places(app, source, target)
    plain = [Column(column.name) for column in parse_schema(schema)] if schema else None  # cells are copied, not read
    table = open_table(source, plain, header, line_field=app.card.fields[0])
    columns = [column.name for column in table.columns]
    # What the table calls the fields: as the app does or, unless it has these, as what the app was trained on.
    own = app.card.fields if set(app.card.fields) <= set(columns) else app.card.columns or app.card.fields
    read = dict(zip(app.card.fields, _chosen(fields or own, columns, source), strict=True))
    kept = columns if append is None else _chosen(append, columns, source)
    first = next(table.rows)
    told = list(_answered(app, [first], read, source, output)[0])
    if taken := [name for name in told if name in kept]:
        raise UsageError(f"{source}: has a column {taken[0]!r} already; rename it, the output needs the name")
    form = Form(target, [*told, *kept] if easynlp else [*kept, *told])
    maker = {"app": _digest(app), "input": [columns, read], "output": form.columns, "window": window,
             "header": not easynlp}  # fmt: skip
    with parts.opened(target, maker, replace) as part:
        rows = part.unread(itertools.chain([first], table.rows))
        with Bar(None, progress, initial=part.rows, unit="row", unit_scale=True) as bar:
            while some := list(itertools.islice(rows, window)):
                answers = _answered(app, some, read, source, told)
                head = form.header() if not (easynlp or part.rows) else ""
                numbered = enumerate(zip(some, answers, strict=True), start=part.rows + 1)
                lines = [form.line(row | answer, number) for number, ((_, row), answer) in numbered]
                part.add(head + "".join(lines), some)
                bar.update(len(some))
        return part.rows


def _check_places(app: App, source: Path, target: Path) -> None:
    if os.path.exists(target) and os.path.exists(source) and os.path.samefile(source, target):
        raise UsageError(f"{target}: is the input itself, which would be lost: name another output")
    if bare_name(source).suffix.lower() == ".txt" and len(app.card.fields) > 1:
        fields = ", ".join(app.card.fields)
        raise UsageError(f"{source}: a .txt holds one text a line, this app reads {fields}: give a .tsv or .csv")
    if os.fspath(target) != "-" and bare_name(target).suffix.lower() not in (".tsv", ".csv", ".jsonl"):
        raise UsageError(f"{target}: name the output .tsv, .csv or .jsonl, .gz behind it where it is to be packed")


def _chosen(names: Sequence[str], columns: Sequence[str], source: Path) -> list[str]:
    for name in names:
        if name not in columns:
            raise DataError(f"{source}: no column {name[:60]!r}; it has {listed(columns)}")
    return list(names)


def _answered(
    app: App, some: Sequence[tuple[int, Mapping[str, Any]]], read: Mapping[str, str], source: Path, output: Any
) -> list[dict[str, str]]:
    """The answer's columns for numbered rows; `output` names them, in their order."""
    rows = []
    for line, row in some:
        for column in read.values():
            if not isinstance(row[column], str):
                raise DataError(f"{source}: line {line}, field {column!r}: must be text, not {row[column]!r:.60}")
        texts = {field: row[column] for field, column in read.items()}
        rows.append({name: value for name, value in row.items() if name != "label"} | texts)  # its label is no index
    found = [app.cells(one) for one in app.answers(rows, batch_size=BATCH_ROWS, batch_tokens=BATCH_TOKENS)]
    known = list(found[0])
    for name in output or ():
        if name not in known:
            raise unknown(f"output of {app.card.application}", name, known)
    wanted = output or [name for name in known if name in (known[0], "probabilities")]
    return [{name: cells[name] for name in wanted} for cells in found]


def _digest(app: App) -> str:
    """What tells one app from another: of its card, which holds its files' SHA-256, or, not saved yet, its weights."""
    card = json.dumps(to_dict(app.card), sort_keys=True)
    return hashlib.sha256((card + ("" if app.card.files else digest(app.model.state_dict()))).encode()).hexdigest()
