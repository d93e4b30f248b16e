"""A task is data and a metric, never a model: rows in named splits, label names, and what a score on them means.

Rows are plain dictionaries, `{"text": "a fine film", "label": 1}`: every name in `Task.fields` maps to a string,
`"label"` to the answer, or to None where the row is unlabelled. Other keys ride along untouched. What an answer is,
`Task.answer` says: an index into `Task.labels`, unless it is something else of ANSWERS.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any

from labkit.errors import DataError, UsageError, listed, unknown
from labkit.tasks.metrics import METRICS
from labkit.tasks.rows import Row, join_notes
from labkit.tasks.sampling import few_shot, limited
from labkit.tasks.text import HALF, check_whole

# What a row's label may be: one index into the labels, a list of different ones, a list of one for each word that
# blanks part in the first field, {"text": an answer, "start": its place in the first field, −1 for none}, or a text.
ANSWERS = ("class", "classes", "tags", "span", "text")


@dataclass(frozen=True)
class Task:
    """Rows, label names and a metric. Checks itself on creation.

    Raises DataError naming split, row and field for a row that does not fit, UsageError for settings that do not.
    """

    name: str  # "world/reviews"
    fields: tuple[str, ...]  # the text fields, in order: ("text",) or ("text_a", "text_b")
    labels: tuple[str, ...]  # label names, in index order
    splits: Mapping[str, list[Row]]  # any of "train", "dev", "test", "unlabelled", "submission" (a test without labels)
    metric: str = "accuracy"
    language: str = "en"
    chance: float | None = None  # in [0, 1]: the best score without reading
    ceiling: float | None = None  # in [0, 1]: the best score any reader could reach; None where it is not known
    note: str = ""  # where the ceiling comes from, what the loader dropped or counted
    patterns: tuple[str, ...] = ()  # cloze templates, first = default: "{text} it was {mask} ."
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # label name -> label words, first = default
    answer: str = "class"  # one of ANSWERS
    columns: tuple[str, ...] = ()  # what the data call the fields, where that is otherwise

    def __post_init__(self) -> None:
        _check_settings(self)
        for split, rows in self.splits.items():
            for number, row in enumerate(rows, start=1):
                _check_row(self, f"task {self.name}: split {split!r}, row {number}", row)

    @property
    def title(self) -> str:
        """The name for what is handed on, without folders of this machine: "table:train.tsv,dev.tsv"."""
        kind, colon, rest = self.name.partition(":")
        if kind == "table" and colon:
            return kind + colon + ",".join(PureWindowsPath(path).name for path in rest.split(","))  # any system's path
        folder = rest if kind == "hub" else self.name
        absolute = any(system(folder).is_absolute() for system in (PurePosixPath, PureWindowsPath))
        local = absolute or folder.startswith(("~", "."))
        return self.name.removesuffix(folder) + PureWindowsPath(folder).name if local else self.name

    def few_shot(self, shots: int, seed: int, dev: bool = True) -> Task:
        """`shots` rows of each label to train on, and as many others for "dev" if `dev`. Deterministic in (rows, seed).

        What is left of "train" joins "unlabelled" without its label; a text of the new train or dev stands nowhere
        else. For one seed, fewer shots are a subset of more. A text with two labels is drawn for neither; the note
        counts them.
        Raises DataError where a label has too few rows.
        """
        return few_shot(self, shots, seed, dev)

    def limited(self, split: str, most: int) -> Task:
        """At most `most` rows of `split`, drawn by a fixed seed, each label in its share; the note says so."""
        return limited(self, split, most)

    def with_note(self, note: str) -> Task:
        """The same task with a sentence more in its note; an empty one changes nothing."""
        return replace(self, note=join_notes([self.note, note])) if note else self


def _check_settings(task: Task) -> None:
    if task.answer not in ANSWERS:
        raise unknown("kind of answer", task.answer, ANSWERS)
    named = task.answer in ("class", "classes", "tags")  # the others have no labels
    for what, names in (("field", task.fields), ("label", task.labels if named else ("any",))):
        if not names or isinstance(names, str):
            raise UsageError(f"task {task.name}: {what}s must be a tuple with at least one name, not {names!r}")
        if not all(isinstance(name, str) and name for name in names):
            raise UsageError(f"task {task.name}: every {what} needs a name of at least one character, not {names!r}")
        if len(set(names)) < len(names):
            raise UsageError(f"task {task.name}: two {what}s have one name: {listed(names)}")
    if "label" in task.fields:
        raise UsageError(f"task {task.name}: a text field cannot be called 'label'; rename it")
    if task.metric not in METRICS:
        raise unknown("metric", task.metric, METRICS)
    for what, value in (("chance", task.chance), ("ceiling", task.ceiling)):
        if value is not None and not 0 <= value <= 1:
            raise UsageError(f"task {task.name}: {what} must lie in [0, 1], not {value!r}; 90 % is 0.9")
    for pattern in task.patterns:
        bare = pattern.replace("{{", "")  # a brace itself, no field
        if not any(re.search(rf"\{{{re.escape(name)}[|}}]", bare) for name in task.fields):
            places = " or ".join(f"{{{name}}}" for name in task.fields)
            raise UsageError(f"task {task.name}: pattern {pattern!r} reads nothing of the row: write {places} into it")
    for label, words in task.words.items():
        if label not in task.labels:
            raise UsageError(f"task {task.name}: words: {unknown('label', label, task.labels)}")
        if isinstance(words, str) or not words or not all(isinstance(word, str) and word for word in words):
            raise UsageError(f"task {task.name}: the words of label {label!r} must be a tuple of texts, not {words!r}")
    words = [word for some in task.words.values() for word in some]
    if HALF.search("\n".join([*task.fields, *task.labels, *task.patterns, *words])):
        raise UsageError(f"task {task.name}: a field, label, pattern or label word has half a character: write it anew")


def _check_row(task: Task, where: str, row: Row) -> None:
    if not isinstance(row, dict):
        raise DataError(f"{where}: a row must be a dictionary, not {type(row).__name__}")
    for name in task.fields:
        if not isinstance(row.get(name), str):
            found = f"it holds {row[name]!r:.60}" if name in row else f"the row has {listed(row)}"
            raise DataError(f"{where}: field {name!r} must be a text; {found}")
        check_whole(row[name], f"{where}: field {name!r}")
    if row.get("label") is not None:
        _check_answer(task, where, row)


def _check_answer(task: Task, where: str, row: Row) -> None:
    label, known = row["label"], range(len(task.labels))

    def indices(values: Any) -> bool:
        return isinstance(values, list) and all(type(one) is int and one in known for one in values)

    if task.answer == "class":
        good, wanted = indices([label]), f"an index from 0 to {len(known) - 1}, or None where it is not known"
    elif task.answer == "classes":
        good = indices(label) and len(set(label)) == len(label)
        wanted = f"a list of different indices from 0 to {len(known) - 1}, or None where they are not known"
    elif task.answer == "tags":
        words = len(row[task.fields[0]].split(" "))
        good = indices(label) and len(label) == words
        wanted = f"{words} indices from 0 to {len(known) - 1}, one a word, or None where they are not known"
    elif task.answer == "span":
        good, wanted = _is_span(label, row[task.fields[0]]), 'a text of the first field and its place, as {"text": …, '
        wanted += '"start": …}, or "" at -1 where there is none'
    else:
        good, wanted = isinstance(label, str), "a text, or None where it is not known"
    if not good:
        raise DataError(f"{where}: field 'label' must be {wanted}, not {label!r:.80}")


def _is_span(label: Any, text: str) -> bool:
    if not isinstance(label, dict) or set(label) != {"text", "start"} or not isinstance(label["text"], str):
        return False
    answer, start = label["text"], label["start"]
    if type(start) is not int or start < -1:
        return False
    return not answer if start == -1 else bool(answer) and text.startswith(answer, start)
