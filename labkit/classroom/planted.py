"""Submissions that are known to be right, wrong, or wrong in one place: what a grader is to be tried on.

A planted submission is a Python file: its docstring says what it stands for and what it must lose; below, each
`# %% NAME` begins the code for the answer cell of that name. Cells it does not name are those of its base, the
reference or the untouched release.

    \"\"\"Somebody who never thinks of bad input.

    base: reference
    loses: fit_row_refuses, fuzzy_refuses
    \"\"\"
    # %% fit_row
    def fit_row(…): …
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from labkit.classroom.course import cells, points
from labkit.errors import DataError, unknown

BASES = ("reference", "release")
_CELL = re.compile(r"^# %% (\w+)[ \t]*$", re.MULTILINE)


@dataclass(frozen=True)
class Submission:
    """Answers by grade_id, and the test cells that they must fail (all others they must pass)."""

    name: str
    answers: Mapping[str, str] = field(default_factory=dict)
    loses: frozenset[str] = frozenset()

    def expected(self, source: Any) -> dict[str, float]:
        """Points of each test cell that this submission must get."""
        return {name: 0.0 if name in self.loses else worth for name, worth in points(source, "test").items()}


def submissions(source: Any, planted: list[Path]) -> list[Submission]:
    """The reference, the untouched release, and the planted ones; DataError for a file that cannot be used."""
    tests, reference = frozenset(points(source, "test")), answers(source)
    found = [Submission("reference", reference), Submission("untouched", {}, tests)]
    return found + [_read(path, reference, tests) for path in planted]


def answers(notebook: Any) -> dict[str, str]:
    """What stands in the cells that a student fills, by grade_id."""
    return {name: cell.source for name, cell in cells(notebook, "answer", "manual")}


def _read(path: Path, reference: Mapping[str, str], tests: frozenset[str]) -> Submission:
    text = path.read_text(encoding="utf-8")
    try:
        about = ast.get_docstring(ast.parse(text)) or ""
    except SyntaxError as error:
        raise DataError(f"{path}, line {error.lineno}: no Python: {error.msg}") from error
    facts = dict(re.findall(r"^(base|loses):\s*(.*(?:\n[ \t]+.*)*)", about, re.MULTILINE))
    if set(facts) != {"base", "loses"} or facts["base"] not in BASES:
        raise DataError(f"{path}: the docstring must say `base: reference` or `base: release`, and `loses: …`")
    loses = frozenset(re.findall(r"\w+", facts["loses"]))
    parts = _CELL.split(text)
    code = dict(zip(parts[1::2], (part.strip() for part in parts[2::2]), strict=True))
    for what, names, known in (("test cell", loses, tests), ("answer cell", code, reference)):
        for name in sorted(names):
            if name not in known:
                raise DataError(f"{path}: {unknown(what, name, sorted(known))}")
    base = reference if facts["base"] == "reference" else {}
    return Submission(path.stem, {**base, **code}, loses)


def submitted(release: Any, given: Mapping[str, str]) -> Any:
    """The released notebook with these answers in it, as a student would hand it in."""
    notebook = copy.deepcopy(release)
    for name, cell in cells(notebook, "answer", "manual"):
        cell.source = given.get(name, cell.source)
    return notebook
