"""How good is a ranking? Reciprocal rank, average precision, NDCG and recall, of one query and their means.

A ranking is a list of passages, the best first; `relevant` says which passages answer the query. Each measure is in
[0, 1] and looks at the first k places. Where the judgements have grades, NDCG takes them (Järvelin & Kekäläinen 2002,
*Cumulated gain-based evaluation*, with the gain itself and log2(1 + place), the first place being 1).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from labkit.errors import DataError

Relevant = Collection[int] | Mapping[int, float]  # the passages that answer, or each passage's grade


def reciprocal_rank(ranking: Sequence[int], relevant: Relevant, k: int = 10) -> float:
    """1 / the place of the first passage that answers; 0 where none is among the first k."""
    return next((1 / place for place, one in enumerate(ranking[:k], start=1) if _grade(relevant, one)), 0.0)


def average_precision(ranking: Sequence[int], relevant: Relevant, k: int = 1000) -> float:
    """The mean, over the passages that answer, of the share of right ones up to its place; 0 for one not found."""
    found, total = 0, 0.0
    for place, one in enumerate(ranking[:k], start=1):
        if _grade(relevant, one):
            found += 1
            total += found / place
    return total / _count(relevant)


def ndcg(ranking: Sequence[int], relevant: Relevant, k: int = 10) -> float:
    """The discounted gain of the first k places, divided by that of the best ranking."""
    best = sorted((_grade(relevant, one) for one in relevant), reverse=True)
    return _gain([_grade(relevant, one) for one in ranking[:k]]) / _gain(best[:k])


def recall(ranking: Sequence[int], relevant: Relevant, k: int = 50) -> float:
    """The share of the passages that answer that are among the first k."""
    return sum(_grade(relevant, one) > 0 for one in ranking[:k]) / _count(relevant)


def measures(rankings: Sequence[Sequence[int]], relevant: Sequence[Relevant]) -> dict[str, float]:
    """The means over queries of `mrr@10`, `map`, `ndcg@10` and `recall@50`.

    Raises DataError for no queries, another number of judgements, a passage that a ranking holds twice, and a query
    without a passage that answers it: leave it out, for no ranking of it is better than another.
    """
    if not len(rankings) or len(rankings) != len(relevant):
        raise DataError(f"{len(rankings)} rankings and {len(relevant)} judgements: one of each per query is needed")
    for number, (ranking, right) in enumerate(zip(rankings, relevant, strict=True), start=1):
        if not any(_grade(right, one) for one in right):
            raise DataError(f"query {number} has no passage that answers it: leave it out")
        if len(set(ranking)) < len(ranking):
            raise DataError(f"the ranking of query {number} holds a passage twice: give each passage one place")
    each = {"mrr@10": reciprocal_rank, "map": average_precision, "ndcg@10": ndcg, "recall@50": recall}
    return {name: float(np.mean(list(map(one, rankings, relevant)))) for name, one in each.items()}


def fused(rankings: Sequence[Sequence[int]], k: int = 60) -> list[int]:
    """Several rankings of one query as one: a passage gets 1 / (k + place) from each that holds it.

    Of equal ones the first that was seen comes first (Cormack et al. 2009, *Reciprocal rank fusion*).
    """
    scores: dict[int, float] = {}
    for ranking in rankings:
        for place, one in enumerate(ranking, start=1):
            scores[one] = scores.get(one, 0.0) + 1 / (k + place)
    return sorted(scores, key=lambda one: -scores[one])


def joined(*scores: np.ndarray) -> np.ndarray:
    """Several scores of the same passages, (passages,) each, as one: each scaled to 0…1, and added."""
    ranges = [max(float(np.ptp(one)), 1e-12) for one in scores]
    return np.sum([(one - np.min(one)) / width for one, width in zip(scores, ranges, strict=True)], axis=0)


def _grade(relevant: Relevant, passage: int) -> float:
    return float(relevant.get(passage, 0)) if isinstance(relevant, Mapping) else float(passage in relevant)


def _count(relevant: Relevant) -> int:
    return sum(_grade(relevant, one) > 0 for one in relevant)


def _gain(grades: Sequence[float]) -> float:
    return sum(grade / np.log2(1 + place) for place, grade in enumerate(grades, start=1))
