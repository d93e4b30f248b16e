"""`labkit new lesson`: five files that run as they stand, or none."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from labkit.course import reading, scaffold
from labkit.course.building import build
from labkit.course.checking import problems
from labkit.course.lessons import LESSONS
from labkit.course.scaffold import new_lesson
from labkit.errors import LabkitError, UsageError

ROOT = Path(__file__).resolve().parents[2]
FILES = [
    "notebooks/text/03_fewshot/09_neurons.py",
    "labkit/fewshot/neurons.py",
    "tests/fewshot/test_neurons.py",
    "labkit/checks/neurons.py",
    "tests/checks/answers/neurons.py",
]


def tree(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_the_files_are_written(tmp_path):
    written = new_lesson("03/09", "neurons", tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in written] == FILES
    for path in written:
        text = path.read_text(encoding="utf-8")
        assert ("TODO" in text) is ("answers" not in str(path)) and not re.search(r"@[A-Z]+@", text)
    text = written[0].read_text(encoding="utf-8")
    assert "# # What single neurons know\n" in text and 'labkit.setup(lesson="03/09")' in text
    assert "**45 minutes.** Before it:\n#\n# - 03/03, Prompts that are vectors\n" in text


@pytest.mark.parametrize("there", FILES)
def test_a_file_that_is_there_stops_it_all(tmp_path, there):
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(UsageError, match=f"lesson 03/09 has begun: {there} is there already; nothing was written"):
        new_lesson("03/09", "neurons", tmp_path)
    assert tree(tmp_path) == [there] and (tmp_path / there).read_text() == "mine"


@pytest.mark.parametrize("at", range(len(FILES)))
def test_a_write_that_fails_leaves_nothing(tmp_path, monkeypatch, at):
    real, count = scaffold.write_text, iter(range(9))

    def failing(path, text):
        if next(count) == at:
            raise LabkitError("the disk is full")
        real(path, text)

    monkeypatch.setattr(scaffold, "write_text", failing)
    with pytest.raises(LabkitError, match="disk is full"):
        new_lesson("03/09", "neurons", tmp_path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize(
    ("key", "name", "said"),
    [
        ("07/01", "neurons", "lesson '07/01' .* is not in the course's table"),
        ("03/10", "neurons", "lesson '03/10' .* is not in the course's table: add it"),
        ("03/09", "neuron", "lesson 03/09 is called 'neurons', not 'neuron': labkit new lesson 03/09 neurons"),
        ("3/9", "neurons", "module and number with two digits each"),
        ("03/09/", "neurons", "two digits"),
        ("03/09", "../neurons", "is called 'neurons', not '../neurons'"),
    ],
)
def test_what_is_not_the_course_s_is_refused(tmp_path, key, name, said):
    with pytest.raises(UsageError, match=said):
        new_lesson(key, name, tmp_path)
    assert tree(tmp_path) == []


@pytest.mark.parametrize("item", LESSONS, ids=lambda item: item.key)
def test_every_lesson_can_be_begun(tmp_path, item):
    for path in new_lesson(item.key, item.name, tmp_path):
        compile(path.read_text(encoding="utf-8"), path.name, "exec")
        assert [line for line in path.read_text(encoding="utf-8").splitlines() if len(line) > 120] == []


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A copy of the project in which 03/09 was begun and built."""
    project = tmp_path_factory.mktemp("project")
    shutil.copytree(ROOT / "labkit", project / "labkit", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", project)
    for name in ("test_answers.py", "solutions.py", "answers/__init__.py"):
        (project / "tests" / "checks" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / "tests" / "checks" / name, project / "tests" / "checks" / name)
    for name in FILES:
        (project / name).unlink(missing_ok=True)
    written = new_lesson("03/09", "neurons", project)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(project))
        item = reading.source("03/09", project / "notebooks")
        build(item)
        yield project, written, item


def test_it_is_clean(begun):
    project, written, _ = begun
    for step in (["check"], ["format", "--check"]):
        result = subprocess.run(
            [sys.executable, "-m", "ruff", *step, *written], cwd=project, capture_output=True, text=True
        )
        assert result.returncode == 0, result.stdout


def test_its_notebook_lacks_nothing_but_what_is_to_be_written(begun):
    _, _, item = begun
    found = problems(item.notebook)
    assert found and [line for line in found if not line.endswith("still holds TODO: write it")] == []


def test_it_has_every_part_in_order(begun):
    _, _, item = begun
    text = item.text.read_text(encoding="utf-8")
    parts = ["After this lesson you can", "minutes.", "labkit.setup(", "MODEL = ", "What happens", "Predict", "$$",
             "Your turn", "*●○○ · 5 minutes*", "For example", "first_step = check.first_step(first_step)", "Hint 1",
             "Hint 2", "Hint 3", "Solution", "Play with it", "Plot(", "second_step = check.", "all_together = check.",
             "for seed in range(3)", "= all_together(rows", "report.table(", "report.plot()", "report.compare",
             "The answer", "To read, and to go on"]  # fmt: skip
    places = [text.index(part) for part in parts]
    assert places == sorted(places)


def test_its_own_tests_pass(begun):
    project, written, _ = begun
    tried = [written[2], "tests/checks/test_answers.py"]  # the code alone; every exercise with right and wrong answers
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *tried]
    environment = {**os.environ, "PYTHONPATH": str(project)}
    result = subprocess.run(command, cwd=project, env=environment, capture_output=True, text=True)
    assert result.returncode == 0 and re.search(r"\b29 passed", result.stdout), result.stdout
