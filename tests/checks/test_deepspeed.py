"""Checks of lesson 06/07: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest

from labkit.checks import deepspeed, exercises
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("06_parallel/07_deepspeed")
M, A = "train_micro_batch_size_per_gpu", "gradient_accumulation_steps"


@pytest.mark.parametrize("name", exercises("06/07"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(deepspeed, name)(SHOWN[name])
    assert verdict.passed, verdict


def right(ranks, rows, micro, stage, **changes):
    config = {M: micro, A: rows // (micro * ranks), "zero_optimization": {"stage": stage}, "bf16": {"enabled": True},
              "gradient_clipping": 1.0}  # fmt: skip
    return {**config, **changes}


def stage_by(held, order=(0, 1, 2, 3), strictly=False):
    def choose(parameters, ranks, budget):
        room = 0.999 * budget if strictly else budget
        fits = [s for s in order if parameters * held(ranks)[s] <= room]
        return fits[0] if fits else None

    return choose


def held(n):
    return [16, 4 + 12 / n, 2 + 14 / n, 16 / n]


MISTAKES = {
    "effective_batch": [
        (lambda c, n: c[M] * c[A], "the rows of one rank"),
        (lambda c, n: c[M] * n, "several of them make a step"),
        (lambda c, n: c[A] * n, "number of micro-batches in a step"),
        (lambda c, n: c[M] + c[A] + n, "factors, not summands"),
        (lambda c, n: c[M] * c[A] / n, "more ranks make the step larger"),
        (lambda c, n: c[M], "accumulation and ranks are missing"),
        (lambda c, n: 1000, "not it: multiply"),
        (lambda c, n: None, "not attempted"),
        (lambda c, n: print(end=""), "forget `return`"),
        (lambda c, n: c["train_batch_size"], "stopped with KeyError"),
    ],
    "config_for": [
        (lambda *a: 3, "should be a dict"),
        (lambda n, r, m, s: right(n, r, m, s, **{M: m * n}), "one rank takes 2 rows at once"),
        (lambda n, r, m, s: right(n, r, m, s, **{A: r // m}), "the 4 ranks share"),
        (lambda n, r, m, s: right(n, r, m, s, **{A: 1}), "64 rows take 8"),
        (lambda n, r, m, s: right(n, r, m, s, zero_optimization=s), "a block of its own"),
        (lambda n, r, m, s: right(n, r, m, s, zero_optimization={"stage": 1}), "the run asks for 2"),
        (lambda n, r, m, s: right(n, r, m, s, zero_optimization={"stage": 2}), "the run asks for 3"),
        (lambda n, r, m, s: right(n, r, m, s, bf16=True), "switched on by"),
        (lambda n, r, m, s: right(n, r, m, s, gradient_clipping=0.5), "the run clips at 1.0"),
        (lambda n, r, m, s: right(n, r, m, s, train_batch_size=m), "rows of a whole step"),
    ],
    "smallest_stage": [
        (stage_by(held, (3, 2, 1, 0)), "try the stages from 0 up"),
        (stage_by(held, strictly=True), "stage 0 does too"),
        (lambda p, n, b: None, "exactly as much as there is|not attempted"),
        (lambda p, n, b: stage_by(held)(p, n, b) if b != 16e9 else None, "exactly as much as there is"),
        (stage_by(lambda n: [16, 16 / n, 16 / n, 16 / n]), "Stage 1 takes 5.5 GB a rank"),
        (stage_by(lambda n: [16, 12 + 4 / n, 2 + 14 / n, 16 / n]), "stage 1 does too"),
        (lambda p, n, b: stage_by(held)(p, n, b) or 0, "nothing fits, so None|Stage 0 takes"),
        (lambda p, n, b: "zero2", "Answer with 0, 1, 2, 3, or None"),
        (stage_by(lambda n: [16, 1e9, 1e9, 1e9]), "less than there is"),
    ],
}


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, wrong in MISTAKES.items() for number in range(len(wrong))]
)
def test_a_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(deepspeed, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message
