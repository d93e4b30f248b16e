"""The `labkit` command: argparse, one handler a command, heavy imports only inside the handlers.

Results go to stdout (`--json` makes them machine-readable), progress and messages to stderr. Exit codes: 0 done,
1 it failed, 2 it was asked wrongly, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import labkit
from labkit.errors import LabkitError, UsageError, unknown

EXAMPLES = """\
examples:
  labkit pipeline                              pre-train, adapt, distil, quantise, measure, on the embedded world
  labkit pipeline --model micro-bert-en        the same, from a model that is there already
  labkit pipeline --model minilm --task table:train.tsv,dev.tsv,test.tsv --schema "sent:str:1,label:str:1"
  labkit serve runs/pipeline/app               a page and an API on 127.0.0.1 for what the pipeline made
  labkit predict runs/pipeline/app --input new.tsv --output labelled.tsv
  labkit zoo list                              the models that labkit knows, and where they are
  labkit world sample reviews --language zh    sentences of the teaching world
  labkit doctor                                versions, device, cache, and what is missing

Every command explains itself: labkit pipeline --help
"""
INVALID_CHOICE = re.compile(
    r"argument (?P<what>.+?): invalid choice: '?(?P<name>.*?)'? \(choose from (?P<known>.+)\)", re.DOTALL
)


class Parser(argparse.ArgumentParser):
    """An argument parser that raises UsageError, offers the nearest name, and never guesses abbreviations."""

    def __init__(self, **settings: Any) -> None:
        self.options: list[str] = []
        super().__init__(formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False, **settings)

    def add_argument(self, *names: Any, **settings: Any) -> argparse.Action:
        """As in argparse; option names are kept, to offer the nearest of them."""
        self.options += [name for name in names if name.startswith("--")]
        return super().add_argument(*names, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise UsageError, with the nearest name where one was mistyped."""
        found = INVALID_CHOICE.fullmatch(message)
        if found:
            known = [name.strip().strip("'") for name in found["known"].split(",")]
            raise unknown(found["what"].lower(), found["name"], known)
        raise UsageError(f"{message}; see {self.prog} --help")


def build_parser() -> Parser:
    """The parser of the whole command line."""
    parser = Parser(prog="labkit", description=labkit.__doc__, epilog=EXAMPLES)
    parser.description = "A course in language models that you do: train, adapt, distil, quantise, measure, serve."
    parser.add_argument("--version", action="version", version=f"labkit {labkit.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=Parser)
    for add in (_add_pipeline, _add_serve, _add_predict, _add_zoo, _add_tasks, _add_world, _add_doctor):
        add(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    try:
        with _sigterm_exits():
            return _run(list(sys.argv[1:] if argv is None else argv))
    except LabkitError as error:
        print(f"labkit: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("labkit: stopped; what was finished is kept", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of stdout has gone (`labkit … | head`): nothing is left to say
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  the interpreter flushes it when it ends
        return 1


def _run(argv: list[str]) -> int:
    if not _progress():  # transformers and the hub client draw bars of their own, and read this when they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    parser = build_parser()
    arguments, extra = parser.parse_known_args(argv)
    if arguments.command is None:
        parser.print_help(sys.stderr)
        return 2
    if extra:
        options = [name for name in extra if name.startswith("-")]
        if options:
            known = [*arguments.parser.options, "--version"]
            raise unknown(f"option of {arguments.parser.prog}", options[0].split("=")[0], known)
        raise UsageError(f"unexpected argument {extra[0]!r}; see {arguments.parser.prog} --help")
    arguments.command_line = shlex.join(["labkit", *argv])
    arguments.handler(arguments)
    sys.stdout.flush()
    return 0


@contextlib.contextmanager
def _sigterm_exits() -> Iterator[None]:
    """Turn SIGTERM into SystemExit(143), so that every `finally` runs; the old handler comes back afterwards."""

    def leave(*_: Any) -> NoReturn:
        raise SystemExit(143)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _command(commands: Any, name: str, handler: Any, about: str, more: str = "", as_json: bool = False) -> Parser:
    """Add the command `name`, with its help, its handler and, for those that print results, `--json`."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=more)
    parser.set_defaults(handler=handler, parser=parser)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _group(commands: Any, name: str, about: str, more: str = "") -> Any:
    """A command that only holds others (`zoo list`, `zoo build`, …)."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=more)
    return parser.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=Parser)


def _progress() -> bool:
    """Whether to draw progress bars: on stderr, and only for a person who watches."""
    return sys.stderr.isatty()


def _show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows of like keys as an aligned table, or as JSON."""
    if as_json:
        print(json.dumps(rows, ensure_ascii=False, indent=1))
        return
    cells = [list(row) for row in rows[:1]] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


# ------------------------------------------------------------------------------------------------------------ pipeline

PIPELINE_HELP = """\
stages: pre-train a language model (left out where --model names one) -> adapt it from a few examples -> distil it into
a small one -> quantise it -> measure -> save folders that `labkit serve` opens.

Ctrl-C keeps what is finished; the same command with --resume goes on from there.

examples:
  labkit pipeline
  labkit pipeline --model micro-bert-en --shots 4 --seeds 5
  labkit pipeline --model minilm --task table:train.tsv,dev.tsv,test.tsv --schema "sent:str:1,label:str:1" \\
      --pattern "{sent} it was {mask} ." --words "0=bad" "1=good,great" --unlabelled more.txt
  labkit pipeline --settings mine.json --shots 1      what is typed here wins over the file
"""

PIPELINE_NUMBERS = {
    "few-shot-steps": "training steps on the few examples (default: 60)",
    "student-layers": "layers of the small model (default: 2)",
    "student-hidden": "width of the small model (default: 32)",
    "distil-epochs": "passes over the unlabelled text when distilling (default: 12)",
    "unlabelled-rows": "unlabelled texts used at most (default: 8000)",
    "test-rows": "test rows used at most (default: 1000)",
    "head-steps": "for a model without a masked-LM head: steps that train one (default: 400)",
}


def _add_pipeline(commands: Any) -> None:
    parser = _command(commands, "pipeline", _pipeline, "pre-train, adapt, distil, quantise, measure and save a model",
                      PIPELINE_HELP, as_json=True)  # fmt: skip

    def option(place: Any, name: str, text: str, **settings: Any) -> None:
        place.add_argument(f"--{name}", default=argparse.SUPPRESS, help=text, **settings)

    option(parser, "model", "start from a zoo name, a folder or a hub id (default: pre-train one)", metavar="NAME")
    option(
        parser, "task", "world/…, table:FILES, fewclue:FOLDER/TASK or hub:ID (default: world/reviews)", metavar="NAME"
    )
    option(parser, "schema", "columns of a table: name:type:count, comma between", metavar="TEXT")
    option(parser, "unlabelled", "a file of unlabelled texts, for distillation", metavar="FILE")
    option(parser, "splits", "values for {split} in --task, one a seed, comma between", metavar="A,B,…", type=_names)
    option(parser, "pattern", "cloze for a task that brings none: '{text} it was {mask} .'", metavar="TEXT")
    option(parser, "words", "its label words: 0=bad 1=good,great", metavar="LABEL=WORD,…", type=str, nargs="+")
    option(parser, "shots", "examples a class (default: 16)", type=int, metavar="N")
    option(parser, "seeds", "how many draws of examples to average over (default: 3)", type=int, metavar="N")
    option(parser, "out", "folder for everything it makes (default: runs/pipeline)", metavar="DIR")
    option(parser, "resume", "go on with what --out already holds", action="store_true")
    for name, text in PIPELINE_NUMBERS.items():
        option(parser, name, text, type=int, metavar="N")
    parser.add_argument("--settings", metavar="FILE", help="a JSON file with the same names; options typed here win")


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _pipeline(arguments: argparse.Namespace) -> None:
    import dataclasses

    from labkit.config import strict
    from labkit.pipeline import PipelineSettings, run, table

    values = _settings_file(arguments.settings) if arguments.settings else {}
    names = {field.name for field in dataclasses.fields(PipelineSettings)}
    values |= {name: value for name, value in vars(arguments).items() if name in names}
    settings = strict(PipelineSettings, values, where=arguments.settings or "")
    report = run(settings, progress=_progress(), command=arguments.command_line)
    if arguments.json:
        _show([row.plain() for row in report.rows], as_json=True)
    else:
        print(table(report))


def _settings_file(path: str) -> dict[str, Any]:
    """The settings that a JSON file holds; UsageError naming file and line where it is not such a file."""
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}") from error
    except ValueError as error:  # not JSON, or not UTF-8
        raise UsageError(f"{path}: not a JSON file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f'{path}: settings are one JSON object, such as {{"shots": 4}}')
    return values


# --------------------------------------------------------------------------------------------------------------- apps


def _add_serve(commands: Any) -> None:
    more = "example:\n  labkit serve runs/pipeline/app --port 8000\n\nIt listens on 127.0.0.1 only. Ctrl-C stops it."
    parser = _command(commands, "serve", _serve, "open a saved model as a page with an API on this machine", more)
    parser.add_argument("folder", metavar="DIR", help="a folder that `labkit pipeline` saved")
    parser.add_argument("--port", type=int, default=7860, help="port to listen on (default: 7860)")


def _serve(arguments: argparse.Namespace) -> None:
    from labkit.serving import serve

    serve(arguments.folder, port=arguments.port)


def _add_predict(commands: Any) -> None:
    more = (
        "example:\n  labkit predict runs/pipeline/app --input new.tsv --output labelled.tsv\n\n"
        "A .tsv or .csv file names its columns in the first line; a .txt file holds one text a line."
    )
    parser = _command(commands, "predict", _predict, "label every row of a file with a saved model", more, as_json=True)
    parser.add_argument("folder", metavar="DIR", help="a folder that `labkit pipeline` saved")
    parser.add_argument("--input", required=True, metavar="FILE", help="a .tsv, .csv or .txt file")
    parser.add_argument(
        "--output", required=True, metavar="FILE", help="the same rows with the label and its probability"
    )


def _predict(arguments: argparse.Namespace) -> None:
    from labkit.apps import batch_predict, load_app

    count = batch_predict(load_app(arguments.folder), arguments.input, arguments.output, progress=_progress())
    _show([{"rows": count, "output": arguments.output}], arguments.json)


# ---------------------------------------------------------------------------------------------------------------- zoo

ZOO_HELP = """\
examples:
  labkit zoo list                      names, where they are, what they are for
  labkit zoo build micro-bert-en       train it into the cache, unless it is there
  labkit zoo path micro-bert-en        its folder
  labkit zoo verify micro-bert-zh      train it again and compare (minutes)
  labkit zoo clean                     empty the cache

Models built here are kept in $LABKIT_CACHE.
"""


def _add_zoo(commands: Any) -> None:
    actions = _group(commands, "zoo", "list, build and check the course's models", ZOO_HELP)
    _command(actions, "list", _zoo_list, "list the models, and where they are", as_json=True)
    for name, about, several in (
        ("build", "train the named models into the cache, or all that are missing", "*"),
        ("path", "print the folder of a model", None),
        ("verify", "train models again and compare the metrics", "+"),
        ("clean", "remove the named models from the cache, or all", "*"),
    ):
        parser = _command(actions, name, _zoo_action, about, as_json=name == "verify")
        argument = "names" if several else "name"
        parser.add_argument(argument, nargs=several, metavar="NAME", help="a name from `labkit zoo list`")


def _zoo_list(arguments: argparse.Namespace) -> None:
    from labkit import zoo

    _show(zoo.list_models(), arguments.json)


def _zoo_action(arguments: argparse.Namespace) -> None:
    from labkit import zoo

    if arguments.action == "path":
        print(zoo.path(arguments.name, progress=_progress()))
    elif arguments.action == "verify":
        _show([zoo.verify(name, progress=_progress()) for name in arguments.names], arguments.json)
    elif arguments.action == "clean":
        for name in arguments.names or [None]:
            for folder in zoo.clean(name):
                print(f"removed {folder}")
    else:
        for name in arguments.names or zoo.RECIPES:
            print(f"{name}: {zoo.build(name, progress=_progress())}")


# ------------------------------------------------------------------------------------------------ tasks, world, doctor


TASKS_HELP = """\
A task is named by its source:
  world/reviews                        generated, with known chance and ceiling (these are listed)
  table:train.tsv,dev.tsv,test.tsv     your own tables, .tsv or .csv
  fewclue:FOLDER/eprstmt               files in FewCLUE's format
  hub:stanfordnlp/sst2                 a data set of the Hugging Face hub
"""


def _add_tasks(commands: Any) -> None:
    actions = _group(commands, "tasks", "list what there is to learn", TASKS_HELP)
    _command(actions, "list", _tasks_list, "list the tasks, with chance and ceiling", as_json=True)


def _tasks_list(arguments: argparse.Namespace) -> None:
    from labkit.tasks import load_task
    from labkit.world import TASKS

    rows = []
    for task in (load_task(f"world/{name}") for name in TASKS):
        sizes = {split: len(found) for split, found in task.splits.items()}
        rows.append({"name": task.name, "language": task.language, "labels": len(task.labels), "metric": task.metric,
                     "chance": task.chance, "ceiling": task.ceiling, **sizes})  # fmt: skip
    columns = dict.fromkeys(key for row in rows for key in row)
    _show([{key: row.get(key) for key in columns} for row in rows], arguments.json)


WORLD_HELP = """\
examples:
  labkit world sample reviews --language zh -n 5
  labkit world export data/fewclue          nine small tasks in FewCLUE's own file format
"""


def _add_world(commands: Any) -> None:
    actions = _group(commands, "world", "read the generated teaching world", WORLD_HELP)
    sample = _command(actions, "sample", _world_sample, "print texts of the world", WORLD_HELP, as_json=True)
    sample.add_argument("genre", metavar="GENRE", help="reviews, news, …")
    sample.add_argument("--language", default="en", choices=["en", "zh"], help="en or zh (default: en)")
    sample.add_argument("-n", "--count", type=int, default=5, help="how many (default: 5)")
    sample.add_argument("--seed", type=int, default=0, help="another seed is another world (default: 0)")
    export = _command(actions, "export", _world_export, "write the micro-FewCLUE files", WORLD_HELP)
    export.add_argument("folder", metavar="DIR", help="folder to write, one folder a task")
    export.add_argument("--seed", type=int, default=0, help="another seed is another world (default: 0)")
    export.add_argument("--replace", action="store_true", help="write over tasks that are there already")


def _world_sample(arguments: argparse.Namespace) -> None:
    from labkit.world import World, corpus

    if arguments.count < 1:
        raise UsageError(f"--count must be at least 1, not {arguments.count}")
    texts = corpus(World(seed=arguments.seed), arguments.language, arguments.count, [arguments.genre])
    print(json.dumps(texts, ensure_ascii=False, indent=1) if arguments.json else "\n".join(texts))


def _world_export(arguments: argparse.Namespace) -> None:
    from labkit.world import World
    from labkit.world.fewclue import write_fewclue

    for folder in write_fewclue(arguments.folder, World(seed=arguments.seed), replace=arguments.replace).values():
        print(folder)


def _add_doctor(commands: Any) -> None:
    _command(commands, "doctor", _doctor, "show versions, device, cache and missing extras", as_json=True)


def _doctor(arguments: argparse.Namespace) -> None:
    from labkit.doctor import examine

    _show(examine(), arguments.json)
