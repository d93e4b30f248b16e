"""What the tables of compression share: a teacher of a task, a student of a size, one way to train either, what a model
costs; and the gap between the two, without which there is nothing to distil.

    python benchmarks/compressing.py TASK…      teacher, and students of several sizes on the same labels
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from labkit import measure
from labkit.compression.shrink import shrink
from labkit.compression.stored import undo
from labkit.evaluation import evaluate
from labkit.foundations.heads import HeadClassifier, add_head
from labkit.report import Report
from labkit.tasks import Task, load_task
from labkit.training import Batches, fit
from labkit.zoo import Loaded, load

TEACHER, BATCH, TEACHER_RATE, STUDENT_RATE = "mini-bert-en", 32, 5e-4, 1e-3
SIZES = ((2, 80), (1, 80), (1, 40))  # layers, width of a student


def method_of(base: Loaded, task: Task) -> HeadClassifier:
    """A linear layer on the mean of the last states, for teacher and student alike."""
    return HeadClassifier(base.tokenizer, task.fields)


def trained(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], *, steps: int, lr: float, seed: int = 0,
    objective: Any = None, batch: int = BATCH, **options: Any,
) -> nn.Module:  # fmt: skip
    """`model` after `steps` steps of the objective, the method's own loss unless another is given, in place."""
    objective = objective or method.loss
    collate = getattr(objective, "collate", method.collate)
    read = getattr(method, "read", list)  # a method that cuts texts into windows reads them batch by batch
    batches = Batches(read(rows), collate, batch, seed=seed)
    fit(model, objective, batches, steps=steps, lr=lr, seed=seed, progress=False, **options)
    return model


def teacher(base: Loaded, task: Task, *, steps: int = 600, seed: int = 0) -> nn.Module:
    """The large model with a head, fine-tuned on the task's training rows; `base` stays as it is."""
    model = add_head(copy.deepcopy(base.model), task.labels, pooling="mean", seed=seed)
    return trained(model, method_of(base, task), task.splits["train"], steps=steps, lr=TEACHER_RATE, seed=seed)


def student(base: Loaded, task: Task, layers: int, hidden: int, seed: int = 0) -> nn.Module:
    """An untaught student of that size, with a head."""
    small = shrink(base.model, layers=layers, hidden=hidden, seed=seed)
    return add_head(small, task.labels, pooling="mean", seed=seed)


def accuracy(model: nn.Module, method: Any, task: Task, split: str = "test") -> float:
    """The task's own metric."""
    return evaluate(model, method, task, split, progress=False)[task.metric]


def costs(model: nn.Module, method: Any, task: Task) -> dict[str, float]:
    """Parameters, bytes in the file, and median milliseconds per row, one by one and 32 together."""
    rows = task.splits["test"][:64]
    return {
        "parameters": measure.parameters(model), "bytes": measure.bytes_on_disk(model),
        "latency_ms": measure.latency(model, method, rows[:16]),
        "latency_32_ms": measure.latency(model, method, rows, 32),
    }  # fmt: skip


def in_turns(models: dict[str, nn.Module], method: Any, task: Any, turns: int = 5) -> dict[str, tuple[float, float]]:
    """Median milliseconds per row, one by one and 32 together, of each model."""
    rows = task.splits["test"][:128]
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for _ in range(turns):
        for name, model in models.items():
            single = measure.latency(model, method, rows[:8], repeats=2)
            found[name].append((single, measure.latency(model, method, rows, 32, repeats=1)))
    return {name: tuple(map(statistics.median, zip(*all_, strict=True))) for name, all_ in found.items()}


def add_rows(
    report: Report, task: Task, method: Any, models: Mapping[str, nn.Module], again: Mapping[str, str], seed: int = 0
) -> None:
    """A row of each model, the teacher first, times taken in turns; and of each in `again`, name -> model of codes, the
    same with its codes made numbers when the file is read.
    """
    sizes, models = {name: measure.bytes_on_disk(model) for name, model in models.items()}, dict(models)
    for name, stored in again.items():
        models[name], sizes[name] = undo(copy.deepcopy(models[stored])), sizes[stored]
    times, first = in_turns(models, method, task), next(iter(models))
    for name, model in models.items():
        one, many = times[name]
        report.add(
            name, task, accuracy(model, method, task), seed=seed, parameters=measure.parameters(model),
            bytes=sizes[name], latency_ms=one, speedup=times[first][1] / many, smaller=sizes[first] / sizes[name],
        )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tasks", nargs="+")
    parser.add_argument("--steps", type=int, default=600)
    options = parser.parse_args()
    torch.set_num_threads(1)
    base = load(TEACHER)
    for task in map(load_task, options.tasks):
        began, method = time.perf_counter(), method_of(base, task)
        large = teacher(base, task, steps=options.steps)
        shown = [f"teacher {100 * accuracy(large, method, task):.1f} in {time.perf_counter() - began:.0f} s"]
        for size in SIZES:
            small = student(base, task, *size)
            trained(small, method, task.splits["train"], steps=options.steps, lr=STUDENT_RATE)
            shown.append(f"{size} {100 * accuracy(small, method, task):.1f}")
        print(task.name, len(task.splits["train"]), "rows:", *shown, sep="  ", flush=True)


if __name__ == "__main__":
    main()
