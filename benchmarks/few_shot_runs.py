"""What the few-shot benchmarks share: one model adapted to one task by one method, and its accuracy."""

from __future__ import annotations

import time
from typing import Any

from labkit.evaluation import evaluate
from labkit.fewshot import methods
from labkit.measure import parameters, trainable
from labkit.report import Report
from labkit.tasks import Task
from labkit.zoo import Loaded

HEADS = ("fine-tune [CLS]", "fine-tune [mean]")
METHODS = (*HEADS, "PET")
# Each method's learning rate, the best in `python benchmarks/fewshot.py tune`: a fresh head must travel far, while PET
# starts from what the model knows and loses it at a head's rate.
RATES = {name: methods.METHODS[name].rate for name in METHODS}


def adapt(base: Loaded, task: Task, method: str, seed: int, *, steps: int, lr: float | None = None) -> tuple[Any, Any]:
    """The model and method after `steps` steps of batch 16 on the task's train split."""
    start = methods.Start(base.model, base.tokenizer, task, seed)
    found = methods.adapt(start, method, steps=steps, lr=lr or RATES[method], progress=False)
    return found.model, found.method


def record(
    report: Report,
    base: Loaded,
    task: Task,
    name: str,
    method: str,
    seed: int,
    *,
    steps: int,
    lr: float | None = None,
    **extra: Any,
) -> float:
    """Adapt, evaluate on the test split, add a row called `name`; returns the score."""
    began = time.perf_counter()
    model, how = adapt(base, task, method, seed, steps=steps, lr=lr)
    seconds = time.perf_counter() - began
    value = evaluate(model, how, task, "test", progress=False)[task.metric]
    report.add(
        name, task, value, seed=seed, seconds=seconds, trainable=trainable(model), parameters=parameters(model), **extra
    )
    return value
