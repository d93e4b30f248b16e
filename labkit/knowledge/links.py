"""Link prediction measured by ranks: of all entities, at which place does a model put the one that makes a fact?

Both ends of each fact are asked for. Other entities that make a fact too are taken out first (*filtered*, Bordes et
al. 2013, §4.1), for it is no mistake to put them first; entities that tie share their places evenly (Berrendorf et al.
2020, "On the ambiguity of rank-based evaluation of entity alignment or link prediction methods").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from labkit.errors import UsageError
from labkit.knowledge.transe import HEAD, TAIL

KS = (1, 3, 10)
ROWS = 1000  # facts whose distances to all entities are held at once: of WN18RR's 41 000 entities, 160 MB
Rank = Callable[[Tensor, int, Collection[int]], float]


class Model(Protocol):
    """What can be ranked by."""

    def to_all(self, triples: Tensor, column: int) -> Tensor:
        """The distances of triples (n, 3) with every entity in `column`: (n, entities)."""


class Popularity:
    """The baseline: the more often an entity has this end of the relation, the nearer. It reads no other end."""

    def __init__(self, triples: np.ndarray, entities: int, relations: int) -> None:
        self.counts = {column: torch.zeros(relations, entities) for column in (HEAD, TAIL)}
        for column, counts in self.counts.items():
            np.add.at(counts.numpy(), (triples[:, 1], triples[:, column]), 1)

    def to_all(self, triples: Tensor, column: int) -> Tensor:
        """Minus the counts: (n, entities)."""
        return -self.counts[column][triples[:, 1]]


def filtered_rank(distances: Tensor, answer: int, others: Collection[int]) -> float:
    """The place of `answer` by `distances` (entities,), nearest first and from 1, without `others`, the other answers
    that are true. Entities at the same distance share their places: of two that tie for the first, each has 1.5.
    """
    kept = torch.ones(len(distances), dtype=torch.bool)
    kept[[answer, *others]] = False
    rest, own = distances[kept], distances[answer]
    return 1 + int((rest < own).sum()) + int((rest == own).sum()) / 2


def ranks(
    model: Model, triples: np.ndarray, true: np.ndarray, rank: Rank = filtered_rank,
    columns: tuple[int, ...] = (HEAD, TAIL),
) -> np.ndarray:  # fmt: skip
    """The rank of each end of `triples` (n, 3) among all entities: (columns, n). `true` (m, 3) are all known facts."""
    found = []
    for column in columns:
        answers = defaultdict(set)
        for triple in true.tolist():
            answers[tuple(triple[:column] + triple[column + 1 :])].add(triple[column])
        for some in np.array_split(triples, 1 + len(triples) // ROWS):
            for triple, distances in zip(some.tolist(), model.to_all(torch.from_numpy(some), column), strict=True):
                others = answers[tuple(triple[:column] + triple[column + 1 :])] - {triple[column]}
                found.append(float(rank(distances, triple[column], others)))
    return np.array(found).reshape(len(columns), -1)


def rank_metrics(found: np.ndarray) -> dict[str, float]:
    """Of ranks of any shape: `mrr`, the mean of 1 / rank, and `hits@k`, the share of ranks up to k; all in [0, 1]."""
    if not found.size:
        raise UsageError("no facts to rank: give some that are held out")
    return {"mrr": float((1 / found).mean()), **{f"hits@{k}": float((found <= k).mean()) for k in KS}}


def evaluate_links(model: Model, triples: np.ndarray, true: np.ndarray, rank: Rank = filtered_rank) -> dict[str, float]:
    """`rank_metrics` over both ends of `triples`; UsageError for none. See `ranks`."""
    return rank_metrics(ranks(model, triples, true, rank))
