"""The "your turn" exercises of a lesson, as its notebook holds them: stub and check, hints, solution.

The form: a code cell with `def name(…): ...` and `name = check.name(name)`, so that the cells below use what the check
gives back: the learner's function where it passes, else labkit's. After it, before the next code cell, markdown with
`<details><summary>Hint 1</summary>`, … `Hint 3`, `<details><summary>Solution</summary>` around a ```python block.
"""

from __future__ import annotations

import ast
import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

HINTS = 3
DETAILS = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.DOTALL)
PYTHON = re.compile(r"```python\n(.*?)```", re.DOTALL)


@dataclass(frozen=True)
class Found:
    """One call `check.name(function)`: whether it is `function = …`, the cell it stands in, the stub (its source lines,
    first and last, from 1), the numbers of its hints and the code of its solution.
    """

    name: str
    function: str
    kept: bool
    cell: int
    stub: tuple[int, int] | None
    hints: frozenset[int]
    solution: str | None

    def problems(self) -> list[str]:
        """What the exercise lacks, each with its mend."""
        found, function = [], self.function or self.name
        if self.stub is None:
            stub = f"`def {function}(…): ...`"
            found.append(f"check.{self.name} has no stub: write {stub} in the same cell, with nothing but `...` in it")
        if not self.kept:
            form = f"`{function} = check.{self.name}({function})`"
            found.append(f"the result of check.{self.name} is not kept: write {form}, so that the cells below use it")
        missing = [str(number) for number in range(1, HINTS + 1) if number not in self.hints]
        if missing:
            form = "<details><summary>Hint 1</summary>…</details>"
            found.append(f"check.{self.name}: hint {', '.join(missing)} missing: write `{form}` in the cell after it")
        if self.solution is None:
            form = "<details><summary>Solution</summary>"
            found.append(
                f"check.{self.name} has no solution: write `{form}` with a ```python block in the cell after it"
            )
        elif self.function not in _functions(self.solution):
            found.append(f"the solution of check.{self.name} does not define {self.function}(), or is no valid Python")
        return found


def find(cells: Sequence[Any]) -> list[Found]:
    """Every exercise in a notebook's cells, in order."""
    found = []
    for place, cell in enumerate(cells):
        if cell["cell_type"] == "code" and "check." in cell["source"]:
            hints, solution = _help(cells[place + 1 :])
            found += [
                Found(name, function, kept, place, _stub(cell["source"], function), hints,
                      solution.get(function, solution.get("")))
                for name, function, kept in _calls(cell["source"])
            ]  # fmt: skip
    return found


def solved(cells: Sequence[Any]) -> list[Any]:
    """Copies of the cells with every stub replaced by its solution, as a learner who solves all would leave them."""
    filled = copy.deepcopy(list(cells))
    for exercise in reversed(find(cells)):  # from the last, so that line numbers stay true
        if exercise.stub and exercise.solution:
            lines = filled[exercise.cell]["source"].splitlines()
            first, last = exercise.stub
            lines[first - 1 : last] = exercise.solution.rstrip().splitlines()
            filled[exercise.cell]["source"] = "\n".join(lines)
    return filled


def tree(source: str) -> ast.Module:
    """The syntax of a cell; its IPython commands (%, !) are left out, and broken code is empty."""
    lines = ["pass" if line.startswith(("%", "!")) else line for line in source.splitlines()]
    try:
        return ast.parse("\n".join(lines))
    except SyntaxError:
        return ast.Module([], [])


def _calls(source: str) -> list[tuple[str, str, bool]]:
    """(check's name, function's name, whether it is `function = …`) of each call `check.name(function)`."""
    nodes, calls = list(ast.walk(tree(source))), []
    names = {node.value: [target.id for target in node.targets if isinstance(target, ast.Name)]
             for node in nodes if isinstance(node, ast.Assign)}  # fmt: skip
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if isinstance(node.func.value, ast.Name) and node.func.value.id == "check":
                given = node.args[0] if node.args else None
                function = given.id if isinstance(given, ast.Name) else ""
                calls.append((node.func.attr, function, function in names.get(node, ())))
    return calls


def _stub(source: str, function: str) -> tuple[int, int] | None:
    """First and last line of the function, where it is a stub."""
    found = _functions(source).get(function)
    if found is None or not all(map(_says_nothing, found.body)):
        return None
    return found.lineno, found.end_lineno or found.lineno


def _says_nothing(node: ast.stmt) -> bool:
    """Whether a statement is a docstring, `...` or `pass`."""
    constant = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Pass) or constant and (node.value.value is ... or isinstance(node.value.value, str))


def _functions(code: str) -> dict[str, ast.FunctionDef]:
    """The functions that a cell defines, by name."""
    return {node.name: node for node in tree(code).body if isinstance(node, ast.FunctionDef)}


def _help(cells: Sequence[Any]) -> tuple[frozenset[int], dict[str, str]]:
    """The hints' numbers and the solutions in the markdown up to the next code cell: function -> code; the last one
    also stands under "".
    """
    text = ""
    for cell in cells:
        if cell["cell_type"] == "code":
            break
        text += cell["source"] + "\n"
    hints, solutions = set(), {}
    for summary, body in DETAILS.findall(text):
        if number := re.fullmatch(r"\s*Hint (\d+).*", summary, re.DOTALL):
            hints |= {int(number[1])} if body.strip() else set()
        elif "solution" in summary.lower() and (code := PYTHON.search(body)):
            solutions |= dict.fromkeys(["", *_functions(code[1])], code[1])
    return frozenset(hints), solutions
