"""What makes a lesson a lesson of this course, as far as it can be counted: short, small cells, few tables, exercises
whose functions the lesson goes on with.

A cell tagged `idea` may be long: its code is what the lesson is about. The lessons in `NOT_YET` do not hold the pattern
yet; the list may only shrink, so one that holds it must leave.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Sequence
from typing import Any

from labkit.course.exercises import DETAILS, Found, find, tree

NOT_YET = frozenset("03/07".split())
CELLS, WORDS, LINES = 45, 2500, 15
TABLES, ROWS, COLUMNS = 3, 9, 7  # the header's row and the names' column included
EXERCISES = range(3, 7)
MARK = re.compile(r"(●○○|●●○|●●●) · (\d+) minutes?")
CODE = re.compile(r"```.*?```|\$\$.*?\$\$|\$[^$\n]*\$|`[^`\n]*`", re.DOTALL)
WORD = re.compile(r"[^\W\d_][\w’'-]*")
Problem = tuple[int | None, str]


def problems(key: str, cells: Sequence[Any]) -> Iterator[Problem]:
    """What keeps a lesson's notebook from the pattern: (cell, from 0, or None for the whole; what, and its mend)."""
    found = [*_size(cells), *_tables(cells), *_exercises(cells)]
    if key not in NOT_YET:
        yield from found
    elif not found:
        yield None, "it holds the course's pattern now: take it off NOT_YET (labkit/course/pattern.py)"


def words(cells: Sequence[Any]) -> int:
    """Words of a lesson's prose: without code, formulas, hints and solutions."""
    return sum(len(WORD.findall(CODE.sub(" ", DETAILS.sub(" ", cell["source"])))) for cell in _texts(cells))


def _texts(cells: Sequence[Any]) -> list[Any]:
    return [cell for cell in cells if cell["cell_type"] == "markdown"]


def _size(cells: Sequence[Any]) -> Iterator[Problem]:
    if len(cells) > CELLS:
        yield None, f"{len(cells)} cells, at most {CELLS} are allowed: two ideas? Cut one"
    if (count := words(cells)) > WORDS:
        yield None, f"{count} words, at most {WORDS} are allowed: leave out what the results page says"
    for place, cell in enumerate(cells):
        tags = cell["metadata"].get("tags", ())
        if cell["cell_type"] == "code" and not {"idea", "bootstrap"} & set(tags):
            lines = sum(bool(line.strip()) for line in cell["source"].splitlines())
            if lines > LINES:
                mend = "move plumbing into labkit, or tag it `idea`"
                yield place, f"{lines} lines of code, at most {LINES} are allowed: {mend}"


def _tables(cells: Sequence[Any]) -> Iterator[Problem]:
    """Tables in outputs and in the text."""
    sizes = [(place, size) for place, cell in enumerate(cells) for size in _sizes(cell)]
    if len(sizes) > TABLES:
        yield None, f"{len(sizes)} tables, at most {TABLES} are allowed: one sorted plot says more; link to the results"
    for place, (rows, columns) in sizes:
        if rows > ROWS or columns > COLUMNS:
            yield place, f"a table of {rows} × {columns}, at most {ROWS} × {COLUMNS} are allowed: show less of it"


def _sizes(cell: Any) -> list[tuple[int, int]]:
    """(rows, columns) of each table of a cell."""
    if cell["cell_type"] == "markdown":
        blocks = re.findall(r"(?:^\|.*\n?)+", DETAILS.sub("", cell["source"]), re.MULTILINE)
        return [(block.count("\n|"), block.splitlines()[0].count("|") - 1) for block in blocks if "|--" in block]
    pages = ["".join(output.get("data", {}).get("text/html", "")) for output in cell["outputs"]]
    tables = [table for page in pages for table in re.findall(r"<table.*?</table>", page, re.DOTALL)]
    return [(table.count("<tr"), len(re.findall("<t[hd]", table)) // max(table.count("<tr"), 1)) for table in tables]


def _exercises(cells: Sequence[Any]) -> Iterator[Problem]:
    """Three to six, each with its difficulty and minutes, one prediction, and every function used after its check."""
    exercises = find(cells)
    if len(exercises) not in EXERCISES:
        yield None, f"{len(exercises)} exercises, {EXERCISES[0]} to {EXERCISES[-1]} are wanted"
    if not any(re.search(r"\bpredict", cell["source"], re.IGNORECASE) for cell in _texts(cells)):
        yield None, "nothing asks for a prediction: let learners predict an output before a cell shows it"
    for exercise in exercises:
        if not MARK.search(_before(cells, exercise.cell)):
            mend = "write `*●○○ · 5 minutes*` before it"
            yield exercise.cell, f"check.{exercise.name} without difficulty and minutes: {mend}"
        if not _used(cells, exercise):
            yield exercise.cell, f"{exercise.function}() is never used after its check: let the cells below run with it"


def _before(cells: Sequence[Any], place: int) -> str:
    """The text between a cell and the code before it."""
    text = ""
    while place and cells[place - 1]["cell_type"] == "markdown":
        place -= 1
        text = cells[place]["source"] + text
    return text


def _used(cells: Sequence[Any], exercise: Found) -> bool:
    """Whether code after the exercise's cell reads the function's name."""
    later = [cell["source"] for cell in cells[exercise.cell + 1 :] if cell["cell_type"] == "code"]
    return any(
        isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load) and node.id == exercise.function
        for source in later
        for node in ast.walk(tree(source))
    )
