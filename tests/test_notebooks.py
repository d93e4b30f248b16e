"""The committed notebooks: each is in step with its text and free of what `labkit notebooks check` finds.

That each fault would be found is shown in tests/course/test_checking.py, by planting it.
"""

from __future__ import annotations

import json
import symtable
from pathlib import Path

import pytest

from labkit.course import building, exercises, pattern, reading
from labkit.course.checking import problems
from labkit.course.lessons import LESSONS, lesson
from tests.course import small

COURSE = Path(__file__).resolve().parents[1] / "notebooks"
ALL = reading.sources([], COURSE)
WRITTEN = [item for item in ALL if item.key not in reading.PAGES]


@pytest.mark.parametrize("item", ALL, ids=lambda item: item.key)
def test_a_notebook_has_no_problem(item):
    assert problems(item.notebook) == []


def test_every_file_belongs_to_a_lesson():
    known = {path for item in LESSONS for path in (item.notebook, item.text)}
    known |= {path for page in reading.PAGES for path in (Path(f"{page}.ipynb"), Path(f"text/{page}.py"))}
    there = {path.relative_to(COURSE) for ending in ("*.ipynb", "*.py") for path in COURSE.rglob(ending)}
    strange = {path for path in there - known if ".ipynb_checkpoints" not in path.parts}
    assert strange == set()


@pytest.mark.parametrize("item", WRITTEN, ids=lambda item: item.key)
def test_every_exercise_of_a_lesson_is_asked_in_it(item):
    from labkit import checks

    asked = [found.name for found in exercises.find(reading.assemble(item).cells)]
    assert sorted(asked) == sorted(checks.exercises(item.key))
    assert 2 <= len(asked) <= 6
    assert (Path(checks.__file__).parent / f"{lesson(item.key).name}.py").is_file()


def test_the_guard_sees_a_planted_fault(tmp_path, monkeypatch):
    monkeypatch.setattr(pattern, "NOT_YET", {"03/02"})  # the small lesson is too small for it
    item = small.course(tmp_path)
    made = small.notebook(item)
    assert problems(small.write(item, made)) == []
    for plant in (
        lambda cell: cell.update(execution_count=None),
        lambda cell: cell.update(outputs=[]),
        lambda cell: cell["metadata"].update(tags=["nbval-skip"]),
        lambda cell: cell.update(source="print(2)"),
    ):
        planted = json.loads(json.dumps(made))
        plant(planted["cells"][3])
        assert problems(small.write(item, planted)) != []


@pytest.mark.parametrize("item", WRITTEN, ids=lambda item: item.key)
def test_the_solutions_of_a_lesson_pass_their_checks_in_it(item):
    """Run what a learner who has solved everything would see change; the lesson's other cells are nbval's."""
    notebook = reading.assemble(item)
    asked = exercises.find(notebook.cells)
    solved = exercises.solved(notebook.cells)
    touched = around(solved, {found.function for found in asked})
    notebook.cells = [cell for place, cell in enumerate(solved) if place in touched]
    building.execute(notebook, item)
    for found in asked:
        outputs = solved[found.cell].outputs
        shown = [text for output in outputs for text in output.get("data", {}).values()]
        assert any("passed" in text and "not " not in text for text in shown), (found.name, shown)


def around(cells, functions):
    """Places of the cells that define or use one of `functions`, and of all the cells that those build on."""
    known = {place: names(cell.source) for place, cell in enumerate(cells) if cell.cell_type == "code"}
    waiting = [place for place, (gives, reads) in known.items() if (gives | reads) & functions]
    found = set()
    while waiting:
        place = waiting.pop()
        found.add(place)
        waiting += [other for other in set(range(place)) & set(known) - found if known[other][0] & known[place][1]]
    return found


def names(source):
    """(what a cell gives to those below it, what it reads): names, without those that live within its functions."""
    code = "\n".join("" if line.startswith(("%", "!")) else line for line in source.splitlines())
    top = symtable.symtable(code, "cell", "exec")
    gives = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    reads, inner = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_referenced()}, [*top.get_children()]
    while inner:
        table = inner.pop()
        reads |= {symbol.get_name() for symbol in table.get_symbols() if symbol.is_global()}
        inner += table.get_children()
    return gives, reads


def test_cells_that_a_function_touches_are_found():
    import nbformat

    sources = ("import numpy as np", "x = np.zeros(3)", "print('aside')", "def f(v):\n    y = v + x\n    return y",
               "y = 4", "z = [f(y) for y in x]", "print(y)")  # fmt: skip
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    assert around(cells, {"f"}) == {0, 1, 3, 5}


def test_a_kernel_restarted_in_the_middle_begins_again(tmp_path):
    """Half a lesson, a restart, then the whole from the top, over what the first half left; in another folder."""
    import nbformat
    from nbclient import NotebookClient
    from nbclient.util import run_sync

    notebook = nbformat.read(COURSE / lesson("06/02").notebook, as_version=4)
    code = [(index, cell) for index, cell in enumerate(notebook.cells) if cell.cell_type == "code"]
    committed = {index: said(cell) for index, cell in code if "nbval-check-output" in cell.metadata.get("tags", [])}
    client = NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    )
    with client.setup_kernel():
        for index, cell in code[: len(code) // 2]:
            client.execute_cell(cell, index)
        run_sync(client.km.restart_kernel)(now=True)
        run_sync(client.kc.wait_for_ready)(timeout=60)
        for index, cell in code:
            client.execute_cell(cell, index)
            assert said(cell) == committed.get(index, said(cell))


def said(cell):
    """What a cell printed, in however many pieces."""
    return "".join(output.get("text", "") for output in cell.outputs)
