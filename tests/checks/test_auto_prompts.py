"""Checks of lesson 03/05: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import pytest
import torch

from labkit.checks import auto_prompts, exercises
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("03_fewshot/05_auto_prompts")


@pytest.mark.parametrize("name", exercises("03/05"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(auto_prompts, name)(SHOWN[name])
    assert verdict.passed, verdict


def beam(total):
    """A `beam_step` that takes the best of `total(scores, gains)`, (beams, vocabulary)."""

    def step(scores, gains, width):
        values, place = total(scores, gains).flatten().topk(width)
        return values, place // gains.shape[2], place % gains.shape[2]

    return step


def right(scores, gains):
    return scores[:, None] + gains.sum(1)


def changed(change):
    """The right step with its result changed."""
    return lambda s, g, k: change(*beam(right)(s, g, k))


def one_each(scores, gains, width):
    values, words = right(scores, gains).max(1)
    return values, torch.arange(width), words


def ranked(value):
    """A `rank_words` that sorts by `value(rows of the class)`."""
    return lambda s, y, k: torch.stack([value(s[y == c]).topk(k).indices for c in range(int(y.max()) + 1)])


MISTAKES = {
    "beam_step": [
        (beam(lambda s, g: g.sum(1)), "scores so far are missing"),
        (beam(lambda s, g: s[:, None] + g.mean(1)), "averaged over the rows"),
        (beam(lambda s, g: s[:, None] + g[:, 0]), "only the first row"),
        (beam(lambda s, g: s[:, None] * g.sum(1)), "multiplied scores"),
        (beam(lambda s, g: s[:, None] + g.exp().sum(1).log()), "fits some row"),
        (beam(lambda s, g: s[:, None] + g.exp().sum(1)), "sums of probabilities"),
        (one_each, "its own best word"),
        (changed(lambda v, p, w: (v.flip(0), p.flip(0), w.flip(0))), "low to high"),
        (changed(lambda v, p, w: (v, p, p * 7 + w)), "too large"),
        (changed(lambda v, p, w: (v, w, p)), "exchanged"),
        (changed(lambda v, p, w: (v, p * 0, w)), "parents or words are not"),
        (changed(lambda v, p, w: v), "three tensors"),
        (changed(lambda v, p, w: (v, p.float(), w)), "whole ones"),
        (changed(lambda v, p, w: (v + 1, p, w)), "3 largest"),
    ],
    "rank_words": [
        (lambda s, y, k: s.sum(0).topk(k).indices.expand(3, k), "same words"),
        (lambda s, y, k: torch.stack([s[y != c].sum(0).topk(k).indices for c in range(3)]), "not !="),
        (ranked(lambda rows: rows.exp().sum(0)), "added probabilities"),
        (ranked(lambda rows: rows.amax(0)), "best row"),
        (ranked(lambda rows: rows[0]), "only the first row"),
        (ranked(lambda rows: -rows.sum(0)), "least likely"),
        (lambda s, y, k: ranked(lambda rows: rows.sum(0))(s, y, k).flip(1), "low to high"),
        (lambda s, y, k: torch.stack([s[y == c].sum(0).topk(k).values for c in range(3)]), "whole ones"),
        (lambda s, y, k: ranked(lambda rows: rows.sum(0))(s, y, k).T[:2], r"shape \(2, 3\)"),
        (lambda s, y, k: ranked(lambda rows: rows.sum(0))(s, y, k) + 50, "word ids run from 0"),
        (ranked(lambda rows: rows.sum(0).roll(1)), "row c should hold"),
    ],
    "first_order": [
        (lambda g, e, n: -((e - e[n]) @ g.sum(0)), "sign is wrong"),
        (lambda g, e, n: e @ g.sum(0), "stands there now is missing"),
        (lambda g, e, n: (e - e[n]) @ g.mean(0), "averaged the gradients"),
        (lambda g, e, n: (e - e[n]) @ g[0], "only the first row"),
        (lambda g, e, n: (e + e[n]) @ g.sum(0), "not the sum"),
        (lambda g, e, n: torch.nn.functional.cosine_similarity(e, g.sum(0)[None]), "cosine"),
        (lambda g, e, n: (e - e[n]).abs() @ g.sum(0).abs(), "lose the direction"),
        (lambda g, e, n: (e - e[3]) @ g.sum(0), "another word in place"),
        (lambda g, e, n: (e - e[n]) @ g.T, r"shape \(9, 5\)"),
        (lambda g, e, n: (e - e[n]) @ g.sum(0) + 1, "for each word w"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(auto_prompts, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(auto_prompts, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages


def test_the_lessons_functions_agree_with_labkit():
    """The ranking of words that learners write is that of the library."""
    from labkit.fewshot.auto_prompt.label_words import likely_words

    scores = torch.randn(12, 20, generator=torch.Generator().manual_seed(0)).log_softmax(1)
    labels = torch.arange(12) % 3
    library = likely_words(scores, labels, 3, torch.ones(20, dtype=torch.bool), 5)
    assert SHOWN["rank_words"](scores, labels, 5).tolist() == library
