"""`labkit notebooks` and `labkit new`, as a person types them."""

from __future__ import annotations

import json

import pytest

from labkit.cli.course import add_new, add_notebooks
from labkit.cli.parser import Parser
from labkit.errors import LabkitError, UsageError
from tests.course.small import TEXT, course, notebook, write

pytestmark = pytest.mark.usefixtures("small_is_excused")


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """Run a command line in `tmp_path`; what it prints."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    parser = Parser(prog="labkit")
    commands = parser.add_subparsers(parser_class=Parser)
    add_notebooks(commands)
    add_new(commands)

    def typed(*line):
        arguments = parser.parse_args(line)
        try:
            arguments.handler(arguments)
        finally:
            typed.out = capsys.readouterr().out
        return typed.out

    return typed


def test_check_tells_every_problem_and_fails(run, tmp_path):
    item = course(tmp_path)
    made = notebook(item)
    made["cells"][2]["execution_count"] = None
    write(item, made)
    with pytest.raises(LabkitError, match="1 problems in 1 notebooks") as error:
        run("notebooks", "check")
    assert error.value.exit_code == 1
    assert run.out.startswith("notebooks/03_fewshot/02_pet.ipynb: cell 3: was never run")


def test_check_of_a_text_without_a_notebook_says_so(run, tmp_path):
    course(tmp_path)
    with pytest.raises(LabkitError):
        run("notebooks", "check", "03/02")
    assert "there is no notebook: run `labkit notebooks build 03/02`" in run.out


def test_check_of_a_sound_course_passes(run, tmp_path):
    item = course(tmp_path)
    write(item, notebook(item))
    assert run("notebooks", "check") == "1 notebooks, nothing wrong\n"


def test_build_then_check(run, tmp_path):
    item = course(tmp_path)
    assert "03/02: notebooks/03_fewshot/02_pet.ipynb written, " in run("notebooks", "build", "03/02")
    assert json.loads(item.notebook.read_text())["cells"][3]["outputs"][0]["text"] == ["one\n"]
    assert run("notebooks", "check", "03/02") == "1 notebooks, nothing wrong\n"
    item.text.write_text(TEXT.replace("A small lesson", "A small lecture"))
    with pytest.raises(LabkitError):
        run("notebooks", "check")
    assert "cell 1: is not what the text says" in run.out


@pytest.mark.parametrize("action", ["build", "check"])
def test_an_unknown_lesson_is_refused(run, action):
    with pytest.raises(UsageError, match="unknown lesson '03/20': did you mean"):
        run("notebooks", action, "03/20")


def test_new_writes_and_lists_the_files(run, tmp_path):
    assert run("new", "lesson", "03/09", "neurons").splitlines()[0].endswith("notebooks/text/03_fewshot/09_neurons.py")
    assert (tmp_path / "labkit" / "checks" / "neurons.py").is_file()
    with pytest.raises(UsageError, match="has begun"):
        run("new", "lesson", "03/09", "neurons")
