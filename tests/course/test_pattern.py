"""What the pattern of a lesson asks for, on small notebooks; and the list of lessons that do not hold it yet."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output

from labkit.course.lessons import lesson
from labkit.course.pattern import CELLS, NOT_YET, WORDS, problems, words

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def exercise(name):
    """An exercise in the form that the pattern asks for, and a cell that uses its function."""
    return [
        new_markdown_cell(f"## Your turn: {name}\n\n*●●○ · 5 minutes* Predict what it gives."),
        new_code_cell(f"def {name}(x): ...\n\n\n{name} = check.{name}({name})"),
        new_code_cell(f"print({name}(3))"),
    ]


def good():
    return [cell for name in ("first", "second", "third") for cell in exercise(name)]


def table(rows, columns):
    line = "<tr>" + "<td>1</td>" * columns + "</tr>"
    page = new_output("display_data", data={"text/html": f"<table>{line * rows}</table>"})
    return new_code_cell("table()", outputs=[page])


def said(cells, key="09/09"):
    return [f"{place}: {what}" for place, what in problems(key, cells)]


def test_a_lesson_of_that_form_has_no_problems():
    assert said(good()) == []


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([new_markdown_cell("text")] * CELLS, f"at most {CELLS} are allowed"),
        ([new_markdown_cell("word " * (WORDS + 1))], f"words, at most {WORDS} are allowed"),
        ([new_code_cell("x = 1\n" * 16)], "16 lines of code"),
        ([table(2, 2)] * 4, "4 tables"),
        ([new_markdown_cell("| a | b |\n|---|---|\n| 1 | 2 |\n\ntext\n\n| c |\n|--|\n| 1 |\n")] * 2, "4 tables"),
        ([table(10, 3)], "9: a table of 10 × 3"),
        ([table(3, 8)], "9: a table of 3 × 8"),
        ([cell for name in "abcd" for cell in exercise(name)], "7 exercises"),
        ([new_code_cell("def late(x): ...\n\n\nlate = check.late(late)")], "without difficulty and minutes"),
        ([*exercise("late")[:2], new_code_cell("later(3)")], "late() is never used after its check"),
        ([*exercise("late")[:2], new_code_cell("late = 3")], "late() is never used after its check"),
    ],
)
def test_what_breaks_the_pattern_is_named(cells, message):
    assert any(message in one for one in said([*good(), *cells])), said([*good(), *cells])


def test_too_few_exercises_and_no_prediction():
    first, *rest = exercise("first")
    asked = new_markdown_cell(first["source"].replace("Predict", "Say"))
    assert said([asked, *rest]) == [
        "None: 1 exercises, 3 to 6 are wanted",
        "None: nothing asks for a prediction: let learners predict an output before a cell shows it",
    ]


@pytest.mark.parametrize("tag", ["idea", "bootstrap"])
def test_a_long_cell_may_be_the_idea(tag):
    assert said([*good(), new_code_cell("x = 1\n" * 40, metadata={"tags": [tag]})]) == []


def test_words_are_those_of_the_prose():
    hint = "<details><summary>Hint 1</summary>not these</details>"
    text = f"Two words\n\n$$a b$$ and `code here`\n\n{hint}\n\n```\nno\n```"
    assert words([new_markdown_cell(text), new_code_cell("not these")]) == 3


def test_the_list_of_lessons_that_do_not_hold_it_may_only_shrink():
    key = sorted(NOT_YET)[0]
    assert said(good(), key) == [
        "None: it holds the course's pattern now: take it off NOT_YET (labkit/course/pattern.py)"
    ]
    assert said([], key) == []


@pytest.mark.parametrize("key", sorted(NOT_YET))
def test_every_lesson_on_the_list_is_there(key):
    notebook = json.loads((NOTEBOOKS / lesson(key).notebook).read_text(encoding="utf-8"))
    assert notebook["cells"]
