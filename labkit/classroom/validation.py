"""What can be wrong with an assignment without running it: in its source, and in what students would get."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from labkit.classroom.course import HIDDEN, SOLUTION, cells, graded, kind, points

MARKER = re.compile(r"###\s*(BEGIN|END)\s+(SOLUTION|HIDDEN TESTS)|(BEGIN|END) (SOLUTION|HIDDEN TESTS|MARK SCHEME)")
TELLING = 12  # characters: a shorter line (`else:`, `return x`) says nothing, wherever it stands


def source_problems(notebook: Any) -> list[str]:
    """What is wrong with a notebook that holds solutions and tests, a sentence each; empty where nothing is."""
    return [*_metadata(notebook), *_markers(notebook), *_tests(notebook), *_sums(notebook)]


def _metadata(notebook: Any) -> Iterator[str]:
    import nbformat

    try:
        nbformat.validate(notebook)
    except nbformat.ValidationError as error:
        yield f"not a valid notebook: {str(error).splitlines()[0]}"
    names = Counter(graded(cell).get("grade_id") for cell in notebook.cells if kind(cell))
    for name, count in names.items():
        if not name:
            yield "a cell of nbgrader's has no grade_id"
        elif count > 1:
            yield f"grade_id {name!r} stands {count} times"
    for name, cell in cells(notebook, "answer", "test", "manual", "locked", "unknown"):
        found = graded(cell)
        if found.get("schema_version") != 3:
            yield f"{name}: schema_version is {found.get('schema_version')!r}, not 3"
        if kind(cell) == "unknown":
            yield f"{name}: grade, solution and locked do not go together"
        if kind(cell) in ("test", "manual") and not _positive(found.get("points")):
            yield f"{name}: points must be a number above 0, not {found.get('points')!r}"
    if any(cell.get("outputs") for cell in notebook.cells):
        yield "the source holds outputs: clear them"


def _positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0


def _markers(notebook: Any) -> Iterator[str]:
    for cell in notebook.cells:
        what, name = kind(cell), graded(cell).get("grade_id", "a cell")
        left = MARKER.search(HIDDEN.sub("", SOLUTION.sub("", cell.source)))
        inside = [body for found in (SOLUTION, HIDDEN) for body in found.findall(cell.source)]
        if left or any(MARKER.search(body) for body in inside):
            yield f"{name}: a BEGIN without its END, an END without its BEGIN, or one region inside another"
        if SOLUTION.search(cell.source) and what != "answer":
            yield f"{name}: a solution in a cell that is no answer would be released"
        if HIDDEN.search(cell.source) and what != "test":
            yield f"{name}: hidden tests in a cell that is no test"
        if what == "answer" and not SOLUTION.search(cell.source):
            yield f"{name}: an answer without a solution region: nbgrader would blank the whole cell"


def _tests(notebook: Any) -> Iterator[str]:
    for name, cell in cells(notebook, "test"):
        for text in (cell.source, HIDDEN.sub("", cell.source)):
            try:
                body = ast.parse(text).body
            except SyntaxError as error:
                yield f"{name}: line {error.lineno} is no Python: {error.msg}"
                break
            if body and isinstance(body[-1], ast.Expr):
                yield f"{name}: ends in an expression, whose value nbgrader takes for a score: end in an assert"
                break


def _sums(notebook: Any) -> Iterator[str]:
    declared = notebook.metadata.get("labkit", {})
    by_hand = sum(points(notebook, "manual").values())
    for what, key, found in (
        ("all cells together", "points", sum(points(notebook, "test").values()) + by_hand),
        ("cells graded by hand", "by_hand", by_hand),
    ):
        if declared.get(key) != found:
            yield f"{what} give {found:g} points, the notebook's metadata (labkit: {key}) say {declared.get(key)}"


def release_problems(source: Any, release: Any, folder: Path, name: str) -> list[str]:
    """What the release lets out that it must not, or lacks; `folder` is the released one, of the notebook `name`."""
    files = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
    problems = [f"the release holds {path}" for path in files if path != name]
    given = "\n".join(cell.source for cell in release.cells)
    if MARKER.search(given):
        problems.append("the release holds a BEGIN or END marker")
    public = {line.strip() for cell in source.cells for line in _public(cell).splitlines()}
    leaked = {line.strip() for line in given.splitlines()} & _secrets(source) - public
    problems += [f"the release holds a line of a solution or hidden test: {line!r:.80}" for line in sorted(leaked)]
    mine, theirs = ([graded(cell).get("grade_id") for cell in found.cells] for found in (source, release))
    if mine != theirs:
        problems.append("the release does not have the source's cells")
    if any(cell.get("outputs") for cell in release.cells):
        problems.append("the release holds outputs")
    return problems


def _public(cell: Any) -> str:
    """What of a cell anybody may read."""
    return "" if kind(cell) == "manual" else HIDDEN.sub("", SOLUTION.sub("", cell.source))


def _secrets(source: Any) -> set[str]:
    """The telling lines of solutions, hidden tests and model answers."""
    bodies = [body for cell in source.cells for found in (SOLUTION, HIDDEN) for body in found.findall(cell.source)]
    bodies += [cell.source for _, cell in cells(source, "manual")]
    lines = {line.strip() for body in bodies for line in body.splitlines()}
    return {line for line in lines if len(line) >= TELLING}


def errors_on_stderr(executed: Any) -> list[str]:
    """The cells of an executed reference that wrote to standard error, which nbgrader takes for a failure."""
    return [
        f"{graded(cell).get('grade_id', 'a cell')}: wrote to standard error: {output.text.strip():.80}"
        for cell in executed.cells
        for output in cell.get("outputs", [])
        if output.output_type == "stream" and output.name == "stderr"
    ]
