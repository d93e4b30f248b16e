"""What a check says of a stub, a crash, a mistake and a solution, whatever the exercise."""

from __future__ import annotations

import math
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from labkit import progress
from labkit.checks import Mistake, exercise, exercises
from labkit.checks.exercise import expect, is_stub, number, tensor, whole
from labkit.checks.limit import TimeUp, time_limit
from labkit.course.lessons import LESSONS


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


@exercise("09/09", lambda x: x + x)
def double(function):
    """Twice the number."""
    expect(function(3), 6, "wanted twice the number", [(9, "you squared it")])


def stub(x): ...
def documented(x):
    """Says what it would do."""


def passing(x):
    pass


def dots(x):
    return ...


def none(x):
    return None


def one(x):
    return 1


def sliced(x):
    return x[..., 0]


@pytest.mark.parametrize("function", [stub, documented, passing, dots, none])
def test_a_stub_is_not_attempted(function):
    verdict = double.verdict(function)
    assert is_stub(function) and verdict.passed is None and verdict.message == "not attempted yet"
    assert progress.read() == {}


@pytest.mark.parametrize("function", [one, sliced, max, lambda x: x])
def test_anything_else_is_an_attempt(function):
    assert not is_stub(function)


def test_a_solution_passes_and_is_kept():
    verdict = double.verdict(lambda x: 2 * x)
    assert verdict.passed and repr(verdict) == "✓ double: passed (the cells below use yours)"
    assert progress.read() == {"09/09": {"opened": True, "passed": ["double"]}}


def test_a_mistake_is_named_and_not_kept():
    assert double.verdict(lambda x: x * x).message == "you squared it"
    assert double.verdict(lambda x: x).message == "wanted twice the number"
    assert progress.read() == {}


def test_a_crash_names_the_learners_line():
    def crashes(x):
        return x / 0

    verdict = double.verdict(crashes)
    assert verdict.passed is False and "ZeroDivisionError" in verdict.message and "return x / 0" in verdict.message


def test_no_function_is_said_kindly():
    assert "write double = check.double(double)" in double.verdict(6).message


def test_markup_in_an_error_stays_text():
    def crashes(x):
        raise ValueError("<script>alert(1)</script>")

    assert "<script>" not in double.verdict(crashes)._repr_html_()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "did you forget `return`"),
        ([1.0], "not list"),
        (torch.zeros(2), r"shape \(2,\); \(1,\) is wanted"),
        (torch.zeros(1, dtype=torch.long), "floating-point"),
        (torch.full((1,), torch.nan), "NaN"),
    ],
)
def test_form_comes_before_values(value, message):
    with pytest.raises(Mistake, match=message):
        tensor(value, (1,))


def test_a_wrong_value_that_happens_to_be_right_is_no_mistake():
    expect(torch.ones(2), torch.ones(2), "", [(torch.ones(2), "never said")])


def test_the_lesson_goes_on_with_what_passes(capsys):
    """The learner's function where it passes, labkit's where it does not, and the verdict says which."""

    def mine(x):
        return 2 * x

    assert double(mine) is mine
    assert "✓ double: passed (the cells below use yours)" in capsys.readouterr().out
    for function, mark in ((stub, "○"), (lambda x: x * x, "✗"), (None, "✗")):
        assert double(function) is double.answer and double(function)(21) == 42
        said = capsys.readouterr().out
        assert mark in said and "labkit's own" in said


def test_a_number_is_a_number_of_any_kind():
    for value in (3, 3.0, np.float32(3), np.int64(3), torch.tensor(3), torch.tensor([3.0])):
        assert number(value) == 3 and whole(value) == 3
    for value, message in (
        (None, "did you forget `return`"),
        ("3", "one number, not str"),
        (torch.zeros(2), "one number, not Tensor"),
        ([3], "one number, not list"),
        (math.nan, "is NaN"),
    ):
        with pytest.raises(Mistake, match=message):
            number(value)
    for value in (2.5, math.inf):
        with pytest.raises(Mistake, match="a whole number"):
            whole(value)


def test_a_gradient_that_was_cut_off_is_named():
    assert tensor(torch.ones(2, requires_grad=True) * 2, (2,), gradient=True).requires_grad is False
    with pytest.raises(Mistake, match="carries no gradient"):
        tensor(torch.ones(2), (2,), gradient=True)


# The time limit


def endless(seconds=10):
    """A loop that nothing but a time limit ends, or, for the tests' own sake, the clock."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.001)
        except Exception:  # noqa: BLE001, S112
            continue


def _stopped(seconds=0.05):
    with pytest.raises(TimeUp), time_limit(seconds):
        endless()
    return True


def test_an_endless_loop_ends_in_the_main_thread_and_in_another():
    assert _stopped()
    found = []
    thread = threading.Thread(target=lambda: found.append(_stopped()))
    thread.start()
    thread.join(20)
    assert found == [True]


def test_a_loop_that_swallows_everything_is_stopped_again(monkeypatch):
    monkeypatch.setattr("labkit.checks.limit.AGAIN", 0.01)
    caught = []

    def stubborn():
        for _ in range(3):
            try:
                endless(1)
            except TimeUp:
                caught.append(True)
                if len(caught) == 3:
                    return

    with time_limit(0.02):
        stubborn()
    assert len(caught) == 3


def test_what_is_in_time_is_left_alone():
    def work():
        for _ in range(20):
            with time_limit(0.05):
                pass
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            sys.getsizeof(end)
        return True

    assert work()
    found = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join(20)
    assert found == [True]


@pytest.mark.parametrize("name", [lesson.name for lesson in LESSONS if exercises(lesson.key)])
def test_every_lesson_with_exercises_has_its_answers(name):
    assert (Path(__file__).parent / "answers" / f"{name}.py").is_file()


def test_exercises_of_a_lesson_are_found():
    assert exercises("03/02") == [
        "label_probabilities",
        "fuzzy_probabilities",
        "soft_labels",
        "most_confident",
        "generation",
    ]
    assert exercises("09/01") == []
