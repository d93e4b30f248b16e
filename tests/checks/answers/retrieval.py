"""Right and wrong answers to the exercises of lesson 02/05."""

from __future__ import annotations

import math

import numpy as np
import torch
from sklearn.metrics import ndcg_score
from sklearn.preprocessing import MinMaxScaler
from torch.nn import functional as F

from labkit.checks.retrieval import _hard_negatives, _join, _rank_scores, _term_weight
from labkit.knowledge.dense import in_batch_loss as _loss

# Right


def weight_in_steps(often, holding, length, mean, count, k1=1.5, b=0.75):
    idf = np.log1p((count - holding + 0.5) / (holding + 0.5))
    relative = length / mean
    below = often + k1 * (1 - b) + k1 * b * relative
    return idf * often / below


def weight_by_differences(often, holding, length, mean, count, k1=1.5, b=0.75):
    idf = np.log(count + 1) - np.log(holding + 0.5)
    return idf / (1 + k1 * (1 - b + b * length / mean) / often)


def weight_in_torch(often, holding, length, mean, count, k1=1.5, b=0.75):
    often, holding, length = (torch.as_tensor(one, dtype=torch.float64) for one in (often, holding, length))
    idf = torch.log(1 + (count - holding + 0.5) / (holding + 0.5))
    return (idf * often / (often + k1 * (1 - b + b * length / mean))).numpy()


def scores_by_loops(ranking, answers, k):
    first, gain, best = 0.0, 0.0, 0.0
    for place in range(1, k + 1):
        if place <= len(ranking) and ranking[place - 1] in answers:
            first = first or 1 / place
            gain += 1 / math.log2(place + 1)
        if place <= len(answers):
            best += 1 / math.log2(place + 1)
    return first, gain / best


def scores_in_numpy(ranking, answers, k):
    right = np.isin(ranking[:k], list(answers))
    gains = 1 / np.log2(np.arange(2, k + 2))
    first = 1 / (right.argmax() + 1) if right.any() else 0
    return [np.float64(first), (gains[: len(right)] * right).sum() / gains[: len(answers)].sum()]


def scores_by_the_library(ranking, answers, k):
    every = sorted({*ranking, *answers})
    true = [[float(one in answers) for one in every]]
    given = [[len(ranking) - ranking.index(one) if one in ranking else -every.index(one) - 1 for one in every]]
    places = [ranking.index(one) + 1 for one in answers if one in ranking[:k]]
    # the library counts what is not in the ranking as ranked last
    shown = ranking + [one for one in every if one not in ranking]
    if len(ranking) < k and any(one in answers for one in shown[len(ranking) : k]):
        return scores_by_loops(ranking, answers, k)
    return (1 / min(places) if places else 0), ndcg_score(true, given, k=k)


def loss_by_loops(queries, passages, temperature=0.05):
    losses = []
    for i, query in enumerate(queries):
        scores = torch.stack([query @ passage for passage in passages]) / temperature
        losses.append(torch.logsumexp(scores, 0) - scores[i])
    return torch.stack(losses).mean()


def loss_by_shares(queries, passages, temperature=0.05):
    shares = (queries @ passages.T).div(temperature).log_softmax(dim=-1)
    return -shares[:, : len(queries)].diagonal().mean()


def loss_by_einsum(queries, passages, temperature=0.05):
    scores = torch.einsum("id,jd->ij", queries / temperature, passages)
    return F.nll_loss(F.log_softmax(scores, 1), torch.arange(queries.shape[0]))


def negatives_by_a_loop(ranking, positive, most):
    found = []
    for one in ranking:
        if one != positive and len(found) < most:
            found.append(one)
    return found


def negatives_by_removing(ranking, positive, most):
    rest = list(ranking)
    if positive in rest:
        rest.remove(positive)
    return rest[:most]


def negatives_in_numpy(ranking, positive, most):
    some = np.asarray(ranking)
    return some[some != positive][:most]


def join_by_loops(words, meaning):
    sums = [0.0] * len(words)
    for scores in (words, meaning):
        low, high = min(scores), max(scores)
        sums = [total + (score - low) / (high - low) for total, score in zip(sums, scores, strict=True)]
    return sums


def join_by_ptp(words, meaning):
    return sum((scores - np.min(scores)) / np.ptp(scores) for scores in (words, meaning))


def join_by_the_library(words, meaning):
    both = MinMaxScaler().fit_transform(np.stack([words, meaning], axis=1))
    return both.sum(1)


RIGHT = {
    "term_weight": [weight_in_steps, weight_by_differences, weight_in_torch],
    "rank_scores": [scores_by_loops, scores_in_numpy, scores_by_the_library],
    "in_batch_loss": [loss_by_loops, loss_by_shares, loss_by_einsum],
    "hard_negatives": [negatives_by_a_loop, negatives_by_removing, negatives_in_numpy],
    "join": [join_by_loops, join_by_ptp, join_by_the_library],
}


# Wrong


def weight(rarity=None, share=None):
    def found(often, holding, length, mean, count, k1=1.5, b=0.75):
        rare = (rarity or (lambda n, N: np.log(1 + (N - n + 0.5) / (n + 0.5))))(holding, count)
        part = (share or (lambda f, s: f / (f + s)))(often, k1 * (1 - b + b * length / mean))
        return rare * part

    return found


def weight_for_numbers(often, holding, length, mean, count, k1=1.5, b=0.75):
    return math.log(1 + (count - holding + 0.5) / (holding + 0.5)) * often / (often + k1 * (1 - b + b * length / mean))


def places(ranking, answers, k):
    return [place for place, one in enumerate(ranking[:k], start=1) if one in answers]


def scored(rank=None, gain=None):
    def found(ranking, answers, k):
        right = _rank_scores(ranking, answers, k)
        return (rank or (lambda *_: right[0]))(ranking, answers, k), (gain or (lambda *_: right[1]))(
            ranking, answers, k
        )

    return found


def gains(some):
    return sum(1 / np.log2(1 + place) for place in some)


def ideal(answers, k):
    return gains(range(1, min(k, len(answers)) + 1))


WRONG = {
    "term_weight": [
        (weight(rarity=lambda n, N: 1.0), "the rarity is missing"),
        (weight(share=lambda f, s: 1.0), "the frequency is missing"),
        (weight(share=lambda f, s: f / (f + 1.5)), "the length is missing"),
        (lambda f, n, s, m, N, k1=1.5, b=0.75: _term_weight(f, n, m, s, N, k1, b), "length and mean are exchanged"),
        (lambda f, n, s, m, N, k1=1.5, b=0.75: _term_weight(f, n, s, m, N, k1, 1 - b), "1 − b and b are exchanged"),
        (weight(rarity=lambda n, N: np.log((N - n + 0.5) / (n + 0.5))), "the 1 \\+ inside the logarithm is missing"),
        (weight(rarity=lambda n, N: np.log(N / n)), "another variant's rarity"),
        (weight(share=lambda f, s: 2.5 * f / (f + s)), "k1 \\+ 1 above the line"),
        (weight(rarity=lambda n, N: np.log10(1 + (N - n + 0.5) / (n + 0.5))), "base 10"),
        (weight_for_numbers, "not math.log"),
        (lambda f, n, s, m, N, k1=1.5, b=0.75: _term_weight(f, n, s, m, N), "other settings change nothing"),
        (weight(share=lambda f, s: f / (2 * f + s)), "is wanted"),
    ],
    "rank_scores": [
        (scored(rank=lambda r, a, k: _rank_scores(r, a, len(r))[0]), "beyond place"),
        (scored(rank=lambda r, a, k: max(places(r, a, k)[:1], default=0)), "this is the place of the first answer"),
        (scored(rank=lambda r, a, k: sum(1 / place for place in places(r, a, k))), "sum over all answers"),
        (scored(rank=lambda r, a, k: 1 / max(places(r, a, k)[0] - 1, 0.5) if places(r, a, k) else 0), "number 1, not 0"),
        (scored(gain=lambda r, a, k: gains(places(r, a, k))), "this is the gain alone"),
        (scored(gain=lambda r, a, k: gains(places(r, a, k)) / gains(range(1, len(a) + 1))), "the best ranking too has only"),
        (scored(gain=lambda r, a, k: gains(places(r, a, k)) / gains(range(1, max(1, len(places(r, a, k))) + 1))), "also those that were not found"),
        (scored(gain=lambda r, a, k: gains(places(r, a, len(r))) / ideal(a, k)), "look at the first"),
        (scored(gain=lambda r, a, k: np.log(2) * gains(places(r, a, k)) / ideal(a, k)), "not to the base 2"),
        (scored(gain=lambda r, a, k: sum(1 / p for p in places(r, a, k)) / ideal(a, k)), "not 1 / place"),
        (scored(gain=lambda r, a, k: gains(range(1, len(places(r, a, k)) + 1)) / ideal(a, k)), "the gains of the places are not used"),
        (scored(gain=lambda r, a, k: float("nan")), "NDCG is NaN"),
        (lambda r, a, k: _rank_scores(r, a, k)[0], "2 results are wanted"),
    ],
    "in_batch_loss": [
        (lambda q, p, temperature: _loss(q, p, 1.0), "the temperature is missing"),
        (lambda q, p, temperature: _loss(q, p, 1 / temperature), "this multiplies by the temperature"),
        (lambda q, p, temperature: _loss(q, p[: len(q)], temperature), "the further passages are left out"),
        (lambda q, p, temperature: _loss(q, p, temperature) * len(q), "this is a sum over the questions"),
        (lambda q, p, temperature: -_loss(q, p, temperature), "the sign is the wrong way round"),
        (lambda q, p, temperature: -(q @ p.T / temperature).softmax(1).diagonal().mean(), "the mean share with a minus"),
        (lambda q, p, temperature: 1 - (q @ p.T / temperature).softmax(1).diagonal().mean(), "one minus the mean share"),
        (lambda q, p, temperature: -(q @ p.T / temperature)[:, : len(q)].log_softmax(0).diagonal().mean(), "over the questions \\(dim 0\\)"),
        (lambda q, p, temperature: _loss(q, p, temperature).item(), "plain number"),
        (lambda q, p, temperature: _loss(q, p.detach(), temperature), "gradient with respect to the passages"),
        (lambda q, p, temperature: -(q @ p.T / temperature).log_softmax(1).diagonal(), "one number is wanted"),
        (lambda q, p, temperature: 2 * _loss(q, p, temperature), "wanted: the mean over questions"),
    ],
    "hard_negatives": [
        (lambda r, p, m: r[:m], "it is no negative"),
        (lambda r, p, m: [one for one in r[:m] if one != p], "leave the positive out first"),
        (lambda r, p, m: _hard_negatives(r, p, m)[::-1], "keep the order of the ranking"),
        (lambda r, p, m: [one for one in r if one != p], "are the most"),
        (lambda r, p, m: [one for one in r if one != p][-m:], "is wanted, not"),
        (lambda r, p, m: 7, "a list of passages is wanted"),
        (lambda r, p, m: [float(one) + 0.5 for one in _hard_negatives(r, p, m)], "should be a whole number"),
    ],
    "join": [
        (lambda a, b: a + b, "added as they are"),
        (lambda a, b: a / a.max() + b / b.max(), "the smallest must become 0 too"),
        (lambda a, b: a / np.ptp(a) + b / np.ptp(b), "the smallest is not taken away"),
        (lambda a, b: (a - a.min()) / a.max() + (b - b.min()) / b.max(), "divide by the range"),
        (lambda a, b: _join(a, a) / 2, "the meaning is missing"),
        (lambda a, b: _join(b, b) / 2, "the words are missing"),
        (lambda a, b: _join(a, a) * _join(b, b) / 4, "this is a product"),
        (lambda a, b: -_join(a, b), "the sign is the wrong way round"),
        (lambda a, b: _join(a, b) / 2, "a mean is not asked for"),
        (lambda a, b: _join(a, b)[:1], "one number per passage is wanted"),
        (lambda a, b: np.argsort(-_join(a, b)), "is wanted"),
        (lambda a, b: _join(a, b) * np.nan, "the result holds NaN"),
    ],
}  # fmt: skip
