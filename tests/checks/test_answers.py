"""Every exercise of every lesson, tried with right and with wrong answers.

A lesson's file in `answers/` has, by exercise, RIGHT (at least three correct functions in different styles; the
solution that the lesson shows comes on top) and WRONG (at least five pairs of a function and of what must be said of
it). What any answer could do, such as never to end, is tried here on all exercises.
"""

from __future__ import annotations

import importlib.util
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from labkit.checks import exercises
from labkit.course.lessons import LESSONS
from tests.checks.solutions import TEXTS, solutions


def _cases():
    for lesson in LESSONS:
        if exercises(lesson.key) and importlib.util.find_spec(f"tests.checks.answers.{lesson.name}"):
            check = importlib.import_module(f"labkit.checks.{lesson.name}")
            answers = importlib.import_module(f"tests.checks.answers.{lesson.name}")
            shown = solutions(lesson.text.relative_to(TEXTS.name).with_suffix("").as_posix())
            for name in exercises(lesson.key):
                right, wrong = answers.RIGHT.get(name, ()), answers.WRONG.get(name, ())
                yield SimpleNamespace(
                    id=f"{lesson.name}-{name}", check=getattr(check, name), shown=shown[name], right=right, wrong=wrong
                )


CASES = list(_cases())
core = importlib.import_module("labkit.checks.exercise")
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


@each
def test_right_answers_pass(case):
    assert len(case.right) >= 3, "three correct functions in different styles are wanted in RIGHT"
    for function in (case.shown, case.check.answer, *case.right):
        verdict = case.check.verdict(function)
        assert verdict.passed, (verdict, function)


@each
def test_each_wrong_answer_is_named(case):
    assert len(case.wrong) >= 5, "five wrong functions with what is said of them are wanted in WRONG"
    said = []
    for function, message in case.wrong:
        verdict = case.check.verdict(function)
        assert verdict.passed is False and re.search(message, verdict.message), (message, verdict)
        said.append(verdict.message)
    assert len(set(said)) == len(said), said


@each
def test_nothing_returned_is_said(case):
    def nothing(*given):
        len(given)

    assert "did you forget `return`" in case.check.verdict(nothing).message


@each
def test_an_endless_loop_is_stopped(case, monkeypatch):
    monkeypatch.setattr(core, "SECONDS", 0.02)

    def endless(*given):
        while True:
            pass

    assert "does a loop in it never end" in case.check.verdict(endless).message


@each
def test_numbers_of_any_kind_are_numbers(case):
    for kind in (np.float64, torch.tensor):

        def other(*given, kind=kind):
            return _numbers(case.check.answer(*given), kind)

        verdict = case.check.verdict(other)
        assert verdict.passed, (kind, verdict)


@each
@pytest.mark.parametrize("spoil", ["twice", "more", "less"])
def test_a_result_with_something_added_or_missing_fails(case, spoil):
    spoiled = []

    def other(*given):
        found = case.check.answer(*given)
        changed = SPOILT[spoil](found)
        spoiled.append(changed is not found)
        return changed

    verdict = case.check.verdict(other)
    assert verdict.passed is not any(spoiled), verdict


@each
def test_a_gradient_that_is_asked_for_must_be_there(case):
    cut = []

    def detached(*given):
        found = case.check.answer(*given)
        if torch.is_tensor(found) and found.requires_grad:
            cut.append(True)
            return found.detach()
        return found

    verdict = case.check.verdict(detached)
    assert verdict.passed is not bool(cut), verdict


def _numbers(value, kind):
    """Plain numbers of a result, also those in a tuple, as another kind; the rest as it is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return kind(value)
    if isinstance(value, tuple):
        return tuple(_numbers(one, kind) for one in value)
    return value


def _twice(value):
    return [*value, value[-1]] if isinstance(value, list) and value else value


def _more(value):
    return value | {"extra": 1} if isinstance(value, dict) else value


def _less(value):
    return dict(list(value.items())[:-1]) if isinstance(value, dict) and value else value


SPOILT = {"twice": _twice, "more": _more, "less": _less}
