"""What a check says of a stub, a crash, a mistake and a solution, whatever the exercise."""

from __future__ import annotations

import pytest
import torch

from labkit import progress
from labkit.checks import Mistake, exercise, exercises
from labkit.checks.exercise import expect, is_stub, tensor


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


@exercise("09/09")
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
    verdict = double(function)
    assert is_stub(function) and verdict.passed is None and verdict.message == "not attempted yet"
    assert progress.read() == {}


@pytest.mark.parametrize("function", [one, sliced, max, lambda x: x])
def test_anything_else_is_an_attempt(function):
    assert not is_stub(function)


def test_a_solution_passes_and_is_kept():
    verdict = double(lambda x: 2 * x)
    assert verdict.passed and repr(verdict) == "✓ double: passed"
    assert progress.read() == {"09/09": {"opened": True, "passed": ["double"]}}


def test_a_mistake_is_named_and_not_kept():
    assert double(lambda x: x * x).message == "you squared it"
    assert double(lambda x: x).message == "wanted twice the number"
    assert progress.read() == {}


def test_a_crash_names_the_learners_line():
    def crashes(x):
        return x / 0

    verdict = double(crashes)
    assert verdict.passed is False and "ZeroDivisionError" in verdict.message and "return x / 0" in verdict.message


def test_no_function_is_said_kindly():
    assert "write check.double(double)" in double(6).message


def test_markup_in_an_error_stays_text():
    def crashes(x):
        raise ValueError("<script>alert(1)</script>")

    assert "<script>" not in double(crashes)._repr_html_()


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


def test_exercises_of_a_lesson_are_found():
    assert exercises("03/02") == ["label_probabilities", "fuzzy_probabilities", "soft_labels", "most_confident"]
    assert exercises("09/01") == []
