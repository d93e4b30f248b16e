"""The map of the course: the state of each lesson, what is linked, and the picture of the pipeline."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from labkit import progress
from labkit.course.lessons import LESSONS, MODULES, STAGES, lesson
from labkit.widgets import course_map
from labkit.widgets.course_map import compute, draw, pipeline_picture

EXERCISES = {"03/02": ["a", "b"], "01/04": ["c"]}


def parts(known, root=None):
    return compute(known, root, lambda key: EXERCISES.get(key, []))


def entry(known, key="03/02", root=None):
    return next(e for part in parts(known, root) for e in part.entries if e.lesson.key == key)


def opened(*passed):
    return {"opened": True, "passed": list(passed)}


@pytest.mark.parametrize(
    ("known", "state", "solved"),
    [
        ({}, "new", 0),
        ({"03/02": opened()}, "begun", 0),
        ({"03/02": opened("a")}, "begun", 1),
        ({"03/02": opened("a", "b")}, "done", 2),
        ({"03/02": opened("b", "a", "an exercise of an older version")}, "done", 2),
        ({"03/02": {"opened": False, "passed": ["a", "b"]}}, "done", 2),
        ({"03/03": opened("a")}, "new", 0),
    ],
)
def test_the_state_of_a_lesson(known, state, solved):
    found = entry(known)
    assert (found.state, found.solved, found.exercises) == (state, solved, 2)


def test_a_lesson_without_exercises_is_done_once_opened(tmp_path):
    assert entry({"01/01": opened()}, "01/01").state == "done"
    assert entry({"01/01": opened()}, "01/01", tmp_path).state == "begun"  # there is no such lesson yet


def test_a_module_s_share_counts_solved_exercises():
    part = parts({"03/02": opened("a"), "03/01": opened()})[2]
    assert part.done == 1 and part.share == pytest.approx(1.5 / 9)
    assert parts({})[2].share == 0


class Links(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.links, self.stack = [], []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attrs):
        self.stack.append(tag)
        if tag == "a":
            self.links.append(dict(attrs)["href"])

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag


def test_what_is_written_is_linked_and_the_rest_is_not(tmp_path):
    (tmp_path / "03_fewshot").mkdir()
    (tmp_path / lesson("03/02").notebook).touch()
    html = draw(parts({}, tmp_path)).html
    assert Links(html).links == ["03_fewshot/02_pet.ipynb"]
    assert html.count("not written yet") == 41
    assert "1 of them written" in draw(parts({}, tmp_path)).alt


def test_where_nobody_knows_nothing_is_said():
    picture = draw(parts({}))
    assert Links(picture.html).links == [] and "written" not in picture.html + picture.alt


def test_marks_and_counts_are_shown_in_words_too():
    picture = draw(parts({"03/02": opened("a"), "01/04": opened("c")}))
    assert re.search(r'title="begun">◐ 1/2<', picture.html) and re.search(r'title="done">● 1/1<', picture.html)
    assert picture.html.count('title="not begun">○<') == 40
    assert "01 Foundations: from counts to Transformers: 1 of 6 done" in picture.alt
    assert "1 of 6 lessons done" in picture.html


def test_every_lesson_is_on_the_map_with_what_it_needs():
    html = draw(parts({})).html
    for item in LESSONS:
        assert html.count(f"{item.key} ") >= 1 and f">{', '.join(item.needs)}<" in html


def test_the_map_shows_the_learner_s_progress(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))
    before = course_map(root=tmp_path)
    assert before == course_map({}, tmp_path)
    (tmp_path / "03_fewshot").mkdir()
    (tmp_path / lesson("03/02").notebook).touch()
    progress.opened("03/02")
    assert 'title="begun">◐<' in course_map(root=tmp_path).html
    assert 'title="begun"' not in course_map({}, tmp_path).html


def test_the_pipeline_shows_every_stage_and_module():
    plot = pipeline_picture()
    texts = [text.get_text() for text in plot.figure.axes[0].texts]
    assert texts[: len(STAGES)] == list(STAGES)
    for module in MODULES:
        assert any(module.title in text for text in texts) and module.title in plot.alt
    plot.figure.canvas.draw()
    box = plot.figure.bbox
    for text in plot.figure.axes[0].texts:
        found = text.get_window_extent()
        assert box.x0 <= found.x0 and found.x1 <= box.x1, text.get_text()
    assert plot._repr_html_() == pipeline_picture()._repr_html_()
