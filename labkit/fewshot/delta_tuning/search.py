"""Which places are worth a delta? Structure search under a budget of trained weights (Hu et al. 2022, "Sparse structure
search", by gradients there; here by trial, with a score on the dev split).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from labkit.errors import UsageError

Score = Callable[[tuple[str, ...]], float]


@dataclass(frozen=True)
class Found:
    """The best set of places, its score and cost, and every set that was tried, (places, score), in order."""

    places: tuple[str, ...]
    score: float
    cost: int
    tried: tuple[tuple[tuple[str, ...], float], ...]


def greedy(score: Score, costs: Mapping[str, int], budget: int) -> Found:
    """Start with nothing; add the place that raises `score` most, while one fits the budget and raises it.

    `score` takes a set of places (never empty) and is larger for better; `costs` maps each place to the weights trained
    there. At most n(n + 1)/2 calls for n places. UsageError where no place fits the budget.
    """
    _check(costs, budget)
    chosen: tuple[str, ...] = ()
    best, tried = float("-inf"), []
    while True:
        room = budget - sum(costs[place] for place in chosen)
        options = [_ordered(costs, (*chosen, place)) for place in costs if place not in chosen and costs[place] <= room]
        scored = [(option, score(option)) for option in options]
        tried += scored
        if not scored or (top := max(scored, key=lambda pair: pair[1]))[1] <= best:
            return Found(chosen, best, sum(costs[place] for place in chosen), tuple(tried))
        chosen, best = top


def random_search(score: Score, costs: Mapping[str, int], budget: int, trials: int = 10, seed: int = 0) -> Found:
    """The best of `trials` different random sets that fill the budget; fewer where there are not so many."""
    _check(costs, budget)
    if trials < 1:
        raise UsageError(f"trials={trials}: at least one is needed")
    rng, seen = random.Random(seed), {}
    for _ in range(50 * trials):
        places, room = [], budget
        for place in rng.sample(list(costs), len(costs)):
            if costs[place] <= room:
                places.append(place)
                room -= costs[place]
        option = _ordered(costs, places)
        if option not in seen:
            seen[option] = score(option)
        if len(seen) == trials:
            break
    best = max(seen, key=seen.__getitem__)
    return Found(best, seen[best], sum(costs[place] for place in best), tuple(seen.items()))


def _ordered(costs: Mapping[str, int], places: object) -> tuple[str, ...]:
    return tuple(place for place in costs if place in set(places))  # type: ignore[call-overload]


def _check(costs: Mapping[str, int], budget: int) -> None:
    if not costs or any(cost < 1 for cost in costs.values()):
        raise UsageError("costs must map each place to the weights that are trained there, 1 or more")
    if (least := min(costs.values())) > budget:
        raise UsageError(f"budget={budget}: the cheapest place takes {least} weights; raise the budget")
