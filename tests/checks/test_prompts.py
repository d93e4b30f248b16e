"""Checks of lesson 03/01: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch

from labkit.checks import exercises, prompts
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/01_prompts")


@pytest.mark.parametrize("name", exercises("03/01"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(prompts, name)(SHOWN[name])
    assert verdict.passed, verdict


def from_longest(lengths, room):
    out = list(lengths)
    out[out.index(max(out))] -= max(0, sum(out) - room)
    return out


def shares(lengths, room):
    return [n * room // sum(lengths) for n in lengths]


def equally(lengths, room):
    return [n - (sum(lengths) - room) // len(lengths) for n in lengths]


def at_the_end(lengths, room):
    return [*lengths[:-1], lengths[-1] - (sum(lengths) - room)]


def in_place(lengths, room):
    while sum(lengths) > room:
        lengths[lengths.index(max(lengths))] -= 1
    return lengths


def right(lengths, room):
    return in_place(list(lengths), room)


def grown(lengths, room):
    out = right(lengths, room)
    return [*out[:-1], out[-1] + max(0, room - sum(out))]


def unit(p):
    return p / p.norm(dim=0)


def like(p, o, n, how=unit):
    alike = how(p).T @ how(p)[:, n]
    return alike, alike[torch.arange(len(o)), o]


def wrong(above):
    """A relevance from a function of likeness to all labels, and to the own."""
    return lambda p, o, n: above(*like(p, o, n))


def relevance_of(how):
    def found(p, o, n):
        alike, own = like(p, o, n, how)
        return own * 2 / (alike.sum(1) - own)

    return found


MISTAKES = {
    "cut_longest": [
        (from_longest, "from the longest field alone"),
        (shares, "by its share"),
        (equally, "the same number from every field"),
        (at_the_end, "the last field is not the longest"),
        (lambda n, r: [min(one, 5) for one in n], "too much is gone"),
        (lambda n, r: list(n), "nothing was cut"),
        (lambda n, r: sorted(right(n, r)), "order of the fields"),
        (in_place, "changes the list"),
        (grown, "nothing added"),
        (lambda n, r: sum(right(n, r)), "a list of whole numbers"),
        (lambda n, r: right(n, r)[:-1], "2 lengths came out"),
        (lambda n, r: [one / 2 for one in n], "whole numbers of at least 0"),
        (lambda n, r: None, "not attempted"),
    ],
    "calibrated": [
        (lambda p, f: p / f, "do not sum to 1"),
        (lambda p, f: p * f / (p * f).sum(1, keepdim=True), "multiplied by the bias"),
        (lambda p, f: p - f, "subtracted probabilities"),
        (lambda p, f: p / f / (p / f).sum(0), "each column sums to 1"),
        (lambda p, f: (p / f).softmax(1), "a softmax of the ratios"),
        (lambda p, f: p.clone(), "the uncalibrated answer"),
        (lambda p, f: p / p.mean(0) / (p / p.mean(0)).sum(1, keepdim=True), "calibration on texts"),
        (lambda p, f: (p / f).argmax(1).float(), r"shape \(5,\)"),
        (lambda p, f: (p / f**2) / (p / f**2).sum(1, keepdim=True), "wanted: p.label"),
    ],
    "relevance": [
        (wrong(lambda a, own: own / (a.sum(1) - own)), "− 1 is missing"),
        (wrong(lambda a, own: own), "own label alone"),
        (wrong(lambda a, own: own * 2 / a.sum(1)), "leave the word's own out"),
        (wrong(lambda a, own: own * 3 / (a.sum(1) - own)), "not |Y|".replace("|", r"\|")),
        (wrong(lambda a, own: (a.sum(1) - own) / 2 / own), "1 / R"),
        (relevance_of(lambda p: p), "scalar products"),
        (relevance_of(lambda p: p / p.norm(dim=1, keepdim=True)), "a \\*column\\*"),
        (wrong(lambda a, own: a), r"shape \(6, 3\)"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(prompts, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(prompts, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    """What learners write is what the library does."""
    from labkit.fewshot import knowledgeable
    from labkit.fewshot.encoding import fit_lengths

    chances, owners = np.random.default_rng(1).random((9, 6)), np.array([0, 0, 1, 1, 2, 2])
    found = SHOWN["relevance"](*map(torch.from_numpy, (chances, owners, np.array([0, 2, 4]))))
    np.testing.assert_allclose(found, knowledgeable.relevance(chances, owners))
    for lengths, room in (([9, 2, 30], 17), ([5, 5, 5], 7), ([0, 4], 4)):
        assert sorted(SHOWN["cut_longest"](lengths, room)) == sorted(fit_lengths(lengths, room))
