"""What the few-shot benchmarks share: reports that go on where they stopped, and the accuracy of a method."""

from __future__ import annotations

from pathlib import Path

from labkit.evaluation import evaluate
from labkit.fewshot.methods import Adapted
from labkit.report import Report
from labkit.tasks import Task

HEADS = ("fine-tune [CLS]", "fine-tune [mean]")


def opened(path: Path, command: str) -> Report:
    """The report in `path` so far, or a new one."""
    return Report.load(path) if path.is_file() else Report(command=command)


def known(report: Report, method: str, task: Task, seed: int) -> bool:
    """Whether the report has this row."""
    return (method, task.name, task.metric, seed) in {row.key for row in report.rows}


def setting(method: str, steps: int, lr: float) -> str:
    """What a row of tried steps and learning rates is called."""
    return f"{method}, {steps} steps at {lr:g}"


def accuracy(found: Adapted, task: Task, split: str = "test") -> float:
    """The task's own score of a model and its method."""
    return evaluate(found.model, found.method, task, split, progress=False)[task.metric]
