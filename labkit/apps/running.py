"""One training, or one evaluation, of any application: in one process or many, with DDP or DeepSpeed.

The folder of a training holds `checkpoints/` (any number of ranks goes on from them), `app/` (what predicts and is
served), and `train.json`: settings, versions, what the data were, losses and scores.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from labkit import evaluation, files, zoo
from labkit.apps.application import Application
from labkit.apps.catalogue import application
from labkit.apps.folder import App, load_app, save_app
from labkit.apps.request import Columns, Here, Request, read, read_task
from labkit.config import fingerprint, to_dict
from labkit.errors import UsageError, unknown
from labkit.fewshot.delta_tuning import DELTAS, merge
from labkit.fewshot.methods import METHODS, OWN, Adapted, Start, method_name
from labkit.fewshot.prompts.soft_tokens import plain
from labkit.lab import quietly
from labkit.report.rows import versions
from labkit.tasks import Task
from labkit.training import Batches, Training, fit
from labkit.training.identity import content
from labkit.training.loop import OnStep

HEADS: dict[str, Any] = {"lm": "lm", "body": None, "seq2seq": "seq2seq"}  # what `zoo.load` gives an application


def train(request: Request, here: Here) -> dict[str, Any] | None:
    """Train, score, save; on rank 0 the row of results, elsewhere None. What cannot be trained is saved as it is."""
    chosen = application(request.application)
    files.refuse_apps(Path(request.out) / "app")
    if request.batch_size < here.world:
        raise UsageError(f"--batch-size {request.batch_size} leaves some of the {here.world} ranks without a row: "
                         f"make it {here.world} or more")  # fmt: skip
    task, base, adapted = prepared(request, here)
    method, history = adapted.method, None
    if request.delta is not None:
        _attach(request.delta, adapted.model)
    with _teaching(request, adapted, task, here) as (learning, rows):
        if hasattr(method, "loss"):
            identity = {"model": request.model, "weights": content(base.model.state_dict())}
            history = _fit(request, here, learning, rows, identity, _rate(request, chosen, base.model))
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


@contextlib.contextmanager
def _teaching(request: Request, adapted: Adapted, task: Task, here: Here) -> Iterator[tuple[Adapted, Any]]:
    """What is trained, on which rows: with the request's teacher, if it has one."""
    if request.teacher is None:
        yield adapted, task.splits["train"]
    else:
        with request.teacher.taught(adapted, task, Path(request.out), here.world) as found:
            yield found


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
    settings, few = chosen.settings(request.parameters), request.method and METHODS[method_name(request.method)]
    task = read(request)
    base = zoo.load(request.model, HEADS[chosen.backbone], progress=here.progress and here.rank == 0)
    start = Start(base.model, base.tokenizer, task, request.training.get("seed", 0))
    return task, base, few.prepare(start) if few else chosen.prepare(start, settings)


def _rate(request: Request, chosen: Application, model: Any) -> float:
    if request.training.get("lr") is not None:
        return request.training["lr"]
    if request.method:
        return METHODS[method_name(request.method)].rate_for(model)
    return chosen.rate if model.config.hidden_size <= OWN else chosen.usual


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
    with _reports(request, here, total) as report:
        return fit(adapted.model, adapted.method.loss, batches, engine=engine, folder=Path(request.out) / "checkpoints",
                   resume=request.resume, progress=here.progress and here.rank == 0, on_step=report, identity=identity,
                   **settings)  # fmt: skip


@contextlib.contextmanager
def _reports(request: Request, here: Here, total: int) -> Iterator[OnStep | None]:
    """On rank 0: ten lines over the whole run where nobody watches a bar, and TensorBoard's log on request."""
    if here.rank or (here.progress and not request.tensorboard):
        yield None
        return
    writer, every = None, max(1, total // 10)
    if request.tensorboard:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise UsageError("--tensorboard needs the package tensorboard: pip install tensorboard") from error
        writer = SummaryWriter(request.tensorboard)

    def report(step: int, loss: float) -> None:
        if writer is not None:
            writer.add_scalar("loss", loss, step)
        if not here.progress and (step % every == 0 or step == total):
            here.say(f"step {step} of {total}, loss {loss:.4f}")

    try:
        yield report
    finally:
        if writer is not None:
            writer.close()


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
