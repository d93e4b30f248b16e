"""The `labkit` command: argparse, one handler a command, heavy imports only inside the handlers.

Results go to stdout (`--json` makes them machine-readable), progress and messages to stderr. Exit codes: 0 done,
1 it failed, 2 it was asked wrongly, 130 Ctrl-C, 143 SIGTERM.
"""

from __future__ import annotations

import contextlib
import io
import os
import shlex
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import Any, NoReturn

import labkit
from labkit import threads
from labkit.cli import commands, course, easynlp, pipeline, train
from labkit.cli.parser import Parser, progress, tell
from labkit.errors import LabkitError, UsageError, unknown

EXAMPLES = """\
examples:
  labkit lab                                   the lessons, in JupyterLab, from the course's map on
  labkit pipeline                              pre-train, adapt, distil, quantise, measure, on the embedded world
  labkit pipeline --model micro-bert-en        the same, from a model that is there already
  labkit pipeline --model minilm --task table:train.tsv,dev.tsv,test.tsv --schema "sent:str:1,label:str:1"
  labkit train text_classify --tables train.tsv,dev.tsv --model minilm       an application on your own tables
  labkit apps                                  the applications, and tables to begin with
  labkit serve runs/pipeline/app               a page and an API on 127.0.0.1 for a model that the pipeline saved
  labkit predict runs/pipeline/app --input new.tsv --output labelled.tsv
  labkit zoo list                              the models that labkit knows, and where they are
  labkit world sample reviews --language zh    sentences of the teaching world
  labkit demo fewshot                          a demo of module 03: learn from three examples a class
  labkit notebooks build 03/02                 run a lesson's text and keep its outputs
  labkit doctor                                what this machine has, what is missing, and a verdict

Every command explains itself: labkit pipeline --help
"""


def build_parser() -> Parser:
    """The parser of the whole command line."""
    about = "A course in language models that you do: train, adapt, distil, quantise, measure, serve."
    parser = Parser(prog="labkit", description=about, epilog=EXAMPLES)
    parser.add_argument("--version", action="version", version=f"labkit {labkit.__version__}")
    named = parser.add_subparsers(metavar="COMMAND", dest="command", parser_class=Parser)
    for add in (
        course.add_lab, commands.add_demo, commands.add_results, pipeline.add_pipeline, train.add_train,
        train.add_apps, train.add_evaluate, commands.add_predict, commands.add_serve, commands.add_zoo,
        commands.add_tasks, commands.add_world, commands.add_doctor,
        course.add_notebooks, course.add_new, course.add_site, course.add_assignments,
    ):  # fmt: skip
        add(named)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code."""
    with _any_output():
        try:
            with _sigterm_exits():
                return _run(list(sys.argv[1:] if argv is None else argv))
        except LabkitError as error:
            tell(error)
            return error.exit_code
        except KeyboardInterrupt:
            tell("stopped; what was finished is kept")
            return 130
        except BrokenPipeError:  # the reader of stdout has gone (`labkit … | head`): nothing is left to say
            _silence("stdout")
            return 1
        except OSError as error:
            if not _lost("stdout", "\n"):
                raise
            tell(f"the results cannot be printed: {error.strerror}")
            return 1
        finally:  # or the interpreter fails when it flushes them at its end
            _lost("stdout")
            _lost("stderr")


def _run(argv: list[str]) -> int:
    if not progress():  # transformers and the hub client draw bars of their own, and read this when they are imported
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    waiting = threads.choose()  # before a handler imports torch
    if easynlp.is_easynlp(argv):
        easynlp.main(argv)
        return 0
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
def _any_output() -> Iterator[None]:
    """Closed streams swallow what is printed, and stdout shows what its encoding lacks as escapes, as stderr does."""
    before = sys.stdout
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            _silence(name)
    strict = isinstance(before, io.TextIOWrapper) and before.errors == "strict"
    if strict:
        before.reconfigure(errors="backslashreplace")
    try:
        yield
    finally:
        if strict and sys.stdout is before:
            before.reconfigure(errors="strict")


def _lost(name: str, probe: str = "") -> bool:
    """Whether nothing can be written to a standard stream (a full disk, say); if so, it is silenced."""
    try:
        getattr(sys, name).write(probe)  # what failed before is not tried again by a flush
        getattr(sys, name).flush()
    except OSError:
        _silence(name)
        return True
    return False


def _silence(name: str) -> None:
    setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115  it lives as long as the program


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
