"""A method's answers and their score: `predict` and `evaluate`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.errors import DataError, TrainingError, UsageError, unknown
from labkit.lab import Bar
from labkit.tasks import Task
from labkit.tasks.metrics import score
from labkit.training.batches import take, to_device, uncounted


def predict(
    model: nn.Module, method: Any, rows: Sequence[Any], *, batch_size: int = 64, progress: bool | None = None
) -> np.ndarray:
    """The probabilities of each row's classes, (n, classes) float32, in the order of `rows`.

    `method` has `collate(rows, rng)` and `logits(model, batch)`. Rows of like length are computed together, the longest
    first. The model runs in eval mode on its own device and is left in the mode it was in. No rows give shape (0, 0).
    Raises UsageError for logits that are not (rows, classes), TrainingError for answers that are no numbers.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    device = next(model.parameters(), torch.zeros(0)).device
    order = np.argsort([-_length(row) for row in take(rows, np.arange(len(rows)))], kind="stable")
    found: np.ndarray | None = None
    with evaluating(model), Bar(len(rows), progress, unit="row") as bar:
        for start in range(0, len(order), batch_size):
            chosen = order[start : start + batch_size]
            batch = uncounted(method.collate(take(rows, chosen), None))
            logits = method.logits(model, to_device(batch, device))
            if logits.ndim != 2 or len(logits) != len(chosen):
                raise UsageError(f"logits must be ({len(chosen)}, classes), the method gave {tuple(logits.shape)}")
            probabilities = logits.float().softmax(-1).cpu().numpy()  # (batch, classes)
            found = np.empty((len(rows), probabilities.shape[1]), np.float32) if found is None else found
            found[chosen] = numbers_only(probabilities, model, chosen)
            bar.update(len(chosen))
    return np.zeros((0, 0), np.float32) if found is None else found


def numbers_only(answers: np.ndarray, model: nn.Module, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """The answers (n, …) as they are, where none is NaN or +∞. `rows` are their places, counted from 0.

    Raises TrainingError naming the first row that has none, and a weight of the model that is no number. Taken as they
    are, such answers would all be the first class, and score its share.
    """
    good = (answers < np.inf).reshape(len(answers), -1).all(1)
    if good.all():
        return answers
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    broken = next((name for name, value in tensors if not value.isfinite().all()), None)
    cause = "numbers overflow in it; run it in float32" if broken is None else f"its {broken!r} holds NaN or infinity"
    raise TrainingError(f"row {min(np.asarray(rows)[~good]) + 1}: the model's answer is no number: {cause}"
                        + ("" if broken is None else "; load or train the model anew"))  # fmt: skip


def evaluate(model: nn.Module, method: Any, task: Task, split: str = "test", **options: Any) -> dict[str, float]:
    """The method's score on a split of the task: {task.metric: …, "n": rows}. `options` are those of `predict`.

    Raises UsageError for an unknown split, DataError for a split without rows or a row without a label; else as
    `predict`.
    """
    if split not in task.splits:
        raise unknown("split", split, task.splits)
    rows = task.splits[split]
    if not len(rows):
        raise DataError(f"task {task.name}: split {split!r} has no rows to score")
    labels = [row.get("label") for row in rows]
    if None in labels:
        raise DataError(f"task {task.name}: split {split!r}, row {labels.index(None) + 1}: no label to compare with")
    answers = predict(model, method, rows, **options).argmax(1)
    return {task.metric: score(task.metric, labels, answers), "n": len(rows)}


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; each module's own mode again outside."""
    before = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.inference_mode():
            yield
    finally:
        for module, mode in before:
            module.training = mode


def _length(row: Any) -> int:
    """How long a row is, for sorting: the characters of its texts, or the numbers in its lists."""
    values = row.values() if isinstance(row, dict) else [row]
    return sum(len(value) for value in values if isinstance(value, str | list | tuple))
