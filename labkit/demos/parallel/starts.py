"""Runs to start from: each is a form, and a sentence that says what it shows."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

from labkit.demos.parallel.form import Form, of_model


class Start(NamedTuple):
    """A form and what it shows."""

    form: Form
    point: str


def _run(model: str, **numbers: Any) -> Form:
    return dataclasses.replace(of_model(model), **numbers)


STARTS = {
    "BERT-base, one GPU": Start(
        _run("bert-base", memory=16, batch=256, rows=64, attention="explicit"),
        "One 16 GB card. Activations take most of it: fewer rows at a time, or checkpoints, make room.",
    ),
    "1.2 billion, 8 GPUs": Start(
        _run("fewclue-1.2b", gpus=8, memory=16, batch=1024),
        "The model of the FewCLUE article's scalability test: too large for one card, and the optimizer is most of it.",
    ),
    "GPT-3, ZeRO alone": Start(
        _run("gpt3-175b", gpus=384, memory=80, batch=1536, stage="3", every=1),
        "Every weight shared out over 384 GPUs: it fits, but look at what each of them sends in a step.",
    ),
    "GPT-3, three dimensions": Start(
        _run("gpt3-175b", gpus=384, memory=80, batch=1536, tensor=8, pipe=12),
        "Data, tensor and pipeline parallelism at once, 4 × 8 × 12: gradients are little beside the tensors' sums.",
    ),
}
