"""Applications that judge texts: one label of several, several labels each, two towers that match, vectors.

`text_classify` and `text_match` are trained by transformers' own head, or by any few-shot method of labkit's: `labkit
train text_classify --method PET`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from labkit.apps.application import EXAMPLE, LENGTH, Application, Parameter, in_splits
from labkit.errors import UsageError
from labkit.fewshot.methods import Adapted, Start
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.multi_label import MultiLabel
from labkit.foundations.native import native_head
from labkit.foundations.two_tower import TwoTower
from labkit.foundations.vectors import OUTPUTS, Vectors
from labkit.tasks import Task, load_task
from labkit.world import World, news, pairs
from labkit.world.settings import join, randomness

FEW_TOPICS = range(0, 15, 3)  # news topics that are no neighbours of one another


def classify(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """Transformers' own head for sequences on a copy of the encoder."""
    model = native_head(start.model, "sequence", start.task.labels, seed=start.seed)
    return Adapted(model, HeadClassifier(start.tokenizer, start.task.fields, settings["max_length"]))


def written(numbers: Iterable[float]) -> str:
    """Numbers as one cell: "0.25,0.75"."""
    return ",".join(f"{number:.6g}" for number in numbers)


def cells(answer: np.ndarray, labels: Sequence[str]) -> dict[str, str]:
    """EasyNLP's columns of one answer, whose probabilities are `answer` (classes,)."""
    ranked = sorted(zip(labels, answer.tolist(), strict=True), key=lambda pair: -pair[1])
    return {
        "predictions": ranked[0][0],
        "probabilities": written(answer),
        "logits": written(np.log(np.maximum(answer, 1e-30))),
        "output": json.dumps([{"pred": name, "prob": round(value, 6)} for name, value in ranked], ensure_ascii=False),
    }


TEXT_CLASSIFY = Application(
    name="text_classify",
    about="one label of several for a text, or for a pair of texts",
    answer="class",
    texts=(1, 2),
    metric="accuracy",
    prepare=classify,
    cells=cells,
    example=partial(load_task, "world/reviews"),
    parameters={"max_length": LENGTH},
)
TEXT_MATCH = replace(
    TEXT_CLASSIFY,
    name="text_match",
    about="do two texts belong together? Read as one, each word sees all others",
    texts=(2, 2),
    example=partial(load_task, "world/mrpc"),
)


def multi_label(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """A yes or no for each label, from transformers' own classification head."""
    labels = start.task.labels
    model = native_head(start.model, "sequence", labels, seed=start.seed, problem_type="multi_label_classification")
    return Adapted(model, MultiLabel(start.tokenizer, len(labels), start.task.fields, **settings))


def multi_label_cells(answer: Mapping[str, Any], labels: Sequence[str]) -> dict[str, str]:
    """The labels' names and every label's numbers, in the labels' order."""
    chances = np.asarray(answer["probabilities"], dtype=float)
    bounded = chances.clip(1e-12, 1 - 1e-7)
    return {
        "predictions": ",".join(labels[at] for at in answer["labels"]),
        "probabilities": written(chances),
        "logits": written(np.log(bounded / (1 - bounded))),
        "output": json.dumps(dict(zip(labels, chances.round(6).tolist(), strict=True)), ensure_ascii=False),
    }


def joined_news() -> Task:
    """One or two news items in a text, and the topics of all of them."""
    rng, names = randomness(World(), "apps", "multi_label"), news.names("en")
    items = (row for row in news.rows(World(), "en", 3000, rng) if row["label"] in FEW_TOPICS)
    rows = []
    for _ in range(sum(EXAMPLE.values())):
        some = list(itertools.islice(items, rng.choice((1, 2))))
        topics = {FEW_TOPICS.index(item["label"]) for item in some}
        rows.append({"text": join([item["text"] for item in some], "en"), "label": sorted(topics)})
    labels = tuple(names[topic][0] for topic in FEW_TOPICS)
    note = "the topics of each item"
    return Task("world/news-topics", ("text",), labels, in_splits(rows), answer="classes", note=note)


MULTI_LABEL = Application(
    name="text_classify_multi_label", about="which of several labels a text has, any number of them",
    answer="classes", texts=(1, 2), metric="micro_f1", prepare=multi_label, cells=multi_label_cells,
    example=joined_news, rate=2e-3,
    parameters={"max_length": LENGTH, "threshold": Parameter(0.5, "probability above which a text has a label")},
)  # fmt: skip


def two_tower(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """One encoder that reads each of two texts alone. UsageError unless there are two labels."""
    if len(start.task.labels) != 2:
        found = len(start.task.labels)
        raise UsageError(f"text_match_two_tower: two labels are needed, no match and match, in this order, not {found}")
    model = native_head(start.model, "body", seed=start.seed)
    if getattr(model, "pooler", None) is not None:
        model.pooler.requires_grad_(False)  # nothing reads it
    return Adapted(model, TwoTower(start.tokenizer, start.task.fields, **settings))


def same_statement() -> Task:
    """Whether two sentences of the world say the same."""
    rows = pairs.pair_rows("mrpc", World(), sum(EXAMPLE.values()), randomness(World(), "apps", "pairs"))
    plain = [{field: row[field] for field in ("text_a", "text_b", "label")} for row in rows]
    return Task("world/mrpc", ("text_a", "text_b"), ("different", "same"), in_splits(plain))


TWO_TOWER = Application(
    name="text_match_two_tower", hub="sentence-similarity",
    about="whether two texts match, each read alone: for search among many",
    answer="class", texts=(2, 2), metric="accuracy", prepare=two_tower, cells=cells, example=same_statement,
    parameters={
        "max_length": LENGTH,
        "loss_type": Parameter("hinge_loss", "hinge_loss, or contrastive: against the other rows of the batch"),
        "margin": Parameter(0.45, "by how much a match's cosine shall be above one that is none"),
        "gamma": Parameter(32.0, "scale of the cosines"),
    },
)  # fmt: skip


def vectorization(start: Start, settings: Mapping[str, Any]) -> Adapted:
    """The encoder with its pooler; one that it was not published with is drawn, and says nothing."""
    outputs = [name.strip() for name in settings["outputs"].split(",")]
    method = Vectors(start.tokenizer, start.task.fields, settings["max_length"], outputs)
    return Adapted(native_head(start.model, "body", seed=start.seed), method)


def vector_cells(answer: Mapping[str, np.ndarray], labels: Sequence[str]) -> dict[str, str]:
    """Each vector's numbers parted by commas; the tokens of "all_hidden_outputs" by semicolons."""
    return {name: ";".join(written(one) for one in np.atleast_2d(value)) for name, value in answer.items()}


VECTORIZATION = Application(
    name="vectorization", hub="feature-extraction", about="texts as vectors, from a model as it is; nothing to train",
    answer=None, texts=(1, 2), metric="", prepare=vectorization, cells=vector_cells, example=same_statement,
    backbone="body", view="numbers",
    parameters={
        "max_length": LENGTH,
        "outputs": Parameter(",".join(OUTPUTS[:3]), f"which vectors, parted by commas: {', '.join(OUTPUTS)}"),
    },
)  # fmt: skip
