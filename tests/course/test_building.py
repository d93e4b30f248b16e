"""From text to executed notebook: what is written, what stays, what stops a build."""

from __future__ import annotations

import json
import shutil
import time

import pytest

from labkit import progress
from labkit.course import building, outputs, reading
from labkit.course.building import build
from labkit.course.checking import problems
from labkit.errors import DataError, LabkitError, UsageError
from tests.course.small import HEADER, TEXT, course

pytestmark = pytest.mark.usefixtures("small_is_excused")

RICH = TEXT.replace(
    'print("two")',
    'print("two")\nprint("parts")',
) + (
    """
# %%
import os, time
from pathlib import Path
from labkit import progress
from ipywidgets import IntSlider
from labkit.widgets import Shown
from labkit.widgets.shown import Picture

print("in", Path.cwd().name, "offline", os.environ["HF_HUB_OFFLINE"], "known", progress.read())
progress.opened("03/02")
print("shared:", Path(os.environ["LABKIT_CACHE"], "zoo", "mark").is_file())

# %%
print(f"took {time.time():.3f} s")

# %%
Shown(IntSlider(), Picture("<b>static</b>", "a static picture"))
"""
)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A lesson that was built twice: the lesson, what both builds told, and the notebook's bytes after each."""
    folder = tmp_path_factory.mktemp("course")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LABKIT_CACHE", str(folder / "cache"))
        progress.opened("01/01")
        (folder / "cache" / "zoo").mkdir()
        (folder / "cache" / "zoo" / "mark").touch()
        item = course(folder, RICH)
        first = build(item)
        once = item.notebook.read_bytes()
        second = build(item)
        assert progress.read() == {"01/01": {"opened": True, "passed": []}}  # the author's own is untouched
        yield item, (first, second), (once, item.notebook.read_bytes())


@pytest.fixture
def made(built):
    return json.loads(built[2][0])


def code(made):
    return [cell for cell in made["cells"] if cell["cell_type"] == "code"]


def test_a_build_passes_the_check(built):
    assert problems(built[0].notebook) == []


def test_a_second_build_writes_nothing(built):
    _, (first, second), (once, twice) = built
    assert first.changed and not second.changed
    assert once == twice


def test_cells_are_numbered_and_undated(made):
    assert [cell["execution_count"] for cell in code(made)] == list(range(1, len(code(made)) + 1))
    assert len({cell["id"] for cell in made["cells"]}) == len(made["cells"])
    assert set(made["metadata"]) == {"kernelspec", "labkit", "language_info"}
    assert made["metadata"]["labkit"]["seconds"] % 10 == 0
    assert "version" not in made["metadata"]["language_info"]
    for cell in made["cells"]:
        assert set(cell["metadata"]) <= {"tags", "cellView", "jupyter"}


def test_the_set_up_cell_stands_after_the_title(made):
    title, setup = made["cells"][:2]
    assert title["source"][0] == "# A small lesson\n"
    assert setup["metadata"] == {"cellView": "form", "jupyter": {"source_hidden": True}, "tags": ["bootstrap"]}
    assert setup["source"][0] == "# @title Set-up\n" and setup["outputs"] == []


def test_streams_are_one_and_widgets_leave_pictures(made):
    two, shown = code(made)[3], code(made)[-1]
    assert [output["text"] for output in two["outputs"]] == [["two\n", "parts\n"]]
    (output,) = shown["outputs"]
    assert output["data"] == {"text/html": ["<b>static</b>"], "text/plain": ["a static picture"]}
    assert output["execution_count"] == shown["execution_count"]


def test_a_lesson_runs_in_its_folder_offline_with_nobody_s_progress(made):
    assert code(made)[6]["outputs"][0]["text"] == ["in 03_fewshot offline 1 known {}\n", "shared: True\n"]


def test_an_edit_changes_its_own_cell_and_takes_new_times_only_from_there(built, tmp_path):
    source, _, (once, _) = built
    item = course(tmp_path, RICH.replace("import os, time", "import os, time  # edited"))
    item.notebook.parent.mkdir()
    shutil.copy(source.notebook, item.notebook)
    assert build(item).changed
    old, new = json.loads(once)["cells"], json.loads(item.notebook.read_bytes())["cells"]
    differing = [place for place, (a, b) in enumerate(zip(old, new, strict=True)) if a != b]
    assert differing == [8, 9]  # the edited cell, and the time that follows it
    assert old[9]["id"] == new[9]["id"] and old[9]["outputs"] != new[9]["outputs"]


# Without a kernel: `execute` is replaced


@pytest.fixture
def quick(monkeypatch):
    """Replace the run by one that gives every code cell the outputs of the moment."""

    def plant(text="", seconds=0.0):
        def execute(notebook, item):
            for count, cell in enumerate(building._code(notebook), 1):
                cell.outputs = [reading.needed("nbformat").v4.new_output("stream", text=text)] if text else []
                cell.execution_count = count
            clock[0] += seconds

        clock = [0.0]
        monkeypatch.setattr(building, "execute", execute)
        monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    return plant


def seconds(item):
    return json.loads(item.notebook.read_text())["metadata"]["labkit"]["seconds"]


def test_old_times_stay_unless_something_else_changes(tmp_path, quick):
    item = course(tmp_path)
    for text, changed, kept in [
        ("3.2 s\n", True, "3.2 s\n"),
        ("4.1 s\n", False, "3.2 s\n"),
        ("4.1 s!\n", True, "4.1 s!\n"),
    ]:
        quick(text)
        assert build(item).changed is changed
        assert json.loads(item.notebook.read_text())["cells"][2]["outputs"][0]["text"] == [kept]


def test_fresh_takes_every_time_anew(tmp_path, quick):
    item = course(tmp_path)
    quick("3.2 s\n")
    build(item)
    quick("4.1 s\n")
    assert build(item, fresh=True).changed
    assert "4.1 s" in item.notebook.read_text()


def test_seconds_are_rounded_up_and_stay_within_a_step(tmp_path, quick):
    item = course(tmp_path)
    for measured, kept in [(0.4, 10), (10.5, 10), (21.0, 30), (11.0, 30), (59.0, 60), (61.0, 70), (41.0, 50)]:
        quick("x", measured)
        build(item)
        assert seconds(item) == kept, measured
    item.text.write_text(TEXT.replace('print("one")', 'print("uno")'))
    quick("x", 31)
    build(item)
    assert seconds(item) == 40  # other code, another measurement


def test_a_notebook_that_cannot_be_read_is_replaced(tmp_path, quick):
    item = course(tmp_path)
    item.notebook.parent.mkdir()
    for broken in ("", "{", '{"cells": 1}', "\x00"):
        item.notebook.write_text(broken)
        quick("x")
        assert build(item).changed
        json.loads(item.notebook.read_text())


def test_ids_depend_on_the_source_not_on_the_place(tmp_path):
    before = reading.assemble(course(tmp_path / "a"))
    after = reading.assemble(course(tmp_path / "b", TEXT.replace("# %%\nlab", "# %%\nnew = 1\n\n# %%\nlab")))
    ids = [cell.id for cell in after.cells]
    assert [cell.id for cell in before.cells] == ids[:2] + ids[3:]
    twins = reading.assemble(course(tmp_path / "c", TEXT + "\n# %%\n1\n\n# %%\n1\n")).cells[-2:]
    assert twins[1].id == f"{twins[0].id}-2"


# What stops a build; nothing is written then


@pytest.mark.parametrize(
    ("cell", "said"),
    [
        ("x = 1\n1 / 0", ["03/02: cell 4 of 02_pet.ipynb: ZeroDivisionError", "    | x = 1", "----> 2 1 / 0"]),
        ('import sys\nprint("careful", file=sys.stderr)', ["03/02: cell 4", "stderr is not empty", "careful"]),
        ("from ipywidgets import IntSlider\nIntSlider()", ["cell 4", "wrap it in labkit.widgets.Shown"]),
        ("import os\nos._exit(3)", ["cell 4", "Kernel died"]),
    ],
)
def test_a_cell_that_fails_stops_the_build(tmp_path, cell, said):
    item = course(tmp_path, TEXT.replace('print("one")', cell))
    with pytest.raises(LabkitError) as error:
        build(item)
    for part in said:
        assert part in str(error.value)
    assert "\x1b" not in str(error.value)
    assert not item.notebook.parent.exists()


def test_a_failed_build_leaves_the_old_notebook(tmp_path):
    item = course(tmp_path, TEXT.replace('print("one")', "1 / 0"))
    item.notebook.parent.mkdir()
    item.notebook.write_text("old")
    with pytest.raises(LabkitError, match="ZeroDivisionError"):
        build(item)
    assert [path.read_text() for path in item.notebook.parent.iterdir()] == ["old"]


@pytest.mark.parametrize("text", ["", HEADER, HEADER + "# %%\n1\n", HEADER + "# %% [markdown]\n# No title\n"])
def test_a_text_without_a_title_is_refused(tmp_path, text):
    with pytest.raises(DataError, match="must be markdown and begin with the title"):
        build(course(tmp_path, text))


def test_a_missing_package_names_the_extra(tmp_path, monkeypatch):
    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(reading.importlib, "import_module", absent)
    with pytest.raises(UsageError, match=r"needs the package jupytext: pip install 'labkit\[dev\]'"):
        build(course(tmp_path))


@pytest.mark.parametrize(
    "name",
    ["03/02", "notebooks/03_fewshot/02_pet.ipynb", "notebooks/text/03_fewshot/02_pet.py", "03_fewshot/02_pet.py"],
)
def test_a_lesson_has_several_names(tmp_path, name):
    assert reading.source(name, tmp_path).key == "03/02"


@pytest.mark.parametrize("name", ["03/20", "pet", "03_fewshot/20_pet.py", "02_pet.ipynb", ""])
def test_an_unknown_name_is_refused(tmp_path, name):
    with pytest.raises(UsageError, match="unknown lesson"):
        reading.source(name, tmp_path)


def test_all_means_all_that_are_begun_and_the_index_last(tmp_path):
    item = course(tmp_path, index="x")
    (item.root / "01_foundations").mkdir()
    (item.root / "01_foundations" / "01_words.ipynb").touch()
    assert [found.key for found in reading.sources([], item.root)] == ["01/01", "03/02", "index"]


def test_texts_hold_no_bytes_of_pictures():
    output = {"output_type": "display_data", "data": {"text/html": '<img src="data:image/png;base64,AAAA">'}}
    assert list(outputs.texts(output)) == ['<img src="">']
