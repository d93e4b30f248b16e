"""One training, or one evaluation, of any application: in one process or many, with DDP or DeepSpeed.

The folder of a training holds `checkpoints/` (any number of ranks goes on from them), `app/` (what predicts and is
served), and `train.json`: settings, versions, what the data were, losses and scores.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import transformers

import labkit
from labkit import evaluation, files, zoo
from labkit.apps.application import Application
from labkit.apps.catalogue import application
from labkit.apps.classifying import by_method
from labkit.apps.data import Columns, read_task
from labkit.apps.folder import App, load_app, save_app
from labkit.compression.distill import Distill, join_teacher
from labkit.config import fingerprint, to_dict
from labkit.errors import DataError, UsageError, unknown
from labkit.fewshot.delta import DELTAS, merge
from labkit.fewshot.methods import METHODS, MICRO, Adapted, Start, method_name
from labkit.fewshot.soft_tokens import plain
from labkit.lab import quietly
from labkit.tasks import Task
from labkit.tasks.text import read_lines
from labkit.training import Batches, Training, fit
from labkit.training.identity import content

HEADS: dict[str, Any] = {"lm": "lm", "body": None, "seq2seq": "seq2seq"}  # what `zoo.load` gives an application
DATA_AGAIN = "the teacher's answers must be those to the training table, in its order: predict it again"


@dataclass(frozen=True)
class Teacher:
    """Logits to learn from (Hinton et al. 2015): in a column of the training table, or in a file of as many lines."""

    column: str = "logits"
    file: str | None = None  # a line of numbers, commas between, for each row of the table
    temperature: float = 1.0
    alpha: float = 0.5  # the teacher's share of the loss


@dataclass(frozen=True)
class Request:
    """What is to be trained, on what, and how long."""

    application: str = "text_classify"
    data: str | None = None  # tables, or a task's name; None: the application's example
    columns: Columns = field(default_factory=Columns)
    model: str = "micro-bert-en"
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


def train(request: Request, here: Here) -> dict[str, Any] | None:
    """Train, score, save; on rank 0 the row of results, elsewhere None. What cannot be trained is saved as it is."""
    chosen = application(request.application)
    files.refuse_apps(Path(request.out) / "app")
    if request.batch_size < here.world:
        raise UsageError(f"--batch-size {request.batch_size} leaves some of the {here.world} ranks without a row: "
                         f"make it {here.world} or more")  # fmt: skip
    task, base, adapted = prepared(request, here)
    rows, method, history = task.splits["train"], adapted.method, None
    if request.delta is not None:
        _attach(request.delta, adapted.model)
    if request.teacher is not None:
        adapted, rows = _taught(adapted, rows, task, request.teacher)
    if hasattr(method, "loss"):
        identity = {"model": request.model, "weights": content(base.model.state_dict())}
        history = _fit(request, here, adapted, rows, identity, _rate(request, chosen, base.model))
    else:
        here.say(f"{chosen.name} has nothing to train: the model is saved as it is")
    if request.delta is not None:
        merge(adapted.model)
    if hasattr(method, "fitted"):
        method.fitted(adapted.model, task.splits["train"])
    result = None
    if here.rank == 0:
        app = App.of(chosen.name, plain(adapted.model), base.tokenizer, method, task)
        result = _finish(request, here, task, app, history)
    if here.world > 1 and dist.is_initialized():  # until rank 0 has scored and saved
        dist.barrier()
        dist.destroy_process_group()
    return result


def _attach(name: str, model: Any) -> None:
    """The delta called `name`, however it is written, with its default settings. UsageError for one that cannot be
    merged afterwards.
    """
    if name.lower() not in DELTAS:
        raise unknown("delta", name, DELTAS)
    delta = DELTAS[name.lower()]()
    delta.attach(model)
    delta.check_merges(model)


def prepared(request: Request, here: Here) -> tuple[Task, Any, Adapted]:
    """The task, the backbone, and the model and method made from it, before any training."""
    chosen = application(request.application)
    settings = chosen.settings(request.parameters)
    if request.method is not None and chosen.answer != "class":
        raise UsageError(f"{chosen.name} has a method of its own: few-shot methods are for classes")
    if request.method is not None:
        method_name(request.method)
    task = read(request)
    base = zoo.load(request.model, HEADS[chosen.backbone], progress=here.progress and here.rank == 0)
    start = Start(base.model, base.tokenizer, task, request.training.get("seed", 0))
    return task, base, by_method(request.method, start) if request.method else chosen.prepare(start, settings)


def _rate(request: Request, chosen: Application, model: Any) -> float:
    if request.training.get("lr") is not None:
        return request.training["lr"]
    if request.method:
        return METHODS[method_name(request.method)].rate_for(model)
    return chosen.rate if model.config.hidden_size <= MICRO else chosen.usual


def _fit(
    request: Request, here: Here, adapted: Adapted, rows: list[dict[str, Any]], identity: dict[str, Any], rate: float
) -> Any:  # fmt: skip
    settings = {**request.training, "lr": rate}
    batches = Batches(rows, adapted.method.collate, request.batch_size, seed=settings.get("seed", 0))
    if (epochs := settings.get("epochs")) is not None and epochs != int(epochs):  # half an epoch is a number of steps
        settings |= {"steps": max(1, round(epochs * len(batches) / settings.get("accumulate", 1))), "epochs": None}
    elif epochs is not None:
        settings["epochs"] = int(epochs)
    engine = None
    if request.engine:
        from labkit.parallel.deepspeed import engine_for

        run = Training(**settings)
        engine = engine_for(request.engine, adapted.model, adapted.method.loss, run, request.batch_size)
        here.say(f"DeepSpeed's configuration\n{json.dumps(engine.config, indent=1)}")
    total = Training(**settings).total_steps(len(batches))
    with _reporter(request, here, total) as report:
        return fit(adapted.model, adapted.method.loss, batches, engine=engine, folder=Path(request.out) / "checkpoints",
                   resume=request.resume, progress=here.progress and here.rank == 0, on_step=report, identity=identity,
                   **settings)  # fmt: skip


class _reporter:  # noqa: N801  a context manager in a function's place
    """Ten lines over the whole run where nobody watches a bar, and TensorBoard's log on request, on rank 0."""

    def __init__(self, request: Request, here: Here, total: int) -> None:
        self.here, self.total, self.every = here, total, max(1, total // 10)
        self.writer = _writer(request.tensorboard) if request.tensorboard and here.rank == 0 else None

    def __enter__(self) -> Callable[[int, float], None] | None:
        return None if self.here.rank or (self.here.progress and self.writer is None) else self._step

    def __exit__(self, *_: object) -> None:
        if self.writer is not None:
            self.writer.close()

    def _step(self, step: int, loss: float) -> None:
        if self.writer is not None:
            self.writer.add_scalar("loss", loss, step)
        if not self.here.progress and (step % self.every == 0 or step == self.total):
            self.here.say(f"step {step} of {self.total}, loss {loss:.4f}")


def _writer(folder: str) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
    return SummaryWriter(folder)


def _taught(adapted: Adapted, rows: list[dict[str, Any]], task: Task, teacher: Teacher) -> tuple[Adapted, list[Any]]:
    """The method that also learns from the teacher's logits, and rows that carry them."""
    if task.answer != "class":
        raise UsageError("a teacher's logits are of classes: distil text_classify or text_match")
    if teacher.file is None:
        if teacher.column not in rows[0]:
            raise DataError(f"{task.name}: no column {teacher.column!r} of the teacher's logits; add it to the schema, "
                            f"as {teacher.column}:float:{len(task.labels)}, or name a file")  # fmt: skip
        cells = [row[teacher.column] for row in rows]  # numbers by the schema, or text where a header names them
        logits = [_line(cell, f"{task.name}: row {at}") if isinstance(cell, str) else cell
                  for at, cell in enumerate(cells, start=1)]  # fmt: skip
    else:
        logits = _numbers(teacher.file)
        if len(logits) != len(rows):
            raise DataError(f"{teacher.file}: {len(logits)} lines for {len(rows)} training rows; {DATA_AGAIN}")
    if any(len(line) != len(task.labels) for line in logits):
        raise DataError(f"{teacher.file or task.name}: {len(task.labels)} logits a row are needed, one a label")
    method = Distill(adapted.method, temperature=teacher.temperature, alpha=teacher.alpha)
    return Adapted(adapted.model, method), join_teacher(rows, np.asarray(logits, np.float32))


def _numbers(path: str) -> list[list[float]]:
    """Lines of numbers with commas between; a table's further columns are not read."""
    lines = enumerate(read_lines(path), start=1)
    return [_line(line.split("\t")[0], f"{path}: line {number}") for number, line in lines]


def _line(text: str, where: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise DataError(f"{where}: numbers parted by commas are expected, not {text[:40]!r}") from None


def _finish(request: Request, here: Here, task: Task, app: App, history: Any) -> dict[str, Any]:
    """Score the model, write app/ and train.json, and give the row that is printed."""
    out, chosen = Path(request.out), application(request.application)
    split = next((name for name in ("test", "dev") if task.splits.get(name)), "train")
    few = task.limited(split, request.test_rows)
    note = "" if few is task else few.note.rpartition("; ")[2]
    if note:
        here.say(note)
    scored = evaluation.evaluate(app.model, app.method, few, split, progress=False) if _scores(app) else {"n": 0}
    metrics = {name: round(value, 4) for name, value in scored.items() if name != "n"}
    with quietly():
        save_app(out / "app", app.model, app.tokenizer, app.method, task, metrics=metrics,
                 examples=few.splits[split][:3], application=chosen.name)  # fmt: skip
    result = {"engine": request.engine or ("one process" if here.world == 1 else "DDP"), "ranks": here.world}
    if history is not None:
        result |= {"steps": history.steps, "resumed": history.resumed, "loss": history.losses[-1]}
    result |= {name: value for name, value in scored.items() if name != "n"} | {"rows": scored["n"]}
    result |= {"seconds": round(history.seconds, 2)} if history is not None else {}
    result |= {"app": str(out / "app")}
    losses = history.losses if history is not None else []
    record = {**result, "note": note, "losses": losses, "command": here.command, "settings": to_dict(request),
              "versions": versions(), "data": described(task)}  # fmt: skip
    files.write_json(out / "train.json", record)
    return result


def _scores(app: App) -> bool:
    """Whether the app's answers can be right or wrong."""
    return hasattr(app.method, "score") or not hasattr(app.method, "answers")


def versions() -> dict[str, str]:
    """What a result depends on besides its settings."""
    return {"labkit": labkit.__version__, "torch": torch.__version__, "transformers": transformers.__version__,
            "python": platform.python_version()}  # fmt: skip


def described(task: Task) -> dict[str, Any]:
    """What the data were: the task's name without folders, and for each split its rows and a hash of them."""
    splits = {name: {"rows": len(rows), "hash": fingerprint(rows)} for name, rows in task.splits.items()}
    return {"task": task.title, "labels": list(task.labels), "splits": splits}


def evaluate(folder: str | os.PathLike[str], data: str, columns: Columns) -> dict[str, Any]:
    """Score the app in `folder` on the last of the tables of `data`, or on a task's test rows: {metric: …, "rows": n}.

    Labels are the app's own; DataError names the row of one that it does not know.
    """
    app = load_app(folder)
    chosen, known = application(app.card.application), app.card.labels or None
    columns = replace(columns, fields=columns.fields or app.card.columns or None)
    task = read_task(data, chosen.answer, replace(columns, labels=known if chosen.answer else None))
    if task.labels and known and tuple(task.labels) != tuple(known):
        raise UsageError(f"{data}: its labels are {', '.join(task.labels)}, the app's {', '.join(known)}")
    if len(task.fields) != len(app.card.fields):
        raise UsageError(f"{data}: {len(task.fields)} text columns, the app reads {len(app.card.fields)}: name them")
    task = _renamed(task, app.card.fields)
    if not _scores(app):
        raise UsageError(f"{chosen.name} has no score: there is nothing to compare its answers with")
    split = next(name for name in ("test", "dev", "train") if task.splits.get(name))
    scored = evaluation.evaluate(app.model, app.method, task, split, progress=False)
    return {name: value for name, value in scored.items() if name != "n"} | {"rows": scored["n"]}


def _renamed(task: Task, fields: tuple[str, ...]) -> Task:
    """The task with the app's names for its text fields."""
    if task.fields == fields:
        return task
    names = dict(zip(task.fields, fields, strict=True))
    splits = {split: [{names.get(key, key): value for key, value in row.items()} for row in rows]
              for split, rows in task.splits.items()}  # fmt: skip
    return replace(task, fields=fields, splits=splits, patterns=())
