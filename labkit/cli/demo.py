"""`labkit demo`: a module's demo as a page on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from labkit.cli.parser import command
from labkit.config import PORT
from labkit.demos import DEMOS

HELP = """\
demos:
{demos}

example:
  labkit demo fewshot --port 8000

It listens on 127.0.0.1 only. Ctrl-C stops it.
"""


def add_demo(commands: Any) -> None:
    """`labkit demo`."""
    lines = "\n".join(f"  {name:<12}{about}" for name, about in DEMOS.items())
    about = "open a module's demo as a page on this machine"
    parser = command(commands, "demo", _demo, about, HELP.format(demos=lines))
    parser.add_argument("demo", choices=DEMOS, metavar="NAME", help=f"one of: {', '.join(DEMOS)}")
    parser.add_argument("--port", type=PORT, default=7860, help="port to listen on (default: 7860)")
    about = "a model from `labkit zoo list`, a folder or a hub id; for `parallel` one of its presets"
    parser.add_argument("--model", metavar="NAME", help=about)


def _demo(arguments: argparse.Namespace) -> None:
    from labkit.demos import serve

    serve(arguments.demo, arguments.port, arguments.model)
