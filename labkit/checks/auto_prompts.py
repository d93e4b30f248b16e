"""Checks of lesson 03/05, prompts found by search: `from labkit.checks import auto_prompts as check`."""

from __future__ import annotations

from collections.abc import Callable
from math import comb
from typing import Any

import torch
from torch import Tensor

from labkit.checks.exercise import Mistake, asked, exercise, expect, given, number, parts, same, tensor

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
    found = _ids(
        asked(function, log_probabilities=scores, labels=labels, k=8),
        (2, 8),
        "for 300 rows, two classes and k = 8, the result",
    )
    if any(len(set(row)) < 8 for row in found.tolist()):
        raise Mistake("words 2 and 5 are equally good in a second case, and one of them stands in a row twice: find words by their place, not by their value")  # fmt: skip
    sums = torch.stack([scores[labels == c].sum(0) for c in range(2)])
    expect(sums.gather(1, found), sums.sort(1, descending=True).values, "right for ten rows, wrong for 300: a product of so many probabilities is 0 in a computer. Add logarithms", tolerance=1e-4)  # fmt: skip


def _best_pair(log_probabilities: Tensor, labels: Tensor, k: int) -> tuple[Tensor, float]:
    first, second = _rank_words(log_probabilities, labels, k)
    said = log_probabilities[:, second][:, None] > log_probabilities[:, first][:, :, None]  # (rows, k, k)
    shares = (said == labels.bool()[:, None, None]).float().mean(0)
    place = int(shares.argmax())
    return torch.stack([first[place // k], second[place % k]]), float(shares.flatten()[place])


@exercise(LESSON, _best_pair)
def best_pair(function: Callable[[Tensor, Tensor, int], tuple[Tensor, float]]) -> None:
    """Log-probabilities (rows, vocabulary), labels (rows,) of two classes, k → the pair (2,), its share of right rows."""
    for rows, k, case in ((12, 4, ""), (9, 6, "right for 12 rows and k = 4, wrong for 9 rows and k = 6: ")):
        generator = torch.Generator().manual_seed(10)
        labels = torch.arange(rows) % 2
        scores = (torch.randn(rows, 20, generator=generator) + torch.linspace(3, -3, 20)).log_softmax(1)
        pair, share = parts(asked(function, log_probabilities=scores, labels=labels, k=k), ("pair", "share"))
        pair, share = _ids(pair, (2,), f"{case}the pair"), number(share, f"{case}the share")
        _is_best(scores, labels, k, pair, share, case)


def _is_best(scores: Tensor, labels: Tensor, k: int, pair: Tensor, share: float, case: str) -> None:
    """Mistake unless the pair is of the classes' words and right as often as any, and the share is its own."""
    best, pools = _best_pair(scores, labels, k)[1], _rank_words(scores, labels, k).tolist()
    if int(pair.min()) < 0 or int(pair.max()) >= scores.shape[1]:
        raise Mistake(f"{case}the pair {pair.tolist()} should hold ids of the vocabulary, not places in the lists of words")  # fmt: skip
    own = float((scores[:, pair].argmax(1) == labels).float().mean())
    if [word in pool for word, pool in zip(pair.tolist(), pools, strict=True)] != [True, True]:
        turned = " You have the classes exchanged: class 0 comes first" if pair[0] in pools[1] and pair[1] in pools[0] else ""  # fmt: skip
        raise Mistake(f"{case}the pair {pair.tolist()} should have one of the {k} best words of class 0, and one of class 1.{turned}")  # fmt: skip
    if own < best - 1e-6:
        tops = [pool[0] for pool in pools]
        what = "these are the likeliest words of both classes; try every pair of their words" if pair.tolist() == tops else "another pair does better: try all of them"  # fmt: skip
        raise Mistake(f"{case}this pair is right in {own:.0%} of the rows, the best one in {best:.0%}: {what}")
    mistakes = [
        (own * len(labels), f"{case}this is the number of right rows: divide by the number of rows"),
        (100 * own, f"{case}this is in per cent: a share lies between 0 and 1"),
        (1 - own, f"{case}this is the share of wrong rows"),
    ]
    expect(share, own, f"{case}the pair is right in {own:.3f} of the rows, not in {share:.3f}", mistakes)


def _expected_best(n: int, m: int, p: float) -> float:
    below, total = 0.0, 0.0
    for b in range(m):
        below += comb(m, b) * p**b * (1 - p) ** (m - b)
        total += 1 - below**n
    return total / m


@exercise(LESSON, _expected_best)
def expected_best(function: Callable[[int, int, float], float]) -> None:
    """The number of equal prompts, of rows, and the share that each gets right → expected score of the best."""
    for n, m, p in ((1, 5, 0.3), (2, 2, 0.5), (9, 32, 0.7), (200, 8, 0.6), (3, 1, 0.25)):
        case, right = f"the best of {n} on {m} rows, each right in {p:.0%}", _expected_best(n, m, p)
        found = number(asked(function, n=n, m=m, p=p))
        terms = [comb(m, b) * p**b * (1 - p) ** (m - b) for b in range(m + 1)]
        below = [sum(terms[: b + 1]) for b in range(m + 1)]
        mistakes = [
            (p, f"{case}: this is what each is worth; the best of several scores more on average"),
            (right * m, f"{case}: this is a number of rows: divide by m"),
            (sum(1 - one**n for one in ([0, *below])[:m]) / m, f"{case}: P(B < b) is not P(B <= b): the sum for b includes the term of b itself"),
            (1 - (1 - p) ** n, f"{case}: this is the chance that at least one prompt is right on a single row"),
            (sum(1 - (1 - one) ** n for one in below[:m]) / m, f"{case}: (1 − P)^n speaks of the worst of n: take 1 − P^n"),
            (sum(1 - n * one for one in below[:m]) / m, f"{case}: all n are at most b with the probability P to the power of n, not n times P"),
            (sum(1 - one**n for one in terms[:m]) / m, f"{case}: P(B <= b) is a sum over 0 … b, not the probability of b alone"),
        ]  # fmt: skip
        expect(found, right, f"{case} should score {right:.4f}, not {found:.4f}", mistakes)


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
