"""Faults planted in a source notebook or a release: each is found and named."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from labkit.classroom.course import HIDDEN, SOLUTION, Course, graded, kind
from labkit.classroom.validation import errors_on_stderr, release_problems, source_problems
from labkit.classroom.writing import in_step, notebook, notebook_text
from labkit.errors import DataError, UsageError

pytest.importorskip("nbformat", reason="needs labkit[classroom]")
from tests.classroom import hostile  # noqa: E402  it imports nbformat

ROOT = Path(__file__).resolve().parents[2]


def cell(nb, name):
    return next(found for found in nb.cells if graded(found).get("grade_id") == name)


def test_a_sound_source_has_no_problems():
    assert source_problems(hostile.source()) == []


def _metadata(name, **values):
    return lambda nb: cell(nb, name).metadata.nbgrader.update(values)


def _source(name, old, new):
    def change(nb):
        found = cell(nb, name)
        assert old in found.source
        found.source = found.source.replace(old, new)

    return change


BEGIN, END, HIDE, SHOW = "### BEGIN SOLUTION", "### END SOLUTION", "### BEGIN HIDDEN TESTS", "### END HIDDEN TESTS"
FAULTS = [
    (_metadata("half", grade_id="double"), "grade_id 'double' stands 2 times"),
    (_metadata("half", grade_id=""), "has no grade_id"),
    (_metadata("half", schema_version=2), "half: schema_version is 2, not 3"),
    (_metadata("half", locked=True), "half: grade, solution and locked do not go together"),
    (_metadata("half_visible", points=0), "half_visible: points must be a number above 0"),
    (_metadata("half_visible", points=5), "all cells together give 10 points"),
    (_metadata("why", points=4), "cells graded by hand give 4 points"),
    (_source("half", "    ### END SOLUTION", ""), "half: a BEGIN without its END"),
    (_source("half", BEGIN, f"{BEGIN}\n    {BEGIN}"), "half: a BEGIN without its END"),
    (_source("double_hidden", "\n### END HIDDEN TESTS", ""), "double_hidden: a BEGIN without its END"),
    (_source("half", f"{BEGIN}\n    return x / 2\n    {END}", "return x / 2"), "an answer without a solution"),
    (_source("helper", "import math", f"{BEGIN}\nimport math\n{END}"), "in a cell that is no answer"),
    (_source("helper", "import math", f"{HIDE}\nimport math\n{SHOW}"), "in a cell that is no test"),
    (_source("half_visible", "assert half(8) == 4", "half(8) == 4"), "half_visible: ends in an expression"),
    (_source("half_visible", "assert half(8) == 4", "assert half(8) == 4\nTrue"), "half_visible: ends in an exp"),
    (_source("double_hidden", "\n### END", "\n2.0\n### END"), "double_hidden: ends in an expression"),
    (_source("half_visible", "assert half(8)", "assert half(8"), "half_visible: line 1 is no Python"),
    (lambda nb: cell(nb, "helper").update(outputs=[hostile_output()]), "the source holds outputs"),
]  # fmt: skip


def hostile_output(name="stdout"):
    from nbformat.v4 import new_output

    return new_output("stream", name=name, text="hello")


@pytest.mark.parametrize(("plant", "told"), FAULTS, ids=[told for _, told in FAULTS])
def test_each_fault_of_a_source_is_named(plant, told):
    nb = hostile.source()
    plant(nb)
    assert any(told in problem for problem in source_problems(nb)), source_problems(nb)


def released(nb):
    found = copy.deepcopy(nb)
    for one in found.cells:
        one.source = HIDDEN.sub("", SOLUTION.sub("    raise NotImplementedError()", one.source))
        if kind(one) == "manual":
            one.source = "YOUR ANSWER HERE"
    return found


@pytest.mark.parametrize(
    ("plant", "told"),
    [
        (lambda nb, _: cell(nb, "half").update(source="def half(x):\n    return x / 2"), "a line of a solution"),
        (lambda nb, _: cell(nb, "helper").update(source="assert close(double(21.5), 43)"), "a line of a solution"),
        (lambda nb, _: cell(nb, "why").update(source="Because a half is the other half."), "a line of a solution"),
        (lambda nb, _: cell(nb, "half").update(source="### BEGIN SOLUTION"), "a BEGIN or END marker"),
        (lambda nb, _: cell(nb, "half").update(outputs=[hostile_output()]), "the release holds outputs"),
        (lambda nb, _: nb.cells.pop(), "does not have the source's cells"),
        (lambda _, folder: (folder / "planted.py").write_text("x"), "the release holds planted.py"),
    ],
)  # fmt: skip
def test_each_leak_of_a_release_is_named(tmp_path, plant, told):
    nb = hostile.source()
    (tmp_path / "mini.ipynb").write_text("")
    given = released(nb)
    assert release_problems(nb, given, tmp_path, "mini.ipynb") == []
    plant(given, tmp_path)
    assert any(told in problem for problem in release_problems(nb, given, tmp_path, "mini.ipynb"))


def test_standard_error_of_the_reference_is_found():
    nb = hostile.source()
    cell(nb, "half_visible").outputs = [hostile_output(), hostile_output("stderr")]
    assert errors_on_stderr(nb) == ["half_visible: wrote to standard error: hello"]


# Text and notebook


TEXT = """# ---
# jupyter:
#   labkit:
#     points: 1
#     by_hand: 0
# ---

# %% answer="one"
def one():
    ### BEGIN SOLUTION
    return 1
    ### END SOLUTION

# %% test="one_visible" points=1
assert one() == 1
"""


@pytest.fixture
def course(tmp_path):
    (tmp_path / "nbgrader_config.py").write_text("")
    for folder in ("text", "source"):
        (tmp_path / folder / "a1").mkdir(parents=True)
    (tmp_path / "text/a1/one.py").write_text(TEXT)
    return Course.at(tmp_path)


def test_a_text_becomes_a_sound_notebook_the_same_each_time(course):
    pytest.importorskip("jupytext")
    (path,) = course.texts("a1")
    assert source_problems(notebook(path)) == []
    assert notebook_text(path) == notebook_text(path)
    assert [kind(one) for one in notebook(path).cells] == ["answer", "test"]


def test_a_notebook_out_of_step_is_named(course):
    pytest.importorskip("jupytext")
    assert "run labkit assignments build" in in_step(course, "a1")[0]
    (course.root / "source/a1/one.ipynb").write_text(notebook_text(course.texts("a1")[0]))
    assert in_step(course, "a1") == []
    (course.root / "text/a1/one.py").write_text(TEXT.replace("return 1", "return 1.0"))
    assert len(in_step(course, "a1")) == 1


def test_a_cell_of_two_parts_is_refused(course):
    pytest.importorskip("jupytext")
    (course.root / "text/a1/one.py").write_text('# %% answer="a" test="b"\nx = 1\n')
    with pytest.raises(DataError, match="cannot be answer and test"):
        notebook(course.texts("a1")[0])


def test_every_assignment_of_the_course_is_in_step():
    pytest.importorskip("jupytext")
    course = Course.at(ROOT / "assignments")
    for name in course.assignments():
        assert in_step(course, name) == []
        assert source_problems(notebook(course.texts(name)[0])) == []


def test_no_course_and_no_assignment_are_usage_errors(tmp_path, course):
    with pytest.raises(UsageError, match="--course DIR"):
        Course.at(tmp_path / "none")
    with pytest.raises(UsageError, match="did you mean 'a1'"):
        course.assignments("a2")
    with pytest.raises(DataError, match="0 notebooks, 1 is wanted"):
        course.source("a1")
