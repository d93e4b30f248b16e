"""The check itself: a difference between expected and scored is a problem, and so is nbgrader's failure."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from labkit import classroom
from labkit.classroom import checking, grading
from labkit.classroom import course as courses
from labkit.classroom.course import GradingError
from labkit.classroom.grading import Grades, Workshop
from labkit.classroom.planted import submissions
from labkit.cli.course import add_assignments
from labkit.cli.parser import Parser
from labkit.errors import DataError, LabkitError, UsageError

nbformat = pytest.importorskip("nbformat", reason="needs labkit[classroom]")
from tests.classroom import hostile  # noqa: E402  it imports nbformat

RIGHT = {"double_visible": 1.0, "double_hidden": 1.0, "half_visible": 2.0}
PLANTED = '"""Half of it.\n\nbase: reference\nloses: double_hidden\n"""\n# %% double\ndef double(x): return 4\n'


@pytest.fixture
def course(tmp_path):
    (tmp_path / "planted/mini").mkdir(parents=True)
    (tmp_path / "planted/mini/partly.py").write_text(PLANTED)
    return hostile.course(tmp_path)


@pytest.fixture
def scores(monkeypatch, tmp_path):
    """A grader that gives what this dictionary says; a submission named in "fails" ends it."""
    given = {
        "reference": Grades(RIGHT, ("why",)),
        "untouched": Grades(dict.fromkeys(RIGHT, 0.0)),
        "partly": Grades(RIGHT | {"double_hidden": 0.0}, ("why",)),
    }

    class Fake(Workshop):
        def release(self):
            folder = tmp_path / "release"
            folder.mkdir()
            nb = hostile.source()
            for cell in nb.cells:
                cell.source = "raise NotImplementedError()" if courses.kind(cell) in ("answer", "manual") else ""
            nbformat.write(nb, folder / "mini.ipynb")
            return folder

        def submit(self, *_):
            pass

        def autograde(self, student, seconds=0):
            if student in given.get("fails", ()):
                raise GradingError("nbgrader autograde failed")
            return ""

        def grades(self, student, _):
            return given[student]

    @contextmanager
    def fake(*_):
        yield Fake(tmp_path, "mini")

    monkeypatch.setattr(checking, "workshop", fake)
    return given


def command(course, *options):
    parser = Parser(prog="labkit")
    add_assignments(parser.add_subparsers(parser_class=Parser))
    found = parser.parse_args(["assignments", *options, "--course", str(course.root)])
    found.handler(found)


def test_all_as_it_should_be(course, scores, capsys):
    command(course, "check")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4
    assert lines[0].split() == "assignment submission expected scored of by hand seconds as it should".split()
    assert all(line.endswith("yes") for line in lines[1:])


def test_json(course, scores, capsys):
    command(course, "check", "mini", "--json")
    rows = json.loads(capsys.readouterr().out)
    assert [(row["submission"], row["expected"], row["scored"]) for row in rows] == [
        ("reference", 4, 4), ("untouched", 0, 0), ("partly", 3, 3)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "grades", "told"),
    [
        ("reference", Grades(RIGHT | {"half_visible": 0.0}, ("why",)), "half_visible scored 0.0, 2 was expected"),
        ("untouched", Grades(dict.fromkeys(RIGHT, 0.0) | {"half_visible": 2.0}), "half_visible scored 2.0, 0 was"),
        # the same total by other cells is no pass
        ("partly", Grades(RIGHT | {"double_visible": 0.0}, ("why",)), "double_hidden scored 1.0, 0 was expected"),
        ("reference", Grades(RIGHT), "reference: waits for a person: [], expected: ['why']"),
        ("untouched", Grades(dict.fromkeys(RIGHT, 0.0), ("why",)), "waits for a person: ['why'], expected: []"),
        ("reference", Grades({}), "reference: half_visible scored nothing"),
    ],
)  # fmt: skip
def test_any_difference_fails(course, scores, capsys, name, grades, told):
    scores[name] = grades
    with pytest.raises(LabkitError) as failed:
        command(course, "check")
    assert told in str(failed.value)
    assert failed.value.exit_code == 1
    assert name in capsys.readouterr().out  # the table is printed all the same


def test_a_failing_grader_is_a_problem_of_that_submission(course, scores):
    scores["fails"] = ("untouched",)
    outcome = classroom.check(course, "mini")
    assert [row["as it should"] for row in outcome.rows] == ["yes", "NO", "yes"]
    assert "untouched: nbgrader autograde failed" in outcome.problems


def test_a_wrong_source_is_not_graded(course, scores):
    nb = hostile.source()
    nb.metadata["labkit"]["points"] = 8
    nbformat.write(nb, course.root / "source/mini/mini.ipynb")
    outcome = classroom.check(course, "mini")
    assert outcome.rows == []
    assert outcome.problems == ["all cells together give 7 points, the notebook's metadata (labkit: points) say 8"]


@pytest.mark.parametrize("missing", ["nbgrader", "alembic"])
def test_missing_nbgrader_is_one_sentence_that_names_the_extra(course, monkeypatch, missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(UsageError, match=rf"assignments need {missing}, of the extra labkit\[classroom\]: pip install"):
        command(course, "check")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('"""Nothing said."""', "the docstring must say"),
        ('"""\nbase: moon\nloses: half_visible\n"""', "the docstring must say"),
        ('"""\nbase: release\nloses: half_visble\n"""', "unknown test cell 'half_visble': did you mean 'half_visible'"),
        ('"""\nbase: release\nloses: half_visible\n"""\n# %% halve\nx = 1', "unknown answer cell 'halve'"),
        ("def f(:", "line 1: no Python"),
    ],
)
def test_a_planted_file_that_cannot_be_used(course, text, told):
    path = course.root / "planted/mini/bad.py"
    path.write_text(text)
    with pytest.raises(DataError, match=told):
        submissions(hostile.source(), [path])


# Running nbgrader


def test_what_takes_too_long_is_stopped_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", _sleeper(tmp_path))
    with pytest.raises(GradingError, match="nbgrader autograde took longer than 1 s and was stopped"):
        Workshop(tmp_path, "mini").nbgrader("autograde", seconds=1)
    child, deadline = int((tmp_path / "child").read_text()), time.monotonic() + 10
    while _alive(child) and time.monotonic() < deadline:  # a killed process takes a moment to go
        time.sleep(0.05)
    assert not _alive(child)


def _alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _sleeper(folder):
    script = folder / "python"
    script.write_text(f"#!/bin/sh\nsleep 60 &\necho $! >{folder}/child\nsleep 60\n")
    script.chmod(0o755)
    return str(script)


def test_nbgraders_programs_are_found_beside_this_python(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    found = grading._environment(tmp_path)
    assert found["PATH"].split(":")[0] == str(Path(sys.executable).parent)
    assert found["JUPYTER_CONFIG_DIR"].startswith(str(tmp_path))
