"""What every command shares: a strict argument parser, `--json`, tables, progress only for a person."""

from __future__ import annotations

import argparse
import json
import re
import sys
from typing import Any, NoReturn

from labkit.errors import UsageError, say, unknown

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


def command(commands: Any, name: str, handler: Any, about: str, more: str = "", as_json: bool = False) -> Parser:
    """Add the command `name`, with its help, its handler and, for those that print results, `--json`."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=more)
    parser.set_defaults(handler=handler, parser=parser)
    if as_json:
        parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def group(commands: Any, name: str, about: str, more: str = "") -> Any:
    """A command that only holds others (`zoo list`, `zoo build`, …)."""
    parser = commands.add_parser(name, help=about, description=f"{about[0].upper()}{about[1:]}.", epilog=more)
    return parser.add_subparsers(metavar="ACTION", dest="action", required=True, parser_class=Parser)


def progress() -> bool:
    """Whether to draw progress bars: on stderr, and only for a person who watches."""
    return sys.stderr.isatty()


def tell(text: object) -> None:
    """A line on stderr that says who speaks."""
    say(f"labkit: {text}")


def to_json(value: Any) -> str:
    """Indented JSON in letters that stdout can write."""
    wide = (sys.stdout.encoding or "").lower().startswith("utf")
    return json.dumps(value, ensure_ascii=not wide, indent=1)


def show(rows: list[dict[str, Any]], as_json: bool) -> None:
    """Print rows of like keys as an aligned table, or as JSON."""
    if as_json:
        print(to_json(rows))
        return
    cells = [list(row) for row in rows[:1]] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    for line in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
