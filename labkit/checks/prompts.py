"""Checks of lesson 03/01, prompts: `from labkit.checks import prompts as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, tensor, whole
from labkit.checks.limit import TimeUp
from labkit.fewshot.prompts.encoding import fit_lengths

LESSON = "03/01"


@exercise(LESSON, fit_lengths)
def cut_longest(function: Callable[[list[int], int], list[int]]) -> None:
    """Lengths of the fields and the room for them, in tokens → lengths that fit, the longest cut first."""
    found = _kept(function, [10, 3, 8], 15)
    mistakes = [
        ([4, 3, 8], "you took everything from the longest field alone: once it is no longer the longest, go on with the one that is"),
        ([7, 2, 5], "you cut every field by its share: the short ones are to stay whole while a longer one is there"),
        ([8, 1, 6], "you took the same number from every field: take each token from the longest at that moment"),
        ([10, 3, 2], "you cut at the end only: the last field is not the longest"),
        ([10, 3, 8], "nothing was cut, and 21 tokens do not fit into 15"),
    ]  # fmt: skip
    if found != [6, 3, 6] and sorted(found) == [3, 6, 6]:
        raise Mistake("the lengths must come in the order of the fields: do not sort them")
    what = f"of lengths 10, 3, 8 with room for 15, the two long ones become 6 and 6; you gave {found}"
    less = f"too much is gone: 15 tokens fit, yours are {sum(found)}. Stop as soon as the sum fits"
    expect(found, [6, 3, 6], less if sum(found) < 15 else what, mistakes)
    for lengths in ([4, 2], [4, 5]):
        expect(_kept(function, lengths, 9), lengths, "where everything fits, nothing is to be cut (and nothing added)")
    for lengths, room in (([7, 7], 11), ([2, 30, 9, 30], 25), ([12], 5), ([5, 9, 9], 0)):
        found = _kept(function, lengths, room)
        case = f"of lengths {lengths} with room for {room} you keep {found}"
        if sum(found) != room:
            raise Mistake(f"{case}, {sum(found)} tokens: take one from one longest field, look again, and stop when the sum is the room")  # fmt: skip
        if any(a > b or (a < b and a < max(found) - 1) for a, b in zip(found, lengths, strict=True)):
            raise Mistake(f"{case}: each token is to be taken from the field that is the longest at that moment")


def _kept(function: Callable[[list[int], int], Any], lengths: list[int], room: int) -> list[int]:
    """The learner's lengths as plain whole numbers; Mistake where they are none, or the list given was changed."""
    try:
        value = asked(function, lengths=list(lengths), room=room)
    except TimeUp:
        if sum(lengths) > room:
            raise
        raise Mistake(f"lengths {lengths} fit into {room} tokens, and there your loop does not end: go on while the sum is larger than the room (>), not while it differs (!=)") from None  # fmt: skip
    if not isinstance(value, list | tuple | np.ndarray | Tensor) or not np.ndim(value):
        raise Mistake(f"the result should be a list of whole numbers, one length per field, not {type(value).__name__}")
    found = [whole(one, "a length") for one in value]
    if len(found) != len(lengths):
        raise Mistake(f"fields that came in: {len(lengths)}, lengths that came out: {len(found)}; one per field is wanted, 0 if need be")  # fmt: skip
    if min(found) < 0:
        raise Mistake(f"a length is at least 0; you gave {found}")
    return found


def _calibrated(p: Tensor, p_free: Tensor) -> Tensor:
    ratio = p / p_free
    return ratio / ratio.sum(-1, keepdim=True)


@exercise(LESSON, _calibrated)
def calibrated(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Label probabilities (batch, classes) and those for a text without content (classes,) → calibrated (batch, classes)."""  # fmt: skip
    generator = torch.Generator().manual_seed(2)
    p, p_free = torch.randn(5, 3, generator=generator).softmax(1), torch.tensor([0.7, 0.2, 0.1])
    found = tensor(asked(function, p=p, p_free=p_free), (5, 3), nan="the logarithm of a negative number, or a row that sums to 0?")  # fmt: skip
    ratio, less, more = p / p_free, p - p_free, p * p_free
    mistakes = [
        (ratio, "the rows do not sum to 1: divide each by its sum over the classes"),
        (ratio / ratio.sum(), "all numbers together sum to 1: divide each row by its own sum, sum(-1, keepdim=True)"),
        (ratio / ratio.amax(1, keepdim=True), "you divided each row by its largest ratio: divide by the sum, so that it sums to 1"),
        (more / more.sum(1, keepdim=True), "you multiplied by the bias, which doubles it: divide"),
        *[(wrong, "you subtracted probabilities: what is left may be negative. Divide")
          for wrong in (less, less / less.sum(1, keepdim=True), less.relu() / less.relu().sum(1, keepdim=True), less.softmax(1))],
        (ratio / ratio.sum(0), "each column sums to 1, not each row: normalise over the classes (last dimension)"),
        (ratio.softmax(1), "a softmax of the ratios is not a division by their sum: softmax is for log-probabilities"),
        (p, "this is the uncalibrated answer: the text without content is not used"),
        (_calibrated(p, p.mean(0)), "you divided by the mean over the batch: that is calibration on texts. Here the answer to the text without content is given"),
    ]  # fmt: skip
    expect(found, _calibrated(p, p_free), "wanted: p(label | text) / p(label | no content), divided by its sum over the labels", mistakes)  # fmt: skip
    neutral = tensor(asked(function, p=p_free[None].clone(), p_free=p_free), (1, 3), "for a batch of one text, the result")
    expect(neutral, torch.full((1, 3), 1 / 3), "a text without content itself must come out even: a third each")


def _relevance(chances: Tensor, owners: Tensor, names: Tensor) -> Tensor:
    own, rest = _likeness(chances / chances.norm(dim=0), owners, names)
    return own * (len(names) - 1) / rest


def _likeness(vectors: Tensor, owners: Tensor, names: Tensor) -> tuple[Tensor, Tensor]:
    """Scalar products of each word's column with that of its own class's name, and their sum over the other classes."""
    alike = vectors.T @ vectors[:, names]  # (words, classes)
    own = alike[torch.arange(len(owners)), owners]
    return own, alike.sum(1) - own


@exercise(LESSON, _relevance)
def relevance(function: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
    """Word probabilities (texts, words), each word's class (words,), each class's name word (classes,) → R (words,)."""
    generator = torch.Generator().manual_seed(7)
    chances = torch.rand(8, 7, generator=generator)
    owners, names = torch.tensor([2, 0, 1, 0, 2, 1, 0]), torch.tensor([3, 2, 4])
    nan = "0 divided by 0: the length of a column of zeros, or a likeness to no label at all?"
    found = tensor(asked(function, chances=chances, owners=owners, names=names), (7,), nan=nan)

    def ratio(vectors: Tensor, words: Tensor = names) -> Tensor:
        own, rest = _likeness(vectors, owners, words)
        return own * 2 / rest

    own, rest = _likeness(chances / chances.norm(dim=0), owners, names)
    centred = chances - chances.mean(0)
    mistakes = [
        (own / rest, "the factor |Y| − 1 is missing: R compares with the *mean* likeness to the other labels, not with their sum"),
        (own, "this is the likeness to the word's own label alone: divide by the mean likeness to the others"),
        (own * 2 / (own + rest), "the sum below runs over the *other* labels: leave the word's own out"),
        (own * 3 / rest, "the factor is |Y| − 1, the number of the other labels, not |Y|"),
        (rest / 2 / own, "this is 1 / R: the likeness to the own label stands above the line"),
        (ratio(chances), "these are scalar products: divide each word's vector by its length, or frequent words count more"),
        (ratio(chances / chances.norm(dim=1, keepdim=True)), "you divided by the lengths of the texts' rows: a word's vector is a *column*, (texts,)"),
        (ratio(centred / centred.norm(dim=0)), "you subtracted each word's mean: that is a correlation. A cosine leaves the columns where they are"),
        (ratio(chances / chances.norm(dim=0), torch.tensor([1, 2, 0])), "you compared with the first word of each class: its name is the word number names[class]"),
    ]  # fmt: skip
    expect(found, own * 2 / rest, "wanted: cos(word, its label's name) · (|Y| − 1) / Σ over the other labels of cos(word, their name)", mistakes)  # fmt: skip
    _another_relevance(function, generator)


def _another_relevance(function: Callable[[Tensor, Tensor, Tensor], Tensor], generator: torch.Generator) -> None:
    """Four labels instead of three, two of whose names are alike, and probabilities as small as real ones."""
    chances = torch.rand(5, 6, generator=generator) * 1e-3
    chances[:, 2] = chances[:, 0] * 2
    owners, names = torch.tensor([0, 1, 2, 3, 1, 3]), torch.tensor([0, 1, 2, 5])
    found = tensor(asked(function, chances=chances, owners=owners, names=names), (6,), "for four labels, the result")
    right, (own, rest) = _relevance(chances, owners, names), _likeness(chances / chances.norm(dim=0), owners, names)
    twins = own * 3 / (rest - own * (owners % 2 == 0))  # the names of labels 0 and 2 have the same cosines
    mistakes = [
        (right * 2 / 3, "the factor is right for three labels only: |Y| − 1 is 3 for four of them, `len(names) - 1`"),
        (twins, "two labels' names have the same cosines here, and both are left out of the sum: leave the word's own out by its number, not by its value"),
    ]  # fmt: skip
    expect(found, right, "right for three labels and large probabilities, wrong for four labels and small ones: add nothing to a length, and take the number of labels from `names`", mistakes, 1e-4)  # fmt: skip
