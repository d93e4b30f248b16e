"""`text_classify` and `text_match`: one of several labels for a text or a pair of texts.

Trained by transformers' own head, or by any few-shot method of labkit's: `labkit train text_classify --method PET`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from labkit.apps.application import LENGTH, Application
from labkit.fewshot.methods import Adapted, Start
from labkit.foundations.heads import HeadClassifier
from labkit.foundations.native import native_head
from labkit.tasks import load_task


def prepare(start: Start, settings: Mapping[str, Any]) -> Adapted:
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
    prepare=prepare,
    cells=cells,
    example=partial(load_task, "world/reviews"),
    parameters={"max_length": LENGTH},
)
TEXT_MATCH = Application(
    name="text_match",
    about="do two texts belong together? Read as one, each word sees all others",
    answer="class",
    texts=(2, 2),
    metric="accuracy",
    prepare=prepare,
    cells=cells,
    example=partial(load_task, "world/mrpc"),
    parameters={"max_length": LENGTH},
)
