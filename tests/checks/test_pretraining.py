"""Checks of lesson 01/04: the solution that the lesson shows passes, and each planted mistake gets its own message."""

from __future__ import annotations

import re

import numpy as np
import pytest
from torch.nn.functional import cross_entropy

from labkit.checks import exercises, pretraining
from tests.checks.solutions import solutions


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path))


SHOWN = solutions("01_foundations/04_pretraining")


@pytest.mark.parametrize("name", exercises("01/04"))
def test_the_solution_of_the_lesson_passes(name):
    verdict = getattr(pretraining, name)(SHOWN[name])
    assert verdict.passed, verdict


def masks(inputs=None, labels=None):
    """A wrong `bert_masks`: the solution with its inputs or its labels made by another function."""

    def function(ids, chosen, fate, drawn, mask):
        right = SHOWN["bert_masks"](ids, chosen, fate, drawn, mask)
        given = (ids, chosen, fate, drawn, mask, right[0])
        return (inputs or (lambda *_: right[0]))(*given), (labels or (lambda *_: right[1]))(*given)

    return function


def in_place(ids, chosen, fate, drawn, mask):
    ids[chosen] = mask
    return ids, ids


def shifted(before, after, **options):
    return lambda z, x: cross_entropy(z[:, before].flatten(0, 1), x[:, after].flatten(), **options)


def spans(change):
    return lambda ids, hidden, marks: change(*SHOWN["corrupt"](ids, hidden, marks))


def sentinel_a_token(ids, hidden, marks):
    marks = iter(marks)
    return [next(marks) if gone else token for token, gone in zip(ids, hidden, strict=True)], []


def forgets_an_open_end(ids, hidden, marks):
    inputs, targets = SHOWN["corrupt"](ids, hidden, marks)
    return inputs, targets[:-1] if hidden[-1] else targets


EVERY, START, END = slice(None), slice(None, -1), slice(1, None)
MISTAKES = {
    "bert_masks": [
        (in_place, "changed `ids` itself"),
        (masks(labels=lambda i, c, f, d, m, r: i), "every token has a label"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(c, i, 0)), "0 is a token"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(c & (f < 0.8), i, -100)), "only where \\[MASK\\] stands"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(r != i, i, -100)), "was kept needs a label"),
        (masks(labels=lambda i, c, f, d, m, r: np.where(c, r, -100)), "original tokens"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(c, m, i)), "all chosen tokens became"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(c & (f < 0.8), m, i)), "random tokens are missing"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(f < 0.8, m, np.where(f < 0.9, d, i))), "were not chosen changed"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(c, np.where(f < 0.8, m, d), i)), "20 % became random"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(c & (f < 0.8), m, np.where(c & (f >= 0.9), d, i))), "exchanged"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(c & (f < 0.1), m, np.where(c & (f < 0.2), d, i))), "shares are off"),
        (masks(inputs=lambda i, c, f, d, m, r: np.where(c & (f < 0.8), m, np.where(c & (f <= 0.9), d, i))), "borders"),
        (masks(inputs=lambda i, c, f, d, m, r: r[:3]), r"shape \(3,\)"),
        (masks(inputs=lambda i, c, f, d, m, r: r.astype(float)), "whole numbers"),
        (lambda *_: None, "not attempted"),
    ],
    "next_token_loss": [
        (shifted(EVERY, EVERY), "nothing is shifted"),
        (shifted(END, START), "wrong way"),
        (lambda z, x: cross_entropy(z.flatten(0, 1), x.roll(-1, 1).flatten()), "first token of the text"),
        (shifted(START, END, reduction="sum"), "this is the sum"),
        (lambda z, x: shifted(START, END, reduction="sum")(z, x) / len(x), "number of texts"),
        (lambda z, x: shifted(START, END)(z.softmax(-1), x), "gave it probabilities"),
        (lambda z, x: -shifted(START, END)(z, x), "sign"),
        (lambda z, x: shifted(START, END)(z, x) / np.log(2), "bits"),
        (shifted(START, END, reduction="none"), "one number"),
        (lambda z, x: z.mean(), "all positions but the last"),
    ],
    "replaced_tokens": [
        (lambda i, w, s: (i, w), "nothing was replaced"),
        (lambda i, w, s: (SHOWN["replaced_tokens"](i, w, s)[0], w), "counts as original"),
        (lambda i, w, s: (SHOWN["replaced_tokens"](i, w, s)[0], 1 - SHOWN["replaced_tokens"](i, w, s)[1]), "exchanged"),
        (lambda i, w, s: (SHOWN["replaced_tokens"](i, w, s)[0], np.where(w, SHOWN["replaced_tokens"](i, w, s)[1], -100)), "every token is asked"),
        (lambda i, w, s: (SHOWN["replaced_tokens"](i, w, s)[0], np.where(w, SHOWN["replaced_tokens"](i, w, s)[0], -100)), "does not name tokens"),
        (lambda i, w, s: (i.__setitem__(w, s), (i, w))[1], "changed `ids` itself"),
    ],
    "corrupt": [
        (sentinel_a_token, "several tokens"),
        (spans(lambda inputs, targets: ([x for x in inputs if x < 90], targets)), "no sentinels"),
        (spans(lambda inputs, targets: ([min(x, 90) for x in inputs], targets)), "same sentinel"),
        (spans(lambda inputs, targets: (inputs, targets[:-1])), "closing sentinel"),
        (spans(lambda inputs, targets: (inputs, [x for x in targets if x < 90])), "hidden tokens alone"),
        (spans(lambda inputs, targets: (inputs, [12, 13, 90, 16, 91])), "before its span"),
        (spans(lambda inputs, targets: (inputs[1:], targets)), "the inputs should be"),
        (spans(lambda inputs, targets: (inputs, targets[::-1])), "the targets should be"),
        (forgets_an_open_end, "begins and ends"),
        (lambda *_: 3, "two lists"),
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "number"), [(name, number) for name, some in MISTAKES.items() for number in range(len(some))]
)
def test_each_mistake_is_named(name, number):
    function, message = MISTAKES[name][number]
    verdict = getattr(pretraining, name)(function)
    assert not verdict.passed
    assert re.search(message, verdict.message), verdict.message


def test_no_two_mistakes_share_a_message():
    for name, some in MISTAKES.items():
        messages = [getattr(pretraining, name)(function).message for function, _ in some]
        assert len(set(messages)) == len(messages), messages
