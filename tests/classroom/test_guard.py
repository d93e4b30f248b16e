"""Hostile submissions, graded in one run as a class would be: what each scores, and that the grader lives."""

from __future__ import annotations

import copy
import json
import time
from pathlib import Path

import pytest

from labkit.classroom.course import cells, graded, read_notebook
from labkit.classroom.grading import workshop
from labkit.classroom.planted import submitted

pytest.importorskip("nbgrader", reason="needs labkit[classroom]")
from tests.classroom import hostile  # noqa: E402  it imports nbformat

ASSIGNMENTS = Path(__file__).resolve().parents[2] / "assignments"
CELLS = ("double_visible", "double_hidden", "half_visible")
WRONG, HALF = "def double(x):\n    return 1", "def half(x):\n    return x / 2"
LIMITS = "\nc.Execute.timeout = 4\nc.BoundedExecute.patience = 2\nc.BoundedExecute.max_characters = 20_000\n"


CODE = hostile.RUNNING_WILD | hostile.SHOWING_VALUES | hostile.CHEATING


def _changed(notebook, name):
    """The notebook with its cells tampered with in the way called `name`."""
    by_id = {graded(cell)["grade_id"]: cell for cell in notebook.cells}
    test = by_id["double_visible"]
    if name in ("duplicate_after", "duplicate_before"):
        double = copy.deepcopy(test)
        double.source, double.id = "pass", "second"
        notebook.cells.insert(0 if name.endswith("before") else len(notebook.cells), double)
    elif name == "deleted_test":
        notebook.cells.remove(test)
    elif name == "empty":
        notebook.cells.clear()
    elif name == "edited_test":
        test.source, test.metadata.nbgrader.points = "pass", 100
    elif name == "test_made_an_answer":
        test.metadata.nbgrader |= {"solution": True, "locked": False}
    elif name == "renamed_test":
        test.metadata.nbgrader.grade_id = "nonsense"
    elif name == "odd_metadata":
        test.metadata.nbgrader, notebook.metadata.kernelspec.name = "none", "none-such"
    elif name == "half_a_character":
        by_id["double"].source += "\n# \ud83d"
    return notebook


TAMPERED = ("duplicate_after", "duplicate_before", "deleted_test", "empty", "edited_test", "test_made_an_answer",
            "renamed_test", "odd_metadata", "half_a_character")  # fmt: skip


@pytest.fixture(scope="module")
def graded_class(tmp_path_factory):
    """(grades by student, executed notebooks by student, seconds) of one `nbgrader autograde` over all submissions."""
    config = (ASSIGNMENTS / "nbgrader_config.py").read_text(encoding="utf-8")
    with workshop(hostile.course(tmp_path_factory.mktemp("hostile"), config + LIMITS), "mini") as shop:
        release = read_notebook(shop.release() / "mini.ipynb")
        students = {name: submitted(release, {"double": code, "half": HALF}) for name, (code, _) in CODE.items()}
        for name in TAMPERED:
            students[name] = _changed(submitted(release, {"double": WRONG, "half": HALF}), name)
        students["zoe"] = submitted(release, {"double": "def double(x):\n    return x + x", "half": HALF, "why": "So."})
        for name, notebook in students.items():
            shop.submit(name, "mini.ipynb", release)
            (shop.root / "submitted" / name / "mini" / "mini.ipynb").write_text(json.dumps(notebook), encoding="utf-8")
        start = time.monotonic()
        shop.nbgrader("autograde", "mini", seconds=400)  # fails unless every one of them is graded
        seconds = time.monotonic() - start
        grades = {name: shop.grades(name, "mini") for name in students}
        executed = {name: read_notebook(shop.autograded(name, "mini.ipynb")) for name in students}
    return grades, executed, seconds


@pytest.mark.parametrize("name", CODE)
def test_hostile_code_gets_its_score_and_the_grader_goes_on(graded_class, name):
    grades, _, _ = graded_class
    assert tuple(grades[name].scores[cell] for cell in CELLS) == CODE[name][1]


@pytest.mark.parametrize("name", TAMPERED)
def test_tampered_cells_win_nothing(graded_class, name):
    grades, _, _ = graded_class
    assert tuple(grades[name].scores[cell] for cell in CELLS) == ((0, 0, 0) if name == "empty" else (0, 0, 2))


def test_the_last_of_the_class_is_graded_as_ever(graded_class):
    grades, _, seconds = graded_class
    assert grades["zoe"].total == 4
    assert grades["zoe"].by_hand == ("why",)
    assert seconds < 300


def test_endless_output_is_cut(graded_class):
    _, executed, _ = graded_class
    said = "".join(
        output.get("text", "") for cell in executed["endless_output"].cells for output in cell.get("outputs", [])
    )
    assert "more output was dropped" in said
    assert len(said) < 50_000


def test_a_deaf_kernel_is_given_up_and_the_student_told(graded_class):
    _, executed, _ = graded_class
    last = dict(cells(executed["deaf"], "test"))["half_visible"]
    assert "did not answer after an interruption" in last.outputs[0].evalue


def test_hidden_tests_can_be_read_by_the_code_under_test(graded_class):
    """The teacher's page says so; if this ever fails, the page may be changed."""
    _, executed, _ = graded_class
    hidden = dict(cells(executed["reads_the_test"], "test"))["double_hidden"]
    assert "close(double(21.5), 43)" in hidden.outputs[0].text


# Scores without running: assignments/scoring_config.py


def test_scoring_reads_scores_without_running_anything(tmp_path):
    import nbformat
    from nbformat.v4 import new_output

    config = (ASSIGNMENTS / "scoring_config.py").read_text(encoding="utf-8")
    with workshop(hostile.course(tmp_path / "course", config), "mini") as shop:
        release = read_notebook(shop.release() / "mini.ipynb")
        marker = tmp_path / "ran"
        notebook = submitted(release, {"double": f"open({str(marker)!r}, 'w')", "half": HALF})
        by_id = dict(cells(notebook, "test"))
        by_id["double_visible"].execution_count = 3
        by_id["half_visible"].execution_count = 4
        by_id["double_hidden"].execution_count = 5
        by_id["double_hidden"].outputs = [nbformat.from_dict({"output_type": "stream", "text": 3})]  # of no known shape
        by_id["half_visible"].outputs = [new_output("error", ename="AssertionError", evalue="", traceback=[])]
        shop.submit("anne", "mini.ipynb", notebook)
        shop.autograde("anne", seconds=120)
        assert shop.grades("anne", "mini").scores == {"double_visible": 1, "double_hidden": 0, "half_visible": 0}
    assert not marker.exists()
