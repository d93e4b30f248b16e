"""One set of questions, asked for in five ways: the world's reading task as the task of five kinds of head.

A row of `world/reading` is a passage, a question and the words of the passage that answer it. From it come a *span*
(those words), a *class* (what kind of thing is asked for), *tags* (the names in the passage), a *choice* (among names
of the passage, those of the answer's kind first) and a *yes or no* (is it this one?). How many sentences a passage has
is a dial: the answer's own and some others, so that fewer names are in the way.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from labkit.errors import DataError, unknown
from labkit.tasks import Task
from labkit.world import World
from labkit.world.extraction import TAGS, mark
from labkit.world.graph import build_graph
from labkit.world.names import TYPES

Row = dict[str, Any]
OPTIONS, STOP, NO_YES = 4, " . ", ("no", "yes")
# form -> the kind of the task's answers, its labels, its fields
FORMS: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "span": ("span", (), ("text", "question")),
    "class": ("class", TYPES, ("question",)),
    "tags": ("tags", TAGS, ("text",)),
    "choice": ("class", tuple("abcd"[:OPTIONS]), ("text", "question")),
    "yes or no": ("class", NO_YES, ("text", "question")),
}


def as_form(task: Task, form: str, *, sentences: int | None = None, seed: int = 0) -> Task:
    """The answerable rows of an English reading task of the world in one of FORMS; `sentences` None leaves texts whole.

    Rows keep what they have, a "choice" also has its "options"; "alike" is how many names of the answer's kind might be
    meant: who knows no more than the kind is right once in so many times. Sentences, options and answers are drawn by
    `seed`. UsageError for an unknown form, DataError for a task whose answers are no names.
    """
    if form not in FORMS:
        raise unknown("form", form, FORMS)
    answer, labels, fields = FORMS[form]
    splits = {}
    for name, rows in task.splits.items():
        rng, found = random.Random(f"{seed} {name}"), []
        for row in rows:
            if row.get("answer") and row["answer"] not in names_in(row["answer"]):
                raise DataError(f"{task.name}: {row['answer']!r:.60} is no name of the world: take world/reading")
            if row.get("answer"):
                found.append(_asked(shortened(row, sentences, rng) if sentences else dict(row), form, rng))
        splits[name] = found
    if not any(splits.values()):
        raise DataError(f"{task.name}: no row has an 'answer': take world/reading")
    named = f"{task.name}, {form}" + (f", {sentences} sentences" if sentences else "")
    return replace(task, name=named, fields=fields, labels=labels, splits=splits, answer=answer, chance=None,
                   patterns=(), words={})  # fmt: skip


def _asked(row: Row, form: str, rng: random.Random) -> Row:
    """The row with its label in that form."""
    right, kinds, asked = row["answer"], names_in(row["text"]), names_in(row["question"])
    others = [name for name in kinds if name not in asked and name != right]
    others.sort(key=lambda name: kinds[name] != kinds[right])
    row["alike"] = 1 + sum(kinds[name] == kinds[right] for name in others)
    if form == "choice":
        options = [right, *others[: OPTIONS - 1]]
        rng.shuffle(options)
        row["alike"] = min(row["alike"], OPTIONS)
        return {**row, "options": options, "label": options.index(right)}
    if form == "yes or no":
        said = right if rng.random() < 0.5 or not others else others[0]
        return {**row, "question": f"{row['question']} {said} ?", "label": int(said == right)}
    if form == "span":
        return {**row, "label": {"text": right, "start": row["answer_start"]}}
    return {**row, "label": TYPES.index(kinds[right]) if form == "class" else mark(row["text"], kinds, "en")[1]}


def shortened(row: Mapping[str, Any], sentences: int, rng: random.Random) -> Row:
    """The row with so many sentences of its text at most: the answer's, and others drawn at random, in their order."""
    parts, own = row["text"].removesuffix(" .").split(STOP), row["text"][: row["answer_start"]].count(STOP)
    others = [number for number in range(len(parts)) if number != own]
    kept = sorted([own, *rng.sample(others, min(sentences - 1, len(others)))])
    gone = sum(len(parts[number]) + len(STOP) for number in range(own) if number not in kept)
    text = STOP.join(parts[number] for number in kept) + " ."
    return {**row, "text": text, "answer_start": row["answer_start"] - gone}


@functools.cache
def _names() -> dict[str, str]:
    """The world's English names, of one word or two, with their types."""
    return {entity.name["en"]: entity.type for entity in build_graph(World()).entities}


def names_in(text: str) -> dict[str, str]:
    """The names that stand in an English text of the world, in their order, each with its type; of two words first.

    >>> names_in("karen dubois is the designer of the wolf recorder .")
    {'karen dubois': 'person', 'wolf recorder': 'device'}
    """
    kinds, words, at = _names(), text.split(" "), 0
    found: dict[str, str] = {}
    while at < len(words):
        both, one = " ".join(words[at : at + 2]), words[at]
        name = both if both in kinds else one if one in kinds else None
        if name is not None:
            found[name] = kinds[name]
        at += 2 if name == both and both != one else 1
    return found
