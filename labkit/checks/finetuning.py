"""Checks of lesson 01/05, one body and many heads: `from labkit.checks import finetuning as check`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, learns, loss, number, parts, same, tensor, whole
from labkit.foundations.encoder import mean_state
from labkit.foundations.reading import plain_answer

LESSON = "01/05"
Words = Sequence[str]
ONCE = "each right word can be found only once: far stands once in the right answer"
OVERFLOW = "exp overflows for large scores; leave it to log_softmax or cross_entropy"


# A class


def _class_logits(states: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return mean_state(states, mask) @ weight.T + bias


@exercise(LESSON, _class_logits)
def class_logits(function: Callable[..., Tensor]) -> None:
    """States (batch, tokens, d), mask (batch, tokens), weight (classes, d), bias (classes,) → (batch, classes)."""
    draw = torch.Generator().manual_seed(3)
    states, weight, bias = (torch.randn(*size, generator=draw) for size in ((3, 5, 4), (2, 4), (2,)))
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1], [1, 0, 0, 0, 0]])
    given = {"states": states.clone().requires_grad_(), "mask": mask, "weight": weight.clone().requires_grad_(),
             "bias": bias.clone().requires_grad_()}  # fmt: skip
    logits = asked(function, **given)
    found = tensor(logits, (3, 2), gradient=True)
    pooled, right = mean_state(states, mask), _class_logits(states, mask, weight, bias)
    real = mask[..., None].float()
    expect(found, right, "wanted: the mean of the real tokens' states, times the weight, plus the bias", [
        (states.mean(1) @ weight.T + bias, "padding counts too: take the mean over the tokens whose mask is 1 only"),
        ((states * real).mean(1) @ weight.T + bias, "the sum over real tokens is divided by the number of all tokens: divide by mask.sum(1)"),
        ((states * real).sum(1) @ weight.T + bias, "this is a sum over the tokens: divide it by the number of real ones"),
        (states[:, 0] @ weight.T + bias, "this is the first token's state alone: take the mean over the real ones"),
        ((states * real).amax(1) @ weight.T + bias, "this is a maximum over the tokens: take the mean"),
        (pooled @ weight.T, "the bias is missing"),
        (right.softmax(1), "a softmax is not asked for: give the logits"),
    ])  # fmt: skip
    learns(logits, _class_logits(given["states"], mask, given["weight"], given["bias"]),
           {name: given[name] for name in ("states", "weight", "bias")},
           "the logits are right, but not their gradient with respect to the {}")  # fmt: skip
    floats = tensor(function(states[1:], mask[1:].float(), weight, bias), (2, 2), "for two texts and a mask of floats, the result")  # fmt: skip
    expect(floats, right[1:], "right for three texts, but not for two of them and a mask of floats")


# A span


def _best_span(start: Tensor, end: Tensor, longest: int) -> tuple[int, int, float]:
    spans = [(first, last) for first in range(len(start)) for last in range(first, min(first + longest, len(end)))]
    first, last = max(spans, key=lambda span: float(start[span[0]] + end[span[1]]))
    return first, last, float(start[first] + end[last])


@exercise(LESSON, _best_span)
def best_span(function: Callable[..., Any]) -> None:
    """Start and end (tokens,), the most tokens of an answer → its first token, its last, start + end."""
    _span_of(function, [1, 4, 2, 0], [5, 1, 3, 2], 3, "", [
        ((1, 0), "the best beginning and the best end are chosen apart, so the answer ends before it begins: choose the pair with first <= last"),
        ((0, 0), "this is the best end with the best beginning before it: another pair has a larger sum"),
    ])  # fmt: skip
    _span_of(function, [5, 0, 0], [0, 3, 4], 3, "with longest = 3: ", [
        ((0, 1), "three tokens are allowed, but only shorter answers were tried: last - first + 1 <= longest"),
    ])  # fmt: skip
    _span_of(function, [5, 0, 0, 0, 1], [0, 0, 2, 3, 4], 3, "with longest = 3: ", [
        ((0, 4), "it has 5 tokens, and 3 are the most: last - first + 1 <= longest"),
        ((0, 3), "it has 4 tokens, and 3 are the most: last - first + 1 <= longest"),
    ])  # fmt: skip
    inf = float("inf")
    _span_of(function, [5, 0, 0, 0], [0, 1, 2, 4], 2, "with longest = 2: ")
    _span_of(function, [-9, -3, -7], [-2, -5, -4], 2, "where all scores are below 0: ")
    _span_of(function, [0, 7, 1], [1, 6, 0], 1, "with longest = 1 (an answer of one token may be the best): ")
    _span_of(function, [-inf, 1, 2, -inf], [-inf, 0, 1, -inf], 4, "where tokens outside the text have −∞: ")
    draw = torch.Generator().manual_seed(5)
    for _ in range(5):
        start, end = torch.randn(2, 12, generator=draw).mul(2).round().tolist()
        _span_of(function, start, end, 4, "where several answers have the same sum: ")


def _span_of(
    function: Callable[..., Any], start: Sequence[float], end: Sequence[float], longest: int, case: str,
    mistakes: Sequence[tuple[tuple[int, int], str]] = (),
) -> None:  # fmt: skip
    """Mistake unless the answer is one of the best; of `mistakes`, each an answer and what is said of it."""
    begins, ends = torch.tensor(start, dtype=torch.float), torch.tensor(end, dtype=torch.float)
    names = ("first", "last", "score")
    first, last, score = parts(asked(function, start=begins, end=ends, longest=longest), names)
    first, last, score = whole(first, "first"), whole(last, "last"), number(score, "score")
    here = f"{case}start {start}, end {end}, longest {longest}: you gave first {first}, last {last}"
    for wrong, text in mistakes:
        if (first, last) == wrong:
            raise Mistake(f"{here}; {text}")
    if not 0 <= first <= last < len(start) or last - first >= longest:
        raise Mistake(f"{here}; 0 <= first <= last < {len(start)} and last - first + 1 <= longest are wanted")
    own, best = start[first] + end[last], _best_span(begins, ends, longest)
    if not same(own, best[2]):
        raise Mistake(f"{here}, together {own:g}; first {best[0]}, last {best[1]} have {best[2]:g}")
    expect(score, own, f"{here}; the score of this answer is start[first] + end[last] = {own:g}, not {score:g}")


# Two answers


def _answer_scores(told: Words, given: Words) -> tuple[float, float]:
    both = (Counter(told) & Counter(given)).total()
    f1 = 2 * both / (len(told) + len(given)) if told and given else float(list(told) == list(given))
    return float(list(told) == list(given)), f1


@exercise(LESSON, _answer_scores)
def answer_scores(function: Callable[[Words, Words], Any]) -> None:
    """The words of the right answer and of the given one → exact (0 or 1), F1 in [0, 1]."""
    for told, given, mistakes in (
        ("north cedar bank", "cedar bank of", [(4 / 9, "precision times recall: F1 is their harmonic mean")]),
        ("north cedar", "in north cedar city", [
            (0.5, "this is the precision, the share of the given words that are right: F1 is 2·P·R / (P + R)"),
            (1.0, "this is the recall, the share of the right words that are given: F1 is 2·P·R / (P + R)"),
            (0.75, "this is the plain mean of precision and recall: F1 is their harmonic mean, 2·P·R / (P + R)"),
        ]),
        ("far far away", "far away", [(1.0, "a word that stands twice in one answer counts twice: with sets it counts once")]),
        ("far away", "far far far away", [(value, ONCE) for value in (0.8, 1.0, 4 / 3)]),
        ("north cedar", "cedar north", []),
        ("karen dubois", "karen dubois", []),
        ("karen dubois", "vera costa", []),
        ("", "", []),
        ("", "karen", []),
        ("karen", "", []),
    ):  # fmt: skip
        _scores_of(function, told.split(), given.split(), mistakes)


def _scores_of(
    function: Callable[[Words, Words], Any], told: list[str], given: list[str], mistakes: list[tuple[float, str]]
) -> None:  # fmt: skip
    case = f"told {told}, given {given}"
    try:
        found = asked(function, told=told, given=given)
    except ZeroDivisionError as error:
        raise Mistake(f"{case}: you divide by 0; where no word is common, F1 is 0, and where both answers are empty, 1") from error  # fmt: skip
    exact, f1 = (number(one, what) for one, what in zip(parts(found, ("exact", "f1")), ("exact", "F1"), strict=True))
    right = _answer_scores(told, given)
    expect(f1, right[1], f"{case}: F1 should be {right[1]:.3g}, not {f1:.3g}", [(value, f"{case}: {text}") for value, text in mistakes])  # fmt: skip
    expect(exact, right[0], f"{case}: exact should be {right[0]:g}, not {exact:g}: 1 where the words are the same, in the same order, else 0")  # fmt: skip


# Options


def _choice_loss(scores: Tensor, real: Tensor, right: Tensor) -> Tensor:
    return F.cross_entropy(scores.masked_fill(~real, -torch.inf), right)


@exercise(LESSON, _choice_loss)
def choice_loss(function: Callable[..., Tensor]) -> None:
    """Scores (questions, options), real (questions, options), the right options (questions,) → the loss."""
    scores = torch.tensor([[1.0, -2.0, 0.5], [30.0, 60.0, 95.0], [-1.0, 0.3, 4.0]])
    real, right = torch.tensor([[True, True, True], [True, True, False], [True, True, False]]), torch.tensor([2, 1, 0])
    start = scores.clone().requires_grad_()
    value = asked(function, scores=start, real=real, right=right)
    found, rows = loss(value, OVERFLOW), torch.arange(3)
    every = F.cross_entropy(scores.masked_fill(~real, -torch.inf), right, reduction="none")
    shares = scores.masked_fill(~real, -torch.inf).softmax(1)[rows, right]
    expect(found, every.mean(), "wanted: minus the logarithm of the right option's share among the real options of its question, a mean over questions", [
        (F.cross_entropy(scores, right), "options that are not real have a share too: give them −∞ before the softmax"),
        (F.cross_entropy(scores * real, right), "a score of 0 is a score like any other: options that are not real need −∞ before the softmax"),
        (every.sum(), "this is the sum over the questions: take the mean"),
        (-every.mean(), "the sign is the wrong way round: it would grow as the right option's share grows"),
        (shares.mean(), "this is the mean share of the right options: take minus its logarithm"),
        (1 - shares.mean(), "one minus the share: take minus its logarithm"),
        (F.binary_cross_entropy_with_logits(scores[real], F.one_hot(right, 3)[real].float()), "each option is a yes or no of its own here: the options of a question share one softmax"),
        (-scores.masked_fill(~real, -torch.inf).softmax(0)[rows, right].log().mean(), "the softmax runs over the questions (dim 0): it should run over the options of each question (dim 1)"),
    ])  # fmt: skip
    learns(value, _choice_loss(start, real, right), {"scores": start}, "the loss is right, but its gradient is not: detach nothing")  # fmt: skip
    two = torch.tensor([[0.0, 1.0]]), torch.tensor([[True, True]]), torch.tensor([0])
    expect(number(function(*two)), _choice_loss(*two), "right for three questions, but not for one with two options")


# Together


def _cleaned(answer: str) -> Words:
    return plain_answer(answer, "en")


def _read_and_score(
    start: Tensor, end: Tensor, characters: Tensor, texts: Words, told: Words, longest: int,
    words: Callable[[str], Words] = _cleaned,
) -> tuple[float, float]:  # fmt: skip
    scores = []
    for begins, ends, places, text, answer in zip(start, end, characters, texts, told, strict=True):
        first, last, _ = _best_span(begins, ends, longest)
        scores.append(_answer_scores(words(answer), words(text[places[first, 0] : places[last, 1]])))
    exact, f1 = (sum(some) / len(texts) for some in zip(*scores, strict=True))
    return exact, f1


@exercise(LESSON, _read_and_score)
def read_and_score(function: Callable[..., Any]) -> None:
    """Start and end (n, tokens), characters (n, tokens, 2), texts, right answers, longest → mean exact, mean F1."""
    texts, told = ["anna lives in far cedar .", "the bank pays ben .", "ben met tom cooper ."], ["far cedar", "ben", "The tom Cooper"]  # fmt: skip
    characters = torch.full((3, 8, 2), -1)
    for row, text in enumerate(texts):
        for at, word in enumerate(text.split(), start=1):
            characters[row, at] = torch.tensor([text.index(word), text.index(word) + len(word)])
    start, end = torch.zeros(3, 8), torch.zeros(3, 8)
    for row, (first, last) in enumerate(((3, 5), (2, 4), (3, 4))):
        start[row, first], end[row, last] = 5, 4
    start[2, 1], end[2, 1], start[1, 4], end[0, 4] = 6, -9, 2, 1
    start[characters[..., 0] < 0], end[characters[..., 0] < 0] = -torch.inf, -torch.inf
    given = {"start": start, "end": end, "characters": characters, "texts": texts, "told": told}
    names = ("mean exact", "mean F1")
    for longest, more in ((3, ""), (2, "right for longest = 3, but not for 2: hand `longest` on; ")):
        found = parts(asked(function, **given, longest=longest), names)
        exact, f1 = (number(one, what) for one, what in zip(found, names, strict=True))
        right = _read_and_score(*given.values(), longest)
        short = _read_and_score(start, end, characters - torch.tensor([0, 1]), texts, told, longest)
        mistakes = [
            (right[::-1], "the two are exchanged: exact comes first"),
            ([3 * one for one in right], "these are sums over the questions: divide by their number"),
            (_read_and_score(*given.values(), longest, str.split), "the words are not cleaned: compare plain_answer(…, 'en') of both answers"),
            (short, "the answer lacks its last character: it ends at characters[i, last, 1], which a slice leaves out already"),
        ]  # fmt: skip
        expect([exact, f1], right, f"{more}wanted: for each text the best span, cut out by its characters, and the mean of the scores", mistakes)  # fmt: skip
