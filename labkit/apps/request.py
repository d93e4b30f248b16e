"""What is asked of a training, and who asks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from labkit.apps.catalogue import application
from labkit.apps.data import Columns, read_task
from labkit.apps.teaching import Teacher
from labkit.errors import UsageError
from labkit.tasks import Task


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what, and how long."""

    application: str = "text_classify"
    data: str | None = None  # tables, or a task's name; None: the application's example
    columns: Columns = field(default_factory=Columns)
    model: str = "mini-bert-en"
    method: str | None = None  # a few-shot method in place of the application's own
    pattern: str | None = None  # of a method with a blank; None: the task's own
    words: tuple[str, ...] | None = None  # one a label
    delta: str | None = None  # train this delta and the head alone, and merge it at the end
    shots: int = 0  # train on this many examples a class; 0: on all rows
    parameters: Mapping[str, str] = field(default_factory=dict)
    teacher: Teacher | None = None
    training: Mapping[str, Any] = field(default_factory=dict)  # fields of `labkit.training.Training`
    batch_size: int = 16
    test_rows: int = 1000
    engine: str | None = None  # of DeepSpeed
    out: str = "runs/train"
    resume: bool = False
    tensorboard: str | None = None


@dataclass(frozen=True)
class Here:
    """Which of the processes this is, and how it speaks: `say` on rank 0 only, bars where `progress`."""

    rank: int = 0
    world: int = 1
    say: Callable[[str], None] = lambda text: None
    progress: bool = False
    command: str = ""


def read(request: Request) -> Task:
    """The request's task, with its pattern, words and shots."""
    chosen = application(request.application)
    if request.method is not None:
        if chosen.answer != "class":
            raise UsageError(f"{chosen.name} has a method of its own: few-shot methods are for classes")
        if request.parameters:
            name = next(iter(request.parameters))
            raise UsageError(f"parameter {name} is of {chosen.name}'s own method: it means nothing to {request.method}")
    task = read_task(request.data, chosen.answer, request.columns) if request.data else chosen.example()
    least, most = chosen.texts
    if not least <= len(task.fields) <= most:
        wanted = f"{least}" if least == most else f"{least} to {most}"
        names = ", ".join(task.fields)
        raise UsageError(f"{chosen.name} reads {wanted} text columns, these are {len(task.fields)}: {names}; name them")
    if request.pattern is not None:
        task = replace(task, patterns=(request.pattern,))
    if request.words is not None:
        if len(request.words) != len(task.labels):
            raise UsageError(f"{len(request.words)} label words for {len(task.labels)} labels: one a label is needed")
        task = replace(task, words={name: (word,) for name, word in zip(task.labels, request.words, strict=True)})
    if not request.shots:
        return task
    if task.answer != "class":
        raise UsageError(f"--shots counts examples of a class, and {chosen.name} has none: give a smaller table")
    return task.few_shot(request.shots, request.training.get("seed", 0))
