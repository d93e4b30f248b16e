"""Text cut into records: the two grammars of a table, with the line each record begins on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from labkit.errors import DataError
from labkit.tasks.text import split_lines, stray_return

BARE_END = re.compile(r'[,\n"]')


def tab_records(text: str, path: Any = "table", line: int = 1) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a text that begins on `line`: tabs part cells, line ends records, nothing is quoted.

    Raises DataError on a lone CR.
    """
    return ((number, record.split("\t")) for number, record in enumerate(split_lines(text, path, line), start=line))


def comma_records(text: str, path: Any = "table", line: int = 1) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of a text that begins on `line`, after RFC 4180.

    Lines may end in LF or CRLF, and a quoted cell may hold either.

    Raises DataError naming the line of a quote in a bare cell or of a lone CR, and the line it opened on of a quote
    never closed or with text behind it.
    """
    at = 0
    while at < len(text):
        end = text.find("\n", at)
        end = len(text) if end < 0 else end
        if text.find('"', at, end) < 0:
            yield line, _bare(text[at:end], end < len(text), path, line).split(",")
            at, line = end + 1, line + 1
        else:
            cells, at, used = _quoted_record(text, at, line, path)
            yield line, cells
            line += used


def _bare(piece: str, ended: bool, path: Any, line: int) -> str:
    """Text up to a line end without the CR of a CRLF; any other CR is an error."""
    piece = piece[:-1] if ended and piece.endswith("\r") else piece
    if "\r" in piece:
        raise stray_return(path, line)
    return piece


def _quoted_record(text: str, at: int, line: int, path: Any) -> tuple[list[str], int, int]:
    """One record that has a quote: its cells, where the next begins, how many lines it took."""
    cells, now = [], line
    while True:
        if text.startswith('"', at):
            cell, at = _quoted_cell(text, at, now, path)
            now += cell.count("\n")
        else:
            found = BARE_END.search(text, at)
            end = found.start() if found else len(text)
            if text.startswith('"', end):
                raise DataError(
                    f"{path}: line {now}: a quote inside a cell that does not begin with one; put the whole cell "
                    'between quotes and double those inside ("so ""quoted"" it is"), or save the table as .tsv'
                )
            cell, at = _bare(text[at:end], text.startswith("\n", end), path, now), end
        cells.append(cell)
        if not text.startswith(",", at):
            return cells, at + 1, now - line + 1
        at += 1


def _quoted_cell(text: str, at: int, line: int, path: Any) -> tuple[str, int]:
    """The cell whose opening quote stands at `at`, and the place of the comma or line feed behind it."""
    end = text.find('"', at + 1)
    while end >= 0 and text.startswith('""', end):
        end = text.find('"', end + 2)
    if end < 0:
        raise DataError(f"{path}: line {line}: the quote opened on this line is never closed")
    cell, after = text[at + 1 : end].replace('""', '"'), end + 1
    if text.startswith("\r\n", after):
        after += 1
    if after < len(text) and text[after] not in ",\n":
        closing = line + cell.count("\n")
        raise DataError(
            f"{path}: line {line}: the quote opened on this line closes on line {closing} with text behind it "
            f"({text[after : after + 20]!r}); double the quotes inside a cell"
        )
    return cell, after
