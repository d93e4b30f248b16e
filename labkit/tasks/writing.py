"""Tables that other programs open: written whole or not at all, and harmless in a spreadsheet.

A spreadsheet runs a cell that begins with = + - @ (or a tab or line end before one) as a formula. Such a cell gets a
mark, an apostrophe in front, which `read_table` takes off again; numbers such as -5 or +1.5e3 stay as they are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labkit.errors import DataError, UsageError
from labkit.files import write_text

# an apostrophe before the sign is itself marked, so that taking one mark off always restores the text
FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
UNWRITABLE = re.compile("[\0\ud800-\udfff]")  # NUL, and halves of a character that UTF-8 cannot hold


def write_table(
    path: str | os.PathLike[str], rows: Iterable[Mapping[str, Any] | Sequence[Any]], columns: Sequence[str]
) -> None:
    """Write `rows`, mappings or sequences in the order of `columns`, under a header; .tsv or .csv by the name's ending.

    None becomes an empty cell. Raises DataError naming row and column of a cell that the form cannot hold (in .tsv a
    tab or a line end), UsageError for another ending or no columns, LabkitError where the disk refuses.
    """
    ending = Path(path).suffix.lower()
    if ending not in (".csv", ".tsv"):
        raise UsageError(f"{path}: name it .tsv (tabs, no quoting) or .csv (commas, quotes)")
    if not columns:
        raise UsageError(f"{path}: a table needs at least one column")
    form, parting = (_comma_cell, ",") if ending == ".csv" else (_tab_cell, "\t")
    lines = []
    for number, values in enumerate([list(columns), *(_values(path, row, columns) for row in rows)]):
        cells = []
        for name, value in zip(columns, values, strict=True):
            try:
                cells.append(form("" if value is None else str(value)))
            except ValueError as error:
                raise DataError(f"{path}: row {number}, column {name!r}: {error}") from None
        lines.append(parting.join(cells) + "\n")
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
    return f"'{text}" if FORMULA.match(text) and not NUMBER.fullmatch(text) else text


def _tab_cell(text: str) -> str:
    if "\t" in text or "\n" in text or "\r" in text:
        raise ValueError(f"{text[:40]!r} holds a tab or a line end, which .tsv cannot; write a .csv instead")
    return _marked(text)


def _comma_cell(text: str) -> str:
    text = _marked(text)
    if text == "" or any(mark in text for mark in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text
