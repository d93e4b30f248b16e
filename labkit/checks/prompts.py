"""Checks of lesson 03/01, prompts: `from labkit.checks import prompts as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, number, parts, tensor, whole
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
    neutral = tensor(
        asked(function, p=p_free[None].clone(), p_free=p_free), (1, 3), "for a batch of one text, the result"
    )
    expect(neutral, torch.full((1, 3), 1 / 3), "a text without content itself must come out even: a third each")


def _entropy(p: Tensor) -> Tensor:
    """In nats, over the last dimension; 0 · log 0 is 0."""
    return -torch.xlogy(p, p).sum(-1)


def _mutual_information(p: Tensor) -> float:
    return float(_entropy(p.mean(0)) - _entropy(p).mean())


@exercise(LESSON, _mutual_information)
def mutual_information(function: Callable[[Tensor], float]) -> None:
    """Answers (texts, classes), each row with the sum 1 → the entropy of their mean less the mean of their entropies."""
    p = torch.randn(6, 3, generator=torch.Generator().manual_seed(4)).mul(2).softmax(1)
    found, mean, each = number(asked(function, p=p)), _entropy(p.mean(0)), _entropy(p)
    mistakes = [
        (mean, "this is the entropy of the mean answer alone: subtract the mean of the texts' entropies, or a prompt that never decides looks good"),
        (each.mean(), "this is the mean of the texts' entropies alone: subtract it from the entropy of the mean answer"),
        (each.mean() - mean, "the two are exchanged: the mean answer is the less decided one, so its entropy comes first"),
        (mean - each.sum(), "the entropies of the texts are added up: take their mean"),
        ((mean - each.mean()) / np.log(2), "this is in bits: take natural logarithms, torch.log"),
        ((mean - each.mean()) / 3, "a mean is taken over the classes, too: an entropy is a sum over the classes"),
        (mean + each.mean(), "the two entropies are added: subtract the second"),
        (_entropy(p.mean(1)) - each.mean(), "the mean answer is a mean over the texts (dim 0), one number per class"),
    ]  # fmt: skip
    expect(found, mean - each.mean(), "wanted: the entropy of the mean answer, less the mean over the texts of each answer's entropy", mistakes)  # fmt: skip
    sure = number(asked(function, p=torch.eye(4)[:, :2] + torch.eye(4)[:, 2:]), nan="0 · log 0, which counts as 0: torch.xlogy(p, p), or p * p.clamp(min=1e-12).log()")  # fmt: skip
    expect(sure, np.log(2), "two sure answers of each of two classes have log 2 = 0.69: a probability of 0 adds nothing to an entropy", tolerance=1e-4)  # fmt: skip
    same_answer = number(asked(function, p=torch.tensor([[0.9, 0.1]] * 3)))
    expect(same_answer, 0, "a prompt that answers 0.9 and 0.1 to every text has the mutual information 0", tolerance=1e-4)  # fmt: skip


def _choose_prompt(answers: Tensor) -> tuple[int, Tensor]:
    best = max(range(len(answers)), key=lambda place: _mutual_information(answers[place]))
    return best, _calibrated(answers[best], answers[best].mean(0))


@exercise(LESSON, _choose_prompt)
def choose_prompt(function: Callable[[Tensor], tuple[int, Tensor]]) -> None:
    """Answers (prompts, texts, classes) → the place of the one with the most mutual information, its calibrated answers."""
    generator = torch.Generator().manual_seed(9)
    heard = torch.randn(8, 3, generator=generator)
    bias = torch.tensor([[9.0, 0, 0], [0, 0, 0], [0, -1, 0.5], [18.0, 3, 0], [4.0, 0, 0]])
    strength = torch.tensor([1.0, 0.1, 2.0, 4.0, 0.0])
    answers = (bias[:, None] + strength[:, None, None] * heard).softmax(-1)
    _chosen(function, answers, "")
    _chosen(function, answers[[2, 3, 0]][:, 1:7], "right for five prompts and eight texts, wrong for three and six: ")


def _chosen(function: Callable[[Tensor], Any], answers: Tensor, case: str) -> None:
    """Mistake unless the place and the answers are those of the best prompt."""
    value, names = asked(function, answers=answers), ("place", "answers")
    place, found = parts(value, names)
    place, found = whole(place, "the place of the prompt"), tensor(found, answers.shape[1:], "the answers")
    right, wanted = _choose_prompt(answers)
    even = torch.stack([_calibrated(p, p.mean(0)) for p in answers])
    rules = {
        int(answers.amax(-1).mean(1).argmax()): "you chose the prompt that is surest of its answers: a prompt may be sure and always say the same",
        int(_entropy(answers.mean(1)).argmax()): "you chose the prompt whose mean answer is the most even: it may be undecided about every text",
        max(range(len(even)), key=lambda at: _mutual_information(even[at])): "you calibrated first and chose then: a prompt that hardly looks at the texts may look good so. Choose by the answers as they are",
        min(range(len(answers)), key=lambda at: _mutual_information(answers[at])): "you chose the smallest mutual information: the largest is wanted",
    }  # fmt: skip
    if place != right:
        raise Mistake(case + rules.get(place, f"prompt {right} has the largest mutual information; you chose prompt {place}"))  # fmt: skip
    best = answers[right]
    mistakes = [
        (best, f"{case}these are the answers as they are: calibrate them"),
        (_calibrated(best, answers.mean((0, 1))), f"{case}you divided by the mean over all prompts: divide by the mean of the chosen one alone"),
        *[(even[at], f"{case}these are the answers of prompt {at}, not of the chosen one") for at in range(len(even)) if at != right],
    ]  # fmt: skip
    expect(found, wanted, f"{case}the place is right; the answers should be calibrated(answers[place], their mean over the texts)", mistakes)  # fmt: skip
