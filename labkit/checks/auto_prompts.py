"""Checks of lesson 03/05, prompts found by search: `from labkit.checks import auto_prompts as check`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, same, tensor

LESSON = "03/05"
Step = tuple[Tensor, Tensor, Tensor]


def _beam_step(scores: Tensor, log_probabilities: Tensor, width: int) -> Step:
    return _best(scores[:, None] + log_probabilities.sum(1), width)


def _best(total: Tensor, width: int) -> Step:
    """The largest of (beams, vocabulary), best first: values, beams, words."""
    values, places = total.flatten().topk(width)
    return values, places // total.shape[1], places % total.shape[1]


@exercise(LESSON, _beam_step)
def beam_step(function: Callable[[Tensor, Tensor, int], Step]) -> None:
    """Scores (beams,), log-probabilities (beams, rows, vocabulary), a width → scores, parents, words, each (width,)."""
    generator = torch.Generator().manual_seed(0)
    before = torch.tensor([-1.0, -1.5, -3.0])
    gains = (torch.randn(3, 4, 7, generator=generator) * 1.5).log_softmax(2)
    found = _step(function, before, gains, 3)
    right = before[:, None] + gains.sum(1)
    values, in_any_order = _best(right, 3)[0], found[0].sort().values
    likely = [
        (gains.sum(1), "the scores so far are missing: a template's score is its parent's plus what the new word adds"),
        (before[:, None] + gains.mean(1), "you averaged over the rows: the template must be likely in all of them, so add up their log-probabilities"),
        (before[:, None] + gains[:, 0], "only the first row has a say: sum over the rows (dim 1)"),
        (before[:, None] * gains.sum(1), "you multiplied scores: log-probabilities are added"),
        (before[:, None] + gains.exp().sum(1).log(), "you added probabilities: that asks for a template that fits some row. Add log-probabilities: it must fit every row"),
        (before[:, None] + gains.exp().sum(1), "these are sums of probabilities: leave the logarithms as they are and add them"),
    ]  # fmt: skip
    mistakes = [(_best(total, 3)[0], text) for total, text in likely]
    mistakes.append((-_best(-right, 3)[0], "these are the worst continuations: the largest sums are wanted"))
    if not same(found[0], values) and same(in_any_order, right.amax(1).sort().values):
        raise Mistake("each beam went on with its own best word: take the best of all beams and words together")
    if not same(found[0], values) and same(in_any_order, values.sort().values):
        raise Mistake("the scores are the right ones, but in another order: best first")
    expect(found[0], values, "the scores should be the 3 largest of scores[b] + Σ over rows of log p(w | row, b), from high to low", mistakes)  # fmt: skip
    _lead_there(right, *found)
    _other_widths(function, gains[:1])


def _other_widths(function: Callable[[Tensor, Tensor, int], Step], one: Tensor) -> None:
    """The first step, from a single beam, and two beams whose words are equally good."""
    for gains, width in ((one, 5), (one[:, :2].repeat(2, 1, 1), 4)):
        found = _step(function, torch.zeros(len(gains)), gains, width)
        expect(found[0], _best(gains.sum(1), width)[0], f"right for 3 beams with a width of 3, wrong for {len(gains)} with a width of {width}: any number of the best may have the same parent")  # fmt: skip
        _lead_there(gains.sum(1), *found)


def _lead_there(total: Tensor, scores: Tensor, parents: Tensor, words: Tensor) -> None:
    """Mistake unless each parent and word lead to the score beside them, and no two of the pairs are the same."""
    straight, exchanged = _at(total, parents, words), _at(total, words, parents)
    if same(exchanged, scores) and not same(straight, scores):
        raise Mistake("parents and words are exchanged: return (scores, parents, words)")
    if not same(straight, scores):
        raise Mistake("the scores are right, parents or words are not: of a place in the flattened (beams × vocabulary), parent = place // vocabulary, word = place % vocabulary")  # fmt: skip
    if len(set(zip(parents.tolist(), words.tolist(), strict=True))) < len(words):
        raise Mistake("of two continuations that are equally good, one stands in the result twice and the other is missing: find them by their place, not by their value")  # fmt: skip


def _at(total: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """The numbers of `total` at these places; NaN where there is none."""
    inside = (rows >= 0) & (rows < total.shape[0]) & (columns >= 0) & (columns < total.shape[1])
    return torch.where(inside, total[rows * inside, columns * inside], torch.nan)


def _step(function: Callable[..., Any], scores: Tensor, gains: Tensor, width: int) -> Step:
    """The learner's (scores, parents, words); Mistake where they are none."""
    value = asked(function, scores=scores, log_probabilities=gains, width=width)
    if not isinstance(value, tuple | list) or len(value) != 3:
        raise Mistake("three tensors are wanted: (scores, parents, words)")
    case = f"for a width of {width}, with beams so far: {len(gains)}, "
    found = tensor(value[0], (width,), f"{case}scores")
    return found, *(_ids(one, (width,), case + name) for one, name in zip(value[1:], ("parents", "words"), strict=True))


def _rank_words(log_probabilities: Tensor, labels: Tensor, k: int) -> Tensor:
    return _top(log_probabilities, labels, k, lambda rows: rows.sum(0, dtype=torch.float64))


def _top(scores: Tensor, labels: Tensor, k: int, value: Callable[[Tensor], Tensor]) -> Tensor:
    return torch.stack([value(scores[labels == c]).topk(k).indices for c in range(int(labels.max()) + 1)])


@exercise(LESSON, _rank_words)
def rank_words(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Log-probabilities (rows, vocabulary), labels (rows,), k → each class's k best word ids, (classes, k)."""
    generator = torch.Generator().manual_seed(10)
    scores = (torch.randn(10, 12, generator=generator) * 2).log_softmax(1)
    labels = torch.tensor([2, 0, 1, 0, 1, 2, 0, 1, 0, 0])
    found = _ids(asked(function, log_probabilities=scores, labels=labels, k=4), (3, 4))
    if int(found.min()) < 0 or int(found.max()) >= 12:
        raise Mistake("word ids run from 0 to the size of the vocabulary: are these positions of something else?")
    right = _rank_words(scores, labels, 4)
    mistakes = [
        (scores.sum(0).topk(4).indices.expand(3, 4), "all classes got the same words: use only the rows of each class, scores[labels == c]"),
        (torch.stack([scores[labels != c].sum(0).topk(4).indices for c in range(3)]), "these are the words of the other classes' rows: labels == c, not !="),
        (_top(scores, labels, 4, lambda rows: rows.exp().sum(0)), "you added probabilities: one row that is sure of a word then decides. Add the log-probabilities"),
        (_top(scores, labels, 4, lambda rows: rows.amax(0)), "you took each word's best row: it should fit all rows of the class, so sum over them"),
        (_top(scores, labels, 4, lambda rows: rows[0]), "only the first row of each class counts here: sum over all of them"),
        (_top(scores, labels, 4, lambda rows: -rows.sum(0)), "these are the least likely words: the largest sums are wanted"),
        (right.flip(1), "the order is from low to high: best first"),
        (right.sort(1).values, "the ids are sorted by number: best first"),
        (right[[2, 0, 1]], "the classes come in the order in which the labels name them: row c belongs to class c"),
    ]  # fmt: skip
    expect(found, right, "row c should hold the ids of the k largest of Σ over the rows of class c of log p(w), best first", mistakes)  # fmt: skip
    _many_rows(function, generator)


def _many_rows(function: Callable[[Tensor, Tensor, int], Tensor], generator: torch.Generator) -> None:
    """So many rows that a product of probabilities is 0, and two words that are equally good."""
    scores = (torch.randn(300, 8, generator=generator) * 2).log_softmax(1)
    scores[:, 5] = scores[:, 2]
    labels = torch.arange(300) % 2
    found = _ids(asked(function, log_probabilities=scores, labels=labels, k=8), (2, 8), "for 300 rows, two classes and k = 8, the result")
    if any(len(set(row)) < 8 for row in found.tolist()):
        raise Mistake("words 2 and 5 are equally good in a second case, and one of them stands in a row twice: find words by their place, not by their value")  # fmt: skip
    sums = torch.stack([scores[labels == c].sum(0) for c in range(2)])
    expect(sums.gather(1, found), sums.sort(1, descending=True).values, "right for ten rows, wrong for 300: a product of so many probabilities is 0 in a computer. Add logarithms", tolerance=1e-4)  # fmt: skip


def _first_order(gradient: Tensor, table: Tensor, now: int) -> Tensor:
    return (table - table[now]) @ gradient.sum(0)


@exercise(LESSON, _first_order)
def first_order(function: Callable[[Tensor, Tensor, int], Tensor]) -> None:
    """Gradients at a trigger in each row (rows, d), embeddings (vocabulary, d), its id → change of the loss (vocabulary,)."""
    generator = torch.Generator().manual_seed(6)
    slope, table, now = torch.randn(5, 4, generator=generator), torch.randn(9, 4, generator=generator), 3
    nan = "0 divided by 0, where the step to the word that stands there now is divided by its length?"
    found = tensor(asked(function, gradient=slope, table=table, now=now), (9,), nan=nan)
    total, right = slope.sum(0), _first_order(slope, table, now)
    unit = torch.nn.functional.normalize
    mistakes = [
        (-right, "the sign is wrong: this should be the loss's change, so that the best word has the smallest value"),
        (table @ total, "the word that stands there now is missing: the embedding moves by e_w − e_now, so its own change is 0"),
        (right / 5, "you averaged the gradients: the trigger stands in every row and moves in all of them, so they add up"),
        ((table - table[now]) @ slope[0], "only the first row has a say: sum the gradient over the rows"),
        ((table + table[now]) @ total, "the difference e_w − e_now is wanted, not the sum"),
        *[(unit(some, dim=1) @ unit(total, dim=0), "this is a cosine: the first order of the loss is the plain product (e_w − e_now) · gradient")
          for some in (table, table - table[now])],
        ((table - table[now]) @ unit(total, dim=0), "you divided the gradient by its length: its length says how much the loss changes"),
        ((table - table[now]).abs() @ total.abs(), "absolute values lose the direction: a swap along the gradient raises the loss, against it lowers it"),
        ((table - table.mean(0)) @ total, "you subtracted the mean embedding: subtract that of the word that stands there now, table[now]"),
    ]  # fmt: skip
    expect(found, right, "wanted, for each word w: (e_w − e_now) · Σ over rows of the gradient", mistakes)
    at = tensor(asked(function, gradient=slope, table=table, now=7), (9,))
    expect(at, _first_order(slope, table, 7), "with another word in place the answer is wrong: subtract the embedding number `now`")  # fmt: skip
    one = tensor(asked(function, gradient=slope[:1], table=table[:6], now=0), (6,), "for a single row, the result")
    expect(one, _first_order(slope[:1], table[:6], 0), "right for five rows, wrong for one: take the number of rows from the gradient's shape")  # fmt: skip


def _ids(value: Any, shape: tuple[int, ...], what: str = "the result") -> Tensor:
    """A tensor of whole numbers of that shape."""
    given(value, what)
    if not torch.is_tensor(value):
        raise Mistake(f"{what} should be a torch tensor, not {type(value).__name__}: torch.stack makes one of a list of tensors, torch.tensor of a list of numbers")  # fmt: skip
    if tuple(value.shape) != shape:
        raise Mistake(f"{what} has shape {tuple(value.shape)}; {shape} is wanted")
    if value.dtype.is_floating_point or value.dtype == torch.bool:
        raise Mistake(f"{what} should hold whole numbers, as ids are; it is of {value.dtype}. `topk(k)` gives values and indices")  # fmt: skip
    return value.detach().long()
