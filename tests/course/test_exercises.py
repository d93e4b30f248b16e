"""Exercises in a notebook: found, judged, solved."""

from __future__ import annotations

import pytest

from labkit.course import exercises


def code(source):
    return {"cell_type": "code", "source": source}


def markdown(source):
    return {"cell_type": "markdown", "source": source}


STUB = code("from labkit.checks import pet as check\n\ndef f(x):\n    ...\n\nf = check.name(f)")
HINTS = "".join(f"<details><summary>Hint {n}</summary>go {n}</details>\n" for n in (1, 2, 3))
SOLUTION = (
    "<details>\n<summary>Solution</summary>\n\n```python\ndef f(x):\n    y = 2\n    return y * x\n```\n</details>"
)
WHOLE = markdown(HINTS + SOLUTION)


def said(*cells):
    return [problem for found in exercises.find(cells) for problem in found.problems()]


def test_a_whole_exercise_has_no_problem():
    (found,) = exercises.find([STUB, markdown(HINTS + SOLUTION)])
    assert (found.name, found.function, found.kept, found.cell, found.stub) == ("name", "f", True, 0, (3, 4))
    assert found.problems() == []
    assert said(STUB, markdown(HINTS), markdown(SOLUTION)) == []


@pytest.mark.parametrize(
    ("cells", "problem"),
    [
        ((code("f = check.name(f)"), markdown(HINTS + SOLUTION)), "has no stub"),
        ((code("def f(x):\n    return 1\nf = check.name(f)"), markdown(HINTS + SOLUTION)), "has no stub"),
        ((code("def f(x): ...\ncheck.name(f)"), WHOLE), r"not kept: write `f = check\.name\(f\)`"),
        ((code("def f(x): ...\ng = check.name(f)"), WHOLE), "the result of check.name is not kept"),
        ((code("def f(x): ...\nf = [check.name(f)]"), WHOLE), "the result of check.name is not kept"),
        ((STUB, markdown(HINTS.replace("Hint 2", "Help") + SOLUTION)), "hint 2 missing"),
        ((STUB, markdown(HINTS.replace("go 3", " ") + SOLUTION)), "hint 3 missing"),
        ((STUB, markdown(HINTS)), "has no solution"),
        ((STUB, markdown(HINTS + SOLUTION.replace("```python", "```"))), "has no solution"),
        ((STUB, markdown(HINTS + SOLUTION.replace("def f", "def g"))), r"does not define f\(\)"),
        ((STUB, markdown(HINTS + SOLUTION.replace("y * x", "y *"))), "is no valid Python"),
        ((STUB, code("1"), markdown(HINTS + SOLUTION)), "hint 1, 2, 3 missing"),
    ],
)
def test_what_is_missing_is_said(cells, problem):
    import re

    assert any(re.search(problem, line) for line in said(*cells)), said(*cells)


def test_a_stub_may_have_a_docstring_and_a_cell_its_magics():
    cell = code('%matplotlib inline\ndef f(x):\n    """Says."""\n    ...\nf = check.name(f)')
    assert said(cell, markdown(HINTS + SOLUTION)) == []


def test_one_cell_may_hold_two_exercises():
    cell = code("def f(x): ...\ndef g(x): ...\nf = check.one(f)\ng = check.two(g)")
    both = SOLUTION + SOLUTION.replace("def f", "def g").replace("y = 2", "y = 3")
    found = exercises.find([cell, markdown(HINTS + both)])
    assert [(item.name, item.function) for item in found] == [("one", "f"), ("two", "g")]
    (filled, _) = exercises.solved([cell, markdown(HINTS + both)])
    space = {"check": type("C", (), {"one": staticmethod(lambda f: f), "two": staticmethod(lambda g: g)})}
    exec(filled["source"], space)  # noqa: S102
    assert space["f"](5) == 10 and space["g"](5) == 15


def test_solved_leaves_the_rest_and_the_original_alone():
    cells = [code("1"), STUB, markdown(HINTS + SOLUTION)]
    filled = exercises.solved(cells)
    assert filled[0] == cells[0] and filled[2] == cells[2]
    assert "    return y * x\n\nf = check.name(f)" in filled[1]["source"] and "..." not in filled[1]["source"]
    assert "..." in cells[1]["source"]


@pytest.mark.parametrize(
    "source", ["checked.name(f)", "check = 3", "print('check.name(f)')", "def broken(:\ncheck.x(f)"]
)
def test_what_is_no_check_is_no_exercise(source):
    assert exercises.find([code(source)]) == []
