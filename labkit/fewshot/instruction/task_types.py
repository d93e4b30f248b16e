"""The world's English tasks by type, with several wordings each, and two types more that any text can be made into.

Words are those that a small vocabulary has; the wordings of a type differ in what they ask for, in their order, and in
their answers (good / bad, yes / no, true / false), so that an answer is a matter of reading the question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from labkit.errors import UsageError
from labkit.fewshot.instruction.tuning import Split, TaskType, Wording
from labkit.tasks import Task
from labkit.tasks.rows import text_key

YES_NO = {"negative": "no", "positive": "yes"}
TRUE_FALSE = {"negative": "false", "positive": "true"}
SENTIMENT = TaskType(
    "sentiment",
    ("world/reviews", "world/sst2", "world/mr", "world/cr", "world/amazon"),
    (
        Wording("{text} it was {mask} .", {"negative": "bad", "positive": "great"}),
        Wording("is it good or bad ? {text} it is {mask} .", {"negative": "bad", "positive": "good"}),
        Wording("{text} so did they like it ? {mask} .", YES_NO),
        Wording("{text} true or false : it was great ? {mask} .", TRUE_FALSE),
    ),
)

FACT_OPINION = {"objective": "fact", "subjective": "opinion"}
SUBJECTIVITY = TaskType(
    "subjectivity",
    ("world/subj",),
    (
        Wording("{text} that is {mask} .", FACT_OPINION),
        Wording("fact or opinion ? {text} it is {mask} .", FACT_OPINION),
        Wording("{text} is that an opinion ? {mask} .", {"objective": "no", "subjective": "yes"}),
        Wording("{text} true or false : that is a fact ? {mask} .", {"objective": "true", "subjective": "false"}),
    ),
)

TOPIC = TaskType(
    "topic",
    ("world/news",),
    (
        Wording("{text} this is news about {mask} ."),
        Wording("what is it about ? {text} it is about {mask} ."),
        Wording("{mask} news : {text}"),
    ),
)

SAME = {"not_equivalent": "no", "equivalent": "yes", "not_duplicate": "no", "duplicate": "yes"}
SAME_TRUE = {label: {"no": "false", "yes": "true"}[word] for label, word in SAME.items()}
SAME_RIGHT = {label: {"no": "wrong", "yes": "right"}[word] for label, word in SAME.items()}
PARAPHRASE = TaskType(
    "paraphrase",
    ("world/mrpc", "world/qqp"),
    (
        Wording("{text_a} {text_b} . do they say the same ? {mask} .", SAME),
        Wording("{text_a} ? {mask} , {text_b} .", SAME),
        Wording("true or false : they say the same ? {text_a} . {text_b} . {mask} .", SAME_TRUE),
        Wording("{text_a} , that is {text_b} . right or wrong ? {mask} .", SAME_RIGHT),
    ),
)

FOLLOWS = {"entailment": "yes", "neutral": "maybe", "contradiction": "no", "not_entailment": "no"}
FOLLOWS_TRUE = {"entailment": "true", "neutral": "maybe", "contradiction": "false", "not_entailment": "false"}
FOLLOWS_RIGHT = {"entailment": "right", "neutral": "maybe", "contradiction": "wrong", "not_entailment": "wrong"}
INFERENCE = TaskType(
    "inference",
    ("world/qnli", "world/rte", "world/genres"),
    (
        Wording("{text_a} . does it follow that {text_b} ? {mask} .", FOLLOWS),
        Wording("is it so that {text_a} ? {mask} , {text_b} .", FOLLOWS),
        Wording("{text_a} . true or false : {text_b} ? {mask} .", FOLLOWS_TRUE),
        Wording("they say {text_a} . so is it right that {text_b} ? {mask} .", FOLLOWS_RIGHT),
    ),
)

ENGLISH = (SENTIMENT, SUBJECTIVITY, TOPIC, PARAPHRASE, INFERENCE)


# Types made of any text

PLACE = {"absent": "no", "present": "yes"}
CONTAINS = TaskType(
    "made: contains",
    ("made/contains",),
    (
        Wording("{text_a} . is {text_b} in it ? {mask} .", PLACE),
        Wording("can we read {text_b} in this ? {mask} . {text_a}", PLACE),
        Wording("{text_a} . true or false : it says {text_b} ? {mask} .", {"absent": "false", "present": "true"}),
    ),
)
WHOLE = {"broken": "no", "whole": "yes"}
ACCEPTABLE = TaskType(
    "made: acceptable",
    ("made/acceptable",),
    (
        Wording("{text} is it a fine sentence ? {mask} .", WHOLE),
        Wording("right or wrong ? {text} it is {mask} .", {"broken": "wrong", "whole": "right"}),
        Wording("{text} true or false : it is a sentence that one can say ? {mask} .",
                {"broken": "false", "whole": "true"}),
    ),
)  # fmt: skip


def with_made(split: Split, seed: int = 0, count: int = 2000) -> Split:
    """The split with the two made types to train on, whose texts are those of its own training tasks."""
    rows = ((row, task) for task in split.tasks.values() for row in task.splits.get("unlabelled", []))
    texts = [" ".join(text_key(row, task.fields)) for row, task in rows]
    rng = np.random.default_rng(seed)
    made = [contains_task(texts, rng, count), acceptable_task(texts, rng, count)]
    tasks = {**split.tasks, **{task.name: task for task in made}}
    return replace(split, types=(*split.types, CONTAINS, ACCEPTABLE), tasks=tasks)


def contains_task(texts: Sequence[str], rng: np.random.Generator, count: int) -> Task:
    """`count` rows: does the word `text_b` stand in `text_a`? Half the words are another text's, where it has none."""
    rows = []
    for number in range(count):
        one, other = (_some(texts, rng) for _ in range(2))
        foreign = sorted(set(other) - set(one))
        label = number % 2 if foreign else 1
        words = one if label else foreign
        rows.append({"text_a": " ".join(one), "text_b": words[rng.integers(len(words))], "label": label})
    return Task("made/contains", ("text_a", "text_b"), ("absent", "present"), {"train": rows})


def acceptable_task(texts: Sequence[str], rng: np.random.Generator, count: int) -> Task:
    """`count` rows: is this a text as people write it? In every other one, three neighbouring words are shuffled."""
    rows = []
    for number in range(count):
        words, label = _some(texts, rng), number % 2
        if not label:
            at = int(rng.integers(max(1, len(words) - 2)))
            some = words[at : at + 3]
            words = [*words[:at], *some[1:], some[0], *words[at + 3 :]]
        label = label if label or " ".join(words) not in texts else 1
        rows.append({"text": " ".join(words), "label": label})
    return Task("made/acceptable", ("text",), ("broken", "whole"), {"train": rows})


def _some(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
    """The words of one text, drawn at random; UsageError where there are no texts."""
    if not texts:
        raise UsageError("made task types need unlabelled texts of the tasks that are trained on")
    return texts[int(rng.integers(len(texts)))].split()
