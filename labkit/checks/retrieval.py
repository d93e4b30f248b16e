"""Checks of lesson 02/05, finding the right passage: `from labkit.checks import retrieval as check`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from labkit.checks.exercise import Mistake, asked, exercise, expect, items, learns, loss, number, parts, whole
from labkit.knowledge.dense import in_batch_loss as _in_batch_loss
from labkit.knowledge.ranking import joined, ndcg, reciprocal_rank

LESSON = "02/05"
ARRAYS = "numbers give the right weight, but arrays do not: use np.log, not math.log, and no `if` on a value"


# What a word is worth


def _term_weight(
    often: Any, holding: Any, length: Any, mean: Any, count: Any, k1: float = 1.5, b: float = 0.75
) -> Any:  # fmt: skip
    return _rarity(holding, count) * often / (often + k1 * (1 - b + b * length / mean))


def _rarity(holding: Any, count: Any) -> Any:
    return np.log(1 + (count - holding + 0.5) / (holding + 0.5))


@exercise(LESSON, _term_weight)
def term_weight(function: Callable[..., Any]) -> None:
    """How often, how many hold it, the passage's length, the mean length, passages → what the term adds."""
    for case in ((2, 1, 10, 10, 4), (3, 2, 24, 8, 9), (1, 9, 5, 8, 9)):
        often, holding, length, mean, count = case
        found = number(asked(function, often=often, holding=holding, length=length, mean=mean, count=count), nan="a logarithm of a negative number?")  # fmt: skip
        rare, long = _rarity(holding, count), 0.25 + 0.75 * length / mean
        share = often / (often + 1.5 * long)
        here = f"often {often}, holding {holding}, length {length}, mean {mean}, count {count}: {found:.3f} is wrong"
        expect(found, rare * share, f"{here}; {rare:.3f} · {share:.3f} = {rare * share:.3f} is wanted", [
            (share, "the rarity is missing: a word that stands in every passage must be worth little"),
            (rare, "the frequency is missing: multiply by often / (often + k1 · …)"),
            (rare * often / (often + 1.5), "the length is missing: in a longer passage the same count is worth less"),
            (rare * often / (often + 1.5 * (0.25 + 0.75 * mean / length)), "length and mean are exchanged: it is length / mean"),
            (rare * often / (often + 1.5 * (0.75 + 0.25 * length / mean)), "1 − b and b are exchanged: 1 − b stands alone, b with the length"),
            (np.log((count - holding + 0.5) / (holding + 0.5)) * share, "the 1 + inside the logarithm is missing: without it a frequent word would count against its passage"),
            (np.log(count / holding) * share, "this is another variant's rarity: ln(1 + (N − n + 0.5) / (n + 0.5)) is wanted"),
            (rare * 2.5 * share, "this is another variant, with k1 + 1 above the line: leave it out"),
            (np.log10(1 + (count - holding + 0.5) / (holding + 0.5)) * share, "this is the logarithm to the base 10: take the natural one, np.log"),
        ], 1e-4)  # fmt: skip
    _arrays(function)
    other = number(function(2, 3, 7, 9, 12, 0.5, 0.2), "with k1=0.5, b=0.2 the result")
    expect(other, _term_weight(2, 3, 7, 9, 12, 0.5, 0.2), "right for k1=1.5 and b=0.75, but other settings change nothing, or not what they should: use k1 and b", (), 1e-4)  # fmt: skip


def _arrays(function: Callable[..., Any]) -> None:
    """Mistake unless arrays are taken, one number a posting."""
    columns = (np.array([1.0, 2.0, 5.0]), np.array([1, 4, 2]), np.array([4, 8, 6]))
    try:
        found = np.asarray(function(*columns, 6.0, 10), dtype=float)
    except (TypeError, ValueError) as error:
        raise Mistake(ARRAYS) from error
    expect(found, _term_weight(*columns, 6.0, 10), ARRAYS, (), 1e-4)


# How good a ranking is


def _rank_scores(ranking: Sequence[int], answers: Collection[int], k: int) -> tuple[float, float]:
    return reciprocal_rank(ranking, answers, k), ndcg(ranking, answers, k)


@exercise(LESSON, _rank_scores)
def rank_scores(function: Callable[..., Any]) -> None:
    """A ranking, the passages that answer, places to look at → reciprocal rank, NDCG."""
    for ranking, answers, k in (
        ([7, 3, 5, 1], {3, 1}, 10), ([7, 3, 9, 5, 1], {3, 5, 8}, 4), ([4, 2, 9], {4, 2}, 3), ([5, 6, 8], {9}, 3),
        ([3, 1, 2, 4, 9], {9, 4, 2, 8, 7, 6}, 4), ([8, 7, 6, 5], {5}, 3), ([2, 0, 1], {0}, 5),
    ):  # fmt: skip
        _scores_of(function, ranking, answers, k)


def _scores_of(function: Callable[..., Any], ranking: list[int], answers: set[int], k: int) -> None:
    where = f"ranking {ranking}, answers {sorted(answers)}, k = {k}"
    found = parts(asked(function, ranking=ranking, answers=answers, k=k), ("reciprocal rank", "NDCG"))
    right = _rank_scores(ranking, answers, k)
    first, second = number(found[0], "the reciprocal rank"), number(found[1], "NDCG", "0 divided by 0?")
    places = [place for place, one in enumerate(ranking, start=1) if one in answers]
    seen = [place for place in places if place <= k]
    gain = sum(1 / np.log2(1 + place) for place in seen)
    best = [1 / np.log2(1 + place) for place in range(1, len(answers) + 1)]
    expect(first, right[0], f"{where}: the reciprocal rank is {right[0]:.3g}, not {first:.3g}", [
        (1 / places[0] if places else 0, f"{where}: the first answer is beyond place {k}, so the reciprocal rank is 0"),
        (1 / (places[0] - 1) if places and places[0] > 1 else -1, "the first place is number 1, not 0: enumerate(ranking, start=1)"),
        (seen[0] if seen else -1, "this is the place of the first answer: the reciprocal rank is 1 divided by it"),
        (sum(1 / place for place in seen), "this is a sum over all answers: only the first one counts in the reciprocal rank"),
    ], 1e-4)  # fmt: skip
    expect(second, right[1], f"{where}: NDCG is {right[1]:.3f}, not {second:.3f}", [
        (gain, f"{where}: this is the gain alone; divide it by that of the best ranking"),
        (gain / sum(best), f"{where}: the best ranking too has only {k} places: min(k, number of answers)"),
        (gain / sum(best[:max(1, len(seen))]), f"{where}: the best ranking has all {len(answers)} answers in front, also those that were not found"),
        (sum(1 / np.log2(1 + place) for place in places) / sum(best[:k]), f"{where}: look at the first {k} places only"),
        (gain * np.log(2) / sum(best[:k]), "this logarithm is not to the base 2: np.log2"),
        (sum(1 / place for place in seen) / sum(best[:k]), "a gain is 1 / log2(1 + place), not 1 / place"),
        (sum(1 / np.log2(1 + place) for place in range(1, len(seen) + 1)) / sum(best[:k]), "the gains of the places are not used: this is the same wherever the answers stand"),
    ], 1e-4)  # fmt: skip


# The loss


@exercise(LESSON, _in_batch_loss)
def in_batch_loss(function: Callable[..., Tensor]) -> None:
    """Vectors of questions (b, d) and of passages (b + more, d), temperature → the mean loss."""
    draw = torch.Generator().manual_seed(2)
    for more, temperature in ((0, 0.1), (2, 0.5)):
        queries, passages = (F.normalize(torch.randn(n, 4, generator=draw), dim=1) for n in (3, 3 + more))
        inputs = {"queries": queries.requires_grad_(), "passages": passages.requires_grad_()}
        found = asked(function, **inputs, temperature=temperature)
        value, scores = loss(found).detach(), (queries @ passages.T / temperature).detach()
        right = _in_batch_loss(queries, passages, temperature)
        told = float(right.detach())
        case = "with two more passages, " if more else ""
        own = scores.log_softmax(1).diagonal()
        expect(value, right.detach(), f"{case}wanted: the mean over questions of −ln of the share of their own passage; {told:.3f}, not {float(value):.3f}", [
            (_in_batch_loss(queries, passages, 1.0), "the temperature is missing: divide the products by it"),
            (_in_batch_loss(queries, passages, 1 / temperature), "this multiplies by the temperature: divide the products by it"),
            (_in_batch_loss(queries, passages[:3], temperature), "the further passages are left out: they stand in the sum below the line too"),
            (-own.sum(), "this is a sum over the questions: take the mean"),
            (own.mean(), "the sign is the wrong way round: a loss falls as the share rises"),
            (-own.exp().mean(), "this is the mean share with a minus: take its logarithm first"),
            (1 - own.exp().mean(), "this is one minus the mean share: take minus the logarithm of each share"),
            (-scores[:, :3].log_softmax(0).diagonal().mean(), "the shares are over the questions (dim 0): each question has the passages to choose from (dim 1)"),
        ])  # fmt: skip
        learns(found, right, inputs, f"{case}the loss is right, but its gradient with respect to the {{}} is not")


# Hard negatives


def _hard_negatives(ranking: Sequence[int], positive: int, most: int) -> list[int]:
    return [one for one in ranking if one != positive][:most]


@exercise(LESSON, _hard_negatives)
def hard_negatives(function: Callable[..., Any]) -> None:
    """A ranking, the passage that answers, how many → the first passages that do not answer."""
    for ranking, positive, most in (([4, 9, 2, 7], 9, 2), ([4, 9, 2, 7], 5, 2), ([3, 1, 2], 1, 9), ([6, 0, 8], 6, 1), ([6], 6, 3)):  # fmt: skip
        where = f"ranking {ranking}, positive {positive}, most {most}"
        found = items(asked(function, ranking=ranking, positive=positive, most=most), "a list of passages is wanted")
        chosen, right = [whole(one, "a passage") for one in found], _hard_negatives(ranking, positive, most)
        if positive in chosen:
            raise Mistake(f"{where}: {positive} is the passage that answers, so it is no negative: leave it out")
        if chosen == [one for one in ranking[:most] if one != positive] != right:
            raise Mistake(
                f"{where}: {len(chosen)} where {len(right)} are wanted: leave the positive out first, then cut"
            )
        if chosen == right[::-1] != right or sorted(chosen) == sorted(right) != right != chosen:
            raise Mistake(f"{where}: keep the order of the ranking, the best first")
        if len(chosen) > most:
            raise Mistake(f"{where}: {len(chosen)} passages, and {most} are the most")
        if chosen != right:
            raise Mistake(f"{where}: {right} is wanted, not {chosen}")


# Two scores


def _join(words: Any, meaning: Any) -> Any:
    return joined(words, meaning)


@exercise(LESSON, _join)
def join(function: Callable[..., Any]) -> None:
    """Two scores of each passage, arrays (passages,) → one, the sum of both after each is scaled to 0…1."""
    for words, meaning in (([8, 6, 0], [0.5, 0.8, 0.2]), ([3, 9, 4, 5], [-0.3, 0.1, 0.6, 0.2]), ([2, 7], [0.9, 0.4])):
        a, b = np.array(words, dtype=float), np.array(meaning)
        found = np.asarray(items(asked(function, words=a, meaning=b), "an array is wanted, one number per passage"), dtype=float)  # fmt: skip
        where = f"words {words}, meaning {meaning}"
        if found.shape != a.shape:
            raise Mistake(f"{where}: one number per passage is wanted, {a.shape}, not {found.shape}")
        if np.isnan(found).any():
            raise Mistake(f"{where}: the result holds NaN: a division by 0, or the root of a negative number?")
        one, two = _scaled(a), _scaled(b)
        wanted = ", ".join(f"{value:.2f}" for value in one + two)
        expect(found, one + two, f"{where}: {wanted} is wanted", [
            (a + b, "the scores are added as they are, so the larger ones decide alone: scale each to 0…1 first"),
            (a / a.max() + b / b.max(), "the smallest must become 0 too: take it away before you divide"),
            (a / (a.max() - a.min()) + b / (b.max() - b.min()), "the range is right, but the smallest is not taken away"),
            ((a - a.min()) / a.max() + (b - b.min()) / b.max(), "divide by the range, max − min, so that the largest becomes 1"),
            (one, "the meaning is missing"),
            (two, "the words are missing"),
            (one * two, "this is a product: a passage that one search does not know would get 0 whatever the other says; add them"),
            (-(one + two), "the sign is the wrong way round: the best passage has the largest sum"),
            ((one + two) / 2, "half of it: add the two, a mean is not asked for"),
        ])  # fmt: skip


def _scaled(scores: np.ndarray) -> np.ndarray:
    return (scores - scores.min()) / (scores.max() - scores.min())
