"""The course's table: 42 lessons in six modules, each buildable on those before it, and where it is found."""

from __future__ import annotations

import dataclasses
import keyword
from collections import Counter
from pathlib import Path

import pytest

from labkit.course import lessons
from labkit.course.lessons import LESSONS, MODULES, STAGES, lesson
from labkit.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_six_modules_hold_42_lessons():
    counts = Counter(item.module for item in LESSONS)
    assert [counts[module.folder] for module in MODULES] == [6, 7, 9, 7, 5, 8]
    assert [module.folder for module in MODULES][2] == "03_fewshot"
    assert len(MODULES) == 6 and len(LESSONS) == 42


def test_keys_slugs_and_folders_agree():
    for item in LESSONS:
        assert item.key == f"{item.module[:2]}/{item.slug[:2]}"
        assert item.notebook == Path(f"{item.module}/{item.slug}.ipynb")
        assert item.text == Path(f"text/{item.module}/{item.slug}.py")
        assert (ROOT / "labkit" / item.package).is_dir()
        assert item.name.isidentifier() and item.name.islower() and not keyword.iskeyword(item.name)
    assert [item.key for item in LESSONS] == sorted({item.key for item in LESSONS})
    assert len({item.name for item in LESSONS}) == len({item.title for item in LESSONS}) == 42


def test_what_a_lesson_needs_comes_before_it():
    seen = set()
    for item in LESSONS:
        assert set(item.needs) <= seen, item.key
        seen.add(item.key)
    assert lesson("01/01").needs == ()


def test_times_are_a_sitting_and_stages_exist():
    assert all(30 <= item.minutes <= 60 for item in LESSONS)
    assert all(item.title and item.systems for item in LESSONS)
    for module in MODULES:
        first, last = module.stages
        assert STAGES.index(first) <= STAGES.index(last)


def test_extras_are_the_project_s():
    known = {"retrieval"}
    assert {extra for item in LESSONS for extra in item.extras} == known
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert all(f"\n{extra} = [" in text for extra in known)


def test_an_unknown_key_offers_the_nearest():
    assert lesson("03/02").slug == "02_pet"
    with pytest.raises(UsageError, match="unknown lesson '03/20': did you mean '03/0"):
        lesson("03/20")


def test_a_lesson_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        lesson("03/02").minutes = 1


@pytest.mark.parametrize("below", [".", "notebooks", "notebooks/03_fewshot", "labkit/course"])
def test_the_course_folder_is_found_from_anywhere_in_it(tmp_path, monkeypatch, below):
    (tmp_path / "notebooks" / "text").mkdir(parents=True)
    (tmp_path / below).mkdir(parents=True, exist_ok=True)
    monkeypatch.chdir(tmp_path / below)
    assert lessons.root() == tmp_path / "notebooks"


def test_a_folder_of_another_s_notebooks_is_not_taken(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    assert lessons.find_root() in (ROOT / "notebooks", None)
    monkeypatch.setattr(lessons, "__file__", str(tmp_path / "a" / "b" / "c.py"))
    assert lessons.find_root() is None
    with pytest.raises(UsageError, match="no folder notebooks/ with lessons"):
        lessons.root()


def test_exists_asks_for_the_notebook(tmp_path):
    item = lesson("03/02")
    assert not item.exists(tmp_path)
    (tmp_path / "03_fewshot").mkdir()
    (tmp_path / item.notebook).touch()
    assert item.exists(tmp_path)
