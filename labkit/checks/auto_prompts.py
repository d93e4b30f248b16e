"""Checks of lesson 03/05, prompts found by search: `from labkit.checks import auto_prompts as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, exercise, expect, same, tensor

LESSON = "03/05"


@exercise(LESSON)
def beam_step(function: Callable[[Tensor, Tensor, int], tuple[Tensor, Tensor, Tensor]]) -> None:
    """Scores (beams,), log-probabilities (beams, rows, vocabulary), a width → scores, parents, words, each (width,)."""
    generator = torch.Generator().manual_seed(0)
    before = torch.tensor([-1.0, -1.5, -3.0])
    gains = (torch.randn(3, 4, 7, generator=generator) * 1.5).log_softmax(2)
    scores, parents, words = _beam(function(before.clone(), gains.clone(), 3), 3)

    def best(total: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        value, place = total.flatten().topk(3)
        return value, place // 7, place % 7

    right, (values, from_, word) = before[:, None] + gains.sum(1), best(before[:, None] + gains.sum(1))
    mistakes = [
        (best(gains.sum(1)), "the scores so far are missing: a template's score is its parent's plus what the new word adds"),
        (best(before[:, None] + gains.mean(1)), "you averaged over the rows: the template must be likely in all of them, so add up their log-probabilities"),
        (best(before[:, None] + gains[:, 0]), "only the first row has a say: sum over the rows (dim 1)"),
        (best(before[:, None] * gains.sum(1)), "you multiplied scores: log-probabilities are added"),
        (best(before[:, None] + gains.exp().sum(1).log()), "you added probabilities: that asks for a template that fits some row. Add log-probabilities: it must fit every row"),
        (best(before[:, None] + gains.exp().sum(1)), "these are sums of probabilities: leave the logarithms as they are and add them"),
    ]  # fmt: skip
    for (wrong, _, _), text in mistakes:
        if not same(wrong, values) and same(scores, wrong):
            raise Mistake(text)
    each = right.max(1)
    if same(scores.sort().values, each.values.sort().values) and not same(scores, values):
        raise Mistake("each beam went on with its own best word: take the best of all beams and words together")
    expect(scores, values, "the scores should be the 3 largest of scores[b] + Σ over rows of log p(w | row, b), from high to low",
           [(values.flip(0), "the order is from low to high: best first")])  # fmt: skip
    if int(words.max()) >= 7:
        raise Mistake(
            "a word number is too large: of a place in the flattened (beams × vocabulary), the word is place % vocabulary"
        )
    if same(parents, word) and same(words, from_) and not same(from_, word):
        raise Mistake("parents and words are exchanged: return (scores, parents, words)")
    if not (same(parents, from_) and same(words, word)):
        raise Mistake(
            "the scores are right, parents or words are not: parent = place // vocabulary, word = place % vocabulary"
        )


@exercise(LESSON)
def rank_words(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Log-probabilities (rows, vocabulary), labels (rows,), k → each class's k best word ids, (classes, k)."""
    generator = torch.Generator().manual_seed(10)
    scores, labels = (
        (torch.randn(10, 12, generator=generator) * 2).log_softmax(1),
        torch.tensor([0, 1, 2, 0, 1, 2, 0, 1, 0, 0]),
    )
    found = _whole(function(scores.clone(), labels.clone(), 3), (3, 3), "the result")
    if int(found.min()) < 0 or int(found.max()) >= 12:
        raise Mistake("word ids run from 0 to the size of the vocabulary: are these positions of something else?")

    def top(value: Callable[[Tensor], Tensor], largest: bool = True) -> Tensor:
        return torch.stack([value(scores[labels == c]).topk(3, largest=largest).indices for c in range(3)])

    right = top(lambda rows: rows.sum(0))
    other = torch.stack([scores[labels != c].sum(0).topk(3).indices for c in range(3)])
    everywhere = scores.sum(0).topk(3).indices.expand(3, 3)
    mistakes = [
        (everywhere, "all classes got the same words: use only the rows of each class, scores[labels == c]"),
        (other, "these are the words of the other classes' rows: labels == c, not !="),
        (top(lambda rows: rows.exp().sum(0)), "you added probabilities: one row that is sure of a word then decides. Add the log-probabilities"),
        (top(lambda rows: rows.amax(0)), "you took each word's best row: it should fit all rows of the class, so sum over them"),
        (top(lambda rows: rows[0]), "only the first row of each class counts here: sum over all of them"),
        (top(lambda rows: rows.sum(0), largest=False), "these are the least likely words: the largest sums are wanted"),
        (top(lambda rows: rows.sum(0)).flip(1), "the order is from low to high: best first"),
    ]  # fmt: skip
    expect(found, right, "row c should hold the ids of the k largest of Σ over the rows of class c of log p(w), best first", mistakes)  # fmt: skip


@exercise(LESSON)
def first_order(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Gradients at a trigger in each row (rows, d), embeddings (vocabulary, d), its id → change of the loss (vocabulary,)."""
    generator = torch.Generator().manual_seed(6)
    slope, table, now = torch.randn(5, 4, generator=generator), torch.randn(9, 4, generator=generator), 3
    found = tensor(function(slope.clone(), table.clone(), now), (9,))
    total = slope.sum(0)
    right = (table - table[now]) @ total
    unit = torch.nn.functional.normalize
    mistakes = [
        (-right, "the sign is wrong: this should be the loss's change, so that the best word has the smallest value"),
        (table @ total, "the word that stands there now is missing: the embedding moves by e_w − e_now, so its own change is 0"),
        (right / 5, "you averaged the gradients: the trigger stands in every row and moves in all of them, so they add up"),
        ((table - table[now]) @ slope[0], "only the first row has a say: sum the gradient over the rows"),
        ((table + table[now]) @ total, "the difference e_w − e_now is wanted, not the sum"),
        (unit(table, dim=1) @ unit(total, dim=0), "this is a cosine: the first order of the loss is the plain product (e_w − e_now) · gradient"),
        ((table - table[now]).abs() @ total.abs(), "absolute values lose the direction: a swap along the gradient raises the loss, against it lowers it"),
    ]  # fmt: skip
    expect(found, right, "wanted, for each word w: (e_w − e_now) · Σ over rows of the gradient", mistakes)
    at = tensor(function(slope, table, 7), (9,))
    expect(
        at,
        (table - table[7]) @ total,
        "with another word in place the answer is wrong: subtract the embedding number `now`",
    )


def _beam(value: Any, width: int) -> tuple[Tensor, Tensor, Tensor]:
    """The learner's (scores, parents, words); Mistake where they are none."""
    if value is None:
        raise Mistake("the result is None: did you forget `return`?")
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise Mistake("three tensors are wanted: (scores, parents, words)")
    return (
        tensor(value[0], (width,), "scores"),
        _whole(value[1], (width,), "parents"),
        _whole(value[2], (width,), "words"),
    )


def _whole(value: Any, shape: tuple[int, ...], what: str) -> Tensor:
    """A tensor of whole numbers of that shape."""
    if value is None:
        raise Mistake(f"{what} is None: did you forget `return`?")
    if not torch.is_tensor(value):
        raise Mistake(f"{what} should be a torch tensor, not {type(value).__name__}")
    if value.is_floating_point():
        raise Mistake(
            f"{what} should hold numbers of words, whole ones; it is of {value.dtype}: `topk(k)` gives values and indices"
        )
    if tuple(value.shape) != shape:
        raise Mistake(f"{what} has shape {tuple(value.shape)}; {shape} is wanted")
    return value.detach()
