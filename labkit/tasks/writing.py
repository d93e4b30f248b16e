"""Tables that other programs open: written whole or not at all, and harmless in a spreadsheet.

A spreadsheet runs a cell that begins with = + - @ (or a tab or line end before one) as a formula. Such a cell gets a
mark, an apostrophe in front, which `read_table` takes off again; numbers such as -5 or +1.5e3 stay as they are.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.files import write_text
from labkit.tasks.streaming import bare_name

# an apostrophe before the sign is itself marked, so that taking one mark off always restores the text
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
ONE = r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?"
NUMBERS = re.compile(rf"{ONE}([,; ]{ONE})*")  # one, or a vector of them
UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of a character that UTF-8 cannot hold


class Form:
    """How rows of `columns` are written at `path`: .tsv, .csv or .jsonl, by its name (less `.gz`; "-" is a .tsv).

    UsageError for another ending or no columns.
    """

    def __init__(self, path: str | os.PathLike[str], columns: Sequence[str]) -> None:
        self.path, self.columns, self.ending = path, list(columns), bare_name(path).suffix.lower()
        if self.ending not in (".csv", ".tsv", ".jsonl"):
            raise UsageError(
                f"{path}: name it .tsv (tabs, no quoting), .csv (commas, quotes) or .jsonl (an object a line)"
            )
        if not columns:
            raise UsageError(f"{path}: a table needs at least one column")

    def header(self) -> str:
        """The line of the columns' names; JSON lines have none."""
        return "" if self.ending == ".jsonl" else self.line(self.columns, 0)

    def line(self, row: Mapping[str, Any] | Sequence[Any], number: int) -> str:
        """Row `number`, a mapping or a sequence in the order of the columns, and a line end. None is an empty cell.

        Raises DataError naming row and column of a cell that the form cannot hold (in .tsv a tab or a line end).
        """
        values, cells = _values(self.path, row, self.columns), []
        for name, value in zip(self.columns, values, strict=True):
            try:
                cells.append(self._cell(value))
            except ValueError as error:
                raise DataError(f"{self.path}: row {number}, column {name!r}: {error}") from None
        if self.ending == ".jsonl":
            return json.dumps(dict(zip(self.columns, values, strict=True)), ensure_ascii=False) + "\n"
        return (("," if self.ending == ".csv" else "\t").join(cells)) + "\n"

    def _cell(self, value: Any) -> str:
        text = "" if value is None else value if isinstance(value, str) else _spelt(value)
        return {".csv": _comma_cell, ".tsv": _tab_cell, ".jsonl": _checked}[self.ending](text)


def _spelt(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)


def write_table(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]], columns: Sequence[str]
) -> None:
    """Write `rows`, as `Form.line` takes them, under a header; by the name's ending a .tsv, .csv or .jsonl.

    Raises as `Form`, LabkitError where the disk refuses.
    """
    form = Form(path, columns)
    lines = [form.header(), *(form.line(row, number) for number, row in enumerate(rows, start=1))]
    write_text(path, "".join(lines))


def _values(path: Any, row: Mapping[str, Any] | Sequence[Any], columns: Sequence[str]) -> list[Any]:
    if isinstance(row, Mapping):
        missing = [name for name in columns if name not in row]
        if missing:
            raise DataError(f"{path}: a row has no column {missing[0]!r}: {str(dict(row))[:80]}")
        return [row[name] for name in columns]
    if isinstance(row, str) or len(row) != len(columns):
        raise DataError(f"{path}: a row must have {len(columns)} cells ({', '.join(columns)}): {str(row)[:80]}")
    return list(row)


def _checked(text: str) -> str:
    bad = UNWRITABLE.search(text)
    if bad:
        raise ValueError(f"character {bad.start() + 1} is {bad.group()!a}, which a text file cannot hold; take it out")
    return text


def _marked(text: str) -> str:
    text = _checked(text)
    return f"'{text}" if FORMULA.match(text) and not NUMBERS.fullmatch(text) else text


def _tab_cell(text: str) -> str:
    if "\t" in text or "\n" in text or "\r" in text:
        raise ValueError(f"{text[:40]!r} holds a tab or a line end, which .tsv cannot; write a .csv instead")
    return _marked(text)


def _comma_cell(text: str) -> str:
    text = _marked(text)
    if text == "" or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
