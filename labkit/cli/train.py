"""`labkit train`, one training of an application, in one process or many, with DDP or DeepSpeed, by one argument;
`labkit evaluate`, which scores it on tables; `labkit apps`, which lists and explains the applications.

labkit train text_classify --tables train.tsv,dev.tsv --model bert-base-uncased --epochs 3
torchrun --nproc_per_node 2 -m labkit train --task world/reviews --model micro-bert-en --steps 60
torchrun --nproc_per_node 2 -m labkit train … --deepspeed zero2
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.cli.commands import SAVED
from labkit.cli.parser import command, progress, show, tell
from labkit.config import AMOUNT, COUNT, RATE, SEED, SOME
from labkit.errors import UsageError

TRAIN_HELP = """\
examples:
  labkit train                                             the example of text_classify, on mini-bert-en
  labkit train text_classify --tables train.tsv,dev.tsv --model minilm --epochs 3
  labkit train --task world/reviews --method PET --shots 16 --steps 60
  torchrun --standalone --nproc_per_node 2 -m labkit train --steps 60                      the same on two ranks (DDP)
  torchrun --standalone --nproc_per_node 2 -m labkit train --steps 60 --deepspeed zero2    sharded by DeepSpeed
  torchrun --standalone --nproc_per_node 2 --max-restarts 3 -m labkit train --resume --save-every 10 …   outlives a kill

`labkit apps` lists the applications and what their tables hold. --deepspeed takes zero0, zero1, zero2, zero3,
zero1-offload, zero2-offload, zero3-offload, or a JSON file of your own. The folder --out gets checkpoints/ (any number
of ranks goes on from them), app/ (`labkit predict`, `evaluate` and `serve` open it) and train.json (settings, versions,
hashes of the data, losses, scores).
"""
APPS_HELP = """\
examples:
  labkit apps                                       the applications, a line each
  labkit apps text_match                            one: its tables, parameters and answers
  labkit apps text_match --example data/match       tables of the world to begin with, and the command to train on them
"""
EVALUATE_HELP = """\
example:
  labkit evaluate runs/train --tables test.tsv --schema sent:str:1,label:str:1
"""
NUMBERS = {
    "steps": (COUNT, None, "optimizer steps (default: 60, unless --epochs is given)"),
    "epochs": (COUNT, None, "passes over the training rows, in place of --steps"),
    "batch-size": (COUNT, 16, "rows of a micro-batch, over all ranks (default: 16)"),
    "accumulate": (COUNT, 1, "micro-batches a step (default: 1)"),
    "shots": (SOME, 0, "train on this many examples a class; 0 takes all rows (default: 0)"),
    "save-every": (SOME, 0, "steps between two checkpoints; 0 saves at the end (default: 0)"),
    "seed": (SEED, 0, "decides batches and the new head (default: 0)"),
    "test-rows": (COUNT, 1000, "test rows scored at most, each label in its share (default: 1000)"),
    "timeout": (RATE, 600.0, "seconds after which a rank or loader worker that does not answer ends the run (600)"),
    "lr": (RATE, None, "learning rate (default: the application's or the method's own)"),
    "clip": (RATE, 1.0, "bound of the gradient's norm (default: 1)"),
}
TRAINING = ("epochs", "accumulate", "save_every", "seed", "timeout", "lr", "clip", "precision", "device")


def add_train(commands: Any) -> None:
    """`labkit train`."""
    about = "train an application on tables or a task, in one process or under torchrun"
    parser = command(commands, "train", _train, about, TRAIN_HELP, as_json=True)
    parser.add_argument("application", nargs="?", default="text_classify", metavar="APP",
                        help="as in `labkit apps` (default: text_classify)")  # fmt: skip
    add_data(parser)
    parser.add_argument("--model", default="mini-bert-en", metavar="NAME", help="a zoo name, a folder or a hub id "
                        "(default: mini-bert-en)")  # fmt: skip
    parser.add_argument("--method", metavar="NAME", help="a few-shot method in place of the application's own head: "
                        "fine-tune-mean, PET, P-tuning, CP-Tuning, …")  # fmt: skip
    parser.add_argument("--pattern", metavar="TEXT", help='the method\'s pattern, as "{text} it was {mask} ."')
    parser.add_argument("--words", metavar="A,B", help="its label words, one a label, in the labels' order")
    parser.add_argument("--delta", metavar="NAME", help="train a delta and the head alone, then merge it: lora …")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="parameters of the application")
    parser.add_argument("--teacher", metavar="NAME", help="learn from logits too: a column of the training table, or "
                        "a file with a line for each of its rows")  # fmt: skip
    parser.add_argument("--temperature", type=RATE, default=1.0, metavar="N", help="of the teacher (default: 1)")
    parser.add_argument("--alpha", type=AMOUNT, default=0.5, metavar="N", help="the teacher's share (default: 0.5)")
    for name, (kind, value, text) in NUMBERS.items():
        parser.add_argument(f"--{name}", type=kind, default=value, metavar="N", help=text)
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16", "fp16"], help="(default: auto)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"], help="(default: auto)")
    parser.add_argument("--deepspeed", metavar="NAME", help="zero0 to zero3, with -offload, or a JSON file")
    parser.add_argument("--tensorboard", metavar="DIR", help="write the loss for TensorBoard there")
    parser.add_argument("--out", default="runs/train", metavar="DIR", help="folder to write (default: runs/train)")
    parser.add_argument("--resume", action="store_true", help="go on from the newest checkpoint in --out, if any")


def add_data(parser: Any) -> None:
    """The options that say what tables hold."""
    parser.add_argument("--tables", metavar="A,B,C", help=".tsv or .csv files: train, dev, test")
    parser.add_argument("--task", metavar="NAME", help="in place of tables, a name as in `labkit tasks list`")
    parser.add_argument("--schema", metavar="TEXT", help="columns of a table without a header: name:type:count, …")
    parser.add_argument("--first", metavar="COLUMN", help="the text column (default: every column of text)")
    parser.add_argument("--second", metavar="COLUMN", help="the second text column, of pairs")
    parser.add_argument("--label", default="label", metavar="COLUMN", help="the label column (default: label)")
    parser.add_argument("--labels", metavar="A,B", help="the label names in order, or a file with one a line")


def columns_of(arguments: argparse.Namespace) -> Any:
    """`labkit.apps.request.Columns` as the options say."""
    from labkit.apps.request import Columns, parse_labels

    if arguments.tables and arguments.task:
        raise UsageError("give --tables or --task, not both")
    fields = tuple(filter(None, [arguments.first, arguments.second])) or None
    labels = parse_labels(arguments.labels) if arguments.labels else None
    return Columns(schema=arguments.schema, fields=fields, label=arguments.label, labels=labels)


def parse_parameters(pairs: list[str]) -> dict[str, str]:
    """`KEY=VALUE` pairs as a mapping; UsageError for what is none, or a key that comes twice."""
    found: dict[str, str] = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not (equals and key) or key in found:
            raise UsageError(f"{pair[:80]!r}: parameters are KEY=VALUE, each key once")
        found[key] = value
    return found


def _train(arguments: argparse.Namespace) -> None:
    from labkit.apps.request import Request
    from labkit.apps.teaching import Teacher

    training = {name: getattr(arguments, name) for name in TRAINING}
    training["steps"] = arguments.steps or (None if arguments.epochs else 60)
    teacher = None
    if arguments.teacher:
        where = {"file": arguments.teacher} if os.path.isfile(arguments.teacher) else {"column": arguments.teacher}
        teacher = Teacher(**where, temperature=arguments.temperature, alpha=arguments.alpha)
    request = Request(
        application=arguments.application, data=arguments.tables or arguments.task, columns=columns_of(arguments),
        model=arguments.model, method=arguments.method, pattern=arguments.pattern,
        words=tuple(arguments.words.split(",")) if arguments.words else None, shots=arguments.shots,
        delta=arguments.delta,
        parameters=parse_parameters(arguments.set), teacher=teacher, training=training, engine=arguments.deepspeed,
        batch_size=arguments.batch_size, test_rows=arguments.test_rows, out=arguments.out, resume=arguments.resume,
        tensorboard=arguments.tensorboard,
    )  # fmt: skip
    run(request, arguments.command_line, arguments.json)


def run(request: Any, command_line: str, as_json: bool = False) -> None:
    """Train as `request` says, in this process of however many, and print the row of results on rank 0."""
    from labkit.apps.request import Here
    from labkit.apps.running import train

    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    quiet = rank or as_json  # whoever reads JSON finds it all in train.json
    here = Here(rank, world, (lambda text: None) if quiet else tell, progress(), command_line)
    with _heard_once(rank):
        result = train(request, here)
    if result is not None:
        show([result], as_json)


@contextlib.contextmanager
def _heard_once(rank: int) -> Iterator[None]:
    """Warnings and libraries' log lines from rank 0 only; errors from whichever rank has them."""
    with warnings.catch_warnings() if rank else contextlib.nullcontext():
        if rank:
            logging.disable(logging.WARNING)
            warnings.simplefilter("ignore")
        yield


def add_apps(commands: Any) -> None:
    """`labkit apps`."""
    about = "list the applications, explain one, or write tables to begin with"
    parser = command(commands, "apps", _apps, about, APPS_HELP, as_json=True)
    parser.add_argument("name", nargs="?", metavar="APP", help="an application")
    parser.add_argument("--example", metavar="DIR", type=Path, help="write its tables there")


def _apps(arguments: argparse.Namespace) -> None:
    from labkit.apps.catalogue import APPLICATIONS, application

    if arguments.name is None:
        if arguments.example:
            raise UsageError("name the application whose example is to be written: labkit apps APP --example DIR")
        show([{"name": one.name, "about": one.about} for one in APPLICATIONS.values()], arguments.json)
        return
    chosen = application(arguments.name)
    if arguments.example:
        for line in write_example(chosen, arguments.example):
            print(line)
        return
    if arguments.json:
        show([described(chosen)], True)
        return
    for what, text in described(chosen).items():
        print(f"{what}: {text}")


def described(chosen: Any) -> dict[str, str]:
    """An application in words, for a reader who has tables."""
    least, most = chosen.texts
    texts = f"{least}" if least == most else f"{least} or {most}"
    labels = {"class": "a label", "classes": "labels parted by commas", "tags": "a tag for each word, parted by blanks",
              "span": "the answer, a part of the first text, or nothing", "text": "the text to write",
              None: "none"}  # fmt: skip
    settings = [f"{name}={one.default!r} ({one.about})" for name, one in chosen.parameters.items()]
    return {
        "name": chosen.name, "about": chosen.about, "text columns": texts, "label column": labels[chosen.answer],
        "score": chosen.metric, "parameters": "; ".join(settings) or "none",
    }  # fmt: skip


def write_example(chosen: Any, folder: Path) -> list[str]:
    """Tables of the application's example under `folder`, with a header; what to type next, line by line."""
    from labkit.apps.application import EXAMPLE
    from labkit.tasks.answers import Cells
    from labkit.tasks.writing import write_table

    task, written = chosen.example(), []
    label = Cells(chosen.answer, "label", "start")
    for split, most in EXAMPLE.items():
        path = folder / f"{split}.tsv"
        if path.exists():
            raise UsageError(f"{path}: is there already; name another folder")
        rows = [{name: row[name] for name in task.fields} | label.written(row["label"], task.labels)
                for row in task.limited(split, most).splits[split]]  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        write_table(path, rows, list(rows[0]))
        written.append(str(path))
    return [*written, f"labkit train {chosen.name} --tables {','.join(written)}"]


def add_evaluate(commands: Any) -> None:
    """`labkit evaluate`."""
    about = "score a trained application on a labelled table"
    parser = command(commands, "evaluate", _evaluate, about, EVALUATE_HELP, as_json=True)
    parser.add_argument("folder", metavar="DIR", help=SAVED)
    add_data(parser)


def _evaluate(arguments: argparse.Namespace) -> None:
    from labkit.apps.running import evaluate

    data = arguments.tables or arguments.task
    if data is None:
        raise UsageError("--tables (or --task) is missing: what to score on")
    show([evaluate(arguments.folder, data, columns_of(arguments))], arguments.json)
