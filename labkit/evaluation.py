"""A method's answers and their score: `predict` and `evaluate`."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from labkit.errors import DataError, TrainingError, UsageError, unknown
from labkit.lab import Bar, modes_kept
from labkit.tasks import Task
from labkit.tasks.metrics import score
from labkit.training.batches import take, to_device, uncounted


def predict(
    model: nn.Module,
    method: Any,
    rows: Sequence[Any],
    *,
    batch_size: int = 64,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> np.ndarray:
    """The probabilities of each row's classes, (n, classes) float32, in the order of `rows`.

    `method` has `collate(rows, rng)` and `logits(model, batch)`. Rows of like length are computed together, the longest
    first: `batch_size` at most, and with `batch_tokens` as many as have about so many tokens, padding included. The
    model runs in eval mode on its own device and is left in the mode it was in. No rows give shape (0, 0).
    Raises UsageError for logits that are not (rows, classes), TrainingError for answers that are no numbers.
    """
    found: np.ndarray | None = None
    with contextlib.closing(_batches(model, method, rows, batch_size, batch_tokens, progress)) as batches:
        for chosen, batch in batches:
            logits = method.logits(model, batch)
            if logits.ndim != 2 or len(logits) != len(chosen):
                raise UsageError(f"logits must be ({len(chosen)}, classes), the method gave {tuple(logits.shape)}")
            probabilities = logits.float().softmax(-1).cpu().numpy()  # (batch, classes)
            found = np.empty((len(rows), probabilities.shape[1]), np.float32) if found is None else found
            found[chosen] = numbers_only(probabilities, model, chosen)
    return np.zeros((0, 0), np.float32) if found is None else found


def _batches(
    model: nn.Module,
    method: Any,
    rows: Sequence[Any],
    batch_size: int = 64,
    batch_tokens: int | None = None,
    progress: bool | None = None,
) -> Generator[tuple[np.ndarray, dict[str, Any]]]:
    """The places of some rows and their batch on the model's device, the longest rows first; no gradients until it is
    closed.
    """
    if batch_size < 1:
        raise UsageError(f"batch_size must be at least 1, not {batch_size}")
    device = next(model.parameters(), torch.zeros(0)).device
    measure = _length if batch_tokens is None else functools.partial(_tokens, method)
    lengths = np.array([measure(row) for row in take(rows, np.arange(len(rows)))])
    order = np.argsort(-lengths, kind="stable")
    with evaluating(model), Bar(len(rows), progress, unit="row") as bar:
        start = 0
        while start < len(order):
            size = batch_size if batch_tokens is None else int(batch_tokens / lengths[order[start]])
            chosen = order[start : start + min(batch_size, max(1, size))]
            start += len(chosen)
            yield chosen, to_device(uncounted(method.collate(take(rows, chosen), None)), device)
            bar.update(len(chosen))


def numbers_only(
    answers: np.ndarray, model: nn.Module, rows: Sequence[int] | np.ndarray | None = None
) -> np.ndarray:  # fmt: skip
    """The answers (n, …) as they are, where none is NaN or +∞. `rows` are their places, counted from 0, if known.

    Raises TrainingError naming the first row that has none, and a weight of the model that is no number. Taken as they
    are, such answers would all be the first class, and score its share.
    """
    good = (answers < np.inf).all(axis=tuple(range(1, answers.ndim)))
    if good.all():
        return answers
    tensors = itertools.chain(model.named_parameters(), model.named_buffers())
    broken = next((name for name, value in tensors if not value.isfinite().all()), None)
    cause = "numbers overflow in it; run it in float32" if broken is None else f"its {broken!r} holds NaN or infinity"
    where = "" if rows is None else f"row {min(np.asarray(rows)[~good]) + 1}: "
    raise TrainingError(f"{where}the model's answer is no number: {cause}"
                        + ("" if broken is None else "; load or train the model anew"))  # fmt: skip


def answers(model: nn.Module, method: Any, rows: Sequence[Any], **options: Any) -> list[Any]:
    """The method's answer to each row, in the order of `rows`: `method.answers(model, batch, rows)` gives those of a
    batch. `options` are those of `predict`.

    Of a method that has none it is the row's probabilities, (classes,), as `predict` has them. Else as there.
    """
    if not hasattr(method, "answers"):
        return list(predict(model, method, rows, **options))
    found: list[Any] = [None] * len(rows)
    with contextlib.closing(_batches(model, method, rows, **options)) as batches:
        for chosen, batch in batches:
            for place, answer in zip(chosen, method.answers(model, batch, take(rows, chosen)), strict=True):
                found[place] = answer
    return found


def evaluate(model: nn.Module, method: Any, task: Task, split: str = "test", **options: Any) -> dict[str, float]:
    """The method's score on a split of the task: {task.metric: …, "n": rows}. `options` are those of `predict`.

    A method whose answers are no classes brings its own scores, `method.score(rows, answers)`, by name; where its
    `labelled` is False, it needs no labels for them.

    Raises UsageError for an unknown split, DataError for a split without rows or a row without a label; else as
    `predict`.
    """
    if split not in task.splits:
        raise unknown("split", split, task.splits)
    rows = task.splits[split]
    if not len(rows):
        raise DataError(f"task {task.name}: split {split!r} has no rows to score")
    labels = [row.get("label") for row in rows]
    if None in labels and getattr(method, "labelled", True):
        raise DataError(f"task {task.name}: split {split!r}, row {labels.index(None) + 1}: no label to compare with")
    if hasattr(method, "answers"):
        return {**method.score(rows, answers(model, method, rows, **options)), "n": len(rows)}
    chosen = predict(model, method, rows, **options).argmax(1)
    return {task.metric: score(task.metric, labels, chosen), "n": len(rows)}


def over_rows(
    model: nn.Module,
    rows: Sequence[Any],
    collate: Callable[[Sequence[Any]], Mapping[str, Any]],
    read: Callable[[nn.Module, Mapping[str, Any]], torch.Tensor],
    batch_size: int = 64,
) -> torch.Tensor:
    """What `read(model, batch)`, (batch, …), finds in all rows, one at least, in their order: (rows, …), on the CPU.

    The model runs in eval mode, without gradients, and is left in the mode it was in.
    """
    device, parts = next(model.parameters()).device, []
    with evaluating(model):
        for start in range(0, len(rows), batch_size):
            parts.append(read(model, to_device(collate(rows[start : start + batch_size]), device)).cpu())
    return torch.cat(parts)


@contextlib.contextmanager
def eval_mode(model: nn.Module) -> Iterator[None]:
    """Eval mode inside; each module's own mode again outside."""
    with modes_kept(model):
        model.eval()
        yield


@contextlib.contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Eval mode and no gradients inside; each module's own mode again outside."""
    with eval_mode(model), torch.inference_mode():
        yield


def _length(row: Any) -> int:
    """How long a row is, for sorting: the characters of its texts, or the numbers in its lists."""
    values = row.values() if isinstance(row, dict) else [row]
    return sum(len(value) for value in values if isinstance(value, str | list | tuple))


def _tokens(method: Any, row: Mapping[str, Any]) -> float:
    """About how many tokens the method makes of a row: one for each four bytes, a Chinese character or most of an
    English word, and at most its `max_length`.
    """
    texts = [row[name] for name in getattr(method, "fields", row) if isinstance(row.get(name), str)]
    size = 3 + sum(len(text) if text.isascii() else len(text.encode()) for text in texts) / 4
    return min(size, getattr(method, "max_length", size))
