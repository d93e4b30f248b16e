"""`labkit train`: one training on a task, in one process or many, with DDP or DeepSpeed, by changing one argument.

labkit train --task world/reviews --model micro-bert-en --steps 60
torchrun --nproc_per_node 2 -m labkit train --task world/reviews --model micro-bert-en --steps 60
torchrun --nproc_per_node 2 -m labkit train … --deepspeed zero2
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import os
from pathlib import Path
from typing import Any

from labkit.cli.parser import command, progress, show, tell
from labkit.config import COUNT, RATE, SEED, SOME
from labkit.errors import UsageError, unknown

HELP = """\
examples:
  labkit train --task world/reviews --model micro-bert-en --steps 60
  labkit train --task table:train.tsv,dev.tsv,test.tsv --schema "sent:str:1,label:str:1" --model minilm --steps 200
  torchrun --standalone --nproc_per_node 2 -m labkit train --steps 60                      the same on two ranks (DDP)
  torchrun --standalone --nproc_per_node 2 -m labkit train --steps 60 --deepspeed zero2    sharded by DeepSpeed
  torchrun --standalone --nproc_per_node 2 --max-restarts 3 -m labkit train --resume --save-every 10 …   outlives a kill

--deepspeed takes zero0, zero1, zero2, zero3, zero1-offload, zero2-offload, zero3-offload, or a JSON file of your own.
The folder --out gets checkpoints/ (any number of ranks goes on from them), app/ (`labkit serve` opens it) and
train.json (losses, score).
"""
NUMBERS = {
    "steps": (COUNT, 60, "optimizer steps"),
    "batch-size": (COUNT, 16, "rows of a micro-batch, over all ranks"),
    "accumulate": (COUNT, 1, "micro-batches a step"),
    "shots": (SOME, 0, "train on this many examples a class; 0 takes all rows"),
    "save-every": (SOME, 0, "steps between two checkpoints; 0 saves at the end"),
    "seed": (SEED, 0, "decides batches and the new head"),
    "test-rows": (COUNT, 1000, "test rows scored at most, each label in its share"),
    "timeout": (RATE, 600.0, "seconds after which a rank or loader worker that does not answer ends the run"),
}


def add_train(commands: Any) -> None:
    """`labkit train`."""
    about = "train a model on a task, in one process or under torchrun"
    parser = command(commands, "train", _train, about, HELP, as_json=True)
    parser.add_argument("--task", default="world/reviews", metavar="NAME", help="as in `labkit tasks list` "
                        "(default: world/reviews)")  # fmt: skip
    parser.add_argument("--schema", metavar="TEXT", help="columns of a table: name:type:count, comma between")
    parser.add_argument("--model", default="micro-bert-en", metavar="NAME", help="a zoo name, a folder or a hub id "
                        "(default: micro-bert-en)")  # fmt: skip
    parser.add_argument("--method", default="fine-tune [mean]", metavar="NAME", help="how the model answers: "
                        "fine-tune-mean, fine-tune-cls, PET (default: fine-tune [mean])")  # fmt: skip
    for name, (kind, value, text) in NUMBERS.items():
        parser.add_argument(f"--{name}", type=kind, default=value, metavar="N", help=f"{text} (default: {value:g})")
    parser.add_argument("--lr", type=RATE, metavar="N", help="learning rate (default: the method's own)")
    parser.add_argument("--clip", type=RATE, default=1.0, metavar="N", help="bound of the gradient's norm (default: 1)")
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"], help="(default: auto)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="(default: auto)")
    parser.add_argument("--deepspeed", metavar="NAME", help="zero0 to zero3, with -offload, or a JSON file")
    parser.add_argument("--out", default="runs/train", metavar="DIR", help="folder to write (default: runs/train)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out, if any")


def _train(arguments: argparse.Namespace) -> None:
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    with _heard_once(rank):
        trained = _fit(arguments, rank, world)
        result = _finish(arguments, trained, world) if rank == 0 else None
        _together(world)
    if result is not None:
        show([result], arguments.json)


@contextlib.contextmanager
def _heard_once(rank: int) -> Any:
    """Warnings and libraries' log lines from rank 0 only; errors from whichever rank has them."""
    import warnings

    if rank:
        logging.disable(logging.WARNING)
        warnings.simplefilter("ignore")
    yield


def _fit(arguments: argparse.Namespace, rank: int, world: int) -> dict[str, Any]:
    """Model, method, task and history of the training that the command line describes."""
    from labkit import files, zoo
    from labkit.fewshot.methods import Start
    from labkit.training import Batches, Training, fit
    from labkit.training.identity import content

    files.refuse_apps(Path(arguments.out) / "app")
    found, task = _method(arguments.method), _task(arguments, world)
    base = zoo.load(arguments.model, progress=progress() and rank == 0)
    adapted = found.prepare(Start(base.model, base.tokenizer, task, arguments.seed))
    settings: dict[str, Any] = {name: getattr(arguments, name) for name in
        ("steps", "accumulate", "save_every", "seed", "timeout", "clip", "precision", "device")}  # fmt: skip
    settings["lr"] = found.rate_for(base.model) if arguments.lr is None else arguments.lr
    batches = Batches(task.splits["train"], adapted.method.collate, arguments.batch_size, seed=arguments.seed)
    objective = adapted.method.loss
    engine = None
    if arguments.deepspeed:
        from labkit.parallel.deepspeed import engine_for

        engine = engine_for(arguments.deepspeed, adapted.model, objective, Training(**settings), arguments.batch_size)
        _say(rank, f"DeepSpeed's configuration\n{json.dumps(engine.config, indent=1)}")
    identity = {"model": arguments.model, "weights": content(base.model.state_dict())}
    folder = Path(arguments.out) / "checkpoints"
    shown = progress() and rank == 0
    history = fit(adapted.model, objective, batches, engine=engine, folder=folder, resume=arguments.resume,
                  progress=shown, on_step=_reporter(arguments, rank), identity=identity, **settings)  # fmt: skip
    return {"model": adapted.model, "tokenizer": base.tokenizer, "method": adapted.method, "task": task,
            "history": history}  # fmt: skip


def _method(name: str) -> Any:
    """The methods that need nothing but rows: heads and PET. UsageError with the nearest name otherwise."""
    from labkit.fewshot.methods import METHODS, method_name

    plain = [known for known in METHODS if known.startswith(("fine-tune", "PET"))]
    if (found := method_name(name)) not in plain:
        raise unknown("method of labkit train", name, plain)
    return METHODS[found]


def _task(arguments: argparse.Namespace, world: int) -> Any:
    from labkit.tasks import load_task

    if arguments.batch_size < world:
        raise UsageError(f"--batch-size {arguments.batch_size} leaves some of the {world} ranks without a row: "
                         f"make it {world} or more")  # fmt: skip
    task = load_task(arguments.task, **({"schema": arguments.schema} if arguments.schema else {}))
    return task.few_shot(arguments.shots, arguments.seed) if arguments.shots else task


def _reporter(arguments: argparse.Namespace, rank: int) -> Any:
    """Ten lines on stderr over the whole run, on rank 0, where nobody watches a bar."""
    if rank or progress() or arguments.json:
        return None
    every = max(1, arguments.steps // 10)

    def say(step: int, loss: float) -> None:
        if step % every == 0 or step == arguments.steps:
            _say(0, f"step {step} of {arguments.steps}, loss {loss:.4f}")

    return say


def _finish(arguments: argparse.Namespace, trained: dict[str, Any], world: int) -> dict[str, Any]:
    """Score the model, write app/ and train.json, and give the row that is printed."""
    from labkit import files
    from labkit.apps import save_app
    from labkit.evaluation import evaluate
    from labkit.lab import quietly

    task, history, out = trained["task"], trained["history"], Path(arguments.out)
    split = next((name for name in ("test", "dev") if task.splits.get(name)), "train")
    few = task.limited(split, arguments.test_rows)
    rows = few.splits[split]
    note = "" if few is task else few.note.rpartition("; ")[2]
    if note and not arguments.json:  # whoever reads JSON finds it in train.json
        _say(0, note)
    scored = evaluate(trained["model"], trained["method"], few, split, progress=False)
    with quietly():
        save_app(out / "app", trained["model"], trained["tokenizer"], trained["method"], task,
                 metrics={task.metric: round(scored[task.metric], 4)}, examples=rows[:3])  # fmt: skip
    result = {
        "engine": arguments.deepspeed or ("one process" if world == 1 else "DDP"), "ranks": world,
        "steps": history.steps, "resumed": history.resumed, "loss": history.losses[-1],
        task.metric: scored[task.metric], "rows": scored["n"],
        "seconds": round(history.seconds, 2), "app": str(out / "app"),
    }  # fmt: skip
    record = {**result, "note": note, "losses": history.losses, "command": arguments.command_line}
    files.write_json(out / "train.json", record)
    return result


def _together(world: int) -> None:
    """Wait until rank 0 has scored and saved, and leave the group."""
    import torch.distributed as dist

    if world > 1 and dist.is_initialized():
        dist.barrier()
        dist.destroy_process_group()


def _say(rank: int, text: str) -> None:
    if rank == 0:
        tell(text)
