"""AutoTinyBERT: search the sizes of an elastic network for the best under a limit of time (Yin et al. 2021).

Timing every candidate would take hours, so a few are timed, and a *latency predictor* learns from them. Evolution then
keeps the best sub-networks that are predicted to be fast enough, mutates and crosses them, and scores the children with
the shared weights, without training any.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import numpy as np

from labkit.compression.elastic import Shape
from labkit.errors import UsageError


class LatencyPredictor:
    """Least squares on what the time is made of: layers, heads, neurons, each summed, and a constant.

    All three are products whose cost grows linearly with them; `fitted` takes shapes and their measured times.
    """

    def __init__(self, shapes: Sequence[Shape], seconds: Sequence[float]) -> None:
        if len(shapes) != len(seconds) or len(shapes) < 4:
            raise UsageError(f"{len(shapes)} shapes, {len(seconds)} times: a time for each of at least 4 is needed")
        self.weights = np.linalg.lstsq(self._features(shapes), np.asarray(seconds), rcond=None)[0]

    def __call__(self, shape: Shape) -> float:
        """Seconds."""
        return float(self._features([shape])[0] @ self.weights)

    @staticmethod
    def _features(shapes: Sequence[Shape]) -> np.ndarray:
        return np.array([[1.0, len(one.layers), sum(one.heads), sum(one.neurons)] for one in shapes])


def random_shape(whole: Shape, rng: random.Random, steps: int = 4) -> Shape:
    """A shape within `whole`: at least one layer, heads from one up, neurons in `steps` equal steps."""
    layers = tuple(sorted(rng.sample(whole.layers, rng.randint(1, len(whole.layers)))))
    heads = tuple(rng.randint(1, whole.heads[n]) for n in layers)
    return Shape(layers, heads, tuple(whole.neurons[n] * rng.randint(1, steps) // steps for n in layers))


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
    rounds: int = 8, population: int = 16, seed: int = 0,
) -> tuple[Shape, float]:  # fmt: skip
    """The shape with the highest score found among those of at most `limit` seconds, and its score; a shape is scored
    once. UsageError where even the smallest network is too slow.
    """
    rng, smallest = random.Random(seed), Shape(whole.layers[:1], (1,), (max(whole.neurons[0] // 4, 1),))
    if seconds(smallest) > limit:
        raise UsageError(f"limit={limit:g}: the smallest network, {smallest}, takes {seconds(smallest):g} seconds")
    scores: dict[Shape, float] = {}

    def admit(draw: Callable[[], Shape], count: int) -> None:
        for _ in range(50 * count):
            if count <= 0:
                break
            shape = draw()
            if shape not in scores and seconds(shape) <= limit:
                scores[shape] = score(shape)
                count -= 1

    scores[smallest] = score(smallest)
    admit(lambda: random_shape(whole, rng), population - 1)
    for _ in range(rounds):
        best = sorted(scores, key=scores.get, reverse=True)[: max(population // 2, 2)]  # type: ignore[arg-type]
        admit(lambda best=best: mutated(rng.choice(best), whole, rng), population // 2)
        admit(lambda best=best: crossed(rng.choice(best), rng.choice(best), rng), population // 2)
    winner = max(scores, key=scores.get)  # type: ignore[arg-type]
    return winner, scores[winner]
