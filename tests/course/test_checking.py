"""Each fault of a notebook, planted in a sound one, is found, and told with file, cell and mend."""

from __future__ import annotations

import copy
import re

import pytest

from labkit.course import checking, reading
from labkit.course.checking import problems
from labkit.errors import UsageError
from tests.course.small import HEADER, TEXT, course, notebook, shown, stream, write

NAME = "notebooks/03_fewshot/02_pet.ipynb"
ALT = "Bars: PET 87 and the better head 81 per cent."
PIXEL = "data:image/png;base64,iVBORw0KGgo="
HOME = "/" + "home/me"

pytestmark = pytest.mark.usefixtures("small_is_excused")


@pytest.fixture
def lesson(tmp_path):
    return course(tmp_path)


def found(item, made):
    return problems(write(item, made))


def test_a_sound_notebook_has_no_problem(lesson):
    assert found(lesson, notebook(lesson)) == []


# Planted in the notebook: place of the cell from 1 (0: the notebook itself), how, what is said of it

CELL = {  # the cells of the small lesson
    "title": 0, "bootstrap": 1, "setup": 2, "one": 3, "two": 4, "three": 5, "exercise": 6, "help": 7,
}  # fmt: skip


def add(cell, **changes):
    def plant(made):
        made["cells"][CELL[cell]].update(copy.deepcopy(changes))

    return plant


def tag(cell, name):
    def plant(made):
        made["cells"][CELL[cell]]["metadata"].setdefault("tags", []).append(name)

    return plant


def meta(**changes):
    def plant(made):
        for key, value in changes.items():
            made["metadata"].pop(key) if value is None else made["metadata"].update({key: value})

    return plant


def show(*outputs, cell="setup"):
    return add(cell, outputs=list(outputs))


PLANTED = [
    ("title", add("title", source="# Another title"), "is not what the text says: run `labkit notebooks build 03/02`"),
    ("setup", add("setup", source='lab = 1  # labkit.setup(lesson="03/02")'), "is not what the text says"),
    ("bootstrap", add("bootstrap", source="pass"), "is not what the text says"),
    ("setup", tag("setup", "extra"), "its tags are not the text's"),
    (None, lambda made: made["cells"].pop(), "7 cells, where the text has 8: run"),
    ("two", add("two", execution_count=None), r"was never run .*: build the notebook"),
    ("two", add("two", outputs=[]), "tagged nbval-check-output, but shows nothing: let it print"),
    (None, meta(labkit={"seconds": 70}), "a run took 70 s, at most 60"),
    (None, meta(labkit=None), "the seconds of its run are not recorded: run"),
    (None, meta(kernelspec=None), "no kernelspec .*: run"),
    (None, meta(widgets={"application/x": {}}), "metadata.widgets without state"),
    ("setup", tag("setup", "nbval-skip"), "tagged nbval-skip, .*: take the tag away"),
    ("setup", tag("setup", "raises-exception"), "tagged raises-exception"),
    ("setup", show(stream(f"saved in {HOME}\n")), f"shows a path of one machine .{HOME}.: print"),
    ("setup", show(shown(html=f"<b>{HOME}</b>")), "shows a path of one machine"),
    ("setup", show(stream("C:\\Users\\me\\x\n")), r"shows a path of one machine .C:\\Users"),
    ("setup", show(stream("/" + "tmp/x1\n")), "shows a path of one machine"),
    ("setup", show(stream("/" + "content/x1\n")), "shows a path of one machine"),
    ("setup", show(stream("careful", "stderr")), "stderr is not empty"),
    ("setup", show({"output_type": "error", "ename": "E", "evalue": "v", "traceback": []}), "E: v: a cell of a lesson"),
    ("setup", show(shown(plain="<f at 0x7f3a2b1c0d0e>")), "the address of an object"),
    ("setup", show(shown(view={}, html="<b>x</b>")), "the view of a widget"),
    ("setup", show(shown(png="iVBORw0KGgo=", plain="<Figure>")), "a bare picture, .*Plot.figure, alt"),
    ("setup", show(shown(svg="<svg/>")), "a bare picture"),
    ("setup", show(shown(html=f'<img src="{PIXEL}">')), "a picture without alternative text: say in words"),
    (
        "setup",
        show(shown(html=f'<img alt="plot" src="{PIXEL}">')),
        "a picture whose alternative text is 'plot': say in words",
    ),
    ("setup", show(shown(html='<svg><path d="M0"/></svg>')), "a picture without alternative text"),
    ("setup", show(shown(markdown="![](plot.png)")), "a picture whose alternative text is ''"),
    ("setup", show(stream("x" * 300_001)), "its outputs have 300 kB"),
    ("two", show(stream("in 3.2 s\n"), cell="two"), r"a compared time .3.2 s., which differs"),
    ("two", show(shown(html=f'<img alt="{ALT}" src="{PIXEL}">'), cell="two"), "a compared picture"),
]


@pytest.mark.parametrize(("cell", "plant", "said"), PLANTED)
def test_a_planted_fault_is_found(lesson, cell, plant, said):
    made = notebook(lesson)
    plant(made)
    told = found(lesson, made)
    where = f"{NAME}: " if cell is None else f"{NAME}: cell {CELL[cell] + 1}: "
    assert any(re.match(re.escape(where) + said, line) for line in told), told
    assert all("\n" not in line and line.startswith(NAME) for line in told)


@pytest.mark.parametrize(
    "outputs",
    [
        [shown(html=f'<img src="{PIXEL}" alt="{ALT}">', plain=ALT)],
        [shown(html=f'<img src="{PIXEL}" alt="{ALT}">', png="iVBORw0KGgo=")],
        [shown(html=f'<svg aria-label="{ALT}"></svg>'), shown(html=f"<svg aria-label='{ALT}'><title>x</title></svg>")],
        [shown(html='<img alt="&lt;b&gt; and seven more" src="data:image/png;base64,AA/' + 'home/you">')],
        [stream("see https://a.example/home/page and a/b/home/c, 3/4 work/play\n")],
        [shown(markdown=f"![{ALT}](plot.png)")],
        [stream("y" * 200_000)],
        [stream("took 3.2 s\n")],
    ],
)
def test_what_is_fine_passes(lesson, outputs):
    made = notebook(lesson)
    show(*outputs)(made)
    assert found(lesson, made) == []


def test_a_whole_notebook_may_not_be_too_large(lesson):
    made = notebook(lesson)
    for name in ("setup", "one", "two", "three", "exercise", "bootstrap"):
        show(stream("x" * 290_000), cell=name)(made)
    assert found(lesson, made) == [f"{NAME}: 1.7 MB, at most 1.5 are allowed: fewer or smaller pictures"]


# Planted in the text, of which the notebook is then made


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('print("one")', f'print("one")  # {HOME}', "cell 4: names a path of one machine"),
        ('print("one")', 'print("one")  # TODO', "cell 4: still holds TODO: write it"),
        ("**45 minutes.**", "**40 minutes.**", "cell 1: 40 minutes, but the course's table says 45"),
        ("**45 minutes.**", "![](a.png)", "cell 1: a picture whose alternative text is ''"),
        ("**45 minutes.**", '<img src="a.png">', "cell 1: a picture without alternative text"),
        ("**45 minutes.**", "[next](03_none.ipynb)", "cell 1: a link to 03_none.ipynb, which is not there"),
        (' tags=["nbval-check-output"]\n3', "\n3", "2 cells tagged nbval-check-output, at least 3"),
        ('lesson="03/02"', 'lesson="03/03"', "no cell sets the lesson up: begin with"),
        ("Hint 2", "Help", "cell 7: check.fuzzy: hint 2 missing: write"),
        ("def fuzzy(x): ...", "def fuzzy(x): return 1", "cell 7: check.fuzzy has no stub"),
        ("fuzzy = check", "check", "cell 7: the result of check.fuzzy is not kept: write `fuzzy = check.fuzzy("),
        ("Solution", "Answer", "cell 7: check.fuzzy has no solution"),
    ],
)
def test_a_fault_of_the_text_is_found(tmp_path, old, new, said):
    assert old in TEXT
    item = course(tmp_path, TEXT.replace(old, new))
    told = found(item, notebook(item))
    assert [line for line in told if line.startswith(f"{NAME}: {said}")], told
    assert len(told) == 1 + ("a.png" in new and "![" in new)  # a picture that is not there is a dead link besides


def test_links_and_pictures_that_are_there_pass(tmp_path):
    more = "**45 minutes.** [web](https://a.example) [self](02_pet.ipynb) [part](#part) [map](../text/index.py)\n#\n"
    more += f"# ![{ALT}](02_pet.ipynb) `labkit`\n#\n# ```markdown\n# ![](no.png) [no](no.ipynb)\n# ```"
    item = course(tmp_path, TEXT.replace("**45 minutes.**", more), index="x")
    assert found(item, notebook(item)) == []


def test_a_missing_notebook_and_a_missing_text_are_told(lesson):
    assert problems(lesson.notebook) == [f"{NAME}: there is no notebook: run `labkit notebooks build 03/02`"]
    path = write(lesson, notebook(lesson))
    lesson.text.unlink()
    (problem,) = problems(path)
    assert "02_pet.py: no such file: write the lesson's text first" in problem


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"cells": 3}', '{"cells": [{"source": 1}]}', "\x00"])
def test_a_broken_file_is_told(lesson, text):
    path = write(lesson, {})
    path.write_text(text, encoding="utf-8")
    (problem,) = problems(path)
    assert re.fullmatch(re.escape(NAME) + r": no valid notebook \(.+\): run `labkit notebooks build 03/02`", problem)


def test_a_path_of_no_lesson_is_refused(tmp_path):
    with pytest.raises(UsageError, match="unknown lesson"):
        problems(tmp_path / "03_fewshot" / "20_none.ipynb")


INDEX = HEADER + "# %% [markdown]\n# # The map\n\n# %%\nprint(1)\n"


def test_the_index_needs_no_exercises_but_a_map_that_is_up_to_date(tmp_path):
    lesson, index = course(tmp_path, index=INDEX), reading.Source("index", tmp_path / "notebooks")
    made = notebook(index)
    assert found(index, made) == []
    write(lesson, notebook(lesson))
    assert found(index, made) == [
        "notebooks/index.ipynb: its map is not up to date with lesson 03/02: run `labkit notebooks build index`"
    ]
    made["cells"][2]["outputs"] = [shown(html='<a href="03_fewshot/02_pet.ipynb">PET</a>')]
    assert found(index, made) == []
    lesson.notebook.unlink()
    assert len(found(index, made)) == 1


def test_a_lesson_that_starts_processes_may_take_longer(lesson, monkeypatch):
    made = notebook(lesson)
    meta(labkit={"seconds": 70})(made)
    assert any("at most 60" in line for line in found(lesson, made))
    monkeypatch.setattr(checking, "MAX_SECONDS_OF", {"03": 90})
    assert found(lesson, made) == []
    meta(labkit={"seconds": 95})(made)
    assert any("a run took 95 s, at most 90" in line for line in found(lesson, made))
