"""Labels as statements about a text: "it was great ." claims that a review is positive.

A statement comes from what the task brings, its pattern and its label words, or is written by hand. Said of a text, it
holds or does not hold, and so tasks with other labels, other numbers of labels, one text or two, become one task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labkit.errors import DataError, UsageError, unknown
from labkit.fewshot.prompts.template import Mask, Template, Text

if TYPE_CHECKING:
    from labkit.tasks import Task

ANSWERS = {"en": {"not entailed": ("no",), "entailed": ("yes",)}, "zh": {"not entailed": ("不",), "entailed": ("是",)}}
STOPS = {"en": " . ", "zh": "。"}  # between two texts, where the first does not end in a stop
SPACE, COMMA = {"en": " ", "zh": ""}, {"en": " , ", "zh": "，"}
ENDS = tuple(".!?;:。！？；：")
OTHERWISE = ""  # the statement of the one label that holds where no other does


def statements_of(task: Task, pattern: int | str | None = None) -> dict[str, str]:
    """Label -> what it claims of a text; it may name a field of the row, "{text_b}", which then leaves the text.

    Of two texts, the second is claimed of the first: as it is by the label whose word is "yes" (or the only other one
    than "no"), with the word before it by other labels, and "no" of two labels claims nothing: see `OTHERWISE`.
    Of one text, the task's pattern without its fields, each label's first word in the blank: "{text} it was {mask} ."
    gives "it was great .". By default the first pattern whose blank stands behind all fields, else the first; a label
    without a word, or a task without a pattern, is stated by the label's name.
    """
    words = {label: (task.words.get(label) or (label,))[0] for label in task.labels}
    yes, no = (ANSWERS.get(task.language, ANSWERS["en"])[answer][0] for answer in ("entailed", "not entailed"))
    if len(task.fields) == 2 and pattern is None and no in words.values():
        return _of_pair(words, "{" + task.fields[1] + "}", yes, no, COMMA.get(task.language, " , "))
    if pattern is None or isinstance(pattern, int):
        pattern = _pattern(task, pattern)
    if not pattern:
        return words
    parts = [part for part in Template.parse(pattern, task.fields).parts if isinstance(part, Text | Mask)]
    found = {
        label: _tidy("".join(word if isinstance(part, Mask) else part.text for part in parts))
        for label, word in words.items()
    }
    return found if len(set(found.values())) == len(found) else words


def _of_pair(words: Mapping[str, str], second: str, yes: str, no: str, comma: str) -> dict[str, str]:
    if len(words) == 2:
        return {label: OTHERWISE if word == no else second for label, word in words.items()}
    return {label: second if word == yes else word + comma + second for label, word in words.items()}


def _pattern(task: Task, number: int | None) -> str:
    """The task's pattern `number`, or the first that has its blank behind its fields."""
    if number is not None:
        if not 0 <= number < len(task.patterns):
            raise UsageError(f"task {task.name}: no pattern number {number}: it has {len(task.patterns)}")
        return task.patterns[number]
    behind = [pattern for pattern in task.patterns if "{mask" in pattern.rsplit("{text", 1)[-1]]
    return next(iter([*behind, *task.patterns]), "")


def _tidy(text: str) -> str:
    """Without the stops and spaces that a field leaves behind at the start, and without double spaces."""
    text = " ".join(text.split()).lstrip(" .,;:?!，。；：？！").rstrip(" ,，:：")
    return re.sub(r"\s*[,，]\s*(?=[.。])", "", text)


class Claims:
    """The labels of a task as statements: what is said of a row by each, and what is left of the row to judge it by.

    `statements` maps each label, in index order, to its statement, or one of them to `OTHERWISE`. Raises UsageError for
    fewer than two labels, for two that say the same, and where nothing is claimed.
    """

    def __init__(self, statements: Mapping[str, str], fields: Sequence[str], language: str = "en") -> None:
        said = list(statements.values())
        if len(said) < 2 or len(set(said)) < len(said):
            raise UsageError(f"entailment needs two labels or more, with a statement each, not {dict(statements)}")
        self.statements, self.language = dict(statements), language
        self.fields = tuple(fields)
        self.field = re.compile("|".join(r"\{" + re.escape(name) + r"\}" for name in fields))
        named = {found[1:-1] for text in said for found in self.field.findall(text)}
        self.premise = tuple(name for name in fields if name not in named)
        if not self.premise:
            raise UsageError(f"statements {said} name every field of the row: nothing is left to judge them by")
        self.claimed = tuple(number for number, text in enumerate(said) if text != OTHERWISE)  # labels

    def pairs(self, row: Mapping[str, Any], labels: Sequence[int]) -> list[dict[str, str]]:
        """{"text", "statement"} for each of these labels, none of them `OTHERWISE`."""
        said, text = list(self.statements.values()), joined(row, self.premise, self.language)
        return [
            {"text": text, "statement": self.field.sub(lambda found: row[found.group()[1:-1]], said[label])}
            for label in labels
        ]


def joined(row: Mapping[str, Any], fields: Sequence[str], language: str = "en") -> str:
    """The texts of a row as one, a stop between them where the first has none, and no full stop at the end."""
    texts = [row[name].strip() for name in fields]
    text = texts[0]
    for more in texts[1:]:
        text += (SPACE if text.endswith(ENDS) else STOPS).get(language, " ") + more
    return text.rstrip(" .。")


def entailment_rows(
    task: Task,
    rng: np.random.Generator,
    negatives: int | Literal["all"] = 1,
    statements: Mapping[str, str] | None = None,
    split: str = "train",
) -> list[dict[str, Any]]:
    """The labelled rows of a split, each with its own label's statement (label 1, entailed) and with `negatives`
    other labels' (label 0), drawn without repetition, or "all" of them.

    A row is {"text", "statement", "label", "task"}; `statements` maps each label to its own, by default
    `statements_of`. A label that is `OTHERWISE` has no statement: its rows have wrong ones only. Rows without a label
    are left out. Raises UsageError for statements of other labels, or equal ones.
    """
    claims = Claims(checked_statements(task, statements), task.fields, task.language)
    if negatives != "all" and (not isinstance(negatives, int) or negatives < 0):
        raise UsageError(f"negatives={negatives!r}: how many wrong labels a row is shown, 0 or more, or 'all'")
    found = []
    for row in task.splits[split]:
        if row.get("label") is None:
            continue
        right = [label for label in claims.claimed if label == row["label"]]
        wrong = drawn([label for label in claims.claimed if label != row["label"]], negatives, rng)
        found += [
            {**pair, "label": int(label == row["label"]), "task": task.name}
            for label, pair in zip([*right, *wrong], claims.pairs(row, [*right, *wrong]), strict=True)
        ]
    return found


def drawn(labels: Sequence[int], count: int | Literal["all"], rng: np.random.Generator) -> list[int]:
    """`count` of the labels without repetition, or all where there are no more."""
    if count == "all" or count >= len(labels):
        return list(labels)
    return [labels[number] for number in rng.choice(len(labels), size=count, replace=False)]


def checked_statements(task: Task, statements: Mapping[str, str] | None) -> dict[str, str]:
    """A statement for each label, in the labels' order; UsageError where one is missing or foreign."""
    given = statements_of(task) if statements is None else statements
    for label in given:
        if label not in task.labels:
            raise unknown(f"label of task {task.name}", label, task.labels)
    missing = [label for label in task.labels if label not in given]
    if missing:
        raise UsageError(f"task {task.name}: no statement for label {missing[0]!r}: give every label one")
    return {label: given[label] for label in task.labels}


def check_texts(row: Mapping[str, Any], fields: Sequence[str], number: int) -> None:
    """DataError unless every field of row `number` of a batch is a text."""
    for name in fields:
        if not isinstance(row.get(name), str):
            raise DataError(f"row {number} of the batch: field {name!r} must be a text, not {row.get(name)!r:.60}")
