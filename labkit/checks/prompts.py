"""Checks of lesson 03/01, prompts: `from labkit.checks import prompts as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "03/01"


@exercise(LESSON)
def cut_longest(function: Callable[[list[int], int], list[int]]) -> None:
    """Lengths of the fields and the room for them, in tokens → lengths that fit, the longest cut first."""
    found = _lengths(function([10, 3, 8], 15), 3)
    mistakes = [
        ([4, 3, 8], "you took everything from the longest field alone: once it is no longer the longest, go on with the one that is"),
        ([7, 2, 5], "you cut every field by its share: the short ones are to stay whole while a longer one is there"),
        ([8, 1, 6], "you took the same number from every field: take each token from the longest at that moment"),
        ([10, 3, 2], "you cut at the end only: the last field is not the longest"),
        ([5, 3, 5], "too much is gone: 15 tokens fit, yours are 13. Stop as soon as the sum fits"),
        ([10, 3, 8], "nothing was cut, and 21 tokens do not fit into 15"),
    ]  # fmt: skip
    if found != [6, 3, 6] and sorted(found) == [3, 6, 6]:
        raise Mistake("the lengths must come in the order of the fields: do not sort them")
    if found != [6, 3, 6]:
        what = f"of lengths 10, 3, 8 with room for 15, the two long ones become 6 and 6; you gave {found}"
        expect(found, [6, 3, 6], what, mistakes)
    expect(_lengths(function([4, 2], 9), 2), [4, 2], "where everything fits, nothing is to be cut (and nothing added)")
    given = [7, 7]
    ties = _lengths(function(given, 11), 2)
    expect(sorted(ties), [5, 6], f"of two fields of 7 with room for 11, one keeps 6 and one 5; you gave {ties}")
    if given != [7, 7]:
        raise Mistake("your function changes the list that it is given: work on a copy, `list(lengths)`")
    expect(_lengths(function([5, 9, 9], 0), 3), [0, 0, 0], "with no room at all, every length is 0")


@exercise(LESSON)
def calibrated(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Label probabilities (batch, classes) and those for a text without content (classes,) → calibrated (batch, classes)."""  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    p, p_free = torch.randn(5, 3, generator=generator).softmax(1), torch.tensor([0.7, 0.2, 0.1])
    found = tensor(function(p.clone(), p_free.clone()), (5, 3))
    ratio = p / p_free
    right = ratio / ratio.sum(1, keepdim=True)
    mistakes = [
        (ratio, "the rows do not sum to 1: divide each by its sum over the classes"),
        (p * p_free / (p * p_free).sum(1, keepdim=True), "you multiplied by the bias, which doubles it: divide"),
        ((p - p_free) / (p - p_free).sum(1, keepdim=True), "you subtracted probabilities: what is left may be negative. Divide"),
        (p - p_free, "you subtracted probabilities: what is left may be negative. Divide"),
        (ratio / ratio.sum(0), "each column sums to 1, not each row: normalise over the classes (last dimension)"),
        (ratio.softmax(1), "a softmax of the ratios is not a division by their sum: softmax is for log-probabilities"),
        (p, "this is the uncalibrated answer: the text without content is not used"),
        (p / p.mean(0) / (p / p.mean(0)).sum(1, keepdim=True), "you divided by the mean over the batch: that is calibration on texts. Here the answer to the text without content is given"),
    ]  # fmt: skip
    expect(
        found, right, "wanted: p(label | text) / p(label | no content), divided by its sum over the labels", mistakes
    )
    neutral = tensor(function(p_free[None].clone(), p_free.clone()), (1, 3))
    expect(neutral, torch.full((1, 3), 1 / 3), "a text without content itself must come out even: a third each")


@exercise(LESSON)
def relevance(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Word probabilities (texts, words), each word's class (words,), each class's name word (classes,) → R (words,)."""
    generator = torch.Generator().manual_seed(7)
    chances = torch.rand(8, 6, generator=generator)
    owners, names = torch.tensor([0, 1, 0, 2, 1, 2]), torch.tensor([0, 1, 3])
    found = tensor(function(chances.clone(), owners.clone(), names.clone()), (6,))
    unit = chances / chances.norm(dim=0)
    alike = unit.T @ unit[:, names]  # (words, classes)
    own = alike[torch.arange(6), owners]
    rest = alike.sum(1) - own
    raw = chances.T @ chances[:, names]
    raw_own = raw[torch.arange(6), owners]
    rows = chances / chances.norm(dim=1, keepdim=True)
    by_text = rows.T @ rows[:, names]
    by_text_own = by_text[torch.arange(6), owners]
    mistakes = [
        (own / rest, "the factor |Y| − 1 is missing: R compares with the *mean* likeness to the other labels, not with their sum"),
        (own, "this is the likeness to the word's own label alone: divide by the mean likeness to the others"),
        (own * 2 / alike.sum(1), "the sum below runs over the *other* labels: leave the word's own out"),
        (own * 3 / rest, "the factor is |Y| − 1, the number of the other labels, not |Y|"),
        (rest / 2 / own, "this is 1 / R: the likeness to the own label stands above the line"),
        (raw_own * 2 / (raw.sum(1) - raw_own), "these are scalar products: divide each word's vector by its length, or frequent words count more"),
        (by_text_own * 2 / (by_text.sum(1) - by_text_own), "you divided by the lengths of the texts' rows: a word's vector is a *column*, (texts,)"),
    ]  # fmt: skip
    expect(found, own * 2 / rest, "wanted: cos(word, its label's name) · (|Y| − 1) / Σ over the other labels of cos(word, their name)", mistakes)  # fmt: skip
    scaled = tensor(function(chances * torch.linspace(0.1, 9, 6), owners, names), (6,))
    if not same(scaled, own * 2 / rest, 1e-4):
        raise Mistake("R must not change when a word becomes more frequent everywhere: use cosines")


def _lengths(value: Any, count: int) -> list[int]:
    """The learner's lengths as plain whole numbers; Mistake where they are none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    try:
        found = [int(one) for one in value]
        whole = all(int(one) == one for one in value)
    except (TypeError, ValueError) as error:
        raise Mistake("the result should be a list of whole numbers, one length a field") from error
    if len(found) != count:
        raise Mistake(f"{count} fields came in, {len(found)} lengths came out: one a field is wanted, 0 if need be")
    if not whole or min(found) < 0:
        raise Mistake(f"lengths are whole numbers of at least 0, not {list(value)}")
    return found
