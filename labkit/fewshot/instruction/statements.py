"""Labels as statements about a text: "it was great ." claims that a review is positive.

A statement comes from what the task brings, its pattern and its label words, or is written by hand. Said of a text, it
holds or does not hold, and so tasks with other labels, other numbers of labels, one text or two, become one task.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from labkit.errors import UsageError
from labkit.fewshot.prompts.template import Mask, Template, Text

if TYPE_CHECKING:
    from labkit.tasks import Task

ANSWERS = {"en": {"not entailed": ("no",), "entailed": ("yes",)}, "zh": {"not entailed": ("不",), "entailed": ("是",)}}
STOPS = {"en": " . ", "zh": "。"}  # between two texts, where the first does not end in a stop
SPACE, COMMA = {"en": " ", "zh": ""}, {"en": " , ", "zh": "，"}
ENDS = tuple(".!?;:。！？；：")
OTHERWISE = ""  # the statement of the one label that holds where no other does


def statements_of(task: Task) -> dict[str, str]:
    """Label -> what it claims of a text; it may name a field of the row, "{text_b}", which then leaves the text.

    Of two texts, the second is claimed of the first: as it is by the label whose word is "yes" (or the only other one
    than "no"), with the word before it by other labels, and "no" of two labels claims nothing: see `OTHERWISE`.
    Of one text, the task's pattern without its fields, each label's first word in the blank: "{text} it was {mask} ."
    gives "it was great .". The pattern is the first whose blank stands behind all fields, else the first; a label
    without a word, or a task without a pattern, is stated by the label's name.
    """
    words = {label: (task.words.get(label) or (label,))[0] for label in task.labels}
    yes, no = (ANSWERS.get(task.language, ANSWERS["en"])[answer][0] for answer in ("entailed", "not entailed"))
    if len(task.fields) == 2 and no in words.values():
        second, comma = "{" + task.fields[1] + "}", COMMA.get(task.language, " , ")
        if len(words) == 2:
            return {label: OTHERWISE if word == no else second for label, word in words.items()}
        return {label: second if word == yes else word + comma + second for label, word in words.items()}
    if not task.patterns:
        return words
    behind = [pattern for pattern in task.patterns if "{mask" in pattern.rsplit("{text", 1)[-1]]
    pattern = [*behind, *task.patterns][0]
    parts = [part for part in Template.parse(pattern, task.fields).parts if isinstance(part, Text | Mask)]
    found = {
        label: _tidy("".join(word if isinstance(part, Mask) else part.text for part in parts))
        for label, word in words.items()
    }
    return found if len(set(found.values())) == len(found) else words


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
    task: Task, rng: np.random.Generator, negatives: int | Literal["all"] = 1
) -> list[dict[str, Any]]:
    """The labelled "train" rows, each with its own label's statement (label 1, entailed) and with `negatives` other
    labels' (label 0), drawn without repetition, or "all" of them.

    A row is {"text", "statement", "label", "task"}; the statements are those of `statements_of`. A label that is
    `OTHERWISE` has no statement: its rows have wrong ones only. Rows without a label are left out. Raises UsageError
    for a number of negatives below 0.
    """
    claims = Claims(statements_of(task), task.fields, task.language)
    if negatives != "all" and (not isinstance(negatives, int) or negatives < 0):
        raise UsageError(f"negatives={negatives!r}: how many wrong labels a row is shown, 0 or more, or 'all'")
    found = []
    for row in task.splits["train"]:
        if row.get("label") is None:
            continue
        right = [label for label in claims.claimed if label == row["label"]]
        wrong = [label for label in claims.claimed if label != row["label"]]
        if negatives != "all" and negatives < len(wrong):
            wrong = [wrong[number] for number in rng.choice(len(wrong), size=negatives, replace=False)]
        found += [
            {**pair, "label": int(label == row["label"]), "task": task.name}
            for label, pair in zip([*right, *wrong], claims.pairs(row, [*right, *wrong]), strict=True)
        ]
    return found
