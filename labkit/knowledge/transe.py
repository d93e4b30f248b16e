"""TransE (Bordes et al. 2013, "Translating embeddings for modeling multi-relational data"): h + r lies near t.

A fact must be nearer than a corrupted one, by a margin (§2, equation 1); entities keep length 1. Notable: Adam in place
of plain SGD, negatives are never facts that are known, and the end to be replaced may be drawn by how many heads a tail
has and tails a head (Wang et al. 2014, "Knowledge graph embedding by translating on hyperplanes", §3.2). `links.py`
measures what is learned. The loop is its own because a step takes a millisecond.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Annotated, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from labkit.config import AMOUNT, COUNT, RATE, SEED, check
from labkit.errors import DataError, TrainingError, UsageError, unknown
from labkit.knowledge.graph import KnowledgeGraph
from labkit.lab import Bar, generator

Sampling = Literal["uniform", "bernoulli"]
Facts = Collection[tuple[int, int, int]]
HEAD, TAIL = 0, 2  # columns of a triple
TRIES = 20  # draws for a negative, before the few that are left are looked for


@dataclass(frozen=True)
class TransESettings:
    """`norm` 1 or 2 is the distance's, `negatives` counts corrupted triples per fact. UsageError for what cannot be."""

    dimension: Annotated[int, COUNT] = 50
    norm: int = 2
    margin: Annotated[float, AMOUNT] = 0.5
    sampling: Sampling = "uniform"
    negatives: Annotated[int, COUNT] = 4
    epochs: Annotated[int, COUNT] = 60
    batch: Annotated[int, COUNT] = 512
    lr: Annotated[float, RATE] = 0.01
    seed: Annotated[int, SEED] = 0

    def __post_init__(self) -> None:
        check(self)
        for name, known in (("sampling", get_args(Sampling)), ("norm", (1, 2))):
            if getattr(self, name) not in known:
                raise unknown(name, getattr(self, name), known)


class TransE(nn.Module):
    """`entities` (entities, d) of length 1 and `relations` (relations, d); distances in the norm 1 or 2."""

    def __init__(self, entities: int, relations: int, dimension: int, norm: int, draws: torch.Generator) -> None:
        super().__init__()
        self.norm, bound = norm, 6 / dimension**0.5  # §2, algorithm 1
        uniform = [(torch.rand(n, dimension, generator=draws) * 2 - 1) * bound for n in (entities, relations)]
        self.entities, self.relations = (nn.Parameter(F.normalize(one, dim=1)) for one in uniform)

    def distance(self, triples: Tensor) -> Tensor:
        """‖h + r − t‖ of triples (…, 3): (…)."""
        head, relation, tail = triples.unbind(-1)
        moved = F.embedding(head, self.entities) + F.embedding(relation, self.relations)
        return (moved - F.embedding(tail, self.entities)).norm(self.norm, dim=-1)

    @torch.no_grad()
    def to_all(self, triples: Tensor, column: int) -> Tensor:
        """The distances of triples (n, 3) with every entity in `column`, `HEAD` or `TAIL`: (n, entities)."""
        relation = self.relations[triples[:, 1]]
        fixed = self.entities[triples[:, HEAD if column == TAIL else TAIL]]
        near = fixed + relation if column == TAIL else fixed - relation
        return torch.cdist(near, self.entities, self.norm, compute_mode="donot_use_mm_for_euclid_dist")


def margin_loss(positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """The mean of [margin + d(fact) − d(negative)]₊ for distances of facts (n,) and of their negatives (n, k)."""
    return (margin + positive[:, None] - negative).relu().mean()


def corrupt(
    triples: np.ndarray, column: np.ndarray, entities: int, known: Facts, rng: np.random.Generator
) -> np.ndarray:
    """Triples (n, 3) with the end that `column` (n,) names, `HEAD` or `TAIL`, drawn anew: none is in `known`.

    Entities are numbered below `entities`. DataError where each of them makes a fact.
    """
    made, wrong = triples.copy(), np.arange(len(triples))
    for _ in range(TRIES):
        made[wrong, column[wrong]] = rng.integers(entities, size=len(wrong))
        wrong = wrong[[tuple(triple) in known for triple in made[wrong].tolist()]]
        if not len(wrong):
            return made
    for row in wrong:  # hardly an entity is left: look for those that are
        every = np.repeat(made[row : row + 1], entities, axis=0)
        every[:, column[row]] = np.arange(entities)
        free = [triple for triple in every.tolist() if tuple(triple) not in known]
        if not free:
            raise DataError(f"triple {tuple(triples[row].tolist())}: every entity there makes a fact: leave one out")
        made[row] = free[rng.integers(len(free))]
    return made


def head_share(triples: np.ndarray, relations: int, sampling: Sampling) -> np.ndarray:
    """How often each relation's head, rather than its tail, is replaced, (relations,): one half, or by Bernoulli.

    With tails per head (tph) and heads per tail (hpt), tph / (tph + hpt): where a head has many tails, a tail drawn at
    random may well be true.
    """
    share = np.full(relations, 0.5)
    for relation in np.unique(triples[:, 1]) if sampling == "bernoulli" else ():
        own = triples[triples[:, 1] == relation]
        heads, tails = (len(np.unique(own[:, column])) for column in (HEAD, TAIL))
        share[relation] = tails / (tails + heads)  # n / heads against n / tails
    return share


def train_transe(
    graph: KnowledgeGraph,
    settings: TransESettings = TransESettings(),  # noqa: B008  frozen
    *,
    loss: Callable[[Tensor, Tensor, float], Tensor] = margin_loss,
    negatives: Callable[..., np.ndarray] = corrupt,
    progress: bool | None = None,
) -> TransE:
    """Embeddings of a graph, the same for the same seed. `loss` and `negatives` may be your own.

    UsageError for a graph without facts or with one entity, TrainingError where the loss is no longer a number.
    """
    triples, size, k = graph.triples, len(graph.entities), settings.negatives
    if not len(triples) or size < 2:
        raise UsageError(f"a graph of {size} entities and {len(triples)} facts: TransE learns from facts between two")
    rng, known = np.random.default_rng(settings.seed), set(map(tuple, triples.tolist()))
    model = TransE(size, len(graph.relations), settings.dimension, settings.norm, generator(settings.seed))
    optimizer = torch.optim.Adam(model.parameters(), settings.lr)
    share = head_share(triples, len(graph.relations), settings.sampling)
    with Bar(settings.epochs, progress, unit="epoch") as bar:
        for _ in range(settings.epochs):
            facts = np.repeat(rng.permutation(triples), k, axis=0)  # (n · k, 3)
            column = np.where(rng.random(len(facts)) < share[facts[:, 1]], HEAD, TAIL)
            wrong = torch.from_numpy(negatives(facts, column, size, known, rng)).view(-1, k, 3)
            right = torch.from_numpy(facts).view(-1, k, 3)[:, 0]
            for some, against in zip(right.split(settings.batch), wrong.split(settings.batch), strict=True):
                value = _step(model, optimizer, loss(model.distance(some), model.distance(against), settings.margin))
            if not np.isfinite(value):
                raise TrainingError(f"the loss is {value}: lower lr, or mend your loss")
            bar.update()
    return model


def _step(model: TransE, optimizer: torch.optim.Optimizer, loss: Tensor) -> float:
    """One step, after which all entities have length 1 again; the loss."""
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    with torch.no_grad():
        model.entities.copy_(F.normalize(model.entities, dim=1))
    return loss.item()
