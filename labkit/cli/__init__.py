"""The `labkit` command: argparse, one handler a command, heavy imports only inside the handlers.

Results go to stdout (`--json` makes them machine-readable), progress and messages to stderr. Exit codes: 0 done,
1 it failed, 2 it was asked wrongly, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import labkit
from labkit import threads
from labkit.cli.classroom import add_assignments
from labkit.cli.commands import add_doctor, add_predict, add_serve, add_tasks, add_world, add_zoo
from labkit.cli.course import add_new, add_notebooks
from labkit.cli.demo import add_demo
from labkit.cli.parser import Parser, progress
from labkit.cli.pipeline import add_pipeline
from labkit.cli.train import add_train
from labkit.errors import LabkitError, UsageError, unknown

EXAMPLES = """\
examples:
  labkit pipeline                              pre-train, adapt, distil, quantise, measure, on the embedded world
  labkit pipeline --model micro-bert-en        the same, from a model that is there already
  labkit pipeline --model minilm --task table:train.tsv,dev.tsv,test.tsv --schema "sent:str:1,label:str:1"
  labkit train --steps 60 --deepspeed zero2    one training; under torchrun, on many processes
  labkit serve runs/pipeline/app               a page and an API on 127.0.0.1 for a model that the pipeline saved
  labkit predict runs/pipeline/app --input new.tsv --output labelled.tsv
  labkit zoo list                              the models that labkit knows, and where they are
  labkit world sample reviews --language zh    sentences of the teaching world
  labkit demo fewshot                          a demo of module 03: learn from three examples a class
  labkit notebooks build 03/02                 run a lesson's text and keep its outputs
  labkit doctor                                versions, device, cache, and what is missing

Every command explains itself: labkit pipeline --help
"""


def build_parser() -> Parser:
    """The parser of the whole command line."""
    about = "A course in language models that you do: train, adapt, distil, quantise, measure, serve."
    parser = Parser(prog="labkit", description=about, epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"labkit {labkit.__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=Parser)
    for add in (add_pipeline, add_train, add_serve, add_predict, add_demo, add_zoo, add_tasks, add_world, add_doctor):
        add(commands)
    for add in (add_notebooks, add_new, add_assignments):
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
    if not progress():  # transformers and the hub client draw bars of their own, and read this when they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    waiting = threads.choose()  # before a handler imports torch
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
    arguments.command_line, arguments.waiting = shlex.join(["labkit", *argv]), waiting
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
