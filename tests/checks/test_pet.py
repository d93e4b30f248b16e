"""Checks of lesson 03/02: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import exercises, pet
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/02_pet")


@pytest.mark.parametrize("name", exercises("03/02"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(pet, name)(SHOWN[name])
    assert verdict.passed, verdict


def chosen_by(rows_of):
    """A wrong `most_confident` from a function that gives the pairs."""
    return lambda p, k: [(int(r), int(c)) for r, c in rows_of(p, k)]


def by_column(p, k):
    return [(row, label) for label in range(3) for row in p[:, label].argsort(descending=True)[:k]]


def of_all(p, k):
    return [(row, p[row].argmax()) for row in p.amax(1).argsort(descending=True)[: 3 * k]]


MISTAKES = {
    "label_probabilities": [
        (lambda z, w: z.softmax(1)[:, w], "whole vocabulary"),
        (lambda z, w: z[:, w].softmax(0), "over the batch"),
        (lambda z, w: z[:, w], "softmax over the classes is still missing"),
        (lambda z, w: z[:, w].log_softmax(1), "log-probabilities"),
        (lambda z, w: z[:, w].sigmoid(), "sigmoid looks at one class"),
        (lambda z, w: z[:, w.sort().values].softmax(1), "do not sort"),
        (lambda z, w: z[:, w].softmax(1).T, r"shape \(3, 5\)"),
        (lambda z, w: z[:, w].exp() / z[:, w].exp().sum(1, keepdim=True), "NaN|overflow"),
        (lambda z, w: None, "not attempted"),
        (lambda z, w: z[:, w + 20].softmax(1), "stopped with IndexError"),
        (lambda z, w: z[:, w].flip(1).softmax(1), "to other values"),
        (lambda z, w: z[:, w].relu(), "must sum to 1"),
    ],
    "fuzzy_probabilities": [
        (lambda z, w: z.softmax(1)[:, w].sum(2), "divide each class's sum"),
        (lambda z, w: z[:, w].sum(2).softmax(1), "added the words' logits"),
        (lambda z, w: z[:, w].mean(2).softmax(1), "averaged the words' logits"),
        (lambda z, w: z[:, w].softmax(1).mean(2), "every set of words"),
        (lambda z, w: z[:, w].amax(2).softmax(1), "likeliest word"),
        (lambda z, w: z[:, w[:, 0]].softmax(1), "only the first word"),
        (lambda z, w: z.softmax(1)[:, w].sum(2).softmax(1), "flattens them"),
        (lambda z, w: z.softmax(1)[:, w].sum(1), r"shape \(4, 3\)"),
    ],
    "soft_labels": [
        (lambda s, w, t: ((w[:, None, None] * s).sum(0) / t).softmax(1), "do not sum to 1"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * s.softmax(2)).sum(0), "at T = 1"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * (s / t).softmax(2)).sum(0), "the models' probabilities"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * s).sum(0).mul(t).softmax(1), "multiplied by the temperature"),
        (lambda s, w, t: ((w / w.sum())[:, None, None] * s).sum(0).softmax(1), "temperature is missing"),
        (lambda s, w, t: (s.mean(0) / t).softmax(1), "same say"),
        (lambda s, w, t: (((w / w.sum())[:, None, None] * s).sum(0) / t).softmax(0), "over the rows of the batch"),
    ],
    "most_confident": [
        (chosen_by(by_column), "do not believe in"),
        (chosen_by(of_all), "surest rows of all"),
        (chosen_by(lambda p, k: [(6, 0), (7, 0), (3, 1), (4, 1)]), "least sure"),
        (chosen_by(lambda p, k: [(2, 0), (5, 0), (4, 2)]), "likeliest class is 1"),
        (chosen_by(lambda p, k: [(r, p[r].argmax()) for r in range(8)]), "too many rows"),
        (chosen_by(lambda p, k: [(0, 5)]), "out of range"),
        (chosen_by(lambda p, k: [(5, 0), (5, 0)]), "twice"),
        (lambda p, k: p.argmax(1).tolist(), "list of pairs"),
        (chosen_by(lambda p, k: [(5, 0), (0, 0), (3, 1), (4, 1)]), "highest probability"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(pet, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(pet, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    """The verbalizer and the choice of rows that learners write are those of the library."""
    from labkit.fewshot.self_training import most_confident

    p = torch.randn(30, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert sorted(SHOWN["most_confident"](p, 3)) == sorted(most_confident(p.numpy(), [3] * 4))
