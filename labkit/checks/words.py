"""Checks of lesson 01/01, words as vectors: `from labkit.checks import words as check`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, learns, number, tensor, whole
from labkit.checks.exercise import loss as one_loss
from labkit.foundations import words as right

LESSON = "01/01"
OVERFLOW = "σ of a score far from 0 is 0 or 1 in floating point, and its logarithm infinite. F.logsigmoid and F.softplus are not"


@exercise(LESSON, right.ppmi)
def ppmi(function: Callable[[Tensor], Tensor]) -> None:
    """Counts (words, contexts) → positive pointwise mutual information, same shape."""
    table = torch.tensor([[8.0, 1, 1, 0], [2, 2, 0, 4], [0, 5, 3, 1]])
    nan = "log 0 is −∞, and 0 · −∞ is no number: words that never meet get 0"
    found = tensor(asked(function, table=table), (3, 4), nan=nan)
    rows, columns, total = table.sum(1, keepdim=True), table.sum(0), table.sum()
    ratio = table * total / (rows * columns)
    met = table > 0
    logs = torch.where(met, ratio.log(), 0.0)
    expect(found, logs.clamp(min=0), "wanted: max(0, log(count · total / (row sum · column sum))), and 0 where the count is 0", [
        (logs, "values below 0 are still there: the P of PPMI says that they become 0"),
        (ratio.log(), "log 0 is −∞: words that never meet get 0, and so does all that is below 0"),
        (logs.abs(), "an absolute value: what is rarer than by chance should become 0, not count as company"),
        (ratio.log2().clamp(min=0), "the logarithm is of base 2 here: take the natural one, torch.log"),
        (ratio, "the logarithm is missing"),
        (torch.log1p(ratio), "log(1 + ratio) is above 0 for every pair that meets: it is log(ratio), cut off at 0"),
        (torch.zeros(3, 4), "0 everywhere: a share is below 1 and its logarithm below 0. Divide p(w, c) = count / total by what chance gives, p(w) · p(c) = row sum / total · column sum / total"),
    ])  # fmt: skip
    empty = torch.tensor([[0.0, 0, 0], [0, 3, 1]])
    expect(tensor(function(empty), (2, 3), nan="a row of zeros is 0 divided by 0: a word without company gets zeros"), right.ppmi(empty), "a word without company should get zeros")  # fmt: skip


def _nearest(vectors: Tensor, row: int, count: int) -> list[int]:
    return right.nearest(vectors, vectors[row], count, [row])[0].tolist()


@exercise(LESSON, _nearest)
def nearest(function: Callable[[Tensor, int, int], Sequence[int]]) -> None:
    """Vectors (words, d), a row's number, a count → the numbers of the rows with the largest cosine, nearest first."""
    lengths = torch.tensor([1, 4, 0.5, 2, 3, 1, 6, 0.2, 1])
    vectors = torch.randn(9, 3, generator=torch.Generator().manual_seed(0)) * lengths[:, None]
    form = "wanted is a list of row numbers, as [4, 0, 7]"
    found = [whole(one, "a row's number") for one in items(asked(function, vectors=vectors, row=5, count=3), form)]
    cosines = F.normalize(vectors, dim=1) @ F.normalize(vectors[5], dim=0)
    products, far = vectors @ vectors[5], (vectors - vectors[5]).norm(dim=1)

    def others(values: Tensor) -> list[int]:
        return [one for one in values.argsort(descending=True).tolist() if one != 5][:3]

    near = _nearest(vectors, 5, 4)
    expect(found, near[:3], f"{form}: the {3} largest cosines, the largest first", [
        ([5, *near[:2]], "the word itself is among its neighbours: its cosine to itself is always 1, so leave its row out"),
        ([5, *near[:3]], "the word itself is among its neighbours: its cosine to itself is always 1, so leave its row out"),
        (near[:2], "one neighbour too few: leave out the word itself first, then take `count`"),
        (near[:4], "one neighbour too many: `count` of them are asked for"),
        (near[:3][::-1], "the nearest comes first: sort from the largest cosine to the smallest"),
        (others(-cosines), "these are the farthest rows: the largest cosine is the nearest"),
        (others(products), "these have the largest products, in which long vectors win: divide by the lengths first, F.normalize(vectors, dim=1)"),
        (others(-far), "these have the smallest distance, which depends on length too: wanted is the largest cosine"),
        (others(far), "these have the largest distance: wanted is the largest cosine"),
    ])  # fmt: skip
    twins = torch.tensor([[0.0, 1.0], [2.0, 0.0], [1.0, 0.0], [3.0, 1.0], [4.0, 0.0]])
    if sorted(whole(one) for one in items(function(twins, 2, 2), form)) != [1, 4]:
        raise Mistake("rows 1, 2 and 4 point the same way, and row 2 asks: its neighbours are 1 and 4. Leave out the row by its number, not by its place in the order or its value")  # fmt: skip


@exercise(LESSON, right.keep_probability)
def keep_probability(function: Callable[[np.ndarray, float], Any]) -> None:
    """Counts (words,), a threshold t → how likely an occurrence of each word is to be read, (words,)."""
    counts, t = np.array([5000, 1500, 400, 90, 10]), 0.02
    f = counts / counts.sum()
    root = np.sqrt(t / f)
    found = asked(function, counts=counts, threshold=t)
    if np.shape(found) != (5,):
        raise Mistake(f"one probability for each of five words is wanted, an array of shape (5,), not {np.shape(found)}")  # fmt: skip
    expect(found, root.clip(max=1), "wanted: min(1, √(t / f)), where f is the count divided by the sum of all counts", [
        (root, "a probability is above 1: rare words are always read, so take at most 1"),
        (1 - root, "this is 1 − √(t / f), how likely a word is left out, and below 0 for rare ones"),
        ((1 - root).clip(min=0), "this is how likely a word is left out: asked for is how likely it is read, 1 minus that"),
        ((t / f).clip(max=1), "the square root is missing: √(t / f)"),
        (np.sqrt(f / t).clip(max=1), "t and f are exchanged: frequent words should be read less often"),
        (np.sqrt(t / counts).clip(max=1), "f is a share of the text, not a count: divide by the sum of the counts"),
        (((np.sqrt(f / t) + 1) * t / f).clip(max=1), "this is the formula of the authors' program, √(t / f) + t / f; asked for is the paper's"),
        (np.sqrt(t * counts.max() / counts).clip(max=1), "divide by the sum of all counts, not by the largest"),
    ])  # fmt: skip
    other = np.array([3, 1])
    expect(function(other, 0.5), right.keep_probability(other, 0.5), "right for t = 0.02, but not for t = 0.5: use the argument `threshold`")  # fmt: skip


@exercise(LESSON, right.negative_sampling_loss)
def negative_sampling_loss(function: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Scores of the right words (pairs,), of words drawn (pairs, k) → the loss, the mean over pairs, a number."""
    positive, negative = torch.tensor([1.2, -0.4, 0.3]), torch.tensor([[0.5, -1.0], [2.0, 0.1], [-0.7, 0.9]])
    start = {"positive": positive.clone().requires_grad_(), "negative": negative.clone().requires_grad_()}
    value = asked(function, **start)
    found = one_loss(value, OVERFLOW)
    good, bad = F.logsigmoid(positive), F.logsigmoid(-negative)  # (pairs,), (pairs, k)
    wanted = right.negative_sampling_loss(positive, negative)
    expect(found, wanted, "wanted: −log σ(positive) − Σ log σ(−negative), the sum over the drawn words, the mean over pairs", [
        (-wanted, "the sign is the wrong way round: log σ is below 0, and a loss should be above"),
        (wanted * 3, "you added up the pairs: take their mean"),
        (-(good + bad.mean(1)).mean(), "you averaged over the drawn words: each of them counts, so add them up"),
        (-(good.sum() + bad.sum()) / 9, "you averaged over all scores: add up those of a pair, then take the mean over pairs"),
        (-good.mean(), "the drawn words are missing: −Σ log σ(−negative)"),
        (-bad.sum(1).mean(), "the right words are missing: −log σ(positive)"),
        (-(good + F.logsigmoid(negative).sum(1)).mean(), "drawn words are pulled near as well: their sign is the other way round, σ(−negative)"),
        (-(F.logsigmoid(-positive) + F.logsigmoid(negative).sum(1)).mean(), "right and drawn words are exchanged: the right one's score should rise"),
        (-(good - bad.sum(1)).mean(), "the sign of the drawn words' part is the wrong way round: both parts are minus a logarithm"),
        (-(positive.sigmoid() + (-negative).sigmoid().sum(1)).mean(), "the logarithm is missing"),
        (-(positive - negative.sum(1)).mean(), "σ and the logarithm are missing"),
        (F.cross_entropy(torch.cat([positive[:, None], negative], 1), torch.zeros(3, dtype=torch.long)), "this is a softmax over the right and the drawn words: here each score is a question of its own, yes or no"),
    ])  # fmt: skip
    learns(value, right.negative_sampling_loss(*start.values()), start, "the loss is right, but not its gradient for `{}`: nothing is detached", "no gradient reaches `{}`")  # fmt: skip
    far = function(torch.tensor([-200.0]).requires_grad_(), torch.tensor([[200.0, 0.0]]).requires_grad_())
    if not torch.isfinite(one_loss(far, OVERFLOW)):
        raise Mistake(f"for scores of −200 and 200 the loss is infinite: {OVERFLOW}")
    expect(far, 400 + np.log(2), f"right for small scores, but not for −200 and 200 (the loss is about 400): {OVERFLOW}")  # fmt: skip


def _path_probability(scores: Tensor, code: str) -> Tensor:
    way = torch.tensor([1.0 if bit == "0" else -1.0 for bit in code])
    return (way * scores[: len(code)]).sigmoid().prod()


@exercise(LESSON, _path_probability)
def path_probability(function: Callable[[Tensor, str], Any]) -> None:
    """Scores at the inner nodes of a path, from the root (nodes,), and the word's code → its probability, a number."""
    scores, code = torch.tensor([0.4, -1.1, 0.7]), "011"
    found = number(asked(function, scores=scores, code=code), "the probability")
    left, right_hand = scores.sigmoid(), (-scores).sigmoid()
    each = torch.stack([left[0], right_hand[1], right_hand[2]])
    expect(found, each.prod(), "wanted: the product of σ(score) for each 0 of the code and σ(−score) for each 1", [
        (left[1] * left[2] * right_hand[0], "left and right are exchanged: 0 is σ(score), 1 is σ(−score)"),
        (left.prod(), "every decision goes left here: a 1 of the code is σ(−score)"),
        (each.sum(), "decisions one after another multiply: take the product"),
        (each.log().sum(), "this is the logarithm of the probability"),
        (-each.log().sum(), "this is minus the logarithm of the probability, the loss"),
        (right_hand[0] * right_hand[1] * left[2], "the code is read from its end: its first digit belongs to the root, scores[0]"),
    ])  # fmt: skip
    for other in ("1", "10"):
        rest = scores[: len(other)]
        expect(number(function(rest, other)), _path_probability(rest, other), f'right for the code "011", but not for "{other}"')  # fmt: skip


@exercise(LESSON, right.same_kind)
def same_kind(function: Callable[[Tensor, list[str | None], int], Any]) -> None:
    """Vectors (words, d), the kind of each word or None, a count → the share of its nearest words of a word's kind."""
    vectors = torch.randn(7, 3, generator=torch.Generator().manual_seed(1))
    kinds = ["a", "a", "b", "a", None, None, "b"]
    found = number(asked(function, vectors=vectors, kinds=kinds, count=2))
    known = [row for row in range(7) if kinds[row]]
    near = {row: _nearest(vectors, row, 2) for row in range(7)}
    hits = {row: sum(kinds[other] == kinds[row] for other in near[row]) for row in range(7)}
    good = sum(hits[row] for row in known)
    expect(found, good / 10, "wanted: of the 2 nearest words of each word that has a kind, 5 · 2 in all, the share of that word's kind", [
        (sum(hits.values()) / 14, "words without a kind are asked about too: leave them out (None is like None, but no kind)"),
        (good / 14, "you divided by all words: words without a kind are not asked about"),
        (good / 5, "you divided by the number of words, not by that of their neighbours: each has `count`"),
        (good, "this is a number of neighbours: divide by how many there are"),
        (10 * good, "this is in per cent: give a share from 0 to 1"),
        (sum(hits[row] + 1 for row in known) / 10, "a word is its own neighbour here: it is of its own kind, of course"),
        (sum(kinds[near[row][0]] == kinds[row] for row in known) / 5, "only the nearest word is looked at: look at `count` of them"),
        (good / sum(kinds[other] is not None for row in known for other in near[row]), "neighbours without a kind are left out: they count as of another kind"),
    ])  # fmt: skip
    expect(number(function(vectors, kinds, 1)), right.same_kind(vectors, kinds, 1), "right for count = 2, but not for count = 1")  # fmt: skip
