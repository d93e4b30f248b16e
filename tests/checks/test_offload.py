"""Checks of lesson 06/06: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest

from labkit.checks import exercises, offload
from labkit.parallel.offload.paging import lru_faults
from labkit.parallel.offload.schedule import spread, steady_pass
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("06_parallel/06_offload")


@pytest.mark.parametrize("name", exercises("06/06"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(offload, name)(SHOWN[name])
    assert verdict.passed, verdict


MISTAKES = {
    "spread": [
        (lambda n, k: range(n - k, n), "stand in a row"),
        (lambda n, k: [i * (n - 1) // (k - 1) for i in range(k)], "3 apart; your gaps"),
        (lambda n, k: [i * 2 for i in range(k)], "over the end to the first"),
        (lambda n, k: [i * (n // k) for i in range(k)], "differ by one at most"),
        (lambda n, k: [i * n / k + 0.5 for i in range(k)], "whole numbers"),
        (lambda n, k: [0] * k, "4 of 12 layers were to move"),
        (lambda n, k: [i * n // k + 1 + n for i in range(k)], "numbered 0 to 11"),
        (lambda n, k: 3, "a list of layer numbers"),
        (lambda n, k: None if n else [], "forget `return`"),
    ],
    "pass_time": [
        (lambda n, k, c, x: n * c + k * x, "you added"),
        (lambda n, k, c, x: n * max(c, x), "not n · load"),
        (lambda n, k, c, x: (n - k) * c + k * max(c, x), "not only one"),
        (lambda n, k, c, x: max((n - k) * c, k * x), "computed too"),
        (lambda n, k, c, x: n * c, "computing alone"),
        (lambda n, k, c, x: k * x, "loading alone"),
        (lambda n, k, c, x: min(n * c, k * x), "not the shorter"),
        (lambda n, k, c, x: [c], "one number is wanted"),
        (lambda n, k, c, x: c + x, "was expected"),
    ],
    "lru_faults": [
        (lambda n, f, p: n + max(n - f, 0) * (p - 1), "the one needed next"),
        (lambda n, f, p: n * p, "where all layers fit"),
        (lambda n, f, p: n * p if n >= f else n, "exactly as many frames"),
        (lambda n, f, p: n * p if n > f else 0, "first pass faults always"),
        (lambda n, f, p: max(n - f, 0) * p, "count again"),
        (lambda n, f, p: n if n > f else 0, "faults of one pass"),
        (lambda n, f, p: f, "n faults in the first pass"),
    ],
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(offload, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(offload, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    for layers, moving in ((12, 4), (10, 3), (9, 9)):
        assert list(SHOWN["spread"](layers, moving)) == list(spread(layers, moving))
    assert SHOWN["lru_faults"](7, 5, 4) == sum(lru_faults(7, 5, 4))
    assert SHOWN["pass_time"](12, 4, 1.0, 5.0) == pytest.approx(steady_pass(12, spread(12, 4), 1.0, 5.0).total)
