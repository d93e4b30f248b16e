"""`labkit apps` lists and explains the applications; `labkit evaluate` scores a trained one on tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from labkit.cli.commands import SAVED
from labkit.cli.parser import command, show
from labkit.cli.train import add_data, columns_of
from labkit.errors import UsageError

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
