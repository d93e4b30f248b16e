"""AutoTinyBERT: search the sizes of an elastic network for the best under a limit of time (Yin et al. 2021).

Timing every candidate would take hours, so a few are timed, and a *latency predictor* learns from them. Evolution then
keeps the best sub-networks that are predicted to be fast enough, mutates and crosses them, and scores the children with
the shared weights, without training any.
"""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import nn

from labkit.compression.elastic import Shape, extract
from labkit.errors import UsageError
from labkit.evaluation import evaluating


def latencies(
    model: nn.Module, method: Any, rows: Sequence[Mapping[str, Any]], shapes: Sequence[Shape], turns: int = 7
) -> list[float]:
    """Milliseconds that each sub-network, cut out, takes for one batch of `rows`.

    They are timed in turns, so that a busy moment of the machine meets all of them; the fastest of the `turns` counts,
    because other programs only ever add time. UsageError for no rows, no shapes or no turns.
    """
    if not (rows and shapes and turns > 0):
        raise UsageError(f"{len(rows)} rows, {len(shapes)} shapes, {turns} turns: latencies needs 1 or more of each")
    models, batch = [extract(model, shape).eval() for shape in shapes], method.collate(rows)
    best = [float("inf")] * len(models)
    for _ in range(turns):
        for place, small in enumerate(models):
            with evaluating(small):
                began = time.perf_counter()
                method.logits(small, batch)
                best[place] = min(best[place], 1000 * (time.perf_counter() - began))
    return best


class LatencyPredictor:
    """Least squares on what the time is made of; it predicts in the unit of the times that it was given.

    UsageError for fewer than 4 shapes, or times that are not one for each, finite and above 0.
    """

    def __init__(self, shapes: Sequence[Shape], times: Sequence[float]) -> None:
        if len(shapes) != len(times) or len(shapes) < 4 or not all(0 < one < math.inf for one in times):
            raise UsageError(
                f"{len(shapes)} shapes, {len(times)} times: a time above 0 for each of at least 4 is needed"
            )
        self.weights = np.linalg.lstsq(features(shapes), np.asarray(times), rcond=None)[0]

    def __call__(self, shape: Shape) -> float:
        """The time of one shape."""
        return float(features([shape])[0] @ self.weights)


def features(shapes: Sequence[Shape]) -> np.ndarray:
    """(shapes, 4): a constant, layers, heads and neurons; the cost of each of the three grows linearly with it."""
    return np.array([[1.0, len(one.layers), sum(one.heads), sum(one.neurons)] for one in shapes])


def random_shape(whole: Shape, rng: random.Random, steps: int = 4) -> Shape:
    """A shape within `whole`: at least one layer, heads from one up, neurons in `steps` equal steps."""
    layers = tuple(sorted(rng.sample(whole.layers, rng.randint(1, len(whole.layers)))))
    heads = tuple(rng.randint(1, whole.heads[n]) for n in layers)
    return Shape(layers, heads, tuple(whole.neurons[n] * rng.randint(1, steps) // steps for n in layers))


def sandwich(whole: Shape, between: int = 2, seed: int = 0) -> Callable[[], list[Shape]]:
    """For `Elastic`: a function that gives, for each step, the whole, the smallest and some random shapes between them.

    So a super-network is trained once, and any of its sub-networks may be asked for (one-shot learning).
    """
    rng = random.Random(seed)
    return lambda: [whole, smallest(whole), *(random_shape(whole, rng) for _ in range(between))]


def smallest(whole: Shape, steps: int = 4) -> Shape:
    """One layer, the last, with one head and the fewest neurons of `random_shape`."""
    return Shape(whole.layers[-1:], (1,), (max(whole.neurons[-1] // steps, 1),))


def mutated(shape: Shape, whole: Shape, rng: random.Random, chance: float = 0.3, steps: int = 4) -> Shape:
    """The shape with some of its choices drawn anew: layers in or out, heads, neurons."""
    parts = {n: (heads, neurons) for n, heads, neurons in zip(shape.layers, shape.heads, shape.neurons, strict=True)}
    fresh = random_shape(whole, rng, steps)
    other = dict(zip(fresh.layers, zip(fresh.heads, fresh.neurons, strict=True), strict=True))
    return _of({n: (other if rng.random() < chance else parts).get(n) for n in whole.layers}, shape)


def crossed(one: Shape, other: Shape, rng: random.Random) -> Shape:
    """Each layer from one of the parents; of a layer that only one of them has, in or out."""
    parts = [dict(zip(x.layers, zip(x.heads, x.neurons, strict=True), strict=True)) for x in (one, other)]
    return _of({n: parts[rng.random() < 0.5].get(n) for n in sorted(set(one.layers) | set(other.layers))}, one)


def _of(parts: dict[int, tuple[int, int] | None], otherwise: Shape) -> Shape:
    kept = {n: part for n, part in parts.items() if part is not None}
    if not kept:
        return otherwise
    return Shape(tuple(kept), *(tuple(values) for values in zip(*kept.values(), strict=True)))


def search(
    whole: Shape, score: Callable[[Shape], float], seconds: Callable[[Shape], float], limit: float, *,
    first: Sequence[Shape] = (), rounds: int = 8, population: int = 16, seed: int = 0,
) -> tuple[Shape, float]:  # fmt: skip
    """The shape with the highest score found among those of at most `limit`, in the unit of `seconds`, and its score; a
    shape is scored once. It begins with random ones, and those of `first` (made by hand, say) that are fast enough.
    UsageError where even the smallest network is too slow.
    """
    rng, least = random.Random(seed), smallest(whole)
    if not seconds(least) <= limit:
        raise UsageError(f"limit={limit:g}: no network meets it, the smallest, {least}, takes {seconds(least):.3g}")
    scores: dict[Shape, float] = {}

    def admit(draw: Callable[[], Shape], count: int) -> None:
        for _ in range(50 * count):
            if count <= 0:
                break
            shape = draw()
            if shape not in scores and seconds(shape) <= limit:
                scores[shape] = score(shape)
                count -= 1

    scores |= {one: score(one) for one in dict.fromkeys([least, *first]) if seconds(one) <= limit}
    admit(lambda: random_shape(whole, rng), population - 1)
    for _ in range(rounds):
        best = sorted(scores, key=scores.get, reverse=True)[: max(population // 2, 2)]  # type: ignore[arg-type]
        admit(lambda best=best: mutated(rng.choice(best), whole, rng), population // 2)
        admit(lambda best=best: crossed(rng.choice(best), rng.choice(best), rng), population // 2)
    winner = max(scores, key=scores.get)  # type: ignore[arg-type]
    return winner, scores[winner]
